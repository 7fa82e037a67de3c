import Kernel
import Support
import Testing

@testable import Docker

/// What may be written, and that nothing else can be.
@Suite struct DockerWriteTests {
    private static let readingCalls: [DockerCall] = [
        .ping, .info, .services, .tasks, .tasksByID(["a"]), .nodes, .networks, .configs, .containers, .events,
    ]

    private func client(_ engine: FakeDocker, _ writes: DockerWrites) -> DockerClient {
        DockerClient(
            endpoint: DockerEndpoint(address: .unix(path: engine.path)), callTimeoutMs: 5_000, writes: writes)
    }

    private func removal(_ id: String) throws -> DockerCall { .removeConfig(try #require(DockerID(id))) }

    @Test func readingNeedsNoPermission() {
        for call in Self.readingCalls {
            #expect(call.method == .get)
            #expect(call.isAllowed(by: []))
        }
    }

    @Test func eachWriteNeedsItsOwn() throws {
        for call in [DockerCall.createConfig, try removal("abc")] {
            #expect(call.method != .get)
            #expect(!call.isAllowed(by: []))
            #expect(!call.isAllowed(by: .services))
            #expect(call.isAllowed(by: .pins))
            #expect(call.isAllowed(by: [.pins, .services]))
        }
    }

    @Test func everyWriteOnTheListNeedsSomething() {
        #expect(DockerCall.allowedWrites.values.allSatisfy { !$0.isEmpty })
        #expect(DockerCall.allowedWrites.keys.allSatisfy { !$0.hasPrefix("GET ") })
    }

    @Test(arguments: [DockerWrites(), .services])
    func withoutPermissionNothingIsSent(writes: DockerWrites) throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        let client = client(engine, writes)
        for call in [DockerCall.createConfig, try removal("abc")] {
            let error = #expect(throws: DockerError.self) { _ = try client.send(call, body: [1]) }
            #expect(error?.kind == .notAllowed)
        }
        #expect(engine.connectionCount == 0)
        // No way around: what writes the request asserts it too.
        #expect(client.writes == writes)
    }

    @Test func aCallBeyondThePermissionTrapsBeforeItIsWritten() async {
        await #expect(processExitsWith: .failure) { _ = DockerCall.createConfig.target(nil, writes: []) }
        await #expect(processExitsWith: .failure) { _ = DockerCall.createConfig.target(nil, writes: .services) }
    }

    @Test func aBodyIsSentAndTheAnswerComesBack() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/configs/create", .json(#"{"ID":"new1"}"#, status: 201))
        engine.answer("/configs/new1", .body(204, []))
        engine.answer("/info", .json("{}"))
        let client = client(engine, .pins)
        _ = try client.get(.info)
        let body = Array(#"{"Name":"a"}"#.utf8) + [UInt8](repeating: 0x20, count: 600_000)
        #expect(try client.send(.createConfig, body: body) == Array(#"{"ID":"new1"}"#.utf8))
        #expect(try client.send(try removal("new1"), body: nil).isEmpty)
        let sent = engine.requests.filter { $0.method != "GET" }
        #expect(sent.map(\.method) == ["POST", "DELETE"])
        #expect(sent.map(\.path) == ["/configs/create", "/configs/new1"])
        #expect(sent.map(\.version) == ["1.41", "1.41"])
        #expect(sent.first?.body == body)
        #expect(try client.get(.info) == Array("{}".utf8))
    }

    @Test func whatWritesIsNeverSentTwice() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/info", .json("{}"))
        engine.answer("/configs/create", .raw([]))
        let client = client(engine, .pins)
        _ = try client.get(.info)
        #expect(throws: DockerError.self) { _ = try client.send(.createConfig, body: []) }
        #expect(engine.requestCount("/configs/create") == 1)
    }

    @Test func aRefusalIsToldInTheEnginesWords() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/configs/create", .failure(403, "denied by policy"))
        let error = #expect(throws: DockerError.self) {
            _ = try client(engine, .pins).send(.createConfig, body: [])
        }
        #expect(error?.kind == .status(403))
        #expect(error?.description == "POST /configs/create: the engine answered 403: denied by policy")
    }

    @Test(arguments: ["", "../x", "a/b", "a b", "a?b", "a%2Fb", "a\r\nb", "ä", String(repeating: "a", count: 129)])
    func anIDLeadsToNoOtherPath(text: String) { #expect(DockerID(text) == nil) }

    @Test(arguments: ["a", "ay329v84kdng7roor4leoq8vc", "id-web_1", String(repeating: "a", count: 128)])
    func aPlainIDIsTaken(text: String) { #expect(DockerID(text)?.text == text) }
}
