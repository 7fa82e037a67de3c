// What holds for hosts and entry ports in a compiled table, against the rules written down naively, and the numbers of
// what only they use.

import Support
import Model
import Routing
import Testing

extension RouteTable {
    fileprivate func host(_ name: String) -> Int32 { Array(name.utf8).withUnsafeBytes { host($0) } }

    fileprivate func rules(_ name: String) -> HostRules? {
        let found = host(name)
        return found < 0 ? nil : hostRules(found)
    }

    fileprivate func redirect(_ index: Int32) -> String? {
        index < 0 ? nil : String(decoding: redirectTarget(index), as: UTF8.self)
    }

    fileprivate func streamHost(port: UInt16, _ name: String) -> StreamHostEntry? {
        let stream = stream(port: port)
        guard stream >= 0 else { return nil }
        return Array(name.utf8).withUnsafeBytes { streamHost(stream, serverName: $0) }
    }

    fileprivate func services(ofPool index: Int32) -> Set<Int32> {
        let pool = pool(index)
        return Set((0..<pool.memberCount).map { member(pool.firstMember + $0).service })
    }
}

/// `count` services with a ready upstream each, number for number.
private func services(_ count: Int) -> Snapshot {
    Snapshot(
        configuration: Configuration(services: (0..<count).map { Service(id: "id\($0)", name: "service\($0)") }),
        endpoints: (0..<count).map {
            [Upstream(id: "task\($0)", endpoint: Endpoint(address: IPAddress(v4: UInt32($0 + 1)), port: 80))]
        })
}

private func certificate(_ name: String) -> TLSOptions {
    TLSOptions(certificates: [CertificateReference(certificate: SecretReference(name))])
}

private func special() -> Snapshot {
    var snapshot = services(5)
    var options = certificate("b")
    options.minimumVersion = .tls13
    snapshot.configuration.routes = [
        Route(host: .exact("a.test"), requiresTLS: true, hsts: "max-age=1; preload", services: [0]),
        Route(host: .exact("a.test"), pathPrefix: "/open", services: [1]),
        Route(host: .exact("b.test"), pathPrefix: "/b", hsts: "max-age=2", services: [1]),
        Route(host: .exact("c.test"), services: [1]), Route(host: .wildcard("w.test"), services: [2]),
        Route(host: .any, services: [3]),
    ]
    snapshot.configuration.hosts = [
        HostOptions(host: .exact("a.test"), tls: certificate("a")),
        HostOptions(
            host: .exact("b.test"), tls: options,
            redirects: [HostRedirect(scheme: .https, target: "http://elsewhere.test")]),
        HostOptions(
            host: .exact("only.test"),
            redirects: [
                HostRedirect(scheme: .http, target: "https://a.test"),
                HostRedirect(scheme: .https, target: "https://a.test/x"),
            ]),
        HostOptions(host: .exact("p.test"), passthrough: [3, 4]),
        HostOptions(host: .wildcard("p.test"), passthrough: [4]),
        HostOptions(host: .wildcard("w.test"), tls: certificate("a")), HostOptions(host: .any, tls: options),
    ]
    return snapshot
}

@Test func hostsHaveTheirOwnRules() throws {
    let table = compile(special())
    #expect(table.tlsOptions.count == 3 && table.tlsOptions[0] == TLSOptions())
    func tls(_ name: String) -> TLSOptions? { table.rules(name).map { table.tlsOptions[Int($0.tlsOptions)] } }
    #expect(tls("A.Test") == certificate("a"))
    #expect(tls("x.W.test") == certificate("a"))
    #expect(tls("c.test") == TLSOptions())
    #expect(tls("b.test") == tls("nobody.test") && tls("b.test")?.minimumVersion == .tls13)
    #expect(tls("w.test") == tls("nobody.test"))
    #expect(tls("") == tls("nobody.test"))
    let passed = try #require(table.rules("p.test"))
    #expect(table.services(ofPool: passed.passthroughPool) == [3, 4])
    let below = try #require(table.rules("deep.x.p.test"))
    #expect(table.services(ofPool: below.passthroughPool) == [4])
    #expect(["a.test", "b.test", "only.test", "other.test"].allSatisfy { table.rules($0)?.passthroughPool == -1 })
    #expect(table.redirect(table.rules("b.test")?.httpsRedirect ?? -1) == "http://elsewhere.test")
    #expect(table.rules("b.test")?.httpRedirect == -1)
    #expect(table.redirect(table.rules("only.test")?.httpRedirect ?? -1) == "https://a.test")
    #expect(table.redirect(table.rules("only.test")?.httpsRedirect ?? -1) == "https://a.test/x")
    #expect(compile(Snapshot()).rules("a.test") == nil)
}

@Test("a host that only has options has no paths, and the default backend does not answer for it")
func hostsWithoutRoutes() {
    let table = compile(special())
    for host in ["p.test", "x.p.test", "only.test"] {
        #expect(table.lookup(host, "/") == .unknownPath)
        #expect(table.lookup(host, "/deep/er") == .unknownPath)
    }
    #expect(table.lookup("other.test", "/") == .route(5))
    #expect(table.lookup("b.test", "/") == .unknownPath)
    var snapshot = services(1)
    snapshot.configuration.hosts = [HostOptions(host: .any, passthrough: [0])]
    let any = compile(snapshot)
    #expect(any.lookup("x.test", "/") == .unknownPath)
    #expect(any.rules("x.test").map { any.services(ofPool: $0.passthroughPool) } == [0])
}

@Test func routesSayWhatTheyAskOfTLS() {
    let table = compile(special())
    func route(_ host: String, _ path: String) -> RouteEntry? {
        if case .route(let index) = table.lookup(host, path) { return table.route(index) }
        return nil
    }
    func hsts(_ route: RouteEntry?) -> String? { route.map { String(decoding: table.hsts(of: $0), as: UTF8.self) } }
    #expect(route("a.test", "/")?.requiresTLS == true && route("a.test", "/open/x")?.requiresTLS == false)
    #expect(hsts(route("a.test", "/")) == "max-age=1; preload")
    #expect(hsts(route("a.test", "/open")) == "")
    #expect(hsts(route("b.test", "/b/c")) == "max-age=2")
    #expect(
        route("b.test", "/b").map { table.hostRules($0.host).httpsRedirect } == table.rules("b.test")?.httpsRedirect)
    #expect(table.found("a.test", "/open/x") == "/open")
}

// MARK: Entry ports

private func ports() -> Snapshot {
    var snapshot = services(6)
    snapshot.configuration.streams = [
        StreamPort(port: 5432, services: [0, 1]),
        StreamPort(
            port: 6000,
            hosts: [
                StreamHost(host: .exact("a.test"), services: [2], tls: certificate("a")),
                StreamHost(host: .exact("x.w.test"), services: [3]),
                StreamHost(host: .wildcard("w.test"), services: [4], tls: TLSOptions()),
                StreamHost(host: .any, services: [5]),
            ]),
        StreamPort(port: 6001, hosts: [StreamHost(host: .exact("a.test"), services: [3, 4])]),
    ]
    return snapshot
}

@Test func entryPortsLeadByServerName() throws {
    let table = compile(ports())
    #expect(table.streamCount == 3 && table.stream(port: 443) == -1)
    let raw = table.stream(table.stream(port: 5432))
    #expect(raw.port == 5432 && table.services(ofPool: raw.rawPool) == [0, 1])
    #expect(table.stream(table.stream(port: 6000)).rawPool == -1)
    func found(_ port: UInt16, _ name: String) -> String {
        guard let entry = table.streamHost(port: port, name) else { return "none" }
        let services = table.services(ofPool: entry.pool).sorted().map { "\($0)" }.joined(separator: ",")
        let options = entry.tlsOptions < 0 ? nil : table.tlsOptions[Int(entry.tlsOptions)]
        return services + (options.map { " tls \($0.certificates.count)" } ?? "")
    }
    #expect(found(6000, "a.test") == "2 tls 1" && found(6000, "A.TEST") == "2 tls 1")
    #expect(found(6000, "x.w.test") == "3" && found(6000, "y.x.w.test") == "4 tls 0")
    #expect(found(6000, "w.test") == "5" && found(6000, "") == "5" && found(6000, ".w.test") == "5")
    #expect(found(6000, "b.test") == "5" && found(6000, String(repeating: "a.", count: 120) + "w.test") == "4 tls 0")
    #expect(found(6001, "a.test") == "3,4")
    #expect(found(6001, "x.w.test") == "none" && found(6001, "") == "none" && found(6001, "b.test") == "none")
    #expect(found(5432, "a.test") == "none")
}

@Test("server names of ports agree with the naive rules", arguments: 0..<60)
func serverNamesAgreeWithNaiveRules(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed + 900))
    let labels = ["a", "b", "ab", "longer-label-0", "x"]
    func name() -> String {
        (0..<Int.random(in: 1...4, using: &random)).map { _ in labels.randomElement(using: &random)! }
            .joined(separator: ".")
    }
    var snapshot = services(20)
    var ports: [UInt16: [HostPattern: Int]] = [:]
    for port in UInt16(1)...3 {
        for service in 0..<Int.random(in: 0...12, using: &random) {
            let pattern: HostPattern =
                switch Int.random(in: 0..<8, using: &random) {
                case 0: .any
                case 1...3: .wildcard(name())
                default: .exact(name())
                }
            if ports[port]?[pattern] == nil { ports[port, default: [:]][pattern] = service }
        }
        let hosts = (ports[port] ?? [:]).sorted { $0.key < $1.key }.map {
            StreamHost(host: $0.key, services: [$0.value])
        }
        snapshot.configuration.streams.append(StreamPort(port: port, hosts: hosts))
        // The same patterns as hosts of requests, in another table.
        if port == 1 {
            snapshot.configuration.hosts = hosts.map { HostOptions(host: $0.host, passthrough: $0.services) }
        }
    }
    let table = compile(snapshot)
    for _ in 0..<300 {
        let port = UInt16.random(in: 1...3, using: &random)
        let name = Int.random(in: 0..<20, using: &random) == 0 ? "" : name()
        let asked = Bool.random(using: &random) ? name : name.uppercased()
        let expected = naivePattern(Array((ports[port] ?? [:]).keys), host: name).flatMap { ports[port]?[$0] }
        let found = table.streamHost(port: port, asked).flatMap { table.services(ofPool: $0.pool).first }
        #expect(found == expected.map { Int32($0) }, "\(port) \(asked)")
        guard port == 1 else { continue }
        let passed = table.rules(asked).flatMap { table.services(ofPool: $0.passthroughPool).first }
        #expect(passed == expected.map { Int32($0) }, "\(asked)")
    }
}

private func naivePattern(_ patterns: [HostPattern], host: String) -> HostPattern? {
    patterns.compactMap { pattern -> (HostPattern, Int)? in
        switch pattern {
        case .exact(let name): name == host && !host.isEmpty ? (pattern, 1000) : nil
        case .wildcard(let suffix):
            host.hasSuffix("." + suffix) && host.count > suffix.count + 1 ? (pattern, suffix.count) : nil
        case .any: (pattern, -1)
        }
    }.max { $0.1 < $1.1 }?.0
}

// MARK: Numbers

@Test func tasksOfHostsAndPortsAreUpstreamsLikeAllOthers() {
    var numbering = Numbering()
    var snapshot = services(3)
    snapshot.configuration.hosts = [HostOptions(host: .exact("p.test"), passthrough: [0, 1])]
    snapshot.configuration.streams = [
        StreamPort(port: 1, services: [1]), StreamPort(port: 2, hosts: [StreamHost(host: .any, services: [0, 1])]),
        StreamPort(port: 3, services: [2]),
    ]
    let first = RouteTable(compiling: snapshot, version: 1, numbering: &numbering)
    #expect(first.upstreamIdentities == [1, 2, 3])
    #expect((1...3).allSatisfy { first.isReady($0) })
    let passed = first.rules("p.test")?.passthroughPool ?? -1
    #expect(first.streamHost(port: 2, "")?.pool == passed)
    let pools = [passed, first.stream(0).rawPool, first.stream(2).rawPool]
    #expect(Set(pools).count == 3 && first.poolCount == 3)
    let slots = pools.map { first.pool($0).cursorSlot }
    #expect(Set(slots).count == 3 && slots.allSatisfy { Int($0) < first.cursorCount })
    // A task drains, another goes; the pools keep their turn.
    snapshot.endpoints[0][0].state = .draining
    snapshot.endpoints[2] = []
    let second = RouteTable(compiling: snapshot, version: 2, numbering: &numbering)
    #expect(second.removed(since: first) == [1, 3] && second.gone(since: first) == [3])
    #expect(!second.isReady(1) && second.isReady(2))
    #expect(second.services(ofPool: second.rules("p.test")?.passthroughPool ?? -1) == [1])
    #expect(second.pool(second.stream(2).rawPool).memberCount == 0)
    #expect(second.pool(second.stream(2).rawPool).service == 2)
    #expect(
        [second.rules("p.test")?.passthroughPool ?? -1, second.stream(0).rawPool].map { second.pool($0).cursorSlot }
            == Array(slots[..<2]))
}

@Test func servicesSayHowTheirTasksSpeakTLS() {
    var snapshot = services(4)
    let verified = BackendTLS(verifies: true, authorities: SecretReference("ca", stack: "s"), serverName: "t.test")
    for (index, backend) in [verified, nil, BackendTLS(), verified].enumerated() {
        snapshot.configuration.services[index].options.backendTLS = backend
    }
    let table = compile(snapshot)
    #expect(table.backendTLS == [verified, BackendTLS()])
    #expect((0..<4).map { table.service($0).backendTLS } == [0, -1, 1, 0])
}

@Test func unsoundHostsAndPortsTrapNowhere() {
    var snapshot = services(1)
    snapshot.configuration.hosts = [
        HostOptions(host: .exact("")), HostOptions(host: .wildcard("")),
        HostOptions(host: .exact("a.test"), passthrough: [7]),
        HostOptions(host: .exact("b.test"), passthrough: [-1, 0]), HostOptions(host: .exact("b.test")),
    ]
    snapshot.configuration.streams = [
        StreamPort(port: 0), StreamPort(port: 5, services: [9]), StreamPort(port: 5, services: [0]),
        StreamPort(
            port: 6,
            hosts: [
                StreamHost(host: .any, services: []), StreamHost(host: .any, services: [0]),
                StreamHost(host: .any, services: [0]), StreamHost(host: .exact(""), services: [0]),
                StreamHost(host: .exact("a.test"), services: [0]), StreamHost(host: .exact("a.test"), services: [3]),
                StreamHost(host: .wildcard(""), services: [0]),
            ]),
    ]
    #expect(!snapshot.problems().isEmpty)
    let table = compile(snapshot)
    #expect(table.rules("a.test")?.passthroughPool == -1)
    #expect(table.stream(table.stream(port: 5)).rawPool == -1)
    #expect(table.streamHost(port: 5, "a.test") == nil)
    #expect(table.streamHost(port: 6, "a.test").map { table.services(ofPool: $0.pool) } == [0])
    #expect(table.streamHost(port: 6, "") != nil && table.streamHost(port: 6, ".") != nil)
    #expect(table.streamHost(port: 0, "a.test") == nil)
}
