// A ring of bytes between one worker, which puts whole lines in, and the one log writer, which takes them out.
// A worker never waits: a line that does not fit is dropped and counted by the caller.

import Synchronization

public final class LogRing: @unchecked Sendable {
    private let memory: UnsafeMutableRawPointer
    private let capacity: Int
    private let mask: Int
    /// Bytes ever written; only the worker stores. Each end on its own cache line, or they would ping-pong.
    private let written: UnsafeMutablePointer<Atomic<Int>>
    /// Bytes ever read; only the log writer stores.
    private let consumed: UnsafeMutablePointer<Atomic<Int>>

    /// `capacity` in bytes, rounded up to a power of two.
    public init(capacity wanted: Int = 1 << 20) {
        var capacity = 4096
        while capacity < wanted { capacity *= 2 }
        self.capacity = capacity
        mask = capacity - 1
        memory = .allocate(byteCount: capacity + 2 * CounterBlock.alignment, alignment: CounterBlock.alignment)
        written = (memory + capacity).bindMemory(to: Atomic<Int>.self, capacity: 1)
        written.initialize(to: Atomic(0))
        consumed = (memory + capacity + CounterBlock.alignment).bindMemory(to: Atomic<Int>.self, capacity: 1)
        consumed.initialize(to: Atomic(0))
    }

    deinit {
        written.deinitialize(count: 1)
        consumed.deinitialize(count: 1)
        memory.deallocate()
    }

    /// Puts a whole line in, or nothing; the worker's thread only. False: no room.
    public func push(_ line: UnsafeRawBufferPointer) -> Bool {
        guard let source = line.baseAddress else { return true }
        let end = written.pointee.load(ordering: .relaxed)
        let start = consumed.pointee.load(ordering: .acquiring)
        guard line.count <= capacity - (end - start) else { return false }
        let offset = end & mask
        let first = min(line.count, capacity - offset)
        (memory + offset).copyMemory(from: source, byteCount: first)
        memory.copyMemory(from: source + first, byteCount: line.count - first)
        written.pointee.store(end + line.count, ordering: .releasing)
        return true
    }

    /// Hands out everything that is in, in one or two pieces that together are whole lines, then frees it; the log
    /// writer's thread only. Returns the bytes taken.
    @discardableResult
    public func drain(_ body: (UnsafeRawBufferPointer) -> Void) -> Int {
        let start = consumed.pointee.load(ordering: .relaxed)
        let end = written.pointee.load(ordering: .acquiring)
        guard end > start else { return 0 }
        let offset = start & mask
        let first = min(end - start, capacity - offset)
        body(UnsafeRawBufferPointer(start: memory + offset, count: first))
        if end - start > first {
            body(UnsafeRawBufferPointer(start: memory, count: end - start - first))
        }
        consumed.pointee.store(end, ordering: .releasing)
        return end - start
    }
}
