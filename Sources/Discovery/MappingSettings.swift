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
    public var hostOwnership: HostOwnership
    /// The entry ports that the operator leaves to `tcp_port` labels.
    public var tcpPorts: [ClosedRange<UInt16>]
    /// Ports that the proxy itself listens on: never an entry port of a service, whatever `tcpPorts` says.
    public var ownPorts: Set<UInt16>

    public init(
        labelPrefix: String = "com.docker.lb.", serviceCluster: String = "", proxyNetworks: [String]? = nil,
        hostOwnership: HostOwnership = .shared, tcpPorts: [ClosedRange<UInt16>] = [], ownPorts: Set<UInt16> = []
    ) {
        self.labelPrefix = labelPrefix
        self.serviceCluster = serviceCluster
        self.proxyNetworks = proxyNetworks
        self.hostOwnership = hostOwnership
        self.tcpPorts = tcpPorts
        self.ownPorts = ownPorts
    }
}
