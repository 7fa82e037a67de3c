// Owns the properties of what comes before or around HTTP: PROXY headers, ClientHellos, request targets and the other
// readings of a path.

func fuzzProxy(_ input: Bytes) {
    let whole = ProxyProtocol.parse(input)
    for cut in cuts(input.count) {
        let part = withExactCopy(input.slice(from: 0, to: cut)) { ProxyProtocol.parse($0) }
        require(part == .incomplete || part == whole, "a header is judged the same however it is cut")
    }
    guard case .complete(let count, let ends) = whole else { return }
    require(count <= input.count && count <= ProxyProtocol.sizeLimit, "a header ends inside its input")
    guard let ends else { return }
    for isText in [true, false] {
        withWriter { writer in
            if isText {
                ProxyProtocol.writeV1(ends, into: &writer)
                require(writer.count <= ProxyProtocol.lineSizeLimit, "a line is no longer than lines may be")
            } else {
                ProxyProtocol.writeV2(ends, into: &writer)
            }
            let again = ProxyProtocol.parse(writer.bytes)
            require(again == .complete(byteCount: writer.count, ends: ends), "what is written is read again")
        }
    }
}

enum Peek: Equatable {
    case named([UInt8], Bool)
    case incomplete, refused
}

func peek(_ input: Bytes) -> Peek {
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: ClientHello.sizeLimit, alignment: 1)
    defer { scratch.deallocate() }
    switch ClientHello.parse(input, scratch: scratch) {
    case .complete(let name, let offersECH): return .named(name.array(), offersECH)
    case .incomplete: return .incomplete
    case .refused: return .refused
    }
}

/// The first byte chooses: records as they came, or the rest as one handshake cut into records.
func fuzzHello(_ input: Bytes) {
    guard input.count > 1, input.count < 4096 else { return }
    if input[0] == 22 {
        let whole = peek(input)
        for cut in cuts(input.count) {
            let part = withExactCopy(input.slice(from: 0, to: cut)) { peek($0) }
            require(part == .incomplete || part == whole, "a hello is judged the same however it is cut")
        }
        return
    }
    let handshake = input.slice(from: 1)
    let whole = records(handshake, size: 16384)
    for size in [1, 5, 64, 1 + Int(input[0])] {
        let cut = records(handshake, size: size)
        require(
            cut == whole || cut == .incomplete || whole == .incomplete || whole == .refused,
            "records change nothing but when the answer comes")
    }
}

private func records(_ handshake: Bytes, size: Int) -> Peek {
    withWriter { writer in
        var position = 0
        while position < handshake.count {
            let count = min(size, handshake.count - position)
            writer.append(22 as UInt8)
            writer.append(3 as UInt8)
            writer.append(1 as UInt8)
            writer.append(UInt8(count >> 8))
            writer.append(UInt8(count & 255))
            writer.append(handshake.slice(from: position, to: position + count))
            position += count
        }
        return peek(writer.bytes)
    }
}

func fuzzTarget(_ input: Bytes) {
    withWriter { writer in
        writer.append("GET ")
        writer.append(input)
        writer.append(" HTTP/1.1\r\nHost: a\r\n\r\n")
        var head = RequestHead(limits: HeadLimits(requestLineSize: 1 << 17, headSize: 1 << 18))
        guard case .complete = head.parse(writer.bytes) else { return }
        let source = writer.bytes
        require(source.slice(head.target).equals(input), "a target is the whole of what stands between the spaces")
        for index in 0..<input.count {
            require(input[index] > 0x20 && input[index] < 0x7F && input[index] != 0x23, "nothing forbidden passes")
        }
        readPath(source.slice(head.path))
    }
    readPath(input)
}

private func readPath(_ path: Bytes) {
    guard path.count > 0, path[0] == 0x2F else { return }
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * path.count, alignment: 1)
    defer { scratch.deallocate() }
    let reading = PathPolicy.read(path, scratch: scratch)
    let model = modelReading(path.array())
    guard case .paths(let n1, let n2) = reading else {
        require(model == nil, "the model leaves the root as well")
        require(!PathPolicy.isPlain(path), "a plain path stays below the root")
        return
    }
    require(model?.n1 == n1.array() && model?.n2 == n2.array(), "the readings are those of the model")
    if PathPolicy.isPlain(path) {
        require(n1.equals(path) && n2.equals(path), "a plain path is its own reading")
    }
}

/// The readings as their definition says them, with arrays of segments: slow and plain.
private func modelReading(_ path: [UInt8]) -> (n1: [UInt8], n2: [UInt8])? {
    let hex = Array("0123456789abcdef".utf8)
    func escape(_ text: [UInt8], _ index: Int) -> UInt8? {
        guard text[index] == 0x25, index + 2 < text.count, let high = hex.firstIndex(of: ASCII.lower(text[index + 1])),
            let low = hex.firstIndex(of: ASCII.lower(text[index + 2]))
        else { return nil }
        return UInt8(high * 16 + low)
    }
    func replace(_ text: [UInt8], _ change: (UInt8) -> UInt8?) -> [UInt8] {
        var result: [UInt8] = []
        var index = 0
        while index < text.count {
            if let byte = escape(text, index), let new = change(byte) {
                result.append(new)
                index += 3
            } else {
                result.append(text[index])
                index += 1
            }
        }
        return result
    }
    func removeDots(_ text: [UInt8], _ isDots: ([UInt8]) -> Int) -> [UInt8]? {
        let segments = text.dropFirst().split(separator: 0x2F, omittingEmptySubsequences: false).map(Array.init)
        var kept: [[UInt8]] = []
        for (index, segment) in segments.enumerated() {
            let dots = isDots(segment)
            if dots == 2, kept.popLast() == nil { return nil }
            if dots == 0 { kept.append(segment) }
            if dots > 0, index == segments.count - 1 { kept.append([]) }
        }
        return kept.flatMap { [0x2F] + $0 }
    }
    let unreserved = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~".utf8)
    let decoded = replace(path) { unreserved.contains($0) ? $0 : nil }
    let n1 = removeDots(decoded) { $0 == [0x2E] ? 1 : $0 == [0x2E, 0x2E] ? 2 : 0 }
    guard let n1 else { return nil }
    let slashed = replace(n1) { $0 == 0x2F || $0 == 0x5C ? 0x2F : nil }.map { $0 == 0x5C ? UInt8(0x2F) : $0 }
    var merged: [UInt8] = []
    for byte in slashed where byte != 0x2F || merged.last != 0x2F { merged.append(byte) }
    let n2 = removeDots(merged) { segment in
        let name = segment.prefix { $0 != 0x3B }
        return name == [0x2E] ? 1 : name == [0x2E, 0x2E] ? 2 : 0
    }
    return n2.map { (n1, $0) }
}
