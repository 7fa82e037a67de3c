// Which certificate and policy a handshake gets, and what becomes of renewals that went wrong. The rule behind
// all of it: never another host's certificate, and never a weaker policy.

@testable import Proxy
import Model
import Routing
import Support
import TLS
import Testing
import Wire

/// A builder with the tables it makes.
private struct Bench {
    var builder: TLSTableBuilder
    var numbering = Numbering()
    var routes: RouteTable
    var table = TLSTable()
    var report = TLSReport()

    init() throws {
        builder = try TLSTableBuilder(TLSDefaults())
        routes = RouteTable(compiling: Snapshot(), version: 0, numbering: &numbering)
    }

    mutating func build(_ snapshot: Snapshot, _ secrets: SecretFiles) {
        routes = RouteTable(compiling: snapshot, version: 1, numbering: &numbering)
        (table, report) = builder.build(routes, secrets)
    }

    /// What a client gets that names this server: names of certificates, or an alert.
    func choose(_ serverName: String) -> String {
        let bytes = Array(serverName.utf8)
        return bytes.withUnsafeBytes { raw in
            let host = routes.host(raw)
            let options = host < 0 ? 0 : routes.hostRules(host).tlsOptions
            switch table.choose(options: options, serverName: Bytes(raw), port: nil) {
            case .refuse(let alert): return "\(alert.code)"
            case .serve(_, let served):
                return served.certificates.map { "\($0.keyKind) \($0.names.joined(separator: " "))" }.sorted()
                    .joined(separator: ", ")
            }
        }
    }

    func policy(_ serverName: String) -> TLSServerPolicy? {
        Array(serverName.utf8).withUnsafeBytes { raw in
            let host = routes.host(raw)
            let options = host < 0 ? 0 : routes.hostRules(host).tlsOptions
            if case .serve(let policy, _) = table.choose(options: options, serverName: Bytes(raw), port: nil) {
                return policy
            }
            return nil
        }
    }

    var faults: [String] { report.standing.map { "\($0.fault.rawValue) \($0.subject) \($0.file) \($0.isRefused)" } }
}

@Suite struct TLSTableTests {
    private let certificates: TestCertificates

    init() throws { certificates = try TestCertificates.get() }

    @Test func aHostGetsTheCertificatesItNames() throws {
        var bench = try Bench()
        let snapshot = TLSSnapshots.make([
            ("a.test", TLSSnapshots.options("a", "rsa")), ("*.wild.test", TLSSnapshots.options("wild")),
            ("plain.test", TLSOptions()),
        ])
        bench.build(snapshot, TLSSnapshots.secrets(certificates, "a", "rsa", "wild"))
        #expect(bench.choose("a.test") == "ecdsa a.test, rsa a.test")
        #expect(bench.choose("A.Test") == "ecdsa a.test, rsa a.test")
        #expect(bench.choose("deep.in.wild.test") == "ecdsa *.wild.test wild.test")
        #expect(bench.choose("plain.test") == "unrecognized_name")
        #expect(bench.choose("") == "missing_extension")
        #expect(bench.faults == [])
        #expect(bench.report.certificates.map(\.file) == ["a.pem", "rsa.pem", "wild.pem"])
        #expect(bench.report.certificates.map(\.key) == ["ecdsa", "rsa", "ecdsa"])
    }

    @Test func aKeyMayBeInTheCertificatesFile() throws {
        var bench = try Bench()
        var options = TLSOptions()
        options.certificates = [TLSSnapshots.reference("a", key: false)]
        bench.build(
            TLSSnapshots.make([("a.test", options)]), SecretFiles(secrets: ["a.pem": certificates.both("a")]))
        #expect(bench.choose("a.test") == "ecdsa a.test")
    }

    @Test func theDirectoryServesByTheCertificatesOwnNames() throws {
        var bench = try Bench()
        var secrets = SecretFiles()
        secrets.certificates = [
            "wild.pem": certificates["wild.pem"], "wild.key": certificates["wild.key"], "a.crt": certificates.both("a"),
            "rsa.crt": certificates.both("rsa"), "common.pem": certificates.both("common"),
        ]
        bench.build(TLSSnapshots.make([("a.test", TLSOptions()), ("x.wild.test", TLSOptions())]), secrets)
        #expect(bench.choose("x.wild.test") == "ecdsa *.wild.test wild.test")
        #expect(bench.choose("WILD.test") == "ecdsa *.wild.test wild.test")
        #expect(bench.choose("a.test") == "ecdsa a.test, rsa a.test")
        #expect(bench.choose("common.test") == "ecdsa common.test")
        // A certificate's wildcard stands for one label, whatever a route's does.
        #expect(bench.choose("x.y.wild.test") == "unrecognized_name")
        #expect(bench.choose(".wild.test") == "unrecognized_name")
        #expect(bench.choose("nobody.test") == "unrecognized_name")
        secrets.defaultCertificate = certificates["standard.pem"]
        secrets.defaultKey = certificates["standard.key"]
        bench.build(TLSSnapshots.make([]), secrets)
        #expect(bench.choose("nobody.test") == "ecdsa standard.test")
        #expect(bench.choose("") == "ecdsa standard.test")
        #expect(bench.choose("x.wild.test") == "ecdsa *.wild.test wild.test")
    }

    @Test func whoNamesACertificateNeverGetsAnother() throws {
        var bench = try Bench()
        var secrets = TLSSnapshots.secrets(certificates, "wild")
        // All of these would cover the host.
        secrets.certificates = ["a.pem": certificates.both("a")]
        secrets.defaultCertificate = certificates.both("a")
        let snapshot = TLSSnapshots.make([("a.test", TLSSnapshots.options("a")), ("b.test", TLSOptions())])
        bench.build(snapshot, secrets)
        #expect(bench.choose("a.test") == "handshake_failure")
        #expect(bench.choose("b.test") == "ecdsa a.test")
        #expect(bench.faults == ["missing a.test a.pem true"])
    }

    @Test(
        "A renewal that cannot be used leaves the last good one",
        arguments: ["missing", "garbage", "another key", "no key"])
    func lastGood(kind: String) throws {
        var bench = try Bench()
        let snapshot = TLSSnapshots.make([("a.test", TLSSnapshots.options("a"))])
        let good = TLSSnapshots.secrets(certificates, "a")
        var bad = good
        switch kind {
        case "missing": bad.secrets = [:]
        case "garbage": bad.secrets["a.pem"] = Array("-----BEGIN CERTIFICATE-----\nAAAA\n".utf8)
        case "another key": bad.secrets["a.key"] = certificates["wild.key"]
        default: bad.secrets["a.key"] = nil
        }
        // Never good: refused.
        bench.build(snapshot, bad)
        #expect(bench.choose("a.test") == "handshake_failure")
        #expect(bench.report.standing.first?.isRefused == true)
        bench.build(snapshot, good)
        #expect(bench.choose("a.test") == "ecdsa a.test")
        #expect(bench.faults == [])
        bench.build(snapshot, bad)
        #expect(bench.choose("a.test") == "ecdsa a.test")
        #expect(bench.report.standing.map(\.isRefused) == [false])
        #expect(bench.report.certificates.map(\.isLastGood) == [true])
        // Its host is told; no other is harmed, and nothing is told of a key.
        #expect(bench.report.standing.map(\.subject) == ["a.test"])
        var renewed = good
        renewed.secrets["a.pem"] = certificates["renewed.pem"]
        renewed.secrets["a.key"] = certificates["renewed.key"]
        bench.build(snapshot, renewed)
        #expect(bench.faults == [])
    }

    @Test func aHostThatNamesAnotherCertificateKeepsItsOwnUntilThatCanBeUsed() throws {
        var bench = try Bench()
        let secrets = TLSSnapshots.secrets(certificates, "a", "wild")
        let before = [
            ("a.test", TLSSnapshots.options("a")), ("*.wild.test", TLSSnapshots.options("wild")),
            ("plain.test", TLSOptions()),
        ]
        bench.build(TLSSnapshots.make(before), secrets)
        let after = [
            ("a.test", TLSSnapshots.options("rsa")), ("*.wild.test", TLSSnapshots.options("rsa")),
            ("new.wild.test", TLSSnapshots.options("rsa")), ("plain.test", TLSSnapshots.options("rsa")),
        ]
        // The table is made more than once before the new secret is there, and the old one may go meanwhile.
        for secrets in [secrets, secrets, SecretFiles()] {
            bench.build(TLSSnapshots.make(after), secrets)
            #expect(bench.choose("A.test") == "ecdsa a.test")
            #expect(bench.choose("deep.x.wild.test") == "ecdsa *.wild.test wild.test")
            // Never another host's: these two had none of their own.
            #expect(bench.choose("new.wild.test") == "handshake_failure")
            #expect(bench.choose("plain.test") == "handshake_failure")
            #expect(
                bench.faults == [
                    "missing new.wild.test,plain.test rsa.pem true", "missing a.test,*.wild.test rsa.pem false",
                ])
            #expect(bench.report.certificates.map(\.file) == ["a.pem", "wild.pem"])
        }
        #expect(bench.report.certificates.map(\.isLastGood) == [true, true])
        // Back, as after a rollback; then forward, with the secret.
        bench.build(TLSSnapshots.make(before), SecretFiles())
        #expect(bench.choose("a.test") == "ecdsa a.test")
        bench.build(TLSSnapshots.make(after), TLSSnapshots.secrets(certificates, "rsa"))
        #expect(bench.choose("a.test") == "rsa a.test")
        #expect(bench.choose("deep.x.wild.test") == "rsa a.test")
        #expect(bench.report.certificates.map(\.file) == ["rsa.pem"])
        // A host that was gone has no certificate of its own any more.
        bench.build(TLSSnapshots.make([]), SecretFiles())
        bench.build(TLSSnapshots.make(after), SecretFiles())
        #expect(bench.choose("a.test") == "handshake_failure")
    }

    /// Another port's certificate is another host's, whatever both are called.
    @Test(arguments: [HostPattern.exact("a.test"), .wildcard("test"), .any])
    func anEntryPortKeepsItsOwnCertificateToo(_ pattern: HostPattern) throws {
        var bench = try Bench()
        func build(_ ports: [UInt16: String]) {
            let snapshot = TLSSnapshots.make([("a.test", TLSSnapshots.options("wild"))]) { configuration in
                configuration.streams = ports.sorted { $0.key < $1.key }.map { port, name in
                    let host = StreamHost(host: pattern, services: [0], tls: TLSSnapshots.options(name))
                    return StreamPort(port: port, hosts: [host])
                }
            }
            bench.build(snapshot, TLSSnapshots.secrets(certificates, "a", "wild", "common"))
        }
        func choose(_ port: UInt16) -> String {
            Array("a.test".utf8).withUnsafeBytes { raw in
                let host = bench.routes.streamHost(bench.routes.stream(port: port), serverName: raw)
                guard let host else { return "none" }
                let choice = bench.table.choose(options: host.tlsOptions, serverName: Bytes(raw), port: port)
                guard case .serve(_, let served) = choice else { return "refused" }
                return served.certificates.flatMap(\.names).joined(separator: " ")
            }
        }
        build([5432: "a", 8883: "common"])
        #expect(choose(5432) == "a.test" && choose(8883) == "common.test")
        // Both name what is not there, and a third port comes with it.
        build([5432: "rsa", 8883: "rsa", 9000: "rsa"])
        #expect(choose(5432) == "a.test" && choose(8883) == "common.test" && choose(9000) == "refused")
        #expect(bench.choose("a.test") == "ecdsa *.wild.test wild.test")
        #expect(bench.faults.filter { $0.hasSuffix("true") }.count == 1)
    }

    @Test func oneOfTwoCertificatesIsEnough() throws {
        var bench = try Bench()
        bench.build(
            TLSSnapshots.make([("a.test", TLSSnapshots.options("a", "rsa"))]), TLSSnapshots.secrets(certificates, "rsa")
        )
        #expect(bench.choose("a.test") == "rsa a.test")
        #expect(bench.faults == ["missing a.test a.pem false"])
    }

    @Test func whatClientsWillNotLikeIsServedAndSaid() throws {
        var bench = try Bench()
        let snapshot = TLSSnapshots.make(
            [
                ("wrong.test", TLSSnapshots.options("a")), ("common.test", TLSSnapshots.options("common")),
                ("expired.test", TLSSnapshots.options("expired")), ("deep.x.wild.test", TLSSnapshots.options("wild")),
            ]) { $0.routes[0].requiresTLS = true }
        bench.build(snapshot, TLSSnapshots.secrets(certificates, "a", "common", "expired", "wild"))
        #expect(bench.choose("wrong.test") == "ecdsa a.test")
        #expect(bench.choose("common.test") == "ecdsa common.test")
        #expect(bench.choose("expired.test") == "ecdsa expired.test")
        #expect(
            Set(bench.faults) == [
                "wrong_name wrong.test a.pem false", "common_name_only common.test common.pem false",
                "wrong_name deep.x.wild.test wild.pem false",
            ])
        let notAfter = try #require(bench.report.certificates.first { $0.file == "expired.pem" }?.notAfter)
        #expect(!bench.report.problems(atSeconds: notAfter).contains { $0.fault == .expired })
        let later = bench.report.problems(atSeconds: notAfter + 1).filter { $0.fault == .expired }
        #expect(later.map(\.file) == ["expired.pem"])
        #expect(bench.report.problems(atSeconds: 0).count { $0.fault == .notYetValid } == 4)
    }

    @Test func aClientCAThatCannotBeUsedLetsNobodyIn() throws {
        var bench = try Bench()
        let demand = ClientAuthentication(demand: .required, authorities: SecretReference("ca"))
        let snapshot = TLSSnapshots.make([
            ("a.test", TLSSnapshots.options("a", demand: demand)), ("open.test", TLSSnapshots.options("wild")),
        ])
        var secrets = TLSSnapshots.secrets(certificates, "a", "wild")
        for bytes in [nil, [], Array("no certificate".utf8)] as [[UInt8]?] {
            secrets.secrets["ca"] = bytes
            bench.build(snapshot, secrets)
            #expect(bench.choose("a.test") == "handshake_failure")
            #expect(bench.choose("open.test") == "ecdsa *.wild.test wild.test")
            #expect(bench.faults.contains("client_ca a.test ca true"))
        }
        secrets.secrets["ca"] = certificates["ca.pem"]
        bench.build(snapshot, secrets)
        #expect(bench.choose("a.test") == "ecdsa a.test")
        #expect(bench.policy("a.test")?.identity != bench.policy("open.test")?.identity)
        // No last good one here: who is not verifiable now is not let in.
        secrets.secrets["ca"] = nil
        bench.build(snapshot, secrets)
        #expect(bench.choose("a.test") == "handshake_failure")
    }

    @Test func policiesAndCertificatesOutliveTables() throws {
        var bench = try Bench()
        let hosts = [("a.test", TLSSnapshots.options("a")), ("b.test", TLSSnapshots.options("a", minimum: .tls13))]
        var secrets = TLSSnapshots.secrets(certificates, "a")
        bench.build(TLSSnapshots.make(hosts), secrets)
        let first = bench.policy("a.test")
        let strict = bench.policy("b.test")
        #expect(first != nil && strict != nil && first !== strict)
        #expect(bench.builder.parsedCount == 1)
        bench.build(TLSSnapshots.make(hosts + [("c.test", TLSOptions())]), secrets)
        #expect(bench.policy("a.test") === first)
        #expect(bench.policy("b.test") === strict)
        #expect(bench.builder.parsedCount == 1)
        // Other ticket keys make other policies, with the same identity.
        secrets.ticketKey = [UInt8](repeating: 7, count: 48)
        bench.build(TLSSnapshots.make(hosts), secrets)
        #expect(bench.policy("a.test") !== first)
        #expect(bench.policy("a.test")?.identity == first?.identity)
        #expect(bench.builder.parsedCount == 1)
    }

    @Test func badSettingsAreSaidAtOnce() {
        var defaults = TLSDefaults()
        defaults.ciphers = "NONE-SUCH"
        #expect(throws: TLSError.self) { try TLSTableBuilder(defaults) }
        defaults = TLSDefaults()
        defaults.groups = "none"
        #expect(throws: TLSError.self) { try TLSTableBuilder(defaults) }
    }

    @Test func passthroughHostsOfACertificateServedHereAreNamed() throws {
        var bench = try Bench()
        let snapshot = TLSSnapshots.make([("x.wild.test", TLSSnapshots.options("wild")), ("a.test", TLSOptions())]) {
            $0.hosts.append(HostOptions(host: .exact("through.wild.test"), passthrough: [0]))
            $0.hosts.append(HostOptions(host: .exact("other.test"), passthrough: [0]))
            $0.routes[1].requiresTLS = true
        }
        bench.build(snapshot, TLSSnapshots.secrets(certificates, "wild"))
        #expect(
            bench.faults == [
                "covers_passthrough through.wild.test wild.pem false", "no_certificate a.test  true",
            ])
    }
}

@Suite struct NameIndexTests {
    @Test func exactNamesGoBeforeWildcards() {
        let index = NameIndex(["*.a.test": 1, "x.a.test": 2, "a.test": 3, "*.x.a.test": 4, "test": 5])
        func find(_ name: String) -> Int32 { Array(name.utf8).withUnsafeBytes { index.find(Bytes($0)) } }
        for (name, value) in [
            ("x.a.test", 2), ("X.A.TEST", 2), ("y.a.test", 1), ("a.test", 3), ("y.x.a.test", 4), ("z.y.x.a.test", -1),
            ("b.test", -1), ("test", 5), ("", -1), (".a.test", -1), ("*.a.test", 1), ("aa.test", -1), ("a.tes", -1),
            (String(repeating: "x", count: 254), -1),
        ] as [(String, Int32)] {
            #expect(find(name) == value, "\(name)")
        }
        #expect(NameIndex().find(Bytes("a")) == -1)
    }
}
