// What `interlock check` says about services of every kind.

import Discovery
import Model
import Testing

@testable import interlock

private func report(_ services: [(String, [String: String])]) throws -> [String] {
    let settings = try SettingsLoader.load(environment: ["INTERLOCK_TCP_PORTS": "5000-6000"])
    let file = ServicesFile(
        name: "f",
        services: services.map { name, labels in
            FileService(
                name: name,
                labels: Dictionary(uniqueKeysWithValues: labels.map { ("com.docker.lb.\($0.key)", $0.value) }),
                endpoints: ["127.0.0.1:9"])
        })
    let snapshot = ServiceMapping.snapshot(of: Inventory(files: [file]), settings: ControlPlane.mapping(settings))
    return CheckRole.report(snapshot).split(separator: "\n").map(String.init)
}

@Suite struct CheckTests {
    @Test func routesHostsAndPorts() throws {
        let lines = try report([
            ("web", ["hosts": "a.test", "ssl_cert": "site", "ssl_only": "true", "ssl_min_version": "1.3"]),
            ("staff", ["hosts": "s.test", "ssl_client_ca": "staff-ca", "context_root": "/x"]),
            ("own", ["hosts": "p.test", "ssl_passthrough": "true"]),
            ("db", ["tcp_port": "5432"]),
            ("mail", ["tcp_port": "5993", "hosts": "m.test", "ssl_cert": "mail"]),
            ("old", ["hosts": "old.test", "redirects": "http://old.test,https://a.test"]),
            ("next", ["hosts": "next.test", "match_methods": "GET", "lb": "random", "weight": "5", "hold": "1500ms"]),
        ])
        for expected in [
            "route    a.test/ -> web (TLS only)", "tls      a.test: site; TLS 1.3 at least",
            "route    s.test/x -> staff (TLS only)",
            "tls      s.test: the directory's or the default certificate; client certificates required,"
                + " signed by staff-ca",
            "tls      p.test passed on -> own", "tcp      5432 -> db", "tcp      5993 m.test: mail -> mail",
            "redirect http://old.test -> https://a.test", "route    next.test/ [GET] -> next (random)",
            "service  next: weight 5; hold 1500ms",
        ] {
            #expect(lines.contains(expected), "\(expected) in \(lines)")
        }
        #expect(!lines.contains { $0.hasPrefix("error") }, "\(lines)")
    }

    @Test func whatIsWrongIsSaidWithItsLabel() throws {
        let lines = try report([("db", ["tcp_port": "80"]), ("web", ["hosts": "a.test"])])
        #expect(lines.contains { $0.hasPrefix("error    db tcp_port=\"80\": ") }, "\(lines)")
        #expect(lines.contains("route    a.test/ -> web"))
    }
}
