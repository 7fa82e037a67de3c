// Reads what `ByteEncoder` wrote. The bytes may come from anywhere: every size is checked against what is there before
// anything is allocated, and a value has one spelling, so that what was read is written again byte for byte.

/// Where bytes stop making sense, and why.
public struct ByteDecodingError: Error, Hashable, Sendable, CustomStringConvertible {
    public var offset: Int
    /// A clause that continues "byte N: ...".
    public var reason: String

    public var description: String { "byte \(offset): \(reason)" }
}

/// Bytes, and how far they are read.
public struct ByteDecoder: Sendable {
    public let bytes: [UInt8]
    public private(set) var offset: Int

    public init(_ bytes: [UInt8], offset: Int = 0) {
        self.bytes = bytes
        self.offset = min(max(0, offset), bytes.count)
    }

    public var remaining: Int { bytes.count - offset }
    public var isAtEnd: Bool { offset == bytes.count }

    public func error(_ reason: String) -> ByteDecodingError { ByteDecodingError(offset: offset, reason: reason) }

    public mutating func byte() throws(ByteDecodingError) -> UInt8 {
        guard offset < bytes.count else { throw error("ends too soon") }
        defer { offset += 1 }
        return bytes[offset]
    }

    public mutating func number() throws(ByteDecodingError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte = try byte()
            // Nine bytes carry 63 bits; the tenth has the last one.
            guard shift < 63 || byte <= 1 else { throw error("has a number beyond 64 bits") }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 {
                guard byte > 0 || shift == 0 else { throw error("has a number with bytes to spare") }
                return value
            }
            shift += 7
        }
    }

    public mutating func integer() throws(ByteDecodingError) -> Int {
        let number = try number()
        let wide = Int64(bitPattern: number >> 1) ^ -Int64(bitPattern: number & 1)
        guard let value = Int(exactly: wide) else { throw error("has a number beyond this machine's") }
        return value
    }

    /// A number of things of which each takes at least `size` bytes: never more than the rest can hold.
    public mutating func count(ofSize size: Int = 1) throws(ByteDecodingError) -> Int {
        let number = try number()
        guard let count = Int(exactly: number), count <= remaining / max(1, size) else {
            throw error("counts \(number), which its \(remaining) bytes cannot hold")
        }
        return count
    }

    public mutating func flag() throws(ByteDecodingError) -> Bool {
        switch try byte() {
        case 0: return false
        case 1: return true
        default: throw error("has neither yes nor no")
        }
    }

    public mutating func text() throws(ByteDecodingError) -> String {
        let count = try count()
        guard let text = String(validating: bytes[offset..<offset + count], as: UTF8.self) else {
            throw error("has a text that is not UTF-8")
        }
        offset += count
        return text
    }

    public mutating func blob() throws(ByteDecodingError) -> [UInt8] {
        let count = try count()
        return try blob(ofSize: count)
    }

    /// Bytes whose size is known otherwise.
    public mutating func blob(ofSize size: Int) throws(ByteDecodingError) -> [UInt8] {
        guard size >= 0, size <= remaining else { throw error("ends too soon") }
        defer { offset += size }
        return Array(bytes[offset..<offset + size])
    }

    public mutating func word() throws(ByteDecodingError) -> UInt64 {
        var value: UInt64 = 0
        for _ in 0..<8 { value = value << 8 | UInt64(try byte()) }
        return value
    }

    public mutating func optional<Value>(
        _ body: (inout ByteDecoder) throws(ByteDecodingError) -> Value
    ) throws(ByteDecodingError) -> Value? {
        try flag() ? try body(&self) : nil
    }

    /// - Parameter size: the fewest bytes that an element takes.
    public mutating func list<Value>(
        ofSize size: Int = 1, _ body: (inout ByteDecoder) throws(ByteDecodingError) -> Value
    ) throws(ByteDecodingError) -> [Value] {
        let count = try count(ofSize: size)
        var list: [Value] = []
        list.reserveCapacity(count)
        for _ in 0..<count { list.append(try body(&self)) }
        return list
    }
}

// Optional values of the kinds that there are most of.
extension ByteDecoder {
    public mutating func optionalInteger() throws(ByteDecodingError) -> Int? { try flag() ? try integer() : nil }
    public mutating func optionalText() throws(ByteDecodingError) -> String? { try flag() ? try text() : nil }

    public mutating func texts() throws(ByteDecodingError) -> [String] {
        try list { (decoder) throws(ByteDecodingError) in try decoder.text() }
    }

    /// A number that has to fit.
    public mutating func narrow<Value: FixedWidthInteger>(
        _ type: Value.Type
    ) throws(ByteDecodingError) -> Value {
        let number = try number()
        guard let value = Value(exactly: number) else { throw error("has \(number), which is too large here") }
        return value
    }
}
