// Everything the data plane can be told from outside, as plain values. Durations are milliseconds, sizes bytes.
// Who reads the environment is the executable; what a service overrides is in the route table.

public import Kernel
public import Model
public import Telemetry

/// The proxy's settings; the initial values are the documented defaults.
public struct ProxySettings: Sendable {
    /// Where HTTP is listened for.
    public var httpListen: [ListenAddress] = []
    /// Where HTTPS is listened for: TLS that ends here, and TLS that is passed on.
    public var httpsListen: [ListenAddress] = []
    /// The ports that services may ask for, in ascending order; ports of our own are not among them.
    public var tcpPorts: [ClosedRange<UInt16>] = []
    /// Worker threads, each with its own poller; at least 1.
    public var workerCount = 1
    /// Skip the check that nobody else holds a port (a second copy takes over from a first).
    public var takesOver = false

    // Limits on clients.
    public var requestLineSize = 8192
    public var headSize = 32768
    public var fieldCount = 128
    public var maximumBodySize: UInt64 = 32 << 20
    /// All workers together.
    public var maximumConnections = 10_000
    /// Of one client address; 0 is no limit.
    public var maximumConnectionsPerClient = 0
    public var maximumRequestsPerConnection = 100_000

    // Deadlines.
    /// From the first byte of a request to the end of its head; also for the first request of a connection.
    public var headerTimeoutMs = 10_000
    /// A connection that waits for its next request.
    public var keepAliveTimeoutMs = 60_000
    /// PROXY protocol header.
    public var prefaceTimeoutMs = 5_000
    public var connectTimeoutMs = 2_000
    /// The task's next byte of answer.
    public var responseTimeoutMs = 600_000
    /// A body, either way, must make at least 1 KiB of progress in this window; 0 is off.
    public var idleTimeoutMs = 60_000
    /// An upgraded connection without traffic.
    public var tunnelTimeoutMs = 3_600_000
    /// After the last answer of a connection that is being closed: how long the client may go on sending.
    public var lingerTimeoutMs = 2_000

    // Waiting for a task.
    /// How long a request waits for a task of a service that has lost its last one; 0 is off.
    public var holdMs = 30_000
    /// How long a request waits for its turn at tasks that have as much as they may; 0 is off.
    public var queueTimeoutMs = 30_000

    // Upstream connections.
    public var upstreamIdleTimeoutMs = 4_000
    /// Kept open for reuse, by worker and task.
    public var upstreamIdleLimit = 256
    public var retries = 2
    /// So many failures of a task within the time take it out for as long; 0: never.
    public var maxFails = 3
    public var failTimeoutMs = 10_000
    /// Probes of health checks under way at once.
    public var maximumProbes = 1024
    /// A request of an idempotent method is kept for replay up to this many bytes, head and body. What a task's socket
    /// has taken nothing of is kept whatever it is.
    public var retryBufferSize = 16_384

    // TLS.
    /// The port that a redirect to https names; 443 is not written out.
    public var httpsPublicPort: UInt16 = 443
    /// Plain HTTP is redirected to https for every host, not only where a service asks for it.
    public var sslOnly = false
    public var tls = TLSDefaults()
    /// From a connection's first byte to the end of its ClientHello.
    public var helloTimeoutMs = 5_000
    /// From the ClientHello to the end of the handshake.
    public var handshakeTimeoutMs = 10_000
    /// Handshakes under way at once, all workers together.
    public var maximumHandshakes = 2_000

    // Trust and identity.
    /// Peers whose forwarded headers count.
    public var trustedProxies: [Model.AddressBlock] = []
    /// Peers whose connections must begin with a PROXY protocol header; all others must not.
    public var proxyProtocolPeers: [Model.AddressBlock] = []
    /// The name in Via; "" leaves Via out.
    public var viaName = "interlock"
    /// Add RFC 7239 Forwarded.
    public var addsForwarded = false
    /// Tell clients the request's id.
    public var showsRequestID = true
    /// Drop every field name with an underscore, not only twins of names that matter.
    public var dropsUnderscoreNames = false
    /// Tell clients which task answered, and how long it took.
    public var showsInfoHeaders = false

    public var accessLog: AccessLogFormat = .off

    public init() {}
}

/// What TLS that ends here offers where no service says otherwise: Mozilla's "intermediate" recommendation, without
/// finite-field Diffie-Hellman. Lists are written as OpenSSL reads them.
public struct TLSDefaults: Hashable, Sendable {
    public var minimumVersion = TLSVersion.tls12
    /// TLS 1.2, in the proxy's order of preference.
    public var ciphers =
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    /// TLS 1.3.
    public var cipherSuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    public var groups = "X25519:prime256v1:secp384r1"

    public init() {}
}

/// A host and port to listen on. Without a host: every address, IPv6 and IPv4 alike.
public struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    public var address: SocketAddress
    /// IPv4 comes in over the IPv6 socket; where IPv6 is off, IPv4 alone is listened on.
    public var isDualStack: Bool

    public init(address: SocketAddress, isDualStack: Bool = false) {
        self.address = address
        self.isDualStack = isDualStack
    }

    /// Every address of the machine.
    public init(anyHostPort port: UInt16) {
        self.init(address: SocketAddress(v6High: 0, low: 0, port: port), isDualStack: true)
    }

    public var description: String { isDualStack ? ":\(address.port)" : address.description }
}
