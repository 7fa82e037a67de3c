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
                Route(host: .wildcard("a.test"), services: [1]), Route(host: .any, services: [2]),
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
