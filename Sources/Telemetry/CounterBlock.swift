// The memory that counters live in: one writer, any number of readers, no lock and no read-modify-write.
// A block is an allocation of its own on cache line pairs, so two workers never write to the same line.
// It never knows what a number means; the layouts beside it do.

public import Synchronization

/// A pointer to counters that somebody else keeps alive: what a worker holds, free of reference counting.
public struct CounterCells: BitwiseCopyable, @unchecked Sendable {
    @usableFromInline let base: UnsafeMutablePointer<Atomic<UInt64>>
    public let count: Int

    @usableFromInline
    init(base: UnsafeMutablePointer<Atomic<UInt64>>, count: Int) {
        self.base = base
        self.count = count
    }

    /// Adds to a counter. Only the one thread that owns the block may call this: it is a load and a store.
    @inlinable @inline(__always)
    public func add(_ index: Int, _ amount: UInt64 = 1) {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
        base[index].store(base[index].load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// Takes from a gauge; the owner's thread only.
    @inlinable @inline(__always)
    public func subtract(_ index: Int, _ amount: UInt64 = 1) {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
        base[index].store(base[index].load(ordering: .relaxed) &- amount, ordering: .relaxed)
    }

    /// Sets a gauge; the owner's thread only.
    @inlinable @inline(__always)
    public func set(_ index: Int, _ value: UInt64) {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
        base[index].store(value, ordering: .relaxed)
    }

    /// Reads a counter; any thread.
    @inlinable @inline(__always)
    public func value(_ index: Int) -> UInt64 {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
        return base[index].load(ordering: .relaxed)
    }

    /// The cells that begin at `index`; for a layout inside a larger block.
    @inlinable @inline(__always)
    public func slice(from index: Int, count: Int) -> CounterCells {
        precondition(index >= 0 && count >= 0 && index + count <= self.count)
        return CounterCells(base: base + index, count: count)
    }
}

/// Owns the memory of `rowCount` rows of counters; each row begins on its own 128 bytes.
public final class CounterBlock: Sendable {
    /// 128: the adjacent-line prefetcher pairs 64-byte lines.
    public static let alignment = 128

    /// Every row, padding included.
    private let cells: CounterCells
    public let rowCount: Int
    /// Counters in a row, without padding.
    public let count: Int
    /// Counters from the begin of one row to the begin of the next.
    public let rowStride: Int

    public init(count: Int, rowCount: Int = 1) {
        precondition(count > 0 && rowCount > 0)
        let perLine = Self.alignment / MemoryLayout<Atomic<UInt64>>.stride
        rowStride = (count + perLine - 1) / perLine * perLine
        self.count = count
        self.rowCount = rowCount
        let total = rowStride * rowCount
        let raw = UnsafeMutableRawPointer.allocate(
            byteCount: total * MemoryLayout<Atomic<UInt64>>.stride, alignment: Self.alignment)
        let base = raw.bindMemory(to: Atomic<UInt64>.self, capacity: total)
        for index in 0..<total { (base + index).initialize(to: Atomic(0)) }
        cells = CounterCells(base: base, count: total)
    }

    deinit {
        cells.base.deinitialize(count: cells.count)
        UnsafeMutableRawPointer(cells.base).deallocate()
    }

    /// The cells of one row; valid as long as the block is.
    public func row(_ index: Int) -> CounterCells {
        precondition(index >= 0 && index < rowCount)
        return cells.slice(from: index * rowStride, count: count)
    }

    /// The sum of one counter over all rows.
    public func total(_ index: Int) -> UInt64 {
        var sum: UInt64 = 0
        for row in 0..<rowCount { sum &+= self.row(row).value(index) }
        return sum
    }

    /// The begin of row 0; `rowStride` leads to the others.
    @usableFromInline var base: UnsafeMutablePointer<Atomic<UInt64>> { cells.base }
}
