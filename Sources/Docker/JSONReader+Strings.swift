// Strings of the JSON reader: the plain ones are copied whole, escapes are taken apart byte by byte.
// Invalid UTF-8 and lone surrogates become U+FFFD; a raw control character is an error, since it is nearly always a
// quote that was forgotten on the line before.

extension JSONReader {
    /// Reads a string; the reader stands on its opening quote.
    mutating func rawString() throws(JSONError) -> String {
        let start = position + 1
        var end = start
        while end < bytes.count {
            let byte = bytes[end]
            if byte == UInt8(ascii: "\"") {
                advance(to: end + 1)
                return String(decoding: bytes[start..<end], as: UTF8.self)
            }
            if byte == UInt8(ascii: "\\") { return try escapedString(from: start, firstEscape: end) }
            if byte < 0x20 { throw unclosed(at: start - 1) }
            end += 1
        }
        throw unclosed(at: start - 1)
    }

    private func unclosed(at offset: Int) -> JSONError {
        JSONError(kind: .syntax, offset: offset, message: "the string that begins here is not closed on its line")
    }

    private mutating func escapedString(from start: Int, firstEscape: Int) throws(JSONError) -> String {
        var text = Array(bytes[start..<firstEscape])
        advance(to: firstEscape)
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\""):
                advance(to: position + 1)
                return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"): try appendEscape(to: &text)
            case 0..<0x20: throw unclosed(at: start - 1)
            default:
                text.append(byte)
                advance(to: position + 1)
            }
        }
        throw unclosed(at: start - 1)
    }

    private mutating func appendEscape(to text: inout [UInt8]) throws(JSONError) {
        guard position + 1 < bytes.count else { throw syntax("the text ends inside an escape") }
        let letter = bytes[position + 1]
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(letter)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "u"):
            let scalar = try unicodeEscape()
            text.append(contentsOf: String(Character(scalar)).utf8)
            return
        default: throw syntax("unknown escape in a string")
        }
        advance(to: position + 2)
    }

    /// Reads `\uXXXX`, and the second half of a surrogate pair if one follows.
    private mutating func unicodeEscape() throws(JSONError) -> UnicodeScalar {
        let replacement: UnicodeScalar = "\u{FFFD}"
        guard let first = fourHexDigits(at: position + 2) else { throw syntax("expected four hex digits after \\u") }
        advance(to: position + 6)
        guard (0xD800...0xDBFF).contains(first) else { return UnicodeScalar(first) ?? replacement }
        guard position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
            bytes[position + 1] == UInt8(ascii: "u"), let second = fourHexDigits(at: position + 2),
            (0xDC00...0xDFFF).contains(second)
        else { return replacement }
        advance(to: position + 6)
        return UnicodeScalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00)) ?? replacement
    }

    private func fourHexDigits(at start: Int) -> UInt32? {
        guard start + 4 <= bytes.count else { return nil }
        var value: UInt32 = 0
        for byte in bytes[start..<start + 4] {
            guard let digit = Character(UnicodeScalar(byte)).hexDigitValue else { return nil }
            value = value << 4 | UInt32(digit)
        }
        return value
    }
}

extension JSONError {
    /// Line and column, both from 1, of the error in the text it came from; columns count bytes.
    func place(in bytes: [UInt8]) -> (line: Int, column: Int) {
        var line = 1
        var lineStart = 0
        for (index, byte) in bytes.prefix(offset).enumerated() where byte == 0x0A {
            line += 1
            lineStart = index + 1
        }
        return (line, min(offset, bytes.count) - lineStart + 1)
    }
}
