// A pull parser for the JSON that Docker and people write: reads what is asked for, skips the rest.
// It never recurses on input, never builds a tree and never traps; a list of 10,000 tasks is read in one pass.
// Why not JSONDecoder: it cannot keep the good elements of a list that holds a bad one, names no line, and takes
// many times as long on a large task list.

/// What was wrong with a piece of JSON, and where.
struct JSONError: Error, Hashable, Sendable {
    enum Kind: Hashable, Sendable {
        /// The text is no JSON, or ends early: nothing of it can be trusted.
        case syntax
        /// The JSON is well-formed but holds something else than expected: the element around it can be skipped.
        case mismatch
    }

    var kind: Kind
    /// Position in bytes.
    var offset: Int
    /// Half a sentence: "expected a string".
    var message: String
}

struct JSONReader {
    enum Kind: String { case object = "an object", array = "a list", string = "a string", number = "a number" }

    let bytes: [UInt8]
    private(set) var position = 0

    mutating func advance(to offset: Int) { position = offset }

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    }

    // MARK: Containers

    /// Reads an object, calling `field` at each value, which must read or skip exactly that value.
    mutating func object(
        _ field: (inout JSONReader, String) throws(JSONError) -> Void
    ) throws(JSONError) {
        try open(UInt8(ascii: "{"), .object)
        guard try !closes(UInt8(ascii: "}")) else { return }
        repeat {
            try skipSpace()
            guard byte == UInt8(ascii: "\"") else { throw syntax("expected a name in double quotes") }
            let name = try rawString()
            try skipSpace()
            guard byte == UInt8(ascii: ":") else { throw syntax("expected ':' after the name") }
            position += 1
            try field(&self, name)
        } while try continues(until: UInt8(ascii: "}"))
    }

    /// Reads a list, calling `element` at each value, which must read or skip exactly that value.
    mutating func array(_ element: (inout JSONReader, Int) throws(JSONError) -> Void) throws(JSONError) {
        try open(UInt8(ascii: "["), .array)
        guard try !closes(UInt8(ascii: "]")) else { return }
        var index = 0
        repeat {
            try element(&self, index)
            index += 1
        } while try continues(until: UInt8(ascii: "]"))
    }

    /// Reads a list (or null, which is an empty one) whose bad elements are left out and told.
    mutating func lossyArray<Element>(
        _ element: (inout JSONReader) throws(JSONError) -> Element?, left out: (Int, JSONError) -> Void
    ) throws(JSONError) -> [Element] {
        var elements: [Element] = []
        guard try !isNull() else { return elements }
        try array { (reader, index) throws(JSONError) in
            try reader.skipSpace()
            let start = reader.position
            do throws(JSONError) {
                if let value = try element(&reader) { elements.append(value) }
            } catch {
                guard error.kind == .mismatch else { throw error }
                reader.position = start
                try reader.skip()
                out(index, error)
            }
        }
        return elements
    }

    // MARK: Scalars

    mutating func string() throws(JSONError) -> String {
        try skipSpace()
        guard byte == UInt8(ascii: "\"") else { throw mismatch("expected a string") }
        return try rawString()
    }

    /// A string; null is "".
    mutating func stringOrNull() throws(JSONError) -> String {
        try isNull() ? "" : try string()
    }

    /// An object of strings; null is empty.
    mutating func stringMap() throws(JSONError) -> [String: String] {
        guard try !isNull() else { return [:] }
        var map: [String: String] = [:]
        try object { (reader, name) throws(JSONError) in map[name] = try reader.string() }
        return map
    }

    mutating func bool() throws(JSONError) -> Bool {
        try skipSpace()
        if take("true") { return true }
        if take("false") { return false }
        throw mismatch("expected true or false")
    }

    /// An integer within the type's range.
    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) throws(JSONError) -> Value {
        let start = position
        let text = try numberText()
        guard let value = Value(text) else {
            position = start
            throw mismatch("expected a whole number from \(Value.min) to \(Value.max), found \(text.prefix(40))")
        }
        return value
    }

    /// A number as it is written.
    mutating func numberText() throws(JSONError) -> String {
        try skipSpace()
        guard byte == UInt8(ascii: "-") || Self.isDigit(byte) else { throw mismatch("expected a number") }
        let start = position
        while position < bytes.count, Self.isNumberByte(bytes[position]) { position += 1 }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    /// Takes a null, if there is one.
    mutating func isNull() throws(JSONError) -> Bool {
        try skipSpace()
        return take("null")
    }

    /// What the next value is; nil for true, false, null and garbage.
    mutating func nextKind() throws(JSONError) -> Kind? {
        try skipSpace()
        switch byte {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
        default: return nil
        }
    }

    /// Makes sure that only white space is left.
    mutating func end() throws(JSONError) {
        while position < bytes.count, Self.isSpace(bytes[position]) { position += 1 }
        guard position == bytes.count else { throw syntax("unexpected text after the end") }
    }

    // MARK: Skipping

    /// Passes over the next value, whatever it is. Brackets are counted, not matched by kind: nothing of it is used.
    mutating func skip() throws(JSONError) {
        try skipSpace()
        var depth = 0
        repeat {
            guard position < bytes.count else { throw syntax("the text ends early") }
            switch bytes[position] {
            case UInt8(ascii: "\""): try skipString()
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                position += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                guard depth > 0 else { throw syntax("expected a value") }
                depth -= 1
                position += 1
            case UInt8(ascii: ","), UInt8(ascii: ":"):
                guard depth > 0 else { throw syntax("expected a value") }
                position += 1
            case let other where Self.isSpace(other): position += 1
            default: try skipWord()
            }
        } while depth > 0
    }

    /// Passes over true, false, null or a number.
    private mutating func skipWord() throws(JSONError) {
        if take("true") || take("false") || take("null") { return }
        _ = try numberTextOrSyntaxError()
    }

    private mutating func numberTextOrSyntaxError() throws(JSONError) -> String {
        guard byte == UInt8(ascii: "-") || Self.isDigit(byte) else { throw syntax("expected a value") }
        return try numberText()
    }

    private mutating func skipString() throws(JSONError) {
        position += 1
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            if byte == UInt8(ascii: "\"") { return }
            if byte == UInt8(ascii: "\\") { position += 1 }
        }
        throw syntax("the text ends inside a string")
    }

    // MARK: Pieces

    /// 0 at the end of the text.
    private var byte: UInt8 { position < bytes.count ? bytes[position] : 0 }

    func syntax(_ message: String) -> JSONError {
        if position >= bytes.count {
            return JSONError(kind: .syntax, offset: bytes.count, message: message + ", but the text ends")
        }
        return JSONError(kind: .syntax, offset: position, message: message)
    }

    func mismatch(_ message: String) -> JSONError {
        if position >= bytes.count { return syntax(message) }
        return JSONError(kind: .mismatch, offset: position, message: message)
    }

    private mutating func skipSpace() throws(JSONError) {
        while position < bytes.count, Self.isSpace(bytes[position]) { position += 1 }
        if position >= bytes.count { throw syntax("expected a value") }
    }

    private mutating func open(_ bracket: UInt8, _ kind: Kind) throws(JSONError) {
        try skipSpace()
        guard byte == bracket else { throw mismatch("expected \(kind.rawValue)") }
        position += 1
    }

    private mutating func closes(_ bracket: UInt8) throws(JSONError) -> Bool {
        try skipSpace()
        guard byte == bracket else { return false }
        position += 1
        return true
    }

    /// After a value: true behind a comma, false behind the closing bracket.
    private mutating func continues(until bracket: UInt8) throws(JSONError) -> Bool {
        try skipSpace()
        if byte == UInt8(ascii: ",") {
            position += 1
            try skipSpace()
            guard byte != bracket else {
                throw syntax("the comma before '\(Character(UnicodeScalar(bracket)))' must go")
            }
            return true
        }
        guard byte == bracket else {
            throw syntax("expected ',' or '\(Character(UnicodeScalar(bracket)))'")
        }
        position += 1
        return false
    }

    private mutating func take(_ word: StaticString) -> Bool {
        let count = word.utf8CodeUnitCount
        guard position + count <= bytes.count else { return false }
        let isEqual = word.withUTF8Buffer { expected in
            for index in 0..<count where bytes[position + index] != expected[index] { return false }
            return true
        }
        if isEqual { position += count }
        return isEqual
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 }
    private static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }
    private static func isNumberByte(_ byte: UInt8) -> Bool {
        isDigit(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "+") || byte == UInt8(ascii: ".")
            || byte | 0x20 == UInt8(ascii: "e")
    }
}
