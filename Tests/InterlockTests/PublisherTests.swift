// Tables and secrets on their way to the proxy: what a table names is there with it, and what changes follows.

import Admin
import Kernel
import Model
import Proxy
import Routing
import Support
import Telemetry
import Testing

@testable import interlock

private func makeCertificate(_ folder: String, _ name: String, host: String, days: Int) {
    let status = runProgram([
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "\(days)",
        "-subj", "/CN=\(host)", "-addext", "subjectAltName=DNS:\(host)", "-keyout", "\(folder)/new.key", "-out",
        "\(folder)/new.crt",
    ])
    #expect(status == 0, "openssl made no certificate")
    for kind in ["key", "crt"] { try? renameFile("\(folder)/new.\(kind)", to: "\(folder)/\(name).\(kind)") }
}

private func snapshot(host: String = "a.test", certificate: String, key: String) -> Snapshot {
    let reference = CertificateReference(
        certificate: SecretReference(certificate, stack: "shop"), key: SecretReference(key, stack: "shop"))
    return Snapshot(
        configuration: Configuration(
            services: [Service(id: "s", name: "web")], routes: [Route(host: .exact(host), services: [0])],
            hosts: [HostOptions(host: .exact(host), tls: TLSOptions(certificates: [reference]))]),
        endpoints: [[]])
}

@Suite struct PublisherTests {
    @Test func aTableComesWithItsSecretsAndChangesFollow() throws {
        let folder = try makeFolder()
        let certificates = try makeFolder()
        makeCertificate(folder, "shop_site", host: "a.test", days: 10)
        let settings = try SettingsLoader.load(environment: [
            "INTERLOCK_HTTP_LISTEN": "127.0.0.1:0", "INTERLOCK_HTTPS_LISTEN": "127.0.0.1:0", "INTERLOCK_WORKERS": "1",
            "INTERLOCK_SECRETS_DIR": folder, "INTERLOCK_CERTS_DIR": certificates,
            "INTERLOCK_DEFAULT_CERT": "default.pem", "INTERLOCK_TICKET_KEY": folder + "/tickets",
        ])
        let log = Log(level: .error)
        let proxy = try ProxyServer(
            settings: ProxySettings(settings, descriptorLimit: 1024), proxyID: "test", log: log)
        defer {
            proxy.drain(timeoutMs: 0)
            proxy.waitUntilStopped()
        }
        let life = Life()
        let publisher = try Publisher(settings, proxy: proxy, life: life, log: log)
        defer { publisher.stop() }
        #expect(life.reading.phase == .starting)
        publisher.publish(snapshot(certificate: "site.crt", key: "site.key"))
        #expect(life.reading.phase == .ready)
        let first = proxy.tlsReport
        #expect(first.certificates.map(\.names) == [["a.test"]] && first.standing.isEmpty)
        let version = proxy.table.version

        makeCertificate(folder, "shop_site", host: "a.test", days: 100)
        #expect(eventually { (proxy.tlsReport.certificates.first?.notAfter ?? 0) > first.certificates[0].notAfter })
        makeCertificate(certificates, "other", host: "b.test", days: 10)
        #expect(eventually { proxy.tlsReport.certificates.flatMap(\.names) == ["a.test", "b.test"] })
        #expect(proxy.table.version == version, "renewing a certificate compiles no table")

        // A key that is another's: the last good pair stays, and it is told.
        makeCertificate(folder, "wrong", host: "a.test", days: 10)
        try renameFile("\(folder)/wrong.key", to: "\(folder)/shop_site.key")
        #expect(eventually { proxy.tlsReport.standing.map(\.fault) == [.unusable] })
        let reading = publisher.certificates
        #expect(reading.certificates.map(\.isLastGood) == [true, false])
        #expect(reading.problems.map(\.code) == ["unusable", "ticket_key", "missing"])
        #expect(reading.problems[0].host == "a.test" && reading.problems[2].certificate == "default.pem")
        let later = TLSReading(proxy.tlsReport, atSeconds: first.certificates[0].notAfter + 200 * 86_400)
        #expect(later.problems.map(\.code).sorted() == ["expired", "expired", "unusable"])

        publisher.publish(snapshot(certificate: "none.crt", key: "none.key"))
        #expect(proxy.tlsReport.standing.map(\.fault) == [.missing])
        #expect(!proxy.tlsReport.standing[0].isRefused, "the host keeps what it had")
        publisher.publish(snapshot(host: "b.test", certificate: "none.crt", key: "none.key"))
        #expect(proxy.tlsReport.standing.map(\.fault) == [.missing])
        #expect(proxy.tlsReport.standing[0].isRefused)
    }
}
