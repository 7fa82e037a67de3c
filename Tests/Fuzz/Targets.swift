// Owns the properties of heads and bodies: nothing crashes; a message is judged the same however it is cut; what is
// written parses again, to the same framing, and writing that again changes nothing.

/// A parse as numbers, for comparison.
private func digest(_ result: RequestHead.Result, _ head: borrowing RequestHead) -> [UInt64] {
    func number(_ span: ByteSpan) -> UInt64 { UInt64(span.start) << 32 | UInt64(span.count) }
    func number(_ body: BodyLength) -> UInt64 {
        switch body {
        case .none: 1
        case .length(let size): 2 &+ size
        case .chunked: .max
        case .untilClose: .max - 1
        }
    }
    switch result {
    case .incomplete: return [0]
    case .refused(let refusal): return [1, UInt64(refusal.status), UInt64(refusal.reason.rawValue)]
    case .complete(let count):
        var numbers: [UInt64] = [
            2, UInt64(count), UInt64(head.method.rawValue), number(head.path), number(head.query), number(head.host),
            number(head.authority), number(head.body), head.isPersistent ? 1 : 0, number(head.upgrade),
            head.expectsContinue ? 1 : 0, UInt64(head.version.rawValue),
        ]
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            numbers += [number(field.name), number(field.value), field.isDropped ? 1 : 0]
        }
        return numbers
    }
}

private let smallLimits = HeadLimits(requestLineSize: 128, headSize: 512, fieldCount: 12)

func fuzzRequest(_ input: Bytes) {
    for limits in [HeadLimits(), smallLimits] {
        var head = RequestHead(limits: limits)
        let whole = head.parse(input)
        let expected = digest(whole, head)
        for cut in cuts(input.count) {
            let first = withExactCopy(input.slice(from: 0, to: cut)) { head.parse($0) }
            var answer = digest(first, head)
            if first == .incomplete { answer = digest(head.parse(input, scanned: cut), head) }
            if answer == [0], answer != expected {
                // Bytes that end no line are not looked at again until one ends.
                answer = digest(withLineEnd(input) { head.parse($0, scanned: input.count) }, head)
            }
            require(answer == expected, "a request is judged the same however it is cut")
        }
    }
    var head = RequestHead()
    guard case .complete(let count) = head.parse(input) else { return }
    require(count <= input.count, "a head ends inside its input")
    // No host: the empty field that must be sent is one that no client may send. Max-Forwards counts down.
    if head.authority.isEmpty || head.maxForwards != nil { return }
    let once = rewritten(head, input)
    var again = RequestHead(limits: HeadLimits(requestLineSize: 1 << 16, headSize: 1 << 17, fieldCount: 256))
    once.withUnsafeBufferPointer { buffer in
        let written = Bytes(buffer)
        require(again.parse(written) == .complete(byteCount: once.count), "what is written parses, all of it")
        require(again.body == head.body, "what is written has the same framing")
        require(again.method == head.method, "what is written has the same method")
        require(written.slice(again.authority).equals(input.slice(head.authority)), "and the same authority")
        require(rewritten(again, written) == once, "writing it again changes nothing")
    }
}

private func withLineEnd<Result>(_ input: Bytes, _ body: (Bytes) -> Result) -> Result {
    let longer = input.array() + [0x0A]
    return longer.withUnsafeBufferPointer { body(Bytes($0)) }
}

private func rewritten(_ head: borrowing RequestHead, _ source: Bytes) -> [UInt8] {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 * source.count + 512, alignment: 8)
    defer { memory.deallocate() }
    var writer = ByteWriter(memory)
    let context = RequestContext(
        clientAddress: Bytes("192.0.2.7"), requestID: Bytes("0123456789abcdef"), keepsUpgrade: true)
    HeadWriter.writeRequest(head, from: source, context: context, into: &writer)
    require(!writer.overflowed, "a head fits into four times its size")
    return writer.bytes.array()
}

func fuzzResponse(_ input: Bytes) {
    for method in [Method.get, .head] {
        var head = ResponseHead()
        let whole = head.parse(input, requestMethod: method, asksUpgrade: true)
        for cut in cuts(input.count) {
            var answer = withExactCopy(input.slice(from: 0, to: cut)) {
                head.parse($0, requestMethod: method, asksUpgrade: true)
            }
            if answer == .incomplete {
                answer = head.parse(input, scanned: cut, requestMethod: method, asksUpgrade: true)
            }
            if answer == .incomplete, answer != whole {
                answer = withLineEnd(input) {
                    head.parse($0, scanned: input.count, requestMethod: method, asksUpgrade: true)
                }
            }
            require(answer == whole, "a response is judged the same however it is cut")
        }
        guard case .complete = head.parse(input, requestMethod: method, asksUpgrade: true) else { continue }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 * input.count + 256, alignment: 8)
        defer { memory.deallocate() }
        var writer = ByteWriter(memory)
        let connection: ResponseContext.Connection =
            head.status == 101 ? .upgrade : head.body == .untilClose ? .close : .keepAlive
        HeadWriter.writeResponse(
            head, from: input, context: ResponseContext(connection: connection, framing: head.body), into: &writer)
        require(!writer.overflowed, "a head fits into four times its size")
        var again = ResponseHead(limits: HeadLimits(headSize: 1 << 17, fieldCount: 256))
        let result = again.parse(writer.bytes, requestMethod: method, asksUpgrade: true)
        require(result == .complete(byteCount: writer.count), "what is written parses, all of it")
        require(again.body == head.body && again.status == head.status, "what is written has the same framing")
    }
}

private struct Decoded: Equatable {
    var data: [UInt8] = []
    var count = 0
    var refusal: Refusal?
    var isComplete = false
    var trailers: [UInt8] = []
}

private let smallBody = BodyLimits(trailerCount: 3, trailerSize: 64, extensionSize: 24, extensionAllowance: 40)

private func decode(_ pieces: [Bytes]) -> Decoded {
    var decoder = BodyDecoder(.chunked, limits: smallBody, announced: Bytes("X-Sum, Content-Length, X-Other"))
    var decoded = Decoded()
    for piece in pieces {
        var position = 0
        loop: while true {
            switch decoder.next(piece, position: &position) {
            case .data(let span):
                require(!span.isEmpty && Int(span.end) == position, "data ends where the position is")
                decoded.data += piece.slice(span).array()
            case .needMore:
                require(position == piece.count, "more is needed only at the end")
                break loop
            case .end:
                decoded.isComplete = true
                break loop
            case .refused(let refusal):
                decoded.refusal = refusal
                break loop
            }
        }
        decoded.count += position
        if decoded.isComplete || decoded.refusal != nil { break }
    }
    require(decoder.received == UInt64(decoded.data.count), "what was received is what came out")
    decoded.trailers = decoder.trailers
    return decoded
}

func fuzzChunked(_ input: Bytes) {
    let whole = decode([input])
    for cut in cuts(input.count) {
        let halves = withExactCopy(input.slice(from: 0, to: cut)) { first in
            withExactCopy(input.slice(from: cut)) { decode([first, $0]) }
        }
        require(halves == whole, "a body is judged the same however it is cut")
    }
    let single = decode((0..<input.count).map { input.slice(from: $0, to: $0 + 1) })
    require(single == whole, "a body is judged the same byte by byte")
    guard whole.isComplete else { return }
    withWriter { writer in
        if !whole.data.isEmpty {
            writer.append(hex: UInt64(whole.data.count))
            writer.append("\r\n")
            writer.append(whole.data)
            writer.append("\r\n")
        }
        writer.append("0\r\n")
        writer.append(whole.trailers)
        writer.append("\r\n")
        let again = decode([writer.bytes])
        require(again.isComplete && again.data == whole.data, "what is framed anew is the same body")
        require(again.trailers == whole.trailers, "kept trailers are kept again")
    }
}

/// The planted bug: it believes a chunk's size. A run that does not find it finds nothing else either.
func fuzzCanary(_ input: Bytes) {
    guard input.count >= 3, ASCII.isDigit(input[0]), input[1] == 0x0D, input[2] == 0x0A else { return }
    var sum = 0
    for index in 0..<Int(input[0] - 0x30) { sum += Int(input.base[3 + index]) }
    require(sum >= 0, "the canary sings")
}
