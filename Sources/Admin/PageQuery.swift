// The query of a page's address: names and values, percent-decoded.

struct PageQuery: Sendable, Equatable {
    private var items: [(name: String, value: String)] = []

    static func == (left: PageQuery, right: PageQuery) -> Bool {
        left.items.elementsEqual(right.items) { $0 == $1 }
    }

    init() {}

    /// nil: a `%` is not followed by two hexadecimal digits.
    init?(_ text: String) {
        for part in text.utf8.split(separator: UInt8(ascii: "&")) {
            let name = part.prefix { $0 != UInt8(ascii: "=") }
            guard let decodedName = Self.decoded(name), let value = Self.decoded(part.dropFirst(name.count + 1)) else {
                return nil
            }
            items.append((decodedName, value))
        }
    }

    func values(_ name: String) -> [String] { items.filter { $0.name == name }.map(\.value) }

    func first(_ name: String) -> String? { items.first { $0.name == name }?.value }

    private static func decoded(_ text: Substring.UTF8View) -> String? {
        var bytes: [UInt8] = []
        var rest = text
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Text as a value of a query.
    static func encoded(_ text: String) -> String {
        text.utf8.reduce(into: "") { encoded, byte in
            let character = Character(Unicode.Scalar(byte))
            if byte < 0x80, character.isLetter || character.isNumber || "-._~".contains(character) {
                encoded.append(character)
            } else {
                encoded += byte < 16 ? "%0" : "%"
                encoded += String(byte, radix: 16, uppercase: true)
            }
        }
    }
}
