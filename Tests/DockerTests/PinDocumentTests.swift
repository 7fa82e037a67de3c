import Discovery
import Model
import Support
import Testing

@testable import Docker

/// A pin as bytes, and as the configs of a Swarm.
@Suite struct PinDocumentTests {
    static func pin(_ count: Int = 2, id: String = "abc123", number: Int = 7) -> Pin {
        var services: [PinnedService] = []
        for index in 0..<count {
            var service = PinnedService(key: "id-\(100_000 + index)", name: "web-\(index)", createdAtNs: Int64(index))
            service.labels["com.docker.lb.hosts"] = "host-\(index).test, \"quoted\"\n\u{2028}é"
            service.labels["com.docker.stack.namespace"] = "shop"
            service.port = index.isMultiple(of: 2) ? 8080 : nil
            service.isRouted = index % 3 != 1
            services.append(service)
        }
        return Pin(
            id: id, number: number, atNs: 1_795_000_000_000_000_000, controller: "manager-1",
            cause: "web: hosts a.test -> b.test", nodeID: "n1",
            configuration: PinnedConfiguration(services: services))
    }

    @Test func whatIsWrittenIsRead() throws {
        for pin in [Self.pin(), Self.pin(0)] { #expect(try PinDocument.decode(PinDocument.encode(pin)) == pin) }
        var one = Self.pin()
        one.configuration.clusters = ["", "blue"]
        #expect(try PinDocument.decode(PinDocument.encode(one)) == one)
    }

    @Test func peopleCanReadIt() {
        let text = String(decoding: PinDocument.encode(Self.pin(1)), as: UTF8.self)
        #expect(text.hasPrefix(#"{"interlock_pin":1,"id":"abc123","number":7,"#))
        #expect(text.contains(#""key":"id-100000","name":"web-0","created_ns":0,"port":8080,"labels":{"#))
    }

    @Test(arguments: [
        ("", "text ends"), ("[]", "expected an object"), ("{", "text ends"), ("null", "expected an object"),
        (#"{"interlock_pin":2}"#, "format 2"),
        (#"{"id":"a","number":1,"services":[]}"#, "\"interlock_pin\" is missing"),
        (#"{"interlock_pin":1,"id":"a","number":1}"#, "\"services\" is missing"),
        (#"{"interlock_pin":1,"id":"../a","number":1,"services":[]}"#, "is no id"),
        (#"{"interlock_pin":1,"id":"a","number":-1,"services":[]}"#, "number"),
        (#"{"interlock_pin":1,"id":"a","number":9223372036854775807,"services":[]}"#, "number"),
        (#"{"interlock_pin":1,"id":"a","number":1e9,"services":[]}"#, "whole number"),
        (#"{"interlock_pin":1,"id":"a","number":1,"services":{}}"#, "expected a list"),
        (#"{"interlock_pin":1,"id":"a","number":1,"clusters":[],"services":[]}"#, "\"clusters\" is empty"),
        (#"{"interlock_pin":1,"id":"a","id":"b","number":1,"services":[]}"#, "written twice"),
        (#"{"interlock_pin":1,"id":"a","number":1,"services":[{}]}"#, "no \"key\""),
        (#"{"interlock_pin":1,"id":"a","number":1,"services":[{"key":"x"}]}"#, "no \"labels\""),
        (#"{"interlock_pin":1,"id":"a","number":1,"services":[{"key":"x","labels":{"a":1}}]}"#, "expected a string"),
        (#"{"interlock_pin":1,"id":"a","number":1,"services":[{"key":"x","port":70000,"labels":{}}]}"#, "whole number"),
        (
            #"{"interlock_pin":1,"id":"a","number":1,"services":[{"key":"x","labels":{"a":"1","a":"2"}}]}"#,
            "written twice"
        ),
        (
            #"{"interlock_pin":1,"id":"a","number":1,"services":[{"key":"x","labels":{}},{"key":"x","labels":{}}]}"#,
            "there twice"
        ),
        (#"{"interlock_pin":1,"id":"a","number":1,"services":[]} x"#, "after the end"),
        (String(repeating: "[", count: 100_000), "expected an object"),
        (#"{"x":"# + String(repeating: "[", count: 100_000), "text ends"),
    ])
    func whatIsNoPinIsSaidSo(text: String, reason: String) {
        let error = #expect(throws: PinError.self) { _ = try PinDocument.decode(Array(text.utf8)) }
        #expect(error.map { "\($0)".contains(reason) } == true, "\(error.map { "\($0)" } ?? "")")
    }

    @Test func fieldsOfAnotherBuildArePassedOver() throws {
        let text =
            #"{"interlock_pin":1,"new":{"a":[1,{}]},"id":"a","number":1,"services":[{"key":"x","labels":{},"z":1}]}"#
        #expect(try PinDocument.decode(Array(text.utf8)).configuration.services.map(\.key) == ["x"])
    }

    @Test func nothingThatIsSpoiltTraps() {
        let bytes = PinDocument.encode(Self.pin(3))
        var random = SeededRandom(seed: 11)
        for length in stride(from: 0, to: bytes.count, by: 3) { _ = try? PinDocument.decode(Array(bytes[..<length])) }
        for _ in 0..<3_000 {
            var spoilt = bytes
            for _ in 0..<random.number(1...4) {
                spoilt[random.number(0...(spoilt.count - 1))] = UInt8(random.number(0...255))
            }
            _ = try? PinDocument.decode(spoilt)
            _ = try? HistoryDocument(decoding: spoilt)
        }
    }

    // MARK: Parts

    private func parts(_ pin: Pin, version: UInt64 = 1) throws -> [PinPart] {
        let pieces = try PinParts.cut(PinDocument.encode(pin))
        return pieces.enumerated().map { index, piece in
            PinPart(
                configID: "c\(version)-\(index)", name: "pin-\(index)", version: version + UInt64(pieces.count - index),
                pinID: pin.id, place: "\(index + 1)/\(pieces.count)", content: piece)
        }
    }

    @Test func tenThousandServicesTakeSeveralConfigs() throws {
        let pin = Self.pin(10_000)
        let parts = try parts(pin)
        #expect(parts.count > 2)
        #expect(parts.allSatisfy { $0.content.count <= 400_000 })
        var random = SeededRandom(seed: 3)
        let joined = PinParts.joined(parts.shuffled(using: &random))
        #expect(joined.pins == [pin])
        #expect(joined.problems.isEmpty)
    }

    @Test func aPinCountsOnlyAsAWhole() throws {
        let parts = try parts(Self.pin(10_000))
        for missing in parts.indices {
            var rest = parts
            rest.remove(at: missing)
            let joined = PinParts.joined(rest)
            #expect(joined.pins.isEmpty)
            // Without its first part it is just being written.
            #expect(joined.problems.isEmpty == (missing == 0))
        }
        var twice = parts
        twice.append(parts[1])
        #expect(PinParts.joined(twice).problems.map(\.message).contains { $0.contains("contradict") })
    }

    @Test func theNewestCounts() throws {
        let old = Self.pin(1, id: "zzz", number: 1)
        let new = Self.pin(1, id: "aaa", number: 2)
        let all = try parts(old, version: 5) + parts(new, version: 9)
        #expect(PinParts.joined(all).pins.map(\.number) == [2, 1])
        #expect(PinParts.joined(all.reversed()).pins.map(\.number) == [2, 1])
    }

    @Test func garbageIsPassedOverAndTold() throws {
        let good = try parts(Self.pin(1))
        let bad = [
            PinPart(configID: "b1", name: "b1", version: 90, pinID: "b1", place: "1/1", content: [1, 2, 3]),
            PinPart(configID: "b2", name: "b2", version: 91, pinID: "b2", place: "9/1", content: []),
            PinPart(configID: "b3", name: "b3", version: 92, pinID: "b3", place: "", content: good[0].content),
            PinPart(configID: "b4", name: "b4", version: 93, pinID: "b4", place: "1/1", content: good[0].content),
        ]
        let joined = PinParts.joined(good + bad)
        #expect(joined.pins == [Self.pin(1)])
        #expect(joined.problems.map(\.value) == ["b1", "b2", "b3", "b4"])
        #expect(joined.problems.allSatisfy { $0.severity == .warning && $0.service == "pin" })
    }

    @Test(arguments: ["", "1", "0/1", "2/1", "1/0", "1/201", "-1/2", "1/2/3", "a/b", "1 / 2", "00001/2"])
    func whatIsNoPlaceIsRefused(text: String) { #expect(PinPart.numbers(text) == nil) }

    @Test(arguments: [0, 1, 2, 3, 4, 5, 254, 255, 256, 1_000])
    func base64GoesThereAndBack(count: Int) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37) }
        #expect(Base64.decode(Base64.encode(bytes)) == bytes)
    }

    @Test func base64IsThatOfOthers() {
        #expect(Base64.encode(Array("any carnal pleas".utf8)) == "YW55IGNhcm5hbCBwbGVhcw==")
        #expect(Base64.encode([0xFB, 0xFF, 0xFE]) == "+//+")
    }
}

/// A Swarm that keeps pins.
@Suite struct DockerPinTests {
    private func pins(_ engine: FakeDocker, _ writes: DockerWrites = .pins) -> DockerPins {
        DockerPins(
            DockerSettings(
                endpoint: DockerEndpoint(address: .unix(path: engine.path)), callTimeoutMs: 5_000, writes: writes))
    }

    private func listed(_ engine: FakeDocker) throws -> (pins: [Pin], problems: [Diagnostic]) {
        let client = DockerClient(endpoint: DockerEndpoint(address: .unix(path: engine.path)))
        defer { client.disconnect() }
        let configs = try DockerList(try client.get(.configs), of: "configs") { (reader) throws(JSONError) in
            try reader.labelledConfig(prefix: "com.docker.lb.")
        }
        return PinParts.joined(
            configs.elements.compactMap { if case .pinPart(let part) = $0 { part } else { nil } })
    }

    @Test func aPinIsWrittenFoundAndRemoved() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        let configs = engine.keepConfigs()
        configs.add(#"{"Name":"mine","Labels":{"com.docker.lb.services":"true"},"Data":"e30="}"#, in: engine)
        configs.add(#"{"Name":"other","Labels":{},"Data":"e30="}"#, in: engine)
        let pin = PinDocumentTests.pin(10_000)
        try pins(engine).write(pin)
        #expect(try listed(engine).pins == [pin])
        #expect(configs.count > 4)
        // The next one takes its place, and nothing else goes.
        let next = PinDocumentTests.pin(1, id: "next", number: 8)
        try pins(engine).write(next)
        #expect(try listed(engine).pins == [next])
        #expect(configs.count == 3)
        #expect(try pins(engine).remove(for: [""]))
        #expect(try listed(engine).pins.isEmpty)
        #expect(configs.count == 2)
        #expect(try !pins(engine).remove(for: nil))
    }

    @Test func pinsOfOtherGroupsStay() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        _ = engine.keepConfigs()
        var blue = PinDocumentTests.pin(1, id: "blue")
        blue.configuration.clusters = ["blue"]
        var green = PinDocumentTests.pin(1, id: "green")
        green.configuration.clusters = ["green"]
        try pins(engine).write(blue)
        try pins(engine).write(green)
        #expect(try listed(engine).pins.map(\.id) == ["green", "blue"])
        #expect(try pins(engine).remove(for: ["blue"]))
        #expect(try listed(engine).pins.map(\.id) == ["green"])
    }

    @Test func remainsAreTidiedUp() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        let configs = engine.keepConfigs()
        for (name, part) in [("a", "1/1"), ("b", "2/3"), ("c", "nonsense")] {
            configs.add(
                #"{"Name":"\#(name)","Labels":{"com.docker.lb.pin":"\#(name)","com.docker.lb.pin.part":"\#(part)"},"#
                    + #""Data":"AAAA"}"#, in: engine)
        }
        configs.add(#"{"Name":"d","Labels":{"com.docker.lb.pin":"d"},"Data":"no base64"}"#, in: engine)
        #expect(try listed(engine).problems.count == 3)
        #expect(try pins(engine).remove(for: ["blue"]))
        #expect(configs.count == 0)
    }

    @Test func withoutPermissionNothingIsEvenAsked() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        _ = engine.keepConfigs()
        for writes in [DockerWrites(), .services] {
            let error = #expect(throws: DockerError.self) { try pins(engine, writes).write(PinDocumentTests.pin()) }
            #expect(error?.kind == .notAllowed)
            #expect(throws: DockerError.self) { _ = try pins(engine, writes).remove(for: nil) }
        }
        #expect(engine.connectionCount == 0)
    }

    @Test func aRefusalLeavesNoPartBehind() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        let configs = engine.keepConfigs()
        engine.answer("/configs/create") { [weak engine] request in
            guard let engine, configs.count < 2 else { return .failure(500, "no leader") }
            return .json(
                #"{"ID":"\#(configs.add(String(decoding: request.body, as: UTF8.self), in: engine))"}"#, status: 201)
        }
        let error = #expect(throws: DockerError.self) { try pins(engine).write(PinDocumentTests.pin(10_000)) }
        #expect(error?.description == "POST /configs/create: the engine answered 500: no leader")
        #expect(configs.count == 0)
    }
}
