// Owns the table of requests that are understood, and what is understood: targets, hosts, lengths, persistence,
// limits. Refusals have their own table.

import Testing
import Wire

@Suite("Requests that are understood")
struct RequestHeadTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let message: String
        let check: @Sendable (ParsedRequest) -> Bool

        init(_ message: String, _ check: @escaping @Sendable (ParsedRequest) -> Bool) {
            self.message = message
            self.check = check
        }

        var testDescription: String { message.debugDescription }
    }

    static let lines: [Row] = [
        Row("GET / HTTP/1.1\r\nHost: a\r\n\r\n") {
            $0.method == .get && $0.path == "/" && $0.query == nil && $0.host == "a" && $0.body == .none
                && $0.isPersistent && $0.byteCount == 27 && $0.form == .origin
        },
        Row("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.byteCount == 29 && $0.path == "/" },
        Row("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\n") { $0.byteCount == 27 },
        Row("get / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.method == .other && $0.methodName == "get" },
        Row("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.method == .other && $0.methodName == "PROPFIND" },
        Row(String(repeating: "A", count: 32) + " / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.methodName.count == 32 },
        Row("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.method == .head },
        Row("POST / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.method == .post && $0.body == .none },
        Row("PUT / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.method == .put },
        Row("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.method == .delete },
        Row("PATCH / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.method == .patch },
        Row("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.method == .trace },
        Row("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n") { $0.form == .asterisk && $0.path == "*" },
        Row("GET / HTTP/1.2\r\nHost: a\r\n\r\n") { $0.version == .http11 },
        Row("GET / HTTP/1.9\r\nHost: a\r\n\r\n") { $0.version == .http11 },
        Row("GET / HTTP/1.0\r\n\r\n") { $0.version == .http10 && $0.host == "" && !$0.isPersistent },
        Row("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") { $0.isPersistent },
        Row("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n") { !$0.isPersistent },
        Row("GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n") { !$0.isPersistent },
        Row("GET / HTTP/1.1\r\nHost: a\r\nConnection: x,\t close ,\r\n\r\n") { !$0.isPersistent },
        Row("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n") { !$0.isPersistent },
    ]

    static let targets: [Row] = [
        Row("GET /a/b?c=d&e=/f?g HTTP/1.1\r\nHost: a\r\n\r\n") { $0.path == "/a/b" && $0.query == "c=d&e=/f?g" },
        Row("GET /? HTTP/1.1\r\nHost: a\r\n\r\n") { $0.path == "/" && $0.query == "" },
        Row("GET //a HTTP/1.1\r\nHost: a\r\n\r\n") { $0.path == "//a" && $0.form == .origin },
        Row("GET /a%00b%2F|{}\"<>^` HTTP/1.1\r\nHost: a\r\n\r\n") { $0.path == "/a%00b%2F|{}\"<>^`" },
        Row("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n") {
            $0.form == .absolute && $0.host == "a" && $0.authority == "a" && $0.path == "/"
        },
        Row("GET HTTP://A.example:8080/x?y HTTP/1.1\r\nHost: b\r\n\r\n") {
            $0.host == "A.example" && $0.authority == "A.example:8080" && $0.path == "/x" && $0.query == "y"
        },
        Row("GET https://a HTTP/1.1\r\nHost: b\r\n\r\n") { $0.path == "" && $0.host == "a" && $0.query == nil },
        Row("GET http://a?q HTTP/1.1\r\nHost: b\r\n\r\n") { $0.path == "" && $0.query == "q" && $0.authority == "a" },
        Row("GET http://[::1]:81/ HTTP/1.0\r\n\r\n") { $0.host == "[::1]" && $0.authority == "[::1]:81" },
    ]

    static let hosts: [Row] = [
        ("App.Example.COM", "App.Example.COM"), ("a.", "a"), ("a.:80", "a"), ("a:80", "a"), ("a:65535", "a"),
        ("a:", "a"), ("[::1]:", "[::1]"),
        ("a:00080", "a"), ("1.2.3.4", "1.2.3.4"), ("1.2.3.4:80", "1.2.3.4"), ("[::1]", "[::1]"),
        ("[2001:DB8::1]:8443", "[2001:DB8::1]"), ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"), ("my_service.local", "my_service.local"), ("a~b", "a~b"),
        ("-a-", "-a-"), ("app.example.", "app.example"), ("a-1.b-2.c-3.example.com", "a-1.b-2.c-3.example.com"),
        (String(repeating: "a.", count: 127) + "a", String(repeating: "a.", count: 127) + "a"),
    ].map { host, name in
        Row("GET / HTTP/1.1\r\nHost: \t" + host + " \r\n\r\n") { $0.host == name && $0.authority == host }
    }

    static let fields: [Row] = [
        Row("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n") { $0.body == .length(5) },
        Row("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n") { $0.body == .length(0) },
        Row("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t00005 \r\n\r\n") { $0.body == .length(5) },
        Row("POST / HTTP/1.1\r\nHost: a\r\nCONTENT-LENGTH: 9223372036854775807\r\n\r\n") {
            $0.body == .length(9_223_372_036_854_775_807)
        },
        Row("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 05\r\n\r\n") { $0.body == .length(5) },
        Row("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n") { $0.body == .length(3) },
        Row("POST / HTTP/1.0\r\n\r\n") { $0.body == .none && !$0.isPersistent },
        Row("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:CHUNKED\r\n\r\n") { $0.body == .chunked },
        Row("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:  chunked\t \r\n\r\n") { $0.body == .chunked },
        // An underscore twin is never the dashed name.
        Row("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n") {
            $0.body == .none && $0.dropped.count == 2
        },
        Row("GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t \r\n\u{7E}: \u{80}\u{FF}\tz\r\n\r\n") {
            $0.fields == ["Host|a", "X|", "Y|", "~|\u{80}\u{FF}\tz"]
        },
        Row("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n") { $0.expectsContinue },
        Row("GET / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n\r\n") { !$0.expectsContinue },
        Row("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, Trailers\r\n\r\n") { $0.acceptsTrailers },
        Row("GET / HTTP/1.1\r\nHost: a\r\nTE: xtrailers\r\n\r\n") { !$0.acceptsTrailers },
        Row("TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n") { $0.maxForwards == 0 },
        Row("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 70\r\n\r\n") { $0.maxForwards == 70 },
        Row("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 70000\r\n\r\n") { $0.maxForwards == 255 },
        Row("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n") { $0.maxForwards == nil },
        Row("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-1\r\n\r\n") { $0.requestID == "abc-1" },
        Row("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\n\r\n") { $0.requestID == "" },
        Row("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + String(repeating: "a", count: 129) + "\r\n\r\n") {
            $0.requestID == ""
        },
    ]

    @Test("whole and however cut", arguments: lines + targets + hosts + fields)
    func understood(row: Row) throws {
        let message = bytes(row.message)
        let whole = parseRequest(message)
        let parsed = try #require(whole.parsed, "\(whole)")
        #expect(row.check(parsed), "\(parsed)")
        for cut in 1..<parsed.byteCount {
            #expect(parseRequest(Array(message[..<cut])) == .incomplete, "cut at \(cut)")
            #expect(parseRequest(message, portions: [cut, message.count]) == whole, "cut at \(cut)")
        }
        #expect(parseRequest(message, portions: Array(1...message.count)).parsed?.fields == parsed.fields)
    }

    @Test("a head is good for the next request, too")
    func reuse() {
        var head = RequestHead()
        func parse(_ head: inout RequestHead, _ message: String) -> RequestOutcome {
            withBytes(message) { outcome(head.parse($0), head, $0) }
        }
        let heavy =
            "GET http://x:1/p?q HTTP/1.0\r\nHost: y\r\nConnection: keep-alive, z\r\nZ: 1\r\nTE: trailers\r\n"
            + "Content-Length: 7\r\nX-Request-ID: r\r\nExpect: 100-continue\r\n\r\n"
        let light = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        #expect(parse(&head, heavy).parsed?.host == "x")
        #expect(parse(&head, light) == parseRequest(light))
        #expect(parse(&head, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").reason == .duplicateHost)
        #expect(parse(&head, light) == parseRequest(light))
    }
}

@Suite("Limits of a request head")
struct RequestLimitTests {
    static let limits = HeadLimits(requestLineSize: 64, headSize: 256, fieldCount: 8)

    static func request(lineSize: Int) -> String {
        "GET /" + String(repeating: "a", count: lineSize - 14) + " HTTP/1.1\r\nHost: a\r\n\r\n"
    }

    static func request(headSize: Int) -> String {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: "
        return start + String(repeating: "a", count: headSize - start.utf8.count - 4) + "\r\n\r\n"
    }

    static func request(fieldCount: Int) -> String {
        "GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "X: 1\r\n", count: fieldCount - 1) + "\r\n"
    }

    @Test(
        "what is just small enough passes",
        arguments: [
            request(lineSize: 64), "\r\n" + request(lineSize: 64), request(headSize: 256), request(fieldCount: 8),
        ])
    func small(message: String) {
        #expect(parseRequest(message, limits: Self.limits).parsed != nil)
    }

    @Test(
        "what is just too large is refused, however it comes",
        arguments: [
            RefusedRequest(request(lineSize: 65), .uriTooLong, 414),
            RefusedRequest("\r\n" + request(lineSize: 65), .uriTooLong, 414),
            RefusedRequest("GET /" + String(repeating: "a", count: 400), .uriTooLong, 414),
            RefusedRequest(request(headSize: 257), .headTooLarge, 431),
            RefusedRequest("GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "x", count: 400), .headTooLarge, 431),
            RefusedRequest(
                "GET / HTTP/1.1\r\nHost: a\r\nX:" + String(repeating: " ", count: 400), .headTooLarge, 431),
            RefusedRequest(request(fieldCount: 9), .tooManyFields, 431),
            RefusedRequest(request(fieldCount: 30), .tooManyFields, 431),
        ])
    func large(row: RefusedRequest) {
        let expected = RequestOutcome.refused(row.status, row.reason)
        let message = bytes(row.message)
        #expect(parseRequest(message, limits: Self.limits) == expected)
        for cut in 1..<message.count {
            #expect(parseRequest(message, portions: [cut, message.count], limits: Self.limits) == expected)
        }
        #expect(parseRequest(message, portions: Array(1...message.count), limits: Self.limits) == expected)
    }

    @Test("a bad request line is refused before its head is whole")
    func early() {
        #expect(parseRequest("GET / HTTP/2.0\r\n").reason == .unsupportedVersion)
        #expect(parseRequest("\u{16}\u{03}\u{01}").reason == .badMethod)
        #expect(parseRequest("GET /\u{00}").reason == .badTarget)
    }
}
