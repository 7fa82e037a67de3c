import Kernel
import Support
import Testing

@testable import Docker

@Suite struct DockerClientTests {
    private func client(_ engine: FakeDocker, timeoutMs: Int = 10_000, limit: Int = 1 << 20) -> DockerClient {
        DockerClient(
            endpoint: DockerEndpoint(address: .unix(path: engine.path)), callTimeoutMs: timeoutMs, bodyLimit: limit)
    }

    private func failure(_ engine: FakeDocker, timeoutMs: Int = 10_000) -> DockerError? {
        let client = client(engine, timeoutMs: timeoutMs)
        defer { client.disconnect() }
        do throws(DockerError) {
            _ = try client.get(.services)
            return nil
        } catch {
            return error
        }
    }

    @Test func everyCallIsOnTheListAndAGET() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        let client = client(engine)
        let calls: [DockerCall] = [
            .info, .services, .tasks, .tasksByID(["a", "b"]), .nodes, .networks, .configs, .containers,
        ]
        for call in calls {
            engine.answer(call.path, .json("[]"))
            #expect(try client.get(call) == Array("[]".utf8))
        }
        #expect(engine.requests.allSatisfy { $0.method == "GET" })
        #expect(Set(engine.requests.map(\.path)).isSubset(of: DockerCall.allowedPaths))
        #expect(engine.requests.dropFirst().allSatisfy { $0.version == "1.41" })
        // One connection serves them all.
        #expect(engine.connectionCount == 1)
    }

    @Test func filtersAreWhatTheEngineExpects() {
        let wanted = "%7B%22desired-state%22%3A%5B%22running%22%2C%22ready%22%2C%22complete%22%5D%7D"
        #expect(DockerCall.tasks.target(DockerVersion(1, 41)) == "/v1.41/tasks?filters=\(wanted)")
        #expect(DockerCall.tasksByID(["x1"]).target(nil) == "/tasks?filters=%7B%22id%22%3A%5B%22x1%22%5D%7D")
        #expect(DockerCall.services.target(DockerVersion(1, 40)) == "/v1.40/services")
        #expect(DockerCall.services.target(DockerVersion(1, 41)) == "/v1.41/services?status=true")
        #expect(DockerCall.ping.target(DockerVersion(1, 41)) == "/_ping")
    }

    @Test(arguments: [
        ("1.41", "1.41"), ("1.24", "1.24"), ("1.51", "1.51"), ("1.99", "1.51"), ("2.0", "1.51"), (nil, ""),
        ("garbage", ""),
    ])
    func agreesOnTheLowerVersion(engines: String?, spoken: String) throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.setVersion(engines, oldest: "1.0")
        engine.answer("/info", .json("{}"))
        _ = try client(engine).get(.info)
        #expect(engine.requests.last?.version == spoken)
    }

    @Test func anEngineThatIsTooOldIsSaidSo() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.setVersion("1.23")
        #expect(failure(engine)?.kind == .tooOld)
    }

    @Test func anEngineThatTakesNoneOfOurVersionsIsAskedWithoutOne() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.setVersion("1.60", oldest: "1.55")
        engine.answer("/info", .json("{}"))
        _ = try client(engine).get(.info)
        #expect(engine.requests.map(\.version) == ["", "1.51", "", ""])
    }

    @Test func anEngineThatWasReplacedIsAskedAgainForItsVersion() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/info", .json("{}"))
        let client = client(engine)
        _ = try client.get(.info)
        engine.setVersion("1.30")
        _ = try client.get(.info)
        #expect(client.version == DockerVersion(1, 30))
    }

    @Test(arguments: [1, 2, 7, 4096, 1_000_000])
    func readsChunks(size: Int) throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        let body = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        engine.answer("/services", .chunks(body, size: size, pauseMs: 0))
        let client = client(engine)
        #expect(try client.get(.services) == body)
        #expect(try client.get(.services) == body)
        #expect(engine.connectionCount == 1)
    }

    @Test func answersWithoutALengthEndWithTheConnection() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/services", .raw(Array("HTTP/1.0 200 OK\r\n\r\n[]".utf8)))
        #expect(try client(engine).get(.services) == Array("[]".utf8))
    }

    @Test(arguments: [
        "", "garbage\r\n\r\n", "HTTP/1.1 200\r\n", "HTTP/9.9 200 OK\r\n\r\n", "\u{0}\u{1}\u{2}\u{3}",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n[]",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]",
        "HTTP/1.1 101 Switching\r\n\r\n", "HTTP/1.1 200 OK\r\nX: " + String(repeating: "y", count: 70_000),
    ])
    func garbageIsAnErrorThatNamesTheCall(answer: String) throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/services", .raw(Array(answer.utf8)))
        let error = try #require(failure(engine))
        #expect(error.call == "GET /services")
        #expect(error.kind == .badAnswer || error.kind == .unreachable)
    }

    @Test(arguments: [400, 403, 404, 500, 502, 503])
    func aRefusalCarriesStatusAndReason(status: Int) throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/services", .failure(status, "something broke"))
        let error = try #require(failure(engine))
        #expect(error.kind == .status(status))
        #expect(error.description == "GET /services: the engine answered \(status): something broke")
    }

    @Test func aReasonIsShortAndOnOneLine() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/services", .body(500, Array((String(repeating: "a\n", count: 5000)).utf8)))
        let error = try #require(failure(engine))
        #expect(error.description.utf8.count < 500)
        #expect(!error.description.contains("\n"))
    }

    @Test func silenceEndsAtTheDeadline() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/services", .silence)
        let startNs = Clock.monotonicNs()
        #expect(failure(engine, timeoutMs: 200)?.kind == .timedOut)
        #expect(Clock.monotonicNs() - startNs < 5_000_000_000)
    }

    @Test func tricklingDoesNotStretchTheDeadline() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/services", .chunks([UInt8](repeating: 0x20, count: 100_000), size: 1, pauseMs: 10))
        let startNs = Clock.monotonicNs()
        #expect(failure(engine, timeoutMs: 300)?.kind == .timedOut)
        #expect(Clock.monotonicNs() - startNs < 5_000_000_000)
    }

    @Test func aSlowAnswerWithinTheDeadlineIsTaken() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/services", .chunks(Array("[1,2,3,4,5]".utf8), size: 2, pauseMs: 20))
        #expect(try client(engine).get(.services) == Array("[1,2,3,4,5]".utf8))
    }

    @Test func anAnswerThatIsTooLargeIsRefused() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/services", .body(200, [UInt8](repeating: 0x20, count: 2000)))
        let client = client(engine, limit: 1000)
        #expect(throws: DockerError.self) { try client.get(.services) }
        engine.answer("/services", .json("[]"))
        #expect(try client.get(.services) == Array("[]".utf8))
    }

    @Test func aKeptConnectionThatDiedIsReplacedUnnoticed() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/info", .json("{}"))
        let client = client(engine)
        _ = try client.get(.info)
        engine.cutConnections()
        _ = try client.get(.info)
        #expect(engine.connectionCount == 2)
    }

    @Test func aMissingSocketIsUnreachableUntilItAppears() throws {
        let path = FakeDocker.freshPath()
        let client = DockerClient(endpoint: DockerEndpoint(address: .unix(path: path)))
        let error = #expect(throws: DockerError.self) { try client.get(.info) }
        #expect(error?.kind == .unreachable)
        #expect(error?.description.contains(path) == true)
        let engine = try FakeDocker(path: path)
        defer { engine.stop() }
        engine.answer("/info", .json("{}"))
        #expect(try client.get(.info) == Array("{}".utf8))
    }

    @Test func cancellingEndsACallUnderWay() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/services", .silence)
        let client = client(engine, timeoutMs: 60_000)
        let outcome = try Collected<DockerError.Kind>()
        let thread = try Thread.start(name: "call") {
            do throws(DockerError) { _ = try client.get(.services) } catch { outcome.append(error.kind) }
        }
        #expect(eventually { engine.requestCount("/services") == 1 })
        client.cancel()
        thread.join()
        #expect(outcome.all == [.cancelled])
    }
}
