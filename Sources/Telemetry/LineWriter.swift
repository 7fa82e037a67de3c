// Writes one log line into memory that the caller owns: bounded, no allocation, and nothing a client sent can end the
// line, start another or move a terminal's cursor. The only place where logs are escaped.

/// An append-only cursor over a caller's buffer. What does not fit is dropped and `overflowed` says so.
public struct LineWriter {
    private let buffer: UnsafeMutableRawBufferPointer
    public private(set) var count = 0
    public private(set) var overflowed = false

    public init(_ buffer: UnsafeMutableRawBufferPointer) {
        self.buffer = buffer
    }

    public mutating func append(_ byte: UInt8) {
        guard count < buffer.count else {
            overflowed = true
            return
        }
        buffer[count] = byte
        count += 1
    }

    public mutating func append(_ text: StaticString) {
        append(raw: UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Bytes as they are; only for what we wrote ourselves.
    mutating func append(raw bytes: UnsafeRawBufferPointer) {
        guard bytes.count <= buffer.count - count else {
            overflowed = true
            return
        }
        UnsafeMutableRawBufferPointer(rebasing: buffer[count..<(count + bytes.count)]).copyMemory(from: bytes)
        count += bytes.count
    }

    public mutating func append(decimal value: UInt64) {
        var divisor: UInt64 = 1
        while value / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            append(UInt8(ascii: "0") + UInt8(value / divisor % 10))
            divisor /= 10
        }
    }

    /// Non-negative, with leading zeros.
    mutating func append(padded value: Int, width: Int) {
        var divisor = 1
        for _ in 1..<max(width, 1) { divisor *= 10 }
        while divisor > 0 {
            append(UInt8(ascii: "0") + UInt8(value / divisor % 10))
            divisor /= 10
        }
    }

    /// Milliseconds with microsecond digits: 1500 us is `1.500`.
    mutating func append(millisecondsOf durationUs: UInt64) {
        append(decimal: durationUs / 1000)
        append(UInt8(ascii: "."))
        append(padded: Int(durationUs % 1000), width: 3)
    }

    /// The inside of a JSON string (RFC 8259): quotes, backslashes, control characters (C1 too, DEL too) are escaped,
    /// what is not UTF-8 becomes U+FFFD.
    public mutating func append(jsonEscaped text: UnsafeRawBufferPointer) {
        var position = 0
        while position < text.count {
            let byte = text[position]
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                append(UInt8(ascii: "\\"))
                append(byte)
            case 0x0A: append("\\n")
            case 0x0D: append("\\r")
            case 0x09: append("\\t")
            case 0..<0x20, 0x7F:
                append("\\u00")
                appendHex(byte)
            case 0x20..<0x7F: append(byte)
            default:
                let length = Self.sequenceLength(text, at: position)
                if length == 0 {
                    append("\\ufffd")
                } else if length == 2, byte == 0xC2, text[position + 1] < 0xA0 {
                    append("\\u00")
                    appendHex(text[position + 1])
                } else {
                    append(raw: UnsafeRawBufferPointer(rebasing: text[position..<(position + length)]))
                }
                position += max(length, 1)
                continue
            }
            position += 1
        }
    }

    /// The inside of a quoted common log field: everything but printable ASCII is `\xHH`, quotes and backslashes are
    /// escaped. Empty text is `-`.
    mutating func append(commonLogEscaped text: UnsafeRawBufferPointer, escapingSpaces: Bool = false) {
        if text.isEmpty { append(UInt8(ascii: "-")) }
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                append(UInt8(ascii: "\\"))
                append(byte)
            case 0x21..<0x7F: append(byte)
            case 0x20 where !escapingSpaces: append(byte)
            default:
                append("\\x")
                appendHex(byte)
            }
        }
    }

    private mutating func appendHex(_ byte: UInt8) {
        for shift in stride(from: 4, through: 0, by: -4) {
            let digit = byte >> shift & 15
            append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }

    /// The length of the well-formed UTF-8 sequence (RFC 3629) that begins here with a byte above 0x7F; 0 if none does.
    private static func sequenceLength(_ text: UnsafeRawBufferPointer, at position: Int) -> Int {
        let first = text[position]
        let length: Int
        var lowest: UInt8 = 0x80
        var highest: UInt8 = 0xBF
        switch first {
        case 0xC2...0xDF: length = 2
        case 0xE0...0xEF:
            length = 3
            if first == 0xE0 { lowest = 0xA0 }
            if first == 0xED { highest = 0x9F }
        case 0xF0...0xF4:
            length = 4
            if first == 0xF0 { lowest = 0x90 }
            if first == 0xF4 { highest = 0x8F }
        default: return 0
        }
        guard position + length <= text.count else { return 0 }
        guard (lowest...highest).contains(text[position + 1]) else { return 0 }
        for offset in 2..<max(length, 2) where text[position + offset] & 0xC0 != 0x80 { return 0 }
        return length
    }
}
