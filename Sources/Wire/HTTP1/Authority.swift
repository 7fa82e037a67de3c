// Owns what a host may look like, wherever it is named: the Host field, an absolute target. One reading for both, so
// that what is routed and what is forwarded are the same bytes. It resolves nothing.
//
//   authority = host [ ":" *5DIGIT ]          host = name / "[" IPv6 "]"
//
// Refused: user information, paths, lists, empty labels, zones, ports outside 1...65535, more than 255 bytes.

struct Authority: BitwiseCopyable {
    /// Without the port and without one trailing dot. An IPv6 literal keeps its brackets.
    var host: ByteSpan
    var port: UInt16?

    /// A name is at most 255 bytes long in the DNS; a port adds six.
    static let hostSizeLimit = 255

    /// `base[from ..< to]` as an authority, with spans relative to `base`.
    @inline(__always)
    static func parse(_ base: UnsafePointer<UInt8>, from: Int, to: Int) -> Authority? {
        guard from < to else { return nil }
        if to &- from <= hostSizeLimit, ByteScan.isPlainHost(base + from, to &- from) {
            return Authority(host: ByteSpan(from: from, to: to), port: nil)
        }
        let hostEnd: Int
        if base[from] == 0x5B {
            guard let end = endOfLiteral(base, from: from, to: to) else { return nil }
            hostEnd = end
        } else {
            guard let end = endOfName(base, from: from, to: to) else { return nil }
            hostEnd = end
        }
        var port: UInt16?
        if hostEnd < to {
            guard base[hostEnd] == ASCII.colon else { return nil }
            // RFC 3986 section 3.2.3: the digits may be missing.
            if hostEnd &+ 1 < to {
                guard let number = Self.port(base, from: hostEnd &+ 1, to: to) else { return nil }
                port = number
            }
        }
        let isDotted = base[hostEnd &- 1] == ASCII.dot
        guard hostEnd &- from <= hostSizeLimit else { return nil }
        return Authority(host: ByteSpan(from: from, to: isDotted ? hostEnd &- 1 : hostEnd), port: port)
    }

    /// Labels of at least one character, the last of which may be followed by a dot. No digits are looked at as an
    /// address: `1.2.3.4` is a name here, routed like any other.
    @inline(__always)
    private static func endOfName(_ base: UnsafePointer<UInt8>, from: Int, to: Int) -> Int? {
        var index = from
        var previous = ASCII.dot
        while index < to {
            let byte = base[index]
            guard ASCII.isHostName(byte) else { break }
            if byte == ASCII.dot, previous == ASCII.dot { return nil }
            previous = byte
            index &+= 1
        }
        return index > from ? index : nil
    }

    private static func endOfLiteral(_ base: UnsafePointer<UInt8>, from: Int, to: Int) -> Int? {
        var end = from &+ 1
        while end < to, base[end] != 0x5D { end &+= 1 }
        guard end < to, NetworkAddress.parseIPv6(Bytes(base + from + 1, count: end - from - 1)) != nil else {
            return nil
        }
        return end &+ 1
    }

    private static func port(_ base: UnsafePointer<UInt8>, from: Int, to: Int) -> UInt16? {
        guard to > from, to &- from <= 5 else { return nil }
        var value: UInt32 = 0
        for index in from..<to {
            guard ASCII.isDigit(base[index]) else { return nil }
            value = value &* 10 &+ UInt32(base[index] &- 0x30)
        }
        guard value > 0, value <= 65535 else { return nil }
        return UInt16(value)
    }
}
