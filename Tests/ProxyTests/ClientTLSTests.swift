// TLS of clients with a running proxy: handshakes however they are cut, renewals under open connections, who may use a
// connection for which host, and how connections end.

@testable import Proxy
import Glibc
import Kernel
import Model
import Support
import Telemetry
import Testing

private let isLong = getenv("INTERLOCK_TEST_LONG") != nil

/// A proxy with one task behind every host.
final class TLSBench {
    let backend: Backend
    let proxy: ProxyServer
    let certificates: TestCertificates
    private var swaps: UInt64 = 0

    init(workerCount: Int = 1, _ change: (inout ProxySettings) -> Void = { _ in }) throws {
        certificates = try TestCertificates.get()
        backend = try Backend(listenerCount: 1)
        proxy = try startProxy(workerCount: workerCount) {
            $0.httpsListen = [ListenAddress(address: .loopback)]
            change(&$0)
        }
    }

    deinit {
        proxy.drain(timeoutMs: 0)
        proxy.waitUntilStopped()
        backend.stop()
    }

    var port: UInt16 { proxy.httpsPorts[0] }

    func publish(
        _ hosts: [(host: String, tls: TLSOptions)], _ secrets: SecretFiles,
        change: (inout Configuration) -> Void = { _ in }
    ) {
        proxy.publish(TLSSnapshots.make(hosts, tasks: [backend.ports[0]], change: change), secrets: secrets)
        awaitSwap()
    }

    func update(_ secrets: SecretFiles) {
        proxy.update(secrets: secrets)
        awaitSwap()
    }

    private func awaitSwap() {
        swaps += UInt64(proxy.settings.workerCount)
        #expect(eventually { proxy.counters.total(.tableSwaps) == swaps })
    }

    func connect(_ serverName: String?, trusts: Bool = true) throws -> LiveTLSClient {
        try LiveTLSClient(port: port, serverName: serverName, trusted: trusts ? certificates["ca.pem"] : nil)
    }

    /// The status of a request for `host` over a connection to `serverName`.
    func status(_ serverName: String?, _ host: String, trusts: Bool = true) throws -> String {
        let first = try connect(serverName, trusts: trusts).get(host).head.first
        return String(first.dropFirst(9).prefix(3))
    }
}

@Suite(.serialized) struct ClientTLSTests {
    @Test(arguments: [Int.max, 100, 1])
    func requestsAreAnswered(pieceSize: Int) throws {
        let bench = try TLSBench()
        bench.publish([("a.test", TLSSnapshots.options("a"))], TLSSnapshots.secrets(bench.certificates, "a"))
        let client = try LiveTLSClient(
            port: bench.port, serverName: "a.test", trusted: bench.certificates["ca.pem"], pieceSize: pieceSize)
        for _ in 0..<3 {
            let answer = try client.get("a.test", "/x?y")
            #expect(answer.head.first == "HTTP/1.1 200 OK")
            #expect(answer.body == Array("task   0".utf8))
        }
        #expect(bench.backend.lastHead.contains("X-Forwarded-Proto: https\r\n"))
        #expect(bench.backend.lastHead.contains("X-Forwarded-Port: \(bench.port)\r\n"))
        #expect(bench.proxy.counters.total(HandshakeKind.fullTLS13) == 1)
        #expect(bench.proxy.counters.total(.handshakesActive) == 0)
        // The next one resumes.
        let session = try #require(client.takeSession())
        let again = try LiveTLSClient(
            port: bench.port, serverName: "a.test", trusted: bench.certificates["ca.pem"], session: session)
        #expect(again.isResumed)
        #expect(try again.get("a.test").head.first == "HTTP/1.1 200 OK")
        #expect(bench.proxy.counters.total(HandshakeKind.resumedTLS13) == 1)
    }

    @Test func aRenewedCertificateIsForTheNextHandshake() throws {
        let bench = try TLSBench(workerCount: 2)
        var secrets = TLSSnapshots.secrets(bench.certificates, "a")
        bench.publish([("a.test", TLSSnapshots.options("a"))], secrets)
        let open = try bench.connect("a.test")
        let before = open.certificate
        #expect(try open.get("a.test").head.first == "HTTP/1.1 200 OK")
        secrets.secrets["a.pem"] = bench.certificates["renewed.pem"]
        secrets.secrets["a.key"] = bench.certificates["renewed.key"]
        bench.update(secrets)
        #expect(try bench.connect("a.test").certificate != before)
        // Nothing happens to who is there already.
        #expect(try open.get("a.test").head.first == "HTTP/1.1 200 OK")
        let renewed = try bench.connect("a.test").certificate
        // A renewal that went wrong changes nothing.
        secrets.secrets["a.pem"] = Array("garbage".utf8)
        bench.update(secrets)
        #expect(try bench.connect("a.test").certificate == renewed)
        #expect(bench.proxy.tlsReport.standing.map(\.fault) == [.unusable])
        #expect(eventually { bench.proxy.livePublicationCount == 1 })
    }

    @Test func whoHasNoCertificateIsRefused() throws {
        let bench = try TLSBench()
        bench.publish(
            [("a.test", TLSSnapshots.options("missing")), ("b.test", TLSOptions())],
            TLSSnapshots.secrets(bench.certificates, "wild"))
        for name in ["a.test", "b.test", nil] as [String?] {
            #expect(throws: (any Error).self) { try bench.connect(name, trusts: false) }
        }
        let counters = bench.proxy.counters
        for alert in ["handshake_failure", "unrecognized_name", "missing_extension"] {
            let number = try #require(HandshakeFailures.all.first { $0.name == alert }?.number)
            #expect(counters.total(handshakeFailure: number) == 1, "\(alert)")
        }
    }

    @Test func aConnectionIsForTheHostsOfItsPolicyAndCertificate() throws {
        let bench = try TLSBench()
        var secrets = TLSSnapshots.secrets(bench.certificates, "a", "wild")
        secrets.defaultCertificate = bench.certificates.both("standard")
        let hosts = [
            ("a.test", TLSSnapshots.options("a")), ("wild.test", TLSSnapshots.options("wild")),
            ("x.wild.test", TLSSnapshots.options("wild")),
            ("strict.wild.test", TLSSnapshots.options("wild", minimum: .tls13)), ("plain.test", TLSOptions()),
            ("wrong.test", TLSSnapshots.options("a")),
        ]
        bench.publish(hosts, secrets) {
            $0.hosts.append(HostOptions(host: .exact("through.wild.test"), passthrough: [0]))
        }
        #expect(try bench.status("wild.test", "wild.test") == "200")
        #expect(try bench.status("wild.test", "WILD.test:443") == "200")
        #expect(try bench.status("wild.test", "x.wild.test") == "200")
        // Another policy, another certificate, another way.
        #expect(try bench.status("wild.test", "strict.wild.test") == "421")
        #expect(try bench.status("strict.wild.test", "wild.test") == "421")
        #expect(try bench.status("strict.wild.test", "strict.wild.test") == "200")
        #expect(try bench.status("wild.test", "a.test") == "421")
        #expect(try bench.status("wild.test", "through.wild.test") == "421")
        #expect(try bench.status("wild.test", "nobody.wild.test") == "503")
        #expect(try bench.status("wild.test", "nobody.test") == "421")
        // The default certificate is for whoever comes; a wrong name is right for who asked for it.
        #expect(try bench.status("plain.test", "plain.test", trusts: false) == "200")
        #expect(try bench.status(nil, "plain.test", trusts: false) == "200")
        #expect(try bench.status("plain.test", "a.test", trusts: false) == "200")
        #expect(try bench.status("wrong.test", "wrong.test", trusts: false) == "200")
        #expect(try bench.status("wrong.test", "plain.test", trusts: false) == "421")
        // One connection may change its mind as long as it may, and a new table is asked anew.
        let client = try bench.connect("wild.test")
        for host in ["wild.test", "x.wild.test", "wild.test"] {
            #expect(try client.get(host).head.first == "HTTP/1.1 200 OK")
        }
        bench.publish([("wild.test", TLSSnapshots.options("wild", minimum: .tls13))], secrets)
        #expect(try client.get("wild.test").head.first == "HTTP/1.1 421 Misdirected Request")
    }

    @Test func endsAreSaid() throws {
        let bench = try TLSBench { $0.keepAliveTimeoutMs = 300 }
        bench.publish([("a.test", TLSSnapshots.options("a"))], TLSSnapshots.secrets(bench.certificates, "a"))
        let idle = try bench.connect("a.test")
        _ = try idle.get("a.test")
        #expect(try idle.readToEnd() == .said)
        let last = try bench.connect("a.test")
        try last.write("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        #expect(try last.readAnswer().head.first == "HTTP/1.1 200 OK")
        #expect(try last.readToEnd() == .said)
        // Who says goodbye is answered.
        let polite = try bench.connect("a.test")
        try polite.closeNotify()
        #expect(try polite.readToEnd() == .said)
        #expect(eventually { bench.proxy.counters.total(.connectionsActive) == 0 })
    }

    /// Whether it ends with close_notify or not, half a body is no body.
    @Test(arguments: [true, false])
    func aBodyThatIsCutOffIsNotComplete(says: Bool) throws {
        let bench = try TLSBench()
        bench.publish([("a.test", TLSSnapshots.options("a"))], TLSSnapshots.secrets(bench.certificates, "a"))
        let client = try bench.connect("a.test")
        try client.write(
            "POST / HTTP/1.1\r\nHost: a.test\r\nX-Silent: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        #expect(eventually { bench.backend.requestCount(0) == 1 })
        if says { try client.closeNotify() }
        client.stream.shutdownWrite()
        #expect(eventually { bench.proxy.counters.total(.connectionsActive) == 0 })
        #expect(eventually { bench.backend.openCount(0) == 0 })
        #expect(bench.backend.lastTail == "5\r\nhello\r\n")
    }

    @Test func manyCertificatesAreSwappedUnderLoad() throws {
        let count = isLong ? 10_000 : 2000
        let bench = try TLSBench(workerCount: 2)
        var secrets = TLSSnapshots.secrets(bench.certificates, "a")
        bench.publish([("a.test", TLSSnapshots.options("a"))], secrets)
        let client = try bench.connect("a.test")
        for number in 0..<count {
            secrets.certificates["host-\(number).pem"] = bench.certificates.bulk(number)
        }
        let loaded = secrets
        let publisher = try Thread.start(name: "secrets") { [proxy = bench.proxy] in proxy.update(secrets: loaded) }
        // Requests and handshakes go on meanwhile, and nobody who reads the table waits.
        var requests = 0
        var slowestNs: UInt64 = 0
        let startNs = Clock.monotonicNs()
        while bench.proxy.tlsReport.certificates.count < count, Clock.monotonicNs() - startNs < 120_000_000_000 {
            let beganNs = Clock.monotonicNs()
            #expect(try client.get("a.test").head.first == "HTTP/1.1 200 OK")
            if requests % 50 == 0 { #expect(try bench.status("a.test", "a.test") == "200") }
            slowestNs = max(slowestNs, Clock.monotonicNs() - beganNs)
            requests += 1
        }
        let tookMs = (Clock.monotonicNs() - startNs) / 1_000_000
        publisher.join()
        if isLong { print("\(count) certificates in \(tookMs) ms, slowest request \(slowestNs / 1_000_000) ms") }
        #expect(bench.proxy.tlsReport.certificates.count == count + 1)
        #expect(requests > 20)
        #expect(eventually { bench.proxy.counters.total(.tableSwaps) == 4 })
        let name = "host-\(count - 1).bulk.test"
        let padded = "host-" + String(String(100_000 + count - 1).dropFirst()) + ".bulk.test"
        #expect(throws: (any Error).self) { try bench.connect(name, trusts: false) }
        #expect(try bench.status(padded, padded, trusts: false) == "503")
    }
}
