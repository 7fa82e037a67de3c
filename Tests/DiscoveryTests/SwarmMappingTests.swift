// Swarm services: networks, task states, host ports, VIPs, previous labels.

import Discovery
import Model
import Testing

private let good = ["hosts": "a.test", "port": "80"]

@Test func tasksBecomeUpstreamsInCanonicalOrder() {
    let snapshot = snapshot(of: webInventory(good))
    #expect(rendered(snapshot) == ["a.test/ -> web(t1@10.0.1.1:80 ready, t2@10.0.1.2:80 ready)"])
    #expect(snapshot.diagnostics.isEmpty)
    #expect(snapshot.configuration.services.first?.desiredTaskCount == 1)
}

@Test(
    "a task is ready, draining, pending or left out",
    arguments: [
        (TaskState.running, TaskState.running, SwarmNode.State.ready, UpstreamState.ready as UpstreamState?),
        (.running, .running, .unknown, .ready), (.running, .running, .disconnected, .ready),
        (.running, .running, .down, .pending), (.starting, .running, .ready, .pending),
        (.ready, .ready, .ready, .pending), (.running, .ready, .ready, .pending),
        (.preparing, .running, .ready, .pending), (.new, .running, .ready, .pending),
        (.running, .shutdown, .ready, .draining), (.running, .remove, .ready, .draining),
        (.running, .shutdown, .down, .draining), (.starting, .shutdown, .ready, .draining),
        (.complete, .running, .ready, nil), (.failed, .running, .ready, nil), (.shutdown, .shutdown, .ready, nil),
        (.rejected, .running, .ready, nil), (.orphaned, .shutdown, .ready, nil), (.remove, .remove, .ready, nil),
        (.running, .complete, .ready, .draining),
    ])
func taskStates(state: TaskState, desired: TaskState, node: SwarmNode.State, expected: UpstreamState?) {
    var inventory = webInventory(good)
    inventory.tasks = [
        SwarmTask(
            id: "t", serviceID: "s-web", nodeID: "node1", desiredState: desired, state: state,
            addresses: [on("n-front", "10.0.1.1")])
    ]
    inventory.nodes[0].state = node
    #expect(snapshot(of: inventory).endpoints.first?.first?.state == expected)
}

@Test func taskStatesAreReadFromTheirNames() {
    #expect(TaskState("running") == .running)
    #expect(TaskState("orphaned") == .orphaned)
    #expect(TaskState("Running") == nil)
    #expect(TaskState.allCases == TaskState.allCases.sorted())
}

@Test func aJobIsWantedUntilItIsComplete() {
    var inventory = webInventory(good)
    inventory.services[0].mode = .job
    for index in inventory.tasks.indices { inventory.tasks[index].desiredState = .complete }
    #expect(
        snapshot(of: inventory).endpoints == [
            [
                Upstream(id: "t1", endpoint: Endpoint(address: address("10.0.1.1"), port: 80)),
                Upstream(id: "t2", endpoint: Endpoint(address: address("10.0.1.2"), port: 80)),
            ]
        ])
}

@Test(
    "the port is the label's, or the only target port",
    arguments: [
        ("8080", [80, 443], "8080"), ("", [81], "81"), ("", [], "error"), ("", [80, 443], "error"),
        ("", [80, 80], "80"),
    ] as [(String, [UInt16], String)])
func ports(label: String, published: [UInt16], expected: String) {
    var inventory = webInventory(["hosts": "a.test", "port": label])
    inventory.services[0].ports = published.map { PublishedPort(targetPort: $0) }
    inventory.services[0].ports.append(PublishedPort(targetPort: 53, isTCP: false))
    let snapshot = snapshot(of: inventory)
    #expect(snapshot.endpoints.first?.first.map { "\($0.endpoint.port)" } ?? "error" == expected)
    #expect(snapshot.diagnostics.map(\.label) == (expected == "error" ? ["port"] : []))
}

/// `web` of stack `shop` on both networks, t1 on both.
private func twoNetworks(_ labels: [String: String]) -> Inventory {
    var inventory = webInventory(labels)
    inventory.services[0].labels["com.docker.stack.namespace"] = "shop"
    inventory.services[0].networks = ["shop_back", "n-front"]
    inventory.tasks = [
        SwarmTask(
            id: "t1", serviceID: "s-web", nodeID: "node1",
            addresses: [on("n-ingress", "10.0.0.1"), on("n-back", "10.0.2.1"), on("n-front", "10.0.1.1")])
    ]
    return inventory
}

@Test(
    "the network is the labelled one, or the one shared with the proxy",
    arguments: [
        ("front", nil, "10.0.1.1", ""), ("n-front", nil, "10.0.1.1", ""), ("back", nil, "10.0.2.1", ""),
        ("shop_back", nil, "10.0.2.1", ""), ("back", ["n-back"], "10.0.2.1", ""),
        ("back", ["front"], "10.0.2.1", "warning"), ("ingress", nil, "", "error"), ("other", nil, "", "error"),
        ("", ["front"], "10.0.1.1", ""), ("", ["shop_back"], "10.0.2.1", ""), ("", ["n-back", "x"], "10.0.2.1", ""),
        ("", ["shop_back", "front"], "10.0.1.1", "warning"), ("", nil, "10.0.1.1", "warning"),
        ("", ["other"], "", "error"), ("", [], "", "error"), ("", ["ingress"], "", "error"),
    ] as [(String, [String]?, String, String)])
func networks(label: String, proxy: [String]?, expected: String, severity: String) {
    var labels = good
    labels["network"] = label
    let snapshot = snapshot(of: twoNetworks(labels), proxyNetworks: proxy)
    #expect(snapshot.endpoints.first?.first.map { "\($0.endpoint.address)" } ?? "" == expected)
    #expect(snapshot.diagnostics.map(\.severity.rawValue) == (severity.isEmpty ? [] : [severity]))
    #expect(snapshot.diagnostics.allSatisfy { $0.label == "network" })
}

@Test func aTaskWithoutAnAddressIsNoUpstream() {
    var inventory = webInventory(good)
    for index in inventory.tasks.indices { inventory.tasks[index].addresses = [on("n-ingress", "10.0.0.9")] }
    let snapshot = snapshot(of: inventory)
    #expect(rendered(snapshot) == ["a.test/ -> web()"])
    #expect(snapshot.diagnostics.map(\.severity) == [.warning])
}

/// `web` publishes 80 as 8080 on its nodes; node2 reports no address but is a manager.
private func hostPorts(_ labels: [String: String], networks: [String] = []) -> Inventory {
    let port = PublishedPort(targetPort: 80, publishedPort: 8080, mode: .host)
    func task(_ id: String, _ node: String, _ published: UInt16) -> SwarmTask {
        let port = PublishedPort(targetPort: 80, publishedPort: published, mode: .host)
        return SwarmTask(id: id, serviceID: "s-web", nodeID: node, hostPorts: [port])
    }
    return Inventory(
        services: [SwarmService(id: "s-web", name: "web", labels: lb(labels), ports: [port], networks: networks)],
        tasks: [
            task("t1", "node1", 8080), task("t2", "node2", 8080), task("t3", "node3", 8080), task("t4", "node1", 0),
        ],
        nodes: [
            SwarmNode(id: "node1", address: address("192.0.2.1")),
            SwarmNode(id: "node2", address: address("0.0.0.0"), managerAddress: address("192.0.2.2")),
            SwarmNode(id: "node3", address: address("127.0.0.1")),
        ], networks: [front, back, ingress])
}

@Test("without a shared network, ports published on the nodes are used", arguments: [nil, [], ["shop_back"]])
func hostPublishedPorts(proxy: [String]?) {
    let snapshot = snapshot(
        of: hostPorts(["hosts": "a.test"], networks: proxy == nil ? [] : ["front"]), proxyNetworks: proxy)
    #expect(rendered(snapshot) == ["a.test/ -> web(t1@192.0.2.1:8080 ready, t2@192.0.2.2:8080 ready)"])
    #expect(snapshot.diagnostics.map(\.message) == ["node node3 has no address to reach its tasks by"])
}

@Test func virtualIPsAreOneUpstream() {
    var inventory = webInventory(["hosts": "a.test", "port": "80", "backend_mode": "vip"])
    inventory.services[0].virtualIPs = [on("n-ingress", "10.0.0.5"), on("n-front", "10.0.1.5")]
    inventory.services[0].mode = .replicated(4)
    let before = snapshot(of: inventory)
    #expect(rendered(before) == ["a.test/ -> web(vip:s-web@10.0.1.5:80 ready)"])
    #expect(before.configuration.services[0].backendMode == .vip)
    inventory.services[0].mode = .replicated(1)
    inventory.tasks.removeLast()
    #expect(snapshot(of: inventory).hasSameContent(as: before))
    inventory.tasks = []
    #expect(rendered(snapshot(of: inventory)) == ["a.test/ -> web(vip:s-web@10.0.1.5:80 pending)"])
    inventory.services[0].virtualIPs = []
    inventory.services[0].usesVirtualIP = false
    #expect(
        diagnosed(snapshot(of: inventory)) == [
            "error web backend_mode: the service has no VIP (endpoint mode dnsrr); use backend_mode=task"
        ])
}

@Test(
    "after a bad update the previous labels hold, if they were good and nothing is restricted",
    arguments: [
        (["hosts": "a b", "port": "80"], good, "a.test/", "is routed by the labels it had"),
        (["hosts": "b.test", "port": "x"], good, "a.test/", "is routed by the labels it had"),
        (["hosts": "b.test", "port": "80", "network": "nowhere"], good, "a.test/", "is routed by the labels it had"),
        (["hosts": "a b", "port": "80"], ["hosts": "c d", "port": "80"], "", "has a character"),
        (["hosts": "a b", "port": "80"], [:], "", "has a character"),
        (["hosts": "a b", "port": "80"], ["hosts": "a.test", "port": "80", "ip_allow": "::1"], "", "has a character"),
        (["hosts": "a b", "port": "80"], ["hosts": "a.test"], "", "has a character"),
        (["hosts": "a b", "port": "80", "ip_allow": "10.0.0.0/8"], good, "", "restricts access"),
        (["hosts": "a.test", "port": "80", "ip_allow": "oops"], good, "", "CIDR"),
        (["port": "80"], good, "", "name the hosts"),
        (["hosts": "b.test"], good, "", "name the tasks' port"),
    ] as [([String: String], [String: String], String, String)])
func previousLabels(labels: [String: String], previous: [String: String], route: String, message: String) {
    let snapshot = snapshot(of: webInventory(labels, previous: previous))
    let routes = snapshot.configuration.routes.map { "\($0.host)\($0.pathPrefix)" }
    #expect(routes == (route.isEmpty ? [] : [route]))
    #expect(snapshot.diagnostics.contains { $0.message.contains(message) }, "\(diagnosed(snapshot))")
    #expect(snapshot.diagnostics.contains { $0.severity == .error })
}

@Test func labelsOnTheContainerAreReported() {
    var inventory = webInventory([:])
    inventory.services[0].containerLabels = lb(["hosts": "a.test", "port": "80"])
    let snapshot = snapshot(of: inventory)
    #expect(snapshot.configuration.routes.isEmpty)
    #expect(snapshot.diagnostics.map(\.severity) == [.warning])
    #expect(snapshot.diagnostics.first?.message.contains("deploy.labels") == true)
    inventory.services[0].labels = lb(["hosts": "a.test", "port": "80"])
    #expect(diagnosed(ServiceMapping.snapshot(of: inventory, settings: .init())).isEmpty)
}

@Test func servicesOfOthersAreIgnored() {
    #expect(snapshot(of: webInventory([:])) == Snapshot())
    let labels = ["hosts": "a b", "port": "x", "service_cluster": "inner", "nonsense": "1"]
    #expect(snapshot(of: webInventory(labels)) == Snapshot())
    let inner = ["hosts": "a.test", "port": "80", "service_cluster": "inner"]
    #expect(snapshot(of: webInventory(inner), cluster: "inner").configuration.routes.count == 1)
    #expect(snapshot(of: webInventory(good), cluster: "inner") == Snapshot())
    #expect(snapshot(of: webInventory(good, previous: inner)).configuration.routes.count == 1)
}
