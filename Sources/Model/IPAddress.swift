// IP addresses as plain values: no kernel type, no allocation, comparable and hashable.
// IPv4-mapped IPv6 addresses are unmapped on the way in, so `::ffff:10.0.0.1` equals `10.0.0.1` everywhere.

/// An IPv4 or IPv6 address.
public struct IPAddress: Hashable, Comparable, Sendable, BitwiseCopyable {
    /// The first 8 bytes in network order as an integer; 0 for IPv4.
    public let high: UInt64
    /// The last 8 bytes in network order as an integer; IPv4 uses the low 32 bits.
    public let low: UInt64
    public let isIPv4: Bool

    public init(v4 value: UInt32) {
        self.init(high: 0, low: UInt64(value), isIPv4: true)
    }

    private init(high: UInt64, low: UInt64, isIPv4: Bool) {
        self.high = high
        self.low = low
        self.isIPv4 = isIPv4
    }

    /// An IPv6 address from its two halves; `::ffff:a.b.c.d` becomes the IPv4 address it stands for.
    public init(v6High high: UInt64, low: UInt64) {
        if high == 0, low >> 32 == 0xFFFF {
            self.init(v4: UInt32(truncatingIfNeeded: low))
        } else {
            self.init(high: high, low: low, isIPv4: false)
        }
    }

    /// Parses dotted IPv4 (four decimal parts, no leading zeros) or RFC 4291 IPv6 text without brackets or zone.
    public init?(_ text: some StringProtocol) {
        if text.utf8.contains(UInt8(ascii: ":")) {
            guard let (high, low) = Self.parseIPv6(Array(text.utf8)) else { return nil }
            self.init(v6High: high, low: low)
        } else {
            guard let value = Self.parseIPv4(Array(text.utf8)) else { return nil }
            self.init(v4: value)
        }
    }

    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        if left.isIPv4 != right.isIPv4 { return left.isIPv4 }
        return left.high == right.high ? left.low < right.low : left.high < right.high
    }

    public var isLoopback: Bool {
        isIPv4 ? low >> 24 == 127 : high == 0 && low == 1
    }

    /// `0.0.0.0` or `::`.
    public var isUnspecified: Bool { high == 0 && low == 0 }

    private static func parseIPv4(_ text: [UInt8]) -> UInt32? {
        let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.count), part.count == 1 || part.first != UInt8(ascii: "0") else { return nil }
            var number: UInt32 = 0
            for byte in part {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
                number = number * 10 + UInt32(byte - UInt8(ascii: "0"))
            }
            guard number <= 255 else { return nil }
            value = value << 8 | number
        }
        return value
    }

    private static func parseIPv6(_ text: [UInt8]) -> (UInt64, UInt64)? {
        let colon = UInt8(ascii: ":")
        var groups: [UInt16] = []
        var gap: Int?
        var position = 0
        if text.starts(with: [colon, colon]) {
            gap = 0
            position = 2
        }
        while position < text.count {
            let end = text[position...].firstIndex(of: colon) ?? text.count
            let part = text[position..<end]
            if part.contains(UInt8(ascii: ".")) {
                guard end == text.count, let value = parseIPv4(Array(part)) else { return nil }
                groups += [UInt16(value >> 16), UInt16(truncatingIfNeeded: value)]
                position = end
                break
            }
            guard (1...4).contains(part.count) else { return nil }
            var number: UInt16 = 0
            for byte in part {
                guard let digit = Character(UnicodeScalar(byte)).hexDigitValue else { return nil }
                number = number << 4 | UInt16(digit)
            }
            groups.append(number)
            position = end
            guard position < text.count else { break }
            position += 1
            if position < text.count, text[position] == colon {
                guard gap == nil else { return nil }
                gap = groups.count
                position += 1
            } else if position == text.count {
                return nil
            }
        }
        if let gap {
            guard groups.count < 8 else { return nil }
            groups.insert(contentsOf: Array(repeating: 0, count: 8 - groups.count), at: gap)
        }
        guard groups.count == 8 else { return nil }
        let high = groups[0..<4].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        let low = groups[4..<8].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        return (high, low)
    }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted IPv4, or IPv6 as RFC 5952 writes it (without brackets).
    public var description: String {
        if isIPv4 {
            return "\(low >> 24 & 255).\(low >> 16 & 255).\(low >> 8 & 255).\(low & 255)"
        }
        let groups = (0..<8).map { index in
            UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> UInt64(48 - index % 4 * 16))
        }
        // The longest run of at least two zero groups is written as "::", the first of equals.
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > max(best.count, 1) { best = start..<end }
            start = max(end, start + 1)
        }
        func text(_ range: Range<Int>) -> String {
            groups[range].map { String($0, radix: 16) }.joined(separator: ":")
        }
        return best.isEmpty ? text(0..<8) : text(0..<best.lowerBound) + "::" + text(best.upperBound..<8)
    }
}

/// An address and a TCP port.
public struct Endpoint: Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public let address: IPAddress
    public let port: UInt16

    public init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }

    /// Parses `1.2.3.4:80` or `[2001:db8::1]:80`; the port is 1 to 65535.
    public init?(_ text: some StringProtocol) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits), port > 0 else {
            return nil
        }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
            guard host.contains(":") else { return nil }
        } else if host.contains(":") {
            return nil
        }
        guard let address = IPAddress(host) else { return nil }
        self.init(address: address, port: port)
    }

    public static func < (left: Endpoint, right: Endpoint) -> Bool {
        left.address == right.address ? left.port < right.port : left.address < right.address
    }

    public var description: String {
        address.isIPv4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }
}

/// A CIDR block, for example `10.0.0.0/8` or `2001:db8::/32`; a bare address is a block of one.
public struct AddressBlock: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public let base: IPAddress
    /// 0 to 32 for IPv4, 0 to 128 for IPv6.
    public let prefixLength: Int

    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let address = IPAddress(parts[0]) else { return nil }
        let width = address.isIPv4 ? 32 : 128
        var length = width
        if parts.count == 2 {
            guard parts[1].utf8.allSatisfy({ (48...57).contains($0) }), let given = Int(parts[1]), given <= width else {
                return nil
            }
            length = given
        }
        base = address
        prefixLength = length
    }

    public func contains(_ address: IPAddress) -> Bool {
        guard address.isIPv4 == base.isIPv4 else { return false }
        func same(_ left: UInt64, _ right: UInt64, bits: Int) -> Bool {
            bits <= 0 || (left ^ right) >> UInt64(64 - min(bits, 64)) == 0
        }
        if base.isIPv4 { return same(address.low << 32, base.low << 32, bits: prefixLength) }
        return same(address.high, base.high, bits: prefixLength)
            && (prefixLength <= 64 || same(address.low, base.low, bits: prefixLength - 64))
    }

    public var description: String { "\(base)/\(prefixLength)" }
}
