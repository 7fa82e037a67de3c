// Finds frames in a stream of bytes, however it was cut. A head that promises too much, or a type that the peer may
// not send now, ends the stream before any of its payload is kept.

/// The receiving half of a connection: bytes in, frames out.
struct FeedFrameReader {
    private var buffer: [UInt8] = []
    private var position = 0
    /// Which types the peer may send. A server knows nothing but HELLO until the client has greeted.
    var allowed: @Sendable (FeedFrameType) -> Bool

    init(allowed: @escaping @Sendable (FeedFrameType) -> Bool) { self.allowed = allowed }

    /// Bytes that belong to no frame yet.
    var bufferedCount: Int { buffer.count - position }

    mutating func receive(_ bytes: UnsafeRawBufferPointer) {
        if position == buffer.count {
            // A large frame's memory is given back; small ones reuse theirs.
            buffer.removeAll(keepingCapacity: buffer.capacity <= 65_536)
        } else if position > 0 {
            buffer.removeFirst(position)
        }
        position = 0
        buffer.append(contentsOf: bytes)
    }

    /// The next whole frame; nil: more bytes are needed.
    mutating func next() throws(FeedRefusal) -> FeedFrame? {
        var head = FeedReader(buffer[position...])
        guard let size = head.number(UInt32.self), let code = head.number(UInt8.self) else { return nil }
        guard let type = FeedFrameType(rawValue: code) else {
            throw FeedRefusal(.protocolBroken, "sent a frame of the unknown type \(code)")
        }
        guard allowed(type) else {
            throw FeedRefusal(.protocolBroken, "sent a \(type) frame, which has no place here")
        }
        guard size <= type.limit else {
            throw FeedRefusal(
                .protocolBroken, "sent a \(type) frame of \(size) bytes, the limit is \(type.limit)")
        }
        guard head.remaining >= Int(size) else { return nil }
        let start = position + FeedLimits.headSize
        guard let frame = FeedFrame(type, payload: buffer[start..<start + Int(size)]) else {
            throw FeedRefusal(.protocolBroken, "sent a \(type) frame that does not hold what it should")
        }
        position = start + Int(size)
        return frame
    }
}
