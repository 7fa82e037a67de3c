// Plain HTTP where https is wanted: redirects that keep every byte of the target, hosts that are passed on, and why
// none of it can loop.

@testable import Proxy
import Kernel
import Model
import Support
import Testing

@Suite(.serialized) struct SecureTests {
    private static func client(_ bench: TLSBench) throws -> PlainClient { try PlainClient(port: bench.proxy.ports[0]) }

    private static func start(_ change: (inout ProxySettings) -> Void = { _ in }) throws -> TLSBench {
        let bench = try TLSBench(workerCount: 1, change)
        let hosts = ["only.test", "open.test", "moved.test", "a.test"].map { ($0, TLSOptions()) }
        var secrets = SecretFiles()
        secrets.defaultCertificate = bench.certificates.both("standard")
        bench.publish(hosts, secrets) { configuration in
            configuration.routes[0].requiresTLS = true
            configuration.routes[0].hsts = "max-age=600"
            configuration.routes[0].pathPrefix = "/"
            configuration.hosts[2].redirects = [
                HostRedirect(scheme: .http, target: "https://new.test/at"),
                HostRedirect(scheme: .https, target: "https://newer.test"),
            ]
            configuration.hosts.append(HostOptions(host: .exact("through.test"), passthrough: [0]))
        }
        return bench
    }

    @Test(
        "Plain requests go where they should",
        arguments: [
            ("GET /a%2Fb?x=1&y HTTP/1.1\r\nHost: only.test", "301 https://only.test/a%2Fb?x=1&y"),
            ("HEAD / HTTP/1.1\r\nHost: ONLY.test:8080", "301 https://only.test/"),
            ("POST /form? HTTP/1.1\r\nHost: only.test\r\nContent-Length: 0", "308 https://only.test/form?"),
            ("GET http://only.test/x HTTP/1.1\r\nHost: other.test", "301 https://only.test/x"),
            ("GET http://only.test?q HTTP/1.1\r\nHost: only.test", "301 https://only.test/?q"),
            ("OPTIONS * HTTP/1.1\r\nHost: only.test", "308 https://only.test/"),
            ("GET /.well-known/acme-challenge/AZaz09-_ HTTP/1.1\r\nHost: only.test", "200 "),
            (
                "GET /.well-known/acme-challenge/../admin HTTP/1.1\r\nHost: only.test",
                "301 https://only.test/.well-known/acme-challenge/../admin"
            ),
            (
                "GET /.well-known/acme-challenge/ HTTP/1.1\r\nHost: only.test",
                "301 https://only.test/.well-known/acme-challenge/"
            ),
            ("GET / HTTP/1.1\r\nHost: open.test", "200 "),
            ("GET /x?y HTTP/1.1\r\nHost: moved.test", "302 https://new.test/at/x?y"),
            ("POST /x HTTP/1.1\r\nHost: moved.test\r\nContent-Length: 0", "302 https://new.test/at/x"),
            ("GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: moved.test", "200 "),
            ("GET /x HTTP/1.1\r\nHost: through.test", "301 https://through.test/x"),
            ("PUT /x HTTP/1.1\r\nHost: through.test\r\nContent-Length: 0", "308 https://through.test/x"),
            ("GET /x HTTP/1.1\r\nHost: nobody.test", "503 "),
            // A stranger may say what it likes.
            ("GET / HTTP/1.1\r\nHost: only.test\r\nX-Forwarded-Proto: https", "301 https://only.test/"),
        ])
    func plain(request: String, expected: String) throws {
        let bench = try Self.start()
        let answer = try Self.client(bench).ask(request)
        #expect("\(answer.status) \(answer.head.values("location").first ?? "")" == expected)
        #expect(answer.head.values("strict-transport-security") == [])
    }

    @Test(
        "A trusted peer that has ended TLS is believed",
        arguments: [
            ("GET / HTTP/1.1\r\nHost: only.test\r\nX-Forwarded-Proto: https", "200  max-age=600"),
            ("GET / HTTP/1.1\r\nHost: only.test\r\nX-Forwarded-Proto: HTTPS", "200  max-age=600"),
            ("GET / HTTP/1.1\r\nHost: only.test\r\nX-Forwarded-Proto: http", "301 https://only.test:8443/ "),
            ("GET / HTTP/1.1\r\nHost: only.test", "301 https://only.test:8443/ "),
            ("GET / HTTP/1.1\r\nHost: moved.test\r\nX-Forwarded-Proto: https", "302 https://newer.test/ "),
            // It would come back for ever.
            ("GET / HTTP/1.1\r\nHost: through.test\r\nX-Forwarded-Proto: https", "421  "),
        ])
    func trusted(request: String, expected: String) throws {
        let bench = try Self.start {
            $0.trustedProxies = [AddressBlock("127.0.0.0/8")].compactMap { $0 }
            $0.httpsPublicPort = 8443
        }
        let answer = try Self.client(bench).ask(request)
        let location = answer.head.values("location").first ?? ""
        let hsts = answer.head.values("strict-transport-security").first ?? ""
        #expect("\(answer.status) \(location) \(hsts)" == expected)
    }

    @Test func theWholeProxyMayBeForHTTPSOnly() throws {
        let bench = try Self.start { $0.sslOnly = true }
        for (host, expected) in [
            ("open.test", "301 https://open.test/x"), ("through.test", "301 https://through.test/x"),
            ("nobody.test", "503 "), ("moved.test", "302 https://new.test/at/x"),
        ] {
            let answer = try Self.client(bench).ask("GET /x HTTP/1.1\r\nHost: \(host)")
            #expect("\(answer.status) \(answer.head.values("location").first ?? "")" == expected)
        }
        #expect(bench.backend.requestCount(0) == 0)
    }

    @Test func overTLSNothingIsSentToHTTPSAgain() throws {
        let bench = try Self.start()
        let only = try bench.connect("only.test", trusts: false).get("only.test")
        #expect(only.head.first == "HTTP/1.1 200 OK")
        #expect(only.head.values("strict-transport-security") == ["max-age=600"])
        let open = try bench.connect("open.test", trusts: false).get("open.test")
        #expect(open.head.values("strict-transport-security") == [])
        let moved = try bench.connect("moved.test", trusts: false).get("moved.test", "/x")
        #expect(moved.head.first == "HTTP/1.1 302 Found")
        #expect(moved.head.values("location") == ["https://newer.test/x"])
        // Our own answers of the route carry it too.
        bench.publish(
            [("only.test", TLSOptions())], SecretFiles(defaultCertificate: bench.certificates.both("standard"))
        ) {
            $0.routes[0].hsts = "max-age=600"
            $0.services.append(Service(id: "none", name: "none"))
            $0.routes[0].services = [1]
        }
        let none = try bench.connect("only.test", trusts: false).get("only.test")
        #expect(none.head.first == "HTTP/1.1 503 Service Unavailable")
        #expect(none.head.values("strict-transport-security") == ["max-age=600"])
    }
}

/// A plain connection that tells heads.
struct PlainClient {
    private let stream: Stream

    init(port: UInt16) throws { stream = try Stream.connect(to: .loopback(port: port), timeoutMs: 5000) }

    /// Sends a head and reads the answer's.
    func ask(_ head: String) throws -> (status: String, head: PlainHead) {
        try stream.writeAll(Array("\(head)\r\n\r\n".utf8), timeoutMs: 5000)
        var input: [UInt8] = []
        while true {
            if let head = PlainHead(input, at: 0) { return (String(head.first.dropFirst(9).prefix(3)), head) }
            let more = try stream.readSome(maximum: 65536, timeoutMs: 10_000)
            guard !more.isEmpty else { throw LiveClient.Failure(description: "closed") }
            input += more
        }
    }
}
