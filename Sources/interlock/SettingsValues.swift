// How a setting's text becomes a value: one function for each kind, each saying what would be right.
// Pure: no file, no resolver, no environment.

import Kernel
import Model

/// Why a text is no value of its kind: completes the sentence "must be ...".
struct BadValue: Error, Equatable {
    let expectation: String

    init(_ expectation: String) { self.expectation = expectation }
}

/// A `[host]:port` to listen on; "" as host is every address of the machine.
struct ListenSetting: Sendable, Equatable, CustomStringConvertible {
    /// An IPv4 literal, an IPv6 literal without brackets, a name, or "".
    var host: String
    var port: UInt16

    var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// The socket addresses it stands for: `::` for every address (dual-stack where the machine has IPv6). Names are
    /// looked up, so this may block.
    func resolved() throws(Resolver.Failure) -> [SocketAddress] {
        if host.isEmpty { return [SocketAddress(v6High: 0, low: 0, port: port)] }
        guard let literal = IPAddress(host) else { return try Resolver.resolve(host: host, port: port) }
        if literal.isIPv4 { return [SocketAddress(v4: UInt32(truncatingIfNeeded: literal.low), port: port)] }
        return [SocketAddress(v6High: literal.high, low: literal.low, port: port)]
    }
}

enum SettingValue {
    static func integer(_ text: String, in range: ClosedRange<Int>) throws(BadValue) -> Int {
        guard let value = digits(text).flatMap({ Int($0) }), range.contains(value) else {
            throw BadValue("a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    static func boolean(_ text: String) throws(BadValue) -> Bool {
        switch text.lowercased() {
        case "true", "1", "yes", "on": return true
        case "false", "0", "no", "off": return false
        default: throw BadValue("true or false (also 1, 0, yes, no, on, off)")
        }
    }

    /// `500ms`, `10s`, `1m30s`, `1h`, `2d`; a bare number is seconds.
    static func duration(_ text: String, inMs range: ClosedRange<Int>) throws(BadValue) -> Int {
        let expectation = BadValue(
            "a duration from \(describe(ms: range.lowerBound)) to \(describe(ms: range.upperBound)),"
                + " such as 500ms, 10s or 1m30s")
        guard let value = milliseconds(text), range.contains(value) else { throw expectation }
        return value
    }

    private static func milliseconds(_ text: String) -> Int? {
        if let seconds = digits(text) { return product(Int(seconds), 1000) }
        let scales: [(unit: String, ms: Int)] = [
            ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
        ]
        var rest = text[...]
        var total = 0
        var nextScale = 0
        while !rest.isEmpty {
            let number = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(number.count)
            let unit = rest.prefix { $0.isLetter }
            rest = rest.dropFirst(unit.count)
            // Units come once each, the larger ones first.
            guard let scale = scales[nextScale...].firstIndex(where: { $0.unit == unit }),
                let part = product(Int(number), scales[scale].ms)
            else { return nil }
            let (sum, overflow) = total.addingReportingOverflow(part)
            guard !overflow else { return nil }
            total = sum
            nextScale = scale + 1
        }
        return text.isEmpty ? nil : total
    }

    /// Bytes: a bare number, or with k, m, g (also kb, kib and so on; powers of 1024).
    static func size(_ text: String, in range: ClosedRange<Int>) throws(BadValue) -> Int {
        let number = text.prefix { $0.isASCII && $0.isNumber }
        let scale: Int? =
            switch text.dropFirst(number.count).lowercased() {
            case "", "b": 1
            case "k", "kb", "kib": 1 << 10
            case "m", "mb", "mib": 1 << 20
            case "g", "gb", "gib": 1 << 30
            case "t", "tb", "tib": 1 << 40
            default: nil
            }
        guard let scale, let value = product(Int(number), scale), range.contains(value) else {
            throw BadValue(
                "a size from \(describe(bytes: range.lowerBound)) to \(describe(bytes: range.upperBound)),"
                    + " such as 8k, 32m or 1g")
        }
        return value
    }

    /// `[host]:port`, several with commas, or `off`.
    static func listenList(_ text: String) throws(BadValue) -> [ListenSetting] {
        if text.lowercased() == "off" { return [] }
        var list: [ListenSetting] = []
        for item in items(text) {
            guard let address = listenAddress(item) else {
                throw BadValue("off, or addresses such as :80, 127.0.0.1:80 or [::1]:80, separated by commas")
            }
            guard !list.contains(address) else { throw BadValue("a list that names each address once") }
            list.append(address)
        }
        guard !list.isEmpty else { throw BadValue("off, or at least one address such as :80") }
        return list
    }

    private static func listenAddress(_ text: String) -> ListenSetting? {
        guard let colon = text.lastIndex(of: ":"),
            let port = digits(String(text[text.index(after: colon)...])).flatMap({ UInt16($0) })
        else { return nil }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
            guard host.contains(":"), IPAddress(host) != nil else { return nil }
        } else if host.contains(":") || !host.utf8.allSatisfy(isHostByte) {
            return nil
        }
        if host == "*" { host = "" }
        return ListenSetting(host: host, port: port)
    }

    private static func isHostByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "*"),
            // Names of Docker's services and stacks.
            UInt8(ascii: "_"):
            true
        default: false
        }
    }

    static func blocks(_ text: String) throws(BadValue) -> [AddressBlock] {
        var blocks: [AddressBlock] = []
        for item in items(text) {
            guard let block = AddressBlock(item) else {
                throw BadValue("addresses or CIDR blocks such as 10.0.0.0/8 or 2001:db8::/32, separated by commas")
            }
            blocks.append(block)
        }
        return blocks
    }

    /// Ports and ranges of ports with commas, `5432, 9000-9099`; in ascending order, neighbours joined.
    static func ports(_ text: String) throws(BadValue) -> [ClosedRange<UInt16>] {
        let expectation = BadValue("ports from 1 to 65535 and ranges such as 9000-9099, separated by commas")
        var ranges: [ClosedRange<UInt16>] = []
        for item in items(text) {
            let ends = item.split(separator: "-", omittingEmptySubsequences: false).map { trim($0) }
            let numbers = ends.compactMap { digits($0).flatMap { UInt16($0) } }
            guard ends.count <= 2, numbers.count == ends.count, let first = numbers.first, let last = numbers.last,
                first > 0, first <= last
            else { throw expectation }
            ranges.append(first...last)
        }
        guard !ranges.isEmpty else { throw expectation }
        return ranges.sorted { $0.lowerBound < $1.lowerBound }.reduce(into: []) { joined, range in
            if let last = joined.last, Int(range.lowerBound) <= Int(last.upperBound) + 1 {
                joined[joined.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                joined.append(range)
            }
        }
    }

    static func names(_ text: String) throws(BadValue) -> [String] {
        let list = items(text)
        guard !list.isEmpty, list.allSatisfy({ $0.utf8.allSatisfy { (0x21..<0x7F).contains($0) } }) else {
            throw BadValue("names separated by commas")
        }
        return list
    }

    /// One word of printable ASCII, for header values and names.
    static func word(_ text: String, of what: String) throws(BadValue) -> String {
        guard !text.isEmpty, text.utf8.count <= 255, text.utf8.allSatisfy({ (0x21..<0x7F).contains($0) }) else {
            throw BadValue(what)
        }
        return text
    }

    static func path(_ text: String) throws(BadValue) -> String {
        guard text.utf8.count < 4096, text.utf8.allSatisfy({ $0 >= 0x20 }) else { throw BadValue("a file path") }
        return text
    }

    static func docker(_ text: String) throws(BadValue) -> DockerSource {
        switch text.lowercased() {
        case "auto": return .automatic
        case "off": return .off
        default:
            guard isDockerAddress(text) else {
                throw BadValue("auto, off, or an address such as unix:///var/run/docker.sock or tcp://manager:2376")
            }
            return .address(text)
        }
    }

    static func isDockerAddress(_ text: String) -> Bool {
        if text.hasPrefix("unix:///") { return text.utf8.count <= 7 + 107 }
        for scheme in ["tcp://", "http://", "https://"] where text.hasPrefix(scheme) {
            return text.utf8.count > scheme.utf8.count && text.utf8.allSatisfy { (0x21..<0x7F).contains($0) }
        }
        return false
    }

    // Helpers.

    private static func items(_ text: String) -> [String] {
        text.split(separator: ",").map { trim($0) }.filter { !$0.isEmpty }
    }

    /// Without spaces, tabs and line ends on both sides.
    static func trim(_ text: some StringProtocol) -> String {
        func isBlank(_ character: Character) -> Bool { character.isWhitespace }
        return String(text.drop(while: isBlank).reversed().drop(while: isBlank).reversed())
    }

    /// The text itself if it is made of 1 to 18 ASCII digits.
    private static func digits(_ text: String) -> String? {
        (1...18).contains(text.utf8.count) && text.utf8.allSatisfy { (48...57).contains($0) } ? text : nil
    }

    private static func product(_ left: Int?, _ right: Int) -> Int? {
        guard let left else { return nil }
        let (value, overflow) = left.multipliedReportingOverflow(by: right)
        return overflow ? nil : value
    }

    static func describe(ms: Int) -> String {
        switch ms {
        case 0: "0"
        case let ms where ms % 86_400_000 == 0: "\(ms / 86_400_000)d"
        case let ms where ms % 3_600_000 == 0: "\(ms / 3_600_000)h"
        case let ms where ms % 60_000 == 0: "\(ms / 60_000)m"
        case let ms where ms % 1000 == 0: "\(ms / 1000)s"
        default: "\(ms)ms"
        }
    }

    static func describe(bytes: Int) -> String {
        for (shift, unit) in [(40, "t"), (30, "g"), (20, "m"), (10, "k")] where bytes >= 1 << shift {
            if bytes % (1 << shift) == 0 { return "\(bytes >> shift)\(unit)" }
        }
        return "\(bytes)"
    }
}
