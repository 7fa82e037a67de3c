// The fields that frames are made of: numbers in network order, texts and digests, written and read back strictly.
// Reading is total: it says nil where something is missing, and never asks for memory that the input does not justify.

internal import TLS

/// SHA-256 of a piece, by which both sides name it.
struct FeedDigest: Hashable, Sendable, CustomStringConvertible {
    static let size = Digest.size
    static let zero = FeedDigest(words: (0, 0, 0, 0))

    private let first: UInt64
    private let second: UInt64
    private let third: UInt64
    private let fourth: UInt64

    private init(words: (UInt64, UInt64, UInt64, UInt64)) { (first, second, third, fourth) = words }

    /// The digest of these bytes.
    init(of bytes: [UInt8]) {
        var reader = FeedReader(Digest.sha256(bytes)[...])
        self = reader.digest() ?? .zero
    }

    /// The digest of a list of digests, in order: what names a whole content.
    init(of list: some Sequence<FeedDigest>) {
        var writer = FeedWriter()
        for digest in list { writer.add(digest) }
        self.init(of: writer.bytes)
    }

    fileprivate init?(_ reader: inout FeedReader) {
        guard let first = reader.number(UInt64.self), let second = reader.number(UInt64.self),
            let third = reader.number(UInt64.self), let fourth = reader.number(UInt64.self)
        else { return nil }
        self.init(words: (first, second, third, fourth))
    }

    fileprivate func write(to writer: inout FeedWriter) {
        for word in [first, second, third, fourth] { writer.add(word) }
    }

    /// 64 hexadecimal digits.
    var description: String {
        [first, second, third, fourth].map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }
}

/// Appends fields to bytes.
struct FeedWriter {
    var bytes: [UInt8] = []

    mutating func add<Number: FixedWidthInteger & UnsignedInteger>(_ number: Number) {
        var shift = Number.bitWidth
        while shift > 0 {
            shift -= 8
            bytes.append(UInt8(truncatingIfNeeded: number >> Number(shift)))
        }
    }

    /// Cut to `limit` bytes, at the end of a character; a control character becomes a space.
    mutating func add(_ text: String, limit: Int) {
        var kept = String.UnicodeScalarView()
        var size = 0
        for scalar in text.unicodeScalars {
            size += UTF8.width(scalar)
            guard size <= limit else { break }
            kept.append(scalar.value < 0x20 || scalar.value == 0x7F ? " " : scalar)
        }
        let raw = Array(String(kept).utf8)
        add(UInt16(truncatingIfNeeded: raw.count))
        bytes += raw
    }

    mutating func add(_ digest: FeedDigest) { digest.write(to: &self) }
}

/// Takes fields off the front of bytes.
struct FeedReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    var remaining: Int { bytes.endIndex - position }
    var isAtEnd: Bool { remaining == 0 }

    mutating func number<Number: FixedWidthInteger & UnsignedInteger>(_: Number.Type) -> Number? {
        let size = Number.bitWidth / 8
        guard remaining >= size else { return nil }
        var value: Number = 0
        for index in position..<position + size { value = value << 8 | Number(bytes[index]) }
        position += size
        return value
    }

    /// UTF-8 without control characters: it goes into logs.
    mutating func text(limit: Int) -> String? {
        guard let count = number(UInt16.self), count <= limit, remaining >= count else { return nil }
        let raw = bytes[position..<position + Int(count)]
        position += Int(count)
        guard !raw.contains(where: { $0 < 0x20 || $0 == 0x7F }) else { return nil }
        return String(validating: raw, as: UTF8.self)
    }

    mutating func digest() -> FeedDigest? { FeedDigest(&self) }
}
