// The watcher against a daemon that behaves badly in every way that was ever seen. What counts in all of them: a list
// that cannot be trusted changes nothing, and the next good one is taken.

import Discovery
import Kernel
import Model
import Support
import Testing

@testable import Docker

/// A watcher with a fake engine behind it.
private final class Bench {
    let engine: FakeDocker
    let seen: Collected<DockerObservation>
    let notes: Collected<DockerNote>
    let watcher: DockerWatcher

    /// - Parameter pollMs: long by default, so that only events can make it look again.
    init(
        path: String = FakeDocker.freshPath(), pollMs: Int = 60_000, busyMs: Int = 60_000, timeoutMs: Int = 5_000,
        recorded: Bool = true
    ) throws {
        engine = try FakeDocker(path: path)
        if recorded { try Recording.load(into: engine) }
        let seen = try Collected<DockerObservation>()
        let notes = try Collected<DockerNote>()
        self.seen = seen
        self.notes = notes
        watcher = try DockerWatcher(
            settings: DockerSettings(
                endpoint: DockerEndpoint(address: .unix(path: path)), pollIntervalMs: pollMs,
                busyPollIntervalMs: busyMs, callTimeoutMs: timeoutMs)
        ) { observation in
            seen.append(observation)
        } note: { note in
            notes.append(note)
        }
    }

    func start() throws { try watcher.start() }

    /// Starts and waits for the first look, with the event stream open.
    func startAndSettle() throws {
        try start()
        #expect(seen.wait { !$0.isEmpty })
        #expect(eventually { self.engine.openEventStreamCount == 1 && self.watcher.status.isEventStreamOpen })
    }

    func stop() {
        watcher.stop()
        engine.stop()
    }
}

@Suite struct DockerWatcherTests {
    private static let event =
        #"{"Type":"service","Action":"update","Actor":{"ID":"x"},"timeNano":1795363354174591715}"#

    private static func service(_ name: String, version: Int = 10) -> String {
        #"{"ID":"id-\#(name)","Version":{"Index":\#(version)},"#
            + #""Spec":{"Name":"\#(name)","Labels":{},"Mode":{"Global":{}}}}"#
    }

    @Test func handsOutWhatWasRecorded() throws {
        let bench = try Bench()
        defer { bench.stop() }
        try bench.startAndSettle()
        let first = try #require(bench.seen.all.first)
        #expect(first.inventory.services.count == 5)
        #expect(first.inventory.tasks.count == 8)
        #expect(first.inventory.nodes.count == 1)
        #expect(first.inventory.networks.contains { $0.isIngress })
        #expect(first.inventory.containers.contains { $0.name == "solo" })
        #expect(first.inventory.files.map(\.name) == ["legacy-services"])
        #expect(first.inventory.files.first?.origin == .config)
        #expect(first.inventory.order.clusterID == "ay329v84kdng7roor4leoq8vc")
        #expect(first.inventory.order.version > 40)
        #expect(first.problems.isEmpty)
        let status = bench.watcher.status
        #expect(status.isConnected && status.isEventStreamOpen && status.isManager)
        #expect(status.apiVersion == "1.41")
        #expect(status.taskCounts[.running] == 7)
        #expect(status.taskCounts[.pending] == 1)
        #expect(status.lastListAgeMs != nil)
        // The same world again is not handed out again.
        #expect(bench.seen.all.count == 1)
    }

    @Test func anEventBringsALookAtOnce() throws {
        let bench = try Bench()
        defer { bench.stop() }
        try bench.startAndSettle()
        bench.engine.answer("/services", .json("[" + Self.service("fresh") + "]"))
        let startNs = Clock.monotonicNs()
        bench.engine.emit(Self.event)
        #expect(bench.seen.wait { $0.last?.inventory.services.map(\.name) == ["fresh"] })
        #expect(Clock.monotonicNs() - startNs < 1_000_000_000)
        #expect(bench.watcher.status.eventCount == 1)
        #expect(bench.watcher.status.eventLagMs != nil)
    }

    @Test(arguments: [
        "garbage", "{\"Type\":", "{}", "null", "\u{1}\u{2}", "{\"Type\":7,\"timeNano\":\"x\"}",
        "{\"timeNano\":99999999999999999999999}", "{\"timeNano\":-9223372036854775808}",
        "{\"Type\":\"container\",\"Actor\":{\"Attributes\":{\"big\":\"" + String(repeating: "x", count: 10 << 20)
            + "\"}}}",
    ])
    func anEventThatMakesNoSenseIsAHintAllTheSame(line: String) throws {
        let bench = try Bench()
        defer { bench.stop() }
        try bench.startAndSettle()
        bench.engine.answer("/services", .json("[" + Self.service("fresh") + "]"))
        bench.engine.emit(line)
        #expect(bench.seen.wait { $0.last?.inventory.services.map(\.name) == ["fresh"] })
    }

    @Test func aFloodOfEventsIsAFewLooks() throws {
        let bench = try Bench()
        defer { bench.stop() }
        try bench.startAndSettle()
        let before = bench.watcher.status.fullListCount
        let startNs = Clock.monotonicNs()
        let burst = Array(repeating: Self.event, count: 500).joined(separator: "\n")
        for _ in 0..<20 { bench.engine.emit(burst) }
        #expect(eventually { bench.watcher.status.eventCount == 10_000 })
        let seconds = Double(Clock.monotonicNs() - startNs) / 1e9
        #expect(Double(bench.watcher.status.fullListCount - before) <= 2 + 5 * seconds)
    }

    @Test func aSilentEventStreamIsMadeUpForByPolling() throws {
        let bench = try Bench(pollMs: 100)
        defer { bench.stop() }
        try bench.startAndSettle()
        bench.engine.answer("/services", .json("[" + Self.service("fresh") + "]"))
        #expect(bench.seen.wait { $0.last?.inventory.services.map(\.name) == ["fresh"] })
    }

    @Test func aClosedEventStreamIsOpenedAgainAndLooks() throws {
        let bench = try Bench()
        defer { bench.stop() }
        try bench.startAndSettle()
        bench.engine.answer("/services", .json("[" + Self.service("fresh") + "]"))
        bench.engine.cutConnections()
        #expect(bench.seen.wait { $0.last?.inventory.services.map(\.name) == ["fresh"] })
        #expect(!bench.notes.all.contains { $0.level == .warning })
    }

    @Test(
        arguments: [
            .failure(500, "rpc error: code = Unknown desc = The swarm does not have a leader"), .failure(503, "locked"),
            .json("[{\"ID\":\"a\""), .json(""), .json("{}"), .json("<html>"), .json("[1,2"),
            .failure(404, "page not found"),
            .raw(Array("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n[{\"ID\":".utf8)),
            .raw([0, 1, 2, 3, 13, 10, 13, 10]),
            .raw([]), .silence, .json("[]]"),
        ] as [FakeDocker.Answer])
    func aListThatFailsChangesNothing(answer: FakeDocker.Answer) throws {
        let bench = try Bench(pollMs: 50, timeoutMs: 300)
        defer { bench.stop() }
        try bench.startAndSettle()
        for path in ["/services", "/tasks"] {
            bench.engine.answer(path, answer)
            let failures = bench.watcher.status.failedListCount
            #expect(eventually { bench.watcher.status.failedListCount > failures })
            #expect(bench.watcher.status.lastFailure.contains("GET \(path)"))
            try Recording.load(into: bench.engine)
            #expect(eventually { bench.watcher.status.isConnected })
        }
        // Not one look was handed out beside the first.
        #expect(bench.seen.all.count == 1)
        #expect(bench.notes.all.contains { $0.level == .info && $0.message == "the engine answers again" })
    }

    @Test func aTrulyEmptyClusterIsHandedOut() throws {
        let bench = try Bench()
        defer { bench.stop() }
        try bench.startAndSettle()
        for path in ["/services", "/tasks", "/containers/json", "/configs"] { bench.engine.answer(path, .json("[]\n")) }
        bench.engine.emit(Self.event)
        #expect(bench.seen.wait { $0.last?.inventory.services.isEmpty == true })
        #expect(bench.seen.all.last?.inventory.files.isEmpty == true)
        #expect(bench.seen.all.last?.inventory.containers.isEmpty == true)
    }

    @Test func aListThatGoesBackIsDropped() throws {
        let bench = try Bench(pollMs: 50, recorded: false)
        defer { bench.stop() }
        try Recording.load(into: bench.engine)
        bench.engine.answer("/tasks", .json("[]"))
        bench.engine.answer("/services", .json("[" + Self.service("web", version: 100) + "]"))
        try bench.startAndSettle()
        bench.engine.answer("/services", .json("[" + Self.service("web", version: 99) + "]"))
        #expect(eventually { bench.watcher.status.staleListCount >= 2 })
        #expect(bench.seen.all.count == 1)
        bench.engine.answer("/services", .json("[" + Self.service("web", version: 101) + "]"))
        #expect(bench.seen.wait { $0.last?.inventory.order.version == 101 })
    }

    @Test func tasksThatStopAreFollowedToTheirEnd() throws {
        let bench = try Bench(busyMs: 30)
        defer { bench.stop() }
        let running = try Recording.bytes("tasks.json")
        try bench.startAndSettle()
        // The web service's task 1 leaves the wanted ones; asked for by id, it still runs.
        let id = "nj7bvdhqoen2x3vxmdbopaefp"
        let leaving = #"[{"ID":"\#(id)","Version":{"Index":900},"ServiceID":"102uc2pddf5huv46cen59ulf8","#
        let gone = try Collected<Bool>()
        bench.engine.answer("/tasks") { request in
            guard request.query.contains("id") && request.query.contains(id) else {
                return .body(200, Self.without(id, running))
            }
            return gone.all.isEmpty
                ? .json(leaving + #""DesiredState":"remove","Status":{"State":"running"}}]"#) : .json("[]")
        }
        bench.engine.emit(Self.event)
        #expect(
            bench.seen.wait { $0.last?.inventory.tasks.contains { $0.id == id && $0.desiredState == .remove } == true })
        gone.append(true)
        #expect(bench.seen.wait { $0.last?.inventory.tasks.contains { $0.id == id } == false })
    }

    private static func without(_ id: String, _ list: [UInt8]) -> [UInt8] {
        // The id reads as another state, which leaves the element out as the engine's filter would.
        let text = String(decoding: list, as: UTF8.self)
        return Array(text.replacing("\"ID\":\"\(id)\"", with: "\"ID\":\"\"").utf8)
    }

    @Test func aTaskThatComesUpIsSeenWithoutAnyEvent() throws {
        let bench = try Bench(busyMs: 50)
        defer { bench.stop() }
        try bench.startAndSettle()
        // One task of the recording is pending, so the watcher is busy and sees this by polling tasks.
        let text = String(decoding: try Recording.bytes("tasks.json"), as: UTF8.self)
        bench.engine.answer(
            "/tasks", .json(text.replacing("\"State\":\"pending\"", with: "\"State\":\"running\"")))
        #expect(bench.seen.wait { $0.last?.inventory.tasks.allSatisfy { $0.state == .running } == true })
    }

    @Test func aSocketThatAppearsLaterIsFound() throws {
        let path = FakeDocker.freshPath()
        let seen = try Collected<DockerObservation>()
        let watcher = try DockerWatcher(
            settings: DockerSettings(endpoint: DockerEndpoint(address: .unix(path: path)))
        ) {
            seen.append($0)
        } note: { _ in
        }
        try watcher.start()
        defer { watcher.stop() }
        #expect(eventually { watcher.status.failedListCount >= 2 })
        let engine = try FakeDocker(path: path)
        defer { engine.stop() }
        try Recording.load(into: engine)
        #expect(seen.wait { $0.last?.inventory.services.count == 5 })
    }

    @Test func anEngineThatRestartsChangesNothing() throws {
        let path = FakeDocker.freshPath()
        let bench = try Bench(path: path, pollMs: 50)
        defer { bench.stop() }
        try bench.startAndSettle()
        bench.engine.stop()
        #expect(eventually { !bench.watcher.status.isConnected && !bench.watcher.status.isEventStreamOpen })
        let engine = try FakeDocker(path: path)
        defer { engine.stop() }
        try Recording.load(into: engine)
        // At first it does not know its Swarm again.
        let info = String(decoding: try Recording.bytes("info.json"), as: UTF8.self)
        engine.answer(
            "/info",
            .json(
                info.replacing("\"ControlAvailable\":true", with: "\"ControlAvailable\":false")
                    .replacing("\"LocalNodeState\":\"active\"", with: "\"LocalNodeState\":\"pending\"")))
        #expect(eventually { bench.watcher.status.lastFailure.contains("Swarm is not up yet") })
        engine.answer("/info", .json(info))
        #expect(eventually { bench.watcher.status.isConnected && bench.watcher.status.isEventStreamOpen })
        #expect(bench.seen.all.count == 1)
    }

    @Test func aPlainEngineShowsItsContainers() throws {
        let bench = try Bench()
        defer { bench.stop() }
        bench.engine.answer("/info", .body(200, try Recording.bytes("plain-info.json")))
        bench.engine.answer("/services", .body(503, try Recording.bytes("not-a-manager.json")))
        try bench.start()
        #expect(bench.seen.wait { $0.first?.inventory.containers.contains { $0.name == "solo" } == true })
        #expect(bench.seen.all.first?.inventory.services.isEmpty == true)
        #expect(bench.engine.requestCount("/services") == 0)
    }

    @Test func aWorkerSaysSo() throws {
        let bench = try Bench()
        defer { bench.stop() }
        let info = String(decoding: try Recording.bytes("info.json"), as: UTF8.self)
        bench.engine.answer(
            "/info", .json(info.replacing("\"ControlAvailable\":true", with: "\"ControlAvailable\":false")))
        try bench.start()
        #expect(bench.seen.wait { !$0.isEmpty })
        #expect(bench.notes.all.contains { $0.level == .warning && $0.message.contains("Swarm worker") })
    }

    @Test func aManagerThatIsDemotedKeepsItsRoutes() throws {
        let bench = try Bench(pollMs: 50)
        defer { bench.stop() }
        try bench.startAndSettle()
        let info = String(decoding: try Recording.bytes("info.json"), as: UTF8.self)
        bench.engine.answer(
            "/info", .json(info.replacing("\"ControlAvailable\":true", with: "\"ControlAvailable\":false")))
        bench.engine.answer("/services", .body(503, try Recording.bytes("not-a-manager.json")))
        #expect(eventually { bench.watcher.status.lastFailure.contains("no manager any more") })
        #expect(bench.seen.all.count == 1)
    }

    @Test(arguments: ["/configs", "/containers/json", "/nodes", "/networks"])
    func aListThatAProxyForbidsIsDoneWithout(path: String) throws {
        let bench = try Bench()
        defer { bench.stop() }
        bench.engine.answer(path, .failure(403, "Forbidden"))
        bench.engine.answer("/_ping", .failure(403, "Forbidden"))
        try bench.start()
        #expect(bench.seen.wait { $0.first?.inventory.services.count == 5 })
        #expect(bench.notes.all.contains { $0.detail.contains("GET \(path)") })
    }

    @Test func anEngineThatForbidsInfoIsKnownByItsServices() throws {
        let bench = try Bench()
        defer { bench.stop() }
        bench.engine.answer("/info", .failure(403, "Forbidden"))
        try bench.start()
        #expect(bench.seen.wait { $0.first?.inventory.services.count == 5 })
        let plain = try Bench()
        defer { plain.stop() }
        plain.engine.answer("/info", .failure(403, "Forbidden"))
        plain.engine.answer("/services", .body(503, try Recording.bytes("not-a-manager.json")))
        try plain.start()
        #expect(plain.seen.wait { $0.first?.inventory.containers.isEmpty == false })
    }

    @Test func anEngineThatForbidsEventsIsPolledAndSaidSoOnce() throws {
        let bench = try Bench(pollMs: 50)
        defer { bench.stop() }
        bench.engine.answer("/events", .failure(403, "Forbidden"))
        try bench.start()
        #expect(bench.seen.wait { !$0.isEmpty })
        #expect(eventually { bench.engine.requestCount("/events") >= 3 })
        #expect(bench.notes.all.count { $0.level == .warning && $0.message.contains("by polling only") } == 1)
        bench.engine.answer("/services", .json("[]"))
        #expect(bench.seen.wait { $0.last?.inventory.services.isEmpty == true })
    }

    @Test func anEngineThatTakesNoneOfOurVersionsTellsEventsToo() throws {
        let bench = try Bench()
        defer { bench.stop() }
        bench.engine.setVersion("1.60", oldest: "1.55")
        try bench.start()
        #expect(bench.seen.wait { $0.first?.inventory.services.count == 5 })
        #expect(eventually { bench.engine.openEventStreamCount == 1 })
    }

    @Test func theOrderOfAListMeansNothing() throws {
        let bench = try Bench(pollMs: 50)
        defer { bench.stop() }
        let (one, two) = (Self.service("one"), Self.service("two"))
        bench.engine.answer("/tasks", .json("[]"))
        bench.engine.answer("/services", .json("[\(one),\(two)]"))
        try bench.startAndSettle()
        bench.engine.answer("/services", .json("[\(two),\(one)]"))
        let lists = bench.watcher.status.fullListCount
        #expect(eventually { bench.watcher.status.fullListCount > lists + 2 })
        #expect(bench.seen.all.count == 1)
    }

    @Test func configsThatAreBadAreToldAndTheOthersStay() throws {
        let bench = try Bench()
        defer { bench.stop() }
        func config(_ name: String, _ data: String) -> String {
            #"{"ID":"\#(name)","Version":{"Index":3},"Spec":{"Name":"\#(name)","Data":"\#(data)","#
                + #""Labels":{"com.docker.lb.services":"true"}}}"#
        }
        let list = [config("bad-json", "eA=="), config("bad-base64", "%%%"), config("good", "eyJzZXJ2aWNlcyI6W119")]
        bench.engine.answer("/configs", .json("[" + list.joined(separator: ",") + "]"))
        try bench.start()
        #expect(bench.seen.wait { !$0.isEmpty })
        let first = try #require(bench.seen.all.first)
        #expect(first.inventory.files.map(\.name) == ["good"])
        #expect(first.problems.count == 2)
        #expect(first.problems.contains { $0.service == "bad-json" && $0.message.contains("config bad-json, line 1") })
    }

    @Test func tenThousandTasksAreTaken() throws {
        let bench = try Bench()
        defer { bench.stop() }
        // The recorded tasks over and over, each with an id of its own.
        let recorded = try Recording.bytes("tasks.json")
        var reader = JSONReader(recorded)
        var rests: [ArraySlice<UInt8>] = []
        try reader.array { (reader, _) throws(JSONError) in
            let start = reader.position
            try reader.skip()
            rests.append(recorded[(start + "{'ID':'".utf8.count)..<reader.position])
        }
        var body: [UInt8] = [UInt8(ascii: "[")]
        for index in 0..<10_000 {
            body += Array("\(index == 0 ? "" : ","){\"ID\":\"\(index)-".utf8) + rests[index % rests.count]
        }
        body.append(UInt8(ascii: "]"))
        bench.engine.answer("/tasks", .body(200, body))
        try bench.start()
        #expect(bench.seen.wait(timeoutMs: 60_000) { $0.first?.inventory.tasks.count == 10_000 })
    }

    @Test func stoppingEndsEveryWait() throws {
        let bench = try Bench(timeoutMs: 60_000)
        bench.engine.answer("/services", .silence)
        try bench.start()
        #expect(eventually { bench.engine.requestCount("/services") == 1 })
        let startNs = Clock.monotonicNs()
        bench.stop()
        #expect(Clock.monotonicNs() - startNs < 5_000_000_000)
    }
}

@Suite struct OwnNetworkTests {
    private func observation(_ candidates: [String]) throws -> DockerObservation {
        let engine = try FakeDocker()
        defer { engine.stop() }
        try Recording.load(into: engine)
        let client = DockerClient(endpoint: DockerEndpoint(address: .unix(path: engine.path)))
        defer { client.disconnect() }
        var lister = DockerLister(
            client: client, labelPrefix: "com.docker.lb.", ownCandidates: candidates, note: { _ in })
        try lister.listAll(nowNs: 0)
        return lister.observation()
    }

    @Test func findsTheNetworksOfTheOwnTask() throws {
        let networks = try observation(["ffffffffffff", "42addd4ea1b3"]).ownNetworks
        // back, then front: by name.
        #expect(networks == ["4hzu3aevo6ya4ojs65g2kl5fi", "isn8noj6w55zit7zsucfcq5ht"])
    }

    @Test func findsTheNetworksOfTheOwnContainer() throws {
        let networks = try observation(["79892b19bd6ef4f573571b0223a838791b1a3dd2ec26a36a76f9812a9605b465"]).ownNetworks
        #expect(networks == ["a0b110c6a3a0b2a6c217fa0dc960d76650e5066d833b7a126cd1561f1cdc7ab4"])
    }

    @Test func knowsNothingOutsideOfContainers() throws {
        #expect(try observation([]).ownNetworks == nil)
        #expect(try observation(["ffffffffffff"]).ownNetworks == nil)
    }
}
