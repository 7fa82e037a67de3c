// Host names, and wildcards for one label, to numbers: for certificates, whose wildcards mean less than those of routes
// (RFC 6125 section 6.4.3). Made once, then only read; looking up allocates nothing.

internal import Glibc
internal import Wire

struct NameIndex: Sendable {
    private struct Entry {
        var start: Int
        var count: Int
        var value: Int32
    }

    /// Longer names are no host names.
    private static let longestName = 253

    private var keys: [UInt8] = []
    /// In ascending order of their keys' bytes.
    private var entries: [Entry] = []

    init() {}

    /// - Parameter values: by name in lower case, as certificates write them: `example.com`, `*.example.com`.
    init(_ values: [String: Int32]) {
        let ordered = values.map { (name: Array($0.key.utf8), value: $0.value) }.sorted {
            $0.name.lexicographicallyPrecedes($1.name)
        }
        entries.reserveCapacity(ordered.count)
        for row in ordered {
            entries.append(Entry(start: keys.count, count: row.name.count, value: row.value))
            keys += row.name
        }
    }

    var count: Int { entries.count }

    /// The number of a host, in any case and without a trailing dot: by its name, else by its wildcard. -1: none.
    func find(_ host: Bytes) -> Int32 {
        guard !host.isEmpty, host.count <= Self.longestName, !entries.isEmpty else { return -1 }
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Self.longestName) { name in
            for index in 0..<host.count { name[index] = Self.lower(host[index]) }
            let exact = search(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(name)[..<host.count]))
            guard exact < 0, let dot = host.firstIndex(of: UInt8(ascii: ".")), dot > 0 else { return exact }
            name[dot - 1] = UInt8(ascii: "*")
            return search(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(name)[(dot - 1)..<host.count]))
        }
    }

    private static func lower(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }

    private func search(_ name: UnsafeRawBufferPointer) -> Int32 {
        keys.withUnsafeBytes { keys in
            var low = 0
            var high = entries.count
            while low < high {
                let middle = (low + high) / 2
                let entry = entries[middle]
                let key = UnsafeRawBufferPointer(rebasing: keys[entry.start..<entry.start + entry.count])
                let order = Self.compare(key, name)
                if order == 0 { return entry.value }
                if order < 0 { low = middle + 1 } else { high = middle }
            }
            return -1
        }
    }

    private static func compare(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
        if let first = left.baseAddress, let second = right.baseAddress {
            let order = memcmp(first, second, min(left.count, right.count))
            if order != 0 { return Int(order) }
        }
        return left.count - right.count
    }
}
