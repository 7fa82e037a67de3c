// Byte buffers for what has to wait: partial heads, bytes a peer did not take yet. Idle connections hold none.
// Buffers come in a few sizes and are kept for reuse up to a bound; in steady state nothing is allocated.

internal import Kernel
internal import Wire

/// Bytes in pooled memory: `start..<end` is filled. Copies of the value share the memory; one place owns it.
struct PooledBuffer: BitwiseCopyable {
    fileprivate(set) var base: UnsafeMutablePointer<UInt8>?
    fileprivate(set) var capacity: Int32 = 0
    private(set) var start: Int32 = 0
    private(set) var end: Int32 = 0

    static var empty: PooledBuffer { PooledBuffer() }

    @inline(__always) var isEmpty: Bool { start == end }
    @inline(__always) var count: Int { Int(end - start) }
    @inline(__always) var space: Int { Int(capacity - end) }
    @inline(__always) var isAllocated: Bool { base != nil }

    /// The filled bytes. Not to be asked of a buffer without memory.
    @inline(__always) var bytes: Bytes {
        guard let base else { preconditionFailure("an empty buffer was read") }
        return Bytes(base + Int(start), count: count)
    }

    /// Where the next byte goes.
    @inline(__always) var tail: UnsafeMutablePointer<UInt8> {
        guard let base else { preconditionFailure("an empty buffer was written") }
        return base + Int(end)
    }

    @inline(__always) mutating func filled(_ count: Int) {
        precondition(count <= space, "a buffer was overfilled")
        end += Int32(count)
    }

    @inline(__always) mutating func consume(_ count: Int) {
        precondition(count <= self.count, "a buffer was overdrawn")
        start += Int32(count)
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Moves the filled bytes to the front.
    mutating func compact() {
        guard start > 0, let base else { return }
        base.update(from: base + Int(start), count: count)
        end -= start
        start = 0
    }
}

/// One worker's free lists, by size class.
struct BufferPool: ~Copyable {
    static let sizes: [Int32] = [4096, 16384, 65536, 1 << 18, 1 << 20]
    /// How many bytes each class may keep for reuse.
    private static let keptBytes = 8 << 20
    private var free: [[UnsafeMutablePointer<UInt8>]] = Array(repeating: [], count: sizes.count)
    /// Bytes handed out and not yet returned.
    private(set) var usedBytes = 0

    init() {
        for index in Self.sizes.indices { free[index].reserveCapacity(Self.keptBytes / Int(Self.sizes[index])) }
    }

    deinit {
        for list in free { for base in list { base.deallocate() } }
    }

    /// A buffer of at least `minimum` bytes (at most 1 MiB).
    mutating func take(_ minimum: Int) -> PooledBuffer {
        var index = 0
        while Int(Self.sizes[index]) < minimum {
            index += 1
            precondition(index < Self.sizes.count, "no buffer is that large")
        }
        let size = Self.sizes[index]
        usedBytes += Int(size)
        let base = free[index].popLast() ?? .allocate(capacity: Int(size))
        return PooledBuffer(base: base, capacity: size)
    }

    mutating func give(_ buffer: inout PooledBuffer) {
        guard let base = buffer.base else { return }
        var index = 0
        while Self.sizes[index] != buffer.capacity { index += 1 }
        usedBytes -= Int(buffer.capacity)
        if free[index].count < free[index].capacity { free[index].append(base) } else { base.deallocate() }
        buffer = .empty
    }

    /// Adds bytes behind those in `buffer`, taking or growing memory as needed.
    /// - Returns: false if it would pass 1 MiB; nothing was added then.
    mutating func append(_ bytes: UnsafeRawBufferPointer, to buffer: inout PooledBuffer) -> Bool {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return true }
        guard reserve(bytes.count, in: &buffer) else { return false }
        UnsafeMutableRawPointer(buffer.tail).copyMemory(from: source, byteCount: bytes.count)
        buffer.filled(bytes.count)
        return true
    }

    /// Adds what is in the pieces of `gather` behind the first `skipped` bytes.
    mutating func append(_ gather: borrowing GatherList, from skipped: Int, to buffer: inout PooledBuffer) -> Bool {
        var skip = skipped
        for index in 0..<gather.count {
            let piece = gather.piece(at: index)
            if skip >= piece.count {
                skip -= piece.count
                continue
            }
            guard append(UnsafeRawBufferPointer(rebasing: piece[skip...]), to: &buffer) else { return false }
            skip = 0
        }
        return true
    }

    /// Makes room for `count` more bytes.
    mutating func reserve(_ count: Int, in buffer: inout PooledBuffer) -> Bool {
        if !buffer.isAllocated {
            guard count <= Int(Self.sizes[Self.sizes.count - 1]) else { return false }
            buffer = take(count)
            return true
        }
        if buffer.space >= count { return true }
        buffer.compact()
        if buffer.space >= count { return true }
        guard buffer.count + count <= Int(Self.sizes[Self.sizes.count - 1]) else { return false }
        var larger = take(buffer.count + count)
        larger.tail.update(from: buffer.bytes.base, count: buffer.count)
        larger.filled(buffer.count)
        give(&buffer)
        buffer = larger
        return true
    }
}
