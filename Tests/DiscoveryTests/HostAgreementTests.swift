// Services that meet on a host: who decides, who is told, and who is not routed. Protection is never the weaker of two
// answers.

import Discovery
import Model
import Testing

/// What two services of a.test say beside `hosts` and `port`, the older one's labels first, and what comes of it.
private struct Meeting: Sendable, CustomStringConvertible {
    let older: [String: String]
    let younger: [String: String]
    /// The host with what is special about it; "" if there is nothing.
    let host: String
    /// Names of routed services.
    let routed: [String]
    /// "severity service label".
    let findings: [String]

    init(
        _ older: [String: String], _ younger: [String: String], _ host: String, _ routed: [String] = ["old", "young"],
        _ findings: String...
    ) {
        self.older = older
        self.younger = younger
        self.host = host
        self.routed = routed
        self.findings = findings
    }

    var description: String { "\(older) + \(younger)" }

    func snapshot(isReversed: Bool = false, settings: MappingSettings = withTCP) -> Snapshot {
        let hosts = ["hosts": "a.test"]
        func file(_ name: String, _ age: Int64, _ labels: [String: String]) -> ServicesFile {
            let service = FileService(
                name: name, labels: lb(labels.merging(hosts) { own, _ in own }), endpoints: ["10.0.0.\(age):80"])
            return ServicesFile(name: name, createdAtNs: age, services: [service])
        }
        let files = [file("old", 1, older), file("young", 2, younger)]
        return ServiceMapping.snapshot(
            of: Inventory(files: isReversed ? files.reversed() : files), settings: settings)
    }
}

private let alone = ["old"]
private let mutual = ["ssl_client_ca": "ca"]
private let pass = ["ssl_passthrough": "true"]

private let meetings: [Meeting] = [
    // Certificates: the oldest that names one decides for the host.
    .init(["ssl_cert": "c"], ["ssl_cert": "c"], "a.test c"),
    .init(["ssl_cert": "c"], [:], "a.test c"),
    .init([:], ["ssl_cert": "c"], "a.test c"),
    .init([:], ["ssl_cert": "c", "context_root": "/x"], "a.test c"),
    .init(["ssl_cert": "c"], ["ssl_cert": "d"], "a.test c", ["old", "young"], "warning young ssl_cert"),
    .init(
        ["ssl_cert": "c"], ["ssl_cert": "d", "context_root": "/x"], "a.test c", ["old", "young"],
        "warning young ssl_cert"),
    .init(["ssl_cert": "c,d"], ["ssl_cert": "d,c"], "a.test c d"),
    .init(["ssl_cert": "c,d"], ["ssl_cert": "c"], "a.test c d", ["old", "young"], "warning young ssl_cert"),
    .init(
        ["ssl_cert": "c"], ["ssl_cert": "c", "ssl_key": "k"], "a.test c", ["old", "young"], "warning young ssl_cert"),
    // Plain HTTP: by path.
    .init(["ssl_only": "1"], ["ssl_only": "true"], ""),
    .init(["ssl_only": "1"], [:], "", alone, "error young ssl_only"),
    .init(["ssl_only": "1"], ["ssl_only": "0"], "", alone, "error young ssl_only"),
    .init([:], ["ssl_only": "1"], "", alone, "error young ssl_only"),
    .init(["ssl_only": "0"], [:], ""),
    .init(["ssl_only": "1"], ["context_root": "/x"], ""),
    .init([:], ["ssl_only": "1", "context_root": "/x"], ""),
    // Client certificates: by host, over all paths.
    .init(mutual, mutual, "a.test client required ca"),
    .init(mutual, ["ssl_client_ca": "ca", "ssl_client_auth": "required"], "a.test client required ca"),
    .init(mutual, [:], "a.test client required ca", alone, "error young ssl_client_ca"),
    .init(mutual, ["context_root": "/x"], "a.test client required ca", alone, "error young ssl_client_ca"),
    .init([:], mutual, "", alone, "error young ssl_client_ca"),
    .init([:], ["ssl_client_ca": "ca", "context_root": "/x"], "", alone, "error young ssl_client_ca"),
    .init(mutual, ["ssl_client_ca": "other"], "a.test client required ca", alone, "error young ssl_client_ca"),
    .init(
        mutual, ["ssl_client_ca": "ca", "ssl_client_auth": "optional"], "a.test client required ca", alone,
        "error young ssl_client_auth"),
    .init(
        ["ssl_client_ca": "ca", "ssl_client_auth": "optional"], mutual, "a.test client optional ca", alone,
        "error young ssl_client_auth"),
    // The oldest TLS.
    .init(["ssl_min_version": "1.3"], ["ssl_min_version": "1.3"], "a.test min 1.3"),
    .init(["ssl_min_version": "1.3"], [:], "a.test min 1.3", alone, "error young ssl_min_version"),
    .init([:], ["ssl_min_version": "1.3"], "", alone, "error young ssl_min_version"),
    .init(["ssl_min_version": "1.2"], [:], ""),
    .init(
        [:], ["ssl_min_version": "1.3", "context_root": "/x"], "", alone, "error young ssl_min_version"),
    // Passthrough.
    .init(pass, pass, "a.test pass -> old young"),
    .init(pass, [:], "a.test pass -> old", alone, "error young ssl_passthrough"),
    .init(pass, ["ssl_cert": "c", "context_root": "/x"], "a.test pass -> old", alone, "error young ssl_passthrough"),
    .init([:], pass, "", alone, "error young ssl_passthrough"),
    .init(["ssl_cert": "c"], pass, "a.test c", alone, "error young ssl_passthrough"),
    .init(mutual, pass, "a.test client required ca", alone, "error young ssl_passthrough"),
    .init(pass, mutual, "a.test pass -> old", alone, "error young ssl_passthrough"),
    .init(
        pass, ["ssl_passthrough": "1", "context_root": "/x"], "a.test pass -> old", alone,
        "warning young context_root", "error young context_root"),
    .init(pass, ["ssl_passthrough": "1", "ssl_only": "1"], "a.test pass -> old young"),
    // Redirects: those of the oldest.
    .init(
        ["redirects": "http://a.test,https://b.test"], ["redirects": "http://a.test,https://b.test/"],
        "a.test http -> https://b.test"),
    .init(["redirects": "http://a.test,https://b.test"], [:], "a.test http -> https://b.test"),
    .init(
        [:], ["redirects": "http://a.test,https://b.test"], "", ["old", "young"], "warning young redirects"),
    .init(
        ["redirects": "http://a.test,https://b.test"], ["redirects": "http://a.test,https://c.test"],
        "a.test http -> https://b.test", ["old", "young"], "warning young redirects"),
    .init(
        ["redirects": "http://a.test,https://b.test"], ["redirects": "https://a.test,https://c.test"],
        "a.test http -> https://b.test", ["old", "young"], "warning young redirects"),
    // Strict-Transport-Security: by path.
    .init(["hsts": "1"], ["hsts": "1"], ""), .init(["hsts": "1"], [:], ""),
    .init(["hsts": "1"], ["hsts": "2"], "", ["old", "young"], "warning young hsts"),
    .init([:], ["hsts": "2"], "", ["old", "young"], "warning young hsts"),
    .init(["hsts": "1"], ["hsts": "2", "context_root": "/x"], ""),
    // TCP services are elsewhere.
    .init(pass, ["tcp_port": "5432", "ssl_cert": "c"], "a.test pass -> old"),
    .init(mutual, ["tcp_port": "5432"], "a.test client required ca"),
]

@Test("two services of a host", arguments: meetings)
private func meeting(_ meeting: Meeting) {
    let snapshot = meeting.snapshot()
    #expect(snapshot.renderedHosts.first ?? "" == meeting.host)
    #expect(snapshot.configuration.services.map(\.name) == meeting.routed)
    #expect(snapshot.diagnostics.map { "\($0.severity) \($0.service) \($0.label)" } == meeting.findings)
    // Each error names the other service.
    #expect(snapshot.diagnostics.allSatisfy { $0.severity == .warning || $0.message.contains(" old, which is older") })
    #expect(snapshot.problems().isEmpty)
    #expect(meeting.snapshot(isReversed: true) == snapshot)
}

@Test("without the younger service nothing is weaker than with it", arguments: meetings)
private func nothingIsWeaker(_ meeting: Meeting) {
    var only = meeting.snapshot()
    let both = only
    only = Meeting(meeting.older, ["hosts": "elsewhere.test"], "").snapshot()
    func protection(_ snapshot: Snapshot) -> [String] {
        snapshot.configuration.hosts.filter { $0.host == .exact("a.test") }.map { host in
            "\(host.passthrough.isEmpty) \(host.tls.minimumVersion?.rawValue ?? "-") "
                + "\(host.tls.clientAuthentication.map { "\($0)" } ?? "-")"
        }.filter { $0 != "true - -" }
            + snapshot.configuration.routes.filter { $0.host == .exact("a.test") && $0.pathPrefix == "/" }
            .map { "\($0.requiresTLS)" }
    }
    if meeting.older["context_root"] == nil { #expect(protection(both) == protection(only)) }
}

@Test func sslOnlyForAllEndsTheQuarrel() {
    let settings = MappingSettings(isSSLOnly: true, hasSharedCertificates: true)
    let snapshot = Meeting([:], ["ssl_only": "1"], "").snapshot(settings: settings)
    #expect(snapshot.diagnostics.isEmpty)
    #expect(snapshot.configuration.routes.map(\.requiresTLS) == [true])
}

@Test func whoDisagreesOnOneHostStaysOnTheOthers() {
    let snapshot = mapped(
        ("old", ["hosts": "a.test"]), ("young", ["hosts": "a.test,b.test", "ssl_client_ca": "ca", "ssl_cert": "c"]),
        ("third", ["hosts": "b.test", "context_root": "/x"]))
    #expect(
        snapshot.configuration.routes.map { "\($0.host)\($0.pathPrefix) \($0.services)" } == [
            "a.test/ [0]", "b.test/ [1]",
        ])
    #expect(snapshot.renderedHosts == ["b.test c client required ca"])
    #expect(
        diagnosed(snapshot) == [
            "error third ssl_client_ca: is not routed on b.test: client certificates are verified differently by "
                + "young, which is older; let both say the same",
            "error young ssl_client_ca: is not routed on a.test: client certificates are verified differently by "
                + "old, which is older; let both say the same",
        ])
    #expect(snapshot.configuration.services.map(\.name) == ["old", "young"])
}

@Test func wildcardsAndTheDefaultBackendAreHostsOfTheirOwn() {
    let snapshot = mapped(
        ("wild", ["hosts": "*.test", "ssl_passthrough": "1"]), ("one", ["hosts": "a.test", "ssl_cert": "c"]),
        ("rest", ["default_backend": "1", "ssl_client_ca": "ca"]))
    #expect(snapshot.renderedHosts == ["a.test c", "*.test pass -> wild", "* client required ca"])
    #expect(snapshot.diagnostics.isEmpty)
}

@Test func secretsOfStacksAreTheirOwn() {
    func file(_ name: String, _ age: Int64, _ stack: String) -> ServicesFile {
        let labels = lb(["hosts": "a.test", "ssl_cert": "site"], stack: stack)
        return ServicesFile(
            name: name, createdAtNs: age, services: [FileService(name: name, labels: labels, endpoints: ["10.0.0.1:1"])]
        )
    }
    let snapshot = ServiceMapping.snapshot(
        of: Inventory(files: [file("b", 1, "one"), file("a", 2, "two")]), settings: withTCP)
    #expect(snapshot.renderedHosts == ["a.test site|one_site"])
    #expect(
        diagnosed(snapshot) == [
            "warning a hosts: shares a.test with b of stack one: both answer for it",
            "warning a ssl_cert: differs from b on a.test; the older service's is used",
        ])
}

@Test func aCertificateOfAnotherStackIsReported() {
    func file(_ name: String, _ age: Int64, _ stack: String, _ labels: [String: String]) -> ServicesFile {
        let labels = lb(labels.merging(["hosts": "a.test"]) { own, _ in own }, stack: stack)
        return ServicesFile(
            name: name, createdAtNs: age, services: [FileService(name: name, labels: labels, endpoints: ["10.0.0.1:1"])]
        )
    }
    let files = [file("a", 1, "one", [:]), file("b", 2, "two", ["ssl_cert": "c", "context_root": "/x"])]
    let snapshot = ServiceMapping.snapshot(of: Inventory(files: files), settings: withTCP)
    #expect(snapshot.renderedHosts == ["a.test c|two_c"])
    #expect(diagnosed(snapshot) == ["warning b ssl_cert: is used on a.test for a of stack one too"])
    var owned = withTCP
    owned.hostOwnership = .stack
    let separate = ServiceMapping.snapshot(of: Inventory(files: files), settings: owned)
    #expect(separate.renderedHosts == [])
    #expect(diagnosed(separate) == ["error b hosts: a.test belongs to stack one, which claimed it first"])
}

// MARK: Fallback

/// `web` is updated from the first labels to the second, of which one is bad.
@Test(
    "after a bad update no protection that it asked for is lost",
    arguments: [
        // What was asked for stays away from weaker labels.
        ([:], ["ssl_only": "1"], false), ([:], ["ssl_client_ca": "ca"], false),
        ([:], ["ssl_min_version": "1.3"], false), ([:], ["ssl_backend": "1"], false),
        ([:], ["ssl_passthrough": "1"], false), (["ssl_only": "0"], ["ssl_only": "1"], false),
        (["ssl_client_ca": "ca"], ["ssl_client_ca": "new"], false),
        (
            ["ssl_client_ca": "ca", "ssl_client_auth": "optional"],
            ["ssl_client_ca": "ca", "ssl_client_auth": "required"], false
        ),
        (["ssl_backend": "1"], ["ssl_backend": "1", "ssl_backend_tls_verify": "required"], false),
        (["ssl_backend": "1"], ["ssl_backend": "1", "ssl_backend_ca": "ca"], false),
        // As strong as before, or weaker: the labels of before hold.
        (["ssl_only": "1"], ["ssl_only": "yes"], true), (["ssl_only": "1"], [:], true), ([:], [:], true),
        (["ssl_client_ca": "ca"], ["ssl_client_ca": "ca"], true), (["ssl_client_ca": "ca"], [:], true),
        (["ssl_min_version": "1.3"], ["ssl_min_version": "1.2"], true), ([:], ["ssl_min_version": "1.2"], true),
        ([:], ["ssl_cert": "c"], true), (["ssl_cert": "c"], ["ssl_cert": "d"], true),
        (["ssl_passthrough": "1"], ["ssl_passthrough": "0"], true), ([:], ["ssl_only": "0"], true),
    ] as [([String: String], [String: String], Bool)])
func fallbackKeepsProtection(before: [String: String], now: [String: String], isRouted: Bool) {
    let good = ["hosts": "a.test", "port": "80"]
    let bad = [
        ["hosts": "a b"], ["retries": "x"], ["network": "nowhere"], ["ssl_cert": "a b"],
        ["ssl_cert": "c", "ssl_key": "k,l"],
    ]
    for change in bad {
        let labels = good.merging(now) { $1 }.merging(change) { $1 }
        let inventory = webInventory(labels, previous: good.merging(before) { $1 })
        let snapshot = ServiceMapping.snapshot(of: inventory, settings: withTCP)
        #expect(!snapshot.configuration.services.isEmpty == isRouted, "\(change): \(diagnosed(snapshot))")
        let word = isRouted ? "is routed by the labels it had" : "they protect it less"
        #expect(snapshot.diagnostics.contains { $0.message.contains(word) })
        guard isRouted else { continue }
        let expected = ServiceMapping.snapshot(
            of: webInventory(good.merging(before) { $1 }), settings: withTCP)
        #expect(snapshot.hasSameContent(as: expected))
    }
}

@Test func aClosedPortKeepsTheLabelsOfBefore() {
    let good = ["hosts": "a.test", "port": "80"]
    let snapshot = ServiceMapping.snapshot(
        of: webInventory(["tcp_port": "1", "port": "80"], previous: good), settings: withTCP)
    #expect(snapshot.configuration.routes.map(\.host) == [.exact("a.test")])
    #expect(snapshot.diagnostics.map(\.label) == ["", "tcp_port"])
}

@Test(
    "a protective label that cannot be read leaves the service out, whatever held before",
    arguments: [
        ["ssl_only": "maybe"], ["ssl_only": ""], ["ssl_client_ca": "a b"], ["ssl_client_auth": "x"],
        ["ssl_client_auth": "required"], ["ssl_min_version": "2"], ["ssl_backend_tls_verify": "x"],
        ["ssl_backend_ca": "ca"], ["ssl_passthrough": "1", "ssl_client_ca": "ca"],
        ["ssl_passthrough": "1", "ssl_min_version": "1.3"],
    ])
func badProtection(labels: [String: String]) {
    let good = ["hosts": "a.test", "port": "80"]
    let inventory = webInventory(good.merging(labels) { $1 }, previous: good)
    let snapshot = ServiceMapping.snapshot(of: inventory, settings: withTCP)
    #expect(snapshot.configuration.services.isEmpty)
    #expect(snapshot.diagnostics.map(\.severity) == [.error])
}
