// Owns the chunked coding (RFC 9112 section 7.1), byte by byte, as a state machine. It forwards nothing of the
// framing: data comes out as ranges of the input, sizes and extensions are consumed, trailers are collected.
//
//   size      1-16 hex digits        -> extension at ";", sizeEnd at CR
//   extension ";" name ["=" value]   -> sizeEnd at CR            (no white space anywhere; quoted values allowed)
//   sizeEnd   LF                     -> data, or lineStart after size 0
//   data      size bytes             -> dataCR -> dataLF -> size
//   lineStart CR                     -> lastLF -> the end
//             anything else          -> line: collected up to its LF, judged as a field line -> lineStart

struct ChunkedDecoder {
    private enum State: UInt8, BitwiseCopyable {
        case size, extensionName, extensionValueStart, extensionValue, extensionQuoted, extensionEscape
        case extensionQuotedEnd, sizeEnd, data, dataCR, dataLF, lineStart, line, lastLF
    }

    private var state = State.size
    private var digitCount: UInt8 = 0
    /// The size while it is read, then what is left of the chunk.
    private var remaining: UInt64 = 0
    private var nameCount = 0
    private var extensionCount = 0
    private var extensionTotal: UInt64 = 0
    private let limits: BodyLimits
    private var trailers: TrailerStore?

    init(limits: BodyLimits) { self.limits = limits }

    mutating func announce(_ names: Bytes) { trailers = TrailerStore(announced: names) }

    var hasTrailers: Bool { trailers.map { !$0.kept.isEmpty } ?? false }
    var keptTrailers: [UInt8] { trailers?.kept ?? [] }

    /// `received`: body bytes before this call, against which extensions are weighed.
    mutating func next(_ input: Bytes, position: inout Int, received: UInt64) -> BodyDecoder.Event {
        while position < input.count {
            if state == .data { return data(input, position: &position) }
            let byte = input.base[position]
            position &+= 1
            let fault: Refusal.Reason?
            switch state {
            case .size: fault = size(byte)
            case .extensionName, .extensionValueStart, .extensionValue, .extensionQuoted, .extensionEscape,
                .extensionQuotedEnd:
                fault = extensionByte(byte, received: received)
            case .sizeEnd: fault = sizeEnd(byte)
            case .data: fault = nil
            case .dataCR: fault = expect(byte, ASCII.carriageReturn, then: .dataLF)
            case .dataLF:
                fault = expect(byte, ASCII.lineFeed, then: .size)
                digitCount = 0
            case .lineStart, .line: fault = trailerByte(byte)
            case .lastLF:
                guard byte == ASCII.lineFeed else { return refused(.bareCarriageReturn) }
                return .end
            }
            if let fault { return refused(fault) }
        }
        return .needMore
    }

    private func refused(_ reason: Refusal.Reason) -> BodyDecoder.Event {
        .refused(limits.isResponse ? .upstream(reason) : Refusal(reason))
    }

    private mutating func data(_ input: Bytes, position: inout Int) -> BodyDecoder.Event {
        let available = input.count &- position
        let count = UInt64(available) < remaining ? available : Int(remaining)
        let span = ByteSpan(from: position, to: position &+ count)
        position &+= count
        remaining &-= UInt64(count)
        if remaining == 0 { state = .dataCR }
        return .data(span)
    }

    @inline(__always)
    private mutating func expect(_ byte: UInt8, _ wanted: UInt8, then next: State) -> Refusal.Reason? {
        guard byte == wanted else { return byte == ASCII.lineFeed ? .bareLineFeed : .badChunkEnd }
        state = next
        return nil
    }

    @inline(__always)
    private mutating func size(_ byte: UInt8) -> Refusal.Reason? {
        let digit = ASCII.hexValue(byte)
        if digit < 16 {
            if digitCount == 0 { remaining = 0 }
            digitCount &+= 1
            // The largest size is that of an Int64, which everything after this counts in.
            guard digitCount <= 16, remaining <= UInt64(Int64.max) >> 4 else { return .badChunkSize }
            remaining = remaining << 4 | UInt64(digit)
            return nil
        }
        guard digitCount > 0 else { return byte == ASCII.lineFeed ? .bareLineFeed : .badChunkSize }
        switch byte {
        case ASCII.carriageReturn: state = .sizeEnd
        case ASCII.semicolon:
            state = .extensionName
            nameCount = 0
            extensionCount = 1
        case ASCII.lineFeed: return .bareLineFeed
        default: return .badChunkSize
        }
        return nil
    }

    @inline(__always)
    private mutating func sizeEnd(_ byte: UInt8) -> Refusal.Reason? {
        guard byte == ASCII.lineFeed else { return .bareCarriageReturn }
        state = remaining == 0 ? .lineStart : .data
        return nil
    }

    private mutating func extensionByte(_ byte: UInt8, received: UInt64) -> Refusal.Reason? {
        extensionCount &+= 1
        extensionTotal &+= 1
        guard extensionCount <= limits.extensionSize else { return .chunkOverhead }
        guard extensionTotal <= UInt64(limits.extensionAllowance) &+ received / 16 else { return .chunkOverhead }
        switch state {
        case .extensionName:
            if ASCII.isToken(byte) {
                nameCount &+= 1
                return nil
            }
            guard nameCount > 0 else { return byte == ASCII.lineFeed ? .bareLineFeed : .badChunkExtension }
            if byte == ASCII.equal {
                state = .extensionValueStart
                return nil
            }
            return extensionEnd(byte)
        case .extensionValueStart:
            if byte == ASCII.quote {
                state = .extensionQuoted
            } else if ASCII.isToken(byte) {
                state = .extensionValue
            } else {
                return .badChunkExtension
            }
            return nil
        case .extensionValue: return ASCII.isToken(byte) ? nil : extensionEnd(byte)
        case .extensionQuoted, .extensionEscape:
            guard byte == ASCII.tab || (byte >= 0x20 && byte != 0x7F) else { return .badChunkExtension }
            if state == .extensionEscape {
                state = .extensionQuoted
            } else if byte == ASCII.quote {
                state = .extensionQuotedEnd
            } else if byte == ASCII.backslash {
                state = .extensionEscape
            }
            return nil
        default: return extensionEnd(byte)
        }
    }

    private mutating func extensionEnd(_ byte: UInt8) -> Refusal.Reason? {
        switch byte {
        case ASCII.semicolon:
            state = .extensionName
            nameCount = 0
        case ASCII.carriageReturn: state = .sizeEnd
        case ASCII.lineFeed: return .bareLineFeed
        default: return .badChunkExtension
        }
        return nil
    }

    private mutating func trailerByte(_ byte: UInt8) -> Refusal.Reason? {
        if state == .lineStart {
            if byte == ASCII.carriageReturn {
                state = .lastLF
                return nil
            }
            if trailers == nil { trailers = TrailerStore(announced: .empty) }
            state = .line
        }
        guard let trailers else { return .badTrailer }
        if let fault = trailers.append(byte, limits: limits) { return fault }
        if byte == ASCII.lineFeed {
            state = .lineStart
            return trailers.endLine()
        }
        return nil
    }
}

/// The trailer section of one message. A class, so that the many bodies without one carry a single nil.
final class TrailerStore {
    private let announced: [UInt8]
    private var line: [UInt8] = []
    private var size = 0
    private var lineCount = 0
    private(set) var kept: [UInt8] = []

    init(announced: Bytes) { self.announced = announced.array() }

    func append(_ byte: UInt8, limits: BodyLimits) -> Refusal.Reason? {
        if line.isEmpty {
            lineCount += 1
            guard lineCount <= limits.trailerCount else { return .trailersTooLarge }
        }
        size += 1
        guard size <= limits.trailerSize else { return .trailersTooLarge }
        line.append(byte)
        return nil
    }

    /// Judges the collected line as a field line, and keeps it if it was announced and does no harm.
    func endLine() -> Refusal.Reason? {
        defer { line.removeAll(keepingCapacity: true) }
        var fault: Refusal.Reason?
        line.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            var field = Field(name: .empty, value: .empty, id: .other, marks: .none)
            var next = 0
            switch HeadParser.line(base, at: 0, limit: buffer.count, into: &field, next: &next) {
            case .field: keep(field, of: Bytes(buffer))
            case .refused(let reason): fault = reason
            case .end, .incomplete: fault = .badTrailer
            }
        }
        return fault
    }

    private func keep(_ field: Field, of text: Bytes) {
        let name = text.slice(field.name)
        guard field.id == .other, !field.hasUnderscore, !Self.isHarmful(name), isAnnounced(name) else { return }
        let value = text.slice(field.value)
        kept.append(contentsOf: UnsafeBufferPointer(start: name.base, count: name.count))
        kept.append(contentsOf: [ASCII.colon, ASCII.space])
        kept.append(contentsOf: UnsafeBufferPointer(start: value.base, count: value.count))
        kept.append(contentsOf: [ASCII.carriageReturn, ASCII.lineFeed])
    }

    private func isAnnounced(_ name: Bytes) -> Bool {
        announced.withUnsafeBufferPointer { buffer in
            var list = ListReader(Bytes(buffer))
            while let element = list.next() {
                if element.equalsIgnoringCase(name) { return true }
            }
            return false
        }
    }

    /// RFC 9110 section 6.5.1: fields that frame, route, authenticate, condition a request, control a response or
    /// describe the content mean nothing, or something else, once the content has passed. The names that the proxy
    /// knows are none of `.other` and never get here.
    private static func isHarmful(_ name: Bytes) -> Bool {
        for prefix in harmfulPrefixes where name.count >= prefix.utf8CodeUnitCount {
            if name.slice(from: 0, to: prefix.utf8CodeUnitCount).equalsIgnoringCase(prefix) { return true }
        }
        for harmful in harmfulNames where name.equalsIgnoringCase(harmful) { return true }
        return false
    }

    private static let harmfulPrefixes: [StaticString] = [
        "content-", "if-", "proxy-", "sec-", "access-control-", "x-accel-", "x-original-", "x-rewrite-", "accept-",
    ]
    private static let harmfulNames: [StaticString] = [
        "set-cookie", "www-authenticate", "authentication-info", "cache-control", "pragma", "expires", "age", "vary",
        "range", "retry-after", "warning", "strict-transport-security", "from", "origin", "allow", "x-method-override",
        "x-http-method-override", "x-http-method",
    ]
}
