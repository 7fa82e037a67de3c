// What the operator decided about the mapping from labels to routes, as opposed to what stack authors write.

public struct MappingSettings: Hashable, Sendable {
    /// Whether a host belongs to whoever asks for it, or to the oldest stack that claims it.
    public enum HostOwnership: String, Hashable, Sendable { case shared, stack }

    /// With its trailing dot.
    public var labelPrefix: String
    /// The proxy group that is served; "" is the default group.
    public var serviceCluster: String
    /// Names or ids of the networks the proxies sit on. Empty: they sit on none (host networking). nil: nobody knows.
    public var proxyNetworks: [String]?
    /// What the proxies' service is called, for the commands that diagnostics show; "" if nobody knows.
    public var proxyService: String
    public var hostOwnership: HostOwnership
    /// The entry ports that the operator leaves to `tcp_port` labels.
    public var tcpPorts: [ClosedRange<UInt16>]
    /// Ports that the proxy itself listens on: never an entry port of a service, whatever `tcpPorts` says.
    public var ownPorts: Set<UInt16>
    /// Every host is https only: what redirects from https to http would go round in circles.
    public var isSSLOnly: Bool
    /// There is a certificates directory or a default certificate: a host without `ssl_cert` may speak TLS.
    public var hasSharedCertificates: Bool

    public init(
        labelPrefix: String = "com.docker.lb.", serviceCluster: String = "", proxyNetworks: [String]? = nil,
        proxyService: String = "", hostOwnership: HostOwnership = .shared, tcpPorts: [ClosedRange<UInt16>] = [],
        ownPorts: Set<UInt16> = [],
        isSSLOnly: Bool = false, hasSharedCertificates: Bool = false
    ) {
        self.labelPrefix = labelPrefix
        self.serviceCluster = serviceCluster
        self.proxyNetworks = proxyNetworks
        self.proxyService = proxyService
        self.hostOwnership = hostOwnership
        self.tcpPorts = tcpPorts
        self.ownPorts = ownPorts
        self.isSSLOnly = isSSLOnly
        self.hasSharedCertificates = hasSharedCertificates
    }
}
