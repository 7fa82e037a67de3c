// What the operator decided, as plain typed values. Filled from the environment by SettingsLoader out of the one table
// in SettingsTable; never read from the environment anywhere else, and never changed after the start.

import Model
import Proxy
import Secrets
import Telemetry

struct Settings: Sendable {
    // General.
    /// The role the environment asks for; a role among the arguments goes first.
    var role = Role.allInOne
    /// nil: one for each processor.
    var workerCount: Int?
    var logLevel = LogLevel.info

    // Listeners.
    var httpListen: [ListenSetting] = []
    var httpsListen: [ListenSetting] = []
    var adminListen: [ListenSetting] = []
    var sharesListeners = false
    /// Connections from these blocks must begin with a PROXY protocol header; no others may.
    var proxyProtocolPeers: [AddressBlock] = []
    var prefaceTimeoutMs = 0

    // TLS and TCP.
    var secretsDirectory: String?
    var certificatesDirectory: String?
    /// A name in the secrets directory, or an absolute path; likewise the next two.
    var defaultCertificate: String?
    var defaultKey: String?
    var ticketKey: String?
    var httpsPublicPort = 0
    var sslOnly = false
    var tls = TLSDefaults()
    var helloTimeoutMs = 0
    var handshakeTimeoutMs = 0
    var maximumHandshakes = 0
    /// Ascending, apart from each other.
    var tcpPorts: [ClosedRange<UInt16>] = []

    // Where services come from.
    var docker = DockerSource.automatic
    var dockerEnvironment = DockerEnvironment()
    var servicesFile: String?
    var serviceCluster = ""
    /// nil: found from the own container; empty: the proxy sits on the host's network.
    var networks: [String]?
    /// With its trailing dot.
    var labelPrefix = ""
    var hostOwnership = HostOwnership.shared
    var pollIntervalMs = 0
    var pollIntervalBusyMs = 0

    // Controllers, proxies and extensions.
    var feedListen: [ListenSetting] = []
    /// Where controllers are; a name may stand for several.
    var feedConnect: [ListenSetting] = []
    /// A name in the secrets directory, or an absolute path.
    var feedCredential: String?
    /// Extensions get certificates and keys.
    var sharesKeysWithExtensions = false
    /// nil: nothing is kept on disk.
    var stateDirectory: String?
    var stateMaximumAgeMs = 0
    /// nil: the own service, where Docker tells it.
    var controllerService: String?
    /// The services of the proxies by their group.
    var proxyServices: [String: String] = [:]
    var manageServices = ManageServices.off
    var allowsRollback = true
    var extensionKind = ExtensionKind.nginx
    var extensionDirectory: String?
    /// Words; empty: the kind's own command, or none.
    var extensionCheck: [String] = []
    var extensionReload: [String] = []
    var extensionCommand: [String] = []

    // Headers and trust.
    var trustedProxies: [AddressBlock] = []
    var addsForwarded = false
    /// nil: no Via field is written.
    var viaName: String?
    var showsRequestID = false
    var showsInfoHeaders = false
    var dropsUnderscoreNames = false

    // Timeouts, milliseconds.
    var headerTimeoutMs = 0
    var keepAliveTimeoutMs = 0
    var connectTimeoutMs = 0
    var responseTimeoutMs = 0
    /// 0: off.
    var idleTimeoutMs = 0
    var tunnelTimeoutMs = 0
    var upstreamIdleTimeoutMs = 0
    /// 0: off; likewise the next.
    var holdMs = 0
    var queueTimeoutMs = 0
    var drainTimeoutMs = 0
    var drainDelayMs = 0

    // Limits.
    var requestLineSize = 0
    var headSize = 0
    var fieldCount = 0
    /// Bytes; 0: no limit.
    var maxBodySize: UInt64 = 0
    /// nil: derived from the limit of open files.
    var maxConnections: Int?
    /// 0: no limit.
    var maxConnectionsPerClient = 0
    /// 0: no limit.
    var maxRequestsPerConnection = 0
    /// Per worker and task.
    var upstreamIdleConnections = 0
    var retryCount = 0
    var retryBufferSize = 0

    // Logs and admin.
    var accessLog = AccessLogFormat.off
    /// nil: standard output.
    var accessLogPath: String?
    var adminToken: String?
    var adminIsOpen = false

    // Demo backend.
    var demoListen: [ListenSetting] = []
    var demoName: String?

    /// Paths of files that settings with secret values were read from.
    var secretFiles: [String] = []
}

extension Settings {
    var secretPlaces: SecretPlaces {
        SecretPlaces(
            secretsDirectory: secretsDirectory, certificatesDirectory: certificatesDirectory,
            defaultCertificate: defaultCertificate, defaultKey: defaultKey, ticketKey: ticketKey)
    }
}

/// What a process of this binary does. The raw value is the first argument, and the value of INTERLOCK_ROLE.
enum Role: String, Sendable, CaseIterable {
    /// Watches services and proxies to them in one process.
    case allInOne = "interlock"
    /// Watches services and tells proxies and extensions of them.
    case controller
    /// Proxies to what a controller tells; needs no Docker.
    case proxy
    /// Configures another load balancer by what a controller tells.
    case balancerExtension = "extension"
    case demoBackend = "demo-backend"
    case check
    /// Says what would become of a request.
    case explain
    /// Prints what another load balancer would be given.
    case render
    case feedInit = "feed-init"
    case rollback
    case resume
    case status
    case healthcheck
    case version
}

/// INTERLOCK_MANAGE_SERVICES.
enum ManageServices: String, Sendable, CaseIterable {
    case off = "false"
    /// Secrets are attached to the controller's service.
    case secrets = "true"
    /// And networks to the proxies' services.
    case secretsAndNetworks = "proxy"
}

/// What an extension configures.
enum ExtensionKind: String, Sendable, CaseIterable {
    case nginx, haproxy
    /// Anything: a command gets each snapshot as JSON.
    case exec
}

/// INTERLOCK_DOCKER.
enum DockerSource: Sendable, Equatable {
    /// DOCKER_HOST, or the usual socket if it is there.
    case automatic
    case off
    /// `unix:///path` or `tcp://host:port`.
    case address(String)
}

/// The variables of Docker's own client.
struct DockerEnvironment: Sendable, Equatable {
    /// DOCKER_HOST; nil if unset.
    var host: String?
    /// DOCKER_TLS_VERIFY: any value but the empty one turns it on, as in Docker's client.
    var verifiesTLS = false
    /// DOCKER_CERT_PATH: a directory with ca.pem, cert.pem and key.pem.
    var certificatePath: String?
}

enum HostOwnership: String, Sendable, CaseIterable { case shared, stack }
