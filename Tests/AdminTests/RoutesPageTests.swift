// What `/api/routes` says of TLS, redirects and entry ports: names alone.

import Model
import Routing
import Testing

@testable import Admin

@Suite struct RoutesPageTests {
    private static func snapshot() -> Snapshot {
        var options = ServiceOptions()
        options.backendTLS = BackendTLS(
            verifies: true, authorities: SecretReference("task-ca", stack: "shop"), serverName: "task.test")
        let certificates = [
            CertificateReference(certificate: SecretReference("ecdsa", stack: "shop")),
            CertificateReference(certificate: SecretReference("rsa"), key: SecretReference("rsa-key")),
        ]
        let client = ClientAuthentication(demand: .optional, authorities: SecretReference("staff-ca"))
        return Snapshot(
            configuration: Configuration(
                services: [Service(id: "1", name: "a", options: options), Service(id: "2", name: "b")],
                routes: [
                    Route(host: .exact("a.test"), requiresTLS: true, hsts: "max-age=1; preload", services: [0])
                ],
                hosts: [
                    HostOptions(
                        host: .exact("a.test"),
                        tls: TLSOptions(
                            certificates: certificates, minimumVersion: .tls13, clientAuthentication: client),
                        redirects: [HostRedirect(scheme: .http, target: "https://b.test")]),
                    HostOptions(host: .wildcard("p.test"), passthrough: [0, 1, 7]),
                ],
                streams: [
                    StreamPort(port: 5432, services: [1]),
                    StreamPort(
                        port: 6000,
                        hosts: [
                            StreamHost(
                                host: .exact("a.test"), services: [0], tls: TLSOptions(certificates: certificates)),
                            StreamHost(host: .any, services: [1]),
                        ]),
                ]), endpoints: [[], []])
    }

    @Test(arguments: [
        #"{"host":"a.test","path":"/","rewrites_prefix":false,"path_policy":"safe","ssl_only":true,"#
            + #""hsts":"max-age=1; preload","services":["a"]}"#,
        #""hosts":[{"host":"a.test","certificates":[{"certificate":"ecdsa"},{"certificate":"rsa","key":"rsa-key"}],"#
            + #""min_version":"1.3","client_auth":"optional","client_ca":"staff-ca","#
            + #""redirects":[{"scheme":"http","target":"https://b.test"}]},"#
            + #"{"host":"*.p.test","passthrough":["a","b"]}],"#,
        #""streams":[{"port":5432,"services":["b"]},{"port":6000,"hosts":[{"host":"a.test","terminates_tls":true,"#
            + #""certificates":[{"certificate":"ecdsa"},{"certificate":"rsa","key":"rsa-key"}],"services":["a"]},"#
            + #"{"host":"*","terminates_tls":false,"services":["b"]}]}],"#,
        #""options":{"backend_tls":{"verify":"required","ca":"task-ca","name":"task.test"}}"#, #""options":{}"#,
    ])
    func transport(expected: String) {
        var numbering = Numbering()
        let table = RouteTable(compiling: Self.snapshot(), version: 1, numbering: &numbering)
        let text = String(decoding: RoutesPage.json(table: table, control: ControlReading()), as: UTF8.self)
        #expect(text.contains(expected), "\(text)")
    }

    @Test(
        "conditions, balancing and health are told under the names of the labels",
        arguments: [
            #"{"host":"a.test","path":"/","rewrites_prefix":false,"path_policy":"safe","#
                + #""match_headers":["x-a","x-b: 1"],"match_methods":["GET"],"sticky_session_cookie":"SID","#
                + #""lb":"least_conn","services":["a"]}"#,
            #"{"host":"a.test","path":"/","rewrites_prefix":false,"path_policy":"safe","lb":"hash:header:x-u","#
                + #""services":["a"]}"#,
            #"{"host":"p.test","passthrough":["a"],"ip_hash":true}"#, #"{"port":5432,"lb":"random","services":["a"]}"#,
            #"{"host":"*","terminates_tls":false,"ip_hash":true,"services":["a"]}"#,
            #""options":{"weight":0,"slow_start_ms":1,"max_fails":2,"fail_timeout_ms":3,"hold_ms":4,"#
                + #""max_connections":5,"queue_timeout_ms":6,"health":{"mode":"http","path":"/live","#
                + #""status":["200-299","401"],"port":81,"interval_ms":7,"timeout_ms":8,"rise":9,"fall":10}}"#,
            #""options":{"health":{"mode":"tcp","interval_ms":5000,"timeout_ms":2000,"rise":2,"fall":3}}"#,
        ])
    func traffic(expected: String) {
        var options = ServiceOptions()
        options.weight = 0
        options.slowStartMs = 1
        options.maxFails = 2
        options.failTimeoutMs = 3
        options.holdMs = 4
        options.maxConnections = 5
        options.queueTimeoutMs = 6
        options.health = HealthCheck(
            path: "/live", intervalMs: 7, timeoutMs: 8, statuses: [200...299, 401...401], port: 81, rise: 9, fall: 10)
        var probed = ServiceOptions()
        probed.health = HealthCheck(mode: .tcp)
        let conditions = RouteConditions(
            headers: [.init(name: "x-a"), .init(name: "x-b", value: "1")], methods: ["GET"])
        let snapshot = Snapshot(
            configuration: Configuration(
                services: [
                    Service(id: "1", name: "a", options: options), Service(id: "2", name: "b", options: probed),
                ],
                routes: [
                    Route(
                        host: .exact("a.test"), conditions: conditions,
                        balancing: Balancing(method: .leastConnections, key: .cookie("SID")), services: [0]),
                    Route(host: .exact("a.test"), balancing: Balancing(key: .header("x-u")), services: [0]),
                ],
                hosts: [
                    HostOptions(
                        host: .exact("p.test"), passthrough: [0], balancing: Balancing(key: .clientAddress))
                ],
                streams: [
                    StreamPort(port: 5432, services: [0], balancing: Balancing(method: .random)),
                    StreamPort(
                        port: 6000,
                        hosts: [
                            StreamHost(host: .any, services: [0], balancing: Balancing(key: .clientAddress))
                        ]),
                ]), endpoints: [[], []])
        var numbering = Numbering()
        let table = RouteTable(compiling: snapshot, version: 1, numbering: &numbering)
        let text = String(decoding: RoutesPage.json(table: table, control: ControlReading()), as: UTF8.self)
        #expect(text.contains(expected), "\(text)")
    }
}
