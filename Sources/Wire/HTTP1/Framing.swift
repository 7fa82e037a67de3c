// Owns the one question of HTTP/1: where does this message end? The rules that choose a body's length from a head,
// for requests and responses, and the decoder that then finds the end of the body. A message has exactly one length
// or is refused; nothing here guesses (RFC 9112 section 6.3; where the RFC lets a server repair, this refuses).
// It never copies body bytes and never changes them.

/// Collects what the fields of one head say about the body's length.
struct FramingFields: BitwiseCopyable {
    private(set) var declaredLength: UInt64 = 0
    private(set) var hasLength = false
    private(set) var hasEncoding = false

    /// `Content-Length`: 1*DIGIT; the same number again says nothing new. Nil: accepted.
    @inline(__always)
    mutating func readLength(_ value: Bytes) -> Refusal.Reason? {
        guard let length = Self.decimal(value) else { return .badContentLength }
        if hasLength, length != declaredLength { return .contentLengthConflict }
        if hasEncoding { return .lengthAndEncoding }
        hasLength = true
        declaredLength = length
        return nil
    }

    /// `Transfer-Encoding`: the one word `chunked`, in one field. Nil: accepted.
    mutating func readEncoding(_ value: Bytes) -> Refusal.Reason? {
        if hasEncoding { return .badTransferEncoding }
        guard value.equalsIgnoringCase("chunked") else {
            return ListReader.isToken(value) ? .unknownTransferCoding : .badTransferEncoding
        }
        if hasLength { return .lengthAndEncoding }
        hasEncoding = true
        return nil
    }

    /// The length of a request's body. A request without either field has none.
    @inline(__always)
    func requestBody(version: HTTPVersion, refusal: inout Refusal.Reason?) -> BodyLength {
        if hasEncoding {
            if version == .http10 { refusal = .encodingInHTTP10 }
            return .chunked
        }
        // A length of zero is said on: POST without a body says `Content-Length: 0`.
        return hasLength ? .length(declaredLength) : .none
    }

    /// The length of a response's body, given the status and the method it answers.
    @inline(__always)
    func responseBody(
        status: UInt16, method: Method, version: HTTPVersion, refusal: inout Refusal.Reason?
    ) -> BodyLength {
        if hasEncoding, version == .http10 { refusal = .encodingInHTTP10 }
        if method == .head || status < 200 || status == 204 || status == 304 { return .none }
        if hasEncoding { return .chunked }
        return hasLength ? .length(declaredLength) : .untilClose
    }

    /// Decimal digits up to the largest `Int64`, which is also what the rest of the program counts in.
    @inline(__always)
    static func decimal(_ text: Bytes) -> UInt64? {
        guard !text.isEmpty else { return nil }
        var value: UInt64 = 0
        for index in 0..<text.count {
            let digit = text.base[index] &- 0x30
            guard digit < 10, value <= (UInt64(Int64.max) &- UInt64(digit)) / 10 else { return nil }
            value = value &* 10 &+ UInt64(digit)
        }
        return value
    }
}

/// What a body may cost beyond its own bytes. Sizes in bytes.
public struct BodyLimits: Sendable, BitwiseCopyable {
    /// Trailer lines of one message. Who sends more: nobody; gRPC-like protocols send three.
    public var trailerCount: Int
    /// All trailer lines together.
    public var trailerSize: Int
    /// One chunk's extension. Signing clients send about 90 bytes with each chunk.
    public var extensionSize: Int
    /// Extensions of the whole message before they must stay below 1/16 of the body.
    public var extensionAllowance: Int
    /// Faults of an upstream are 502, those of a client 400.
    public var isResponse: Bool

    public init(
        trailerCount: Int = 32, trailerSize: Int = 8192, extensionSize: Int = 4096, extensionAllowance: Int = 16384,
        isResponse: Bool = false
    ) {
        self.trailerCount = trailerCount
        self.trailerSize = trailerSize
        self.extensionSize = extensionSize
        self.extensionAllowance = extensionAllowance
        self.isResponse = isResponse
    }
}

/// Finds the end of one body in the bytes that follow its head.
public struct BodyDecoder {
    public enum Event: Equatable, Sendable, BitwiseCopyable {
        /// Body bytes, as a range of the input.
        case data(ByteSpan)
        /// The input is used up and the body goes on.
        case needMore
        /// The body ended; the position is the first byte of whatever follows.
        case end
        case refused(Refusal)
    }

    private enum Kind: UInt8, BitwiseCopyable { case done, length, chunked, untilClose }

    private var kind: Kind
    private var remaining: UInt64 = 0
    private var chunked: ChunkedDecoder
    /// Body bytes seen so far, without the framing of chunks.
    public private(set) var received: UInt64 = 0

    /// `announced`: the value of the head's `Trailer` field, empty if there is none; only trailers named there pass.
    public init(_ length: BodyLength, limits: BodyLimits = BodyLimits(), announced: Bytes = .empty) {
        chunked = ChunkedDecoder(limits: limits)
        switch length {
        case .none: kind = .done
        case .length(let size):
            kind = size == 0 ? .done : .length
            remaining = size
        case .chunked:
            kind = .chunked
            if !announced.isEmpty { chunked.announce(announced) }
        case .untilClose: kind = .untilClose
        }
    }

    public var isComplete: Bool { kind == .done }

    /// Bytes that a body of declared length still lacks; 0 for the other kinds.
    public var remainingLength: UInt64 { kind == .length ? remaining : 0 }

    /// Announced and harmless trailer lines, each ended by CR LF; empty until the end and mostly after it.
    public var trailers: [UInt8] { chunked.keptTrailers }
    public var hasTrailers: Bool { chunked.hasTrailers }

    /// Looks at `input` from `position` and advances it. Call until it says `needMore`, `end` or `refused`.
    @inline(__always)
    public mutating func next(_ input: Bytes, position: inout Int) -> Event {
        precondition(position >= 0 && position <= input.count)
        switch kind {
        case .done: return .end
        case .length:
            let available = input.count &- position
            guard available > 0 else { return .needMore }
            let count = UInt64(available) < remaining ? available : Int(remaining)
            remaining &-= UInt64(count)
            if remaining == 0 { kind = .done }
            return take(count, position: &position)
        case .untilClose:
            guard position < input.count else { return .needMore }
            return take(input.count &- position, position: &position)
        case .chunked: return nextChunked(input, position: &position)
        }
    }

    private mutating func nextChunked(_ input: Bytes, position: inout Int) -> Event {
        let event = chunked.next(input, position: &position, received: received)
        switch event {
        case .data(let span): received &+= UInt64(span.count)
        case .end: kind = .done
        case .needMore, .refused: break
        }
        return event
    }

    @inline(__always)
    private mutating func take(_ count: Int, position: inout Int) -> Event {
        let span = ByteSpan(from: position, to: position &+ count)
        position &+= count
        received &+= UInt64(count)
        return .data(span)
    }

    /// The peer sends no more. True: the body is whole. False: it was cut off.
    public mutating func endOfInput() -> Bool {
        if kind == .untilClose { kind = .done }
        return kind == .done
    }
}
