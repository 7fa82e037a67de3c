// How many requests each task has under way, for services that say how many it may have (`max_connections`): exact over
// all workers of the process. A count belongs to a task, not to a table, and is never touched for other services.
// Beside it stands which workers have requests that wait for a place, and since when, so that a place that is freed
// goes to the one that has waited longest.

internal import Model
internal import Routing
internal import Synchronization

/// The places of one task. Any worker takes and gives them.
final class TaskLimit: Sendable {
    private let used = Atomic<Int>(0)
    /// What the newest table says; a request under way is not ended because of it.
    private let limit: Atomic<Int>

    init(limit: Int) { self.limit = Atomic(limit) }

    var usedCount: Int { used.load(ordering: .sequentiallyConsistent) }
    var leftCount: Int { limit.load(ordering: .relaxed) - usedCount }

    func setLimit(_ count: Int) { limit.store(count, ordering: .sequentiallyConsistent) }

    /// Takes a place if one is left.
    func take() -> Bool {
        let limit = limit.load(ordering: .relaxed)
        var count = used.load(ordering: .relaxed)
        while count < limit {
            let (isDone, now) = used.compareExchange(
                expected: count, desired: count + 1, ordering: .sequentiallyConsistent)
            if isDone { return true }
            count = now
        }
        return false
    }

    func give() {
        let left = used.subtract(1, ordering: .sequentiallyConsistent).newValue
        precondition(left >= 0, "a place was given twice")
    }
}

/// Which workers have requests of a service that wait for a place.
final class TurnQueue: @unchecked Sendable {
    /// By worker: since when the one that has waited longest does, CLOCK_MONOTONIC nanoseconds; never if there is none.
    private let oldest: UnsafeMutablePointer<Atomic<UInt64>>
    private let workerCount: Int

    init(workerCount: Int) {
        self.workerCount = workerCount
        oldest = .allocate(capacity: workerCount)
        for worker in 0..<workerCount { (oldest + worker).initialize(to: Atomic(.max)) }
    }

    deinit {
        oldest.deinitialize(count: workerCount)
        oldest.deallocate()
    }

    /// The worker itself says so, before it looks for a place once more: who gives one back looks here afterwards, so
    /// one of the two sees the other.
    func set(_ sinceNs: UInt64, worker: Int) {
        oldest[worker].store(sinceNs, ordering: .sequentiallyConsistent)
    }

    /// Of the other workers the one that has waited longest; nil if none waits, or none longer than `ownNs`.
    func longest(besides own: Int, before ownNs: UInt64) -> Int? {
        var found: Int?
        var foundNs = ownNs
        for worker in 0..<workerCount where worker != own {
            let sinceNs = oldest[worker].load(ordering: .sequentiallyConsistent)
            if sinceNs < foundNs {
                found = worker
                foundNs = sinceNs
            }
        }
        return found
    }
}

/// The limits of one table.
final class ConnectionLimits: Sendable {
    /// By the identity of the upstream.
    let tasks: [UInt64: TaskLimit]
    /// By the slot of the service whose room requests wait in.
    let queues: [Int32: TurnQueue]

    init(tasks: [UInt64: TaskLimit], queues: [Int32: TurnQueue]) {
        self.tasks = tasks
        self.queues = queues
    }
}

/// What the publisher keeps of limits from table to table.
struct LimitBook {
    private var tasks: [UInt64: TaskLimit] = [:]
    private var queues: [Int32: (service: String, queue: TurnQueue)] = [:]

    /// The limits for a table, with the counts of tasks that it still names; nil if no service has one.
    mutating func limits(for table: RouteTable, workerCount: Int) -> ConnectionLimits? {
        var nextTasks: [UInt64: TaskLimit] = [:]
        var nextQueues: [Int32: (service: String, queue: TurnQueue)] = [:]
        for index in 0..<Int32(table.poolCount) {
            let isLimited = table.servicesBehind(pool: index).contains { table.waiting($0).maxConnections > 0 }
            guard isLimited else { continue }
            let pool = table.pool(index)
            let room = table.service(pool.service).statsSlot
            let service = table.services[Int(pool.service)].id
            let known = queues[room]
            nextQueues[room] =
                known?.service == service ? known : (service, TurnQueue(workerCount: workerCount))
            for position in pool.firstMember..<(pool.firstMember + pool.memberCount) {
                let member = table.member(position)
                let limit = Int(table.waiting(member.service).maxConnections)
                guard limit > 0 else { continue }
                let task = tasks[member.identity] ?? TaskLimit(limit: limit)
                task.setLimit(limit)
                nextTasks[member.identity] = task
            }
        }
        // A task may be taken out, or be without a limit for a while, and come back with what it has to do.
        for (identity, limit) in tasks where nextTasks[identity] == nil && table.names(identity) {
            limit.setLimit(.max)
            nextTasks[identity] = limit
        }
        tasks = nextTasks
        queues = nextQueues
        guard !nextQueues.isEmpty else { return nil }
        return ConnectionLimits(tasks: nextTasks, queues: nextQueues.mapValues(\.queue))
    }
}
