// From bytes to a `JSONTree`, strictly by RFC 8259: what could be read in two ways is refused, since the tree is sent
// back. It recurses on input, to a fixed depth.

struct JSONTreeParser {
    private let bytes: [UInt8]
    private var position = 0
    private var depth = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(JSONError) -> JSONTree {
        let tree = try value()
        skipSpace()
        guard position == bytes.count else { throw syntax("unexpected text after the end") }
        return tree
    }

    private mutating func value() throws(JSONError) -> JSONTree {
        skipSpace()
        switch byte {
        case UInt8(ascii: "{"): return try nested { (parser) throws(JSONError) in try parser.object() }
        case UInt8(ascii: "["): return try nested { (parser) throws(JSONError) in try parser.array() }
        case UInt8(ascii: "\""): return .scalar(try string())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .scalar(try number())
        default:
            for word in ["true", "false", "null"] where bytes[position...].starts(with: word.utf8) {
                position += word.utf8.count
                return .scalar(Array(word.utf8))
            }
            throw syntax("expected a value")
        }
    }

    private mutating func nested(
        _ body: (inout JSONTreeParser) throws(JSONError) -> JSONTree
    ) throws(JSONError) -> JSONTree {
        guard depth < JSONTree.depthLimit else { throw syntax("nested more than \(JSONTree.depthLimit) deep") }
        depth += 1
        position += 1
        let tree = try body(&self)
        depth -= 1
        return tree
    }

    private mutating func object() throws(JSONError) -> JSONTree {
        var members: [JSONTree.Member] = []
        var seen: Set<String> = []
        if take(UInt8(ascii: "}")) { return .object([]) }
        repeat {
            skipSpace()
            guard byte == UInt8(ascii: "\"") else { throw syntax("expected a name in double quotes") }
            let spelling = try string()
            var reader = JSONReader(spelling)
            let name = try reader.string()
            // Which of the two holds, each reader would decide for itself.
            guard seen.insert(name).inserted else { throw syntax("a name is there twice") }
            guard take(UInt8(ascii: ":")) else { throw syntax("expected ':' after the name") }
            members.append(JSONTree.Member(name: name, spelling: spelling, value: try value()))
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw syntax("expected ',' or '}'") }
        return .object(members)
    }

    private mutating func array() throws(JSONError) -> JSONTree {
        var elements: [JSONTree] = []
        if take(UInt8(ascii: "]")) { return .array([]) }
        repeat { elements.append(try value()) } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw syntax("expected ',' or ']'") }
        return .array(elements)
    }

    /// With its quotes and escapes as they are.
    private mutating func string() throws(JSONError) -> [UInt8] {
        let start = position
        position += 1
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "\""):
                position += 1
                return Array(bytes[start..<position])
            case UInt8(ascii: "\\"): try escape()
            case 0..<0x20: throw syntax("a control character in a string")
            default: position += 1
            }
        }
        throw syntax("the text ends inside a string")
    }

    private mutating func escape() throws(JSONError) {
        position += 1
        switch byte {
        case UInt8(ascii: "u"):
            position += 1
            for _ in 0..<4 {
                let letter = byte | 0x20
                guard isDigit || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(letter) else {
                    throw syntax("expected four hex digits after \\u")
                }
                position += 1
            }
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            position += 1
        default: throw syntax("unknown escape in a string")
        }
    }

    /// As it is spelled: what is larger than any type stays what it is.
    private mutating func number() throws(JSONError) -> [UInt8] {
        let start = position
        if byte == UInt8(ascii: "-") { position += 1 }
        if byte == UInt8(ascii: "0") { position += 1 } else { try digits() }
        if byte == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if byte | 0x20 == UInt8(ascii: "e") {
            position += 1
            if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        return Array(bytes[start..<position])
    }

    private mutating func digits() throws(JSONError) {
        guard isDigit else { throw syntax("expected a digit") }
        while isDigit { position += 1 }
    }

    // MARK: Pieces

    /// 0 at the end of the text.
    private var byte: UInt8 { position < bytes.count ? bytes[position] : 0 }
    private var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private mutating func skipSpace() {
        while [0x20, 0x0A, 0x0D, 0x09].contains(byte) { position += 1 }
    }

    private mutating func take(_ expected: UInt8) -> Bool {
        skipSpace()
        guard byte == expected else { return false }
        position += 1
        return true
    }

    private func syntax(_ message: String) -> JSONError {
        JSONError(kind: .syntax, offset: min(position, bytes.count), message: message)
    }
}
