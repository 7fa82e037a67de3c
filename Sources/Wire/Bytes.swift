// Owns the two ways this package points at bytes: `ByteSpan`, a range inside one message, and `Bytes`, a borrowed
// view of memory. Neither owns memory, neither outlives the call it is passed to, and every access through `Bytes`
// is checked in release builds too: a parser that is wrong must stop, not read its neighbour's request.

import Glibc

/// A range inside a message buffer, in bytes from its start.
public struct ByteSpan: BitwiseCopyable, Equatable, Sendable {
    public var start: UInt32
    public var count: UInt32

    @inlinable @inline(__always)
    public init(start: UInt32, count: UInt32) {
        self.start = start
        self.count = count
    }

    /// The bytes `from ..< to`. Both lie inside one message, whose size a limit keeps far below 4 GiB.
    @inlinable @inline(__always)
    public init(from: Int, to: Int) {
        start = UInt32(truncatingIfNeeded: from)
        count = UInt32(truncatingIfNeeded: to &- from)
    }

    @inlinable @inline(__always)
    public static var empty: ByteSpan { ByteSpan(start: 0, count: 0) }

    @inlinable @inline(__always)
    public var end: UInt32 { start &+ count }

    @inlinable @inline(__always)
    public var isEmpty: Bool { count == 0 }
}

/// A borrowed view of `count` bytes. Valid only as long as the memory behind it.
public struct Bytes: BitwiseCopyable {
    public let base: UnsafePointer<UInt8>
    public let count: Int

    @inlinable @inline(__always)
    public init(_ base: UnsafePointer<UInt8>, count: Int) {
        precondition(count >= 0)
        self.base = base
        self.count = count
    }

    @inlinable @inline(__always)
    public init(_ buffer: UnsafeRawBufferPointer) {
        guard let start = buffer.baseAddress else {
            self.init("")
            return
        }
        self.init(start.assumingMemoryBound(to: UInt8.self), count: buffer.count)
    }

    @inlinable @inline(__always)
    public init(_ buffer: UnsafeBufferPointer<UInt8>) {
        self.init(UnsafeRawBufferPointer(buffer))
    }

    /// A literal, which lives for ever.
    @inlinable @inline(__always)
    public init(_ text: StaticString) {
        base = text.utf8Start
        count = text.utf8CodeUnitCount
    }

    @inlinable @inline(__always)
    public static var empty: Bytes { Bytes("") }

    @inlinable @inline(__always)
    public var isEmpty: Bool { count == 0 }

    @inlinable @inline(__always)
    public subscript(index: Int) -> UInt8 {
        precondition(index >= 0 && index < count)
        return base[index]
    }

    @inlinable @inline(__always)
    public func slice(_ span: ByteSpan) -> Bytes {
        slice(from: Int(span.start), to: Int(span.start) + Int(span.count))
    }

    @inlinable @inline(__always)
    public func slice(from: Int, to: Int) -> Bytes {
        precondition(from >= 0 && from <= to && to <= count)
        return Bytes(base + from, count: to &- from)
    }

    @inlinable @inline(__always)
    public func slice(from: Int) -> Bytes {
        slice(from: from, to: count)
    }

    /// The first place of `byte` at or after `from`.
    public func firstIndex(of byte: UInt8, from: Int = 0) -> Int? {
        precondition(from >= 0 && from <= count)
        guard from < count, let found = memchr(base + from, Int32(byte), count - from) else { return nil }
        return UnsafeRawPointer(found) - UnsafeRawPointer(base)
    }

    public func equals(_ text: StaticString) -> Bool {
        equals(Bytes(text))
    }

    public func equals(_ other: Bytes) -> Bool {
        count == other.count && memcmp(base, other.base, count) == 0
    }

    /// Whether these are the letters of `lower`, which must be given in lower case, in any case.
    public func equalsIgnoringCase(_ lower: StaticString) -> Bool {
        equalsIgnoringCase(Bytes(lower))
    }

    /// ASCII case does not matter; bytes beyond ASCII must be equal.
    public func equalsIgnoringCase(_ other: Bytes) -> Bool {
        guard count == other.count else { return false }
        for index in 0..<count where ASCII.lower(base[index]) != ASCII.lower(other.base[index]) { return false }
        return true
    }

    public func hasPrefix(_ prefix: StaticString) -> Bool {
        let prefix = Bytes(prefix)
        return count >= prefix.count && memcmp(base, prefix.base, prefix.count) == 0
    }

    @inlinable @inline(__always)
    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(start: base, count: count))
    }

    /// The view as the raw buffer that packages without this type take.
    @inlinable @inline(__always)
    public var raw: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

    /// A copy as text for logs and tests; what is no UTF-8 becomes U+FFFD.
    public func string() -> String {
        String(decoding: UnsafeBufferPointer(start: base, count: count), as: UTF8.self)
    }

    /// A copy of the bytes.
    public func array() -> [UInt8] {
        [UInt8](UnsafeBufferPointer(start: base, count: count))
    }
}
