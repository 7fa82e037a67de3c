// Owns appending to a fixed piece of memory. It never grows and never writes past its end: what does not fit sets
// `overflowed` and everything after it is ignored, so a caller checks once, at the end.

import Glibc

/// Appends to borrowed memory of fixed capacity.
public struct ByteWriter {
    public let base: UnsafeMutablePointer<UInt8>
    public let capacity: Int
    public private(set) var count = 0
    /// Something did not fit. `bytes` then holds what came before it, which is no whole message.
    public private(set) var overflowed = false

    public init(base: UnsafeMutablePointer<UInt8>, capacity: Int) {
        precondition(capacity >= 0)
        self.base = base
        self.capacity = capacity
    }

    public init(_ buffer: UnsafeMutableRawBufferPointer) {
        precondition(buffer.count > 0)
        self.init(base: buffer.baseAddress!.assumingMemoryBound(to: UInt8.self), capacity: buffer.count)
    }

    /// What was written so far.
    public var bytes: Bytes { Bytes(UnsafePointer(base), count: count) }

    public var remaining: Int { capacity - count }

    /// Forgets everything after the first `count` bytes.
    public mutating func truncate(to count: Int) {
        precondition(count >= 0 && count <= self.count)
        self.count = count
    }

    /// Room for `size` bytes at the end, or nil after which the writer is overflowed.
    @inline(__always)
    private mutating func claim(_ size: Int) -> UnsafeMutablePointer<UInt8>? {
        guard !overflowed, size <= capacity &- count else {
            overflowed = true
            return nil
        }
        let place = base + count
        count &+= size
        return place
    }

    @inline(__always)
    public mutating func append(_ text: Bytes) {
        guard let place = claim(text.count) else { return }
        memcpy(place, text.base, text.count)
    }

    @inline(__always)
    public mutating func append(_ text: StaticString) {
        guard let place = claim(text.utf8CodeUnitCount) else { return }
        memcpy(place, text.utf8Start, text.utf8CodeUnitCount)
    }

    @inline(__always)
    public mutating func append(_ byte: UInt8) {
        guard let place = claim(1) else { return }
        place.pointee = byte
    }

    public mutating func append(_ array: [UInt8]) {
        array.withUnsafeBufferPointer { append(Bytes($0)) }
    }

    /// Decimal digits without leading zeros.
    public mutating func append(decimal value: UInt64) {
        var size = 1
        var rest = value / 10
        while rest > 0 {
            size &+= 1
            rest /= 10
        }
        guard let place = claim(size) else { return }
        rest = value
        var index = size
        while index > 0 {
            index &-= 1
            place[index] = 0x30 &+ UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
    }

    /// Lower-case hexadecimal digits without leading zeros, as a chunk's size is written.
    public mutating func append(hex value: UInt64) {
        let size = max(1, (64 &- value.leadingZeroBitCount &+ 3) / 4)
        guard let place = claim(size) else { return }
        var index = size
        var rest = value
        while index > 0 {
            index &-= 1
            let digit = UInt8(truncatingIfNeeded: rest & 15)
            place[index] = digit < 10 ? 0x30 &+ digit : 0x57 &+ digit
            rest >>= 4
        }
    }

    /// Text with `&`, `<`, `>` and both quotes written as entities.
    public mutating func append(htmlEscaped text: Bytes) {
        for index in 0..<text.count {
            switch text[index] {
            case 0x26: append("&amp;")
            case 0x3C: append("&lt;")
            case 0x3E: append("&gt;")
            case 0x22: append("&quot;")
            case 0x27: append("&#39;")
            case let byte: append(byte)
            }
        }
    }
}
