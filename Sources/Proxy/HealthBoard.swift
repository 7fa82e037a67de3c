// What is known about the health of tasks, for people: the admin pages read it, the prober writes it. Requests never
// look here.

internal import Model
internal import Synchronization

/// The health of one task.
public struct TaskHealthReading: Sendable, Hashable {
    /// `healthy`, `unhealthy`, or `unknown` before the first probe has succeeded; "" if its service has no check.
    public var health = ""
    /// Why it last failed, a probe or a request; "" if it did not.
    public var lastFailure = ""
    /// Nanoseconds since 1970; 0 if it did not fail.
    public var failedAtNs: UInt64 = 0
    /// Workers that pass it over now because of failed requests.
    public var avoidingWorkers = 0

    public init() {}
}

/// The health of all tasks of which there is something to say.
public struct HealthReport: Sendable {
    /// By the task's number, see `RouteTable.identity(service:upstream:)`.
    public var tasks: [UInt64: TaskHealthReading] = [:]
    /// Services none of whose tasks passes its check, in order: all of them are tried.
    public var panickingServices: [String] = []

    public init() {}
}

final class HealthBoard: Sendable {
    struct Probed {
        var health: TaskHealth
        var lastFailure = ""
        var failedAtNs: UInt64 = 0
    }

    struct PassedOver {
        var service: String
        var address: Endpoint
        var lastFailure = ""
        var failedAtNs: UInt64 = 0
        /// Those that pass it over now, or will until a request has tried it.
        var workers: Set<Int> = []

        init(service: String, address: Endpoint) {
            self.service = service
            self.address = address
        }
    }

    struct State {
        var probed: [UInt64: Probed] = [:]
        var passedOver: [UInt64: PassedOver] = [:]
        var panicking: Set<String> = []
    }

    private let state = Mutex(State())

    func update(_ change: (inout sending State) -> Void) { state.withLock { change(&$0) } }

    /// Made under the lock: the prober changes its dictionaries in place.
    func report() -> HealthReport { state.withLock { Self.report($0) } }

    private static func report(_ state: borrowing State) -> HealthReport {
        var report = HealthReport()
        for (identity, probed) in state.probed {
            var reading = TaskHealthReading()
            reading.health = probed.health.name
            reading.lastFailure = probed.lastFailure
            reading.failedAtNs = probed.failedAtNs
            report.tasks[identity] = reading
        }
        for (identity, passed) in state.passedOver {
            var reading = report.tasks[identity] ?? TaskHealthReading()
            reading.avoidingWorkers = passed.workers.count
            if passed.failedAtNs > reading.failedAtNs {
                reading.lastFailure = passed.lastFailure
                reading.failedAtNs = passed.failedAtNs
            }
            report.tasks[identity] = reading
        }
        report.panickingServices = state.panicking.sorted()
        return report
    }
}
