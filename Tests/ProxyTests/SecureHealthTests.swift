// Probes of tasks that speak TLS: with the service's own policy and name, and never without them.

@testable import Proxy
import Kernel
import Model
import Support
import TLS
import Telemetry
import Testing

private final class Certificates {
    let authority: TestAuthority
    let other: TestAuthority

    init() throws {
        authority = try TestAuthority()
        other = try TestAuthority()
        try authority.issue("web", names: "DNS:web.test,IP:127.0.0.1")
    }

    func certificate() throws -> TLSCertificate {
        try TLSCertificate(
            chainPEM: readFile("\(authority.folder)/web.pem"), keyPEM: readFile("\(authority.folder)/web.key"))
    }

    func secrets() throws -> SecretFiles {
        SecretFiles(secrets: ["ca": try readFile(authority.authorityFile), "other": try readFile(other.authorityFile)])
    }
}

@Suite(.serialized) struct SecureHealthTests {
    private func publish(
        _ lab: HealthLab, _ made: Certificates, _ port: UInt16, _ check: HealthCheck, ca: String = "ca",
        name: String? = nil, host: HostPattern = .exact("web.test")
    ) throws {
        try lab.publish([("a", port)], check, secrets: made.secrets(), host: host) {
            $0.backendTLS = BackendTLS(verifies: true, authorities: SecretReference(ca), serverName: name)
        }
    }

    @Test func probesSpeakTLSAsRequestsDo() throws {
        let made = try Certificates()
        let lab = try HealthLab()
        let task = try TLSTask(made.certificate())
        defer { task.stop() }
        try publish(lab, made, task.port, makeCheck(path: "/"))
        #expect(eventually { lab.proxy.probes.total(.success) >= 3 })
        #expect(lab.becomes(["healthy"]))
        #expect(task.seen.names.allSatisfy { $0 == "web.test" } && task.seen.requests.first == "GET / HTTP/1.1 0")
        // Each probe looks at the certificate anew.
        #expect(task.seen.resumedCount == 0)
        // Without a named host the task's address is what is verified.
        try publish(lab, made, task.port, makeCheck(path: "/"), host: .any)
        let seen = lab.proxy.probes.total(.success)
        #expect(eventually { lab.proxy.probes.total(.success) > seen })
        // TCP is probed by the handshake.
        try publish(lab, made, task.port, makeCheck(.tcp))
        let handshakes = lab.proxy.probes.total(.success)
        #expect(eventually { lab.proxy.probes.total(.success) > handshakes + 1 })
        #expect(lab.health == ["healthy"])
    }

    @Test(
        arguments: [
            ("other", nil, .tlsVerification, "the task's certificate is not accepted"),
            ("ca", "else.test", .tlsVerification, "the task's certificate is not accepted"),
            ("missing", nil, .tlsUnusable, "TLS to the service's tasks is not set up completely"),
        ] as [(String, String?, ProbeResult, String)])
    func whatIsNotAcceptedIsNotHealthy(ca: String, name: String?, result: ProbeResult, reason: String) throws {
        let made = try Certificates()
        let lab = try HealthLab()
        let task = try TLSTask(made.certificate())
        defer { task.stop() }
        try publish(lab, made, task.port, makeCheck(.tcp), ca: ca, name: name)
        #expect(lab.becomes(["unhealthy"]))
        #expect(lab.readings[0]?.lastFailure == reason && lab.proxy.probes.total(result) > 0)
        #expect(lab.proxy.probes.total(.success) == 0 && task.seen.requests.isEmpty)
        // The certificate's authority is found: no new table is needed.
        try publish(lab, made, task.port, makeCheck(.tcp))
        #expect(lab.becomes(["healthy"]))
    }

    @Test(
        arguments: [
            (TLSTask.Manner.closesInHandshake, [.tlsHandshake]), (.resetsInHandshake, [.tlsHandshake, .reset]),
            (.answersPlainly, [.tlsPlaintext]), (.isSilent, [.timeout]),
        ] as [(TLSTask.Manner, [ProbeResult])])
    func badHandshakes(manner: TLSTask.Manner, results: [ProbeResult]) throws {
        let made = try Certificates()
        let lab = try HealthLab()
        let task = try TLSTask(made.certificate(), manner: manner)
        defer { task.stop() }
        try publish(lab, made, task.port, makeCheck(timeoutMs: 150))
        #expect(lab.becomes(["unhealthy"]))
        #expect(results.contains { lab.proxy.probes.total($0) > 0 })
    }
}
