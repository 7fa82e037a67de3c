import Discovery
import Model
import Support
import Testing

@testable import Docker

@Suite struct DockerTypesTests {
    private func services(_ name: String) throws -> [SwarmService] {
        try DockerList<SwarmService>(try Recording.bytes(name), of: "services") { (reader) throws(JSONError) in
            try reader.swarmService()
        }.elements
    }

    private func tasks(_ bytes: [UInt8]) throws -> DockerList<ListedTask> {
        try DockerList<ListedTask>(bytes, of: "tasks") { (reader) throws(JSONError) in try reader.swarmTask() }
    }

    @Test func readsRecordedServices() throws {
        let services = try services("services.json")
        #expect(services.count == 5)
        let web = try #require(services.first { $0.name == "web" })
        #expect(web.id == "102uc2pddf5huv46cen59ulf8")
        #expect(web.version == 16)
        #expect(web.labels == ["com.docker.lb.hosts": "web.test", "com.docker.lb.port": "8080"])
        #expect(web.mode == .replicated(3))
        #expect(web.desiredTaskCount == 3)
        #expect(web.runningTaskCount == 3)
        #expect(web.networks == ["isn8noj6w55zit7zsucfcq5ht"])
        #expect(web.virtualIPs.map(\.address.description) == ["10.0.1.2"])
        #expect(web.createdAtNs > 1_700_000_000_000_000_000)
        #expect(web.updateState == nil)
        let api = try #require(services.first { $0.name == "api" })
        #expect(api.ports == [PublishedPort(targetPort: 9000, publishedPort: 9000, mode: .host)])
        let global = try #require(services.first { $0.name == "glob" })
        #expect(global.mode == .global)
    }

    @Test func readsAnUpdateUnderWay() throws {
        let web = try #require(try services("updating-services.json").first { $0.name == "web" })
        #expect(web.updateState == .updating)
        #expect(web.previousLabels?["com.docker.lb.hosts"] == "web.test")
    }

    @Test func readsRecordedTasks() throws {
        let list = try tasks(try Recording.bytes("tasks.json"))
        #expect(list.elements.count == 8)
        #expect(list.problems.isEmpty)
        let withPort = try #require(list.elements.first { !$0.task.hostPorts.isEmpty })
        // The engine lists the port for IPv4 and for IPv6.
        #expect(withPort.task.hostPorts == [PublishedPort(targetPort: 9000, publishedPort: 9000, mode: .host)])
        #expect(withPort.task.addresses.map(\.address.description) == ["10.0.2.3", "10.0.1.7"])
        #expect(withPort.task.state == .running)
        #expect(withPort.containerID.hasPrefix("42addd4ea1b3"))
        #expect(list.elements.contains { $0.task.state == .pending })
    }

    @Test func readsTheTaskStatesOfAnUpdateAndOfScalingDown() throws {
        let updating = try tasks(try Recording.bytes("updating-tasks-1.json")).elements.map(\.task)
        #expect(updating.contains { $0.slot == 3 && $0.desiredState == .shutdown && $0.state == .running })
        #expect(updating.contains { $0.slot == 3 && $0.desiredState == .ready && $0.state == .ready })
        let scaled = try tasks(try Recording.bytes("scaled-down-tasks.json")).elements.map(\.task)
        #expect(scaled.count { $0.desiredState == .remove && $0.state == .running } == 2)
    }

    @Test func readsNodesNetworksAndInfo() throws {
        let nodes = try DockerList<VersionedNode>(try Recording.bytes("nodes.json"), of: "nodes") {
            (reader) throws(JSONError) in try reader.swarmNode()
        }
        let node = try #require(nodes.elements.first?.node)
        #expect(node.hostname == "manager1")
        #expect(node.address?.description == "10.213.0.1")
        #expect(node.managerAddress?.description == "10.213.0.1")
        #expect(node.state == .ready)
        let networks = try DockerList<Network>(try Recording.bytes("networks.json"), of: "networks") {
            (reader) throws(JSONError) in try reader.network()
        }
        #expect(networks.elements.first { $0.name == "ingress" }?.isIngress == true)
        #expect(networks.elements.first { $0.name == "front" }?.scope == .swarm)
        #expect(networks.elements.first { $0.name == "plainnet" }?.scope == .local)
        var reader = JSONReader(try Recording.bytes("info.json"))
        let info = try reader.engineInfo()
        #expect(info.isManager && info.swarmState == .active)
        #expect(info.clusterID == "ay329v84kdng7roor4leoq8vc")
        var plain = JSONReader(try Recording.bytes("plain-info.json"))
        #expect(try plain.engineInfo().swarmState == .inactive)
    }

    @Test func readsContainers() throws {
        let containers = try DockerList<Container>(try Recording.bytes("containers.json"), of: "containers") {
            (reader) throws(JSONError) in try reader.container()
        }.elements
        let solo = try #require(containers.first { $0.name == "solo" })
        #expect(solo.labels["com.docker.lb.hosts"] == "solo.test")
        #expect(solo.networks.map(\.name) == ["plainnet"])
        #expect(solo.networks.first?.addresses.map(\.description) == ["172.18.0.2"])
        #expect(solo.exposedPorts == [8080])
        #expect(solo.state == .running)
        let published = try #require(containers.first { $0.name == "pub" })
        #expect(published.publishedPorts == [PublishedPort(targetPort: 8080, publishedPort: 9800, mode: .host)])
    }

    @Test(arguments: [
        ("Up 5 seconds", Container.Health.none), ("Up 5 seconds (healthy)", .healthy),
        ("Up 5 minutes (unhealthy)", .unhealthy), ("Up 1 second (health: starting)", .starting),
        ("Exited (0) 3 seconds ago", .none),
    ])
    func readsHealthFromStatus(status: String, health: Container.Health) {
        #expect(JSONReader.health(inStatus: status) == health)
    }

    @Test func readsOnlyLabelledConfigs() throws {
        let list = try DockerList<LabelledConfig>(try Recording.bytes("configs.json"), of: "configs") {
            (reader) throws(JSONError) in try reader.labelledConfig(prefix: "com.docker.lb.")
        }
        let configs = list.elements.compactMap { if case .services(let config) = $0 { config } else { nil } }
        #expect(configs.map(\.name) == ["legacy-services"])
        let content = try ServicesFileReader.read(configs[0].content, name: "x")
        #expect(content.services.first?.endpoints == ["10.0.0.9:80"])
    }

    @Test func oneBadElementLosesNoOther() throws {
        let text = #"""
            [{"ID":"a","Status":{"State":"running"},"DesiredState":"running"},
             {"ID":7}, "task", null, {"ID":""},
             {"ID":"b","DesiredState":"flying"},
             {"ID":"c","Version":{"Index":-1}},
             {"ID":"d","Slot":"one"},
             {"ID":"e","NetworksAttachments":null,"Status":null,"Labels":{"x":["]"]}}]
            """#
        let list = try tasks(Array(text.utf8))
        #expect(list.elements.map(\.task.id) == ["a", "e"])
        #expect(list.problems.count == 7)
        #expect(list.problems.allSatisfy { $0.message.contains("tasks") })
    }

    @Test func manyBadElementsMakeFewDiagnostics() throws {
        let text = "[" + Array(repeating: "7", count: 5000).joined(separator: ",") + "]"
        let list = try tasks(Array(text.utf8))
        #expect(list.elements.isEmpty)
        #expect(list.problems.count == 20)
    }

    @Test func nullIsAnEmptyList() throws {
        #expect(try tasks(Array("null\n".utf8)).elements.isEmpty)
    }

    @Test func readsALabelOfTenMegabytes() throws {
        let label = String(repeating: "x", count: 10 << 20)
        let text = #"[{"ID":"a","Spec":{"Name":"web","Labels":{"big":"\#(label)"}}}]"#
        let list = try DockerList<SwarmService>(Array(text.utf8), of: "services") { (reader) throws(JSONError) in
            try reader.swarmService()
        }
        #expect(list.elements.first?.labels["big"]?.utf8.count == 10 << 20)
    }

    @Test(arguments: [
        ("", [UInt8]()), ("eAo=", [0x78, 0x0A]), ("eA==", [0x78]), ("AAEC", [0, 1, 2]), ("+/+/", [0xFB, 0xFF, 0xBF]),
    ])
    func decodesBase64(text: String, expected: [UInt8]) {
        #expect(Base64.decode(text) == expected)
    }

    @Test(arguments: ["a", "ab", "abc", "ab=c", "=abc", "====", "ab-_", "a===", "ab c", "äää"])
    func refusesWhatIsNoBase64(text: String) {
        #expect(Base64.decode(text) == nil)
    }
}
