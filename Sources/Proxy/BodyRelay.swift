// One body on its way through: understood in the framing it came in, written in the framing it leaves with.
// Data is never copied here: what leaves is a list of pieces that point into the input, with chunk lines between.

internal import Kernel
internal import Wire

/// Where output is gathered before it is written: pieces, and a small arena for the lines between them.
struct Sink: ~Copyable {
    var gather: GatherList
    private let arena: UnsafeMutablePointer<UInt8>
    private var arenaCount = 0
    // A last chunk brings up to 8 KiB of trailers.
    private static var arenaSize: Int { 16_384 }

    init(pieces: Int = 192) {
        gather = GatherList(capacity: pieces)
        arena = .allocate(capacity: Self.arenaSize)
    }

    deinit { arena.deallocate() }

    @inline(__always)
    mutating func reset() {
        gather.reset()
        arenaCount = 0
    }

    /// Room for one more batch: its spans, a chunk line before and one behind, and a last chunk.
    @inline(__always)
    var hasRoom: Bool {
        gather.count + BodyRelay.spanCapacity + 4 <= gather.capacity && arenaCount + 8192 + 128 <= Self.arenaSize
    }

    /// Adds a short literal by copying it.
    mutating func append(_ text: StaticString) {
        let count = text.utf8CodeUnitCount
        precondition(arenaCount + count <= Self.arenaSize)
        (arena + arenaCount).update(from: text.utf8Start, count: count)
        gather.append(arena + arenaCount, count: count)
        arenaCount += count
    }

    /// Adds bytes by copying them.
    mutating func append(copying bytes: [UInt8]) {
        precondition(arenaCount + bytes.count <= Self.arenaSize)
        for (offset, byte) in bytes.enumerated() { arena[arenaCount + offset] = byte }
        gather.append(arena + arenaCount, count: bytes.count)
        arenaCount += bytes.count
    }

    /// Adds bytes that stay where they are until the write.
    @inline(__always)
    mutating func append(_ bytes: Bytes) { gather.append(bytes.base, count: bytes.count) }

    /// Adds the line before a chunk's data.
    mutating func appendChunkLine(_ size: Int) {
        precondition(arenaCount + 32 <= Self.arenaSize)
        var writer = ByteWriter(base: arena + arenaCount, capacity: 32)
        writer.append(hex: UInt64(size))
        writer.append("\r\n")
        gather.append(arena + arenaCount, count: writer.count)
        arenaCount += writer.count
    }
}

/// The state of one body between its two framings.
struct BodyRelay: ~Copyable {
    /// Chunk data pieces that become one chunk on the way out.
    static var spanCapacity: Int { 32 }
    /// Pieces up to this size are moved together instead of becoming pieces of their own.
    private static var joinedSize: Int { 1024 }

    enum Progress {
        /// All input is used up, or the sink is full and wants to be written first.
        case more
        /// The body is complete; what is left of the input does not belong to it.
        case complete
        case refused(Refusal)
    }

    private var decoder: BodyDecoder
    private var writesChunks: Bool
    private(set) var isComplete: Bool
    private(set) var byteCount: UInt64 = 0

    /// - Parameter writesChunks: leave with `Transfer-Encoding: chunked`; otherwise the bytes as they are.
    ///   - announced: the value of the head's Trailer field.
    ///   - isResponse: it comes from a task.
    init(_ length: BodyLength, writesChunks: Bool, announced: Bytes = .empty, isResponse: Bool = false) {
        decoder = BodyDecoder(length, limits: BodyLimits(isResponse: isResponse), announced: announced)
        self.writesChunks = writesChunks
        isComplete = decoder.isComplete
    }

    /// Takes what it can of `input` from `position` on and adds what leaves to the sink.
    /// The memory behind `input` must be writable: small chunk pieces are moved together in place.
    mutating func relay(_ input: Bytes, position: inout Int, into sink: inout Sink) -> Progress {
        while !isComplete {
            guard sink.hasRoom else { return .more }
            var spans = InlineArray<32, ByteSpan>(repeating: .empty)
            var spanCount = 0
            var total = 0
            var ending: Progress?
            collecting: while spanCount < Self.spanCapacity {
                switch decoder.next(input, position: &position) {
                case .data(let span):
                    total += Int(span.count)
                    if spanCount > 0, Int(span.count) <= Self.joinedSize {
                        Self.join(span, to: &spans[spanCount - 1], in: input)
                    } else {
                        spans[spanCount] = span
                        spanCount += 1
                    }
                case .needMore:
                    ending = .more
                    break collecting
                case .end:
                    isComplete = true
                    ending = .complete
                    break collecting
                case .refused(let refusal):
                    ending = .refused(refusal)
                    break collecting
                }
            }
            byteCount += UInt64(total)
            if total > 0 {
                if writesChunks { sink.appendChunkLine(total) }
                for index in 0..<spanCount { sink.append(input.slice(spans[index])) }
                if writesChunks { sink.append("\r\n") }
            }
            if isComplete, writesChunks { appendLastChunk(into: &sink) }
            if let ending { return ending }
        }
        return .complete
    }

    /// The input ended here.
    /// - Returns: whether the body was complete with that.
    mutating func endOfInput(into sink: inout Sink) -> Bool {
        if isComplete { return true }
        guard decoder.endOfInput() else { return false }
        isComplete = true
        if writesChunks { appendLastChunk(into: &sink) }
        return true
    }

    private mutating func appendLastChunk(into sink: inout Sink) {
        guard decoder.hasTrailers else {
            sink.append("0\r\n\r\n")
            return
        }
        sink.append("0\r\n")
        sink.append(copying: decoder.trailers)
        sink.append("\r\n")
    }

    private static func join(_ span: ByteSpan, to last: inout ByteSpan, in input: Bytes) {
        if last.end != span.start {
            let target = UnsafeMutablePointer(mutating: input.base + Int(last.end))
            target.update(from: input.base + Int(span.start), count: Int(span.count))
        }
        last.count += span.count
    }
}
