// Owns the tables of addresses: their text, both ways, blocks of them, and the walk over X-Forwarded-For.

import Testing
import Wire

func address(_ text: String) -> NetworkAddress? {
    withBytes(text) { NetworkAddress.parse($0) }
}

@Suite("Addresses")
struct NetworkAddressTests {
    @Test(
        "text there and back",
        arguments: [
            ("0.0.0.0", "0.0.0.0"), ("1.2.3.4", "1.2.3.4"), ("255.255.255.255", "255.255.255.255"), ("::", "::"),
            ("::1", "::1"), ("1::", "1::"), ("2001:DB8::1", "2001:db8::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"),
            ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"), ("0:0:1::", "0:0:1::"),
            ("fe80::0001", "fe80::1"), ("::ffff:1.2.3.4", "1.2.3.4"), ("::FFFF:102:304", "1.2.3.4"),
            ("64:ff9b::1.2.3.4", "64:ff9b::102:304"), ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"),
        ])
    func text(input: String, output: String) throws {
        let parsed = try #require(address(input))
        #expect(written { parsed.write(into: &$0) } == output)
        #expect(address(output) == parsed)
    }

    @Test(
        "what is no address",
        arguments: [
            "", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.04", "1..2.3", ".1.2.3", "1.2.3.",
            "1.2.3.4 ",
            " 1.2.3.4", "a.b.c.d", "1.2.3.4:80", ":", ":::", "1:", ":1", "1::2::3", "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "::1:2:3:4:5:6:7:8", "12345::", "g::", "::1%eth0", "[::1]", "::1.2.3", "::1.2.3.4:5",
            "1:2:3:4:5:6:7:1.2.3.4",
            "1.2.3.4::", "::01.2.3.4",
        ])
    func none(input: String) {
        #expect(address(input) == nil)
    }

    static func block(_ text: String, _ length: Int) -> AddressBlock? {
        address(text).flatMap { AddressBlock($0, prefixLength: length) }
    }

    @Test(
        "blocks",
        arguments: [
            ("10.0.0.0", 8, "10.255.0.1", true), ("10.0.0.0", 8, "11.0.0.1", false), ("10.1.2.3", 8, "10.9.9.9", true),
            ("1.2.3.4", 32, "1.2.3.4", true), ("1.2.3.4", 32, "1.2.3.5", false), ("0.0.0.0", 0, "9.9.9.9", true),
            ("0.0.0.0", 0, "::1", false), ("::", 0, "9.9.9.9", false), ("::", 0, "fe80::1", true),
            ("2001:db8::", 32, "2001:db8:ffff::1", true), ("2001:db8::", 32, "2001:db9::1", false),
            ("2001:db8::", 65, "2001:db8::7fff:0:0:1", true), ("2001:db8::", 65, "2001:db8::8000:0:0:1", false),
            ("::1", 128, "::1", true), ("::1", 128, "::2", false), ("172.16.0.0", 12, "172.31.255.255", true),
            ("172.16.0.0", 12, "172.32.0.0", false), ("10.0.0.0", 8, "::ffff:10.0.0.1", true),
        ])
    func contains(first: String, length: Int, other: String, expected: Bool) throws {
        let block = try #require(Self.block(first, length))
        #expect(block.contains(try #require(address(other))) == expected)
    }

    @Test("a prefix longer than the address is none")
    func prefix() {
        #expect(Self.block("10.0.0.0", 33) == nil)
        #expect(Self.block("10.0.0.0", -1) == nil)
        #expect(Self.block("::", 129) == nil)
        #expect(Self.block("::", 128) != nil)
    }
}

@Suite("The walk over X-Forwarded-For")
struct ForwardedHeadersTests {
    /// 10.0.0.0/8 and fd00::/8 are trusted.
    static func client(peer: String, _ lines: [String]) -> String? {
        let trusted = [NetworkAddressTests.block("10.0.0.0", 8), NetworkAddressTests.block("fd00::", 8)].compactMap {
            $0
        }
        let fields = lines.map { "X-Forwarded-For: \($0)\r\n" }.joined()
        return withBytes("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n") { source -> String? in
            var head = RequestHead()
            guard case .complete = head.parse(source), let peer = address(peer) else { return nil }
            let blocks = UnsafeMutableBufferPointer<AddressBlock>.allocate(capacity: trusted.count)
            defer { blocks.deallocate() }
            _ = blocks.initialize(from: trusted)
            let client = ForwardedHeaders.realClient(
                peer: peer, trusted: UnsafeBufferPointer(blocks), head: head, source: source)
            return written { client.write(into: &$0) }
        }
    }

    @Test(
        "from the right, past the trusted, to the first stranger",
        arguments: [
            ("192.0.2.1", ["1.1.1.1"], "192.0.2.1"),
            ("10.0.0.1", [], "10.0.0.1"),
            ("10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", ["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", ["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", ["6.6.6.6, 1.1.1.1", "10.0.0.2, fd00::1"], "1.1.1.1"),
            ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("::ffff:10.0.0.1", ["::ffff:1.1.1.1"], "1.1.1.1"),
            ("fd00::9", ["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", ["1.1.1.1:5000"], "1.1.1.1"),
            // What is no address ends the walk before it.
            ("10.0.0.1", ["6.6.6.6, unknown"], "10.0.0.1"),
            ("10.0.0.1", ["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", ["6.6.6.6,"], "10.0.0.1"),
            ("10.0.0.1", ["6.6.6.6, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", ["1.1.1.1:"], "10.0.0.1"),
            ("10.0.0.1", ["1.1.1.1:x"], "10.0.0.1"),
            ("10.0.0.1", ["[::1"], "10.0.0.1"),
            ("10.0.0.1", ["\"1.1.1.1\""], "10.0.0.1"),
            ("10.0.0.1", [""], "10.0.0.1"),
        ])
    func walk(peer: String, lines: [String], expected: String) {
        #expect(Self.client(peer: peer, lines) == expected)
    }

    @Test("a list without end is not walked to its end")
    func long() {
        let list = "6.6.6.6, " + (0..<40).map { "10.0.1.\($0)" }.joined(separator: ", ")
        #expect(Self.client(peer: "10.0.0.1", [list]) == "10.0.1.8")
    }
}
