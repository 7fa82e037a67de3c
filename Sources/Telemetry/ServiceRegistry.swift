// Which services have counters now. The publisher registers and releases; the admin page reads; workers see only the
// `ServiceCounterTable` that comes with a publication and never this lock.
// A released service's series vanish at once; its memory goes when the last table that names it goes.

public import Synchronization

/// The counters of a table's services by index: what a publication retains and a worker reads without counting
/// references.
public final class ServiceCounterTable: @unchecked Sendable {
    /// Keeps the memory alive.
    private let owners: [ServiceCounters]
    public let count: Int
    public let workerCount: Int
    @usableFromInline let bases: UnsafeMutablePointer<UnsafeMutablePointer<Atomic<UInt64>>>
    @usableFromInline let rowStride: Int

    /// `services` in the order of the route table's services; all made by registries of `workerCount` workers.
    init(services: [ServiceCounters], workerCount: Int) {
        owners = services
        count = services.count
        self.workerCount = workerCount
        rowStride = services.first?.rowStride ?? 0
        bases = .allocate(capacity: max(services.count, 1))
        for (index, service) in services.enumerated() { (bases + index).initialize(to: service.base) }
    }

    deinit { bases.deallocate() }

    /// The name of a service, for the access log.
    public func name(service: Int) -> String { owners[service].name }

    /// When a task of the service last answered, on any worker, CLOCK_MONOTONIC nanoseconds; 0: never.
    public func lastAnswerNs(service: Int) -> UInt64 {
        var newest: UInt64 = 0
        for worker in 0..<workerCount {
            newest = max(newest, cells(service: service, worker: worker).cells.value(ServiceCells.lastAnswer))
        }
        return newest
    }

    /// The cells to count into; valid as long as this table is retained.
    @inlinable @inline(__always)
    public func cells(service: Int, worker: Int) -> ServiceCells {
        precondition(UInt(bitPattern: service) < UInt(bitPattern: count))
        precondition(UInt(bitPattern: worker) < UInt(bitPattern: workerCount))
        return ServiceCells(CounterCells(base: bases[service] + worker * rowStride, count: ServiceCells.count))
    }
}

public final class ServiceRegistry: Sendable {
    public let workerCount: Int
    /// For requests that reached no service; the series is called `-`, which no service can be.
    public let unrouted: ServiceCounters
    private let slots = Mutex<[Int32: ServiceCounters]>([:])

    public init(workerCount: Int) {
        self.workerCount = workerCount
        unrouted = ServiceCounters(name: "-", workerCount: workerCount)
    }

    /// The counters of the service in `slot`: the same object as long as the slot holds the same name.
    @discardableResult
    public func register(slot: Int32, name: String) -> ServiceCounters {
        slots.withLock { slots in
            if let known = slots[slot], known.name == name { return known }
            let made = ServiceCounters(name: name, workerCount: workerCount)
            slots[slot] = made
            return made
        }
    }

    /// The service is gone: no more series. Workers may still count until their table goes.
    public func release(slot: Int32) {
        _ = slots.withLock { $0.removeValue(forKey: slot) }
    }

    /// Makes exactly these services live, keeps the counts of those that stay, and returns their cells in this order.
    public func update(_ services: [(slot: Int32, name: String)]) -> ServiceCounterTable {
        let owners = slots.withLock { slots in
            var next: [Int32: ServiceCounters] = [:]
            next.reserveCapacity(services.count)
            let owners = services.map { service in
                let known = next[service.slot] ?? slots[service.slot]
                let owner =
                    known?.name == service.name
                    ? known! : ServiceCounters(name: service.name, workerCount: workerCount)
                next[service.slot] = owner
                return owner
            }
            slots = next
            return owners
        }
        return ServiceCounterTable(services: owners, workerCount: workerCount)
    }

    /// What every live service counted, sorted by name, services of one name added up; `-` only once it has counts.
    public func readings() -> [ServiceReading] {
        let owners = slots.withLock { Array($0.values) }
        var byName: [String: ServiceReading] = [:]
        for owner in owners + [unrouted] {
            let reading = owner.reading()
            if owner === unrouted, reading == ServiceReading(name: owner.name) { continue }
            byName[owner.name, default: ServiceReading(name: owner.name)].merge(reading)
        }
        return byName.values.sorted { $0.name < $1.name }
    }
}
