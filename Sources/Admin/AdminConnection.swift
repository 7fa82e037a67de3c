// One client of the admin server, from its first byte to its last: read a head, answer, and again. A body is never
// read, a head is bounded, and whoever is slow is cut off by the server's sweep.

import Kernel
import Telemetry
import Wire

extension AdminServer {
    /// Bytes that the target of a GET may have.
    public static var targetLimit: Int { AdminConnection.headLimits.requestLineSize - "GET  HTTP/1.1".utf8.count }
}

/// The life of one connection; runs on its own thread.
struct AdminConnection: ~Copyable {
    static let headLimits = HeadLimits(requestLineSize: 4096, headSize: 16_384, fieldCount: 64)
    /// Requests on one connection: Prometheus keeps one for hours.
    static let requestLimit = 100_000

    private let stream: Stream
    private let peerIsLoopback: Bool
    private let server: AdminServer
    private let slot: AdminSlots.Ticket
    private var head = RequestHead(limits: headLimits)
    private var buffer: [UInt8] = []

    init(stream: Stream, peerIsLoopback: Bool, server: AdminServer, slot: AdminSlots.Ticket) {
        self.stream = stream
        self.peerIsLoopback = peerIsLoopback
        self.server = server
        self.slot = slot
    }

    consuming func run() {
        var count = 0
        while count < Self.requestLimit, serveOne(mayKeep: count + 1 < Self.requestLimit) { count += 1 }
        lingerBriefly()
    }

    /// One request; false when the connection is over.
    private mutating func serveOne(mayKeep: Bool) -> Bool {
        var scanned = 0
        while true {
            let result = buffer.withUnsafeBytes { head.parse(Bytes($0), scanned: scanned) }
            switch result {
            case .complete(let byteCount):
                server.slots.expect(slot, withinMs: server.limits.answerTimeoutMs)
                let isKept = answerRequest(mayKeep: mayKeep)
                buffer.removeFirst(byteCount)
                return isKept
            case .refused(let refusal):
                send(.text(refusal.status, "\(refusal.reason.code)\n"), isHead: false, closes: true)
                return false
            case .incomplete:
                scanned = buffer.count
                let isBetween = buffer.isEmpty
                if isBetween { server.slots.expect(slot, withinMs: server.limits.idleTimeoutMs) }
                guard let bytes = try? stream.readSome(maximum: 4096, timeoutMs: server.limits.idleTimeoutMs),
                    !bytes.isEmpty
                else { return false }
                if isBetween { server.slots.expect(slot, withinMs: server.limits.headTimeoutMs) }
                buffer += bytes
            }
        }
    }

    private borrowing func answerRequest(mayKeep: Bool) -> Bool {
        let isHead = head.method == .head
        switch head.body {
        case .none, .length(0): break
        default:
            // Nothing here takes a body; what follows the head is not looked at.
            send(.text(413, "no request body is taken here\n"), isHead: isHead, closes: true)
            return false
        }
        let closes = !mayKeep || !head.isPersistent || head.version == .http10
        let answer = buffer.withUnsafeBytes { makeAnswer(Bytes($0)) }
        return send(answer, isHead: isHead, closes: closes) && !closes
    }

    private borrowing func makeAnswer(_ bytes: Bytes) -> AdminAnswer {
        guard let page = AdminPages.Page(path: bytes.slice(head.path)) else { return .text(404, "no such page\n") }
        guard page.isAct ? head.method == .post : head.method == .get || head.method == .head else {
            var answer = AdminAnswer.text(405, page.isAct ? "only POST\n" : "only GET and HEAD\n")
            answer.extraLines = page.isAct ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n"
            return answer
        }
        if !page.isOpen {
            let isAct = page.isAct
            switch server.access.verdict(for: head, in: bytes, peerIsLoopback: peerIsLoopback, changes: isAct) {
            case .granted: break
            case .forbidden where page.isAct:
                return .text(403, "set INTERLOCK_ADMIN_TOKEN and send it, or ask from the machine itself\n")
            case .forbidden:
                return .text(403, "set INTERLOCK_ADMIN_TOKEN or INTERLOCK_ADMIN_OPEN, or ask from the machine itself\n")
            case .unauthorized:
                var answer = AdminAnswer.text(401, "a bearer token is needed\n")
                answer.extraLines = "WWW-Authenticate: Bearer realm=\"interlock\"\r\n"
                return answer
            }
        }
        // Probes and scrapers may say behind the `?` what they like: their pages have no question.
        let query = PageQuery(bytes.slice(head.query).string()) ?? (page.isOpen ? PageQuery() : nil)
        guard let query else {
            return .text(400, "the query is not percent-encoded\n")
        }
        return server.pages.answer(page, query)
    }

    @discardableResult
    private borrowing func send(_ answer: AdminAnswer, isHead: Bool, closes: Bool) -> Bool {
        let date = CivilTime(realtimeNs: Clock.realtimeNs()).httpDate
        let bytes = answer.serialized(isHead: isHead, closes: closes, date: date)
        return (try? stream.writeAll(bytes, timeoutMs: server.limits.answerTimeoutMs)) != nil
    }

    /// Ends in the orderly way: what the client still sends is read for a moment, so that it sees the answer.
    private borrowing func lingerBriefly() {
        stream.shutdownWrite()
        server.slots.expect(slot, withinMs: server.limits.lingerTimeoutMs)
        var allowance = 65_536
        while allowance > 0,
            let bytes = try? stream.readSome(maximum: 4096, timeoutMs: server.limits.lingerTimeoutMs), !bytes.isEmpty
        {
            allowance -= bytes.count
        }
    }
}
