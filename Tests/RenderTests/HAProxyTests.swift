// What a snapshot becomes as configuration of haproxy, byte for byte; shares, rings, and who is watched.

import Model
import Render
import Support
import Testing

@Suite("haproxy's configuration")
struct HAProxyTests {
    /// One of everything.
    private func everything() -> HAProxyWorld {
        var world = HAProxyWorld()
        let web = world.add("web", tasks: 3) { $0.maxBodySize = 1 << 20 }
        world.setState(.draining, service: web, task: 1)
        let app = world.add("app", tasks: 2) { options in
            options.connectTimeoutMs = 500
            options.responseTimeoutMs = 300_000
            options.retries = 1
            options.retryStatuses = [502, 503]
            options.maxConnections = 4
            options.queueTimeoutMs = 10_000
            options.slowStartMs = 30_000
            options.health = HealthCheck(path: "/live?deep=1", statuses: [200...299, 401...401], port: 9000)
        }
        let green = world.add("green", tasks: 1)
        let secure = world.add("secure", tasks: 1) { options in
            options.backendTLS = BackendTLS(verifies: true, serverName: "secure.internal")
            options.proxyProtocol = .v2
        }
        let none = world.add("none", tasks: 0)
        let passed = world.add("passed", tasks: 2) { $0.proxyProtocol = .v1 }
        let queue = world.add("queue", tasks: 2) { $0.tunnelTimeoutMs = 7_200_000 }
        world.route(.exact("shop.test"), [web]) { $0.hsts = "max-age=60" }
        world.route(.exact("shop.test"), [app], at: "/app") { $0.rewritesPrefix = true }
        world.route(.exact("shop.test"), [green]) {
            $0.conditions = RouteConditions(headers: [.init(name: "x-preview", value: "it's")], methods: ["GET"])
        }
        world.route(.wildcard("shop.test"), [web]) { $0.balancing = Balancing(key: .cookie("SID")) }
        world.route(.exact("only.test"), [secure]) { $0.requiresTLS = true }
        world.route(.exact("none.test"), [none])
        world.route(.any, [web]) { $0.pathPolicy = .raw }
        world.host(HostOptions(host: .exact("shop.test"), tls: TLSOptions(certificates: [world.certificate("shop")])))
        world.host(
            HostOptions(
                host: .wildcard("shop.test"),
                tls: TLSOptions(certificates: [world.certificate("shop")], minimumVersion: .tls13)))
        world.secrets.secrets["staff"] = world.secrets.secrets["shop"]
        world.host(
            HostOptions(
                host: .exact("only.test"),
                tls: TLSOptions(
                    certificates: [world.certificate("only")],
                    clientAuthentication: ClientAuthentication(
                        demand: .required, authorities: SecretReference("staff"))),
                redirects: [HostRedirect(scheme: .https, target: "https://shop.test/only")]))
        world.host(HostOptions(host: .exact("pass.test"), passthrough: [passed]))
        world.port(StreamPort(port: 5672, services: [queue], balancing: Balancing(key: .clientAddress)))
        world.port(
            StreamPort(
                port: 5671,
                hosts: [
                    StreamHost(host: .exact("a.test"), services: [passed]),
                    StreamHost(
                        host: .exact("b.test"), services: [queue],
                        tls: TLSOptions(certificates: [world.certificate("shop")])),
                ]))
        return world
    }

    @Test("a snapshot becomes these files, byte for byte")
    func golden() throws {
        let output = everything().render()
        var text = ""
        for file in output.files {
            text += "=== \(file.path)\(file.isSecret ? " (secret)" : "")\n"
            text += String(decoding: file.bytes, as: UTF8.self)
        }
        for diagnostic in output.diagnostics {
            text += "=== \(diagnostic.severity) \(diagnostic.service) \(diagnostic.label): \(diagnostic.message)\n"
        }
        let here = #filePath
        let folder = here.prefix(upTo: here.lastIndex(of: "/") ?? here.startIndex)
        let expected = String(decoding: try readFile("\(folder)/Golden/haproxy.txt"), as: UTF8.self)
        if text != expected { try writeFile("/tmp/interlock-golden-haproxy.txt", text) }
        let differing = zip(text.split(separator: "\n"), expected.split(separator: "\n")).first { $0 != $1 }
        #expect(
            text == expected,
            "now: \(differing?.0 ?? "")\nexpected: \(differing?.1 ?? "")\nall of it: /tmp/interlock-golden-haproxy.txt")
    }

    @Test("equal inputs give equal bytes, whatever order they were put together in")
    func canonical() {
        var (one, other) = (everything(), everything())
        let names = one.secrets.secrets.keys.sorted()
        one.secrets.secrets = Dictionary(uniqueKeysWithValues: names.map { ($0, one.secrets.secrets[$0] ?? []) })
        other.secrets.secrets = Dictionary(
            uniqueKeysWithValues: names.reversed().map { ($0, other.secrets.secrets[$0] ?? []) })
        #expect(one.render() == other.render())
    }

    // MARK: Shares

    @Test(
        "weights become numbers up to 256, exact where they can be",
        arguments: [
            ([(nil, 4), (nil, 1)], ["-", "-", "-", "-", "-"]),
            ([(90, 3), (10, 3)], ["9", "9", "9", "1", "1", "1"]),
            ([(60, 1), (40, 4)], ["6", "1", "1", "1", "1"]),
            ([(100, 2), (nil, 1)], ["1", "1", "2"]),
            ([(1, 1), (1000, 1)], ["1", "256"]),
            ([(100, 1), (0, 3)], ["-"]),
            ([(50, 2), (50, 0)], ["-", "-"]),
        ] as [([(Int?, Int)], [String])])
    func weights(_ services: [(Int?, Int)], _ expected: [String]) {
        var world = HAProxyWorld()
        let positions = services.enumerated().map { index, service in
            world.add("s\(index)", tasks: service.1) { $0.weight = service.0 }
        }
        world.route(.exact("web.test"), positions)
        #expect(world.render().servers("s0", "weight") == expected)
    }

    @Test("nobody is asked where nobody is ready, and where every weight is 0")
    func nobody() {
        var world = HAProxyWorld()
        let warm = world.add("warm", tasks: 2) { $0.weight = 0 }
        let starting = world.add("starting", tasks: 1)
        world.setState(.pending, service: starting, task: 0)
        world.route(.exact("warm.test"), [warm])
        world.route(.exact("starting.test"), [starting])
        let output = world.render()
        #expect(output.text("routes.map").split(separator: "\n").allSatisfy { $0.hasSuffix(":-") })
        #expect(!output.text("haproxy.cfg").contains("\nbackend"))
    }

    @Test("a task keeps its number on the ring when others come and go")
    func numbers() {
        func numbers(_ count: Int) -> [String] {
            var world = HAProxyWorld()
            let web = world.add("web", tasks: count)
            world.route(.exact("web.test"), [web]) { $0.balancing = Balancing(key: .header("x-user")) }
            return world.render().servers("web", "id")
        }
        #expect(numbers(5).prefix(3) == numbers(3)[...])
        #expect(Set(numbers(200)).count == 200)
    }

    @Test("a service has one backend, however many routes and hosts lead to it")
    func sharing() {
        var world = HAProxyWorld()
        let web = world.add("web") { $0.maxConnections = 2 }
        for index in 0..<50 {
            world.route(.exact("h\(index).test"), [web], at: index % 2 == 0 ? "/" : "/p") {
                $0.requiresTLS = index % 3 == 0
            }
        }
        let output = world.render()
        #expect(output.lines.filter { $0.first == "backend" }.count == 1)
        #expect(output.diagnostics.isEmpty)
    }

    @Test("a wildcard does not take its own suffix")
    func wildcards() {
        var world = HAProxyWorld()
        let web = world.add("web")
        for host in [HostPattern.wildcard("a.test"), .wildcard("b.a.test"), .exact("c.a.test"), .wildcard("test")] {
            world.route(host, [web])
        }
        let output = world.render()
        #expect(
            output.text("hosts.map").split(separator: "\n") == [
                "a.test *.test", "b.a.test *.a.test", "c.a.test c.a.test", "test -",
            ])
        #expect(
            output.text("wildcards.map").split(separator: "\n") == [
                "a.test *.a.test", "b.a.test *.b.a.test", "test *.test",
            ])
    }

    @Test("the last task of a pool is not watched, and a watched pool has somebody when all are out")
    func watching() {
        var world = HAProxyWorld()
        let (single, pair, trusted) = (
            world.add("single"), world.add("pair", tasks: 2), world.add("trusted", tasks: 2) { $0.maxFails = 0 }
        )
        world.route(.exact("single.test"), [single])
        world.route(.exact("pair.test"), [pair])
        world.route(.exact("trusted.test"), [trusted])
        let output = world.render()
        #expect(output.servers("single", "error-limit") == ["-"])
        #expect(output.servers("pair", "error-limit") == ["3", "3"])
        #expect(output.backend("pair").filter { $0.contains("backup") && !$0.contains("check") }.count == 2)
        #expect(output.servers("trusted", "error-limit") == ["-", "-"])
    }
}
