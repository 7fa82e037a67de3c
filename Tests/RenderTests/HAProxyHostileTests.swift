// What people write must stay a value: whatever is in a snapshot, haproxy's configuration has the lines that this code
// wrote and no others, and haproxy itself takes it. What cannot be said is told, and never forgotten.

import Model
import Testing

@testable import Render

@Suite("haproxy's configuration and what must not be believed")
struct HAProxyHostileTests {
    static let hostile = [
        "a; http-request deny #", "a\nfrontend evil\n    bind *:666", "a\r\nglobal", "x'; y", "'", "\"", "\\", "\\'",
        "$HOME ${HOME}",
        "#", "%[src] %{+Q}", "a b\tc", "}", "{ } || TRUE", "if TRUE", "--", "-f /etc/shadow", "-m found", "", " ",
        "\u{0}", "\u{7F}",
        "ü日本", "../../etc/passwd", "a,b)", "map_str(/etc/shadow)", "!*", "[verify none]", "*", "-", "str(evil)",
        String(repeating: "'", count: 300), String(repeating: "x", count: 9000),
    ]

    /// The value wherever a snapshot has room for one, each in a service of its own.
    private func world(_ text: String) -> HAProxyWorld {
        var world = HAProxyWorld()
        let good = world.add("good", tasks: 2)
        world.route(.exact("good.test"), [good])
        let named = world.add(text, tasks: 2, id: nil)
        world.route(.exact("named.test"), [named])
        world.route(.exact(text), [good])
        world.route(.wildcard(text), [good])
        world.route(.exact("path.test"), [good], at: "/" + text)
        world.route(.exact("cut.test"), [good], at: "/" + text) { $0.rewritesPrefix = true }
        world.route(.exact("value.test"), [good]) {
            $0.conditions = RouteConditions(headers: [.init(name: "x-good", value: text)])
        }
        world.route(.exact("name.test"), [good]) { $0.conditions = RouteConditions(headers: [.init(name: text)]) }
        world.route(.exact("method.test"), [good]) { $0.conditions = RouteConditions(methods: [text]) }
        world.route(.exact("hsts.test"), [good]) { $0.hsts = text }
        let sticky = world.add("sticky", tasks: 2)
        world.route(.exact("sticky.test"), [sticky]) { $0.balancing = Balancing(key: .cookie(text)) }
        let hashed = world.add("hashed", tasks: 2)
        world.route(.exact("hashed.test"), [hashed]) { $0.balancing = Balancing(key: .header(text)) }
        let checked = world.add("checked", tasks: 2) { $0.health = HealthCheck(path: text) }
        world.route(.exact("checked.test"), [checked])
        let secure = world.add("secure", tasks: 2) { $0.backendTLS = BackendTLS(serverName: text) }
        world.route(.exact("secure.test"), [secure])
        world.host(HostOptions(host: .exact("away.test"), redirects: [HostRedirect(scheme: .http, target: text)]))
        world.host(HostOptions(host: .exact(text + "2"), passthrough: [good]))
        world.host(
            HostOptions(
                host: .exact("certificate.test"),
                tls: TLSOptions(
                    certificates: [CertificateReference(certificate: SecretReference(names: [text]))])))
        world.secrets.secrets[text] = Array("-----BEGIN CERTIFICATE-----\n\(text)\n-----END CERTIFICATE-----\n".utf8)
        world.port(
            StreamPort(port: 5000, hosts: [StreamHost(host: .exact(text), services: [good])]))
        return world
    }

    @Test("a value injects nothing", arguments: hostile)
    func injectsNothing(_ text: String) throws {
        let output = world(text).render()
        let starts: Set<String> = [
            "global", "defaults", "frontend", "backend", "expose-experimental-directives", "ssl-default-bind-options",
            "tune.bufsize", "tune.maxrewrite", "timeout", "retries", "option", "retry-on", "mode", "bind",
            "http-request", "http-response", "http-after-response", "http-error", "http-check", "use_backend", "acl",
            "balance", "hash-type", "server", "tcp-request", "default_backend",
        ]
        for words in output.lines where !words.isEmpty {
            #expect(starts.contains(words[0]), "\(words)")
            // A service's name is part of its backend's, with what is no letter taken out.
            let isQuoted = ["acl", "http-check", "backend"].contains(words[0])
            #expect(isQuoted || !words.contains { $0.contains("evil") }, "\(words)")
        }
        for map in output.files where map.path.hasSuffix(".map") {
            for line in String(decoding: map.bytes, as: UTF8.self).split(separator: "\n") {
                #expect(
                    line.utf8.allSatisfy { (0x20...0x7E).contains($0) } && line.contains(" "), "\(map.path): \(line)")
            }
        }
        for file in output.files { #expect(!file.path.contains("..") && file.path.utf8.allSatisfy { $0 > 0x20 }) }
        // Every other service is as if it were not there.
        #expect(output.text("routes.map").contains("good.test/ 1:"))
        #expect(output.text("hosts.map").contains("good.test good.test"))
    }

    @Test("haproxy takes it", arguments: hostile)
    func isAccepted(_ text: String) throws {
        var world = world(text)
        // Paths of the probes and of the maps are looked at by haproxy too; keys and certificates are not made here.
        world.secrets = SecretFiles()
        let complaint = try RenderOutput.complaint(world)
        #expect(complaint == nil, "\(complaint ?? "")")
    }

    @Test(
        "what cannot be written is told", arguments: ["a\nb", "\u{0}", "\u{7F}", String(repeating: "x", count: 9000)])
    func isTold(_ text: String) {
        let told = Set(world(text).render().diagnostics.filter { $0.severity == .error }.map(\.label))
        #expect(told.isSuperset(of: ["hosts", "context_root", "match_headers", "ssl_backend_name"]))
    }

    @Test(
        "the directory is the operator's, and must need no quoting",
        arguments: ["relative", "/a b", "/a'b", "/a/../b;", "/a,b"])
    func directory(_ path: String) {
        var world = world("x")
        world.settings.directory = path
        let output = world.render()
        #expect(output.files.isEmpty && output.diagnostics.count == 1)
    }

    @Test("addresses to listen on are addresses", arguments: ["", "80 ssl", "80\nbind :81", "host:80", "0", "70000"])
    func listening(_ text: String) {
        var world = world("x")
        world.settings.httpListen = [text, "127.0.0.1:8080"]
        let output = world.render()
        #expect(output.diagnostics.contains { $0.service == "haproxy" && $0.severity == .error })
        #expect(output.lines.filter { $0.first == "bind" }.allSatisfy { $0.count <= 4 })
    }

    @Test("a snapshot that names what is not there becomes nothing")
    func unsound() {
        var world = HAProxyWorld()
        world.add("web")
        world.route(.exact("web.test"), [1])
        #expect(world.render().files.isEmpty)
    }

    // MARK: What haproxy cannot say

    @Test(
        "an option that haproxy has not is told by its label",
        arguments: ["hold", "idle_timeout", "slow_start", "max_body_size", "max_fails", "health_mode"])
    func told(_ label: String) {
        var world = HAProxyWorld()
        let web = world.add("web", tasks: 2) { options in
            switch label {
            case "hold": options.holdMs = 1000
            case "idle_timeout": options.idleTimeoutMs = 1
            case "slow_start": options.slowStartMs = 1
            case "max_body_size": options.maxBodySize = 1
            case "max_fails": options.maxFails = 1
            default: options.health = HealthCheck()
            }
        }
        world.route(.exact("web.test"), [web])
        let found = world.render().diagnostics
        #expect(found.map(\.label) == [label] && found.allSatisfy { $0.severity == .warning && $0.service == "web" })
    }

    @Test("where merged services differ in what haproxy has once, the other one is told")
    func merged() {
        var world = HAProxyWorld()
        let one = world.add("one") { $0.connectTimeoutMs = 100 }
        let other = world.add("other") { $0.retryStatuses = [503] }
        world.route(.exact("web.test"), [one, other])
        let found = world.render().diagnostics
        #expect(Set(found.map(\.label)) == ["connect_timeout", "retry_on"])
        #expect(found.allSatisfy { $0.service == "other" })
    }

    @Test("a task whose certificate cannot be verified gets nothing")
    func unverified() {
        var world = HAProxyWorld()
        let web = world.add("web") {
            $0.backendTLS = BackendTLS(verifies: true, authorities: SecretReference("gone"))
        }
        world.route(.exact("web.test"), [web])
        let output = world.render()
        #expect(output.text("routes.map").hasSuffix(":-\n"))
        #expect(output.diagnostics.contains { $0.severity == .error && $0.label == "ssl_backend_ca" })
    }

    @Test("a host whose authority is not there is closed over TLS")
    func closed() {
        var world = HAProxyWorld()
        let web = world.add("web")
        for name in ["open.test", "none.test", "staff.test"] { world.route(.exact(name), [web]) }
        world.host(HostOptions(host: .exact("open.test"), tls: TLSOptions(certificates: [world.certificate("a")])))
        let staff = ClientAuthentication(demand: .optional, authorities: SecretReference("gone"))
        world.host(
            HostOptions(
                host: .exact("staff.test"),
                tls: TLSOptions(certificates: [world.certificate("a")], clientAuthentication: staff)))
        let output = world.render()
        #expect(output.text("policies.map") == "staff.test closed\n")
        #expect(output.text("certificates.list").split(separator: "\n").count == 1)
    }
}
