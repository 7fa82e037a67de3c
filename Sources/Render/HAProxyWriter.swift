// Owns how bytes get into haproxy.cfg: as words of this code, numbers, addresses, or text that was looked at. A line of
// haproxy's is split at blanks, and quotes, backslashes, `$` and `#` mean something in it; text of other people stands
// between single quotes, where only the quote itself does. Bytes that no quoting can carry are refused before there is
// a word at all, so that nothing here can fail.

import Model

/// What names in haproxy.cfg are made of: letters, digits, `-`, `_` and `.`.
struct HAProxyName: Hashable, Sendable {
    let text: String

    /// nil: it has other bytes, or none, or too many.
    init?(_ text: String) {
        guard (1...255).contains(text.utf8.count), text.utf8.allSatisfy(Self.isPlain) else { return nil }
        self.text = text
    }

    /// What is left of a name that people chose, for somebody who reads the statistics.
    init(resembling text: String, suffix: String) {
        let bytes = text.utf8.prefix(60).map { Self.isPlain($0) ? $0 : UInt8(ascii: "-") }
        self.text = String(decoding: bytes, as: UTF8.self) + suffix
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }
}

/// An absolute path that needs no quoting anywhere, not even within the arguments of a converter.
struct HAProxyPath: Hashable, Sendable {
    let text: String

    init?(_ text: String) {
        guard text.hasPrefix("/"), text.utf8.count <= 512, !text.hasSuffix("/") else { return nil }
        let names = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: true)
        guard names.allSatisfy({ HAProxyName(String(decoding: $0, as: UTF8.self)) != nil }) else { return nil }
        self.text = text
    }

    func file(_ path: String) -> HAProxyPath? { HAProxyPath(text + "/" + path) }
}

/// Text that single quotes can carry: anything but control bytes.
struct HAProxyText: Hashable, Sendable {
    let text: String

    init?(_ text: String) {
        guard text.utf8.count <= 8192, text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return nil }
        self.text = text
    }
}

/// One word of a line, or several that this code wrote itself: a literal can hold no value of somebody else.
struct HAProxyWord: Sendable, ExpressibleByStringLiteral {
    fileprivate let text: String

    private init(_ text: String) { self.text = text }

    init(stringLiteral value: StaticString) { text = value.description }

    static func number(_ value: Int) -> HAProxyWord { HAProxyWord(String(value)) }

    static func number(_ value: UInt64) -> HAProxyWord { HAProxyWord(String(value)) }

    /// 0 or less is without end, as far as haproxy goes: 24 days.
    static func milliseconds(_ value: Int) -> HAProxyWord {
        let most = 24 * 24 * 3600 * 1000
        return HAProxyWord(value <= 0 || value > most ? "24d" : "\(value)ms")
    }

    static func name(_ name: HAProxyName) -> HAProxyWord { HAProxyWord(name.text) }

    static func path(_ path: HAProxyPath) -> HAProxyWord { HAProxyWord(path.text) }

    static func endpoint(_ endpoint: Endpoint) -> HAProxyWord { HAProxyWord(endpoint.description) }

    static func quoted(_ text: HAProxyText) -> HAProxyWord {
        var bytes: [UInt8] = [UInt8(ascii: "'")]
        for byte in text.text.utf8 {
            // A quote ends the quoted part, is written by a backslash, and the next part begins.
            if byte == UInt8(ascii: "'") { bytes += Array("'\\'".utf8) }
            bytes.append(byte)
        }
        bytes.append(UInt8(ascii: "'"))
        return HAProxyWord(String(decoding: bytes, as: UTF8.self))
    }

    /// One word of several parts.
    static func joined(_ parts: HAProxyWord...) -> HAProxyWord { HAProxyWord(parts.map(\.text).joined()) }
}

/// Writes sections of lines.
struct HAProxyWriter: Sendable {
    private(set) var bytes: [UInt8] = []

    var isEmpty: Bool { bytes.isEmpty }

    mutating func comment(_ text: StaticString) {
        append("# ")
        append(text.description)
        append("\n")
    }

    mutating func section(_ keyword: StaticString, _ name: HAProxyName? = nil) {
        if !bytes.isEmpty { append("\n") }
        append(keyword.description)
        if let name { append(" \(name.text)") }
        append("\n")
    }

    mutating func line(_ words: HAProxyWord...) { line(words) }

    mutating func line(_ words: [HAProxyWord]) {
        append("    ")
        append(words.map(\.text).joined(separator: " "))
        append("\n")
    }

    mutating func append(_ other: HAProxyWriter) {
        guard !other.isEmpty else { return }
        if !bytes.isEmpty { append("\n") }
        bytes += other.bytes
    }

    private mutating func append(_ text: String) { bytes += Array(text.utf8) }
}

/// A file of keys and values that a converter looks things up in: a line each, the key up to the first blank. There is
/// no quoting in it; what could be read as anything else is refused.
struct HAProxyMap: Sendable {
    private(set) var bytes: [UInt8] = []

    var isEmpty: Bool { bytes.isEmpty }

    /// - Returns: false if the key or the value cannot stand there; nothing is written then.
    mutating func add(_ key: String, _ value: String) -> Bool {
        guard Self.isKey(key), Self.isValue(value) else { return false }
        bytes += Array(key.utf8)
        bytes.append(UInt8(ascii: " "))
        bytes += Array(value.utf8)
        bytes.append(UInt8(ascii: "\n"))
        return true
    }

    static func isKey(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 4096 && text.utf8.first != UInt8(ascii: "#")
            && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }

    static func isValue(_ text: String) -> Bool {
        guard let first = text.utf8.first, let last = text.utf8.last, text.utf8.count <= 4096 else { return false }
        return first > 0x20 && last > 0x20 && text.utf8.allSatisfy { (0x20...0x7E).contains($0) }
    }
}
