// What the admin pages know about the health of tasks: plain values that the executable fills from the proxy's report.

public import Telemetry

/// The health of one task.
public struct TaskHealth: Sendable, Hashable {
    /// `healthy`, `unhealthy`, `unknown`; "" if its service has no health check.
    public var health: String
    /// Why a probe or a request of it last failed; "" if none did.
    public var lastFailure: String
    /// Nanoseconds since 1970.
    public var failedAtNs: UInt64
    /// Workers that pass it over because requests failed on it.
    public var avoidingWorkers: Int

    public init(health: String = "", lastFailure: String = "", failedAtNs: UInt64 = 0, avoidingWorkers: Int = 0) {
        self.health = health
        self.lastFailure = lastFailure
        self.failedAtNs = failedAtNs
        self.avoidingWorkers = avoidingWorkers
    }
}

public struct TasksReading: Sendable {
    /// By the task's number in the route table.
    public var tasks: [UInt64: TaskHealth]
    /// Services none of whose tasks passes its check.
    public var panickingServices: [String]
    public var probes: ProbeCounters

    public init(
        tasks: [UInt64: TaskHealth] = [:], panickingServices: [String] = [], probes: ProbeCounters = ProbeCounters()
    ) {
        self.tasks = tasks
        self.panickingServices = panickingServices
        self.probes = probes
    }
}
