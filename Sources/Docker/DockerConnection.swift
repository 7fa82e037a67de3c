// HTTP/1.1 on one connection to the engine: writes a request, reads the head, reads the body, in this order.
// Wire's strict parsers judge what comes back, so garbage is an error and never a guess.

import Kernel
import Wire

final class DockerConnection {
    private let transport: DockerTransport
    private let hostHeader: String
    private let writes: DockerWrites
    // Bytes received and not yet used, from `position`.
    private var buffer: [UInt8] = []
    private var position = 0
    private var body = BodyDecoder(.none)
    private var isPersistent = true
    private var isIdle = true
    /// Whether any byte of the current answer came in.
    private(set) var hasAnswered = false
    /// `Api-Version` of the last answer.
    private(set) var engineVersion: DockerVersion?

    private static let headLimit = 65536

    init(transport: DockerTransport, hostHeader: String, writes: DockerWrites) {
        self.transport = transport
        self.hostHeader = hostHeader
        self.writes = writes
    }

    /// Whether another call may be sent on it.
    var isUsable: Bool { isPersistent && isIdle && position == buffer.count && !transport.isStale }

    func send(
        _ call: DockerCall, body: [UInt8]? = nil, _ version: DockerVersion?, _ deadline: Deadline
    ) throws(DockerError) {
        isIdle = false
        hasAnswered = false
        let target = call.target(version, writes: writes)
        var head =
            "\(call.method.rawValue) \(target) HTTP/1.1\r\nHost: \(hostHeader)\r\nUser-Agent: interlock\r\n"
            + "Accept: application/json\r\n"
        if let body { head += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n" }
        try transport.send(Array((head + "\r\n").utf8) + (body ?? []), deadline)
    }

    /// - Returns: the status of the answer, after which comes the body.
    func receiveHead(_ deadline: Deadline) throws(DockerError) -> Int {
        var head = ResponseHead(
            limits: HeadLimits(requestLineSize: 8192, headSize: Self.headLimit, fieldCount: 128))
        buffer.removeSubrange(..<position)
        position = 0
        var scanned = 0
        while true {
            let result = buffer.withUnsafeBytes { head.parse(Bytes($0), scanned: scanned, requestMethod: .get) }
            switch result {
            case .complete(let count) where head.isInterim:
                buffer.removeSubrange(..<count)
                scanned = 0
            case .complete(let count):
                position = count
                take(head)
                return Int(head.status)
            case .incomplete:
                scanned = buffer.count
                guard try fill(deadline) else {
                    throw DockerError(
                        kind: hasAnswered ? .badAnswer : .unreachable, call: "",
                        message: "the connection was closed before the answer")
                }
            case .refused(let refusal):
                throw DockerError(
                    kind: .badAnswer, call: "", message: "the answer is no valid HTTP (\(refusal.reason.code))")
            }
        }
    }

    private func take(_ head: borrowing ResponseHead) {
        body = BodyDecoder(head.body, limits: BodyLimits(isResponse: true))
        isPersistent = head.isPersistent && head.status != 101
        engineVersion = nil
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            buffer.withUnsafeBytes { bytes in
                let all = Bytes(bytes)
                guard all.slice(field.name).equalsIgnoringCase("api-version") else { return }
                engineVersion = DockerVersion(all.slice(field.value).string())
            }
        }
    }

    /// The whole body.
    func receiveBody(limit: Int, _ deadline: Deadline) throws(DockerError) -> [UInt8] {
        var whole: [UInt8] = []
        var isTooLarge = false
        while try receivePiece(
            deadline,
            { piece in
                isTooLarge = whole.count + piece.count > limit
                if !isTooLarge { whole.append(contentsOf: piece) }
                return !isTooLarge
            })
        {}
        guard !isTooLarge else {
            isPersistent = false
            throw DockerError(kind: .tooLarge, call: "", message: "the answer has more than \(limit) bytes")
        }
        return whole
    }

    /// Hands over what is there of the body, waiting for some.
    /// - Returns: false at the body's end, or when `piece` said false.
    func receivePiece(
        _ deadline: Deadline, _ piece: (UnsafeRawBufferPointer) -> Bool
    ) throws(DockerError) -> Bool {
        var progress = Progress.needMore
        buffer.withUnsafeBytes { bytes in
            progress = Self.drain(bytes, &position, &body, piece)
        }
        switch progress {
        case .stopped: return false
        case .ended:
            isIdle = true
            return false
        case .refused(let code):
            throw DockerError(kind: .badAnswer, call: "", message: "the answer's body is no valid HTTP (\(code))")
        case .needMore: break
        }
        buffer.removeAll(keepingCapacity: true)
        position = 0
        if try fill(deadline) { return true }
        guard body.endOfInput() else {
            throw DockerError(kind: .badAnswer, call: "", message: "the answer was cut off")
        }
        isPersistent = false
        isIdle = true
        return false
    }

    private enum Progress {
        case needMore, ended, stopped
        case refused(StaticString)
    }

    private static func drain(
        _ bytes: UnsafeRawBufferPointer, _ position: inout Int, _ body: inout BodyDecoder,
        _ piece: (UnsafeRawBufferPointer) -> Bool
    ) -> Progress {
        let input = Bytes(bytes)
        while true {
            switch body.next(input, position: &position) {
            case .data(let span):
                let start = Int(span.start)
                guard piece(UnsafeRawBufferPointer(rebasing: bytes[start..<start + Int(span.count)])) else {
                    return .stopped
                }
            case .needMore: return .needMore
            case .end: return .ended
            case .refused(let refusal): return .refused(refusal.reason.code)
            }
        }
    }

    /// - Returns: false at the end of the stream.
    private func fill(_ deadline: Deadline) throws(DockerError) -> Bool {
        let bytes = try transport.receive(deadline)
        guard !bytes.isEmpty else { return false }
        hasAnswered = true
        buffer.append(contentsOf: bytes)
        return true
    }
}
