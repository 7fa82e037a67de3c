// Bodies on their way through: every framing in, both ways out, cut everywhere. What leaves is decoded by a plain
// decoder of this file's own, which knows nothing of the proxy's.

@testable import Proxy
import Support
import Kernel
import Testing
import Wire

/// What became of a body.
struct RelayedBody: Equatable {
    /// The bytes that left, as they left.
    var output: [UInt8] = []
    var isComplete = false
    var isRefused = false
    /// Input bytes behind the body.
    var leftOver = 0
    var byteCount: UInt64 = 0

    /// The body without its framing, and the lines of trailers; nil if the chunks are malformed or have no end.
    func unchunked() -> (body: [UInt8], trailers: [UInt8])? {
        guard let decoded = PlainChunks.decode(output), decoded.isComplete else { return nil }
        return (decoded.body, decoded.trailers)
    }
}

/// The chunked coding as it is to be written: lower-case sizes without zeros before them, nothing optional.
enum PlainChunks {
    struct Decoded {
        var body: [UInt8] = []
        var trailers: [UInt8] = []
        var isComplete = false
        /// Bytes of the input that were used.
        var count = 0
    }

    /// - Returns: nil if it is malformed; what was there so far if it ends early.
    static func decode(_ input: [UInt8]) -> Decoded? {
        var result = Decoded()
        var position = 0
        while true {
            var size = 0
            var digits = 0
            while position < input.count, let digit = hexValue(input[position]) {
                guard
                    digits > 0 || digit > 0 || (position + 1 < input.count && input[position + 1] == 13)
                        || position + 1 == input.count
                else { return nil }
                size = size * 16 + digit
                digits += 1
                position += 1
            }
            guard position + 1 < input.count else { return result }
            guard digits > 0, input[position] == 13, input[position + 1] == 10 else { return nil }
            position += 2
            if size == 0 { return end(input, position, &result) }
            let data = input[position...].prefix(size)
            result.body += data
            position += data.count
            if data.count < size || position == input.count { return result }
            guard input[position] == 13 else { return nil }
            if position + 1 == input.count { return result }
            guard input[position + 1] == 10 else { return nil }
            position += 2
        }
    }

    private static func end(_ input: [UInt8], _ start: Int, _ result: inout Decoded) -> Decoded? {
        var position = start
        while true {
            guard let feed = input[position...].firstIndex(of: 10) else { return result }
            guard feed > position, input[feed - 1] == 13 else { return nil }
            if feed == position + 1 {
                result.isComplete = true
                result.count = feed + 1
                return result
            }
            result.trailers += input[position...feed]
            position = feed + 1
        }
    }

    private static func hexValue(_ byte: UInt8) -> Int? {
        switch byte {
        case 0x30...0x39: Int(byte) - 0x30
        case 0x61...0x66: Int(byte) - 0x57
        default: nil
        }
    }

    /// A body in chunks of these sizes, one after the other and again from the first.
    static func encode(_ body: [UInt8], sizes: [Int], extensions: String = "", trailers: String = "") -> [UInt8] {
        var output: [UInt8] = []
        var position = 0
        var turn = 0
        while position < body.count {
            let size = min(sizes[turn % sizes.count], body.count - position)
            // Upper case and zeros before it are allowed on the way in.
            let hex = String(size, radix: 16, uppercase: turn % 2 == 1)
            output += Array(((turn % 3 == 2 ? "000" : "") + hex + extensions + "\r\n").utf8)
            output += body[position..<position + size] + [13, 10]
            position += size
            turn += 1
        }
        return output + Array(("0" + extensions + "\r\n" + trailers + "\r\n").utf8)
    }
}

/// Passes the pieces of a body through a relay; each piece lives in memory of exactly its size.
func relay(
    _ length: BodyLength, writesChunks: Bool, pieces: [[UInt8]], endsInput: Bool = false, announced: StaticString = "",
    sinkPieces: Int = 192
) -> RelayedBody {
    var body = BodyRelay(length, writesChunks: writesChunks, announced: Bytes(announced))
    var result = RelayedBody()
    var sink = Sink(pieces: sinkPieces)
    feeding: for piece in pieces {
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, piece.count))
        defer { memory.deallocate() }
        memory.initialize(from: piece, count: piece.count)
        let input = Bytes(UnsafePointer(memory), count: piece.count)
        var position = 0
        var stalls = 0
        repeat {
            sink.reset()
            let before = position
            let progress = body.relay(input, position: &position, into: &sink)
            for index in 0..<sink.gather.count { result.output += Array(sink.gather.piece(at: index)) }
            if case .refused = progress {
                result.isRefused = true
                break feeding
            }
            stalls = position == before ? stalls + 1 : 0
        } while position < piece.count && !body.isComplete && stalls < 3
        if body.isComplete { result.leftOver += piece.count - position }
    }
    if endsInput, !result.isRefused {
        sink.reset()
        _ = body.endOfInput(into: &sink)
        for index in 0..<sink.gather.count { result.output += Array(sink.gather.piece(at: index)) }
    }
    result.isComplete = body.isComplete
    result.byteCount = body.byteCount
    return result
}

/// The bytes in pieces of random sizes.
func cut(_ bytes: [UInt8], _ random: inout SeededRandom, maximum: Int) -> [[UInt8]] {
    var pieces: [[UInt8]] = []
    var rest = bytes[...]
    while !rest.isEmpty {
        let piece = rest.prefix(random.number(1...maximum))
        pieces.append(Array(piece))
        rest = rest.dropFirst(piece.count)
    }
    return pieces
}

private func bytewise(_ bytes: [UInt8]) -> [[UInt8]] { bytes.map { [$0] } }

@Suite struct BodyRelayTests {
    enum Inbound: String, CaseIterable, Sendable { case length, chunked, tinyChunks, untilClose }

    static func sample(_ count: Int) -> [UInt8] {
        var random = SeededRandom(seed: UInt64(count))
        return random.bytes(count)
    }

    static func wire(_ inbound: Inbound, _ body: [UInt8]) -> (length: BodyLength, bytes: [UInt8]) {
        switch inbound {
        case .length: (.length(UInt64(body.count)), body)
        case .chunked: (.chunked, PlainChunks.encode(body, sizes: [1, 700, 3000, 17, 1024, 1025]))
        case .tinyChunks: (.chunked, PlainChunks.encode(body, sizes: [1, 2, 3]))
        case .untilClose: (.untilClose, body)
        }
    }

    @Test(arguments: Inbound.allCases, [0, 1, 2, 31, 1024, 20_000])
    func theBodyComesThrough(inbound: Inbound, count: Int) {
        let body = Self.sample(count)
        let (length, bytes) = Self.wire(inbound, body)
        for writesChunks in [false, true] {
            var random = SeededRandom(seed: UInt64(count))
            for pieces in [[bytes], cut(bytes, &random, maximum: 5), cut(bytes, &random, maximum: 3000)] {
                let result = relay(length, writesChunks: writesChunks, pieces: pieces, endsInput: true)
                #expect(result.isComplete && !result.isRefused)
                #expect(result.byteCount == UInt64(count))
                if length == .length(0) {
                    // Nothing was ever relayed: a message without content has no last chunk to write.
                    #expect(result.output.isEmpty)
                } else if writesChunks {
                    #expect(result.unchunked()?.body == body, "\(inbound) \(count) in \(pieces.count)")
                    #expect(result.unchunked()?.trailers == [])
                } else {
                    #expect(result.output == body, "\(inbound) \(count) in \(pieces.count)")
                }
            }
        }
    }

    @Test(arguments: Inbound.allCases)
    func aCutAtAnyByteChangesNothing(inbound: Inbound) {
        let body = Self.sample(200)
        let (length, bytes) = Self.wire(inbound, body)
        for place in 0...bytes.count {
            let pieces = [Array(bytes[..<place]), Array(bytes[place...])]
            let plain = relay(length, writesChunks: false, pieces: pieces, endsInput: true)
            #expect(plain.output == body && plain.isComplete, "\(inbound) at \(place)")
            let chunked = relay(length, writesChunks: true, pieces: pieces, endsInput: true)
            #expect(chunked.unchunked()?.body == body && chunked.isComplete, "\(inbound) at \(place)")
        }
        let plain = relay(length, writesChunks: false, pieces: bytewise(bytes), endsInput: true)
        #expect(plain.output == body && plain.isComplete)
        let chunked = relay(length, writesChunks: true, pieces: bytewise(bytes), endsInput: true)
        #expect(chunked.unchunked()?.body == body && chunked.isComplete)
    }

    @Test func whatFollowsABodyIsNotTouched() {
        let next = Array("GET / HTTP/1.1\r\n\r\n".utf8)
        for inbound in [Inbound.length, .chunked, .tinyChunks] {
            let body = Self.sample(500)
            let (length, bytes) = Self.wire(inbound, body)
            for writesChunks in [false, true] {
                for pieces in [[bytes + next], bytewise(bytes + next)] {
                    let result = relay(length, writesChunks: writesChunks, pieces: pieces)
                    #expect(result.isComplete)
                    #expect(result.leftOver == next.count, "\(inbound)")
                }
            }
        }
    }

    /// Many more pieces than a gather list or an arena holds: the relay stops and is asked again.
    @Test(arguments: [40, 64, 192])
    func aFullSinkIsWrittenBetween(sinkPieces: Int) {
        // Pieces too large to be moved together, so that each is a piece of its own.
        let body = Self.sample(600_000)
        let bytes = PlainChunks.encode(body, sizes: [1500])
        for writesChunks in [false, true] {
            let result = relay(.chunked, writesChunks: writesChunks, pieces: [bytes], sinkPieces: sinkPieces)
            #expect(result.isComplete)
            #expect((writesChunks ? result.unchunked()?.body : result.output) == body)
        }
    }

    @Test func manyTinyChunksBecomeFewPieces() {
        let body = Self.sample(8192)
        let bytes = PlainChunks.encode(body, sizes: [1])
        let result = relay(.chunked, writesChunks: true, pieces: [bytes])
        #expect(result.unchunked()?.body == body)
        // A chunk line for every byte would be six times the body.
        #expect(result.output.count < body.count + 64, "\(result.output.count) bytes")
    }

    @Test(arguments: [
        ("X-Sum: 1\r\n", "X-Sum: 1\r\n"),
        ("x-sum:1\r\nX-Other: 2\r\n", "x-sum: 1\r\nX-Other: 2\r\n"),
        // Nobody announced it.
        ("X-Secret: 1\r\n", ""),
        ("X-Sum: 1\r\nContent-Length: 5\r\nX-Other: 2\r\n", "X-Sum: 1\r\nX-Other: 2\r\n"),
        ("Transfer-Encoding: chunked\r\n", ""),
    ])
    func announcedTrailersPass(trailers: String, expected: String) {
        let body = Self.sample(100)
        let bytes = PlainChunks.encode(body, sizes: [30], extensions: ";a=b", trailers: trailers)
        let announced: StaticString = "X-Sum, x-other, content-length, transfer-encoding"
        for pieces in [[bytes], bytewise(bytes)] {
            let result = relay(.chunked, writesChunks: true, pieces: pieces, announced: announced)
            #expect(result.isComplete)
            #expect(result.unchunked()?.body == body)
            #expect(result.unchunked()?.trailers == Array(expected.utf8))
            // Without chunks on the way out there is no place for them.
            let plain = relay(.chunked, writesChunks: false, pieces: pieces, announced: announced)
            #expect(plain.output == body && plain.isComplete)
        }
    }

    @Test(arguments: [
        "g\r\n", "5\nhello", "5\r\nhelloX", "5;;\r\nhello", "-1\r\n", "10000000000000000\r\n", "\r\n", " 5\r\n",
    ])
    func badChunksAreRefusedHoweverTheyAreCut(tail: String) {
        let good = PlainChunks.encode(Self.sample(50), sizes: [20]).dropLast(5)
        let bytes = Array(good) + Array(tail.utf8)
        let whole = relay(.chunked, writesChunks: true, pieces: [bytes])
        let single = relay(.chunked, writesChunks: true, pieces: bytewise(bytes))
        for result in [whole, single] {
            #expect(result.isRefused && !result.isComplete)
            // What went out before is the body's begin, and has no end that could be taken for one.
            let decoded = PlainChunks.decode(result.output)
            #expect(decoded?.isComplete == false)
            let sent = decoded?.body ?? []
            #expect(sent.count >= 50 && Array(sent.prefix(50)) == Self.sample(50))
        }
    }

    @Test(arguments: Inbound.allCases)
    func aBodyThatIsCutOffHasNoEnd(inbound: Inbound) {
        let body = Self.sample(300)
        let (length, bytes) = Self.wire(inbound, body)
        for place in 0..<bytes.count {
            let result = relay(length, writesChunks: true, pieces: [Array(bytes[..<place])], endsInput: true)
            if inbound == .untilClose {
                #expect(result.isComplete)
            } else {
                #expect(!result.isComplete, "\(inbound) cut off at \(place)")
                #expect(PlainChunks.decode(result.output)?.isComplete == false)
            }
        }
    }
}

@Suite struct SinkTests {
    /// Memory for pieces that nobody reads.
    private final class Memory {
        let base = UnsafeMutablePointer<UInt8>.allocate(capacity: 1024)
        deinit { base.deallocate() }
    }

    private let memory = Memory()

    @Test func piecesThatTouchBecomeOne() {
        var gather = GatherList(capacity: 4)
        let base = memory.base
        gather.append(base, count: 10)
        gather.append(base + 10, count: 5)
        gather.append(base + 20, count: 0)
        #expect(gather.count == 1 && gather.byteCount == 15)
        gather.append(base + 16, count: 1)
        #expect(gather.count == 2 && gather.byteCount == 16)
        check(!gather.isFull)
        gather.append(base + 100, count: 1)
        gather.append(base + 200, count: 1)
        check(gather.isFull)
        gather.reset()
        #expect(gather.count == 0 && gather.byteCount == 0)
    }

    @Test func aSinkWithRoomTakesAWholeBatch() {
        var sink = Sink(pieces: 64)
        check(sink.hasRoom)
        var batches = 0
        let base = memory.base
        while sink.hasRoom {
            sink.appendChunkLine(1 << 20)
            for index in 0..<BodyRelay.spanCapacity { sink.append(Bytes(UnsafePointer(base + index * 3), count: 2)) }
            sink.append("\r\n")
            sink.append("0\r\n")
            batches += 1
        }
        #expect(batches >= 1)
        sink.reset()
        check(sink.hasRoom)
    }

    @Test(arguments: [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (4096, "1000\r\n"), (1 << 20, "100000\r\n")])
    func aChunkLineIsHexadecimal(size: Int, text: String) {
        var sink = Sink()
        sink.appendChunkLine(size)
        #expect(Array(sink.gather.piece(at: 0)) == Array(text.utf8))
    }

    /// Trailers as large as the limit allows fit behind a full batch.
    @Test func theLargestTrailersFit() {
        let line = "X-Sum: " + String(repeating: "v", count: 8192 - 9) + "\r\n"
        #expect(line.utf8.count == 8192)
        let bytes = PlainChunks.encode(BodyRelayTests.sample(5000), sizes: [1100], trailers: line)
        for sinkPieces in [40, 192] {
            let result = relay(
                .chunked, writesChunks: true, pieces: [bytes], announced: "X-Sum", sinkPieces: sinkPieces)
            #expect(result.isComplete && !result.isRefused)
            #expect(result.unchunked()?.trailers == Array(line.utf8))
        }
    }
}
