import Controller
import Discovery
import Docker
import Kernel
import Model
import Support
import Synchronization
import Telemetry
import Testing

/// A controller and what it published and logged.
private final class Bench {
    let published: Collected<Snapshot>
    let lines: Collected<String>
    let controller: Controller

    init(socket: String? = nil, file: String? = nil, mapping: MappingSettings = MappingSettings()) throws {
        let published = try Collected<Snapshot>()
        let lines = try Collected<String>()
        self.published = published
        self.lines = lines
        let log = Log(level: .info, clock: { Clock.realtimeNs() }) { line in
            lines.append(String(decoding: line, as: UTF8.self))
        }
        let docker = socket.map { path in
            DockerSettings(
                endpoint: DockerEndpoint(address: .unix(path: path)), pollIntervalMs: 200, busyPollIntervalMs: 50)
        }
        controller = Controller(
            settings: ControllerSettings(docker: docker, servicesFile: file, mapping: mapping), log: log
        ) { changed in
            for each in changed { published.append(each.snapshot) }
        }
    }

    /// The names of the services in the last snapshot.
    func waitFor(_ names: [String]) -> Bool {
        published.wait { $0.last?.configuration.services.map(\.name) == names }
    }
}

@Suite struct ControllerTests {
    private func file(_ services: [(name: String, host: String)]) -> String {
        let items = services.map { service in
            #"{"name":"\#(service.name)","labels":{"com.docker.lb.hosts":"\#(service.host)"},"#
                + #""endpoints":["127.0.0.1:1"]}"#
        }
        return "{\"services\":[\(items.joined(separator: ","))]}"
    }

    private func service(_ name: String, version: Int = 10, port: String = "80") -> String {
        """
        {"ID":"id-\(name)","Version":{"Index":\(version)},"CreatedAt":"2026-11-22T16:01:44.983089609Z",
        "Spec":{"Name":"\(name)","Labels":{"com.docker.lb.hosts":"\(name).test","com.docker.lb.port":"\(port)"},
        "Mode":{"Replicated":{"Replicas":1}},"TaskTemplate":{"Networks":[{"Target":"net1"}]}}}
        """
    }

    private func task(_ service: String, _ state: String = "running", address: String = "10.0.1.7") -> String {
        """
        {"ID":"task-\(service)","Version":{"Index":11},"ServiceID":"id-\(service)","Slot":1,"NodeID":"n",
        "Status":{"State":"\(state)"},"DesiredState":"running",
        "NetworksAttachments":[{"Network":{"ID":"net1"},"Addresses":["\(address)/24"]}]}
        """
    }

    private func swarm() throws -> FakeDocker {
        let engine = try FakeDocker()
        engine.answer(
            "/info",
            .json(
                #"{"Swarm":{"NodeID":"n","LocalNodeState":"active","ControlAvailable":true,"Cluster":{"ID":"c1"}}}"#))
        engine.answer("/networks", .json(#"[{"Id":"net1","Name":"front","Scope":"swarm"}]"#))
        engine.answer("/nodes", .json(#"[{"ID":"n","Status":{"State":"ready","Addr":"10.0.0.1"}}]"#))
        for path in ["/services", "/tasks", "/configs", "/containers/json"] { engine.answer(path, .json("[]")) }
        return engine
    }

    @Test func publishesAServicesFileAndItsChanges() throws {
        let folder = try makeFolder()
        let path = folder + "/services.json"
        try writeFile(path, file([("web", "web.test")]))
        let bench = try Bench(file: path)
        try bench.controller.start()
        defer { bench.controller.stop() }
        #expect(bench.waitFor(["web"]))
        #expect(bench.published.all.last?.endpoints.first?.first?.endpoint.description == "127.0.0.1:1")
        try writeFile(path, file([("api", "api.test"), ("web", "web.test")]))
        #expect(bench.waitFor(["api", "web"]))
        // Bad content changes no route and is told once.
        try writeFile(path, "{ broken")
        #expect(bench.published.wait { $0.last?.diagnostics.contains { $0.message.contains("line 1") } == true })
        #expect(bench.published.all.last?.configuration.services.count == 2)
        #expect(bench.lines.wait { $0.contains { $0.contains("service left out") && $0.contains(path) } })
        try writeFile(path, file([]))
        #expect(bench.waitFor([]))
        #expect(bench.lines.wait { $0.contains { $0.contains("no longer a problem") && $0.contains(path) } })
    }

    @Test func startsOnlyWithAFileThatIsGood() throws {
        let folder = try makeFolder()
        let path = folder + "/services.json"
        let missing = #expect(throws: ControllerError.self) { try Bench(file: path).controller.start() }
        #expect(missing?.description == "cannot read the services file \(path): No such file or directory")
        try writeFile(path, "{\n\"services\":[{]}")
        let bad = #expect(throws: ControllerError.self) { try Bench(file: path).controller.start() }
        #expect(bad?.description.contains("\(path), line 2, column") == true)
    }

    @Test func startsWithoutASocketOnlyIfAFileGivesServices() throws {
        let socket = FakeDocker.freshPath()
        let error = #expect(throws: ControllerError.self) { try Bench(socket: socket).controller.start() }
        #expect(error?.description.contains("there is no Docker socket at \(socket)") == true)
        let folder = try makeFolder()
        try writeFile(folder + "/services.json", file([("web", "web.test")]))
        let bench = try Bench(socket: socket, file: folder + "/services.json")
        try bench.controller.start()
        defer { bench.controller.stop() }
        #expect(bench.waitFor(["web"]))
        #expect(bench.lines.wait { $0.contains { $0.contains("listing failed") && $0.contains(socket) } })
    }

    @Test func aServiceIsPublishedWhenItsTaskRuns() throws {
        let engine = try swarm()
        defer { engine.stop() }
        let bench = try Bench(socket: engine.path)
        try bench.controller.start()
        defer { bench.controller.stop() }
        // A cluster that is truly empty is published.
        #expect(bench.published.wait { $0.last?.configuration.services.isEmpty == true })
        #expect(eventually { engine.openEventStreamCount == 1 })
        engine.answer("/services", .json("[" + service("web") + "]"))
        engine.answer("/tasks", .json("[" + task("web", "starting") + "]"))
        engine.emit(#"{"Type":"service","Action":"create"}"#)
        #expect(bench.waitFor(["web"]))
        #expect(bench.published.all.last?.endpoints.first?.allSatisfy { $0.state != .ready } == true)
        let startNs = Clock.monotonicNs()
        engine.answer("/tasks", .json("[" + task("web") + "]"))
        #expect(bench.published.wait { $0.last?.endpoints.first?.first?.state == .ready })
        #expect(Clock.monotonicNs() - startNs < 1_000_000_000)
        #expect(bench.published.all.last?.endpoints.first?.first?.endpoint.description == "10.0.1.7:80")
        #expect(bench.published.all.last?.order.clusterID == "c1")
    }

    @Test func equalLooksArePublishedOnce() throws {
        let engine = try swarm()
        defer { engine.stop() }
        engine.answer("/services", .json("[" + service("web") + "]"))
        engine.answer("/tasks", .json("[" + task("web") + "]"))
        let bench = try Bench(socket: engine.path)
        try bench.controller.start()
        defer { bench.controller.stop() }
        #expect(bench.waitFor(["web"]))
        let lists = bench.controller.status.docker?.fullListCount ?? 0
        #expect(eventually { bench.controller.status.docker?.fullListCount ?? 0 > lists + 3 })
        // A new object version without another meaning is nothing new either.
        engine.answer("/services", .json("[" + service("web", version: 12) + "]"))
        #expect(eventually { bench.controller.status.unchangedCount >= 1 })
        #expect(bench.published.all.count == 1)
        #expect(bench.controller.status.publishedCount == 1)
    }

    @Test func aBadServiceIsNamedOnceAndHarmsNoOther() throws {
        let engine = try swarm()
        defer { engine.stop() }
        engine.answer("/services", .json("[" + service("bad", port: "eighty") + "," + service("web") + "]"))
        engine.answer("/tasks", .json("[" + task("web") + "]"))
        let bench = try Bench(socket: engine.path)
        try bench.controller.start()
        defer { bench.controller.stop() }
        #expect(bench.waitFor(["web"]))
        #expect(bench.controller.status.diagnostics.contains { $0.service == "bad" && $0.label == "port" })
        let lists = bench.controller.status.docker?.fullListCount ?? 0
        #expect(eventually { bench.controller.status.docker?.fullListCount ?? 0 > lists + 2 })
        #expect(bench.lines.all.count { $0.contains("\"service\":\"bad\"") } == 1)
        engine.answer("/services", .json("[" + service("bad", version: 20) + "," + service("web") + "]"))
        #expect(bench.waitFor(["bad", "web"]))
        #expect(bench.controller.status.diagnostics.isEmpty)
        #expect(bench.lines.wait { $0.contains { $0.contains("no longer a problem") } })
    }

    @Test func fileAndEngineAreJoined() throws {
        let engine = try swarm()
        defer { engine.stop() }
        engine.answer("/services", .json("[" + service("web") + "]"))
        engine.answer("/tasks", .json("[" + task("web") + "]"))
        let folder = try makeFolder()
        try writeFile(folder + "/services.json", file([("legacy", "legacy.test")]))
        let bench = try Bench(socket: engine.path, file: folder + "/services.json")
        try bench.controller.start()
        defer { bench.controller.stop() }
        #expect(bench.waitFor(["legacy", "web"]))
    }

    @Test func aConfigWithServicesComesAndGoes() throws {
        let engine = try swarm()
        defer { engine.stop() }
        let bench = try Bench(socket: engine.path)
        try bench.controller.start()
        defer { bench.controller.stop() }
        #expect(bench.published.wait { !$0.isEmpty })
        // {"services":[{"name":"old","labels":{"com.docker.lb.hosts":"old.test"},"endpoints":["10.0.0.9:80"]}]}
        let data =
            "eyJzZXJ2aWNlcyI6W3sibmFtZSI6Im9sZCIsImxhYmVscyI6eyJjb20uZG9ja2VyLmxiLmhvc3RzIjoib2xkLnRlc3QifSwiZW5kcG9p"
            + "bnRzIjpbIjEwLjAuMC45OjgwIl19XX0="
        engine.answer(
            "/configs",
            .json(
                #"[{"ID":"x","Version":{"Index":3},"Spec":{"Name":"n","Labels":{"com.docker.lb.services":"true"},"#
                    + #""Data":"\#(data)"}}]"#))
        #expect(bench.waitFor(["old"]))
        engine.answer("/configs", .json("[]"))
        #expect(bench.waitFor([]))
    }

    @Test func anEngineThatGoesAwayChangesNoRoute() throws {
        let engine = try swarm()
        engine.answer("/services", .json("[" + service("web") + "]"))
        engine.answer("/tasks", .json("[" + task("web") + "]"))
        let bench = try Bench(socket: engine.path)
        try bench.controller.start()
        defer { bench.controller.stop() }
        #expect(bench.waitFor(["web"]))
        engine.stop()
        #expect(eventually { bench.controller.status.docker?.isConnected == false })
        let second = try FakeDocker(path: engine.path)
        defer { second.stop() }
        second.answer("/info", .failure(500, "starting"))
        #expect(eventually { second.requestCount("/info") >= 2 })
        #expect(bench.published.all.count == 1)
    }

    @Test func stoppingTwiceOrWithoutAStartIsHarmless() throws {
        let bench = try Bench()
        bench.controller.stop()
        bench.controller.stop()
    }

    @Test func nothingIsPublishedAfterStop() throws {
        let folder = try makeFolder()
        let path = folder + "/services.json"
        try writeFile(path, file([("web", "web.test")]))
        let bench = try Bench(file: path)
        try bench.controller.start()
        #expect(bench.waitFor(["web"]))
        bench.controller.stop()
        try writeFile(path, file([("other", "other.test")]))
        #expect(bench.published.all.count == 1)
    }
}
