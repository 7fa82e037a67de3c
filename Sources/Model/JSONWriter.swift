// Writes JSON (RFC 8259) for the API, extensions and the demo's answers. It cannot make malformed text: commas, quotes
// and escapes are its own business, and nesting is by closure. Reading JSON is Docker's room.

public struct JSONWriter {
    public private(set) var bytes: [UInt8] = []
    private var needsComma = false

    public init() {}

    public var text: String { String(decoding: bytes, as: UTF8.self) }

    // MARK: Values: the document itself, or the elements of an array

    public mutating func object(_ body: (inout JSONWriter) -> Void) {
        open(UInt8(ascii: "{"))
        body(&self)
        close(UInt8(ascii: "}"))
    }

    public mutating func array(_ body: (inout JSONWriter) -> Void) {
        open(UInt8(ascii: "["))
        body(&self)
        close(UInt8(ascii: "]"))
    }

    public mutating func value(_ text: String) {
        separate()
        appendQuoted(text)
        needsComma = true
    }

    public mutating func value(_ number: some BinaryInteger) { literal(String(number)) }

    /// A number that is not finite becomes null: JSON has no other word for it.
    public mutating func value(_ number: Double) { literal(number.isFinite ? "\(number)" : "null") }

    public mutating func value(_ flag: Bool) { literal(flag ? "true" : "false") }

    public mutating func null() { literal("null") }

    // MARK: Fields: the members of an object

    public mutating func object(_ key: String, _ body: (inout JSONWriter) -> Void) {
        self.key(key)
        object(body)
    }

    public mutating func array(_ key: String, _ body: (inout JSONWriter) -> Void) {
        self.key(key)
        array(body)
    }

    public mutating func field(_ key: String, _ text: String) {
        self.key(key)
        value(text)
    }

    public mutating func field(_ key: String, _ number: some BinaryInteger) {
        self.key(key)
        value(number)
    }

    public mutating func field(_ key: String, _ number: Double) {
        self.key(key)
        value(number)
    }

    public mutating func field(_ key: String, _ flag: Bool) {
        self.key(key)
        value(flag)
    }

    public mutating func field(_ key: String, _ texts: some Sequence<String>) {
        array(key) { writer in
            for text in texts { writer.value(text) }
        }
    }

    public mutating func null(_ key: String) {
        self.key(key)
        null()
    }

    // MARK: Inside

    private mutating func key(_ key: String) {
        separate()
        appendQuoted(key)
        bytes.append(UInt8(ascii: ":"))
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = false
    }

    private mutating func open(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
    }

    private mutating func close(_ bracket: UInt8) {
        bytes.append(bracket)
        needsComma = true
    }

    private mutating func literal(_ text: String) {
        separate()
        bytes += text.utf8
        needsComma = true
    }

    /// Beside what RFC 8259 asks for: DEL, C1 controls and the line separators of JavaScript.
    private mutating func appendQuoted(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22, 0x5C:
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(UInt8(truncatingIfNeeded: scalar.value))
            case 0x0A: bytes += "\\n".utf8
            case 0x0D: bytes += "\\r".utf8
            case 0x09: bytes += "\\t".utf8
            case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029:
                let digits = String(scalar.value, radix: 16)
                bytes += "\\u".utf8
                bytes += String(repeating: "0", count: 4 - digits.utf8.count).utf8
                bytes += digits.utf8
            case 0x20..<0x7F: bytes.append(UInt8(truncatingIfNeeded: scalar.value))
            default: bytes += String(scalar).utf8
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
