// Whole configurations for nginx: hostile values inject nothing, equal input gives equal bytes, and what nginx cannot
// do is told. What nginx makes of it is shown end to end, with a real one.

import Model
import Testing

@testable import Render

@Suite struct NginxConfigTests {
    private func snapshot(_ text: String) throws -> Snapshot {
        var options = ServiceOptions()
        options.backendTLS = BackendTLS(verifies: true, authorities: SecretReference(text), serverName: text)
        let service = Service(id: text, name: text, options: options)
        let other = Service(id: "other", name: "other")
        let conditions = RouteConditions(headers: [.init(name: "x-a", value: text)], methods: [text])
        let certificate = CertificateReference(certificate: SecretReference(text), key: SecretReference(text))
        let tls = TLSOptions(
            certificates: [certificate], clientAuthentication: .init(demand: .required, authorities: .init(text)))
        let endpoint = try #require(Endpoint("10.0.0.1:80"))
        return Snapshot(
            configuration: Configuration(
                services: [service, other],
                routes: [
                    Route(host: .exact(text), services: [0]),
                    Route(
                        host: .exact("a.test"), pathPrefix: "/" + text, rewritesPrefix: true, requiresTLS: true,
                        hsts: text, conditions: conditions, balancing: Balancing(key: .cookie(text)), services: [0]),
                    Route(host: .wildcard(text), balancing: Balancing(key: .header(text)), services: [1]),
                    Route(host: .exact("good.test"), services: [1]),
                ],
                hosts: [
                    HostOptions(
                        host: .exact("a.test"), tls: tls,
                        redirects: [HostRedirect(scheme: .https, target: "https://x/" + text)]),
                    HostOptions(host: .exact("p" + text), passthrough: [1]),
                ],
                streams: [StreamPort(port: 5000, hosts: [StreamHost(host: .exact(text), services: [1])])]),
            endpoints: [
                [Upstream(id: text, endpoint: endpoint)], [Upstream(id: "o", endpoint: endpoint)],
            ])
    }

    /// All directives that a configuration may have.
    private static let names: Set<String> = {
        let text = """
            load_module worker_processes events worker_connections http stream server upstream map geo location if
            return listen server_name add_header proxy_set_header proxy_pass error_page ssl_certificate
            ssl_certificate_key ssl_client_certificate ssl_verify_client ssl_verify_depth ssl_reject_handshake
            ssl_protocols ssl_ciphers ssl_session_cache ssl_session_tickets ssl_prefer_server_ciphers ssl_preread
            keepalive keepalive_timeout hash least_conn random zone hostnames default set_real_ip_from
            real_ip_header proxy_protocol preread_timeout proxy_timeout proxy_half_close proxy_connect_timeout
            proxy_read_timeout client_body_timeout send_timeout client_max_body_size proxy_next_upstream
            proxy_next_upstream_tries proxy_ssl_server_name proxy_ssl_name proxy_ssl_verify
            proxy_ssl_trusted_certificate proxy_ssl_verify_depth proxy_ssl_protocols proxy_hide_header proxy_ssl
            access_log server_tokens absolute_redirect underscores_in_headers recursive_error_pages default_type
            variables_hash_max_size variables_hash_bucket_size server_names_hash_bucket_size
            server_names_hash_max_size map_hash_bucket_size map_hash_max_size proxy_headers_hash_max_size
            proxy_headers_hash_bucket_size tcp_nodelay proxy_http_version proxy_buffering proxy_request_buffering
            proxy_redirect proxy_pass_header proxy_ignore_headers client_header_timeout large_client_header_buffers
            """
        return Set(text.split { $0 == " " || $0 == "\n" }.map(String.init))
    }()

    @Test(
        arguments: NginxWriterTests.hostile + [
            "x; } server { listen 6666; evil on", "\n}\nevil;\n", "a\u{0}b", "\r\n", "\t", "$request_uri",
            "\"; evil \"", "'; evil '", "\\\"; evil", "~^evil$", "x\" \"evil", "*/", "${evil}",
        ])
    func hostileValuesInjectNothing(_ text: String) throws {
        let output = NginxConfig.render(RenderInput(snapshot: try snapshot(text)))
        let read = try #require(NginxTokens.read(output.files[0].bytes), "nginx would not read it")
        for directive in directives(read) {
            let name = directive.texts[0]
            #expect(Self.names.contains(name), "\(directive.texts)")
        }
        let servers = read.first { $0.texts == ["http"] }?.body?.filter { $0.texts == ["server"] } ?? []
        let listens = servers.flatMap { $0.body ?? [] }.filter { $0.texts[0] == "listen" }.map { $0.texts[1] }
        #expect(
            Set(listens).isSubset(of: [
                "80", "443", "unix:/etc/interlock/https.sock", "unix:/etc/interlock/refused.sock",
            ]))
        // No variable but nginx's and ours.
        #expect(!String(decoding: output.files[0].bytes, as: UTF8.self).contains("$evil"))
        // Other hosts are served whatever this one is.
        #expect(servers.contains { $0.body?.contains { $0.texts == ["server_name", "good.test"] } ?? false })
        #expect(
            output.files.allSatisfy { !$0.path.contains("..") && $0.path.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } })
    }

    /// What is no line of a map: those begin with a value, and not with a name.
    private func directives(_ read: [NginxDirective]) -> [NginxDirective] {
        read.flatMap { directive -> [NginxDirective] in
            let isMap = ["map", "geo"].contains(directive.texts[0])
            return [directive] + (isMap ? [] : directives(directive.body ?? []))
        }
    }

    @Test func equalInputGivesEqualBytes() throws {
        let input = RenderInput(snapshot: try snapshot("x"))
        let first = NginxConfig.render(input)
        for _ in 0..<5 { #expect(NginxConfig.render(input) == first) }
        #expect(Set(first.files.map(\.path)).count == first.files.count && first.files[0].path == NginxConfig.mainFile)
    }

    @Test func whatNginxCannotDoIsTold() throws {
        var options = ServiceOptions()
        options.health = HealthCheck()
        options.slowStartMs = 1000
        options.holdMs = 1000
        options.maxConnections = 5
        var announced = ServiceOptions()
        announced.proxyProtocol = .v1
        let endpoint = try #require(Endpoint("10.0.0.1:80"))
        let snapshot = Snapshot(
            configuration: Configuration(
                services: [
                    Service(id: "1", name: "a", options: options), Service(id: "2", name: "b", options: announced),
                    Service(id: "3", name: "c"),
                ],
                routes: [
                    Route(host: .exact("a.test"), pathPolicy: .raw, services: [0]),
                    Route(host: .exact("a.test"), pathPrefix: "/b", services: [1]),
                    Route(
                        host: .exact("a.test"), pathPrefix: "/c",
                        conditions: RouteConditions(headers: [.init(name: "x-forwarded-for")]), services: [2]),
                    Route(
                        host: .exact("a.test"), pathPrefix: "/d",
                        conditions: RouteConditions(headers: [.init(name: "x_under")]), services: [2]),
                ]),
            endpoints: [[Upstream(id: "1", endpoint: endpoint)], [Upstream(id: "2", endpoint: endpoint)], []])
        let output = NginxConfig.render(RenderInput(snapshot: snapshot))
        let told = output.diagnostics.map { "\($0.severity.rawValue) \($0.service) \($0.label)" }
        #expect(
            told == [
                "warning a health_mode", "warning a hold", "warning a max_connections", "warning a path_policy",
                "warning a slow_start", "error b proxy_protocol", "error c match_headers", "error c match_headers",
            ])
        // What protects and cannot be done serves nobody.
        let text = String(decoding: output.files[0].bytes, as: UTF8.self)
        #expect(!text.contains("x_forwarded_for") && !text.contains("x_under"))
    }

    @Test func nothingAtAll() throws {
        let output = NginxConfig.render(RenderInput(snapshot: Snapshot()))
        let read = try #require(NginxTokens.read(output.files[0].bytes))
        #expect(read.map { $0.texts[0] } == ["worker_processes", "events", "http"] && output.diagnostics.isEmpty)
    }
}
