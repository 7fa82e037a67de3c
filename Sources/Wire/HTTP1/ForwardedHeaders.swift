// Owns one question: who is the client really, if the peer is a proxy that we trust? It walks X-Forwarded-For from
// the right, past trusted proxies, and stops at the first address that none of them vouches for. It never looks at a
// stranger's word and never at anything left of where it stopped.

/// The walk over X-Forwarded-For.
public enum ForwardedHeaders {
    /// Longer chains of trusted proxies do not exist; longer lists are made to cost time.
    static let hopLimit = 32

    /// The address that X-Real-IP tells. `peer` is whom the connection comes from, `trusted` the blocks whose members
    /// may speak for others. An entry that is no address ends the walk before it.
    public static func realClient(
        peer: NetworkAddress, trusted: UnsafeBufferPointer<AddressBlock>, head: borrowing RequestHead,
        source: Bytes
    ) -> NetworkAddress {
        var client = peer
        guard contains(trusted, peer) else { return client }
        var hopCount = 0
        var index = head.fieldCount
        // Several lines are one list (RFC 9110 section 5.3): the last line is its right end.
        while index > 0 {
            index -= 1
            let field = head.field(index)
            guard field.id == .xForwardedFor else { continue }
            var reader = ReverseListReader(source.slice(field.value))
            while let entry = reader.next() {
                hopCount += 1
                guard hopCount <= hopLimit, let address = address(entry) else { return client }
                client = address
                guard contains(trusted, address) else { return client }
            }
        }
        return client
    }

    /// Whether one of the blocks holds the address.
    public static func contains(_ blocks: UnsafeBufferPointer<AddressBlock>, _ address: NetworkAddress) -> Bool {
        for block in blocks where block.contains(address) { return true }
        return false
    }

    /// An entry as proxies write them: an address, with or without port, IPv6 with or without brackets.
    public static func address(_ entry: Bytes) -> NetworkAddress? {
        if entry.isEmpty { return nil }
        if entry[0] == 0x5B {
            guard let end = entry.firstIndex(of: 0x5D) else { return nil }
            guard end + 1 == entry.count || isPort(entry.slice(from: end + 1)) else { return nil }
            guard let ipv6 = NetworkAddress.parseIPv6(entry.slice(from: 1, to: end)) else { return nil }
            return NetworkAddress(ipv6High: ipv6.high, low: ipv6.low)
        }
        if let plain = NetworkAddress.parse(entry) { return plain }
        guard let colon = entry.firstIndex(of: ASCII.colon), isPort(entry.slice(from: colon)),
            let ipv4 = NetworkAddress.parseIPv4(entry.slice(from: 0, to: colon))
        else { return nil }
        return NetworkAddress(ipv4: ipv4)
    }

    private static func isPort(_ text: Bytes) -> Bool {
        guard text.count >= 2, text.count <= 6, text[0] == ASCII.colon else { return false }
        for index in 1..<text.count where !ASCII.isDigit(text[index]) { return false }
        return true
    }
}

/// A comma list from its right end. Unlike `ListReader` it reports empty elements: here they are faults.
private struct ReverseListReader {
    private let list: Bytes
    private var end: Int
    private var isDone: Bool

    init(_ list: Bytes) {
        self.list = list
        end = list.count
        isDone = list.isEmpty
    }

    mutating func next() -> Bytes? {
        guard !isDone else { return nil }
        var start = end
        while start > 0, list[start - 1] != ASCII.comma { start -= 1 }
        let element = ListReader.trimmed(list, from: start, to: end)
        isDone = start == 0
        end = max(0, start - 1)
        return element
    }
}
