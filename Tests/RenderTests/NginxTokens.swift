// Reads nginx's configuration as nginx 1.22 does (ngx_conf_read_token): for tests that ask what became of a text.

/// A directive: its words, and what is between its braces.
struct NginxDirective: Hashable {
    var words: [[UInt8]]
    var body: [NginxDirective]?

    var texts: [String] { words.map { String(decoding: $0, as: UTF8.self) } }
}

struct NginxTokens {
    private var rest: ArraySlice<UInt8>
    private(set) var isBroken = false

    private enum Token {
        case word([UInt8])
        case end, open, close
    }

    /// nil: nginx would refuse it.
    static func read(_ bytes: [UInt8]) -> [NginxDirective]? {
        var tokens = NginxTokens(rest: bytes[...])
        let directives = tokens.block(isTop: true)
        return tokens.isBroken ? nil : directives
    }

    private init(rest: ArraySlice<UInt8>) { self.rest = rest }

    private mutating func block(isTop: Bool) -> [NginxDirective] {
        var found: [NginxDirective] = []
        var words: [[UInt8]] = []
        while let token = next() {
            switch token {
            case .word(let word): words.append(word)
            case .end:
                if words.isEmpty { isBroken = true }
                found.append(NginxDirective(words: words))
                words = []
            case .open:
                if words.isEmpty { isBroken = true }
                found.append(NginxDirective(words: words, body: block(isTop: false)))
                words = []
            case .close:
                if isTop || !words.isEmpty { isBroken = true }
                return found
            }
        }
        if !isTop || !words.isEmpty { isBroken = true }
        return found
    }

    private mutating func next() -> Token? {
        while let byte = rest.first, [0x20, 0x09, 0x0D, 0x0A].contains(byte) { rest.removeFirst() }
        guard let first = rest.popFirst() else { return nil }
        switch first {
        case UInt8(ascii: ";"): return .end
        case UInt8(ascii: "{"): return .open
        case UInt8(ascii: "}"): return .close
        case UInt8(ascii: "#"):
            while let byte = rest.popFirst(), byte != 0x0A {}
            return next()
        case UInt8(ascii: "\""), UInt8(ascii: "'"): return .word(quoted(first))
        default: return .word(bare(first))
        }
    }

    private mutating func quoted(_ quote: UInt8) -> [UInt8] {
        var raw: [UInt8] = []
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\") {
                raw.append(byte)
                if let escaped = rest.popFirst() { raw.append(escaped) }
            } else if byte == quote {
                // Something must be between two words.
                if let after = rest.first, ![0x20, 0x09, 0x0D, 0x0A, 0x3B, 0x7B, 0x29].contains(after) {
                    isBroken = true
                }
                return Self.unescaped(raw)
            } else {
                raw.append(byte)
            }
        }
        isBroken = true
        return raw
    }

    private mutating func bare(_ first: UInt8) -> [UInt8] {
        var raw = [first]
        var isVariable = first == UInt8(ascii: "$")
        while let byte = rest.first {
            if byte == UInt8(ascii: "{"), isVariable {
                isVariable = false
            } else if [0x20, 0x09, 0x0D, 0x0A, UInt8(ascii: ";"), UInt8(ascii: "{")].contains(byte) {
                break
            } else {
                isVariable = byte == UInt8(ascii: "$")
            }
            raw.append(byte)
            rest.removeFirst()
            if byte == UInt8(ascii: "\\"), let escaped = rest.popFirst() { raw.append(escaped) }
        }
        return Self.unescaped(raw)
    }

    private static func unescaped(_ raw: [UInt8]) -> [UInt8] {
        var made: [UInt8] = []
        var index = 0
        while index < raw.count {
            if raw[index] == UInt8(ascii: "\\"), index + 1 < raw.count {
                switch raw[index + 1] {
                case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "\\"): made.append(raw[index + 1])
                case UInt8(ascii: "t"): made.append(0x09)
                case UInt8(ascii: "r"): made.append(0x0D)
                case UInt8(ascii: "n"): made.append(0x0A)
                default: made += [raw[index], raw[index + 1]]
                }
                index += 2
            } else {
                made.append(raw[index])
                index += 1
            }
        }
        return made
    }
}
