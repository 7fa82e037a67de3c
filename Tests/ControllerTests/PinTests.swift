// Rollback and resume with everything that is real but the engine: pins as the Swarm's configs, pins as a file, and two
// controllers that see the same.

import Discovery
import Docker
import Glibc
import Kernel
import Model
import Support
import Telemetry
import Testing

@testable import Controller

/// A controller and what it published and logged.
private final class Bench {
    let published: Collected<Snapshot>
    let lines: Collected<String>
    let controller: Controller

    init(
        _ engine: FakeDocker? = nil, file: String? = nil, state: String? = nil, mayPin: Bool = true
    ) throws {
        let published = try Collected<Snapshot>()
        let lines = try Collected<String>()
        (self.published, self.lines) = (published, lines)
        let log = Log(level: .info, clock: { Clock.realtimeNs() }) { lines.append(String(decoding: $0, as: UTF8.self)) }
        let docker = engine.map { engine in
            DockerSettings(
                endpoint: DockerEndpoint(address: .unix(path: engine.path)), pollIntervalMs: 200,
                busyPollIntervalMs: 50, callTimeoutMs: 5_000)
        }
        var settings = ControllerSettings(
            docker: docker, servicesFile: file, mapping: MappingSettings(proxyNetworks: ["front"]),
            stateDirectory: state, mayPin: mayPin)
        settings.historyRetryMs = 200
        controller = Controller(settings: settings, log: log) { changes in
            for change in changes { published.append(change.snapshot) }
        }
        try controller.start()
    }

    /// Whether these are the hosts that are routed now, in order.
    func waitFor(_ hosts: [String]) -> Bool {
        published.wait { $0.last?.configuration.routes.map { "\($0.host)" } == hosts }
    }

    func waitForEntries(_ count: Int) -> Bool { eventually { self.controller.history.count == count } }

    func failure(_ act: (Controller) throws(RollbackError) -> Void) -> RollbackError? {
        do throws(RollbackError) {
            try act(controller)
            return nil
        } catch { return error }
    }
}

@Suite("pins") struct PinTests {
    private static func service(_ name: String, _ host: String, version: Int = 10) -> String {
        """
        {"ID":"id-\(name)","Version":{"Index":\(version)},"CreatedAt":"2026-11-22T16:01:44Z",
        "Spec":{"Name":"\(name)","Labels":{"com.docker.lb.hosts":"\(host)","com.docker.lb.port":"80"},
        "Mode":{"Replicated":{"Replicas":1}},"TaskTemplate":{"Networks":[{"Target":"net1"}]}}}
        """
    }

    private static func task(_ service: String, _ id: String, _ address: String, version: Int = 11) -> String {
        """
        {"ID":"\(id)","Version":{"Index":\(version)},"ServiceID":"id-\(service)","Slot":1,"NodeID":"n",
        "Status":{"State":"running"},"DesiredState":"running",
        "NetworksAttachments":[{"Network":{"ID":"net1"},"Addresses":["\(address)/24"]}]}
        """
    }

    private func swarm() throws -> (engine: FakeDocker, configs: FakeConfigs) {
        let engine = try FakeDocker()
        engine.answer(
            "/info",
            .json(
                #"{"Swarm":{"NodeID":"n","LocalNodeState":"active","ControlAvailable":true,"Cluster":{"ID":"c1"}}}"#))
        engine.answer("/networks", .json(#"[{"Id":"net1","Name":"front","Scope":"swarm"}]"#))
        engine.answer("/nodes", .json(#"[{"ID":"n","Status":{"State":"ready","Addr":"10.0.0.1"}}]"#))
        for path in ["/services", "/tasks", "/containers/json"] { engine.answer(path, .json("[]")) }
        return (engine, engine.keepConfigs())
    }

    private func say(_ services: [String], _ engine: FakeDocker) {
        engine.answer("/services", .json("[" + services.joined(separator: ",") + "]"))
        engine.emit(#"{"Type":"service","Action":"update"}"#)
    }

    @Test("a rollback holds over changes of labels and tasks, until it is let go")
    func rollbackAndResume() throws {
        let (engine, configs) = try swarm()
        defer { engine.stop() }
        say([Self.service("web", "a.test")], engine)
        engine.answer("/tasks", .json("[" + Self.task("web", "t1", "10.0.1.1") + "]"))
        let bench = try Bench(engine)
        defer { bench.controller.stop() }
        #expect(bench.waitFor(["a.test"]) && bench.waitForEntries(1))
        say([Self.service("web", "b.test", version: 20)], engine)
        #expect(bench.waitFor(["b.test"]) && bench.waitForEntries(2))
        #expect(bench.controller.history.first?.cause == "web: hosts a.test -> b.test")
        #expect(bench.controller.status.pin == nil)

        try bench.controller.rollback(to: 1)
        // It is done when the call returns.
        #expect(bench.published.all.last?.configuration.routes.map { "\($0.host)" } == ["a.test"])
        let status = bench.controller.status.pin
        #expect(status?.number == 1 && status?.isInForce == true && status?.problem == "")
        #expect(status?.heldBack == ["web"])
        #expect(status?.sinceNs ?? 0 > 0)
        #expect(bench.controller.status.diagnostics.isEmpty)
        #expect(configs.count == 1)
        #expect(bench.lines.wait { $0.contains { $0.contains("a configuration is pinned") } })

        // Tasks are those of now; labels are not, and a new service has no route.
        engine.answer("/tasks", .json("[" + Self.task("web", "t2", "10.0.1.2", version: 30) + "]"))
        say([Self.service("web", "bad host", version: 31), Self.service("shop", "shop.test", version: 32)], engine)
        #expect(bench.published.wait { $0.last?.diagnostics.contains { $0.service == "shop" } == true })
        #expect(bench.published.wait { $0.last?.endpoints.first?.map(\.id) == ["t2"] })
        #expect(bench.waitFor(["a.test"]))
        #expect(bench.controller.history.count == 2)

        say([Self.service("web", "c.test", version: 40)], engine)
        try bench.controller.resume()
        #expect(bench.waitFor(["c.test"]) && bench.waitForEntries(3))
        #expect(bench.controller.history.first?.cause == "web: hosts b.test -> c.test")
        #expect(bench.controller.status.pin == nil)
        #expect(configs.count == 0)
        #expect(bench.lines.wait { $0.contains { $0.contains("no configuration is pinned any more") } })
        #expect(bench.failure { (controller) throws(RollbackError) in try controller.resume() }?.kind == .nothingPinned)
    }

    @Test("every controller obeys, also one that starts later, and one other lets go")
    func otherControllers() throws {
        let (engine, _) = try swarm()
        defer { engine.stop() }
        say([Self.service("web", "a.test")], engine)
        let first = try Bench(engine)
        defer { first.controller.stop() }
        #expect(first.waitFor(["a.test"]) && first.waitForEntries(1))
        say([Self.service("web", "b.test", version: 20)], engine)
        let second = try Bench(engine)
        defer { second.controller.stop() }
        #expect(first.waitFor(["b.test"]) && second.waitFor(["b.test"]))
        try first.controller.rollback(to: 1)
        #expect(second.waitFor(["a.test"]))
        let third = try Bench(engine, mayPin: false)
        defer { third.controller.stop() }
        #expect(third.waitFor(["a.test"]))
        // At once: it never had the other.
        #expect(third.published.all.count == 1)
        #expect(third.published.all.last?.hasSameContent(as: first.published.all.last ?? Snapshot()) == true)
        #expect(eventually { third.controller.status.pin?.number == 1 })
        #expect(third.controller.history.isEmpty)
        #expect(third.failure { (controller) throws(RollbackError) in try controller.resume() }?.kind == .notAllowed)
        try second.controller.resume()
        #expect(first.waitFor(["b.test"]) && second.waitFor(["b.test"]) && third.waitFor(["b.test"]))
        // Its own numbers begin above the one it saw.
        #expect(third.waitForEntries(1))
        #expect(third.controller.history.first?.number == 2)
    }

    @Test("what cannot be is refused, with the way out")
    func refusals() throws {
        let (engine, configs) = try swarm()
        defer { engine.stop() }
        say([Self.service("web", "a.test")], engine)
        let bench = try Bench(engine)
        defer { bench.controller.stop() }
        #expect(bench.waitForEntries(1))
        let unknown = bench.failure { (controller) throws(RollbackError) in try controller.rollback(to: 9) }
        #expect(unknown?.kind == .unknownNumber && unknown?.isRefusal == true)
        #expect(unknown?.description == "there is no configuration 9; there are 1")
        configs.refuse(.failure(403, "no writing here"))
        let refused = bench.failure { (controller) throws(RollbackError) in try controller.rollback(to: 1) }
        #expect(refused?.kind == .engine && refused?.isRefusal == false)
        #expect(
            refused?.description
                == "Docker did not do it: POST /configs/create: the engine answered 403: no writing here")
        #expect(bench.controller.status.pin == nil)
        let timid = try Bench(engine, mayPin: false)
        defer { timid.controller.stop() }
        #expect(timid.waitForEntries(1))
        let writes = engine.requests.count { $0.method != "GET" }
        let forbidden = timid.failure { (controller) throws(RollbackError) in try controller.rollback(to: 1) }
        #expect(forbidden?.kind == .notAllowed)
        #expect(engine.requests.count { $0.method != "GET" } == writes)
    }

    @Test("a pin that makes no sense changes nothing, and is told")
    func garbage() throws {
        let (engine, configs) = try swarm()
        defer { engine.stop() }
        say([Self.service("web", "a.test")], engine)
        let bench = try Bench(engine)
        defer { bench.controller.stop() }
        #expect(bench.waitForEntries(1))
        let id = configs.add(
            #"{"Name":"x","Labels":{"com.docker.lb.pin":"x","com.docker.lb.pin.part":"1/1"},"Data":"AAAA"}"#,
            in: engine)
        #expect(bench.published.wait { $0.last?.diagnostics.contains { $0.service == "pin" } == true })
        #expect(bench.waitFor(["a.test"]))
        #expect(eventually { bench.controller.status.pin != nil })
        let status = bench.controller.status.pin
        #expect(status?.isInForce == false && status?.number == nil)
        #expect(status?.problem.contains("the pin in config x is passed over") == true)
        // A good one beside it is obeyed; resume takes both away.
        try bench.controller.rollback(to: 1)
        #expect(bench.controller.status.pin?.number == 1)
        configs.add(
            #"{"Name":"y","Labels":{"com.docker.lb.pin":"y","com.docker.lb.pin.part":"1/1"},"Data":"AAAA"}"#,
            in: engine)
        #expect(eventually { bench.controller.status.pin?.problem != "" })
        #expect(bench.controller.status.pin?.number == 1)
        configs.remove(id)
        try bench.controller.resume()
        #expect(configs.count == 0)
        #expect(bench.controller.status.pin == nil)
    }

    // MARK: Without a Swarm

    private func write(_ hosts: [(String, String)], to path: String) throws {
        let items = hosts.map {
            #"{"name":"\#($0.0)","labels":{"com.docker.lb.hosts":"\#($0.1)"},"endpoints":["127.0.0.1:1"]}"#
        }
        try writeFile(path, "{\"services\":[\(items.joined(separator: ","))]}")
    }

    @Test("without a Swarm the pin is a file, obeyed after a restart; history goes on too")
    func pinFile() throws {
        let folder = try makeFolder()
        let (path, state) = (folder + "/services.json", folder + "/state")
        try write([("web", "a.test")], to: path)
        let bench = try Bench(file: path, state: state)
        #expect(bench.waitFor(["a.test"]) && bench.waitForEntries(1))
        try write([("web", "b.test"), ("shop", "shop.test")], to: path)
        #expect(bench.waitFor(["b.test", "shop.test"]) && bench.waitForEntries(2))
        try bench.controller.rollback(to: 1)
        #expect(bench.published.all.last?.configuration.routes.map { "\($0.host)" } == ["a.test"])
        bench.controller.stop()
        for name in ["pin", "history"] { #expect(mode(of: state + "/" + name) == 0o600) }

        let again = try Bench(file: path, state: state)
        defer { again.controller.stop() }
        #expect(again.waitFor(["a.test"]))
        #expect(again.published.all.count == 1)
        #expect(eventually { again.controller.status.pin?.number == 1 })
        #expect(again.controller.history == bench.controller.history)
        try again.controller.resume()
        #expect(again.waitFor(["b.test", "shop.test"]))
        #expect(again.controller.history.count == 2)
        #expect(throws: SystemError.self) { try readFile(state + "/pin") }
        try write([("web", "c.test")], to: path)
        #expect(again.waitForEntries(3))
        #expect(again.controller.history.first?.number == 3)
    }

    @Test("files that make no sense are told, and harm nothing", arguments: ["", "{", "[]", "\u{0}\u{1}", "{}"])
    func spoiltFiles(content: String) throws {
        let folder = try makeFolder()
        let path = folder + "/services.json"
        try write([("web", "a.test")], to: path)
        try writeFile(folder + "/pin", content)
        try writeFile(folder + "/history", content)
        let bench = try Bench(file: path, state: folder)
        defer { bench.controller.stop() }
        #expect(bench.waitFor(["a.test"]) && bench.waitForEntries(1))
        #expect(eventually { bench.controller.status.pin?.isInForce == false })
        #expect(bench.controller.status.diagnostics.contains { $0.service == "pin" })
        #expect(bench.lines.all.contains { $0.contains("the history cannot be read") })
        try bench.controller.rollback(to: 1)
        #expect(bench.controller.status.pin?.number == 1)
        try bench.controller.resume()
        #expect(bench.controller.status.pin == nil)
    }

    @Test("with neither Swarm nor state directory there is no place for a pin")
    func noPlace() throws {
        let path = try makeFolder() + "/services.json"
        try write([("web", "a.test")], to: path)
        let bench = try Bench(file: path)
        defer { bench.controller.stop() }
        #expect(bench.waitForEntries(1))
        let error = bench.failure { (controller) throws(RollbackError) in try controller.rollback(to: 1) }
        #expect(error?.kind == .noPlace)
        #expect(bench.failure { (controller) throws(RollbackError) in try controller.resume() }?.kind == .nothingPinned)
    }

    @Test("a state directory that cannot be written is told once, and the history lives in memory")
    func unwritable() throws {
        let folder = try makeFolder()
        let path = folder + "/services.json"
        try write([("web", "a.test")], to: path)
        let bench = try Bench(file: path, state: folder + "/services.json/state")
        #expect(bench.waitForEntries(1))
        let error = bench.failure { (controller) throws(RollbackError) in try controller.rollback(to: 1) }
        #expect(error?.kind == .file)
        bench.controller.stop()
        #expect(bench.lines.all.count { $0.contains("the history cannot be saved") } == 1)
    }

    @Test("a history that could not be saved is saved later, without another change")
    func writableLater() throws {
        let folder = try makeFolder()
        let path = folder + "/services.json"
        let state = folder + "/state"
        try write([("web", "a.test")], to: path)
        // A file where the directory belongs.
        try write([], to: state)
        let bench = try Bench(file: path, state: state)
        defer { bench.controller.stop() }
        #expect(bench.lines.wait { $0.contains { $0.contains("the history cannot be saved") } })
        #expect(unlink(state) == 0)
        #expect(eventually { access(state + "/history", R_OK) == 0 })
        #expect(bench.controller.history.count == 1)
    }
}
