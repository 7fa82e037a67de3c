// Where the admin pages get what they show: plain values and closures that the executable supplies. A role supplies
// what it has; the rest is not shown. The pages only read; what can be changed are the two acts of `AdminActions`.

public import Model
public import Routing
public import Telemetry

/// Everything the pages are made of. The closures are called on admin threads, several at once.
public struct AdminSource: Sendable {
    public var build: BuildInformation
    public var health: @Sendable () -> HealthReading
    /// The table that is served now; nil before the first.
    public var table: @Sendable () -> RouteTable?
    public var control: @Sendable () -> ControlReading
    /// The certificates in use.
    public var tls: @Sendable () -> TLSReading
    /// The ports that services ask for.
    public var entryPorts: @Sendable () -> [PortReading]
    /// The health of tasks.
    public var tasks: @Sendable () -> TasksReading
    /// Where the process runs, in one word without spaces: a health check knows its own process by it.
    public var processNamespace: String
    /// How the process takes over ports from another one, in words; "": it does not.
    public var takeover: String
    /// nil: this role carries no traffic.
    public var traffic: TrafficSource?
    /// The controller that tables come from, or the proxies and extensions that they go to; nil: there is no feed.
    public var feed: @Sendable () -> FeedReading?
    /// Earlier configurations, the newest first; nil: none are kept here.
    public var history: @Sendable () -> HistoryReading?
    /// The whole snapshot of a proxy group (nil: of this process's own) as JSON; nil: there is none.
    public var snapshot: @Sendable (_ cluster: String?) -> [UInt8]?
    /// The table of one proxy group; nil: there is none.
    public var clusterTable: @Sendable (_ cluster: String) -> RouteTable?
    /// By what settings requests are decided about; nil: none are, here or by whom this process tells.
    public var explain: ExplainTerms?
    /// The alert that TLS is refused with under a server name; nil: it is not, or nobody knows.
    public var refusal: @Sendable (_ serverName: String) -> String?
    /// The load balancer that is configured; nil: this is no extension.
    public var balancer: @Sendable () -> BalancerReading?
    /// nil: nothing can be changed here.
    public var actions: AdminActions?

    public init(
        build: BuildInformation, traffic: TrafficSource? = nil,
        health: @escaping @Sendable () -> HealthReading, table: @escaping @Sendable () -> RouteTable?,
        control: @escaping @Sendable () -> ControlReading, tls: @escaping @Sendable () -> TLSReading = { TLSReading() },
        entryPorts: @escaping @Sendable () -> [PortReading] = { [] },
        tasks: @escaping @Sendable () -> TasksReading = { TasksReading() },
        feed: @escaping @Sendable () -> FeedReading? = { nil },
        history: @escaping @Sendable () -> HistoryReading? = { nil },
        snapshot: @escaping @Sendable (_ cluster: String?) -> [UInt8]? = { _ in nil },
        clusterTable: @escaping @Sendable (_ cluster: String) -> RouteTable? = { _ in nil },
        explain: ExplainTerms? = nil, refusal: @escaping @Sendable (_ serverName: String) -> String? = { _ in nil },
        balancer: @escaping @Sendable () -> BalancerReading? = { nil },
        actions: AdminActions? = nil, processNamespace: String = "", takeover: String = ""
    ) {
        self.processNamespace = processNamespace
        self.takeover = takeover
        self.build = build
        self.traffic = traffic
        self.feed = feed
        self.history = history
        self.snapshot = snapshot
        self.clusterTable = clusterTable
        self.explain = explain
        self.refusal = refusal
        self.balancer = balancer
        self.actions = actions
        self.health = health
        self.table = table
        self.control = control
        self.tls = tls
        self.entryPorts = entryPorts
        self.tasks = tasks
    }
}

/// What workers counted.
public struct TrafficSource: Sendable {
    public var counters: ProxyCounters
    public var services: ServiceRegistry
    /// Names of the reasons that requests are refused for, by their number in `ProxyCells.add(rejection:)`.
    public var rejectionNames: [(number: Int, name: String)]
    /// Likewise of the reasons that handshakes fail for, in `ProxyCells.add(handshakeFailure:)`.
    public var handshakeFailureNames: [(number: Int, name: String)]

    public init(
        counters: ProxyCounters, services: ServiceRegistry, rejectionNames: [(number: Int, name: String)],
        handshakeFailureNames: [(number: Int, name: String)] = []
    ) {
        self.counters = counters
        self.services = services
        self.rejectionNames = rejectionNames
        self.handshakeFailureNames = handshakeFailureNames
    }
}

/// How an entry port of services stands.
public struct PortReading: Sendable, Hashable {
    public var port: UInt16
    /// Why nobody listens there; nil: all is well.
    public var problem: String?

    public init(port: UInt16, problem: String? = nil) {
        self.port = port
        self.problem = problem
    }
}

public struct BuildInformation: Sendable, Hashable {
    public var version: String
    /// The commit it was built from, or "unknown".
    public var revision: String

    public init(version: String, revision: String = "unknown") {
        self.version = version
        self.revision = revision
    }
}

/// How the process is.
public struct HealthReading: Sendable, Hashable {
    public enum Phase: String, Sendable { case starting, ready, draining }

    public var phase: Phase
    /// Whether it was ready at any time since its start.
    public var wasReady: Bool
    /// Why the process should be replaced, for example a worker that no longer turns; nil: it is well.
    public var problem: String?

    public init(phase: Phase, wasReady: Bool, problem: String? = nil) {
        self.phase = phase
        self.wasReady = wasReady
        self.problem = problem
    }
}

/// What the control plane knows about itself.
public struct ControlReading: Sendable {
    /// nil: Docker is not watched.
    public var docker: DockerReading?
    /// Everything that is wrong with services right now.
    public var diagnostics: [Diagnostic]
    public var publishedCount: UInt64
    public var unchangedCount: UInt64
    /// When the served table was handed to the workers, nanoseconds since 1970; nil before the first.
    public var publishedAtNs: UInt64?
    /// nil: the configuration is what the services say.
    public var pin: PinReading?

    public init(
        docker: DockerReading? = nil, diagnostics: [Diagnostic] = [], publishedCount: UInt64 = 0,
        unchangedCount: UInt64 = 0, publishedAtNs: UInt64? = nil, pin: PinReading? = nil
    ) {
        self.pin = pin
        self.docker = docker
        self.diagnostics = diagnostics
        self.publishedCount = publishedCount
        self.unchangedCount = unchangedCount
        self.publishedAtNs = publishedAtNs
    }
}

/// The watcher of the Docker engine.
public struct DockerReading: Sendable {
    public var isConnected = false
    public var isEventStreamOpen = false
    public var isManager = false
    public var apiVersion = ""
    public var serverVersion = ""
    /// From the engine's time of the last event to its receipt; nil before the first.
    public var eventLagMs: Int?
    /// Since the last list that succeeded began; nil before the first.
    public var lastListAgeMs: Int?
    public var lastListDurationMs: Int?
    public var fullListCount: UInt64 = 0
    public var taskListCount: UInt64 = 0
    public var failedListCount: UInt64 = 0
    public var staleListCount: UInt64 = 0
    public var eventCount: UInt64 = 0
    public var unannouncedChangeCount: UInt64 = 0
    /// Tasks by the engine's name of their state.
    public var taskCounts: [(state: String, count: Int)] = []
    /// Why the last list failed; "" if it did not.
    public var lastFailure = ""

    public init() {}
}
