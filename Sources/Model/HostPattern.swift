// Host patterns as people write them and as the table orders them. One normal form, so that what a label says and what
// a request carries can be compared byte for byte.

/// Why a host in a label is not one.
public struct HostPatternError: Error, Hashable, Sendable {
    /// One clause that continues "host ...": what is wrong and what would be right.
    public let message: String
}

extension HostPattern {
    /// Reads a host as labels hold it: any case, a trailing dot and a port are ignored, `*.example.com` is a wildcard,
    /// IPv6 literals are in brackets. Names are those of RFC 1123, with underscores, at most 253 bytes.
    public init(label text: some StringProtocol) throws(HostPatternError) {
        let text = String(text)
        // Nearly all hosts are written in their normal form already.
        if Self.isPlainName(text) {
            self = .exact(text)
            return
        }
        guard text.utf8.allSatisfy({ $0 < 0x80 }) else {
            throw HostPatternError(message: "has characters outside of ASCII; write its punycode form (xn--...)")
        }
        var name = text.lowercased()
        if name.hasPrefix("[") {
            self = .exact(try Self.addressLiteral(name))
            return
        }
        if name.utf8.contains(UInt8(ascii: "/")) {
            throw HostPatternError(message: "is a URL; write the host alone, and a path in context_root")
        }
        if let colon = name.firstIndex(of: ":") {
            guard Self.isPort(name[name.index(after: colon)...]) else {
                throw HostPatternError(message: "has a bad port; ports are ignored here, leave it out")
            }
            name = String(name[..<colon])
        }
        if name.hasSuffix(".") { name.removeLast() }
        if name == "*" {
            throw HostPatternError(message: "is every host; use default_backend=true instead")
        }
        let isWildcard = name.hasPrefix("*.")
        if isWildcard { name.removeFirst(2) }
        try Self.checkName(name)
        self = isWildcard ? .wildcard(name) : .exact(name)
    }

    /// Whether this is what reading its own description gives.
    var isNormal: Bool {
        switch self {
        case .any: true
        case .wildcard(let suffix): Self.isPlainName(suffix)
        case .exact(let name):
            Self.isPlainName(name) || name.hasPrefix("[") && (try? HostPattern(label: name)) == self
        }
    }

    /// The rules of `checkName`, in one pass: snapshots hold thousands of names.
    private static func isPlainName(_ name: String) -> Bool {
        var labelCount = 0
        var last = UInt8(ascii: ".")
        for byte in name.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                labelCount += 1
            case UInt8(ascii: "-") where labelCount > 0: labelCount += 1
            case UInt8(ascii: ".") where labelCount > 0 && last != UInt8(ascii: "-"): labelCount = 0
            default: return false
            }
            if labelCount > 63 { return false }
            last = byte
        }
        return labelCount > 0 && last != UInt8(ascii: "-") && name.utf8.count <= 253
    }

    private static func checkName(_ name: String) throws(HostPatternError) {
        guard !name.isEmpty else { throw HostPatternError(message: "is empty") }
        guard name.utf8.count <= 253 else { throw HostPatternError(message: "is longer than 253 characters") }
        for part in name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard !part.isEmpty else { throw HostPatternError(message: "has an empty label between its dots") }
            guard part.count <= 63 else { throw HostPatternError(message: "has a label longer than 63 characters") }
            guard part.first != UInt8(ascii: "-"), part.last != UInt8(ascii: "-") else {
                throw HostPatternError(message: "has a label that begins or ends with a hyphen")
            }
            for byte in part {
                if byte == UInt8(ascii: "*") {
                    throw HostPatternError(message: "has a * elsewhere than as its whole first label (*.example.com)")
                }
                let isLetter = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                let isDigit = (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                guard isLetter || isDigit || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_") else {
                    throw HostPatternError(message: "has a character that host names cannot have")
                }
            }
        }
    }

    /// `[2001:db8::1]` in the spelling of RFC 5952, with its brackets; a port after it is dropped.
    private static func addressLiteral(_ text: String) throws(HostPatternError) -> String {
        guard let end = text.firstIndex(of: "]") else {
            throw HostPatternError(message: "has no closing bracket")
        }
        let rest = text[text.index(after: end)...]
        guard rest.isEmpty || rest.hasPrefix(":") && isPort(rest.dropFirst()) else {
            throw HostPatternError(message: "has something after its closing bracket")
        }
        let inner = text[text.index(after: text.startIndex)..<end]
        guard inner.contains(":"), let address = IPAddress(inner) else {
            throw HostPatternError(message: "is not an IPv6 address in brackets")
        }
        guard !address.isIPv4 else {
            throw HostPatternError(message: "is an IPv4 address; write it without brackets (\(address))")
        }
        return "[\(address)]"
    }

    private static func isPort(_ digits: Substring) -> Bool {
        digits.utf8.allSatisfy { (48...57).contains($0) } && UInt16(digits).map { $0 > 0 } == true
    }
}

extension HostPattern: Comparable, CustomStringConvertible {
    /// Exact names, then wildcards, then everything; within a kind by the bytes of the name.
    public static func < (left: HostPattern, right: HostPattern) -> Bool {
        left.rank == right.rank ? left.name.isBefore(right.name) : left.rank < right.rank
    }

    /// As a label would write it; the default backend is `*`.
    public var description: String {
        switch self {
        case .exact(let name): name
        case .wildcard(let suffix): "*." + suffix
        case .any: "*"
        }
    }

    private var rank: Int {
        switch self {
        case .exact: 0
        case .wildcard: 1
        case .any: 2
        }
    }

    private var name: String {
        switch self {
        case .exact(let name), .wildcard(let name): name
        case .any: ""
        }
    }
}

extension String {
    /// Order by bytes: the same on every machine, whatever Unicode has to say about equivalence.
    public func isBefore(_ other: String) -> Bool { utf8.lexicographicallyPrecedes(other.utf8) }
}
