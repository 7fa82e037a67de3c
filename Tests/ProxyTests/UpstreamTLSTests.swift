// TLS to tasks through a running proxy: handshakes, whom they are kept for, and what becomes of requests when they
// fail.

@testable import Proxy
import Kernel
import Model
import Routing
import Support
import TLS
import Telemetry
import Testing
import Wire

private struct Certificates {
    let authority: TestAuthority
    let other: TestAuthority

    init() throws {
        authority = try TestAuthority()
        other = try TestAuthority()
        try authority.issue("web", names: "DNS:web.test,DNS:*.wild.test,IP:127.0.0.1")
        try authority.issue("expired", names: "DNS:web.test", days: -1)
    }

    func certificate(_ name: String = "web") throws -> TLSCertificate {
        try TLSCertificate(
            chainPEM: readFile("\(authority.folder)/\(name).pem"), keyPEM: readFile("\(authority.folder)/\(name).key"))
    }

    func secrets() throws -> SecretFiles {
        SecretFiles(secrets: [
            "ca": try readFile(authority.authorityFile), "other-ca": try readFile(other.authorityFile),
            "broken-ca": Array("no certificate".utf8),
        ])
    }
}

private let made = Result { () throws in try Certificates() }

private let unverified = BackendTLS()
private func required(_ ca: String = "ca", name: String? = nil) -> BackendTLS {
    BackendTLS(verifies: true, authorities: SecretReference(ca), serverName: name)
}

/// One service of these tasks, for every host.
private func snapshot(
    _ ports: [UInt16], _ tls: BackendTLS?, version: UInt64 = 1, _ change: (inout ServiceOptions) -> Void = { _ in }
) -> Snapshot {
    var options = ServiceOptions()
    options.backendTLS = tls
    change(&options)
    return Snapshot(
        order: SnapshotOrder(version: version),
        configuration: Configuration(
            services: [Service(id: "web", name: "web", options: options)],
            routes: [Route(host: .any, services: [0])]),
        endpoints: [
            ports.map {
                Upstream(id: "t\($0)", endpoint: Endpoint(address: IPAddress(v4: 0x7F00_0001), port: $0))
            }
        ])
}

/// A proxy and its tasks, stopped when they go.
private final class Lab {
    let proxy: ProxyServer
    let tasks: [TLSTask]

    init(_ tasks: [TLSTask], _ change: (inout ProxySettings) -> Void = { _ in }) throws {
        self.tasks = tasks
        proxy = try startProxy(workerCount: 1, change)
    }

    deinit {
        proxy.drain(timeoutMs: 200)
        proxy.waitUntilStopped()
        for task in tasks { task.stop() }
    }

    func publish(
        _ tls: BackendTLS?, version: UInt64 = 1, _ change: (inout ServiceOptions) -> Void = { _ in }
    ) throws {
        let before = proxy.counters.total(.tableSwaps)
        let snapshot = snapshot(tasks.map(\.port), tls, version: version, change)
        proxy.publish(snapshot, secrets: try made.get().secrets())
        guard eventually({ proxy.counters.total(.tableSwaps) > before }) else {
            throw LiveClient.Failure(description: "no swap")
        }
    }

    func client() throws -> LiveClient { try LiveClient(port: proxy.ports[0]) }
}

private func facts(_ head: PlainHead) -> String {
    ["x-connection", "x-resumed", "x-name"].map { head.values($0).first ?? "-" }.joined(separator: " ")
}

@Suite(.serialized) struct UpstreamTLSTests {
    @Test func oneHandshakeServesManyRequests() throws {
        let lab = try Lab([TLSTask(made.get().certificate())])
        try lab.publish(required())
        var client = try lab.client()
        for _ in 0..<20 {
            let answer = try client.ask("POST", "web.test", body: Array("hello".utf8))
            #expect(answer.head.first == "HTTP/1.1 200 OK" && answer.body == Array("hello".utf8))
            #expect(facts(answer.head) == "1 0 web.test")
        }
        let seen = lab.tasks[0].seen
        #expect(seen.connectionCount == 1 && seen.fullCount == 1 && seen.requests.count == 20)
        #expect(lab.proxy.counters.total(upstream: .fullTLS13) == 1)
        #expect(lab.proxy.counters.total(.upstreamConnectionsReused) == 19)
    }

    /// The session is the newest one, shown once; connections that idled away are ended properly.
    @Test func sessionsAreResumed() throws {
        let lab = try Lab([TLSTask(made.get().certificate())]) { $0.upstreamIdleTimeoutMs = 30 }
        try lab.publish(required())
        var client = try lab.client()
        for round in 1...4 {
            let answer = try client.ask("GET", "web.test")
            #expect(facts(answer.head) == "\(round) \(round == 1 ? 0 : 1) web.test")
            #expect(eventually { lab.proxy.counters.total(.upstreamConnectionsActive) == 0 })
        }
        #expect(lab.proxy.counters.total(upstream: .resumedTLS13) == 3)
        #expect(eventually { lab.tasks[0].seen.properEnds == 4 })
    }

    @Test func connectionsAreKeptForTheirName() throws {
        let lab = try Lab([TLSTask(made.get().certificate())])
        try lab.publish(required())
        var client = try lab.client()
        for (host, expected) in [
            ("web.test", "1 0 web.test"), ("a.wild.test", "2 0 a.wild.test"), ("WEB.Test:80", "1 0 web.test"),
            ("b.wild.test", "3 0 b.wild.test"), ("A.WILD.TEST.", "2 0 a.wild.test"), ("127.0.0.1", "4 0 "),
        ] { #expect(facts(try client.ask("GET", host).head) == expected, "\(host)") }
        // A label's name is one name for all hosts.
        try lab.publish(required(name: "web.test"), version: 2)
        for host in ["other.test", "web.test"] { #expect(facts(try client.ask("GET", host).head) == "5 0 web.test") }
    }

    /// Connections and sessions of another policy serve nobody.
    @Test func aNewPolicyBeginsAnew() throws {
        let lab = try Lab([TLSTask(made.get().certificate())])
        try lab.publish(unverified)
        var client = try lab.client()
        #expect(facts(try client.ask("GET", "web.test").head) == "1 0 web.test")
        try lab.publish(required(), version: 2)
        #expect(facts(try client.ask("GET", "web.test").head) == "2 0 web.test")
        // The same policy in another table is the same.
        try lab.publish(required(), version: 3)
        #expect(facts(try client.ask("GET", "web.test").head) == "2 0 web.test")
        try lab.publish(nil, version: 4)
        #expect(try client.ask("GET", "web.test").head.first == "HTTP/1.1 502 Bad Gateway")
    }

    @Test(arguments: [
        ("wrong name", "web", required(), "other.test", UpstreamFailure.tlsVerification, 1),
        ("wildcard two deep", "web", required(), "a.b.wild.test", .tlsVerification, 1),
        ("wrong address", "web", required(), "127.0.0.2", .tlsVerification, 1),
        ("wrong label", "web", required(name: "nobody.test"), "web.test", .tlsVerification, 1),
        ("wrong CA", "web", required("other-ca"), "web.test", .tlsVerification, 1),
        ("expired", "expired", required(), "web.test", .tlsVerification, 1),
        ("no CA", "web", required("absent"), "web.test", .tlsUnusable, 0),
        ("broken CA", "web", required("broken-ca"), "web.test", .tlsUnusable, 0),
    ])
    func whatIsNotVerifiedGetsNothing(
        _ name: String, certificate: String, tls: BackendTLS, host: String, failure: UpstreamFailure, connections: Int
    ) throws {
        let lab = try Lab([TLSTask(made.get().certificate(certificate))])
        try lab.publish(tls)
        var client = try lab.client()
        let answer = try client.ask("POST", host, body: [1, 2, 3])
        #expect(answer.head.first == "HTTP/1.1 502 Bad Gateway", "\(name)")
        #expect(lab.proxy.counters.total(failure) == 1, "\(name)")
        #expect(lab.tasks[0].seen.connectionCount == connections)
        #expect(lab.tasks[0].seen.requests == [])
        // It is not the task's fault alone: without verification it serves.
        try lab.publish(unverified, version: 2)
        var second = try lab.client()
        #expect(try second.ask("POST", host, body: [1, 2, 3]).body == [1, 2, 3], "\(name)")
    }

    /// Nothing was sent: any request goes to another task.
    @Test(arguments: [
        (TLSTask.Manner.closesInHandshake, UpstreamFailure.tlsHandshake, "502"),
        (.resetsInHandshake, .tlsHandshake, "502"), (.answersPlainly, .tlsPlaintext, "502"),
        (.isSilent, .connectTimeout, "504"),
    ])
    func aFailedHandshakeGoesToAnotherTask(manner: TLSTask.Manner, failure: UpstreamFailure, status: String) throws {
        let certificate = try made.get().certificate()
        let lab = try Lab([TLSTask(certificate, manner: manner), TLSTask(certificate)]) {
            $0.connectTimeoutMs = 300
        }
        try lab.publish(required())
        var client = try lab.client()
        let body = [UInt8](repeating: 7, count: 5000)
        for _ in 0..<4 {
            let answer = try client.ask("POST", "web.test", body: body)
            #expect(answer.head.first == "HTTP/1.1 200 OK" && answer.body == body)
        }
        #expect(lab.proxy.counters.total(failure) > 0)
        #expect(lab.tasks[1].seen.requests.count == 4)
        let alone = try Lab([TLSTask(certificate, manner: manner)]) { $0.connectTimeoutMs = 300 }
        try alone.publish(required())
        var other = try alone.client()
        #expect(try other.ask("POST", "web.test", body: body).head.first.hasPrefix("HTTP/1.1 \(status)"))
        #expect(alone.proxy.counters.total(failure) == 1)
    }

    /// What a client asked for in vain takes no task from the others.
    @Test func aNameThatFailsIsNoStrike() throws {
        let lab = try Lab([TLSTask(made.get().certificate())])
        try lab.publish(required())
        var client = try lab.client()
        for _ in 0..<5 { #expect(try client.ask("GET", "other.test").head.first.contains("502")) }
        #expect(try client.ask("GET", "web.test").head.first == "HTTP/1.1 200 OK")
    }

    @Test func largeBodiesPassBothWays() throws {
        let lab = try Lab([TLSTask(made.get().certificate())])
        try lab.publish(required())
        var client = try lab.client()
        var random = SeededRandom(seed: 5)
        let body = random.bytes(6 << 20)
        for _ in 0..<2 {
            let answer = try client.ask("PUT", "web.test", body: body)
            #expect(answer.body == body)
        }
        #expect(lab.tasks[0].seen.connectionCount == 1)
    }

    @Test func anEndMustBeSaid() throws {
        let lab = try Lab([TLSTask(made.get().certificate())])
        try lab.publish(required())
        var client = try lab.client()
        let answer = try client.ask("GET", "web.test", "/until-notify")
        #expect(String(decoding: answer.body, as: UTF8.self) == "to the end")
        #expect(throws: LiveClient.Failure.self) { try client.ask("GET", "web.test", "/until-cut") }
        #expect(lab.proxy.counters.total(.truncated) == 1)
    }

    /// The request was sent, so only what may be repeated is.
    @Test func aTaskThatHangsUpIsAnsweredFor() throws {
        let certificate = try made.get().certificate()
        let lab = try Lab([TLSTask(certificate), TLSTask(certificate)])
        try lab.publish(required())
        var client = try lab.client()
        #expect(try client.ask("POST", "web.test", "/hang-up", body: [1]).head.first.contains("502"))
        #expect(lab.tasks[0].seen.requests.count + lab.tasks[1].seen.requests.count == 1)
        #expect(try client.ask("GET", "web.test", "/hang-up").head.first.contains("502"))
        #expect(lab.tasks[0].seen.requests.count + lab.tasks[1].seen.requests.count == 3)
    }

    @Test func tunnelsCarryBytesBothWays() throws {
        let lab = try Lab([TLSTask(made.get().certificate())])
        try lab.publish(required())
        var client = try lab.client()
        try client.upgrade("web.test")
        var random = SeededRandom(seed: 6)
        for size in [1, 100, 20_000, 1 << 20] {
            let bytes = random.bytes(size)
            #expect(try client.echo(bytes) == bytes)
        }
        client.stream.shutdownWrite()
        #expect(eventually { lab.proxy.counters.total(.tunnelsActive) == 0 })
    }

    @Test func theProxyHeaderGoesBeforeTLS() throws {
        let lab = try Lab([TLSTask(made.get().certificate(), expectsPrelude: true)])
        try lab.publish(required()) { $0.proxyProtocol = .v1 }
        var client = try lab.client()
        for _ in 0..<2 { #expect(try client.ask("POST", "web.test", body: [9]).body == [9]) }
        let seen = lab.tasks[0].seen
        #expect(seen.preludes.count == 2)
        #expect(seen.preludes.allSatisfy { $0.hasPrefix("PROXY TCP4 127.0.0.1 127.0.0.1 ") })
        #expect(seen.names == ["web.test", "web.test"] && seen.resumedCount == 1)
    }
}

@Suite struct TLSTargetTests {
    @Test func targetsAreBounded() throws {
        let policy = try TLSClientPolicy(TLSClientSettings(verifies: false))
        let other = try TLSClientPolicy(TLSClientSettings(verifies: false))
        var targets = TLSTargets()
        var state = UpstreamState(identity: 1, endpoint: Endpoint(address: IPAddress(v4: 1), port: 1))
        func find(_ name: String, _ policy: TLSClientPolicy, isNamed: Bool = false) -> UInt32 {
            withUnsafeMutablePointer(to: &state) { state in
                Array(name.utf8).withUnsafeBytes {
                    targets.find(policy, host: Bytes($0), isNamed: isNamed, of: state)
                }
            }
        }
        let first = find("used.test", policy)
        targets[first].pointee.connectionCount = 1
        #expect(find("USED.test", policy) == first)
        #expect(find("used.test", other) != first)
        #expect(find("used.test", policy, isNamed: true) != first)
        #expect(find("used.tes", policy) != first)
        for number in 0..<200 { _ = find("\(number).test", policy) }
        #expect(targets.count <= 33)
        #expect(find("used.test", policy) == first)
        let kept = find("199.test", policy)
        _ = find("200.test", policy)
        #expect(find("199.test", policy) == kept)
        withUnsafeMutablePointer(to: &state) { targets.forgetUnused(of: $0, keeping: [nil, other]) }
        #expect(targets.count == 1)
        targets[first].pointee.connectionCount = 0
        withUnsafeMutablePointer(to: &state) { targets.forgetAll(of: $0) }
        #expect(targets.count == 0 && state.firstTarget == Slab<TLSTarget>.none)
    }

    @Test(arguments: [
        ("a.test", "a.test"), ("a.test:80", "a.test"), ("A.test.:80", "A.test"), ("[::1]:80", "::1"), ("[::1]", "::1"),
        ("127.0.0.1:1", "127.0.0.1"), ("", ""), (":80", ""), ("[", ""),
    ])
    func hostsAreNames(authority: String, name: String) {
        let found = Array(authority.utf8).withUnsafeBytes { HostText.name(in: Bytes($0)).string() }
        #expect(found == name)
    }
}
