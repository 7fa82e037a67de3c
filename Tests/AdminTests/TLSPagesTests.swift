// What the pages tell about TLS: handshakes as they were counted, certificates as they are in use.

import Admin
import Kernel
import Synchronization
import Telemetry
import Testing

private func fixture() throws -> Fixture {
    let fixture = try Fixture()
    let worker = fixture.counters.cells(worker: 1)
    worker.add(.https)
    worker.add(HandshakeKind(isTLS13: true, isResumed: false))
    fixture.counters.cells(worker: 0).add(HandshakeKind(isTLS13: true, isResumed: false))
    worker.add(HandshakeKind(isTLS13: false, isResumed: true))
    worker.add(upstream: .resumedTLS13)
    worker.add(handshakeFailure: 0)
    worker.add(handshakeFailure: 1)
    worker.add(handshakeFailure: 2)
    worker.add(.handshakesActive, 7)
    let reading = TLSReading(
        certificates: [
            CertificateReading(
                name: "site_cert", hosts: ["a.test", "*.b.test"], notBefore: 1_700_000_000, notAfter: 1_800_000_000,
                keyType: "RSA", isDefault: true),
            CertificateReading(name: "site_cert", hosts: ["c.test"], notBefore: 0, notAfter: 1_790_000_000),
            CertificateReading(name: "x\"y", hosts: [], notBefore: 0, notAfter: 1_600_000_000, keyType: "ECDSA"),
        ],
        problems: [
            CertificateProblem(certificate: "x\"y", code: "expired", host: "d.test", message: "expired in 2020"),
            CertificateProblem(certificate: "x\"y", code: "expired", host: "d.test", message: "said twice"),
            CertificateProblem(certificate: "gone", code: "missing", message: "there is no such file"),
        ])
    fixture.state.withLock { $0.tls = reading }
    return fixture
}

@Suite struct TLSPagesTests {
    @Test func metrics() throws {
        let fixture = try fixture()
        defer { fixture.stop() }
        let all = try fixture.get("/metrics").body.split(separator: "\n").map(String.init)
        let lines = Set(all)
        for expected in [
            #"interlock_entry_connections_total{entry="https"} 1"#,
            #"interlock_entry_connections_total{entry="tcp"} 0"#,
            #"interlock_tls_handshakes_total{version="1.3",result="full"} 2"#,
            #"interlock_tls_handshakes_total{version="1.2",result="resumed"} 1"#,
            #"interlock_tls_handshakes_total{version="1.2",result="full"} 0"#,
            #"interlock_upstream_tls_handshakes_total{version="1.3",result="resumed"} 1"#,
            "interlock_tls_handshakes_active 7",
            #"interlock_tls_handshake_failures_total{reason="hello_timeout"} 1"#,
            #"interlock_tls_handshake_failures_total{reason="bad_certificate"} 2"#,
            "interlock_certificates 3",
            #"interlock_certificate_not_after_timestamp_seconds{certificate="site_cert"} 1790000000"#,
            #"interlock_certificate_not_after_timestamp_seconds{certificate="x\"y"} 1600000000"#,
            "interlock_certificate_problems 3",
            #"interlock_certificate_problem{certificate="x\"y",problem="expired",host="d.test"} 1"#,
            #"interlock_certificate_problem{certificate="gone",problem="missing",host=""} 1"#,
        ] {
            #expect(lines.contains(expected), "\(expected)")
        }
        #expect(!lines.contains { $0.contains("reason=\"no\"") })
        // A series that appears twice makes Prometheus refuse the whole page.
        let series = all.filter { !$0.hasPrefix("#") }.map { $0.prefix { $0 != " " } }
        #expect(Set(series).count == series.count)
    }

    @Test func problemsAreBounded() throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        fixture.state.withLock {
            $0.tls.problems = (0..<2000).map {
                CertificateProblem(certificate: "c\($0)", code: "missing", message: "there is no such file")
            }
        }
        let lines = try fixture.get("/metrics").body.split(separator: "\n")
        #expect(lines.count { $0.hasPrefix("interlock_certificate_problem{") } == 500)
        #expect(lines.contains("interlock_certificate_problems 2000"))
    }

    @Test func certificatesAsJSON() throws {
        let fixture = try fixture()
        defer { fixture.stop() }
        let body = try fixture.get("/api/certificates").body
        #expect(
            body.hasPrefix(
                #"{"certificates":[{"name":"site_cert","hosts":["a.test","*.b.test"],"not_before":1700000000,"#
                    + #""not_after":1800000000,"key_type":"RSA","is_default":true,"is_last_good":false},"#))
        #expect(
            body.hasSuffix(
                #"{"certificate":"gone","problem":"missing","host":"","refused":false,"#
                    + #""message":"there is no such file"}]}"#
                    + "\n"))
        #expect(try fixture.get("/").body.contains("certificates 3, 3 problems"))
        let empty = try Fixture()
        defer { empty.stop() }
        #expect(try empty.get("/api/certificates").body == #"{"certificates":[],"problems":[]}"# + "\n")
    }
}
