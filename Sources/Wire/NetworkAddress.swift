// Owns addresses as bytes on the wire write them: parsing and writing IPv4 and IPv6 text, and blocks of addresses.
// IPv4-mapped IPv6 addresses are unmapped wherever they come in, so that `::ffff:10.0.0.1` is 10.0.0.1 to every
// rule. No names, no zones, no resolving.

/// An IPv4 or IPv6 address. Plain data; an IPv4 address never equals an IPv6 one.
public struct NetworkAddress: Equatable, Sendable, BitwiseCopyable {
    /// The first eight bytes of an IPv6 address; 0 for IPv4.
    public let high: UInt64
    /// The last eight bytes of an IPv6 address, or the four of IPv4.
    public let low: UInt64
    public let isIPv6: Bool

    private init(high: UInt64, low: UInt64, isIPv6: Bool) {
        self.high = high
        self.low = low
        self.isIPv6 = isIPv6
    }

    public init(ipv4: UInt32) {
        self.init(high: 0, low: UInt64(ipv4), isIPv6: false)
    }

    /// An IPv4-mapped address (`::ffff:a.b.c.d`) becomes the IPv4 address.
    public init(ipv6High: UInt64, low: UInt64) {
        if ipv6High == 0, low >> 32 == 0xFFFF {
            self.init(ipv4: UInt32(truncatingIfNeeded: low))
        } else {
            self.init(high: ipv6High, low: low, isIPv6: true)
        }
    }

    /// `10.0.0.1` or `2001:db8::1`, without brackets, port or zone.
    public static func parse(_ text: Bytes) -> NetworkAddress? {
        if let ipv4 = parseIPv4(text) { return NetworkAddress(ipv4: ipv4) }
        guard let ipv6 = parseIPv6(text) else { return nil }
        return NetworkAddress(ipv6High: ipv6.high, low: ipv6.low)
    }

    /// Four decimal numbers without leading zeros: `010.0.0.1` means different things to different readers.
    public static func parseIPv4(_ text: Bytes) -> UInt32? {
        guard text.count >= 7, text.count <= 15 else { return nil }
        var address: UInt32 = 0
        var part: UInt32 = 0
        var digitCount = 0
        var dotCount = 0
        for index in 0..<text.count {
            let byte = text[index]
            if byte == ASCII.dot {
                guard digitCount > 0, dotCount < 3 else { return nil }
                address = address << 8 | part
                part = 0
                digitCount = 0
                dotCount += 1
            } else {
                guard ASCII.isDigit(byte), digitCount == 0 || part != 0 else { return nil }
                part = part * 10 + UInt32(byte - 0x30)
                digitCount += 1
                guard part <= 255 else { return nil }
            }
        }
        return dotCount == 3 && digitCount > 0 ? address << 8 | part : nil
    }

    /// RFC 4291 section 2.2, all three forms.
    public static func parseIPv6(_ text: Bytes) -> (high: UInt64, low: UInt64)? {
        guard text.count >= 2, text.count <= 45 else { return nil }
        var reader = IPv6Reader(text)
        return reader.read()
    }

    /// The text form: dotted for IPv4, RFC 5952 for IPv6.
    public func write(into writer: inout ByteWriter) {
        if isIPv6 {
            writeIPv6(into: &writer)
            return
        }
        for shift in [24, 16, 8, 0] as [UInt64] {
            if shift != 24 { writer.append(ASCII.dot) }
            writer.append(decimal: low >> shift & 255)
        }
    }

    private func group(_ index: Int) -> UInt64 {
        (index < 4 ? high : low) >> UInt64(48 - index % 4 * 16) & 0xFFFF
    }

    private func writeIPv6(into writer: inout ByteWriter) {
        var bestStart = 8
        var bestCount = 1
        var index = 0
        while index < 8 {
            var end = index
            while end < 8, group(end) == 0 { end += 1 }
            if end - index > bestCount {
                bestStart = index
                bestCount = end - index
            }
            index = max(end, index + 1)
        }
        index = 0
        while index < 8 {
            if index == bestStart {
                writer.append("::")
                index += bestCount
                continue
            }
            if index > 0, index != bestStart + bestCount { writer.append(ASCII.colon) }
            writer.append(hex: group(index))
            index += 1
        }
    }
}

/// Reads up to eight groups around at most one `::`, the last two of which may be dotted.
private struct IPv6Reader {
    private let text: Bytes
    private var position = 0
    private var groupCount = 0
    private var gap = -1
    private var high: UInt64 = 0
    private var low: UInt64 = 0

    init(_ text: Bytes) { self.text = text }

    private mutating func append(_ group: UInt64) -> Bool {
        guard groupCount < 8 else { return false }
        high = high << 16 | low >> 48
        low = low << 16 | group
        groupCount += 1
        return true
    }

    mutating func read() -> (high: UInt64, low: UInt64)? {
        if text[0] == ASCII.colon {
            guard text[1] == ASCII.colon else { return nil }
            gap = 0
            position = 2
        }
        while position < text.count {
            guard readGroup() else { return nil }
        }
        return finish()
    }

    /// One group and the colon or colons after it.
    private mutating func readGroup() -> Bool {
        let start = position
        var value: UInt64 = 0
        while position < text.count, ASCII.hexValue(text[position]) < 16 {
            guard position - start < 4 else { return readDotted(from: start) }
            value = value << 4 | UInt64(ASCII.hexValue(text[position]))
            position += 1
        }
        if position < text.count, text[position] == ASCII.dot { return readDotted(from: start) }
        guard position > start, append(value) else { return false }
        guard position < text.count else { return true }
        guard text[position] == ASCII.colon, position + 1 < text.count else { return false }
        position += 1
        if text[position] == ASCII.colon {
            guard gap < 0 else { return false }
            gap = groupCount
            position += 1
        }
        return true
    }

    private mutating func readDotted(from start: Int) -> Bool {
        guard let ipv4 = NetworkAddress.parseIPv4(text.slice(from: start)) else { return false }
        position = text.count
        return append(UInt64(ipv4 >> 16)) && append(UInt64(ipv4 & 0xFFFF))
    }

    /// Puts zeros where the `::` was.
    private func finish() -> (high: UInt64, low: UInt64)? {
        guard gap >= 0 else { return groupCount == 8 ? (high, low) : nil }
        guard groupCount < 8 else { return nil }
        let tailCount = groupCount - gap
        var head = (high: high, low: low)
        for _ in 0..<tailCount { head = (head.high >> 16, head.low >> 16 | head.high << 48) }
        for _ in 0..<(8 - gap) { head = (head.high << 16 | head.low >> 48, head.low << 16) }
        var mask: (high: UInt64, low: UInt64) = (0, 0)
        for _ in 0..<tailCount { mask = (mask.high << 16 | mask.low >> 48, mask.low << 16 | 0xFFFF) }
        return (head.high | high & mask.high, head.low | low & mask.low)
    }
}

/// Addresses that share their first bits: `10.0.0.0/8`.
public struct AddressBlock: Equatable, Sendable, BitwiseCopyable {
    public let first: NetworkAddress
    private let highMask: UInt64
    private let lowMask: UInt64

    /// Nil if the prefix is longer than the address. Bits beyond the prefix are ignored.
    public init?(_ address: NetworkAddress, prefixLength: Int) {
        guard prefixLength >= 0, prefixLength <= (address.isIPv6 ? 128 : 32) else { return nil }
        if address.isIPv6 {
            highMask = Self.mask(prefixLength)
            lowMask = Self.mask(prefixLength - 64)
        } else {
            highMask = 0
            lowMask = Self.mask(prefixLength) >> 32
        }
        first = address
    }

    private static func mask(_ length: Int) -> UInt64 {
        length <= 0 ? 0 : length >= 64 ? .max : ~(.max >> UInt64(length))
    }

    @inline(__always)
    public func contains(_ address: NetworkAddress) -> Bool {
        address.isIPv6 == first.isIPv6 && (address.high ^ first.high) & highMask == 0
            && (address.low ^ first.low) & lowMask == 0
    }
}
