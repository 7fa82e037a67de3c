// A pin over the live world: what was said then, over the tasks of now.

import Discovery
import Model
import Support
import Testing

/// A Swarm service on `front`, and its tasks.
private struct Made {
    var service: SwarmService
    var tasks: [SwarmTask]

    init(
        _ name: String, age: Int64 = 1, _ labels: [String: String], previous: [String: String]? = nil,
        stack: String? = nil, ports: [UInt16] = [], tasks: [String] = ["1"]
    ) {
        service = SwarmService(
            id: "s-\(name)", name: name, createdAtNs: age, labels: lb(labels, stack: stack),
            previousLabels: previous.map { lb($0, stack: stack) }, ports: ports.map { PublishedPort(targetPort: $0) },
            networks: ["front"])
        self.tasks = tasks.map { id in
            SwarmTask(
                id: "\(name)-\(id)", serviceID: "s-\(name)",
                addresses: [on("n-front", "10.1.\(name.utf8.count).\(id)")])
        }
    }
}

private func inventory(_ made: [Made], files: [ServicesFile] = [], containers: [Container] = []) -> Inventory {
    Inventory(
        services: made.map(\.service), tasks: made.flatMap(\.tasks), networks: [front, ingress],
        containers: containers, files: files)
}

private let frontSettings = MappingSettings(proxyNetworks: ["front"])

private func pin(
    _ inventory: Inventory, settings: MappingSettings = frontSettings, number: Int = 7
) -> Pin {
    let said = ServiceMapping.mapped(inventory, settings: settings).said
    return Pin(
        id: "p", number: number, atNs: 1,
        configuration: PinnedConfiguration(
            clusters: [settings.serviceCluster], services: said.map { $0.pinned(labelPrefix: settings.labelPrefix) }))
}

private func under(
    _ pin: Pin, _ inventory: Inventory, settings: MappingSettings = frontSettings, nodeID: String = ""
) -> (snapshot: Snapshot, laid: PinnedLabels) {
    let laid = PinnedLabels(inventory, by: [pin], nodeID: nodeID, labelPrefix: settings.labelPrefix)
    var snapshot = ServiceMapping.mapped(
        laid.inventory, settings: settings, claimantsOnly: laid.claimantsOnly
    ).snapshot
    snapshot.diagnostics += laid.findings[settings.serviceCluster] ?? []
    return (snapshot, laid)
}

@Suite("pinned labels") struct PinnedLabelTests {
    @Test("nothing has changed: the pin changes nothing and says nothing")
    func aPinOfNow() {
        let world = inventory(
            [
                Made("web", ["hosts": "a.test", "port": "80"], stack: "shop", tasks: ["1", "2"]),
                Made("api", age: 2, ["hosts": "a.test", "context_root": "/api"], ports: [90]),
            ],
            files: [
                ServicesFile(
                    name: "f",
                    services: [FileService(name: "old", labels: lb(["hosts": "old.test"]), endpoints: ["10.9.9.9:1"])])
            ])
        let (snapshot, laid) = under(pin(world), world)
        #expect(snapshot == ServiceMapping.snapshot(of: world, settings: frontSettings))
        #expect(laid.findings.isEmpty && laid.heldBack.isEmpty && laid.claimantsOnly.isEmpty)
    }

    @Test("bad labels of now do not matter, and tasks are those of now")
    func badLabelsOfNow() {
        let pin = pin(inventory([Made("web", ["hosts": "a.test", "port": "80"], tasks: ["1"])]))
        let now = inventory([Made("web", ["hosts": "b.test", "port": "eighty", "nonsense": "x"], tasks: ["8", "9"])])
        let (snapshot, laid) = under(pin, now)
        #expect(rendered(snapshot) == ["a.test/ -> web(web-8@10.1.3.8:80 ready, web-9@10.1.3.9:80 ready)"])
        #expect(snapshot.diagnostics.isEmpty)
        #expect(laid.heldBack == ["web"])
    }

    @Test("labels that are gone are back")
    func labelsOfNowAreGone() {
        let pin = pin(inventory([Made("web", ["hosts": "a.test", "port": "80"])]))
        let (snapshot, _) = under(pin, inventory([Made("web", [:])]))
        #expect(rendered(snapshot) == ["a.test/ -> web(web-1@10.1.3.1:80 ready)"])
    }

    @Test("a younger service is not routed, and a diagnostic says why")
    func youngerServices() {
        let web = Made("web", ["hosts": "a.test", "port": "80"])
        let shop = Made("shop", ["hosts": "a.test,shop.test", "port": "80"])
        let (snapshot, laid) = under(pin(inventory([web])), inventory([web, shop, Made("plain", [:])]))
        #expect(rendered(snapshot) == ["a.test/ -> web(web-1@10.1.3.1:80 ready)"])
        #expect(
            diagnosed(snapshot) == [
                "error shop : is not routed: configuration 7 is pinned, and this service was not in it; "
                    + "`interlock resume` lets go of the pin"
            ])
        #expect(laid.heldBack == ["shop"])
    }

    @Test("a service that is gone is gone; with the last one a diagnostic says so")
    func goneServices() {
        let web = Made("web", ["hosts": "a.test", "port": "80"])
        let api = Made("api", ["hosts": "b.test", "port": "80"])
        let pin = pin(inventory([web, api]))
        #expect(rendered(under(pin, inventory([api])).snapshot).count == 1)
        let (nothing, _) = under(pin, inventory([]))
        #expect(rendered(nothing).isEmpty)
        #expect(
            diagnosed(nothing) == [
                "warning pin : of the 2 services of configuration 7, which is pinned, none is left: nothing is routed "
                    + "until `interlock resume`"
            ])
    }

    @Test("an empty configuration can be pinned")
    func emptyConfiguration() {
        let (snapshot, _) = under(pin(inventory([])), inventory([Made("web", ["hosts": "a.test", "port": "80"])]))
        #expect(snapshot.configuration.services.isEmpty)
        #expect(snapshot.diagnostics.map(\.service) == ["web"])
    }

    @Test("labels from before an update that were in force are pinned, and told no more")
    func labelsFromBeforeAnUpdate() {
        let fallen = Made(
            "web", ["hosts": "bad host"], previous: ["hosts": "a.test", "port": "80"], stack: "shop")
        let then = inventory([fallen])
        #expect(rendered(ServiceMapping.snapshot(of: then, settings: frontSettings)).count == 1)
        let pin = pin(then)
        #expect(pin.configuration.services.first?.labels["com.docker.lb.hosts"] == "a.test")
        #expect(pin.configuration.services.first?.labels["com.docker.stack.namespace"] == "shop")
        // As it is: the pin is in force, and nothing is held back by it.
        #expect(under(pin, then).snapshot.diagnostics.isEmpty)
        #expect(under(pin, then).laid.heldBack.isEmpty)
        // The update after next: neither the labels of now nor those before them are the ones of then.
        let later = Made("web", ["hosts": "c.test"], previous: ["hosts": "bad host"], stack: "shop")
        #expect(rendered(under(pin, inventory([later])).snapshot) == ["a.test/ -> web(web-1@10.1.3.1:80 ready)"])
        #expect(under(pin, inventory([later])).laid.heldBack == ["web"])
    }

    @Test("what was left out stays out, though its labels are good now")
    func leftOutThen() {
        let then = inventory([Made("web", ["hosts": "a.test"]), Made("ok", ["hosts": "b.test", "port": "80"])])
        let now = inventory([
            Made("web", ["hosts": "a.test", "port": "80"]), Made("ok", ["hosts": "b.test", "port": "80"]),
        ])
        #expect(rendered(under(pin(then), now).snapshot) == ["b.test/ -> ok(ok-1@10.1.2.1:80 ready)"])
    }

    @Test("hosts of a stack stay its own while its service is left out")
    func claimants() {
        let owned = MappingSettings(proxyNetworks: ["front"], hostOwnership: .stack)
        let bad = Made("first", age: 1, ["hosts": "a.test", "port": "x"], stack: "one")
        let waiting = Made("second", age: 2, ["hosts": "a.test,b.test", "port": "80"], stack: "two")
        let then = inventory([bad, waiting])
        let before = ServiceMapping.snapshot(of: then, settings: owned)
        #expect(rendered(before) == ["b.test/ -> second(second-1@10.1.6.1:80 ready)"])
        let pin = pin(then, settings: owned)
        #expect(pin.configuration.services.map(\.isRouted) == [false, true])
        // Mended or not: under the pin it is as it was.
        let mended = Made("first", age: 1, ["hosts": "a.test", "port": "80"], stack: "one")
        for now in [then, inventory([mended, waiting])] {
            let (snapshot, laid) = under(pin, now, settings: owned)
            #expect(rendered(snapshot) == rendered(before))
            #expect(laid.claimantsOnly == ["s-first"])
            #expect(snapshot.diagnostics.contains { $0.service == "first" && $0.message.contains("was left out") })
        }
    }

    @Test("a port that was told by what was published still follows it, and else is the one of then")
    func inferredPorts() {
        let pin = pin(inventory([Made("web", ["hosts": "a.test"], ports: [80])]))
        let moved = under(pin, inventory([Made("web", ["hosts": "a.test"], ports: [81])]))
        #expect(rendered(moved.snapshot) == ["a.test/ -> web(web-1@10.1.3.1:81 ready)"])
        let several = under(pin, inventory([Made("web", ["hosts": "a.test"], ports: [81, 82])]))
        #expect(rendered(several.snapshot) == ["a.test/ -> web(web-1@10.1.3.1:80 ready)"])
    }

    @Test("a service that was moved to another network is reached there")
    func movedNetworks() {
        let settings = MappingSettings(proxyNetworks: ["front", "shop_back"])
        func world(_ made: Made) -> Inventory {
            Inventory(services: [made.service], tasks: made.tasks, networks: [front, back, ingress])
        }
        let then = Made("web", ["hosts": "a.test", "port": "80", "network": "front"])
        let pin = pin(world(then), settings: settings)
        for label in ["shop_back", nil] {
            var now = Made("web", ["hosts": "b.test", "port": "80"], tasks: [])
            now.service.labels["com.docker.lb.network"] = label
            now.service.networks = ["n-back"]
            now.tasks = [SwarmTask(id: "web-1", serviceID: "s-web", addresses: [on("n-back", "10.7.0.1")])]
            let (snapshot, _) = under(pin, world(now), settings: settings)
            #expect(rendered(snapshot) == ["a.test/ -> web(web-1@10.7.0.1:80 ready)"])
            #expect(snapshot.diagnostics.isEmpty)
        }
        // As long as it is on the network of then, that is the one.
        var both = then
        both.service.labels["com.docker.lb.network"] = "shop_back"
        both.service.networks = ["n-back", "n-front"]
        #expect(
            rendered(under(pin, world(both), settings: settings).snapshot)
                == rendered(under(pin, world(then), settings: settings).snapshot))
    }

    @Test("other proxy groups are not touched")
    func otherClusters() {
        let blue = MappingSettings(serviceCluster: "blue", proxyNetworks: ["front"])
        let web = Made("web", ["hosts": "a.test", "port": "80", "service_cluster": "blue"])
        let other = Made("other", ["hosts": "b.test", "port": "80"])
        let pin = pin(inventory([web, other]), settings: blue)
        #expect(pin.configuration.services.map(\.name) == ["web"])
        let young = Made("young", ["hosts": "c.test", "port": "80"])
        let (snapshot, laid) = under(pin, inventory([web, other, young]), settings: blue)
        #expect(rendered(snapshot) == ["a.test/ -> web(web-1@10.1.3.1:80 ready)"])
        #expect(laid.findings.isEmpty)
        // A service that moved to another group is in its old one as long as that is pinned.
        var moved = web
        moved.service.labels["com.docker.lb.service_cluster"] = "green"
        #expect(rendered(under(pin, inventory([moved]), settings: blue).snapshot).count == 1)
    }

    @Test("a container keeps its place by name, and only on its own machine")
    func containers() {
        func made(_ id: String, _ host: String) -> Container {
            Container(
                id: id, name: "solo", createdAtNs: 5, labels: lb(["hosts": host]),
                networks: [ContainerNetwork(id: "n-front", name: "front", addresses: [address("10.2.0.1")])],
                exposedPorts: [80])
        }
        let pin = pin(inventory([], containers: [made("c1", "a.test")]))
        #expect(pin.configuration.services.map(\.key) == ["container:solo"])
        let now = inventory([], containers: [made("c2", "b.test")])
        #expect(rendered(under(pin, now).snapshot) == ["a.test/ -> solo(container:c2@10.2.0.1:80 ready)"])
        let elsewhere = under(pin, now, nodeID: "elsewhere")
        #expect(rendered(elsewhere.snapshot) == ["b.test/ -> solo(container:c2@10.2.0.1:80 ready)"])
        #expect(elsewhere.snapshot.diagnostics.isEmpty)
    }

    @Test("services of files keep labels and age, and have the endpoints of now")
    func files() {
        func file(_ age: Int64, _ services: [(String, String, String)]) -> ServicesFile {
            ServicesFile(
                name: "f", createdAtNs: age,
                services: services.map {
                    FileService(name: $0.0, labels: lb(["hosts": $0.1]), endpoints: [$0.2])
                })
        }
        let pin = pin(inventory([], files: [file(3, [("a", "a.test", "10.0.0.1:1"), ("b", "b.test", "10.0.0.2:1")])]))
        let now = inventory(
            [], files: [file(9, [("a", "x.test", "10.0.0.7:1"), ("c", "c.test", "10.0.0.3:1")])])
        let (snapshot, laid) = under(pin, now)
        #expect(rendered(snapshot) == ["a.test/ -> a(file:a/10.0.0.7:1@10.0.0.7:1 ready)"])
        #expect(laid.inventory.files.map(\.createdAtNs) == [3])
        #expect(laid.heldBack == ["a", "c"])
    }

    @Test("equal worlds and equal pins give equal snapshots, whatever the order")
    func agreement() {
        let made = (1...20).map { number in
            Made(
                "s\(number)", age: Int64(number % 4),
                ["hosts": "h\(number % 5).test", "port": "80", "context_root": "/p\(number % 3)"])
        }
        let pin = pin(inventory(made))
        let expected = under(pin, inventory(made)).snapshot
        var random = SeededRandom(seed: 4)
        for _ in 0..<5 {
            let shuffled = inventory(made.shuffled(using: &random))
            #expect(under(pin, shuffled).snapshot == expected)
        }
    }
}
