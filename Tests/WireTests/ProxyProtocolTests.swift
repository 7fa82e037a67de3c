// Owns the tables of PROXY headers, both versions, both ways.

import Testing
import Wire

@Suite("PROXY protocol")
struct ProxyProtocolTests {
    static let signature = "\r\n\r\n\u{00}\r\nQUIT\n"
    static let tcp4 = "\u{01}\u{02}\u{03}\u{04}\u{05}\u{06}\u{07}\u{08}\u{10}\u{01}\u{01}\u{BB}"
    static let tcp6 =
        "\u{20}\u{01}\u{0D}\u{B8}" + String(repeating: "\u{00}", count: 11) + "\u{01}"
        + String(repeating: "\u{00}", count: 15) + "\u{01}" + "\u{10}\u{01}\u{01}\u{BB}"

    static func parse(_ array: [UInt8]) -> ProxyProtocol.Result {
        withBytes(array) { ProxyProtocol.parse($0) }
    }

    static func ends(_ source: String, _ port: UInt16, _ destination: String, _ other: UInt16) -> ProxyProtocol.Ends? {
        guard let source = address(source), let destination = address(destination) else { return nil }
        return ProxyProtocol.Ends(
            source: source, sourcePort: port, destination: destination, destinationPort: other)
    }

    struct Row: CustomTestStringConvertible, Sendable {
        let header: String
        let ends: ProxyProtocol.Ends?
        var testDescription: String { header.debugDescription }
    }

    static let good: [Row] = [
        Row(header: "PROXY TCP4 1.2.3.4 5.6.7.8 4097 443\r\n", ends: ends("1.2.3.4", 4097, "5.6.7.8", 443)),
        Row(header: "PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n", ends: ends("1.2.3.4", 0, "5.6.7.8", 65535)),
        Row(header: "PROXY TCP6 2001:db8::1 ::1 4097 443\r\n", ends: ends("2001:db8::1", 4097, "::1", 443)),
        Row(header: "PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", ends: ends("1.2.3.4", 1, "::1", 2)),
        Row(header: "PROXY UNKNOWN\r\n", ends: nil),
        Row(header: "PROXY UNKNOWN ffff:: whatever 1 2\r\n", ends: nil),
        Row(header: signature + "\u{21}\u{11}\u{00}\u{0C}" + tcp4, ends: ends("1.2.3.4", 4097, "5.6.7.8", 443)),
        Row(header: signature + "\u{21}\u{21}\u{00}\u{24}" + tcp6, ends: ends("2001:db8::1", 4097, "::1", 443)),
        // TLVs are skipped, whole ones.
        Row(
            header: signature + "\u{21}\u{11}\u{00}\u{12}" + tcp4 + "\u{02}\u{00}\u{03}abc",
            ends: ends("1.2.3.4", 4097, "5.6.7.8", 443)),
        Row(
            header: signature + "\u{21}\u{11}\u{00}\u{0F}" + tcp4 + "\u{04}\u{00}\u{00}",
            ends: ends("1.2.3.4", 4097, "5.6.7.8", 443)),
        // LOCAL, UNSPEC, Unix sockets: nobody is spoken for.
        Row(header: signature + "\u{20}\u{00}\u{00}\u{00}", ends: nil),
        Row(header: signature + "\u{20}\u{11}\u{00}\u{0C}" + tcp4, ends: nil),
        Row(header: signature + "\u{20}\u{00}\u{00}\u{05}junk!", ends: nil),
        Row(header: signature + "\u{21}\u{00}\u{00}\u{00}", ends: nil),
        Row(header: signature + "\u{21}\u{31}\u{00}\u{D8}" + String(repeating: "\u{00}", count: 216), ends: nil),
    ]

    @Test("good headers, whole and cut", arguments: good)
    func accepts(row: Row) {
        let header = bytes(row.header)
        let expected = ProxyProtocol.Result.complete(byteCount: header.count, ends: row.ends)
        #expect(Self.parse(header) == expected)
        #expect(Self.parse(header + bytes("GET / HTTP/1.1\r\n")) == expected)
        for cut in 0..<header.count { #expect(Self.parse(Array(header[..<cut])) == .incomplete, "cut at \(cut)") }
    }

    static let bad: [String] = [
        "GET / HTTP/1.1\r\n", "PROXX", "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 x 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rX", "PROXY TCP4\r\n", "PROXY \r\n", "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWN " + String(repeating: "x", count: 100) + "\r\n", "PROXY " + String(repeating: "x", count: 200),
        "\r\n\r\nX", signature.dropLastScalar + "X", signature + "\u{11}\u{11}\u{00}\u{0C}" + tcp4,
        signature + "\u{22}\u{11}\u{00}\u{0C}" + tcp4, signature + "\u{21}\u{12}\u{00}\u{0C}" + tcp4,
        signature + "\u{21}\u{22}\u{00}\u{24}" + tcp6, signature + "\u{21}\u{41}\u{00}\u{0C}" + tcp4,
        signature + "\u{21}\u{FF}\u{00}\u{0C}" + tcp4, signature + "\u{21}\u{11}\u{00}\u{0B}" + tcp4,
        signature + "\u{21}\u{21}\u{00}\u{0C}" + tcp4, signature + "\u{21}\u{11}\u{10}\u{01}" + tcp4,
        // A TLV that runs over the header's end, and half a TLV.
        signature + "\u{21}\u{11}\u{00}\u{12}" + tcp4 + "\u{02}\u{00}\u{04}abc",
        signature + "\u{21}\u{11}\u{00}\u{0E}" + tcp4 + "\u{02}\u{00}",
    ]

    @Test("bad headers", arguments: bad)
    func refuses(header: String) {
        let header = bytes(header)
        let expected = ProxyProtocol.Result.refused(Refusal(.badProxyHeader))
        #expect(Self.parse(header) == expected)
        for cut in 0..<header.count {
            let result = Self.parse(Array(header[..<cut]))
            #expect(result == .incomplete || result == expected, "cut at \(cut)")
        }
    }

    @Test("written to the byte, and read back")
    func writes() throws {
        let four = try #require(Self.ends("1.2.3.4", 4097, "5.6.7.8", 443))
        let six = try #require(Self.ends("2001:db8::1", 4097, "::1", 443))
        let mixed = try #require(Self.ends("1.2.3.4", 1, "::1", 2))
        #expect(written { ProxyProtocol.writeV1(four, into: &$0) } == Self.good[0].header)
        #expect(written { ProxyProtocol.writeV1(six, into: &$0) } == Self.good[2].header)
        #expect(written { ProxyProtocol.writeV1(mixed, into: &$0) } == Self.good[3].header)
        #expect(written { ProxyProtocol.writeV1(nil, into: &$0) } == "PROXY UNKNOWN\r\n")
        #expect(written { ProxyProtocol.writeV2(four, into: &$0) } == Self.good[6].header)
        #expect(written { ProxyProtocol.writeV2(six, into: &$0) } == Self.good[7].header)
        #expect(written { ProxyProtocol.writeV2(nil, into: &$0) } == Self.good[10].header)
        let both = bytes(written { ProxyProtocol.writeV2(mixed, into: &$0) })
        #expect(Self.parse(both) == .complete(byteCount: 52, ends: mixed))
    }
}

extension String {
    fileprivate var dropLastScalar: String { String(String.UnicodeScalarView(unicodeScalars.dropLast())) }
}
