// What all renderers write from: shares, the order in which routes are asked, what TLS shows.

import Model
import Testing

@testable import Render

private func service(_ name: String, weight: Int? = nil) -> Service {
    var options = ServiceOptions()
    options.weight = weight
    return Service(id: "file:\(name)", name: name, options: options)
}

private func tasks(_ name: String, _ count: Int, state: UpstreamState = .ready) throws -> [Upstream] {
    try (0..<count).map { index in
        let endpoint = try #require(Endpoint("10.0.\(name.utf8.reduce(0) { $0 + Int($1) } % 200).\(index + 1):80"))
        return Upstream(id: "\(name)-\(index)", endpoint: endpoint, state: state)
    }
}

@Suite struct RenderPlanTests {
    @Test(
        arguments: [
            ([(nil, 4), (nil, 1)], [1, 1, 1, 1, 1]), ([(90, 3), (10, 3)], [9, 9, 9, 1, 1, 1]),
            ([(60, 1), (40, 4)], [6, 1, 1, 1, 1]), ([(nil, 2), (100, 1)], [1, 1, 2]), ([(0, 2), (50, 2)], [1, 1]),
            ([(1000, 7), (1, 3)], [3000, 3000, 3000, 3000, 3000, 3000, 3000, 7, 7, 7]), ([(0, 3)], []),
        ] as [([(Int?, Int)], [Int])])
    func weightsAreExact(_ services: [(weight: Int?, count: Int)], _ expected: [Int]) throws {
        let named = services.enumerated().map { service("s\($0.offset)", weight: $0.element.weight) }
        let snapshot = Snapshot(
            configuration: Configuration(
                services: named,
                routes: [Route(host: .exact("a.test"), services: Array(services.indices))]),
            endpoints: try services.enumerated().map { try tasks("s\($0.offset)", $0.element.count) })
        let plan = RenderPlan(RenderInput(snapshot: snapshot))
        let pool = try #require(plan.hosts.first?.locations.first?.routes.first?.pool)
        #expect(pool.weights(limit: 1_000_000).weights == expected)
        #expect(pool.weights(limit: 1_000_000).isExact)
        let rounded = pool.weights(limit: 100).weights
        #expect(rounded.allSatisfy { (1...100).contains($0) } && rounded.count == expected.count)
    }

    @Test func onlyReadyTasksAreServers() throws {
        let snapshot = Snapshot(
            configuration: Configuration(
                services: [service("a")], routes: [Route(host: .any, services: [0])]),
            endpoints: [
                try tasks("a", 1) + tasks("b", 1, state: .draining) + tasks("c", 1, state: .pending)
            ])
        let pool = try #require(RenderPlan(RenderInput(snapshot: snapshot)).hosts[0].locations[0].routes.first?.pool)
        #expect(pool.servers.map(\.id) == ["a-0"])
    }

    @Test func routesAreAskedUpToTheRoot() {
        func route(_ path: String, _ methods: [String] = [], _ service: Int) -> Route {
            Route(
                host: .exact("a.test"), pathPrefix: path, conditions: RouteConditions(methods: methods),
                services: [service])
        }
        let services = ["a", "b", "c", "d"].map { service($0) }
        let routes = [
            route("/", [], 0), route("/x", ["GET"], 1), route("/x/y", ["GET"], 2), route("/x/y", ["PUT"], 3),
        ]
        let snapshot = Snapshot(
            configuration: Configuration(services: services, routes: routes), endpoints: services.map { _ in [] })
        let locations = RenderPlan(RenderInput(snapshot: snapshot)).hosts[0].locations
        #expect(locations.map(\.path) == ["/x/y", "/x", "/"])
        #expect(locations.map { $0.routes.map { $0.pool.lead.name } } == [["c", "d", "b", "a"], ["b", "a"], ["a"]])
        #expect(locations.allSatisfy { !$0.hasGap })
    }

    @Test(
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb924"), ("abc", "ba7816bf8f01cfea414140de5dae2223"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039"
            ),
            (String(repeating: "a", count: 64), "ffe054fe7ae0cb6dc65c3af9b61d5209"),
        ])
    func contentNames(_ text: String, _ expected: String) {
        // FIPS 180-4's own examples.
        #expect(ContentName.of(Array(text.utf8)) == expected)
    }

    @Test func certificatesThatAreMissingAreNobodyElses() {
        let reference = CertificateReference(certificate: SecretReference("a.pem"))
        let options = HostOptions(host: .exact("a.test"), tls: TLSOptions(certificates: [reference]))
        let snapshot = Snapshot(
            configuration: Configuration(
                services: [service("a")], routes: [Route(host: .exact("a.test"), services: [0])], hosts: [options]),
            endpoints: [[]])
        var secrets = SecretFiles()
        for bad in [nil, "", "no PEM", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
            secrets.secrets["a.pem"] = bad.map { Array($0.utf8) }
            let plan = RenderPlan(RenderInput(snapshot: snapshot, secrets: secrets))
            #expect(plan.hosts[0].tls.certificates.isEmpty)
            #expect(plan.diagnostics.map(\.label) == ["ssl_cert"] && plan.diagnostics[0].severity == .error)
        }
    }
}
