// The history of configurations: what makes an entry, what it says, and that each can be had again.

import Discovery
import Docker
import Model
import Support
import Testing

@testable import Controller

private let front = Network(id: "n-front", name: "front")
private let settings = MappingSettings(proxyNetworks: ["front"])

private func service(
    _ name: String, _ labels: [String: String], replicas: Int = 1, age: Int64 = 1, previous: [String: String]? = nil
) -> SwarmService {
    func written(_ labels: [String: String]) -> [String: String] {
        Dictionary(uniqueKeysWithValues: labels.map { ("com.docker.lb." + $0.key, $0.value) })
    }
    return SwarmService(
        id: "id-" + name, name: name, createdAtNs: age, labels: written(labels), previousLabels: previous.map(written),
        mode: .replicated(replicas), networks: ["front"])
}

private func part(
    _ services: [SwarmService], cluster: String = "", tasks: [SwarmTask] = [], containers: [Container] = []
) -> History.Part {
    let inventory = Inventory(services: services, tasks: tasks, networks: [front], containers: containers)
    var own = settings
    own.serviceCluster = cluster
    let (snapshot, said) = ServiceMapping.mapped(inventory, settings: own)
    return History.Part(cluster: cluster, configuration: snapshot.configuration, said: said)
}

private func labels(_ host: String, _ more: [String: String] = [:]) -> [String: String] {
    ["hosts": host, "port": "80"].merging(more) { $1 }
}

@Suite("history") struct HistoryTests {
    private var history = History(labelPrefix: "com.docker.lb.")

    @Test("each configuration is an entry with its cause and what came of it")
    func entries() {
        var history = history
        let first = history.take([part([service("web", labels("a.test"))])], atNs: 1)
        #expect(first?.number == 1)
        #expect(first?.cause == "the first look: 1 service")
        #expect(first?.difference == [])
        let second = history.take([part([service("web", labels("b.test"))])], atNs: 2)
        #expect(second?.number == 2)
        #expect(second?.atNs == 2)
        #expect(second?.cause == "web: hosts a.test -> b.test")
        #expect(second?.difference == ["- route    a.test/ -> web", "+ route    b.test/ -> web"])
        let third = history.take(
            [part([service("web", labels("b.test")), service("shop", labels("b.test", ["weight": "3"]), age: 2)])],
            atNs: 3)
        #expect(third?.cause == "service shop appeared")
        #expect(
            third?.difference == [
                "- route    b.test/ -> web", "+ route    b.test/ -> shop, web", "+ service  shop: weight 3",
            ])
        let fourth = history.take([part([service("shop", labels("b.test"), age: 2)])], atNs: 4)
        #expect(fourth?.cause == "shop: weight 3 removed; service web is gone")
        #expect(history.entries.map(\.number) == [4, 3, 2, 1])
    }

    @Test("tasks, counts, ages and diagnostics make none")
    func endpoints() {
        var history = history
        let web = service("web", labels("a.test"))
        #expect(history.take([part([web])], atNs: 1) != nil)
        let task = SwarmTask(
            id: "t", serviceID: "id-web",
            addresses: [NetworkAddress(networkID: "n-front", address: IPAddress(v4: 0x0A00_0001))])
        #expect(history.take([part([web], tasks: [task])], atNs: 2) == nil)
        #expect(history.take([part([service("web", labels("a.test"), replicas: 9)])], atNs: 3) == nil)
        #expect(history.take([part([service("web", labels("a.test"), age: 7)])], atNs: 4) == nil)
        #expect(history.take([part([web, service("bad", ["hosts": "b.test", "port": "x"])])], atNs: 5) == nil)
        // A group without anything, for a proxy that asked, is none either.
        #expect(history.take([part([web]), part([], cluster: "blue")], atNs: 6) == nil)
        #expect(history.entries.count == 1)
    }

    @Test("a container that is made anew is the same")
    func containers() {
        func made(_ id: String) -> Container {
            Container(
                id: id, name: "solo", labels: ["com.docker.lb.hosts": "a.test"],
                networks: [
                    ContainerNetwork(id: "n-front", name: "front", addresses: [IPAddress(v4: 0x0A00_0001)])
                ], exposedPorts: [80])
        }
        var history = history
        #expect(history.take([part([], containers: [made("c1")])], atNs: 1) != nil)
        #expect(history.take([part([], containers: [made("c2")])], atNs: 2) == nil)
    }

    @Test("a port that changes is an entry, though no route does")
    func ports() {
        var history = history
        _ = history.take([part([service("web", labels("a.test"))])], atNs: 1)
        let entry = history.take([part([service("web", labels("a.test", ["port": "81"]))])], atNs: 2)
        #expect(entry?.cause == "web: port 80 -> 81")
        #expect(entry?.difference == [])
    }

    @Test("labels from before an update that are in force again are no change")
    func fallBack() {
        var history = history
        _ = history.take([part([service("web", labels("a.test"))])], atNs: 1)
        let fallen = service("web", ["hosts": "a b c", "port": "x"], previous: labels("a.test"))
        #expect(history.take([part([fallen])], atNs: 2) == nil)
    }

    @Test("much at once is counted")
    func manyChanges() {
        var history = history
        _ = history.take([part([service("web", labels("a.test"))])], atNs: 1)
        let many = (0..<300).map { service("s\(100 + $0)", labels("h\($0).test")) }
        let entry = history.take([part(many)], atNs: 2)
        #expect(
            entry?.cause
                == "service s100 appeared; service s101 appeared; service s102 appeared; service s103 appeared; "
                + "service s104 appeared; and 296 more services")
        #expect(entry?.difference.count == 201)
        #expect(entry?.difference.last == "... and 101 more lines")
        let spaces = String(repeating: " ", count: 300)
        let long = history.take(
            [
                part(
                    many.dropLast() + [
                        service("s399", labels("h299.test", ["weight": "3" + spaces]))
                    ])
            ],
            atNs: 3)
        #expect(long?.cause == "s399: weight 3\(spaces.prefix(99))... added")
    }

    @Test("groups are told apart")
    func clusters() {
        var history = history
        let blue = service("web", labels("a.test", ["service_cluster": "blue"]))
        _ = history.take([part([]), part([blue], cluster: "blue")], atNs: 1)
        let other = service("web", labels("b.test", ["service_cluster": "blue"]))
        let entry = history.take([part([]), part([other], cluster: "blue")], atNs: 2)
        #expect(entry?.difference == ["- [blue] route    a.test/ -> web", "+ [blue] route    b.test/ -> web"])
    }

    @Test("fifty are kept, and each can be had again")
    func limit() {
        var history = history
        for number in 1...120 {
            var services = [service("web", labels("h\(number).test"))]
            if number % 3 != 0 { services.append(service("shop", labels("shop\(number % 3).test"))) }
            _ = history.take([part(services)], atNs: UInt64(number))
        }
        #expect(history.numbers == Array(71...120))
        for number in 71...120 {
            let pinned = history.configuration(number) ?? []
            #expect(pinned.map(\.name) == (number % 3 == 0 ? ["web"] : ["shop", "web"]))
            #expect(pinned.last?.labels["com.docker.lb.hosts"] == "h\(number).test")
        }
        #expect(history.configuration(70) == nil)
        #expect(history.configuration(121) == nil)
    }

    @Test("what comes and goes all the time does not push everything else out")
    func flapping() {
        var history = history
        let web = service("web", labels("a.test"))
        for number in 1...40 { _ = history.take([part([service("web", labels("h\(number).test"))])], atNs: 1) }
        for _ in 1...60 {
            _ = history.take([part([web])], atNs: 2)
            _ = history.take([part([web, service("loop", labels("loop.test"))])], atNs: 3)
        }
        #expect(history.numbers.count == 50)
        #expect(Set(history.numbers).isSuperset(of: 1...40))
        #expect(history.configuration(17)?.first?.labels["com.docker.lb.hosts"] == "h17.test")
        #expect(history.configuration(history.numbers.last ?? 0)?.map(\.name) == ["loop", "web"])
    }

    @Test("it goes on after a restart")
    func restart() throws {
        var before = history
        for number in 1...60 { _ = before.take([part([service("web", labels("h\(number).test"))])], atNs: 5) }
        let bytes = before.document.encode()
        var after = history
        after.restore(try HistoryDocument(decoding: bytes))
        #expect(after.entries == before.entries)
        #expect(after.numbers.allSatisfy { after.configuration($0) == before.configuration($0) })
        // The same world is no news, another one is.
        #expect(after.take([part([service("web", labels("h60.test"))])], atNs: 6) == nil)
        let entry = after.take([part([service("web", labels("x.test"))])], atNs: 7)
        #expect(entry?.number == 61)
        #expect(entry?.cause == "web: hosts h60.test -> x.test")
        #expect(entry?.difference == ["- route    h60.test/ -> web", "+ route    x.test/ -> web"])
        // A setting that changed meanwhile is seen by what came of it.
        var settled = history
        settled.restore(try HistoryDocument(decoding: bytes))
        var changed = part([service("web", labels("h60.test"))])
        changed.configuration.routes[0].requiresTLS = true
        #expect(settled.take([changed], atNs: 8)?.cause.contains("a setting changed") == true)
    }

    @Test("numbers go on above those of a pin")
    func numbersOfPins() {
        var history = history
        history.skip(to: 12)
        #expect(history.take([part([service("web", labels("a.test"))])], atNs: 1)?.number == 13)
    }
}
