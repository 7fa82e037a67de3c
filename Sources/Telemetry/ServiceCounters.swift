// What is counted for one service, and how the memory is laid out: a row for each worker, so that a request costs a
// few plain stores to memory nobody else writes. The owner lives as long as any table that a worker may still hold.

import Synchronization

/// One worker's counters of one service.
public struct ServiceCells: BitwiseCopyable, Sendable {
    /// Rows of requests by class of status: 0 (nothing was answered), 1xx to 5xx.
    public static let requestClassCount = 6
    @usableFromInline static let bytesIn = requestClassCount
    @usableFromInline static let bytesOut = bytesIn + 1
    @usableFromInline static let retries = bytesIn + 2
    @usableFromInline static let failures = bytesIn + 3
    @usableFromInline static let durationSumUs = bytesIn + 4
    @usableFromInline static let streams = bytesIn + 5
    @usableFromInline static let streamsFailed = bytesIn + 6
    /// CLOCK_MONOTONIC nanoseconds.
    @usableFromInline static let lastAnswer = bytesIn + 7
    @usableFromInline static let buckets = bytesIn + 8
    @usableFromInline static let waiting = buckets + DurationBuckets.count
    @usableFromInline static let waits = waiting + 1
    @usableFromInline static let waitUs = waiting + 2
    @usableFromInline static let count = waiting + 3

    @usableFromInline let cells: CounterCells

    @usableFromInline
    init(_ cells: CounterCells) { self.cells = cells }

    /// One request that ended: its status (0 if nothing was answered) and its duration.
    @inlinable @inline(__always)
    public func addRequest(status: UInt16, durationUs: UInt64) {
        cells.add(status >= 100 && status < 600 ? Int(status / 100) : 0)
        cells.add(Self.buckets + DurationBuckets.index(durationUs))
        cells.add(Self.durationSumUs, durationUs)
    }

    /// Bytes of request bodies, heads and tunnels that went to the service's tasks.
    @inlinable @inline(__always)
    public func addBytesIn(_ count: UInt64) { cells.add(Self.bytesIn, count) }

    /// Bytes that came from the service's tasks.
    @inlinable @inline(__always)
    public func addBytesOut(_ count: UInt64) { cells.add(Self.bytesOut, count) }

    /// One TCP connection that ended. It is no request, whatever its duration.
    /// - Parameter reachedTask: a task took the connection.
    @inlinable @inline(__always)
    public func addStream(reachedTask: Bool) {
        cells.add(Self.streams)
        if !reachedTask { cells.add(Self.streamsFailed) }
    }

    @inlinable @inline(__always)
    public func addRetry() { cells.add(Self.retries) }

    @inlinable @inline(__always)
    public func addFailure() { cells.add(Self.failures) }

    /// A task of the service has answered, at that time (CLOCK_MONOTONIC).
    @inlinable @inline(__always)
    public func noteAnswer(atNs nowNs: UInt64) { cells.set(Self.lastAnswer, nowNs) }

    /// A request begins to wait.
    /// - Parameter isFirst: it did not wait before.
    public func beginWait(isFirst: Bool) {
        cells.add(Self.waiting)
        if isFirst { cells.add(Self.waits) }
    }

    /// A request waits no more.
    public func endWait(durationUs: UInt64) {
        cells.subtract(Self.waiting)
        cells.add(Self.waitUs, durationUs)
    }
}

/// The counters of one service, over all workers.
public final class ServiceCounters: Sendable {
    public let name: String
    private let block: CounterBlock

    public init(name: String, workerCount: Int) {
        self.name = name
        block = CounterBlock(count: ServiceCells.count, rowCount: workerCount)
    }

    public func cells(worker: Int) -> ServiceCells { ServiceCells(block.row(worker)) }

    var base: UnsafeMutablePointer<Atomic<UInt64>> { block.base }
    var rowStride: Int { block.rowStride }

    /// What all workers counted so far. Numbers are read one by one: a request under way may be half in them.
    public func reading() -> ServiceReading {
        var reading = ServiceReading(name: name)
        for index in 0..<ServiceCells.requestClassCount { reading.requests[index] = block.total(index) }
        for index in 0..<DurationBuckets.count { reading.buckets[index] = block.total(ServiceCells.buckets + index) }
        reading.durationSumUs = block.total(ServiceCells.durationSumUs)
        reading.bytesIn = block.total(ServiceCells.bytesIn)
        reading.bytesOut = block.total(ServiceCells.bytesOut)
        reading.retries = block.total(ServiceCells.retries)
        reading.failures = block.total(ServiceCells.failures)
        reading.waiting = block.total(ServiceCells.waiting)
        reading.waits = block.total(ServiceCells.waits)
        reading.waitUs = block.total(ServiceCells.waitUs)
        reading.streams = block.total(ServiceCells.streams)
        reading.streamsFailed = block.total(ServiceCells.streamsFailed)
        return reading
    }
}

/// Plain numbers of one service.
public struct ServiceReading: Sendable, Equatable {
    public var name: String
    /// By class of status, 0 (no answer) to 5.
    public var requests = [UInt64](repeating: 0, count: ServiceCells.requestClassCount)
    /// Not cumulative.
    public var buckets = [UInt64](repeating: 0, count: DurationBuckets.count)
    public var durationSumUs: UInt64 = 0
    public var bytesIn: UInt64 = 0
    public var bytesOut: UInt64 = 0
    public var retries: UInt64 = 0
    public var failures: UInt64 = 0
    /// Requests that wait for a task now, that ever waited, and the time they waited.
    public var waiting: UInt64 = 0
    public var waits: UInt64 = 0
    public var waitUs: UInt64 = 0
    /// TCP connections that ended, and of these the ones that reached no task.
    public var streams: UInt64 = 0
    public var streamsFailed: UInt64 = 0

    public init(name: String) { self.name = name }

    /// Two services of one name make one series.
    mutating func merge(_ other: ServiceReading) {
        for index in requests.indices { requests[index] &+= other.requests[index] }
        for index in buckets.indices { buckets[index] &+= other.buckets[index] }
        durationSumUs &+= other.durationSumUs
        bytesIn &+= other.bytesIn
        bytesOut &+= other.bytesOut
        retries &+= other.retries
        failures &+= other.failures
        waiting &+= other.waiting
        waits &+= other.waits
        waitUs &+= other.waitUs
        streams &+= other.streams
        streamsFailed &+= other.streamsFailed
    }
}
