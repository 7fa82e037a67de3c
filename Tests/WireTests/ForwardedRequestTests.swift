// Owns the tables of what an upstream receives: which lines are copied, which are taken away, and what is said about
// the client. A written head must itself parse, to the same framing.

import Testing
import Wire

@Suite("What is forwarded")
struct ForwardedRequestTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let message: String
        let expected: String
        var testDescription: String { message.debugDescription }
    }

    /// Said about every client of these tables, after the lines of the request itself.
    static let identity =
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 80\r\n"
        + "X-Real-IP: 192.0.2.7\r\n\r\n"

    static let lines: [Row] = [
        Row(
            message: "GET /x?y HTTP/1.1\r\nAccept: */*\r\nHost: a\r\nUser-Agent: b\r\n\r\n",
            expected: "GET /x?y HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nUser-Agent: b\r\n"),
        Row(message: "GET / HTTP/1.0\r\nHost: a\r\n\r\n", expected: "GET / HTTP/1.1\r\nHost: a\r\n"),
        Row(
            message: "GET http://a/p?q HTTP/1.1\r\nHost: b\r\n\r\n", expected: "GET /p?q HTTP/1.1\r\nHost: a\r\n"),
        Row(message: "GET http://a HTTP/1.1\r\nHost: b\r\n\r\n", expected: "GET / HTTP/1.1\r\nHost: a\r\n"),
        Row(message: "GET http://a?q HTTP/1.1\r\nHost: b\r\n\r\n", expected: "GET /?q HTTP/1.1\r\nHost: a\r\n"),
        Row(message: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", expected: "OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
        Row(message: "OPTIONS http://a HTTP/1.1\r\nHost: b\r\n\r\n", expected: "OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
        Row(message: "OPTIONS http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", expected: "OPTIONS / HTTP/1.1\r\nHost: a\r\n"),
        // Written anew: white space, case and order of what is understood are ours.
        Row(
            message: "POST / HTTP/1.1\r\nHOST:a\r\ncontent-length:\t0007 \r\nX:1\r\nY:  2\t\r\nZ: 3\r\n\r\n",
            expected: "POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\nZ: 3\r\nContent-Length: 7\r\n"),
        Row(
            message: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n",
            expected: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n"),
        Row(
            message: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            expected: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"),
        Row(
            message: "POST / HTTP/1.1\r\nHost: a\r\nA: 1\r\ntransfer-encoding: CHUNKED\r\nB: 2\r\n\r\n",
            expected: "POST / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nTransfer-Encoding: chunked\r\n"),
        Row(
            message: "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-CONTINUE\r\n\r\n",
            expected: "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"),
        Row(
            message: "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
            expected: "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\n"),
        Row(
            message: "GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
            expected: "GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n"),
    ]

    static let hops: [Row] = [
        "Connection: close", "Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
        "Proxy: http://evil/", "TE: gzip", "Upgrade: websocket", "Upgrade: h2c\r\nHTTP2-Settings: AAMA",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA", "Trailer: X",
        "Connection: x-a, X-B\r\nX-A: 1\r\nx-b: 2", "X-A: 1\r\nConnection: x-a", "Connection: X-A\r\nX-A: 1\r\nx-a: 2",
        "Connection: x-a\r\nConnection: x-b\r\nX-A: 1\r\nX-B: 2",
    ].map { fields in
        Row(
            message: "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\nKept: 1\r\n\r\n",
            expected: "GET / HTTP/1.1\r\nHost: a\r\nKept: 1\r\n")
    }

    /// A stranger's words about itself, in every spelling.
    static let claims: [Row] = [
        "X-Forwarded-For: 1.2.3.4", "X-FORWARDED-FOR: 1.2.3.4", "x-forwarded-for: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8",
        "X_Forwarded_For: 1.2.3.4", "X_FORWARDED-FOR: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
        "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /admin", "X-Forwarded-Uri: /", "X-Forwarded-Method: GET",
        "X-Forwarded-Server: x", "X-Forwarded-Ssl: on", "X-Forwarded-Scheme: https", "X-Forwarded-Client-Cert: x",
        "X_Forwarded_Anything: x", "X-Real-Ip: 1.2.3.4", "X_Real_IP: 1.2.3.4", "Forwarded: for=1.2.3.4",
        "forwarded: for=1.2.3.4;proto=https", "X-Request-ID: 1", "x_request_id: 1", "Client-Cert: :x:",
        "Client_Cert: x", "Client-Cert-Chain: x", "X-SSL-Client-Verify: SUCCESS", "X-SSL-Client-S-DN: CN=admin",
        "x_ssl_client_s_dn: CN=admin", "X-SSL-Client: x", "Proxy: x",
        // Twins of what frames and routes.
        "Content_Length: 5", "Transfer_Encoding: chunked", "Keep_Alive: 1",
        "HTTP2_Settings: x", "Proxy_Connection: x",
    ].map { fields in
        Row(
            message: "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\nKept: 1\r\n\r\n",
            expected: "GET / HTTP/1.1\r\nHost: a\r\nKept: 1\r\n")
    }

    /// What `Connection` may not take away.
    static let unnameable: [Row] = [
        Row(
            message: "POST / HTTP/1.1\r\nConnection: Host, Content-Length, Via\r\nHost: a\r\nVia: 1.1 x\r\n"
                + "Content-Length: 2\r\n\r\n",
            expected: "POST / HTTP/1.1\r\nHost: a\r\nVia: 1.1 x\r\nContent-Length: 2\r\n"),
        Row(
            message: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                + "Connection: transfer-encoding\r\n\r\n",
            expected: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"),
        Row(
            message: "GET / HTTP/1.1\r\nHost: a\r\n"
                + "Connection: X-Forwarded-For, X-Real-Ip, x-forwarded-proto, close\r\n"
                + "X-Forwarded-For: 9.9.9.9\r\n\r\n",
            expected: "GET / HTTP/1.1\r\nHost: a\r\n"),
    ]

    @Test("line by line", arguments: lines + hops + claims + unnameable)
    func forwards(row: Row) throws {
        let head = forwarded(row.message)
        #expect(head == row.expected + Self.identity)
        let again = try #require(parseRequest(head).parsed)
        #expect(again.body == parseRequest(row.message).parsed?.body)
        #expect(again.byteCount == head.unicodeScalars.count)
        #expect(again.version == .http11)
    }

    @Test("other underscore names pass, by setting")
    func underscores() {
        let message = "GET / HTTP/1.1\r\nHost: a\r\nmy_name: 1\r\nX_Forwarded_For: 2\r\nOther: 3\r\n\r\n"
        #expect(fieldLines(forwarded(message)).contains("my_name: 1"))
        let strict = fieldLines(forwarded(message) { $0.dropsUnderscoreNames = true })
        #expect(!strict.contains("my_name: 1") && strict.contains("Other: 3"))
    }

    @Test("no host is forwarded as an empty field")
    func hostless() {
        let lines = fieldLines(forwarded("GET / HTTP/1.0\r\n\r\n"))
        #expect(lines.first == "Host:")
        #expect(!lines.contains { $0.hasPrefix("X-Forwarded-Host") })
    }

    @Test("what the context adds")
    func context() {
        let lines = fieldLines(
            forwarded("GET /app/x?y HTTP/1.1\r\nHost: a:81\r\nVia: 1.0 first\r\n\r\n", client: "2001:db8::1") {
                $0.isTLS = true
                $0.localPort = 8443
                $0.requestID = Bytes("0123456789abcdef0123456789abcdef")
                $0.realClientAddress = Bytes("203.0.113.9")
                $0.forwardedPrefix = Bytes("/app")
                $0.viaName = Bytes("interlock")
                $0.addsForwarded = true
            })
        #expect(
            lines == [
                "Host: a:81", "Via: 1.0 first", "Via: 1.1 interlock", "X-Forwarded-For: 2001:db8::1",
                "X-Forwarded-Proto: https", "X-Forwarded-Host: a:81", "X-Forwarded-Port: 8443",
                "X-Real-IP: 203.0.113.9", "x-request-id: 0123456789abcdef0123456789abcdef",
                "X-Forwarded-Prefix: /app", "Forwarded: for=\"[2001:db8::1]\";host=\"a:81\";proto=https",
            ])
    }

    @Test(
        "the prefix is taken off, and a slash is left",
        arguments: [
            ("/app/x?y", 4, "/x?y"), ("/app/", 4, "/"), ("/app", 4, "/"), ("/app?y", 4, "/?y"), ("/a", 9, "/"),
            ("/apple", 4, "/le"), ("http://h/app/x?y", 4, "/x?y"), ("/app//x", 4, "//x"),
        ])
    func strip(target: String, count: Int, expected: String) {
        let head = forwarded("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n") { $0.stripPrefixCount = count }
        #expect(head.hasPrefix("GET \(expected) HTTP/1.1\r\n"), "\(head)")
    }

    @Test("a trusted peer's words are continued")
    func trusted() {
        let message =
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n"
            + "X-Forwarded-Host: public.example\r\nX-Forwarded-Port: 443\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n"
            + "X-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\nX-Forwarded-For:\r\n\r\n"
        let lines = fieldLines(
            forwarded(message) {
                $0.peerIsTrusted = true
                $0.realClientAddress = Bytes("3.3.3.3")
            })
        #expect(
            lines == [
                "Host: a", "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7", "X-Forwarded-Proto: https",
                "X-Forwarded-Host: public.example", "X-Forwarded-Port: 443", "X-Real-IP: 3.3.3.3",
            ])
    }

    @Test("a trusted peer that says nothing is spoken for; said twice, the last word counts")
    func trustedSilence() {
        let silent = fieldLines(forwarded("GET / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.peerIsTrusted = true })
        #expect(
            silent == [
                "Host: a", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: a",
                "X-Forwarded-Port: 80", "X-Real-IP: 192.0.2.7",
            ])
        let twice = fieldLines(
            forwarded("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n\r\n") {
                $0.peerIsTrusted = true
            })
        #expect(twice.filter { $0.hasPrefix("X-Forwarded-Proto") } == ["X-Forwarded-Proto: https"])
    }

    @Test("TE: trailers passes with its Connection, and the announcement with a chunked body")
    func trailers() {
        let lines = fieldLines(
            forwarded(
                "POST / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\nTrailer: X-Sum\r\n"
                    + "Transfer-Encoding: chunked\r\n\r\n"
            ))
        #expect(
            lines.prefix(5) == [
                "Host: a", "Transfer-Encoding: chunked", "TE: trailers", "Connection: TE", "Trailer: X-Sum",
            ])
    }

    @Test("what does not fit overflows and is never a whole head")
    func overflow() {
        let message = "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"
        let size = forwarded(message).utf8.count
        withBytes(message) { source in
            var head = RequestHead()
            _ = head.parse(source)
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
            defer { memory.deallocate() }
            for capacity in 1...size {
                var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: memory[..<capacity]))
                let context = RequestContext(clientAddress: Bytes("192.0.2.7"))
                HeadWriter.writeRequest(head, from: source, context: context, into: &writer)
                #expect(writer.overflowed == (capacity < size))
                #expect(writer.count <= capacity)
            }
        }
    }
}

@Suite("Offers to upgrade")
struct UpgradeTests {
    static let key = "dGhlIHNhbXBsZSBub25jZQ=="

    static func request(
        method: String = "GET", version: String = "1.1", connection: String = "keep-alive, Upgrade",
        upgrade: String = "websocket", fields: String = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \(key)\r\n"
    ) -> String {
        "\(method) / HTTP/\(version)\r\nHost: a\r\nConnection: \(connection)\r\nUpgrade: \(upgrade)\r\n\(fields)\r\n"
    }

    @Test(
        "a valid offer is passed on",
        arguments: [
            request(), request(upgrade: "WebSocket"), request(connection: "upgrade"),
            request(upgrade: "tcp", fields: ""), request(upgrade: "SPDY/3.1", fields: ""),
            request(fields: "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \(key)\r\nContent-Length: 0\r\n"),
        ])
    func valid(message: String) {
        #expect(parseRequest(message).parsed?.upgrade.isEmpty == false)
        let lines = fieldLines(forwarded(message) { $0.keepsUpgrade = true })
        #expect(lines.contains("Connection: upgrade"))
        #expect(lines.contains { $0.hasPrefix("Upgrade: ") })
        let without = fieldLines(forwarded(message))
        #expect(!without.contains { $0.hasPrefix("Upgrade: ") || $0.hasPrefix("Connection: ") })
    }

    @Test(
        "any other is an ordinary request",
        arguments: [
            request(method: "POST"), request(version: "1.0"), request(connection: "keep-alive"),
            request(connection: "close"), request(upgrade: "h2c"), request(upgrade: "websocket, h2c"),
            request(upgrade: "h2c, websocket"), request(upgrade: "HTTP/2.0", fields: ""),
            request(upgrade: "TLS/1.2", fields: ""), request(upgrade: "", fields: ""),
            request(upgrade: "a b", fields: ""),
            request(upgrade: "tcp/", fields: ""), request(upgrade: "websocket/13"),
            request(fields: "Upgrade: tcp\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \(key)\r\n"),
            request(fields: "Sec-WebSocket-Key: \(key)\r\n"), request(fields: "Sec-WebSocket-Version: 13\r\n"),
            request(fields: "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: \(key)\r\n"),
            request(fields: "Sec-WebSocket-Version: 13, 8\r\nSec-WebSocket-Key: \(key)\r\n"),
            request(fields: "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"),
            request(fields: "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \(key)\r\nSec-WebSocket-Key: \(key)\r\n"),
            request(fields: "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==\r\n"),
            request(fields: "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \(key)\r\nContent-Length: 1\r\n"),
            request(fields: "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \(key)\r\nTransfer-Encoding: chunked\r\n"),
        ])
    func invalid(message: String) {
        #expect(parseRequest(message).parsed?.upgrade == "")
        let lines = fieldLines(forwarded(message) { $0.keepsUpgrade = true })
        #expect(!lines.contains { $0.hasPrefix("Upgrade: ") || $0.hasPrefix("Connection: ") }, "\(lines)")
    }

    @Test("with trailers")
    func trailers() {
        let message = Self.request(connection: "Upgrade, TE", upgrade: "tcp", fields: "TE: trailers\r\n")
        let lines = fieldLines(forwarded(message) { $0.keepsUpgrade = true })
        #expect(lines.contains("Connection: upgrade, TE"))
        #expect(lines.filter { $0.hasPrefix("Connection") }.count == 1)
    }

    @Test("the key's answer (RFC 6455 section 1.3)")
    func accept() {
        let answer = withBytes(Self.key) { key in written { WebSocket.writeAccept(key: key, into: &$0) } }
        #expect(answer == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        let long = withBytes(String(repeating: "x", count: 100)) { key in
            written { WebSocket.writeAccept(key: key, into: &$0) }
        }
        // Computed with `openssl sha1 -binary | base64`.
        #expect(long == "DJTE+uYDnPxiT+W6VvIG/iPUxv8=")
    }
}
