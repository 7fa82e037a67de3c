// Owns the PROXY protocol, versions 1 and 2, both ways (haproxy.org/download/1.8/doc/proxy-protocol.txt). A header is
// read whole or refused; a header that speaks of no one (LOCAL, UNKNOWN, UNSPEC, a Unix socket) leaves the
// connection's own addresses. It never decides who may send one.
//
//   v1   "PROXY " ( "TCP4" / "TCP6" ) SP source SP destination SP port SP port CR LF    at most 107 bytes
//   v2   12 bytes signature, version and command, family and protocol, length, addresses, TLVs

import Glibc

/// Reading and writing the PROXY protocol.
public enum ProxyProtocol {
    /// The two ends of the connection that a proxy before us accepted.
    public struct Ends: Equatable, Sendable, BitwiseCopyable {
        public var source: NetworkAddress
        public var sourcePort: UInt16
        public var destination: NetworkAddress
        public var destinationPort: UInt16

        public init(
            source: NetworkAddress, sourcePort: UInt16, destination: NetworkAddress, destinationPort: UInt16
        ) {
            self.source = source
            self.sourcePort = sourcePort
            self.destination = destination
            self.destinationPort = destinationPort
        }
    }

    public enum Result: Equatable, Sendable, BitwiseCopyable {
        /// The header has `byteCount` bytes. No ends: the connection's own addresses count.
        case complete(byteCount: Int, ends: Ends?)
        case incomplete
        case refused(Refusal)
    }

    /// A v1 line with two full IPv6 addresses and its end.
    public static let lineSizeLimit = 107
    /// Addresses and TLVs of a v2 header. Who sends more: nobody; cloud balancers send about 100 bytes.
    public static let payloadSizeLimit = 4096
    /// The most that `parse` ever needs to see.
    public static let sizeLimit = 16 + payloadSizeLimit

    // Two literals, not one: the signature holds a NUL.
    private static var signature: (StaticString, StaticString) { ("\r\n\r\n\0\r\nQUIT\n", "PROXY ") }

    /// Reads the header at the start of `bytes`. After `.incomplete`, call again with more.
    public static func parse(_ bytes: Bytes) -> Result {
        guard bytes.count > 0 else { return .incomplete }
        let isBinary = bytes[0] == ASCII.carriageReturn
        let expected = Bytes(isBinary ? signature.0 : signature.1)
        let seen = min(bytes.count, expected.count)
        guard memcmp(bytes.base, expected.base, seen) == 0 else { return refused }
        guard bytes.count >= expected.count else { return .incomplete }
        return isBinary ? parseBinary(bytes) : parseLine(bytes)
    }

    private static var refused: Result { .refused(Refusal(.badProxyHeader)) }

    private static func parseLine(_ bytes: Bytes) -> Result {
        let limit = min(bytes.count, lineSizeLimit)
        guard let end = bytes.slice(from: 0, to: limit).firstIndex(of: ASCII.carriageReturn), end + 1 < limit else {
            return bytes.count >= lineSizeLimit ? refused : .incomplete
        }
        guard bytes[end + 1] == ASCII.lineFeed else { return refused }
        var words = WordReader(bytes.slice(from: 6, to: end))
        guard let family = words.next() else { return refused }
        if family.equals("UNKNOWN") { return .complete(byteCount: end + 2, ends: nil) }
        guard family.equals("TCP4") || family.equals("TCP6"), let source = words.next(),
            let destination = words.next(), let sourcePort = words.next().flatMap(port),
            let destinationPort = words.next().flatMap(port), words.isAtEnd
        else { return refused }
        let isIPv6 = family.equals("TCP6")
        guard let sourceAddress = address(source, isIPv6: isIPv6),
            let destinationAddress = address(destination, isIPv6: isIPv6)
        else { return refused }
        let ends = Ends(
            source: sourceAddress, sourcePort: sourcePort, destination: destinationAddress,
            destinationPort: destinationPort)
        return .complete(byteCount: end + 2, ends: ends)
    }

    private static func address(_ text: Bytes, isIPv6: Bool) -> NetworkAddress? {
        if !isIPv6 { return NetworkAddress.parseIPv4(text).map(NetworkAddress.init(ipv4:)) }
        return NetworkAddress.parseIPv6(text).map { NetworkAddress(ipv6High: $0.high, low: $0.low) }
    }

    /// 0 to 65535 without leading zeros.
    private static func port(_ text: Bytes) -> UInt16? {
        guard text.count > 0, text.count <= 5, text.count == 1 || text[0] != 0x30,
            let value = FramingFields.decimal(text)
        else { return nil }
        return UInt16(exactly: value)
    }

    private static func parseBinary(_ bytes: Bytes) -> Result {
        guard bytes.count >= 13 else { return .incomplete }
        let command = bytes[12]
        guard command == 0x20 || command == 0x21 else { return refused }
        guard bytes.count >= 16 else { return .incomplete }
        let family = bytes[13]
        let size = Int(bytes[14]) << 8 | Int(bytes[15])
        guard size <= payloadSizeLimit, let addressSize = addressSize(family), command == 0x20 || size >= addressSize
        else { return refused }
        guard bytes.count >= 16 + size else { return .incomplete }
        // LOCAL: the balancer itself asks, and what the header holds is to be skipped.
        if command == 0x20 { return .complete(byteCount: 16 + size, ends: nil) }
        let payload = bytes.slice(from: 16, to: 16 + size)
        guard areWhole(payload.slice(from: addressSize)) else { return refused }
        return .complete(byteCount: 16 + size, ends: ends(payload, family: family))
    }

    /// Bytes of addresses for a family and protocol byte; nil for reserved ones and datagrams.
    private static func addressSize(_ family: UInt8) -> Int? {
        switch family {
        case 0x00: 0
        case 0x11: 12
        case 0x21: 36
        case 0x31: 216
        default: nil
        }
    }

    private static func ends(_ payload: Bytes, family: UInt8) -> Ends? {
        func number(_ from: Int, _ count: Int) -> UInt64 {
            var value: UInt64 = 0
            for index in from..<(from + count) { value = value << 8 | UInt64(payload[index]) }
            return value
        }
        switch family {
        case 0x11:
            return Ends(
                source: NetworkAddress(ipv4: UInt32(number(0, 4))), sourcePort: UInt16(number(8, 2)),
                destination: NetworkAddress(ipv4: UInt32(number(4, 4))), destinationPort: UInt16(number(10, 2)))
        case 0x21:
            return Ends(
                source: NetworkAddress(ipv6High: number(0, 8), low: number(8, 8)), sourcePort: UInt16(number(32, 2)),
                destination: NetworkAddress(ipv6High: number(16, 8), low: number(24, 8)),
                destinationPort: UInt16(number(34, 2)))
        default: return nil
        }
    }

    /// Whether the bytes are whole type-length-value triples.
    private static func areWhole(_ values: Bytes) -> Bool {
        var position = 0
        while position < values.count {
            guard position + 3 <= values.count else { return false }
            position += 3 + (Int(values[position + 1]) << 8 | Int(values[position + 2]))
        }
        return position == values.count
    }
}

extension ProxyProtocol {
    /// The text form. No ends: `PROXY UNKNOWN`.
    public static func writeV1(_ ends: Ends?, into writer: inout ByteWriter) {
        guard let ends else {
            writer.append("PROXY UNKNOWN\r\n")
            return
        }
        let isIPv6 = ends.source.isIPv6 || ends.destination.isIPv6
        writer.append(isIPv6 ? "PROXY TCP6 " : "PROXY TCP4 ")
        for address in [ends.source, ends.destination] {
            if isIPv6, !address.isIPv6 { writer.append("::ffff:") }
            address.write(into: &writer)
            writer.append(ASCII.space)
        }
        writer.append(decimal: UInt64(ends.sourcePort))
        writer.append(ASCII.space)
        writer.append(decimal: UInt64(ends.destinationPort))
        writer.append("\r\n")
    }

    /// The binary form, without TLVs. No ends: LOCAL.
    public static func writeV2(_ ends: Ends?, into writer: inout ByteWriter) {
        writer.append(signature.0)
        guard let ends else {
            writer.append(Bytes("\u{20}\0\0\0"))
            return
        }
        let isIPv6 = ends.source.isIPv6 || ends.destination.isIPv6
        writer.append(UInt8(0x21))
        writer.append(UInt8(isIPv6 ? 0x21 : 0x11))
        append(isIPv6 ? 36 : 12, bytes: 2, into: &writer)
        for address in [ends.source, ends.destination] {
            if isIPv6 {
                append(address.high, bytes: 8, into: &writer)
                append(address.isIPv6 ? address.low : address.low | 0xFFFF << 32, bytes: 8, into: &writer)
            } else {
                append(address.low, bytes: 4, into: &writer)
            }
        }
        append(UInt64(ends.sourcePort), bytes: 2, into: &writer)
        append(UInt64(ends.destinationPort), bytes: 2, into: &writer)
    }

    private static func append(_ value: UInt64, bytes count: Int, into writer: inout ByteWriter) {
        for index in (0..<count).reversed() { writer.append(UInt8(truncatingIfNeeded: value >> UInt64(index * 8))) }
    }
}

/// Words between single spaces.
private struct WordReader {
    private let line: Bytes
    private var position = 0

    init(_ line: Bytes) { self.line = line }

    var isAtEnd: Bool { position > line.count }

    mutating func next() -> Bytes? {
        guard position <= line.count else { return nil }
        let end = line.firstIndex(of: ASCII.space, from: position) ?? line.count
        defer { position = end + 1 }
        return end > position ? line.slice(from: position, to: end) : nil
    }
}
