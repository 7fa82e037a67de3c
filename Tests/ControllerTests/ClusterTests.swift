// One controller and several proxy groups: who gets what, who is told what, and on which networks the proxies sit.

import Discovery
import Kernel
import Model
import Support
import Synchronization
import Telemetry
import Testing

@testable import Controller
@testable import Docker

private let networks = [
    Network(id: "n-blue", name: "blue"), Network(id: "n-front", name: "front"),
    Network(id: "n-ingress", name: "ingress", isIngress: true), Network(id: "n-host", name: "host", scope: .local),
]

private func service(
    _ name: String, cluster: String? = nil, host: String? = nil, networks: [String] = ["n-front"], port: String = "80",
    version: UInt64 = 1
) -> SwarmService {
    var labels = ["com.docker.lb.hosts": host ?? "\(name).test", "com.docker.lb.port": port]
    labels["com.docker.lb.service_cluster"] = cluster
    return SwarmService(id: "s-\(name)", name: name, version: version, labels: labels, networks: networks)
}

/// A service that nobody asks a route for: proxies themselves.
private func unlabelled(_ name: String, networks: [String]) -> SwarmService {
    SwarmService(id: "s-\(name)", name: name, networks: networks)
}

private func observed(
    _ services: [SwarmService], ownNetworks: [String]? = nil, ownService: String? = nil, problems: [Diagnostic] = []
) -> DockerObservation {
    let tasks = services.map { service in
        SwarmTask(
            id: "t-\(service.name)", serviceID: service.id, nodeID: "n",
            addresses: service.networks.map {
                NetworkAddress(networkID: $0, address: IPAddress(v4: 0x0A00_0001))
            })
    }
    return DockerObservation(
        inventory: Inventory(
            order: SnapshotOrder(clusterID: "c", version: 7), services: services, tasks: tasks,
            nodes: [SwarmNode(id: "n")], networks: networks),
        problems: problems, ownNetworks: ownNetworks, ownService: ownService)
}

private func everyCluster(_ proxyServices: [String: String] = [:], networks: [String]? = nil) -> MappingPass {
    MappingPass(
        settings: ControllerSettings(
            mapping: MappingSettings(proxyNetworks: networks), clusters: .all, proxyServices: proxyServices))
}

extension MappingPass.Outcome? {
    /// `cluster: services` of each group that changed.
    fileprivate var lines: [String] {
        (self?.changed ?? []).map { changed in
            "\(changed.cluster): \(changed.snapshot.configuration.services.map(\.name).joined(separator: " "))"
        }
    }
}

@Suite struct ClusterTests {
    @Test func eachGroupGetsItsOwnServices() {
        var pass = everyCluster()
        let services = [service("web"), service("shop", cluster: "blue"), service("api", cluster: "green")]
        let outcome = pass.take(docker: observed(services), file: nil)
        #expect(outcome.lines == [": web", "blue: shop", "green: api"])
        #expect(outcome?.changed.allSatisfy { $0.snapshot.order.version == 7 } == true)
        #expect(outcome?.changed[1].snapshot.endpoints.first?.map(\.id) == ["t-shop"])
    }

    @Test func aChangeOfOneGroupIsNoNewsToTheOthers() {
        var pass = everyCluster()
        var services = [service("web"), service("shop", cluster: "blue"), service("api", cluster: "green")]
        _ = pass.take(docker: observed(services), file: nil)
        services[1] = service("shop", cluster: "blue", host: "other.test")
        #expect(pass.take(docker: observed(services), file: nil).lines == ["blue: shop"])
        services[1] = service("shop", cluster: "green")
        #expect(pass.take(docker: observed(services), file: nil).lines == ["blue: ", "green: api shop"])
        #expect(pass.take(docker: observed(services), file: nil) == nil)
    }

    @Test func aGroupThatIsGoneIsToldSoOnce() {
        var pass = everyCluster()
        _ = pass.take(docker: observed([service("web"), service("shop", cluster: "blue")]), file: nil)
        #expect(pass.take(docker: observed([service("web")]), file: nil).lines == ["blue: "])
        #expect(pass.take(docker: observed([service("web", version: 2)]), file: nil).lines == [])
        // It comes back as if it were new.
        let back = observed([service("web"), service("shop", cluster: "blue")])
        #expect(pass.take(docker: back, file: nil).lines == ["blue: shop"])
    }

    @Test func whoAsksGetsASnapshotHoweverEmpty() {
        var pass = everyCluster()
        let world = observed([service("web")])
        #expect(pass.take(docker: world, file: nil).lines == [": web"])
        #expect(pass.take(docker: world, file: nil, wanted: ["blue"]).lines == ["blue: "])
        #expect(pass.take(docker: world, file: nil, wanted: ["blue"]) == nil)
        let grown = observed([service("web"), service("shop", cluster: "blue")])
        #expect(pass.take(docker: grown, file: nil, wanted: ["blue"]).lines == ["blue: shop"])
        #expect(pass.take(docker: world, file: nil, wanted: ["blue"]).lines == ["blue: "])
    }

    @Test func oneGroupAloneIsAsBefore() {
        let settings = ControllerSettings(mapping: MappingSettings(serviceCluster: "blue"))
        var pass = MappingPass(settings: settings)
        let outcome = pass.take(docker: observed([service("web"), service("shop", cluster: "blue")]), file: nil)
        #expect(outcome.lines == ["blue: shop"])
        #expect(pass.take(docker: observed([service("x"), service("shop", cluster: "blue")]), file: nil).lines == [])
    }

    @Test func aDiagnosticIsToldByOneGroup() {
        var pass = everyCluster()
        let problem = Diagnostic(severity: .error, service: "Docker", message: "an element makes no sense")
        let services = [
            service("bad", cluster: "blue", port: "eighty"), service("worse", port: "x"),
            service("fine", cluster: "green"),
        ]
        let outcome = pass.take(docker: observed(services, problems: [problem]), file: nil)
        let told = Dictionary(
            uniqueKeysWithValues: (outcome?.changed ?? []).map { ($0.cluster, $0.snapshot.diagnostics.map(\.service)) })
        #expect(told == ["": ["worse", "Docker"], "blue": ["bad"], "green": []])
        #expect(pass.diagnostics.map(\.service) == ["worse", "Docker", "bad"])
        #expect(outcome?.appeared.count == 3)
        // Who moves to another group with the same fault is no news.
        let moved = [service("bad", cluster: "green", port: "eighty"), services[1], services[2]]
        let second = pass.take(docker: observed(moved, problems: [problem]), file: nil)
        #expect(second?.appeared.isEmpty == true)
        #expect(second?.vanished.isEmpty == true)
    }

    @Test func servicesOfFilesAreDividedToo() {
        var pass = everyCluster()
        func entry(_ name: String, _ cluster: String) -> FileService {
            FileService(
                name: name, labels: ["com.docker.lb.hosts": "\(name).test", "com.docker.lb.service_cluster": cluster],
                endpoints: ["127.0.0.1:1"])
        }
        let file = ServicesFileObservation(
            file: ServicesFile(name: "f", services: [entry("a", ""), entry("b", "blue"), entry("c", "")]),
            problems: [])
        var world = observed([])
        world.inventory.files = [
            ServicesFile(name: "old", origin: .config, createdAtNs: 1, services: [entry("a", "blue")])
        ]
        let outcome = pass.take(docker: world, file: file)
        #expect(outcome.lines == [": a c", "blue: b"])
        #expect(outcome?.changed.last?.snapshot.diagnostics.map(\.service) == ["a"])
        #expect(pass.diagnostics.count == 1)
    }

    @Test func nothingIsHandedOutBeforeTheEngineWasHeard() {
        let docker = DockerSettings(endpoint: DockerEndpoint(address: .unix(path: "/x")))
        var pass = MappingPass(settings: ControllerSettings(docker: docker, clusters: .all))
        let file = ServicesFileObservation(file: ServicesFile(name: "f", services: []), problems: [])
        #expect(pass.take(docker: nil, file: file, wanted: ["blue"]) == nil)
        #expect(pass.take(docker: observed([]), file: file, wanted: ["blue"]).lines == [": ", "blue: "])
    }

    // MARK: Networks of the proxies

    /// The upstream count and the diagnostics of `web`, on `front`, in the group that its label names.
    private func reach(_ pass: inout MappingPass, _ world: DockerObservation) -> String {
        guard let outcome = pass.take(docker: world, file: nil) else { return "as it was" }
        return outcome.changed.filter { !$0.cluster.isEmpty || outcome.changed.count == 1 }.map { changed in
            let snapshot = changed.snapshot
            return (["\(snapshot.endpoints.count)"] + snapshot.diagnostics.map { "\($0.service): \($0.message)" })
                .joined(separator: "; ")
        }.joined(separator: " | ")
    }

    @Test func theNetworksOfAGroupAreThoseOfItsService() {
        var pass = everyCluster(["": "lb_proxy", "blue": "lb_blue"])
        let web = service("web", cluster: "blue", networks: ["n-front"])
        let command = "docker service update --network-add front lb_blue"
        #expect(
            reach(&pass, observed([web, unlabelled("lb_blue", networks: ["n-blue"])]))
                == "0; web: shares no network with the proxy; attach it: \(command)")
        #expect(reach(&pass, observed([web, unlabelled("lb_blue", networks: ["n-blue", "front"])])) == "1")
        // Host networking: no network of the Swarm can be reached.
        for host in ["n-host", "host"] {
            #expect(
                reach(&pass, observed([web, unlabelled("lb_blue", networks: [host])]))
                    .hasPrefix("0; web: shares no network"))
            #expect(reach(&pass, observed([web, unlabelled("lb_blue", networks: ["n-front"])])) == "1")
        }
        #expect(
            reach(&pass, observed([web, unlabelled("lb_blue", networks: ["n-ingress"])]))
                .hasPrefix("0; web: shares no network"))
    }

    @Test func aProxyServiceThatIsAwayKeepsItsNetworks() {
        var pass = everyCluster(["blue": "lb_blue"])
        let web = service("web", cluster: "blue", networks: ["n-front"])
        let unknown = "lb_blue: is no service of this Swarm, so the networks of the proxies are not known"
        // Nobody knows: whatever network there is.
        #expect(reach(&pass, observed([web])) == "1; \(unknown) (INTERLOCK_PROXY_SERVICE names it)")
        #expect(reach(&pass, observed([web, unlabelled("lb_blue", networks: ["n-blue"])])).hasPrefix("0; web: shares"))
        let kept = reach(&pass, observed([web]))
        #expect(kept.hasPrefix("0; web: shares no network"))
        #expect(kept.contains("lb_blue: is no service of this Swarm, so the networks of the proxies are taken to be"))
    }

    @Test func whatTheOperatorSaysGoesFirst() {
        var pass = everyCluster(["blue": "lb_blue"], networks: ["front"])
        let world = observed([
            service("web", cluster: "blue", networks: ["n-front"]), unlabelled("lb_blue", networks: ["n-blue"]),
        ])
        #expect(reach(&pass, world) == "1")
    }

    @Test func aControllerOfAllGroupsSitsOnNoneOfTheirNetworks() {
        let world = observed([service("web", networks: ["n-front"])], ownNetworks: ["n-blue"], ownService: "lb_all")
        var all = everyCluster()
        #expect(reach(&all, world) == "1")
        // One that proxies itself does.
        var own = MappingPass(settings: ControllerSettings())
        #expect(
            reach(&own, world)
                == "0; web: shares no network with the proxy; "
                + "attach it: docker service update --network-add front lb_all")
    }

    // MARK: With threads

    @Test func whoAsksLaterIsServedAtOnce() throws {
        let folder = try makeFolder()
        try writeFile(
            folder + "/f.json",
            #"{"services":[{"name":"a","labels":{"com.docker.lb.hosts":"a.test"},"endpoints":["127.0.0.1:1"]}]}"#)
        let published = try Collected<ClusterSnapshot>()
        let controller = Controller(
            settings: ControllerSettings(servicesFile: folder + "/f.json", clusters: .all),
            log: Log(level: .error, clock: { 0 }) { _ in }
        ) { changed in
            for each in changed { published.append(each) }
        }
        controller.want(cluster: "early")
        try controller.start()
        defer { controller.stop() }
        #expect(published.wait { Set($0.map(\.cluster)) == ["", "early"] })
        controller.want(cluster: "late")
        #expect(published.wait { $0.last?.cluster == "late" })
        #expect(published.all.last?.snapshot.configuration.services.isEmpty == true)
        controller.want(cluster: "late")
        #expect(controller.status.publishedCount == 3)
    }
}
