// Labels of TLS, redirects and entry ports of one service: what each value is read to, and what they mean together.

import Discovery
import Model
import Testing

/// `hosts` is a.test beside these.
private func web(_ labels: [String: String], stack: String? = nil) -> Snapshot {
    mapped(labels.merging(["hosts": "a.test"]) { own, _ in own }, stack: stack)
}

// MARK: Values

@Test(
    "a bad value leaves its service out and says why",
    arguments: [
        ("ssl_cert", "a b"), ("ssl_cert", "../a"), ("ssl_cert", "/run/secrets/a"), ("ssl_cert", ".."),
        ("ssl_cert", ".a"), ("ssl_cert", "-a"), ("ssl_cert", "a/b"), ("ssl_cert", "a\\b"), ("ssl_cert", "a\u{0}"),
        ("ssl_cert", "\u{E4}"), ("ssl_cert", "a:b"), ("ssl_cert", "a,b c"), ("ssl_cert", "a,../b"),
        ("ssl_cert", String(repeating: "a", count: 201)), ("ssl_key", "a b"), ("ssl_key", "../k"),
        ("ssl_passthrough", "maybe"), ("ssl_passthrough", "2"), ("ssl_backend", "tls"),
        ("ssl_backend_name", "a b"), ("ssl_backend_name", "*.a.test"), ("ssl_backend_name", "a.test:443"),
        ("ssl_backend_name", "https://a.test"), ("ssl_backend_name", "a..b"), ("ssl_backend_name", "a.test\u{0}.b"),
        ("ssl_backend_name", "*"), ("tcp_port", "0"), ("tcp_port", "65536"), ("tcp_port", "x"),
        ("tcp_port", "5432/tcp"),
        ("tcp_port", "6000-6001"), ("hsts", "true"), ("hsts", "max-age"), ("hsts", "max-age="), ("hsts", "max-age=x"),
        ("hsts", "max-age=-1"), ("hsts", "max-age=1.5"), ("hsts", "max-age=1y"), ("hsts", "includeSubDomains"),
        ("hsts", "preload"), ("hsts", "max-age=1;max-age=2"), ("hsts", "max-age=1;1"), ("hsts", "1;2"),
        ("hsts", "max-age=1;includeSubDomains=1"), ("hsts", "max-age=1;includeSubDomains;includesubdomains"),
        ("hsts", "max-age=1;preload;preload"), ("hsts", "max-age=1;foo"), ("hsts", "max-age=1, includeSubDomains"),
        ("hsts", "max-age=12345678901"), ("hsts", "max-age=1\r\nX: y"), ("hsts", "max-age=\"1"), ("hsts", "365d"),
        ("redirects", "a.test"), ("redirects", "a.test,"), ("redirects", "a.test,b.test"),
        ("redirects", "a.test,ftp://b.test"), ("redirects", "a.test,//b.test"), ("redirects", "a.test,http://"),
        ("redirects", "a.test,http:///x"), ("redirects", "a.test,http://*.b.test"), ("redirects", "a.test,https://*"),
        ("redirects", "a.test,http://u@b.test"), ("redirects", "a.test,http://u:p@b.test/"),
        ("redirects", "a.test,http://b.test:0"), ("redirects", "a.test,http://b.test:65536"),
        ("redirects", "a.test,http://b.test:"), ("redirects", "a.test,http://b.test:x"),
        ("redirects", "a.test,http://b.test?x"), ("redirects", "a.test,http://b.test/?x=1"),
        ("redirects", "a.test,http://b.test/#x"), ("redirects", "a.test,http://b.test/a b"),
        ("redirects", "a.test,http://b.test/\u{1}"), ("redirects", "a.test,http://b.test/x\r\nSet-Cookie: a"),
        ("redirects", "a.test,http://b.test\r\n" + "X: y"), ("redirects", "a.test,http://b.test/\u{E4}"),
        ("redirects", "a.test,http://b.test/<script>"), ("redirects", "a.test,http://b.test/\""),
        ("redirects", "a.test,http://b.test/a/../b"), ("redirects", "a.test,http://b.test/\\x"),
        ("redirects", "a.test,http://b.test/%0d%0a"), ("redirects", "a.test,http://b.test/%zz"),
        ("redirects", "a.test,http://b\u{FC}cher.test"), ("redirects", "a.test,http://[::1"),
        ("redirects", "a.test,javascript:alert(1)"), ("redirects", "a.test/x,http://b.test"),
        ("redirects", "ftp://a.test,http://b.test"), ("redirects", "http://a.test/x,http://b.test"),
        ("redirects", "*,http://b.test"), ("redirects", "a b,http://b.test"), ("redirects", ",http://b.test"),
        ("redirects", "a.test,http://b.test,http://c.test"), ("redirects", "a.test,http://b.test;x"),
        ("redirects", "a.test,http://b.test/" + String(repeating: "x", count: 1100)),
    ])
func badTransportValues(label: String, value: String) {
    let snapshot = web([label: value])
    #expect(snapshot.configuration.services.isEmpty)
    #expect(snapshot.diagnostics.map(\.label) == [label])
    #expect(snapshot.diagnostics.map(\.severity) == [.error])
    #expect(snapshot.diagnostics.allSatisfy { !$0.message.isEmpty && $0.message.utf8.count < 300 })
}

@Test(
    "Strict-Transport-Security is read to its normal form",
    arguments: [
        ("31536000", "max-age=31536000"), ("max-age=31536000", "max-age=31536000"), ("max-age=0", "max-age=0"),
        ("MAX-AGE=1", "max-age=1"), (" max-age = 5 ; ", "max-age=5"), ("max-age=\"7\"", "max-age=7"),
        ("max-age=007", "max-age=7"), ("max-age=1;includeSubDomains", "max-age=1; includeSubDomains"),
        ("max-age=1; INCLUDESUBDOMAINS ; Preload;", "max-age=1; includeSubDomains; preload"),
        ("preload;max-age=1", "max-age=1; preload"),
        ("1;preload;includeSubDomains", "max-age=1; includeSubDomains; preload"),
        ("max-age=1;;preload", "max-age=1; preload"),
    ])
func strictTransportSecurity(text: String, expected: String) {
    let snapshot = web(["hsts": text])
    #expect(snapshot.configuration.routes.map(\.hsts) == [expected])
    #expect(snapshot.diagnostics.isEmpty && snapshot.problems().isEmpty)
}

@Test(
    "redirects are read to their normal form",
    arguments: [
        ("a.test,http://b.test", ["http -> http://b.test", "https -> http://b.test"]),
        ("A.Test.,HTTP://B.Test./", ["http -> http://b.test", "https -> http://b.test"]),
        ("http://a.test,https://b.test", ["http -> https://b.test"]),
        ("https://a.test/,https://b.test", ["https -> https://b.test"]),
        ("http://a.test,https://a.test", ["http -> https://a.test"]),
        ("http://a.test:8080,https://b.test", ["http -> https://b.test"]),
        ("http://a.test,https://b.test:443", ["http -> https://b.test"]),
        ("http://a.test,http://b.test:80/x", ["http -> http://b.test/x"]),
        ("http://a.test,http://b.test:443", ["http -> http://b.test:443"]),
        ("http://a.test,https://b.test:8443/x/y/", ["http -> https://b.test:8443/x/y"]),
        ("http://a.test,https://b.test//", ["http -> https://b.test"]),
        ("http://a.test,https://[2001:DB8::1]:8443/", ["http -> https://[2001:db8::1]:8443"]),
        ("http://a.test,https://[::1]", ["http -> https://[::1]"]),
        ("http://a.test,https://10.0.0.1", ["http -> https://10.0.0.1"]),
        ("http://a.test,https://b.test/caf%C3%A9", ["http -> https://b.test/caf%C3%A9"]),
        (
            "http://a.test,https://b.test; https://a.test , https://c.test ;",
            ["http -> https://b.test", "https -> https://c.test"]
        ),
        ("http://a.test,https://b.test;http://a.test,https://b.test/", ["http -> https://b.test"]),
    ])
func redirectForms(text: String, expected: [String]) {
    let snapshot = web(["redirects": text])
    #expect(snapshot.renderedHosts == [(["a.test"] + expected).joined(separator: " ")])
    #expect(snapshot.diagnostics.isEmpty && snapshot.problems().isEmpty)
}

@Test(
    "certificates are named one by one, with their keys or without",
    arguments: [
        ("site", "", nil, "a.test site"), ("site", "key", nil, "a.test site+key"),
        ("rsa,ecdsa", "", nil, "a.test ecdsa rsa"), (" rsa , ecdsa ,;", "", nil, "a.test ecdsa rsa"),
        ("rsa,ecdsa", "rk,ek", nil, "a.test ecdsa+ek rsa+rk"), ("a,a", "", nil, "a.test a"),
        ("a,a", "k,l", nil, "a.test a+k a+l"), ("site", "key", "shop", "a.test site|shop_site+key|shop_key"),
        ("b,a", "", "shop", "a.test a|shop_a b|shop_b"), ("site.example.com", "", nil, "a.test site.example.com"),
        ("UPPER_1-x.pem", "", nil, "a.test UPPER_1-x.pem"), ("site", "", "../../etc", "a.test site"),
        ("site", "", "a/b", "a.test site"),
    ] as [(String, String, String?, String)])
func certificates(names: String, keys: String, stack: String?, expected: String) {
    let snapshot = web(["ssl_cert": names, "ssl_key": keys], stack: stack)
    #expect(snapshot.renderedHosts == [expected])
    #expect(snapshot.diagnostics.isEmpty && snapshot.problems().isEmpty)
    #expect(snapshot.configuration.secretNames.allSatisfy { !$0.contains("/") })
}

// MARK: Labels together

private struct Combination: Sendable, CustomStringConvertible {
    let labels: [String: String]
    /// "" for a service that is not routed; otherwise its host with what is special about it.
    let host: String
    /// "severity label" for each finding.
    let findings: [String]

    init(_ labels: [String: String], _ host: String, _ findings: String...) {
        self.labels = labels
        self.host = host
        self.findings = findings
    }

    var description: String { labels.sorted { $0.key < $1.key }.map { "\($0)=\($1)" }.joined(separator: " ") }
}

@Test(
    "labels of one service are settled together",
    arguments: [
        .init(["ssl_key": "k"], "a.test", "warning ssl_key"),
        .init(["ssl_cert": "a,b", "ssl_key": "k"], "", "error ssl_key"),
        .init(["ssl_cert": "a", "ssl_key": "k,l"], "", "error ssl_key"),
        .init(["ssl_cert": "a", "ssl_only": "1"], "a.test a"),
        .init(["ssl_client_auth": "required"], "", "error ssl_client_auth"),
        .init(["ssl_client_auth": "optional"], "", "error ssl_client_auth"),
        .init(["ssl_client_ca": "ca"], "a.test client required ca"),
        .init(["ssl_client_ca": "ca", "ssl_client_auth": "Optional"], "a.test client optional ca"),
        .init(["ssl_client_ca": "ca", "ssl_client_auth": "required", "ssl_cert": "c"], "a.test c client required ca"),
        .init(["ssl_min_version": "1.3"], "a.test min 1.3"),
        .init(["ssl_min_version": "1.2"], "a.test"),
        .init(["ssl_passthrough": "true"], "a.test pass -> web"),
        .init(["ssl_passthrough": "true", "ssl_cert": "c"], "a.test pass -> web", "warning ssl_cert"),
        .init(
            ["ssl_passthrough": "true", "ssl_cert": "c", "ssl_key": "k"], "a.test pass -> web", "warning ssl_cert"),
        .init(["ssl_passthrough": "true", "ssl_only": "true"], "a.test pass -> web"),
        .init(["ssl_passthrough": "true", "hsts": "1"], "a.test pass -> web", "warning hsts"),
        .init(
            ["ssl_passthrough": "true", "redirects": "http://a.test,https://a.test"], "a.test pass -> web",
            "warning redirects"),
        .init(["ssl_passthrough": "true", "context_root": "/app"], "a.test pass -> web", "warning context_root"),
        .init(
            ["ssl_passthrough": "true", "ssl_backend": "true", "ssl_backend_ca": "ca"], "a.test pass -> web",
            "warning ssl_backend"),
        .init(["ssl_passthrough": "true", "max_body_size": "1m"], "a.test pass -> web", "warning max_body_size"),
        .init(["ssl_passthrough": "true", "path_policy": "raw"], "a.test pass -> web", "warning path_policy"),
        .init(["ssl_passthrough": "true", "proxy_protocol": "v2"], "a.test pass -> web"),
        .init(["ssl_passthrough": "true", "ssl_client_ca": "ca"], "", "error ssl_client_ca"),
        .init(["ssl_passthrough": "true", "ssl_min_version": "1.3"], "", "error ssl_min_version"),
        .init(["ssl_passthrough": "true", "ssl_client_auth": "required"], "", "error ssl_client_auth"),
        .init(["ssl_backend": "true"], "a.test"),
        .init(["ssl_backend_name": "x.test"], "a.test", "warning ssl_backend_name"),
        .init(["ssl_backend_ca": "ca"], "", "error ssl_backend_ca"),
        .init(["ssl_backend": "false", "ssl_backend_ca": "ca"], "", "error ssl_backend_ca"),
        .init(["ssl_backend_tls_verify": "required"], "", "error ssl_backend_tls_verify"),
        .init(
            ["ssl_backend": "1", "ssl_backend_tls_verify": "none", "ssl_backend_ca": "ca"], "a.test",
            "warning ssl_backend_ca"),
        .init(["redirects": "b.test,https://c.test"], "a.test", "warning redirects"),
        .init(["redirects": "*.a.test,https://c.test"], "a.test", "warning redirects"),
        .init(
            ["redirects": "http://a.test,https://c.test;a.test,https://d.test"],
            "a.test http -> https://c.test https -> https://d.test", "warning redirects"),
        .init(["hosts": "", "default_backend": "1", "ssl_cert": "c"], "* c"),
        .init(["hosts": "", "default_backend": "1", "ssl_passthrough": "1"], "* pass -> web"),
        .init(["hosts": "*.a.test", "ssl_cert": "c"], "*.a.test c"),
        .init(["hosts": "*.a.test", "redirects": "http://*.a.test,https://b.test"], "*.a.test http -> https://b.test"),
    ] as [Combination])
private func combinations(_ combination: Combination) {
    let snapshot = web(combination.labels)
    let routed = snapshot.configuration.services.isEmpty ? "" : snapshot.renderedHosts.first ?? "a.test"
    #expect(routed == combination.host)
    #expect(snapshot.diagnostics.map { "\($0.severity) \($0.label)" } == combination.findings)
    #expect(snapshot.problems().isEmpty)
}

@Test(
    "TLS to tasks",
    arguments: [
        (["ssl_backend": "true"], BackendTLS()),
        (["ssl_backend": "true", "ssl_backend_tls_verify": "none"], BackendTLS()),
        (["ssl_backend": "true", "ssl_backend_tls_verify": "Required"], BackendTLS(verifies: true)),
        (
            ["ssl_backend": "true", "ssl_backend_ca": "ca"],
            BackendTLS(verifies: true, authorities: SecretReference("ca", stack: "shop"))
        ),
        (
            [
                "ssl_backend": "true", "ssl_backend_tls_verify": "required", "ssl_backend_ca": "ca",
                "ssl_backend_name": "Task.Test.",
            ],
            BackendTLS(
                verifies: true, authorities: SecretReference("ca", stack: "shop"), serverName: "task.test")
        ),
        (["ssl_backend": "true", "ssl_backend_name": "task.test"], BackendTLS(serverName: "task.test")),
        (["ssl_backend": "true", "ssl_backend_tls_verify": "none", "ssl_backend_ca": "ca"], BackendTLS()),
        (["ssl_backend": "false"], nil), ([:], nil),
    ] as [([String: String], BackendTLS?)])
func backends(labels: [String: String], expected: BackendTLS?) {
    let snapshot = web(labels, stack: "shop")
    #expect(snapshot.configuration.services.map(\.options.backendTLS) == [expected])
}

@Test func withoutAnyCertificateTLSIsInVain() {
    let settings = MappingSettings()
    let plain = mapped(["hosts": "a.test", "hsts": "1", "ssl_only": "1"], settings: settings)
    #expect(
        diagnosed(plain) == [
            "warning web hsts: has no effect without a certificate for a.test: name one in ssl_cert",
            "warning web ssl_only: redirects to https in vain, without a certificate for a.test: name one in ssl_cert",
        ])
    #expect(plain.configuration.routes.map(\.requiresTLS) == [true])
    let named = ["hosts": "a.test", "hsts": "1", "ssl_only": "1", "ssl_cert": "c"]
    #expect(mapped(named, settings: settings).diagnostics.isEmpty)
    // Another service of the host names one.
    let both = mapped(
        ("old", ["hosts": "a.test", "hsts": "1"]), ("new", ["hosts": "a.test", "context_root": "/x", "ssl_cert": "c"]),
        settings: settings)
    #expect(both.diagnostics.isEmpty)
}

@Test func aLabelOfThousandsOfRedirectsIsRead() {
    let sources = (0..<1500).map { "h\($0).test" }
    let redirects = sources.map { "\($0),https://x" }.joined(separator: ";")
    let snapshot = mapped(["hosts": sources.joined(separator: ","), "redirects": redirects])
    #expect(snapshot.configuration.hosts.count == 1500 && snapshot.diagnostics.isEmpty)
    let foreign = mapped(["hosts": "a.test", "redirects": redirects])
    #expect(foreign.configuration.hosts.isEmpty && foreign.diagnostics.count == 20)
}

@Test(
    "who demands a client certificate is not served without TLS",
    arguments: [("required", true), ("optional", false)])
func demandOfClientCertificates(_ demand: String, _ isTLSOnly: Bool) throws {
    let snapshot = mapped(["hosts": "a.test", "ssl_client_ca": "ca", "ssl_client_auth": demand])
    #expect(snapshot.configuration.routes.map(\.requiresTLS) == [isTLSOnly])
}
