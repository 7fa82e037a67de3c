// Every rule about a label's text, as rows: what is read, what is refused, and what people are told.

import Discovery
import Model
import Testing

/// The service of a file with these labels beside `hosts`.
private func service(_ label: String, _ value: String) -> (service: Service?, route: Route?, diagnostics: [Diagnostic])
{
    var labels = ["hosts": "a.test"]
    labels[label] = value
    let file = ServicesFile(
        name: "f", services: [FileService(name: "web", labels: lb(labels), endpoints: ["127.0.0.1:1"])])
    let snapshot = snapshot(of: Inventory(files: [file]))
    return (snapshot.configuration.services.first, snapshot.configuration.routes.first, snapshot.diagnostics)
}

@Test(
    "durations are read to milliseconds",
    arguments: [
        ("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("7", 7000), (" 7 ; ", 7000), ("1h", 3_600_000),
        ("1h1m1s1ms", 3_661_001), ("0", 0), ("10S", 10_000), ("720h", 2_592_000_000),
    ])
func durations(text: String, milliseconds: Int) {
    let result = service("idle_timeout", text)
    #expect(result.service?.options.idleTimeoutMs == milliseconds)
    #expect(result.diagnostics.isEmpty)
}

@Test(
    "a bad value leaves its service out and says why",
    arguments: [
        ("idle_timeout", "ten"), ("idle_timeout", "10x"), ("idle_timeout", "1s1m"), ("idle_timeout", "-1s"),
        ("idle_timeout", "1s1"), ("idle_timeout", "1.5s"), ("idle_timeout", "721h"), ("idle_timeout", "s"),
        ("idle_timeout", "99999999999999999999s"), ("idle_timeout", "1s 2"), ("idle_timeout", "١s"),
        ("connect_timeout", "0"), ("response_timeout", "9ms"), ("tunnel_timeout", "0s"),
        ("max_body_size", "1t"), ("max_body_size", "k"), ("max_body_size", "-1"), ("max_body_size", "99999999g"),
        ("port", "0"), ("port", "65536"), ("port", "http"), ("port", "80/tcp"), ("port", "+80"),
        ("retries", "9"), ("retries", "-1"), ("retry_on", "404"), ("retry_on", "502 503"),
        ("context_root", "app"), ("context_root", "/a//b"), ("context_root", "/a/../b"), ("context_root", "/a?b"),
        ("context_root", "/a b"), ("context_root", "/%61"), ("context_root", "/a%2Fb"), ("context_root", "/a%c3"),
        ("context_root", "/\u{E4}"), ("context_root", "/a\\b"), ("context_root", "//"), ("context_root", "/a/."),
        ("context_root_rewrite", "maybe"), ("default_backend", "2"), ("backend_mode", "vips"),
        ("proxy_protocol", "v3"), ("path_policy", "strict"), ("network", "a b"), ("weight", "1001"),
        ("lb", "fastest"), ("lb", "hash"), ("lb", "hash:header:"), ("lb", "hash:header:a b"), ("lb", "hash:cookie:a"),
        ("redirects", "a.test"), ("request_headers", ": x"), ("health_status", "2x"), ("health_status", "1xx"),
        ("health_status", "600"), ("health_path", "live"), ("health_path", "/a b"), ("health_path", "/a#b"),
        ("health_mode", "udp"), ("health_interval", "99ms"), ("health_timeout", "0"), ("health_rise", "0"),
        ("health_fall", "101"), ("health_port", "0"), ("sticky_session_cookie", "a=b"), ("ip_hash", "perhaps"),
        ("sticky_session_cookie", "a b"), ("max_fails", "1001"), ("fail_timeout", "soon"), ("weight", "-1"),
        ("weight", "50%"), ("slow_start", "slow"), ("hold", "yes"), ("max_connections", "0"),
        ("queue_timeout", "x"),
        ("hosts", "a b"), ("hosts", "http://a.test"), ("hosts", "*"), ("hosts", "a.*.test"), ("hosts", "*a.test"),
        ("hosts", "a..test"), ("hosts", "-a.test"), ("hosts", "b\u{FC}cher.test"), ("hosts", "a.test/app"),
        ("hosts", "a.test:http"), ("hosts", "[::1"), ("hosts", "[::g]"), ("hosts", "[::ffff:1.2.3.4]"),
        ("hosts", String(repeating: "a", count: 64)), ("hosts", "{{.Name}}.test"), ("hosts", "a\r\nb.test"),
        ("hosts", "a;b"), ("hosts", "(a+)+$"), ("hosts", "user@a.test"), ("hosts", "*."), ("hosts", "."),
        ("hosts", String(repeating: "a.test,", count: 10_000)),
    ])
func badValues(label: String, value: String) {
    let result = service(label, value)
    #expect(result.service == nil)
    #expect(result.diagnostics.map(\.label) == [label])
    #expect(result.diagnostics.map(\.severity) == [.error])
    #expect(
        result.diagnostics.allSatisfy { !$0.message.isEmpty && $0.message.utf8.count < 300 && $0.value.count < 410 })
}

@Test(
    "hosts are read to their normal form",
    arguments: [
        ("A.Test", ["a.test"]), (" a.test , b.test, ,; ", ["a.test", "b.test"]), ("a.test.", ["a.test"]),
        ("a.test:8080", ["a.test"]), ("*.Example.com", ["*.example.com"]),
        ("xn--bcher-kva.test", ["xn--bcher-kva.test"]),
        ("[2001:DB8:0::1]", ["[2001:db8::1]"]), ("[::1]:80", ["[::1]"]), ("10.0.0.1", ["10.0.0.1"]),
        ("a_b.test", ["a_b.test"]), ("b.test,a.test,B.test", ["a.test", "b.test"]), ("localhost", ["localhost"]),
    ])
func hostForms(text: String, hosts: [String]) {
    let file = ServicesFile(name: "f", services: [FileService(name: "web", labels: lb(["hosts": text]))])
    let snapshot = snapshot(of: Inventory(files: [file]))
    #expect(snapshot.configuration.routes.map { "\($0.host)" } == hosts)
}

@Test(
    "booleans are read in all their spellings",
    arguments: [
        ("true", true), ("TRUE", true), ("1", true), ("Yes", true), ("on", true), (" on; ", true), ("false", false),
        ("0", false), ("no", false), ("OFF", false), ("", false),
    ])
func booleans(text: String, value: Bool) {
    let file = ServicesFile(
        name: "f",
        services: [
            FileService(
                name: "web",
                labels: lb(["hosts": "a.test", "context_root": "/app/", "context_root_rewrite": text]))
        ])
    let route = snapshot(of: Inventory(files: [file])).configuration.routes.first
    #expect(route?.rewritesPrefix == value)
    #expect(route?.pathPrefix == "/app")
}

@Test func sizesStatusesAndChoices() {
    #expect(service("connect_timeout", "10ms").service?.options.connectTimeoutMs == 10)
    #expect(service("response_timeout", "1m").service?.options.responseTimeoutMs == 60_000)
    #expect(service("tunnel_timeout", "2h").service?.options.tunnelTimeoutMs == 7_200_000)
    #expect(service("max_body_size", "8k").service?.options.maxBodySize == 8192)
    #expect(service("max_body_size", "32M").service?.options.maxBodySize == 32 << 20)
    #expect(service("max_body_size", "1gb").service?.options.maxBodySize == 1 << 30)
    #expect(service("max_body_size", "17").service?.options.maxBodySize == 17)
    #expect(service("retry_on", "503,502, 503,").service?.options.retryStatuses == [502, 503])
    #expect(service("retries", "0").service?.options.retries == 0)
    #expect(service("proxy_protocol", "V2").service?.options.proxyProtocol == .v2)
    #expect(service("path_policy", "raw").route?.pathPolicy == .raw)
    #expect(service("context_root", "/caf%C3%A9/").route?.pathPrefix == "/caf%C3%A9")
    #expect(service("context_root", "/").route?.pathPrefix == "/")
}

@Test(
    "what restricts access and is not enforced keeps its service off the proxy, even with a bad or empty value",
    arguments: [
        ("ssl_only", "maybe"), ("ssl_only", ""), ("ssl_only", " ; "), ("ssl_only", "2"), ("ssl_client_ca", "a b"),
        ("ssl_client_ca", ""), ("ssl_client_ca", "../ca"), ("ssl_client_ca", "/run/secrets/ca"),
        ("ssl_client_auth", "maybe"), ("ssl_client_auth", ""), ("ssl_client_auth", "optional"),
        ("ssl_client_auth", "required"), ("ssl_min_version", "1.1"), ("ssl_min_version", "TLSv1.3"),
        ("ssl_min_version", ""), ("ssl_min_version", "13"), ("ssl_backend_tls_verify", "yes"),
        ("ssl_backend_tls_verify", ""), ("ssl_backend_tls_verify", "required"), ("ssl_backend_ca", "ca"),
        ("ssl_backend_ca", ""), ("ssl_backend_ca", "a/b"), ("ip_allow", "10.0.0.0/8"), ("ip_allow", "x"),
        ("ip_allow", ""), ("ip_allow", " ; "), ("ip_deny", "10.0.0.1"), ("basic_auth", "users"), ("basic_auth", " "),
        ("forward_auth", "http://auth.test/"), ("rate_limit", "100/s;burst=50;by=ip"), ("match_headers", ""),
        ("match_headers", "X Y: z"), ("match_headers", "X:"), ("match_headers", ": x"),
        ("match_headers", "X: a\u{7F}b"),
        ("match_headers", (0..<17).map { "x-\($0)" }.joined(separator: ";")), ("match_methods", ""),
        ("match_methods", ","), ("match_methods", "GET POST"), ("match_methods", "G(ET"), ("backend_protocol", "h2c"),
        ("health_mode", "grpc"),
    ])
func refusals(label: String, value: String) {
    let result = service(label, value)
    #expect(result.service == nil)
    #expect(result.diagnostics.map(\.severity) == [.error])
    #expect(result.diagnostics.map(\.label) == [label])
}

@Test(
    "the idle form of a refused label changes nothing",
    arguments: [
        ("ssl_only", "false"), ("ssl_passthrough", "no"), ("ssl_backend", "0"), ("ssl_backend_tls_verify", "none"),
        ("ssl_min_version", "1.2"), ("ssl_cert", ""), ("ssl_key", " "), ("tcp_port", ""), ("redirects", ";"),
        ("hsts", ""), ("ssl_backend_name", ""),
        ("backend_protocol", "http/1.1"), ("websocket_endpoints", "/ws,/chat"), ("ip_hash", "false"),
        ("lb", "round_robin"), ("compress", "off"), ("slow_start", "0"), ("hold", "0"), ("sticky_session_cookie", " "),
        ("health_status", ","), ("weight", ""),
    ])
func idleForms(label: String, value: String) {
    let result = service(label, value)
    #expect(result.service != nil)
    #expect(result.diagnostics.isEmpty)
}

@Test("what is known and has no effect yet is a warning", arguments: Labels.table.filter { $0.effect == .notYet })
func notYet(definition: LabelDefinition) {
    let values = [
        "true", "5", "10s", "/path", "name", "x.test,y.test", "X-A: b", "least_conn", "http", "2xx", "2xx,3xx", "GET",
        "max-age=1",
    ]
    let routed = values.map { service(definition.name, $0) }.first { $0.service != nil }
    #expect(routed?.diagnostics.map(\.severity) == [.warning])
    #expect(routed?.diagnostics.map(\.message) == ["has no effect in this version"])
}

@Test func everyRestrictingLabelIsEitherEnforcedOrRefused() {
    #expect(Labels.table.allSatisfy { !$0.restrictsAccess || [.acts, .refuses].contains($0.effect) })
    #expect(Set(Labels.table.map(\.name)).count == Labels.table.count)
    #expect(Labels.definition(of: "hosts")?.effect == .acts)
    #expect(Labels.definition(of: "host") == nil)
}

@Test(
    "unknown names are answered with the nearest known one",
    arguments: [
        ("host", "hosts"), ("hots", "hosts"), ("Hosts", "hosts"), ("prot", "port"), ("context-root", "context_root"),
        ("contextroot", "context_root"), ("ssl-only", "ssl_only"), ("stickysession_cookie", "sticky_session_cookie"),
        ("retires", "retries"), ("completely_different_thing", nil), (String(repeating: "h", count: 5000), nil),
        ("", nil),
    ])
func nearestNames(typed: String, expected: String?) {
    #expect(Labels.nearestName(to: typed) == expected)
    let result = service(typed, "x")
    #expect(result.service != nil)
    #expect(result.diagnostics.map(\.severity) == [.warning])
    if let expected { #expect(result.diagnostics.first?.message.contains("mean \(expected)?") == true) }
}

@Test func unknownNamesAreReportedWithinLimits() {
    var labels = ["hosts": "a.test"]
    for index in 0..<5000 { labels["x\(index)"] = "y" }
    let file = ServicesFile(
        name: "f", services: [FileService(name: "web", labels: lb(labels), endpoints: ["127.0.0.1:1"])])
    let snapshot = snapshot(of: Inventory(files: [file]))
    #expect(snapshot.configuration.routes.count == 1)
    #expect(snapshot.diagnostics.count == 20)
}

@Test func anotherPrefixCanBeChosen() {
    let file = ServicesFile(
        name: "f",
        services: [FileService(name: "web", labels: ["lb.hosts": "a.test"], endpoints: ["127.0.0.1:1"])])
    let snapshot = ServiceMapping.snapshot(
        of: Inventory(files: [file]), settings: MappingSettings(labelPrefix: "lb."))
    #expect(rendered(snapshot) == ["a.test/ -> web(file:web/127.0.0.1:1@127.0.0.1:1 ready)"])
}
