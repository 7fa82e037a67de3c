// What labels need of the services that proxies and controllers run in, and who belongs to which proxy group.

import Discovery
import Model
import Testing

private func needs(
    _ inventory: Inventory, proxyNetworks: [String]? = ["front"], cluster: String = ""
) -> LabelNeeds {
    LabelNeeds(
        of: inventory, settings: MappingSettings(serviceCluster: cluster, proxyNetworks: proxyNetworks))
}

private func secrets(_ needs: LabelNeeds) -> [String] {
    needs.secrets.map { "\($0.service): \($0.reference.names.joined(separator: "|"))" }
}

private func networks(_ needs: LabelNeeds) -> [String] {
    needs.networks.map { "\($0.service): \($0.name)\($0.isShared ? "" : " is missing")" }
}

/// A service with these labels on these networks.
private func one(
    _ labels: [String: String], on networks: [String], ports: [PublishedPort] = [], stack: String? = nil
) -> Inventory {
    Inventory(
        services: [
            SwarmService(
                id: "s", name: "web", labels: lb(labels, stack: stack), ports: ports, networks: networks)
        ],
        networks: [front, back, ingress, Network(id: "n-host", name: "host", scope: .local)])
}

@Suite struct LabelNeedsTests {
    @Test(arguments: [
        (["ssl_cert": "c"], ["web: c"]), (["ssl_cert": "c", "ssl_key": "k"], ["web: c", "web: k"]),
        (["ssl_cert": "a,b", "ssl_key": "k,l"], ["web: a", "web: b", "web: k", "web: l"]),
        (["ssl_cert": "c", "ssl_client_ca": "ca", "ssl_client_auth": "required"], ["web: c", "web: ca"]),
        (["ssl_backend": "true", "ssl_backend_ca": "bca"], ["web: bca"]), ([:], []),
        // Labels that cannot be read need nothing.
        (["ssl_cert": "c", "context_root": "no path"], []), (["ssl_cert": "c", "ssl_key": "k,l"], []),
        // Another group's are none of ours.
        (["ssl_cert": "c", "service_cluster": "blue"], []),
    ])
    func secretsAreThoseThatLabelsName(_ labels: [String: String], _ expected: [String]) {
        let asked = labels.merging(["hosts": "web.test", "port": "80"]) { own, _ in own }
        #expect(secrets(needs(one(asked, on: ["n-front"]))) == expected)
    }

    @Test func aStacksNameIsTriedToo() {
        let inventory = one(["hosts": "a.test", "port": "80", "ssl_cert": "c"], on: ["n-front"], stack: "shop")
        #expect(secrets(needs(inventory)) == ["web: c|shop_c"])
    }

    @Test func whatIsNamedIsNamedHoweverBadTheLabels() {
        let labels = ["ssl_cert": " a , b;", "ssl_key": "k", "ssl_client_ca": "", "context_root": "no path"]
        #expect(needs(one(labels, on: [], stack: "s")).secretsNamed == ["a", "s_a", "b", "s_b", "k", "s_k"])
        #expect(needs(one(labels, on: []), cluster: "blue").secretsNamed == [])
        #expect(needs(one(["hosts": "a"], on: [])).secretsNamed == [])
    }

    @Test func theFirstByNameIsTold() {
        var inventory = filed([
            ("z", ["hosts": "z.test", "ssl_cert": "c"]), ("b", ["hosts": "b.test", "ssl_cert": "c"]),
        ])
        inventory.containers = [Container(id: "x", name: "y", labels: lb(["hosts": "y.test", "ssl_cert": "c"]))]
        #expect(secrets(needs(inventory)) == ["b: c"])
    }

    @Test(arguments: [
        (["n-front"], [:], ["web: front"]), (["n-back"], [:], ["web: shop_back is missing"]),
        (["n-back", "n-front"], [:], ["web: front"]),
        (["n-back", "n-front"], ["network": "shop_back"], ["web: shop_back is missing"]),
        (["n-front"], ["network": "nowhere"], []), (["n-ingress"], [:], []), (["n-host"], [:], []), ([], [:], []),
        // Asks for nothing, so it needs nothing.
        (["n-back"], ["hosts": ""], []), (["n-back"], ["service_cluster": "blue"], []),
    ])
    func networksAreThoseThatTasksAreReachedOver(
        _ on: [String], _ labels: [String: String], _ expected: [String]
    ) {
        let asked = labels.merging(["hosts": "web.test", "port": "80"]) { own, _ in own }
        #expect(networks(needs(one(asked, on: on))) == expected)
    }

    @Test func portsOnNodesNeedNoNetwork() {
        let ports = [PublishedPort(targetPort: 80, publishedPort: 8080, mode: .host)]
        let asked = ["hosts": "web.test", "port": "80"]
        let found = needs(one(asked, on: ["n-back"], ports: ports))
        #expect(networks(found) == [])
        #expect(found.networksInUse == ["n-back"])
        #expect(networks(needs(one(asked, on: ["n-front"], ports: ports))) == ["web: front"])
    }

    @Test func whereNobodyKnowsNothingIsMissing() {
        let asked = ["hosts": "web.test", "port": "80"]
        #expect(networks(needs(one(asked, on: ["n-back"]), proxyNetworks: nil)) == ["web: shop_back"])
    }

    @Test func whatControllersWriteAsksForNothing() {
        let marks = ["managed": "0123", "managed_failed": "1", "added_secrets": "a", "added_networks": "b"]
        let inventory = one(marks, on: ["n-front"])
        #expect(needs(inventory) == LabelNeeds())
        #expect(snapshot(of: inventory).diagnostics.isEmpty)
        let both = marks.merging(["hosts": "web.test", "port": "80"]) { own, _ in own }
        #expect(snapshot(of: one(both, on: ["n-front"])).diagnostics.isEmpty)
    }

    @Test func aDivisionLosesNothing() {
        let labels = ["", "blue", " blue ", "green", "blue;"].map { lb(["service_cluster": $0]) }
        var inventory = Inventory(nodes: [SwarmNode(id: "n")], networks: [front])
        inventory.services = labels.enumerated().map { SwarmService(id: "s\($0)", name: "n\($0)", labels: $1) }
        inventory.services.append(SwarmService(id: "bare", name: "bare"))
        inventory.tasks = (0..<5).map { SwarmTask(id: "t\($0)", serviceID: "s\($0)") }
        inventory.tasks.append(SwarmTask(id: "stray", serviceID: "gone"))
        inventory.containers = [
            Container(id: "c", name: "c", labels: labels[3]),
            Container(id: "d", name: "d", labels: labels[3].merging([Labels.swarmTaskLabel: "t"]) { own, _ in own }),
        ]
        inventory.files = [
            ServicesFile(name: "f", services: [FileService(name: "a"), FileService(name: "b", labels: labels[1])])
        ]
        let division = ClusterDivision(inventory, settings: MappingSettings())
        #expect(division.parts.keys.sorted() == ["", "blue", "green"])
        #expect(division.parts.values.allSatisfy { $0.nodes == inventory.nodes && $0.networks == inventory.networks })
        #expect(division.parts["blue"]?.services.map(\.id) == ["s1", "s2", "s4"])
        #expect(division.parts["blue"]?.tasks.map(\.id) == ["t1", "t2", "t4"])
        #expect(division.parts["blue"]?.files.flatMap(\.services).map(\.name) == ["b"])
        #expect(division.parts[""]?.tasks.map(\.id) == ["t0", "stray"])
        #expect(division.parts[""]?.services.map(\.id) == ["s0", "bare"])
        #expect(division.parts[""]?.containers.map(\.id) == ["d"])
        #expect(division.parts["green"]?.containers.map(\.id) == ["c"])
        #expect(division.findings.isEmpty)
    }
}
