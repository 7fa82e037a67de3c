// Entry ports for TCP: what comes of `tcp_port` with and without hosts and certificates, and who shares a port.

import Support
import Discovery
import Model
import Testing

private struct Port: Sendable, CustomStringConvertible {
    let services: [[String: String]]
    let streams: [String]
    /// "severity service label".
    let findings: [String]

    init(_ services: [[String: String]], _ streams: [String], _ findings: String...) {
        self.services = services
        self.streams = streams
        self.findings = findings
    }

    var description: String { services.map { "\($0)" }.joined(separator: " + ") }

    var files: [ServicesFile] {
        services.enumerated().map { index, labels in
            let labels = lb(labels.merging(["tcp_port": "5432"]) { own, _ in own })
            return ServicesFile(
                name: "f\(index)", createdAtNs: Int64(index),
                services: [FileService(name: "s\(index)", labels: labels, endpoints: ["10.0.\(index).1:80"])])
        }
    }
}

private let named = ["hosts": "a.test"]
private let ended = ["hosts": "a.test", "ssl_cert": "c"]

@Test(
    "what comes of tcp_port",
    arguments: [
        Port([[:]], ["5432 -> s0"]),
        Port([[:], [:]], ["5432 -> s0 s1"]),
        Port([[:], ["tcp_port": "6000"]], ["5432 -> s0", "6000 -> s1"]),
        Port([["tcp_port": " 6010 "]], ["6010 -> s0"]),
        Port([named], ["5432/a.test pass -> s0"]),
        Port([["hosts": "a.test,*.b.test,A.test."]], ["5432/a.test pass -> s0", "5432/*.b.test pass -> s0"]),
        Port([["hosts": "a.test", "ssl_passthrough": "1"]], ["5432/a.test pass -> s0"]),
        Port([["ssl_passthrough": "1"]], ["5432/* pass -> s0"]),
        Port([ended], ["5432/a.test tls c -> s0"]),
        Port([["ssl_cert": "c", "ssl_key": "k"]], ["5432/* tls c+k -> s0"]),
        Port(
            [["ssl_cert": "c", "ssl_client_ca": "ca", "ssl_min_version": "1.3", "hosts": "a.test"]],
            ["5432/a.test tls c min 1.3 client required ca -> s0"]),
        Port(
            [["hosts": "a.test", "ssl_cert": "c", "ssl_passthrough": "1"]], ["5432/a.test pass -> s0"],
            "warning s0 ssl_cert"),
        // Side by side.
        Port([named, ["hosts": "b.test", "ssl_cert": "c"]], ["5432/a.test pass -> s0", "5432/b.test tls c -> s1"]),
        Port([ended, ["ssl_cert": "d"]], ["5432/a.test tls c -> s0", "5432/* tls d -> s1"]),
        Port([ended, ended], ["5432/a.test tls c -> s0 s1"]),
        Port([ended, ["hosts": "a.test", "ssl_cert": "d"]], ["5432/a.test tls c -> s0 s1"], "warning s1 ssl_cert"),
        Port([named, named], ["5432/a.test pass -> s0 s1"]),
        // In each other's way.
        Port([[:], named], ["5432 -> s0"], "error s1 tcp_port"),
        Port([named, [:]], ["5432/a.test pass -> s0"], "error s1 tcp_port"),
        Port([[:], ["ssl_cert": "c"]], ["5432 -> s0"], "error s1 tcp_port"),
        Port([[:], named, [:]], ["5432 -> s0 s2"], "error s1 tcp_port"),
        Port([named, ended], ["5432/a.test pass -> s0"], "error s1 ssl_passthrough"),
        Port([ended, named], ["5432/a.test tls c -> s0"], "error s1 ssl_passthrough"),
        Port(
            [ended, ["hosts": "a.test,b.test"]], ["5432/a.test tls c -> s0", "5432/b.test pass -> s1"],
            "error s1 ssl_passthrough"),
        Port(
            [ended, ["hosts": "a.test", "ssl_cert": "c", "ssl_client_ca": "ca"]], ["5432/a.test tls c -> s0"],
            "error s1 ssl_client_ca"),
        Port(
            [ended, ["hosts": "a.test", "ssl_cert": "c", "ssl_min_version": "1.3"]], ["5432/a.test tls c -> s0"],
            "error s1 ssl_min_version"),
        Port([ended, ["hosts": "a.test", "ssl_cert": "c", "ssl_only": "1"]], ["5432/a.test tls c -> s0 s1"]),
        // Protection that could not be given.
        Port([["ssl_client_ca": "ca"]], [], "error s0 ssl_client_ca"),
        Port([["hosts": "a.test", "ssl_client_ca": "ca"]], [], "error s0 ssl_client_ca"),
        Port([["hosts": "a.test", "ssl_min_version": "1.3"]], [], "error s0 ssl_min_version"),
        Port([["ssl_only": "1"]], [], "error s0 ssl_only"),
        Port([["ssl_only": "1", "hosts": "a.test"]], ["5432/a.test pass -> s0"]),
        Port([["ssl_only": "1", "ssl_cert": "c"]], ["5432/* tls c -> s0"]),
        Port([["ssl_only": "1", "ssl_passthrough": "1"]], ["5432/* pass -> s0"]),
        Port([["ssl_backend": "1"]], ["5432 -> s0"]),
        Port([["ssl_backend": "1", "ssl_backend_ca": "ca"]], [], "error s0 ssl_backend_tls_verify"),
        Port([["ssl_backend": "1", "ssl_backend_tls_verify": "required"]], [], "error s0 ssl_backend_tls_verify"),
        Port([["ssl_backend": "1", "ssl_backend_ca": "ca", "ssl_backend_name": "db.test"]], ["5432 -> s0"]),
        // Labels for requests mean nothing.
        Port([["context_root": "/x"]], ["5432 -> s0"], "warning s0 context_root"),
        Port([["default_backend": "1"]], ["5432 -> s0"], "warning s0 default_backend"),
        Port([["hsts": "1"]], ["5432 -> s0"], "warning s0 hsts"),
        Port(
            [["hosts": "a.test", "redirects": "a.test,http://b.test"]], ["5432/a.test pass -> s0"],
            "warning s0 redirects"),
        Port([["path_policy": "raw"]], ["5432 -> s0"], "warning s0 path_policy"),
        Port([["max_body_size": "1m"]], ["5432 -> s0"], "warning s0 max_body_size"),
        Port([["retry_on": "503"]], ["5432 -> s0"], "warning s0 retry_on"),
        Port([["response_timeout": "1s"]], ["5432 -> s0"], "warning s0 response_timeout"),
        Port([["idle_timeout": "1s"]], ["5432 -> s0"], "warning s0 idle_timeout"),
        Port([["connect_timeout": "1s", "tunnel_timeout": "2h", "proxy_protocol": "v1"]], ["5432 -> s0"]),
        Port([["hosts": "a.test", "ssl_backend": "1"]], ["5432/a.test pass -> s0"], "warning s0 ssl_backend"),
        // Ports that are not for services.
        Port([["tcp_port": "5433"]], [], "error s0 tcp_port"), Port([["tcp_port": "443"]], [], "error s0 tcp_port"),
        Port([["tcp_port": "6001"]], [], "error s0 tcp_port"), Port([["tcp_port": "6011"]], [], "error s0 tcp_port"),
    ])
private func ports(_ port: Port) {
    let snapshot = ServiceMapping.snapshot(of: Inventory(files: port.files), settings: withTCP)
    #expect(snapshot.renderedStreams == port.streams)
    #expect(snapshot.diagnostics.map { "\($0.severity) \($0.service) \($0.label)" } == port.findings)
    #expect(snapshot.configuration.routes.isEmpty && snapshot.configuration.hosts.isEmpty)
    #expect(snapshot.problems().isEmpty)
    #expect(ServiceMapping.snapshot(of: Inventory(files: port.files.reversed()), settings: withTCP) == snapshot)
}

@Test func aClosedPortSaysHowToOpenIt() {
    #expect(
        diagnosed(mapped(["tcp_port": "5433"])) == [
            "error web tcp_port: is not an entry port of the proxy; its operator opens it with "
                + "INTERLOCK_TCP_PORTS=5432,6000-6010,5433"
        ])
    #expect(
        diagnosed(mapped(["tcp_port": "7"], settings: MappingSettings())) == [
            "error web tcp_port: is not an entry port of the proxy; its operator opens it with INTERLOCK_TCP_PORTS=7"
        ])
    #expect(
        diagnosed(mapped(["tcp_port": "6001"])) == [
            "error web tcp_port: is a port that the proxy itself listens on; choose another one"
        ])
}

@Test func httpKnowsNothingOfTCPServices() {
    let snapshot = mapped(
        ("tcp", ["hosts": "a.test", "tcp_port": "5432"]), ("web", ["hosts": "a.test", "ssl_cert": "c"]))
    #expect(snapshot.configuration.routes.map(\.services) == [[1]])
    #expect(snapshot.renderedHosts == ["a.test c"])
    #expect(snapshot.renderedStreams == ["5432/a.test pass -> tcp"])
    #expect(snapshot.diagnostics.isEmpty)
}

@Test func namesAndPortsBelongToStacks() {
    func file(_ name: String, _ age: Int64, _ stack: String, _ labels: [String: String]) -> ServicesFile {
        ServicesFile(
            name: name, createdAtNs: age,
            services: [FileService(name: name, labels: lb(labels, stack: stack), endpoints: ["10.0.0.1:1"])])
    }
    let files = [
        file("web", 1, "one", ["hosts": "a.test"]),
        file("names", 2, "two", ["hosts": "a.test,b.test", "tcp_port": "5432"]),
        file("raw", 3, "one", ["tcp_port": "6000"]), file("other", 4, "two", ["tcp_port": "6000"]),
        file("same", 5, "one", ["tcp_port": "6000"]),
        file("rest", 6, "three", ["tcp_port": "5432", "ssl_passthrough": "1"]),
        file("late", 7, "two", ["tcp_port": "5432", "ssl_passthrough": "1"]),
    ]
    var settings = withTCP
    let shared = ServiceMapping.snapshot(of: Inventory(files: files), settings: settings)
    #expect(
        shared.renderedStreams == [
            "5432/a.test pass -> names", "5432/b.test pass -> names", "5432/* pass -> late rest",
            "6000 -> other raw same",
        ])
    #expect(
        diagnosed(shared) == [
            "warning late tcp_port: shares *:5432 with rest of stack three: both answer for it",
            "warning other tcp_port: shares port 6000 with raw of stack one: both answer for it",
        ])
    settings.hostOwnership = .stack
    let owned = ServiceMapping.snapshot(of: Inventory(files: files), settings: settings)
    #expect(owned.renderedStreams == ["5432/b.test pass -> names", "5432/* pass -> rest", "6000 -> raw same"])
    #expect(
        diagnosed(owned) == [
            "error late tcp_port: port 5432 belongs to stack three, which claimed it first",
            "error names hosts: a.test belongs to stack one, which claimed it first",
            "error other tcp_port: port 6000 belongs to stack one, which claimed it first",
        ])
    #expect(owned.problems().isEmpty)
}

@Test func swarmServicesAndContainersHaveEntryPortsToo() {
    var inventory = webInventory(["tcp_port": "5432", "port": "5432"])
    inventory.containers = [
        Container(
            id: "c", name: "box", labels: lb(["tcp_port": "6000", "ssl_cert": "c"]),
            networks: [ContainerNetwork(id: "n", name: "n", addresses: [address("172.18.0.2")])], exposedPorts: [6379])
    ]
    let snapshot = ServiceMapping.snapshot(of: inventory, settings: withTCP)
    #expect(snapshot.renderedStreams == ["5432 -> web", "6000/* tls c -> box"])
    #expect(snapshot.endpoints.flatMap { $0.map(\.endpoint.port) } == [6379, 5432, 5432])
    #expect(snapshot.diagnostics.isEmpty)
}

@Test("the order of the input changes nothing, TLS and entry ports included", arguments: 0..<40)
func orderChangesNoHosts(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed + 5))
    var files: [ServicesFile] = []
    for index in 0..<14 {
        var labels = ["hosts": ["a.test", "b.test", "*.test", "a.test,*.test"].randomElement(using: &random) ?? ""]
        func maybe(_ name: String, _ values: [String], _ chance: Int) {
            if Int.random(in: 0..<chance, using: &random) == 0 { labels[name] = values.randomElement(using: &random) }
        }
        maybe("ssl_cert", ["c", "d", "c,d"], 2)
        maybe("ssl_only", ["1", "0"], 4)
        maybe("ssl_client_ca", ["ca", "cb"], 5)
        maybe("ssl_min_version", ["1.3", "1.2"], 6)
        maybe("ssl_passthrough", ["1"], 8)
        maybe("hsts", ["1", "2"], 3)
        maybe("tcp_port", ["5432", "6000", "7"], 4)
        maybe("context_root", ["/x"], 3)
        maybe("redirects", ["a.test,http://b.test", "http://b.test,https://a.test"], 4)
        maybe("default_backend", ["1"], 6)
        if labels["tcp_port"] != nil { maybe("hosts", [""], 2) }
        let service = FileService(
            name: "s\(index)", labels: lb(labels, stack: "st\(index % 2)"), endpoints: ["10.0.0.1:80"])
        files.append(ServicesFile(name: "f\(index)", createdAtNs: Int64(index % 5), services: [service]))
    }
    var settings = withTCP
    settings.hostOwnership = seed % 3 == 0 ? .stack : .shared
    let expected = ServiceMapping.snapshot(of: Inventory(files: files), settings: settings)
    #expect(expected.problems().isEmpty)
    #expect(!expected.configuration.services.isEmpty)
    for _ in 0..<5 {
        let again = ServiceMapping.snapshot(of: Inventory(files: files.shuffled(using: &random)), settings: settings)
        #expect(again == expected)
        #expect(again.contentHash == expected.contentHash)
    }
}
