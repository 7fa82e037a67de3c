// The admin server over a real socket: who sees what, what is refused, and that nobody can crowd it out.

import Kernel
import Model
import Support
import Synchronization
import Telemetry
import Testing

@testable import Admin

@Suite struct AdminPagesTests {
    @Test(arguments: [
        (HealthReading(phase: .starting, wasReady: false), 200, 503),
        (HealthReading(phase: .ready, wasReady: true), 200, 200),
        (HealthReading(phase: .draining, wasReady: true), 200, 503),
        (HealthReading(phase: .ready, wasReady: true, problem: "worker 1 \"hangs\""), 503, 503),
    ])
    func healthAndReadiness(_ reading: HealthReading, _ health: Int, _ readiness: Int) throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        fixture.state.withLock { $0.health = reading }
        let answer = try fixture.get("/healthz")
        #expect(answer.status == health)
        #expect(answer.header("interlock-was-ready") == "\(reading.wasReady)")
        #expect(answer.body.contains("\"phase\":\"\(reading.phase.rawValue)\""))
        if reading.problem != nil { #expect(answer.body.contains("\"problem\":\"worker 1 \\\"hangs\\\"\"")) }
        #expect(try fixture.get("/readyz").status == readiness)
    }

    @Test func headersOfEveryAnswer() throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        for path in ["/healthz", "/metrics", "/api/routes", "/api/certificates", "/", "/nothing"] {
            let answer = try fixture.get(path)
            #expect(answer.header("cache-control") == "no-store")
            #expect(answer.header("x-content-type-options") == "nosniff")
            #expect(answer.header("date")?.hasSuffix(" GMT") == true)
            #expect(answer.header("connection") == "close")
        }
        #expect(try fixture.get("/metrics").header("content-type") == "text/plain; version=0.0.4; charset=utf-8")
        #expect(try fixture.get("/api/routes?x=1").header("content-type") == "application/json")
        #expect(try fixture.get("/").body.contains("Interlock 1.2.3, ready"))
    }

    @Test(arguments: [
        ("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        ("GET /healthz/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 405),
        ("DELETE /api/routes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 413),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\nHost: x\n\n", 400),
        ("GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("GET /\(String(repeating: "a", count: 5000)) HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: \(String(repeating: "a", count: 17_000))\r\n\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: x\r\n\(String(repeating: "A: b\r\n", count: 70))\r\n", 431),
        ("\u{16}\u{3}\u{1} hello over TLS\r\n\r\n", 400),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
    ])
    func requests(_ request: String, _ status: Int) throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        let answer = try fixture.exchange(request)
        #expect(answer.status == status)
        if status == 405 { #expect(answer.header("allow") == "GET, HEAD") }
    }

    @Test func keepAlivePipeliningAndHead() throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        let stream = try fixture.connect()
        let one = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        try stream.writeAll(
            Array((one + one + "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").utf8), timeoutMs: 5000)
        #expect(try Answer.readAll(from: stream).map(\.status) == [200, 200, 404])
        let other = try fixture.connect()
        for byte in "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".utf8 {
            try other.writeAll([byte], timeoutMs: 5000)
        }
        let answers = try Answer.readAll(from: other, isHead: true)
        #expect(answers.map(\.status) == [200])
        #expect(answers[0].header("content-length").flatMap { Int($0) }.map { $0 > 1000 } == true)
    }

    @Test func aTakenPortIsAnErrorThatNamesIt() throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        #expect {
            _ = try Fixture(address: .loopback(port: fixture.port))
        } throws: { error in
            "\(error)"
                == "cannot listen on 127.0.0.1:\(fixture.port) for the admin server: bind: Address already in use"
        }
    }
}

@Suite struct AdminAccessTests {
    private static let local = "Host: localhost\r\n"

    @Test(
        arguments: [
            // Loopback peers need no token, unless they speak for somebody else or by a name that was rebound.
            (local, nil, false, 200), ("Host: 127.0.0.1:9180\r\n", nil, false, 200),
            ("Host: [::1]:9180\r\n", nil, false, 200),
            ("Host: evil.test\r\n", nil, false, 403), (local + "X-Forwarded-For: 1.2.3.4\r\n", nil, false, 403),
            (local + "Via: 1.1 interlock\r\n", nil, false, 403),
            (local + "Forwarded: for=1.2.3.4\r\n", nil, false, 403),
            ("Host: evil.test\r\n", nil, true, 200),
            ("Host: evil.test\r\n", "s3cret", false, 401),
            ("Host: evil.test\r\nAuthorization: Bearer s3cret\r\n", "s3cret", false, 200),
            ("Host: evil.test\r\nAuthorization: bearer s3cret\r\n", "s3cret", false, 200),
            ("Host: evil.test\r\nAuthorization: Bearer s3cre\r\n", "s3cret", false, 401),
            ("Host: evil.test\r\nAuthorization: Bearer s3crets\r\n", "s3cret", false, 401),
            ("Host: evil.test\r\nAuthorization: Bearer \r\n", "s3cret", false, 401),
            ("Host: evil.test\r\nAuthorization: Basic s3cret\r\n", "s3cret", false, 401),
            ("Host: evil.test\r\nAuthorization: Bearer s3cret\r\nAuthorization: Bearer x\r\n", "s3cret", false, 401),
        ] as [(String, String?, Bool, Int)])
    func whoSeesTheAPI(_ lines: String, _ token: String?, _ isOpen: Bool, _ status: Int) throws {
        let fixture = try Fixture(token: token, isOpen: isOpen)
        defer { fixture.stop() }
        for path in ["/api/routes", "/api/certificates", "/"] {
            let answer = try fixture.get(path, lines)
            #expect(answer.status == status)
            #expect((answer.header("www-authenticate") != nil) == (status == 401))
            if status != 200 { #expect(!answer.body.contains("table")) }
        }
        for path in ["/healthz", "/readyz", "/metrics"] { #expect(try fixture.get(path, lines).status == 200) }
    }
}

@Suite struct AdminCrowdTests {
    private static let partial = Array("GET /hea".utf8)

    @Test func aFullHouseSaysSoAndEmptiesAgain() throws {
        let fixture = try Fixture(limits: AdminLimits(capacity: 3, reserved: 0))
        defer { fixture.stop() }
        var streams: [Stream] = []
        for _ in 0..<3 {
            let stream = try fixture.connect()
            try stream.writeAll(Self.partial, timeoutMs: 1000)
            streams.append(stream)
        }
        #expect(eventually { (try? fixture.get("/healthz").status) == 503 })
        for stream in streams { stream.close() }
        #expect(eventually { (try? fixture.get("/healthz").status) == 200 })
    }

    @Test(arguments: [
        AdminLimits(headTimeoutMs: 300, idleTimeoutMs: 60_000), AdminLimits(headTimeoutMs: 60_000, idleTimeoutMs: 300),
    ])
    func slowAndSilentClientsAreCutOff(_ limits: AdminLimits) throws {
        let fixture = try Fixture(limits: limits)
        defer { fixture.stop() }
        let stream = try fixture.connect()
        try stream.writeAll(Array("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".utf8), timeoutMs: 1000)
        #expect(try !stream.readSome(timeoutMs: 5000).isEmpty)
        if limits.headTimeoutMs < limits.idleTimeoutMs {
            // One byte at a time never finishes a head, and does not buy time either.
            let startedNs = Clock.monotonicNs()
            while !stream.isReadable(timeoutMs: 20), Clock.monotonicNs() - startedNs < 20_000_000_000 {
                try? stream.writeAll([UInt8(ascii: "G")], timeoutMs: 1000)
            }
        }
        #expect((try? stream.readSome(timeoutMs: 20_000))?.isEmpty != false)
    }

    @Test func aClientThatDoesNotReadIsCutOff() throws {
        let fixture = try Fixture(limits: AdminLimits(capacity: 2, reserved: 0, answerTimeoutMs: 300))
        defer { fixture.stop() }
        let stream = try fixture.connect()
        let many = String(repeating: "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", count: 4000)
        try? stream.writeAll(Array(many.utf8), timeoutMs: 300)
        #expect(eventually { fixture.clientCount == 0 })
    }

    @Test func stopEndsEveryConnection() throws {
        let fixture = try Fixture()
        let stream = try fixture.connect()
        try stream.writeAll(Array("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".utf8), timeoutMs: 1000)
        #expect(try !stream.readSome(timeoutMs: 5000).isEmpty)
        fixture.stop()
        #expect((try? stream.readSome(timeoutMs: 5000))?.isEmpty != false)
        #expect(eventually { fixture.clientCount == 0 })
    }
}
