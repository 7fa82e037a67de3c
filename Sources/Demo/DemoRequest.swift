// A request as the demo pages see it: copied out of the read buffer, so that the body may take its place.

import Kernel
import Wire

struct DemoRequest {
    var method: String
    var target: String
    var path: String
    /// Without the question mark; nil if there is none.
    var query: String?
    var version: HTTPVersion
    /// In the order they came, names as spelled.
    var fields: [(name: String, value: String)]
    var body: BodyLength
    var isPersistent: Bool
    var expectsContinue: Bool
    var wantsHTML: Bool
    /// The key of a valid WebSocket handshake.
    var webSocketKey: String?
    var announcedTrailers: [UInt8]
    var isHead: Bool

    init(_ head: borrowing RequestHead, in bytes: Bytes) {
        method = bytes.slice(head.methodName).string()
        target = bytes.slice(head.target).string()
        path = head.isPathEmpty ? "/" : bytes.slice(head.path).string()
        query = head.hasQuery ? bytes.slice(head.query).string() : nil
        version = head.version
        body = head.body
        isPersistent = head.isPersistent
        expectsContinue = head.expectsContinue
        isHead = head.method == .head
        announcedTrailers = bytes.slice(head.announcedTrailers).array()
        var fields: [(name: String, value: String)] = []
        var key: String?
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            fields.append((bytes.slice(field.name).string(), bytes.slice(field.value).string()))
            if field.id == .secWebSocketKey { key = fields[index].value }
        }
        self.fields = fields
        let isWebSocket = head.hasUpgrade && bytes.slice(head.upgrade).equalsIgnoringCase("websocket")
        webSocketKey = isWebSocket ? key : nil
        // Format falls back to HTML; a client that does not name it (curl) is better served with JSON.
        let accept = bytes.slice(head.accept)
        wantsHTML =
            accept.string().lowercased().contains("html") && StandardResponses.Format(accept: accept) == .html
    }

    /// A number from the query, within bounds: `?ms=100`.
    func number(_ name: String, default standard: Int, in range: ClosedRange<Int>) -> Int {
        for pair in (query ?? "").split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2, parts[0] == name, let value = Int(parts[1]) {
                return min(max(value, range.lowerBound), range.upperBound)
            }
        }
        return standard
    }

    func flag(_ name: String) -> Bool { number(name, default: 0, in: 0...1) == 1 }
}

/// What arrived as a request's body.
struct DemoBody {
    var byteCount: UInt64 = 0
    var checksum = Checksum()
    /// The begin of it, at most `keptLimit` bytes.
    var begin: [UInt8] = []
    /// Trailer lines, each with its CR LF.
    var trailers: [UInt8] = []

    static let keptLimit = 4096

    mutating func append(_ bytes: Bytes) {
        byteCount += UInt64(bytes.count)
        checksum.update(bytes)
        if begin.count < Self.keptLimit {
            begin += bytes.slice(from: 0, to: min(bytes.count, Self.keptLimit - begin.count)).array()
        }
    }
}

/// CRC-32 as zlib and PNG have it, eight bytes a step.
struct Checksum {
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for index in 0..<256 {
            var value = UInt32(index)
            for _ in 0..<8 { value = value & 1 == 1 ? 0xEDB8_8320 ^ value >> 1 : value >> 1 }
            tables[index] = value
        }
        for index in 256..<tables.count {
            tables[index] = tables[index - 256] >> 8 ^ tables[Int(tables[index - 256] & 255)]
        }
        return tables
    }()

    private var state: UInt32 = .max
    var value: UInt32 { ~state }

    /// Eight hexadecimal digits.
    var text: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.utf8.count) + digits
    }

    mutating func update(_ bytes: Bytes) {
        var state = state
        Self.tables.withUnsafeBufferPointer { table in
            bytes.withUnsafeBytes { input in
                var index = 0
                while index + 8 <= input.count {
                    let word = UInt64(littleEndian: input.loadUnaligned(fromByteOffset: index, as: UInt64.self))
                    let low = UInt32(truncatingIfNeeded: word) ^ state
                    let high = UInt32(truncatingIfNeeded: word >> 32)
                    state =
                        table[1792 + Int(low & 255)] ^ table[1536 + Int(low >> 8 & 255)]
                        ^ table[1280 + Int(low >> 16 & 255)] ^ table[1024 + Int(low >> 24)]
                    state ^=
                        table[768 + Int(high & 255)] ^ table[512 + Int(high >> 8 & 255)]
                        ^ table[256 + Int(high >> 16 & 255)] ^ table[Int(high >> 24)]
                    index += 8
                }
                while index < input.count {
                    state = state >> 8 ^ table[Int((state ^ UInt32(input[index])) & 255)]
                    index += 1
                }
            }
        }
        self.state = state
    }
}
