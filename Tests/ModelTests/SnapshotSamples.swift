// Snapshots to write and read again: one in which every field says something, and as many as a seed can make.

import Model
import Support

/// Every field of every type differs from its default; every list has an element.
func richSnapshot() -> Snapshot {
    var options = ServiceOptions()
    options.connectTimeoutMs = 1
    options.responseTimeoutMs = 2
    options.idleTimeoutMs = 3
    options.tunnelTimeoutMs = 4
    options.retries = 5
    options.retryStatuses = [502, 503]
    options.maxBodySize = .max
    options.proxyProtocol = .v2
    options.backendTLS = BackendTLS(verifies: true, authorities: .init("ca", stack: "s"), serverName: "tasks.test")
    options.weight = 6
    options.slowStartMs = 7
    options.maxFails = 8
    options.failTimeoutMs = 9
    options.health = HealthCheck(
        mode: .tcp, path: "/health", intervalMs: 10, timeoutMs: 11, statuses: [200...204, 300...399], port: 12,
        rise: 13,
        fall: 14)
    options.holdMs = 15
    options.maxConnections = 16
    options.queueTimeoutMs = 17
    let tls = TLSOptions(
        certificates: [.init(certificate: .init("cert", stack: "s"), key: .init("key"))], minimumVersion: .tls13,
        clientAuthentication: .init(demand: .optional, authorities: .init("clients")))
    let configuration = Configuration(
        services: [
            Service(
                id: "id-a", name: "a", stack: "s", cluster: "c", source: .swarm, backendMode: .vip,
                desiredTaskCount: 3, options: options),
            Service(id: "id-b", name: "b"), Service(id: "id-c", name: "c", source: .config),
        ],
        routes: [
            Route(
                host: .exact("a.test"), pathPrefix: "/app", rewritesPrefix: true, pathPolicy: .raw, requiresTLS: true,
                hsts: "max-age=1",
                conditions: .init(headers: [.init(name: "x-a"), .init(name: "x-b", value: "1")], methods: ["GET"]),
                balancing: .init(method: .leastConnections, key: .cookie("SID")), services: [0, 2]),
            Route(host: .wildcard("test"), balancing: .init(key: .header("x-user")), services: [1]),
            Route(host: .any, balancing: .init(key: .clientAddress), services: [1]),
        ],
        hosts: [
            HostOptions(host: .exact("a.test"), tls: tls, redirects: [.init(scheme: .http, target: "https://b.test")]),
            HostOptions(
                host: .exact("p.test"), passthrough: [1], balancing: .init(method: .random, key: .clientAddress)),
        ],
        streams: [
            StreamPort(port: 5432, services: [0], balancing: .init(method: .leastConnections)),
            StreamPort(
                port: 6379,
                hosts: [
                    StreamHost(host: .exact("r.test"), services: [1], balancing: .init(method: .random), tls: tls),
                    StreamHost(host: .any, services: [2]),
                ]),
        ])
    return Snapshot(
        order: SnapshotOrder(clusterID: "swarm", version: 42, listedAtNs: 43), configuration: configuration,
        endpoints: [
            [
                Upstream(id: "task-1", endpoint: endpoint("10.0.0.1:8080"), state: .draining),
                Upstream(id: "task-2", endpoint: endpoint("[2001:db8::1]:443"), state: .pending),
            ], [], [Upstream(id: "task-3", endpoint: endpoint("255.255.255.255:65535"))],
        ],
        diagnostics: [
            Diagnostic(severity: .warning, service: "a", label: "hosts", value: "A.test", message: "is doubtful")
        ])
}

func richSecrets() -> SecretFiles {
    SecretFiles(
        secrets: ["cert": [1, 2, 3], "key": [], "s_cert": [255]], certificates: ["x.pem": [4], "x.key": [5]],
        defaultCertificate: [6], defaultKey: [7], defaultStaple: [8], ticketKey: [9],
        failures: ["clients": "is missing"])
}

func endpoint(_ text: String) -> Endpoint {
    Endpoint(text) ?? Endpoint(address: IPAddress(v4: 0), port: 1)
}

/// `count` services as clusters have them: a route and some tasks each.
func plainSnapshot(_ count: Int, tasks: Int = 3) -> Snapshot {
    var snapshot = Snapshot(order: SnapshotOrder(clusterID: "swarm", version: 7, listedAtNs: 8))
    for index in 0..<count {
        let number = String(100_000 + index)
        snapshot.configuration.services.append(
            Service(
                id: "service-\(number)-0123456789", name: "shop_web\(number)", stack: "shop", source: .swarm,
                desiredTaskCount: tasks))
        snapshot.configuration.routes.append(Route(host: .exact("web\(number).example.com"), services: [index]))
        snapshot.endpoints.append(
            (0..<tasks).map { task in
                Upstream(
                    id: "task-\(number)-\(10_000 + task)-012345",
                    endpoint: Endpoint(address: IPAddress(v4: 0x0A00_0000 + UInt32(index * 8 + task)), port: 8080))
            })
    }
    return snapshot
}

/// Sound snapshots out of a seed.
struct SnapshotGenerator {
    var random: SeededRandom

    mutating func snapshot() -> Snapshot {
        let count = random.oneIn(8) ? 0 : random.number(1...60)
        var services = (0..<count).map { service($0) }
        services.sort { $0.precedes($1) }
        let hosts = (0..<random.number(1...40)).map { _ in host() }
        var snapshot = Snapshot(
            order: SnapshotOrder(clusterID: text(), version: random.next(), listedAtNs: random.next()))
        snapshot.configuration.services = services
        snapshot.endpoints = services.map { upstreams($0.id) }
        if count > 0 {
            snapshot.configuration.routes = Set(hosts).map { route($0, count) }.sorted { $0.precedes($1) }
            let streams = Set((0..<random.number(0...6)).map { _ in UInt16(random.number(1...65535)) }).sorted()
            snapshot.configuration.streams = streams.map { stream($0, count) }
        }
        snapshot.configuration.hosts = Set((0..<random.number(0...20)).map { _ in host() }).sorted().map { host in
            HostOptions(host: host, balancing: balancing(), tls: tls(), redirects: redirects())
        }
        snapshot.diagnostics = (0..<random.number(0...10)).map { _ in
            Diagnostic(
                severity: random.choice(Diagnostic.Severity.allCases), service: text(), label: text(), value: text(),
                message: text())
        }
        return snapshot
    }

    mutating func secrets() -> SecretFiles {
        var secrets = SecretFiles()
        for _ in 0..<random.number(0...30) { secrets.secrets[name()] = random.bytes(random.number(0...300)) }
        for _ in 0..<random.number(0...10) { secrets.certificates[name()] = random.bytes(random.number(0...300)) }
        for _ in 0..<random.number(0...5) { secrets.failures[name()] = text() }
        if random.oneIn(2) { secrets.defaultCertificate = random.bytes(20) }
        if random.oneIn(2) { secrets.defaultKey = random.bytes(20) }
        if random.oneIn(2) { secrets.defaultStaple = [] }
        if random.oneIn(2) { secrets.ticketKey = random.bytes(48) }
        return secrets
    }

    // MARK: Parts

    private mutating func text() -> String {
        random.choice(["", "a", "näh", "\u{0}\u{7F}", "日本", "x;{}$\"\n", String(repeating: "long", count: 60)])
    }

    private mutating func name() -> String { "n\(random.number(0...1_000_000))" }

    private mutating func host() -> HostPattern {
        switch random.number(0...9) {
        case 0: .any
        case 1...3: .wildcard("\(name()).test")
        default: .exact("\(name()).test")
        }
    }

    private mutating func service(_ index: Int) -> Service {
        var options = ServiceOptions()
        if random.oneIn(2) {
            options.connectTimeoutMs = duration()
            options.responseTimeoutMs = duration()
            options.idleTimeoutMs = duration()
            options.tunnelTimeoutMs = duration()
            options.retries = duration()
            options.retryStatuses = random.choice([[], [500], [502, 503, 504]])
            options.maxBodySize = random.choice([nil, 0, .max])
            options.proxyProtocol = random.choice([nil, .v1, .v2])
            options.backendTLS =
                random.oneIn(2)
                ? BackendTLS(
                    verifies: random.oneIn(2), authorities: reference(), serverName: random.choice([nil, "x"]))
                : nil
            options.weight = duration()
            options.slowStartMs = duration()
            options.maxFails = duration()
            options.failTimeoutMs = duration()
            options.health =
                random.oneIn(2)
                ? HealthCheck(mode: random.choice([.http, .tcp]), path: text(), port: random.choice([nil, 1, .max]))
                : nil
            options.holdMs = duration()
            options.maxConnections = duration()
            options.queueTimeoutMs = duration()
        }
        return Service(
            id: "\(name())-\(index)", name: name(), stack: text(), cluster: text(),
            source: random.choice(ServiceSource.allCases), backendMode: random.choice(BackendMode.allCases),
            desiredTaskCount: duration(), options: options)
    }

    private mutating func duration() -> Int? { random.choice([nil, 0, 1, 127, 128, 5000, 1 << 31, 1 << 40]) }

    private mutating func reference() -> SecretReference? {
        random.choice([nil, SecretReference(names: []), SecretReference("x"), SecretReference("x", stack: "s")])
    }

    private mutating func upstreams(_ service: String) -> [Upstream] {
        let count = random.oneIn(10) ? random.number(60...400) : random.number(0...4)
        return (0..<count).map { index in
            let address =
                random.oneIn(3)
                ? IPAddress(v6High: random.next() | 1, low: random.next())
                : IPAddress(v4: UInt32(truncatingIfNeeded: random.next()))
            return Upstream(
                id: "\(service)-\(1000 + index)",
                endpoint: Endpoint(address: address, port: UInt16(random.number(1...65535))),
                state: random.choice(UpstreamState.allCases))
        }
    }

    private mutating func positions(_ count: Int) -> [Int] {
        let few = Set((0..<random.number(1...4)).map { _ in random.number(0...count - 1) })
        return few.sorted()
    }

    private mutating func balancing() -> Balancing {
        Balancing(
            method: random.choice(Balancing.Method.allCases),
            key: random.choice([nil, .clientAddress, .cookie("c"), .header("h")]))
    }

    private mutating func tls() -> TLSOptions {
        TLSOptions(
            certificates: (0..<random.number(0...3)).map { index in
                CertificateReference(certificate: SecretReference("c\(index)"), key: reference())
            }, minimumVersion: random.choice([nil, .tls12, .tls13]),
            clientAuthentication: random.oneIn(3)
                ? ClientAuthentication(demand: random.choice([.required, .optional]), authorities: .init("ca")) : nil)
    }

    private mutating func redirects() -> [HostRedirect] {
        random.choice([[], [.init(scheme: .https, target: "http://x")]])
    }

    private mutating func route(_ host: HostPattern, _ count: Int) -> Route {
        Route(
            host: host, pathPrefix: random.choice(["/", "/a", "/a/b"]), rewritesPrefix: random.oneIn(2),
            pathPolicy: random.choice(PathPolicy.allCases), requiresTLS: random.oneIn(2),
            hsts: random.choice([nil, "max-age=1"]),
            conditions: random.choice([
                .init(), .init(headers: [.init(name: "x"), .init(name: "x", value: text())], methods: ["A", "B"]),
            ]),
            balancing: balancing(), services: positions(count))
    }

    private mutating func stream(_ port: UInt16, _ count: Int) -> StreamPort {
        guard random.oneIn(2) else {
            return StreamPort(port: port, services: positions(count), balancing: balancing())
        }
        let hosts = Set((0..<random.number(1...5)).map { _ in host() }).sorted()
        return StreamPort(
            port: port,
            hosts: hosts.map { host in
                StreamHost(
                    host: host, services: positions(count), balancing: balancing(), tls: random.oneIn(2) ? tls() : nil)
            })
    }
}
