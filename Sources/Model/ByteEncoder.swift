// Writes plain values as bytes: numbers of as few bytes as they need, texts and blobs behind their size. Equal values
// give equal bytes on every machine. What the bytes mean is the business of whoever writes them (`SnapshotCodec`).

/// Bytes that grow at their end.
public struct ByteEncoder: Sendable {
    public var bytes: [UInt8] = []

    public init() {}

    public mutating func add(byte: UInt8) { bytes.append(byte) }

    /// Seven bits to a byte, the low ones first; the top bit says that more follow (LEB128).
    public mutating func add(number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    /// Of either sign: small numbers stay short, below zero too.
    public mutating func add(integer: Int) {
        let wide = Int64(integer)
        add(number: UInt64(bitPattern: wide << 1 ^ wide >> 63))
    }

    public mutating func add(count: Int) { add(number: UInt64(max(0, count))) }

    public mutating func add(flag: Bool) { bytes.append(flag ? 1 : 0) }

    /// UTF-8.
    public mutating func add(text: String) {
        add(count: text.utf8.count)
        bytes.append(contentsOf: text.utf8)
    }

    public mutating func add(blob: [UInt8]) {
        add(count: blob.count)
        bytes.append(contentsOf: blob)
    }

    /// Eight bytes, the high one first.
    public mutating func add(word: UInt64) {
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
        }
    }

    public mutating func add<Value>(optional value: Value?, _ body: (inout ByteEncoder, Value) -> Void) {
        add(flag: value != nil)
        if let value { body(&self, value) }
    }

    public mutating func add<Value>(list: [Value], _ body: (inout ByteEncoder, Value) -> Void) {
        add(count: list.count)
        for value in list { body(&self, value) }
    }
}

// Optional values of the kinds that there are most of.
extension ByteEncoder {
    public mutating func add(integer: Int?) { add(optional: integer) { $0.add(integer: $1) } }
    public mutating func add(text: String?) { add(optional: text) { $0.add(text: $1) } }
    public mutating func add(texts: [String]) { add(list: texts) { $0.add(text: $1) } }
}
