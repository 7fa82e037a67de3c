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
}
