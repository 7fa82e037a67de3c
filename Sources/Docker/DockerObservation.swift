// What the watcher of an engine hands out: looks at the world, notes for the log, and how it is doing itself.

public import Discovery
public import Model

public struct DockerSettings: Hashable, Sendable {
    public var endpoint: DockerEndpoint
    /// With its trailing dot; configs labelled `<prefix>services` are services files, and those
    /// labelled `<prefix>pin` hold a pin.
    public var labelPrefix: String
    /// Full lists while all is quiet.
    public var pollIntervalMs: Int
    /// Lists of tasks while any is on the move.
    public var busyPollIntervalMs: Int
    /// For one call with its whole answer.
    public var callTimeoutMs: Int
    /// Bytes of one answer.
    public var answerLimit: Int
    /// After this long without an event the event stream is opened anew.
    public var eventSilenceMs: Int
    /// What may be written, by those who are made for it. The watcher itself never writes.
    public var writes: DockerWrites

    public init(
        endpoint: DockerEndpoint, labelPrefix: String = "com.docker.lb.", pollIntervalMs: Int = 5_000,
        busyPollIntervalMs: Int = 250, callTimeoutMs: Int = 30_000, answerLimit: Int = 512 << 20,
        eventSilenceMs: Int = 300_000, writes: DockerWrites = []
    ) {
        self.endpoint = endpoint
        self.labelPrefix = labelPrefix
        self.pollIntervalMs = pollIntervalMs
        self.busyPollIntervalMs = busyPollIntervalMs
        self.callTimeoutMs = callTimeoutMs
        self.answerLimit = answerLimit
        self.eventSilenceMs = eventSilenceMs
        self.writes = writes
    }
}

/// One look at what an engine knows.
public struct DockerObservation: Hashable, Sendable {
    public var inventory: Inventory
    /// What could not be read, and was left out of the inventory.
    public var problems: [Diagnostic]
    /// Ids of the networks that this process's own container sits on, by name; nil if it runs in no container of
    /// this engine.
    public var ownNetworks: [String]?
    /// The name of the Swarm service that this process's own container belongs to; nil if there is none.
    public var ownService: String?
    /// Pins that the Swarm holds, whole and readable, the newest first.
    public var pins: [Pin]
    /// What is wrong with those that are not.
    public var pinProblems: [Diagnostic]
    /// The engine's node in its Swarm; "" without one.
    public var nodeID: String
    /// The engine is a manager of a Swarm.
    public var isManager: Bool

    public init(
        inventory: Inventory, problems: [Diagnostic] = [], ownNetworks: [String]? = nil, ownService: String? = nil,
        pins: [Pin] = [], pinProblems: [Diagnostic] = [], nodeID: String = "",
        isManager: Bool = false
    ) {
        self.inventory = inventory
        self.problems = problems
        self.ownNetworks = ownNetworks
        self.ownService = ownService
        self.pins = pins
        self.pinProblems = pinProblems
        self.nodeID = nodeID
        self.isManager = isManager
    }
}

/// A line for the log.
public struct DockerNote: Hashable, Sendable {
    public enum Level: Hashable, Sendable { case info, warning, debug }

    public var level: Level
    /// The same words each time.
    public var message: String
    /// What is particular this time; "" if nothing is.
    public var detail: String

    public init(_ level: Level, _ message: String, _ detail: String = "") {
        self.level = level
        self.message = message
        self.detail = detail
    }
}

/// How the watcher is doing.
public struct DockerStatus: Hashable, Sendable {
    /// The last list succeeded.
    public var isConnected = false
    public var isEventStreamOpen = false
    /// The engine is a manager of a Swarm, so that services can be listed.
    public var isManager = false
    public var apiVersion = ""
    public var serverVersion = ""
    public var clusterID = ""
    /// The highest `Version.Index` ever seen in the cluster.
    public var highestVersion: UInt64 = 0
    /// From the engine's time of the last event to its receipt, in milliseconds; nil before the first.
    public var eventLagMs: Int?
    /// Since the last list that succeeded began; nil before the first.
    public var lastListAgeMs: Int?
    public var lastListDurationMs: Int?
    public var fullListCount: UInt64 = 0
    public var taskListCount: UInt64 = 0
    public var failedListCount: UInt64 = 0
    public var staleListCount: UInt64 = 0
    public var eventCount: UInt64 = 0
    /// Changes that a quiet poll found and no event announced.
    public var unannouncedChangeCount: UInt64 = 0
    /// Tasks by `Status.State`, of those that are wanted or still stopping.
    public var taskCounts: [TaskState: Int] = [:]
    /// Why the last list failed; "" if it did not.
    public var lastFailure = ""

    public init() {}
}
