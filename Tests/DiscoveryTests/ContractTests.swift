// The rules of the contract about services that meet, nodes and groups, each as it is written: who is counted how
// often, who decides, who is told, and what is nobody's business.

import Discovery
import Model
import Testing

/// `name` on `front` with tasks; older than those made after it by `age`.
private func swarm(_ services: [(name: String, taskCount: Int, labels: [String: String])]) -> Inventory {
    var inventory = Inventory(
        nodes: [SwarmNode(id: "node1", address: address("192.0.2.1"))], networks: [front, ingress])
    for (index, service) in services.enumerated() {
        var labels = service.labels
        let stack = labels.removeValue(forKey: "stack")
        inventory.services.append(
            SwarmService(
                id: "s-\(service.name)", name: service.name, createdAtNs: Int64(index),
                labels: lb(labels.merging(["port": "80"]) { $1 }, stack: stack), mode: .replicated(service.taskCount),
                virtualIPs: [on("n-front", "10.0.\(index).254")], networks: ["n-front"]))
        for task in 0..<service.taskCount {
            inventory.tasks.append(
                SwarmTask(
                    id: "\(service.name)-\(task)", serviceID: "s-\(service.name)", nodeID: "node1",
                    addresses: [on("n-front", "10.0.\(index).\(task + 1)")]))
        }
    }
    return inventory
}

@Test("in VIP mode each service counts once, whatever its tasks; beside it each task of others")
func virtualAddressesCountOnce() {
    let vip = ["hosts": "a.test", "backend_mode": "vip"]
    let merged = snapshot(of: swarm([("v1", 4, vip), ("v2", 1, vip), ("v3", 2, ["hosts": "a.test"])]))
    #expect(merged.configuration.routes.map(\.services) == [[0, 1, 2]])
    #expect(merged.endpoints.map(\.count) == [1, 1, 2])
    #expect(merged.diagnostics.isEmpty)
}

@Test("scaling to 0 takes a service out and scaling up brings it back; the routes never change")
func scalingIsBlueGreen() {
    func scaled(_ blue: Int, _ green: Int) -> Snapshot {
        snapshot(of: swarm([("blue", blue, ["hosts": "a.test"]), ("green", green, ["hosts": "a.test"])]))
    }
    #expect(scaled(4, 1).endpoints.map(\.count) == [4, 1])
    #expect(scaled(0, 4).endpoints.map(\.count) == [0, 4])
    #expect(scaled(0, 4).configuration.services.map(\.desiredTaskCount) == [0, 4])
    #expect(scaled(0, 4).configuration.routes == scaled(4, 1).configuration.routes)
    #expect(scaled(0, 0).configuration.routes == scaled(4, 1).configuration.routes)
    #expect(scaled(0, 4).diagnostics.isEmpty)
}

@Test(
    "where an option belongs to the place, the oldest service decides and the warning names both",
    arguments: [
        (["path_policy": "raw"], "path_policy"), (["context_root_rewrite": "true"], "context_root_rewrite"),
        (["hsts": "max-age=1"], "hsts"), (["lb": "random"], "lb"), (["lb": "hash:header:x"], "lb"),
        (["ip_hash": "true"], "ip_hash"), (["sticky_session_cookie": "S"], "sticky_session_cookie"),
        (["ssl_cert": "other"], "ssl_cert"), (["redirects": "a.test,https://b.test"], "redirects"),
    ])
func theOldestDecides(labels: [String: String], label: String) {
    let place = ["hosts": "a.test", "context_root": "/app", "port": "80", "ssl_cert": "site"]
    let alone = mapped(("old", place))
    let both = mapped(("old", place), ("young", place.merging(labels) { $1 }))
    let findings = both.diagnostics.filter { $0.service == "young" }
    #expect(!findings.isEmpty && findings.allSatisfy { $0.label == label && $0.severity == .warning })
    #expect(findings.allSatisfy { $0.message.contains("old") && $0.message.contains("a.test") })
    var expected = alone.configuration.routes
    expected[0].services = [0, 1]
    #expect(both.configuration.routes == expected)
    #expect(both.configuration.hosts == alone.configuration.hosts)
}

@Test(
    "what protects never resolves downwards: the younger service that disagrees is not routed, and is told why",
    arguments: [
        ("ssl_only", ["ssl_only": "true"]), ("ssl_client_ca", ["ssl_client_ca": "ca"]),
        ("ssl_min_version", ["ssl_min_version": "1.3"]), ("ssl_passthrough", ["ssl_passthrough": "true"]),
    ], [true, false])
func protectionIsNotNegotiable(protection: (label: String, labels: [String: String]), isOlder: Bool) {
    let plain = ["hosts": "a.test", "port": "80"]
    let guarded = plain.merging(protection.labels) { $1 }
    let both = isOlder ? mapped(("old", guarded), ("young", plain)) : mapped(("old", plain), ("young", guarded))
    #expect(both.configuration.services.map(\.name) == ["old"])
    let errors = both.diagnostics.filter { $0.severity == .error }
    #expect(errors.map(\.service) == ["young"])
    #expect(errors.map(\.label) == [protection.label])
    #expect(errors.allSatisfy { $0.message.contains("old") })
}

@Test("options of a service stay its own where services share a place")
func optionsStayWithTheirService() {
    let place = ["hosts": "a.test", "port": "80"]
    let own = [
        "weight": "5", "retries": "0", "health_path": "/x", "hold": "9s", "max_connections": "3",
        "connect_timeout": "3s",
        "max_fails": "0", "slow_start": "4s",
    ]
    let both = mapped(("a", place.merging(own) { $1 }), ("b", place))
    #expect(both.configuration.routes.map(\.services) == [[0, 1]])
    #expect(
        both.configuration.services.map(\.options) == [
            mapped(place.merging(own) { $1 }).configuration.services[0].options, ServiceOptions(),
        ])
    #expect(both.diagnostics.isEmpty)
}

@Test("stacks that share the default backend are told, unless it belongs to one of them")
func defaultBackendOfTwoStacks() {
    let inventory = swarm([
        ("one", 1, ["default_backend": "true", "stack": "a"]), ("two", 1, ["default_backend": "true", "stack": "b"]),
    ])
    #expect(
        diagnosed(snapshot(of: inventory)) == [
            "warning two default_backend: shares the default backend with one of stack a: both answer for it"
        ])
    let owned = ServiceMapping.snapshot(of: inventory, settings: MappingSettings(hostOwnership: .stack))
    #expect(owned.configuration.services.map(\.name) == ["one"])
    #expect(owned.diagnostics.map(\.severity) == [.error])
}

@Test(
    "a node's own address goes before its manager address, unless it means the node itself",
    arguments: [
        ("192.0.2.1", "192.0.2.9", "192.0.2.1"), ("0.0.0.0", "192.0.2.9", "192.0.2.9"),
        ("127.0.0.1", "192.0.2.9", "192.0.2.9"), ("127.1.2.3", "192.0.2.9", "192.0.2.9"),
        ("::", "192.0.2.9", "192.0.2.9"),
        ("::1", "2001:db8::9", "[2001:db8::9]"), (nil, "192.0.2.9", "192.0.2.9"), ("0.0.0.0", nil, nil),
        ("::1", nil, nil), ("0.0.0.0", "0.0.0.0", nil), (nil, nil, nil),
    ] as [(String?, String?, String?)])
func nodeAddresses(own: String?, manager: String?, expected: String?) {
    let port = PublishedPort(targetPort: 80, publishedPort: 8080, mode: .host)
    let inventory = Inventory(
        services: [SwarmService(id: "s", name: "web", labels: lb(["hosts": "a.test", "port": "80"]), ports: [port])],
        tasks: [SwarmTask(id: "t", serviceID: "s", nodeID: "n", hostPorts: [port])],
        nodes: [SwarmNode(id: "n", address: own.map(address), managerAddress: manager.map(address))])
    let snapshot = snapshot(of: inventory, proxyNetworks: ["front"])
    #expect(snapshot.endpoints.first?.map { "\($0.endpoint)" } == expected.map { ["\($0):8080"] } ?? [])
    #expect(snapshot.diagnostics.map(\.severity) == (expected == nil ? [.warning] : []))
}

@Test("a host-mode service has no virtual address to reach it by, and whoever asks for one is told")
func noVirtualAddressOverHostPorts() {
    let port = PublishedPort(targetPort: 80, publishedPort: 8080, mode: .host)
    let labels = lb(["hosts": "a.test", "port": "80", "backend_mode": "vip"])
    let inventory = Inventory(
        services: [SwarmService(id: "s", name: "web", labels: labels, ports: [port])],
        tasks: [SwarmTask(id: "t", serviceID: "s", nodeID: "n", hostPorts: [port])],
        nodes: [SwarmNode(id: "n", address: address("192.0.2.1"))])
    let snapshot = snapshot(of: inventory)
    #expect(snapshot.configuration.services.isEmpty)
    #expect(snapshot.diagnostics.map(\.severity) == [.error])
}

@Test("groups of proxies never see each other's services, not even their mistakes")
func groupsAreApart() {
    let inventory = swarm([
        ("east", 1, ["hosts": "a.test", "service_cluster": "east"]),
        ("west", 1, ["hosts": "a.test", "service_cluster": "west", "ip_hash": "true"]),
        ("broken", 1, ["hosts": "a b", "service_cluster": "west"]), ("none", 1, ["hosts": "a.test"]),
        ("empty", 1, ["hosts": "b.test", "service_cluster": " "]),
    ])
    func seen(_ cluster: String) -> [String] {
        snapshot(of: inventory, cluster: cluster).configuration.services.map(\.name)
    }
    #expect(seen("east") == ["east"])
    #expect(seen("west") == ["west"])
    #expect(seen("") == ["empty", "none"])
    #expect(snapshot(of: inventory, cluster: "east").diagnostics.isEmpty)
    #expect(snapshot(of: inventory, cluster: "west").diagnostics.map(\.service) == ["broken"])
    #expect(snapshot(of: inventory, cluster: "north") == Snapshot())
}

@Test("a report has one line for each finding, and nothing that a terminal obeys")
func reportsAreHarmless() {
    let value = "x\r\nroute    admin.test/ -> evil\u{1B}[2J\u{9B}\u{202E}\u{2028}\u{7F}\u{E9}"
    let service = FileService(
        name: "a\nb", labels: lb(["hosts": "a.test", "retries": value]), endpoints: ["10.0.0.1:80"])
    let file = ServicesFile(name: "services.json", services: [service])
    let lines = SnapshotReport.lines(snapshot(of: Inventory(files: [file])))
    #expect(lines.count == 1)
    #expect(
        lines[0].hasPrefix(
            #"error    a\nb retries="x\r\nroute    admin.test/ -> evil\u{1B}[2J\u{009B}\u{202E}\u{2028}\u{7F}é""#),
        "\(lines)")
}
