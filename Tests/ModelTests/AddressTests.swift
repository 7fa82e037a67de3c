// Addresses, endpoints and blocks: what is read, what is refused, how it is written back.

import Model
import Testing

@Test(
    "addresses are read and written in one form",
    arguments: [
        ("1.2.3.4", "1.2.3.4"), ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"), ("::", "::"),
        ("::1", "::1"), ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("::ffff:10.0.0.1", "10.0.0.1"), ("::ffff:a00:1", "10.0.0.1"), ("64:ff9b::1.2.3.4", "64:ff9b::102:304"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("fe80::", "fe80::"),
    ])
func addressForms(text: String, form: String) {
    #expect(IPAddress(text)?.description == form)
    #expect(IPAddress(form) == IPAddress(text))
}

@Test(
    "what is no address is refused",
    arguments: [
        "", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1.2.3.-4", "1.2.3.4 ", "a.b.c.d", ":", ":::", "1::2::3",
        "1:2:3:4:5:6:7:8:9", "12345::", "::g", "1:2:3:4:5:6:7:8::", "fe80::1%eth0", "[::1]", "::1.2.3", "1:", ":1",
        "1.2.3.4::", "\u{0661}.2.3.4",
    ])
func notAddresses(text: String) {
    #expect(IPAddress(text) == nil)
}

@Test(
    "endpoints",
    arguments: [
        ("1.2.3.4:80", "1.2.3.4:80"), ("[2001:db8::1]:65535", "[2001:db8::1]:65535"), ("1.2.3.4", nil),
        ("1.2.3.4:0", nil), ("1.2.3.4:65536", nil), ("1.2.3.4:+1", nil), ("::1:80", nil), ("[1.2.3.4]:80", nil),
        ("[::1]80", nil), ("host:80", nil), (":80", nil), ("1.2.3.4:", nil), ("[::1]:", nil),
    ])
func endpoints(text: String, form: String?) {
    #expect(Endpoint(text)?.description == form)
}

@Test(
    "blocks hold addresses of their own kind",
    arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.1", false), ("0.0.0.0/0", "1.2.3.4", true),
        ("0.0.0.0/0", "::1", false), ("1.2.3.4", "1.2.3.4", true), ("1.2.3.4", "1.2.3.5", false),
        ("2001:db8::/32", "2001:db8:1::", true), ("2001:db8::/32", "2001:db9::", false), ("::/0", "1.2.3.4", false),
        ("2001:db8::1:0/112", "2001:db8::1:ff", true), ("2001:db8::1:0/112", "2001:db8::2:ff", false),
        ("10.0.0.0/8", "::ffff:10.1.1.1", true), ("::1/128", "::1", true), ("::1/128", "::2", false),
    ])
func blocks(block: String, address: String, isInside: Bool) throws {
    let block = try #require(AddressBlock(block))
    #expect(block.contains(try #require(IPAddress(address))) == isInside)
}

@Test("what is no block is refused", arguments: ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/8/8", "x/8"])
func notBlocks(text: String) {
    #expect(AddressBlock(text) == nil)
}
