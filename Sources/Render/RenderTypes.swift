// What a renderer is given and what it gives back: plain values. Nothing here touches a disk or starts a program.

public import Model

/// Everything that a configuration of another load balancer is made of.
public struct RenderInput: Sendable {
    public var snapshot: Snapshot
    /// The bytes of certificates and keys, where the extension may have them.
    public var secrets: SecretFiles
    public var settings: RenderSettings
    /// Who looks at certificates.
    public var reading: CertificateReading

    public init(
        snapshot: Snapshot, secrets: SecretFiles = SecretFiles(), settings: RenderSettings = .init(),
        reading: CertificateReading = .byForm
    ) {
        self.snapshot = snapshot
        self.secrets = secrets
        self.settings = settings
        self.reading = reading
    }
}

/// What the operator of the other load balancer decides.
public struct RenderSettings: Hashable, Sendable {
    /// Where plain HTTP is served, as the target writes addresses; empty: nowhere.
    public var httpListen: [String]
    /// Where HTTPS is served and TLS is passed through; empty: nowhere.
    public var httpsListen: [String]
    /// The port of https that clients see, for redirects.
    public var publicHTTPSPort: UInt16
    /// The directory that files are written to, as the target will read them; without a trailing slash.
    public var directory: String
    /// Every host is https only.
    public var isSSLOnly: Bool
    /// The addresses of entry ports for TCP, without their ports, as the target writes them.
    public var tcpAddresses: [String] = ["0.0.0.0"]
    /// The file of the system's authorities, for tasks whose certificate is verified and that name none.
    public var systemAuthorities = "/etc/ssl/certs/ca-certificates.crt"
    /// What holds where a service says nothing, as the proxy's own settings of these names.
    public var defaults = RenderDefaults()
    public var nginx = NginxSettings()

    public init(
        httpListen: [String] = ["80"], httpsListen: [String] = ["443"], publicHTTPSPort: UInt16 = 443,
        directory: String = "/etc/interlock", isSSLOnly: Bool = false
    ) {
        self.httpListen = httpListen
        self.httpsListen = httpsListen
        self.publicHTTPSPort = publicHTTPSPort
        self.directory = directory
        self.isSSLOnly = isSSLOnly
    }
}

/// What services do not say themselves. Durations are milliseconds.
public struct RenderDefaults: Hashable, Sendable {
    public var connectTimeoutMs = 2_000
    public var responseTimeoutMs = 600_000
    public var idleTimeoutMs = 60_000
    public var tunnelTimeoutMs = 3_600_000
    public var headerTimeoutMs = 10_000
    public var keepAliveTimeoutMs = 60_000
    /// Connections to tasks are kept that long.
    public var upstreamIdleTimeoutMs = 4_000
    public var retries = 2
    public var maxFails = 3
    public var failTimeoutMs = 10_000
    /// Bytes; 0: no limit.
    public var maxBodySize: UInt64 = 32 << 20
    public var minimumVersion = TLSVersion.tls12
    /// The name in `Via`; nil: none is written.
    public var viaName: String? = "interlock"

    public init() {}
}

/// What only nginx needs to know.
public struct NginxSettings: Hashable, Sendable {
    /// The module for TCP and passthrough, if it is not built in; loaded where it is needed. nil: built in.
    public var streamModule: String? = "modules/ngx_stream_module.so"
    /// Directives of the main context, a list of words each: `["user", "www-data"]`.
    public var mainLines: [[String]] = [["worker_processes", "auto"]]
    /// Where the unix sockets between nginx's own parts are made, without a trailing slash; nil: beside the files.
    public var socketDirectory: String?
    public var workerConnections = 4096

    public init() {}
}

/// One file of a rendered configuration.
public struct RenderedFile: Hashable, Sendable {
    /// Below `RenderSettings.directory`, without a leading slash.
    public var path: String
    public var bytes: [UInt8]
    /// Holds a key: written so that only its owner reads it.
    public var isSecret: Bool

    public init(path: String, bytes: [UInt8], isSecret: Bool = false) {
        self.path = path
        self.bytes = bytes
        self.isSecret = isSecret
    }
}

public struct RenderOutput: Hashable, Sendable {
    /// The main file first; paths are unique.
    public var files: [RenderedFile]
    /// What the target cannot express or was left out, named by service and label.
    public var diagnostics: [Diagnostic]

    public init(files: [RenderedFile] = [], diagnostics: [Diagnostic] = []) {
        self.files = files
        self.diagnostics = diagnostics
    }
}
