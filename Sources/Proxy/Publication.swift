// What is swapped: one immutable object that holds everything a request needs to know about the world.
// The publishing thread builds it and, when every worker has handed it back, releases it: the last release of a large
// table never happens on a worker.

internal import Model
internal import Routing
internal import Telemetry

/// A route table, what it needs for TLS and the counters of its services, swapped as one.
final class Publication: Sendable {
    let table: RouteTable
    let tls: TLSTable
    let counters: ServiceCounterTable
    /// No two have the same; it grows by one with each. A renewed certificate makes a publication without a new table.
    let number: UInt64
    /// Tasks that got requests before they had a health check: they go on to until a probe fails.
    let presumed: [(identity: UInt64, endpoint: Endpoint)]
    /// The names that labels give to tasks, by position of the table's `backendTLS`; empty: the request's host.
    let backendNames: [[UInt8]]

    init(
        table: RouteTable, tls: TLSTable, counters: ServiceCounterTable, number: UInt64,
        presumed: [(identity: UInt64, endpoint: Endpoint)] = []
    ) {
        self.table = table
        self.tls = tls
        self.counters = counters
        self.number = number
        self.presumed = presumed
        backendNames = table.backendTLS.map { Array(($0.serverName ?? "").utf8) }
    }
}

/// What a worker is told from outside.
enum WorkerMessage: Sendable {
    case publish(Publication)
    /// What probes have found out since.
    case health([HealthChange])
    /// A listener of an entry port; it is the worker's from here on.
    case listen(Listener)
    /// Listen at that entry port no more.
    case closePort(UInt16)
    /// Stop accepting, finish what is under way, end by the deadline (CLOCK_MONOTONIC nanoseconds).
    case drain(deadlineNs: UInt64)
}

/// The health of a task, as its probes see it from now on.
struct HealthChange: Sendable {
    var identity: UInt64
    /// Where its requests go.
    var endpoint: Endpoint
    var health: TaskHealth
}

/// What the prober is told.
enum ProberMessage: Sendable {
    case publish(Publication)
    /// A worker passes over a task from now on, because requests failed on it.
    case passedOver(identity: UInt64, worker: Int, failure: UpstreamFailure, service: String, address: Endpoint)
    /// It does not any more.
    case takenBack(identity: UInt64, worker: Int)
    case stop
}

/// What a worker tells the publisher.
enum PublisherMessage: Sendable {
    /// A publication that this worker no longer uses.
    case retired(Publication)
    /// This worker listens at that entry port no more.
    case closedPort(UInt16)
}
