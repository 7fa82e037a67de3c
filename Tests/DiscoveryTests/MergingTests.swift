// Services that meet on a host and path, files, containers, and the order of everything.

import Support
import Discovery
import Model
import Testing

/// A Swarm service with one task per address, on `front`.
private struct Made {
    var service: SwarmService
    var tasks: [SwarmTask]

    init(_ name: String, age: Int64, _ labels: [String: String], stack: String? = nil, taskCount: Int = 1) {
        var labels = labels
        labels["port"] = "80"
        service = SwarmService(
            id: "s-\(name)", name: name, createdAtNs: age, labels: lb(labels, stack: stack), networks: ["front"])
        tasks = (0..<taskCount).map {
            SwarmTask(
                id: "\(name)-\($0)", serviceID: "s-\(name)", addresses: [on("n-front", "10.1.\(name.utf8.count).\($0)")]
            )
        }
    }
}

private func inventory(_ made: [Made]) -> Inventory {
    Inventory(services: made.map(\.service), tasks: made.flatMap(\.tasks), networks: [front, ingress])
}

@Test func sameHostAndPathMakeOnePool() {
    let snapshot = snapshot(
        of: inventory([
            Made("v2", age: 2, ["hosts": "a.test", "context_root": "/app/"]),
            Made("v11", age: 1, ["hosts": "A.test., b.test", "context_root": "/app"], taskCount: 2),
            Made("root", age: 3, ["hosts": "a.test"]),
        ]))
    #expect(
        rendered(snapshot) == [
            "a.test/ -> root(root-0@10.1.4.0:80 ready)",
            "a.test/app -> v11(v11-0@10.1.3.0:80 ready, v11-1@10.1.3.1:80 ready) v2(v2-0@10.1.2.0:80 ready)",
            "b.test/app -> v11(v11-0@10.1.3.0:80 ready, v11-1@10.1.3.1:80 ready)",
        ])
    #expect(snapshot.diagnostics.isEmpty)
    #expect(snapshot.problems().isEmpty)
}

@Test func theOldestServiceDecidesRouteOptions() {
    let young = Made("a", age: 9, ["hosts": "a.test", "context_root": "/x", "context_root_rewrite": "true"])
    let old = Made("b", age: 1, ["hosts": "a.test", "context_root": "/x", "path_policy": "raw"])
    let merged = snapshot(of: inventory([young, old]))
    #expect(rendered(merged).map { String($0.prefix(16)) } == ["a.test/x raw -> "])
    #expect(
        diagnosed(merged) == [
            "warning a context_root_rewrite: differs from b on a.test/x; the older service's is used",
            "warning a path_policy: differs from b on a.test/x; the older service's is used",
        ])
}

@Test func mergesBetweenStacksAreReported() {
    let first = Made("first", age: 1, ["hosts": "a.test,c.test"], stack: "one")
    let second = Made("second", age: 2, ["hosts": "a.test,b.test"], stack: "two")
    let merged = snapshot(of: inventory([second, first]))
    #expect(merged.configuration.routes.map(\.services) == [[0, 1], [1], [0]])
    #expect(diagnosed(merged) == ["warning second hosts: shares a.test with first of stack one: both answer for it"])
}

@Test func hostsCanBelongToStacks() {
    let first = Made("first", age: 1, ["hosts": "a.test", "default_backend": "true"], stack: "one")
    let again = Made("again", age: 4, ["hosts": "a.test"], stack: "one")
    let second = Made("second", age: 2, ["hosts": "a.test,b.test", "default_backend": "1"], stack: "two")
    let third = Made("third", age: 3, ["hosts": "b.test"], stack: "one")
    let settings = MappingSettings(hostOwnership: .stack)
    let owned = ServiceMapping.snapshot(of: inventory([third, second, again, first]), settings: settings)
    #expect(
        rendered(owned) == [
            "a.test/ -> again(again-0@10.1.5.0:80 ready) first(first-0@10.1.5.0:80 ready)",
            "b.test/ -> second(second-0@10.1.6.0:80 ready)",
            "*/ -> first(first-0@10.1.5.0:80 ready)",
        ])
    #expect(
        diagnosed(owned) == [
            "error second default_backend: belongs to stack one, which claimed it first",
            "error second hosts: a.test belongs to stack one, which claimed it first",
            "error third hosts: b.test belongs to stack two, which claimed it first",
        ])
    #expect(owned.problems().isEmpty)
}

@Test(
    "a stack's mistake gives its hosts to nobody",
    arguments: [
        ["hosts": "a.test", "retries": "x"], ["hosts": "a.test", "ip_allow": "10.0.0.0/8"], ["hosts": "bad host"],
        ["hosts": "a.test", "network": "nowhere"],
    ])
func mistakesGiveNoHostAway(labels: [String: String]) {
    var owner = Made("owner", age: 1, labels, stack: "one")
    owner.service.previousLabels = lb(["hosts": "a.test", "port": "80", "retries": "y"], stack: "one")
    let waiting = Made("waiting", age: 2, ["hosts": "a.test,b.test"], stack: "two")
    let settings = MappingSettings(hostOwnership: .stack)
    func routed(_ made: [Made]) -> [String] {
        rendered(ServiceMapping.snapshot(of: inventory(made), settings: settings))
    }
    #expect(routed([owner, waiting]) == ["b.test/ -> waiting(waiting-0@10.1.7.0:80 ready)"])
    // Where hosts are shared, and once the service is gone, nobody is kept out.
    #expect(rendered(snapshot(of: inventory([owner, waiting]))).count == 2)
    #expect(routed([waiting]).count == 2)
    // Who gives a host up in readable labels has given it up, whatever else is wrong with them.
    let leaving = Made("owner", age: 1, ["hosts": "c.test", "retries": "x"], stack: "one")
    #expect(routed([leaving, waiting]).count == 2)
}

@Test("one bad service leaves all others untouched")
func badServicesHarmNobody() {
    let good = [Made("good", age: 1, ["hosts": "a.test"]), Made("other", age: 2, ["hosts": "b.test"])]
    let before = snapshot(of: inventory(good))
    let bad = [
        Made("bad1", age: 0, ["hosts": "a.test,bad host"]), Made("bad2", age: 0, ["hosts": "a.test", "retries": "x"]),
        Made("bad3", age: 0, ["hosts": "a.test", "ip_allow": "10.0.0.0/8"]),
        Made("bad4", age: 0, ["hosts": String(repeating: "x", count: 10_000_000)]),
        Made("bad5", age: 0, ["hosts": "{{range}}\r\n\"';--"]),
    ]
    let after = snapshot(of: inventory(bad + good))
    #expect(after.hasSameContent(as: before))
    #expect(after.contentHash == before.contentHash)
    #expect(Set(after.diagnostics.map(\.service)) == ["bad1", "bad2", "bad3", "bad4", "bad5"])
    #expect(after.diagnostics.allSatisfy { $0.value.utf8.count < 1000 })
}

// MARK: Containers and files

@Test(
    "a mistake in a container or a file gives no host away either",
    arguments: [["retries": "x"], ["ip_allow": "10.0.0.0/8"], ["network": "nowhere"]], [true, false])
func mistakesElsewhereGiveNoHostAway(mistake: [String: String], isContainer: Bool) {
    let labels = mistake.merging(["hosts": "a.test", "default_backend": "1"]) { own, _ in own }
    let settings = MappingSettings(hostOwnership: .stack)
    func routed(_ labels: [String: String], age: Int64, endpoints: [String] = ["10.0.0.9"]) -> [String] {
        var all = inventory([Made("waiting", age: 2, ["hosts": "a.test,b.test", "default_backend": "1"], stack: "two")])
        if isContainer {
            var owner = container("c1", labels)
            owner.labels[Labels.composeProjectLabel] = "one"
            owner.createdAtNs = age
            all.containers = [owner]
        } else {
            let owner = FileService(name: "owner", labels: lb(labels, stack: "one"), endpoints: endpoints)
            all.files = [ServicesFile(name: "services.json", createdAtNs: age, services: [owner])]
        }
        let snapshot = ServiceMapping.snapshot(of: all, settings: settings)
        return snapshot.configuration.routes.map { "\($0.host)" }
    }
    if isContainer || mistake["network"] == nil {
        #expect(routed(labels, age: 1) == ["b.test"])
        // The younger of two owns nothing, and a host that is given up is free.
        #expect(routed(labels, age: 3) == ["a.test", "b.test", "*"])
        #expect(routed(mistake.merging(["hosts": "c.test"]) { own, _ in own }, age: 1).contains("a.test"))
    }
    if !isContainer { #expect(routed(["hosts": "a.test"], age: 1, endpoints: ["nowhere"]) == ["b.test", "*"]) }
}

private func container(
    _ id: String, _ labels: [String: String], _ networks: [(String, String)] = [("front", "172.18.0.2")],
    exposed: [UInt16] = [80], state: Container.State = .running, health: Container.Health = .none
) -> Container {
    Container(
        id: id, name: "app-\(id)", labels: lb(labels),
        networks: networks.map { ContainerNetwork(id: "n-\($0.0)", name: $0.0, addresses: [address($0.1)]) },
        exposedPorts: exposed, state: state, health: health)
}

@Test func containersMergeByTheirLabels() {
    let inventory = Inventory(containers: [
        container("c2", ["hosts": "a.test"], [("front", "172.18.0.3")]), container("c1", ["hosts": "a.test"]),
    ])
    #expect(
        rendered(snapshot(of: inventory)) == [
            "a.test/ -> app-c1(container:c1@172.18.0.2:80 ready) app-c2(container:c2@172.18.0.3:80 ready)"
        ])
}

@Test(
    "containers are ready when they run and are not known to be unhealthy",
    arguments: [
        (Container.State.running, Container.Health.none, "ready"), (.running, .healthy, "ready"),
        (.running, .starting, "pending"), (.running, .unhealthy, "pending"), (.paused, .none, "pending"),
        (.restarting, .none, "pending"), (.created, .none, "pending"), (.exited, .none, "gone"),
        (.dead, .none, "gone"), (.removing, .healthy, "gone"),
    ])
func containerStates(state: Container.State, health: Container.Health, expected: String) {
    let inventory = Inventory(containers: [container("c", ["hosts": "a.test"], state: state, health: health)])
    let snapshot = snapshot(of: inventory)
    #expect(snapshot.endpoints.first?.first?.state.rawValue ?? "gone" == expected)
}

@Test func containersOfSwarmAreSkippedAndOthersNeedAPort() {
    var task = container("t", ["hosts": "a.test"])
    task.labels["com.docker.swarm.task.id"] = "x"
    #expect(snapshot(of: Inventory(containers: [task])) == Snapshot())
    let two = snapshot(of: Inventory(containers: [container("c", ["hosts": "a.test"], exposed: [80, 443])]))
    #expect(two.configuration.routes.isEmpty)
    #expect(two.diagnostics.map(\.label) == ["port"])
    let labelled = container("c", ["hosts": "a.test", "port": "443"], exposed: [80, 443])
    #expect(snapshot(of: Inventory(containers: [labelled])).endpoints.first?.first?.endpoint.port == 443)
}

@Test(
    "a container is reached over the network it shares with the proxy",
    arguments: [
        ("", nil, "172.17.0.2"), ("", ["front"], "172.18.0.2"), ("front", nil, "172.18.0.2"), ("", [], "172.17.0.2"),
        ("", ["other"], ""), ("other", nil, ""),
    ] as [(String, [String]?, String)])
func containerNetworks(label: String, proxy: [String]?, expected: String) {
    let both = container(
        "c", ["hosts": "a.test", "network": label], [("front", "172.18.0.2"), ("bridge", "172.17.0.2")])
    let snapshot = snapshot(of: Inventory(containers: [both]), proxyNetworks: proxy)
    #expect(snapshot.endpoints.first?.first.map { "\($0.endpoint.address)" } ?? "" == expected)
}

@Test func filesHoldFixedEndpoints() {
    let labels = lb(["hosts": "a.test", "port": "7000"])
    let file = ServicesFile(
        name: "services.json",
        services: [
            FileService(
                name: "web", labels: labels,
                endpoints: ["[::1]:9002", "127.0.0.1:9001", "localhost:9003", "10.0.0.1", "127.0.0.1:9001"])
        ])
    let snapshot = snapshot(of: Inventory(files: [file]))
    #expect(
        snapshot.endpoints.first?.map { "\($0.endpoint)" } == [
            "10.0.0.1:7000", "127.0.0.1:9001", "127.0.0.1:9003", "[::1]:9002",
        ])
    #expect(snapshot.endpoints.first?.first?.id == "file:web/10.0.0.1:7000")
    #expect(snapshot.diagnostics.isEmpty)
}

@Test func filesAreJudgedServiceByService() {
    let good = lb(["hosts": "a.test"])
    func file(_ name: String, _ origin: ServicesFile.Origin, _ age: Int64, _ services: [FileService]) -> ServicesFile {
        ServicesFile(name: name, origin: origin, createdAtNs: age, services: services)
    }
    let inventory = Inventory(files: [
        file("old", .config, 1, [FileService(name: "web", labels: good, endpoints: ["10.0.0.1:1"])]),
        file("new", .config, 2, [FileService(name: "web", labels: good, endpoints: ["10.0.0.2:1"])]),
        file(
            "disk", .file, 0,
            [
                FileService(name: "half", labels: lb(["hosts": "h.test"]), endpoints: ["10.0.0.3:1", "db:1"]),
                FileService(name: "none", labels: lb(["hosts": "n.test"]), endpoints: ["db:1"]),
                FileService(name: "empty", labels: lb(["hosts": "e.test"])),
                FileService(name: "lost", endpoints: ["10.0.0.3:1"]),
                FileService(name: "", labels: good),
            ]),
    ])
    let snapshot = snapshot(of: inventory)
    #expect(
        rendered(snapshot) == [
            "a.test/ -> web(file:web/10.0.0.2:1@10.0.0.2:1 ready)", "e.test/ -> empty()",
            "h.test/ -> half(file:half/10.0.0.3:1@10.0.0.3:1 ready)",
        ])
    #expect(snapshot.configuration.services.map(\.source) == [.file, .file, .config])
    #expect(snapshot.diagnostics.map(\.service) == ["disk", "empty", "half", "lost", "none", "web"])
}

// MARK: Order

@Test("the order of the input changes nothing", arguments: 0..<20)
func orderDoesNotMatter(seed: Int) {
    var inventory = inventory(
        (0..<12).map { index in
            let labels = [
                "hosts": "a\(index % 3).test,*.w\(index % 4).test", "context_root": index % 2 == 0 ? "/" : "/p",
                "context_root_rewrite": "\(index % 5 == 1)", index % 6 == 5 ? "hots" : "retries": "1",
                index % 4 == 3 ? "match_headers" : "weight": "\(index)",
                index % 7 == 6 ? "lb" : "match_methods": "RANDOM",
                "sticky_session_cookie": "c\(index % 3)",
            ]
            return Made("s\(index)", age: Int64(index % 4), labels, stack: "st\(index % 2)", taskCount: index % 3)
        })
    inventory.containers = (0..<4).map { container("c\($0)", ["hosts": "a0.test"], [("front", "172.18.0.\($0 + 2)")]) }
    inventory.files = (0..<3).map { index in
        let service = FileService(name: "f", labels: lb(["hosts": "f.test"]), endpoints: ["10.0.0.\(index):1"])
        return ServicesFile(name: "file\(index)", origin: .config, createdAtNs: 5, services: [service])
    }
    let expected = snapshot(of: inventory)
    #expect(expected.problems().isEmpty)
    #expect(expected.configuration.routes.count > 8)
    var random = SeededRandom(seed: UInt64(seed + 1))
    inventory.services.shuffle(using: &random)
    inventory.tasks.shuffle(using: &random)
    inventory.networks.shuffle(using: &random)
    inventory.containers.shuffle(using: &random)
    inventory.files.shuffle(using: &random)
    #expect(snapshot(of: inventory) == expected)
}

@Test(
    "timestamps of the engine",
    arguments: [
        ("1970-01-01T00:00:00Z", 0), ("2026-11-22T16:00:03.5Z", 1_795_363_203_500_000_000),
        ("2026-11-22T17:00:03.500000000+01:00", 1_795_363_203_500_000_000),
        ("2024-02-29T23:59:59.123456789Z", 1_709_251_199_123_456_789), ("0001-01-01T00:00:00Z", nil), ("", nil),
        ("2026-11-22", nil), ("2026-13-22T16:00:03Z", nil), ("2026-11-22T16:00:03", nil),
        ("2026-11-22T16:00:03.Z", nil),
        ("2026-11-22T16:00:03Zx", nil), ("2026-11-22T16:00:03+1:00", nil),
    ] as [(String, Int64?)])
func timestamps(text: String, expected: Int64?) {
    #expect(Timestamp.nanoseconds(text) == expected)
}
