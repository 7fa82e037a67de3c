// Owns the tables of an upstream's heads: which are refused, how their bodies end, what a client receives of them.

import Testing
import Wire

struct ParsedResponse: Equatable {
    var byteCount = 0
    var status: UInt16 = 0
    var version = HTTPVersion.http11
    var reason = ""
    var body = BodyLength.none
    var isPersistent = false
    var isInterim = false
    var keepAliveTimeoutSeconds: Int?
    var declaredLength: UInt64?
    var hasDate = false
    var upgrade = ""
    var fieldCount = 0
}

enum ResponseOutcome: Equatable {
    case complete(ParsedResponse)
    case incomplete
    case refused(UInt16, Refusal.Reason)

    var parsed: ParsedResponse? {
        if case .complete(let parsed) = self { return parsed }
        return nil
    }
}

func parseResponse(
    _ array: [UInt8], portions: [Int]? = nil, method: Method = .get, asksUpgrade: Bool = false,
    limits: HeadLimits = HeadLimits()
) -> ResponseOutcome {
    var head = ResponseHead(limits: limits)
    var scanned = 0
    for end in portions ?? [array.count] {
        let result = withBytes(Array(array[..<end])) { source -> ResponseOutcome in
            switch head.parse(source, scanned: scanned, requestMethod: method, asksUpgrade: asksUpgrade) {
            case .incomplete: return .incomplete
            case .refused(let refusal): return .refused(refusal.status, refusal.reason)
            case .complete(let byteCount):
                return .complete(
                    ParsedResponse(
                        byteCount: byteCount, status: head.status, version: head.version,
                        reason: text(source.slice(head.reason).array()), body: head.body,
                        isPersistent: head.isPersistent, isInterim: head.isInterim,
                        keepAliveTimeoutSeconds: head.keepAliveTimeoutSeconds, declaredLength: head.declaredLength,
                        hasDate: head.hasDate, upgrade: text(source.slice(head.upgrade).array()),
                        fieldCount: head.fieldCount))
            }
        }
        if result != .incomplete { return result }
        scanned = end
    }
    return .incomplete
}

/// What a client receives for this response.
func answered(
    _ message: String, method: Method = .get, asksUpgrade: Bool = false,
    change: (inout ResponseContext, BodyLength) -> Void = { $0.framing = $1 }
) -> String {
    withBytes(message) { source in
        var head = ResponseHead()
        let result = head.parse(source, requestMethod: method, asksUpgrade: asksUpgrade)
        guard case .complete = result else { return "not parsed: \(result)" }
        var context = ResponseContext()
        change(&context, head.body)
        return written { HeadWriter.writeResponse(head, from: source, context: context, into: &$0) }
    }
}

@Suite("Heads of upstreams")
struct ResponseHeadTests {
    static let faults: [(String, Refusal.Reason)] = [
        ("X", .badStatusLine), ("junk HTTP/1.1 200 OK\r\n\r\n", .badStatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", .badStatusLine), ("http/1.1 200 OK\r\n\r\n", .badStatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", .badStatusLine), ("HTTP/1.x 200 OK\r\n\r\n", .badStatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", .badStatusLine), ("HTTP/1.1 20 OK\r\n\r\n", .badStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", .badStatusLine), ("HTTP/1.1 099 OK\r\n\r\n", .badStatusLine),
        ("HTTP/1.1 600 OK\r\n\r\n", .badStatusLine), ("HTTP/1.1 +20 OK\r\n\r\n", .badStatusLine),
        ("HTTP/1.1 200\tOK\r\n\r\n", .badStatusLine), ("HTTP/1.1 200 O\u{00}K\r\n\r\n", .badStatusLine),
        ("HTTP/1.1 200 OK\n\n", .bareLineFeed), ("HTTP/1.1 200\n\n", .bareLineFeed),
        ("HTTP/1.1 200 OK\rX: 1\r\n\r\n", .bareCarriageReturn),
        ("HTTP/1.1 200 OK\r\nX: 1\n\r\n", .bareLineFeed),
        ("HTTP/1.1 200 OK\r\nX : 1\r\n\r\n", .spaceBeforeColon),
        ("HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n", .foldedField),
        ("HTTP/1.1 200 OK\r\nX: \u{00}\r\n\r\n", .badFieldValue),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", .lengthAndEncoding),
        ("HTTP/1.1 204 No\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", .lengthAndEncoding),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", .contentLengthConflict),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", .badContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", .badContentLength),
        ("HTTP/1.1 304 Not\r\nContent-Length: x\r\n\r\n", .badContentLength),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", .unknownTransferCoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", .badTransferEncoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", .encodingInHTTP10),
        ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", .unexpectedUpgrade),
        ("HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", .badConnection),
    ]
    static let refused = faults.map { RefusedRequest($0.0, $0.1, 502) }

    @Test("what is refused is 502, whole and however cut", arguments: refused)
    func refuses(row: RefusedRequest) {
        let expected = ResponseOutcome.refused(502, row.reason)
        let message = bytes(row.message)
        #expect(parseResponse(message) == expected)
        for cut in 1..<message.count { #expect(parseResponse(message, portions: [cut, message.count]) == expected) }
        #expect(parseResponse(message, portions: Array(1...message.count)) == expected)
    }

    struct Row: CustomTestStringConvertible, Sendable {
        let message: String
        var method = Method.get
        var asksUpgrade = false
        let check: @Sendable (ParsedResponse) -> Bool
        var testDescription: String { "\(method): \(message.debugDescription)" }
    }

    static let understood: [Row] = [
        Row(message: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") {
            $0.status == 200 && $0.reason == "OK" && $0.body == .length(5) && $0.isPersistent && !$0.isInterim
        },
        Row(message: "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n") { $0.reason == "" },
        Row(message: "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n") { $0.reason == "" && $0.body == .length(5) },
        Row(message: "HTTP/1.1 299 Non \u{E9}\tstandard\r\n\r\n") { $0.reason == "Non \u{E9}\tstandard" },
        Row(message: "HTTP/1.1 200 OK\r\n\r\n") { $0.body == .untilClose && !$0.isPersistent },
        Row(message: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n") { $0.version == .http10 && !$0.isPersistent },
        Row(message: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n") { $0.isPersistent },
        Row(message: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n") { !$0.isPersistent },
        Row(message: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n") { $0.body == .chunked },
        Row(message: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n") { $0.body == .length(5) },
        // No body, whatever is declared.
        Row(message: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", method: .head) {
            $0.body == .none && $0.declaredLength == 5 && $0.isPersistent
        },
        Row(message: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", method: .head) { $0.body == .none },
        Row(message: "HTTP/1.1 200 OK\r\n\r\n", method: .head) { $0.body == .none && $0.isPersistent },
        Row(message: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n") {
            $0.body == .none && $0.declaredLength == 5
        },
        Row(message: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n") { $0.body == .none && $0.isPersistent },
        Row(message: "HTTP/1.1 100 Continue\r\n\r\n") { $0.isInterim && $0.body == .none },
        Row(message: "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n") { $0.isInterim && $0.fieldCount == 1 },
        Row(message: "HTTP/1.1 199 X\r\nContent-Length: 5\r\n\r\n") { $0.isInterim && $0.body == .none },
        Row(
            message: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
            asksUpgrade: true
        ) { $0.status == 101 && $0.upgrade == "tcp" && !$0.isInterim && $0.body == .none && !$0.isPersistent },
        Row(message: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=4, max=9\r\n\r\n") {
            $0.keepAliveTimeoutSeconds == 4
        },
        Row(message: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: max=9,Timeout=70\r\n\r\n") {
            $0.keepAliveTimeoutSeconds == 70
        },
        Row(message: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=x\r\n\r\n") {
            $0.keepAliveTimeoutSeconds == nil
        },
        Row(message: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: x\r\n\r\nHTTP/1.1 200 OK\r\n") {
            $0.hasDate && $0.byteCount == 47
        },
    ]

    @Test("what is understood, whole and however cut", arguments: understood)
    func understands(row: Row) throws {
        let message = bytes(row.message)
        let whole = parseResponse(message, method: row.method, asksUpgrade: row.asksUpgrade)
        let parsed = try #require(whole.parsed, "\(whole)")
        #expect(row.check(parsed), "\(parsed)")
        for cut in 1..<parsed.byteCount {
            let portions = [cut, message.count]
            #expect(
                parseResponse(message, portions: portions, method: row.method, asksUpgrade: row.asksUpgrade) == whole)
        }
    }

    @Test("101 must name what it switches to", arguments: ["Upgrade: x", "Connection: upgrade", "Connection: close"])
    func upgrade(fields: String) {
        let message = bytes("HTTP/1.1 101 Switching\r\n\(fields)\r\n\r\n")
        #expect(parseResponse(message, asksUpgrade: true) == .refused(502, .unexpectedUpgrade))
    }

    @Test("limits")
    func limits() {
        let limits = HeadLimits(headSize: 64, fieldCount: 2)
        let long = bytes("HTTP/1.1 200 OK\r\nX: " + String(repeating: "a", count: 64) + "\r\n\r\n")
        #expect(parseResponse(long, limits: limits) == .refused(502, .headTooLarge))
        #expect(parseResponse(long, portions: Array(1...long.count), limits: limits) == .refused(502, .headTooLarge))
        let many = bytes("HTTP/1.1 200 OK\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n")
        #expect(parseResponse(many, limits: limits) == .refused(502, .tooManyFields))
    }
}

@Suite("What a client receives")
struct AnsweredResponseTests {
    @Test(
        "line by line",
        arguments: [
            (
                "HTTP/1.1 200 Fine\r\nContent-Type: a/b\r\ncontent-length:  05\r\nServer: s\r\n\r\n",
                "HTTP/1.1 200 Fine\r\nContent-Type: a/b\r\nServer: s\r\nContent-Length: 5\r\n\r\n"
            ),
            ("HTTP/1.0 404\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"),
            (
                "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTrailer: a\r\n"
                    + "Proxy-Connection: x\r\nUpgrade: h2c\r\nTE: x\r\nTransfer-Encoding: chunked\r\nKept: 1\r\n\r\n",
                "HTTP/1.1 200 OK\r\nKept: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            // A length says nothing where there is no body to come, and must not be there at all after 204.
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nX: 1\r\n\r\n", "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n"),
            ("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n"),
            ("HTTP/1.1 103 Early\r\nLink: x\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"),
            ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"),
            (
                "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 1\r\n\r\n",
                "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 1\r\n\r\n"
            ),
        ])
    func lines(message: String, expected: String) {
        #expect(answered(message) == expected)
        #expect(parseResponse(bytes(expected)).parsed != nil)
    }

    @Test("HEAD keeps the length of what it has not")
    func head() {
        let message = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        #expect(answered(message, method: .head) == message)
    }

    @Test("what the context adds")
    func context() {
        let message =
            "HTTP/1.0 200 OK\r\nX-Request-ID: theirs\r\nVia: 1.1 inner\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n"
        let head = answered(message) { context, _ in
            context.framing = .chunked
            context.connection = .close
            context.requestID = Bytes("ours")
            context.date = Bytes("Sun, 06 Nov 1994 08:49:37 GMT")
            context.viaName = Bytes("interlock")
            context.infoLines = Bytes("x-proxy-id: p\r\n")
            context.keepsTrailers = true
        }
        #expect(
            fieldLines(head) == [
                "Via: 1.1 inner", "Transfer-Encoding: chunked", "Trailer: X-Sum", "Connection: close",
                "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Via: 1.0 interlock", "x-request-id: ours", "x-proxy-id: p",
            ])
    }

    @Test("Strict-Transport-Security is said once, by the upstream or by us")
    func transportSecurity() {
        let message = "HTTP/1.1 204 No\r\nstrict-transport-SECURITY: max-age=1\r\nX: 1\r\n\r\n"
        #expect(fieldLines(answered(message)) == ["strict-transport-SECURITY: max-age=1", "X: 1"])
        let replaced = answered(message) { context, _ in
            context.infoLines = Bytes("Strict-Transport-Security: max-age=2\r\n")
            context.replacesTransportSecurity = true
        }
        #expect(fieldLines(replaced) == ["X: 1", "Strict-Transport-Security: max-age=2"])
    }

    @Test("a Date that is there stays the only one; a hidden id leaves the upstream's alone")
    func date() {
        let head = answered("HTTP/1.1 200 OK\r\nDate: theirs\r\nX-Request-Id: theirs\r\n\r\n") { context, _ in
            context.framing = .untilClose
            context.connection = .close
            context.date = Bytes("Sun, 06 Nov 1994 08:49:37 GMT")
            context.requestID = Bytes("ours")
            context.showsRequestID = false
        }
        #expect(fieldLines(head) == ["Date: theirs", "X-Request-Id: theirs", "Connection: close"])
    }

    @Test("clients of HTTP/1.0 are told that the connection stays")
    func keepAlive() {
        let head = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") { context, body in
            context.framing = body
            context.clientVersion = .http10
        }
        #expect(fieldLines(head) == ["Content-Length: 0", "Connection: keep-alive"])
    }

    @Test("an upgrade is passed on")
    func upgrade() {
        let message =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Accept: x\r\nContent-Length: 0\r\n\r\n"
        let head = answered(message, asksUpgrade: true) { context, _ in context.connection = .upgrade }
        #expect(fieldLines(head) == ["Sec-WebSocket-Accept: x", "Upgrade: websocket", "Connection: upgrade"])
    }
}
