// The text of an address that every connection carries, made without a String.

import Model
import Support
import Testing
import Wire

@testable import Proxy

@Suite struct AddressTextTests {
    private func text(_ address: IPAddress) -> String {
        var text = AddressText(address)
        return withUnsafeMutablePointer(to: &text) { place in
            String(decoding: AddressText.bytes(at: place).raw, as: UTF8.self)
        }
    }

    @Test func itIsWhatTheAddressIsDescribedAs() throws {
        for literal in [
            "0.0.0.0", "1.2.3.4", "9.10.99.100", "127.0.0.1", "255.255.255.255", "::1", "2001:db8::1",
            "fe80:1:2:3:4:5:6:7", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            #expect(text(try #require(IPAddress(literal))) == literal)
        }
        var random = SeededRandom(seed: 1)
        for _ in 0..<10_000 {
            let address = IPAddress(v4: UInt32(truncatingIfNeeded: random.next()))
            #expect(text(address) == address.description)
        }
    }
}
