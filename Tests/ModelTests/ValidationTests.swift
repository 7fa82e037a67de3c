// A sound snapshot has no problems; each way to break one is found and nothing traps.

import Model
import Testing

private func sound() -> Snapshot {
    let upstream = { (id: String) in
        Upstream(id: id, endpoint: Endpoint(address: IPAddress(v4: 1), port: 80))
    }
    return Snapshot(
        configuration: Configuration(
            services: [Service(id: "2", name: "a"), Service(id: "1", name: "b"), Service(id: "3", name: "b")],
            routes: [
                Route(host: .exact("a.test"), services: [0, 2]),
                Route(host: .exact("a.test"), pathPrefix: "/app", services: [1]),
                Route(host: .wildcard("a.test"), services: [1]), Route(host: .any, hsts: "max-age=1", services: [2]),
            ],
            hosts: [
                HostOptions(
                    host: .exact("a.test"),
                    tls: TLSOptions(
                        certificates: [
                            CertificateReference(certificate: SecretReference("ecdsa", stack: "shop")),
                            CertificateReference(
                                certificate: SecretReference("rsa"), key: SecretReference("rsa-key")),
                        ], minimumVersion: .tls13,
                        clientAuthentication: .init(demand: .required, authorities: SecretReference("ca"))),
                    redirects: [
                        HostRedirect(scheme: .http, target: "https://a.test"),
                        HostRedirect(scheme: .https, target: "https://b.test:8443/x"),
                    ]),
                HostOptions(host: .exact("p.test"), passthrough: [0, 1]),
            ],
            streams: [
                StreamPort(port: 5432, services: [0, 2]),
                StreamPort(
                    port: 6000,
                    hosts: [
                        StreamHost(host: .exact("a.test"), services: [1], tls: TLSOptions()),
                        StreamHost(host: .any, services: [0, 1]),
                    ]),
            ]), endpoints: [[upstream("t1"), upstream("t2")], [], [upstream("t3")]])
}

@Test func aSoundSnapshotHasNoProblems() {
    #expect(sound().problems() == [])
    #expect(Snapshot().problems() == [])
}

/// One way to break a sound snapshot.
struct Breakage: Sendable, CustomStringConvertible {
    let description: String
    let apply: @Sendable (inout Snapshot) -> Void

    init(_ description: String, _ apply: @escaping @Sendable (inout Snapshot) -> Void) {
        self.description = description
        self.apply = apply
    }
}

private let breakages: [Breakage] = [
    .init("services out of order") { $0.configuration.services.swapAt(0, 1) },
    .init("a service id twice") { $0.configuration.services[2].id = "1" },
    .init("an empty service id") { $0.configuration.services[0].id = "" },
    .init("an empty service name") { $0.configuration.services[0].name = "" },
    .init("a negative timeout") { $0.configuration.services[0].options.connectTimeoutMs = -1 },
    .init("negative retries") { $0.configuration.services[0].options.retries = -1 },
    .init("a status that cannot be retried") { $0.configuration.services[0].options.retryStatuses = [404] },
    .init("an endpoint list too few") { $0.endpoints.removeLast() },
    .init("an endpoint list too many") { $0.endpoints.append([]) },
    .init("an upstream twice") { $0.endpoints[2].append($0.endpoints[0][0]) },
    .init("upstreams out of order") { $0.endpoints[0].swapAt(0, 1) },
    .init("port 0") { $0.endpoints[0][0].endpoint = Endpoint(address: IPAddress(v4: 1), port: 0) },
    .init("an empty upstream id") { $0.endpoints[0][0].id = "" },
    .init("routes out of order") { $0.configuration.routes.swapAt(0, 1) },
    .init("a route twice") { $0.configuration.routes[1].pathPrefix = "/" },
    .init("a service that does not exist") { $0.configuration.routes[0].services = [0, 3] },
    .init("a negative service") { $0.configuration.routes[0].services = [-1] },
    .init("no service") { $0.configuration.routes[0].services = [] },
    .init("services descending") { $0.configuration.routes[0].services = [2, 0] },
    .init("a service twice in a route") { $0.configuration.routes[0].services = [0, 0] },
    .init("an upper case host") { $0.configuration.routes[0].host = .exact("A.test") },
    .init("an empty host") { $0.configuration.routes[0].host = .exact("") },
    .init("a wildcard in an exact host") { $0.configuration.routes[0].host = .exact("*.a.test") },
    .init("a relative prefix") { $0.configuration.routes[1].pathPrefix = "app" },
    .init("a trailing slash") { $0.configuration.routes[1].pathPrefix = "/app/" },
    .init("an empty prefix") { $0.configuration.routes[1].pathPrefix = "" },
    .init("two lines of HSTS") { $0.configuration.routes[0].hsts = "max-age=1\r\nX: y" },
    .init("HSTS without a word") { $0.configuration.routes[0].hsts = "" },
    .init("hosts out of order") { $0.configuration.hosts.swapAt(0, 1) },
    .init("a host twice") { $0.configuration.hosts[1] = $0.configuration.hosts[0] },
    .init("an upper case host of TLS") { $0.configuration.hosts[0].host = .exact("A.test") },
    .init("a host without anything special") { $0.configuration.hosts[1].passthrough = [] },
    .init("passthrough to nobody") { $0.configuration.hosts[1].passthrough = [3] },
    .init("passthrough out of order") { $0.configuration.hosts[1].passthrough = [1, 0] },
    .init("passthrough with a certificate") { $0.configuration.hosts[1].tls = $0.configuration.hosts[0].tls },
    .init("passthrough with a redirect") { $0.configuration.hosts[1].redirects = $0.configuration.hosts[0].redirects },
    .init("passthrough with a route") { $0.configuration.routes[0].host = .exact("p.test") },
    .init("certificates out of order") { $0.configuration.hosts[0].tls.certificates.swapAt(0, 1) },
    .init("a certificate twice") {
        $0.configuration.hosts[0].tls.certificates[1] = $0.configuration.hosts[0].tls.certificates[0]
    },
    .init("a certificate without a name") { $0.configuration.hosts[0].tls.certificates[0].certificate.names = [] },
    .init("a certificate by path") { $0.configuration.hosts[0].tls.certificates[0].certificate.names = ["../e"] },
    .init("a hidden key") { $0.configuration.hosts[0].tls.certificates[1].key?.names = [".k"] },
    .init("authorities by path") {
        $0.configuration.hosts[0].tls.clientAuthentication?.authorities.names = ["/etc/ca"]
    },
    .init("redirects out of order") { $0.configuration.hosts[0].redirects.swapAt(0, 1) },
    .init("a scheme redirected twice") { $0.configuration.hosts[0].redirects[1].scheme = .http },
    .init("a redirect that ends in a slash") { $0.configuration.hosts[0].redirects[0].target = "https://a.test/" },
    .init("a redirect of two lines") { $0.configuration.hosts[0].redirects[0].target = "https://a.test\r\nX: y" },
    .init("a redirect without a scheme") { $0.configuration.hosts[0].redirects[0].target = "a.test" },
    .init("a redirect with a query") { $0.configuration.hosts[0].redirects[0].target = "https://a.test/?x" },
    .init("ports out of order") { $0.configuration.streams.swapAt(0, 1) },
    .init("a port twice") { $0.configuration.streams[1].port = 5432 },
    .init("entry port 0") { $0.configuration.streams[0].port = 0 },
    .init("a port that leads nowhere") { $0.configuration.streams[0].services = [] },
    .init("a port that leads both ways") { $0.configuration.streams[0].hosts = $0.configuration.streams[1].hosts },
    .init("a port of a service that does not exist") { $0.configuration.streams[0].services = [3] },
    .init("server names out of order") { $0.configuration.streams[1].hosts.swapAt(0, 1) },
    .init("a server name twice") { $0.configuration.streams[1].hosts[1].host = .exact("a.test") },
    .init("a server name of nobody") { $0.configuration.streams[1].hosts[0].services = [] },
    .init("a server name of a service twice") { $0.configuration.streams[1].hosts[0].services = [1, 1] },
    .init("an upper case server name") { $0.configuration.streams[1].hosts[0].host = .exact("A.test") },
    .init("a certificate of a port by path") {
        $0.configuration.streams[1].hosts[0].tls = TLSOptions(
            certificates: [CertificateReference(certificate: SecretReference("a/b"))])
    },
    .init("authorities of tasks by path") {
        $0.configuration.services[0].options.backendTLS = BackendTLS(authorities: SecretReference("../ca"))
    },
    .init("an upper case name of tasks") {
        $0.configuration.services[0].options.backendTLS = BackendTLS(serverName: "A.test")
    },
    .init("a cookie in passed on TLS") { $0.configuration.hosts[1].balancing.key = .cookie("s") },
    .init("a header in raw TCP") { $0.configuration.streams[0].balancing.key = .header("s") },
    .init("a cookie in TCP by name") { $0.configuration.streams[1].hosts[0].balancing.key = .cookie("s") },
    .init("a host that picks for nobody") { $0.configuration.hosts[0].balancing.method = .random },
    .init("a query in a prefix") { $0.configuration.routes[1].pathPrefix = "/app?x" },
]

@Test("each breakage is found", arguments: breakages)
func breakageIsFound(breakage: Breakage) {
    var snapshot = sound()
    breakage.apply(&snapshot)
    #expect(!snapshot.problems().isEmpty)
    #expect(!snapshot.hasSameContent(as: sound()))
    #expect(snapshot.contentHash != sound().contentHash)
}

@Test(
    "what changes in TLS, hosts and ports changes the hash",
    arguments: [
        .init("requiresTLS") { $0.configuration.routes[0].requiresTLS = true },
        .init("hsts") { $0.configuration.routes[3].hsts = nil },
        .init("other hsts") { $0.configuration.routes[3].hsts = "max-age=2" },
        .init("a certificate less") { $0.configuration.hosts[0].tls.certificates.removeLast() },
        .init("another certificate") { $0.configuration.hosts[0].tls.certificates[0].certificate.names = ["e"] },
        .init("a key less") { $0.configuration.hosts[0].tls.certificates[1].key = nil },
        .init("no minimum") { $0.configuration.hosts[0].tls.minimumVersion = nil },
        .init("another minimum") { $0.configuration.hosts[0].tls.minimumVersion = .tls12 },
        .init("another demand") { $0.configuration.hosts[0].tls.clientAuthentication?.demand = .optional },
        .init("no client authentication") { $0.configuration.hosts[0].tls.clientAuthentication = nil },
        .init("a redirect less") { $0.configuration.hosts[0].redirects.removeLast() },
        .init("another target") { $0.configuration.hosts[0].redirects[0].target = "https://c.test" },
        .init("a service less") { $0.configuration.hosts[1].passthrough = [0] },
        .init("a host less") { $0.configuration.hosts.removeLast() },
        .init("another port") { $0.configuration.streams[0].port = 5433 },
        .init("a port less") { $0.configuration.streams.removeLast() },
        .init("raw and not by name") { $0.configuration.streams[1] = StreamPort(port: 6000, services: [1]) },
        .init("passed on and not terminated") { $0.configuration.streams[1].hosts[0].tls = nil },
        .init("another server name") { $0.configuration.streams[1].hosts[0].host = .exact("b.test") },
        .init("TLS to tasks") { $0.configuration.services[0].options.backendTLS = BackendTLS() },
    ] as [Breakage])
func contentIsHashed(change: Breakage) {
    var snapshot = sound()
    change.apply(&snapshot)
    #expect(snapshot.problems() == [])
    #expect(!snapshot.hasSameContent(as: sound()))
    #expect(snapshot.contentHash != sound().contentHash)
    let hashes = [
        BackendTLS(), BackendTLS(verifies: true), BackendTLS(serverName: "a"),
        BackendTLS(authorities: SecretReference("a")),
    ]
    .map { backend in
        var snapshot = sound()
        snapshot.configuration.services[0].options.backendTLS = backend
        return snapshot.contentHash
    }
    #expect(Set(hashes).count == 4)
}

@Test("how tasks of TCP are picked changes the hash, each way in its own way")
func balancingOfConnectionsIsHashed() {
    let ways = [
        Balancing(method: .leastConnections), Balancing(method: .random), Balancing(key: .clientAddress),
        Balancing(key: .cookie("s")), Balancing(key: .header("s")), Balancing(key: .cookie("t")),
    ]
    var hashes: Set<UInt64> = [sound().contentHash]
    for way in ways {
        let changes: [(inout Snapshot) -> Void] = [
            { $0.configuration.hosts[1].balancing = way }, { $0.configuration.streams[0].balancing = way },
            { $0.configuration.streams[1].hosts[0].balancing = way },
        ]
        for change in changes {
            var snapshot = sound()
            change(&snapshot)
            #expect(!snapshot.hasSameContent(as: sound()))
            hashes.insert(snapshot.contentHash)
        }
    }
    #expect(hashes.count == 19)
}

@Test func secretsAreNamedOnce() {
    #expect(sound().configuration.secretNames == ["ca", "ecdsa", "shop_ecdsa", "rsa", "rsa-key"])
}

@Test func orderAndDiagnosticsAreNotContent() {
    var snapshot = sound()
    snapshot.order.version = 7
    snapshot.diagnostics = [Diagnostic(severity: .error, service: "x", message: "y")]
    #expect(snapshot.hasSameContent(as: sound()))
    #expect(snapshot.contentHash == sound().contentHash)
    #expect(Snapshot().contentHash == 0xCBF2_9CE4_8422_2325)
}

@Test("problems are limited") func problemsAreLimited() {
    let routes = (0..<5000).map { _ in Route(host: .exact("A"), services: []) }
    #expect(Snapshot(configuration: Configuration(routes: routes)).problems().count == 100)
}

@Test func hostPatternsAreOrderedByKindThenBytes() {
    let ordered: [HostPattern] = [.exact("a"), .exact("a.b"), .exact("b"), .wildcard("a"), .wildcard("b"), .any]
    #expect(ordered.reversed().sorted() == ordered)
}
