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
    /// When a ready task of a service was last lost, CLOCK_MONOTONIC nanoseconds, by position of the service; those
    /// for which that is long ago are not here.
    let losses: [Int32: UInt64]
    /// nil: no service limits what its tasks may have to do.
    let limits: ConnectionLimits?

    init(
        table: RouteTable, tls: TLSTable, counters: ServiceCounterTable, number: UInt64,
        presumed: [(identity: UInt64, endpoint: Endpoint)] = [], losses: [Int32: UInt64] = [:],
        limits: ConnectionLimits? = nil
    ) {
        self.table = table
        self.tls = tls
        self.counters = counters
        self.number = number
        self.presumed = presumed
        self.losses = losses
        self.limits = limits
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
    /// A task of the service in that slot may take another request; this worker's has waited longest.
    case placeFreed(Int32)
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

/// When services lost tasks: what the publisher remembers from table to table.
struct TaskLosses {
    /// A service that lost a task longer ago is one that is down, not one that is being replaced.
    static var windowNs: UInt64 { 60_000_000_000 }

    private var times: [String: UInt64] = [:]

    mutating func note(_ table: RouteTable, since old: RouteTable, nowNs: UInt64) {
        if !times.isEmpty { times = times.filter { nowNs &- $0.value < Self.windowNs } }
        for position in table.servicesWithLosses(since: old) { times[old.services[Int(position)].id] = nowNs }
    }

    /// The times by position of the service.
    func positions(in table: RouteTable) -> [Int32: UInt64] {
        guard !times.isEmpty else { return [:] }
        var positions: [Int32: UInt64] = [:]
        for (position, service) in table.services.enumerated() {
            if let time = times[service.id] { positions[Int32(position)] = time }
        }
        return positions
    }
}
