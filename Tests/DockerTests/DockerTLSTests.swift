// The engine behind TLS with client certificates, as `dockerd --tlsverify` listens.

import Discovery
import Support
import Testing

@testable import Docker

@Suite struct DockerTLSTests {
    private func folder() throws -> (TestAuthority, String) {
        let authority = try TestAuthority()
        try authority.issue("server", names: "DNS:localhost,IP:127.0.0.1")
        try authority.issue("cert", names: "DNS:client")
        try renameFile("\(authority.folder)/cert.key", to: "\(authority.folder)/key.pem")
        return (authority, authority.folder)
    }

    @Test func talksThroughTLSAsDockersOwnClient() throws {
        let (authority, folder) = try folder()
        let engine = try FakeDocker()
        defer { engine.stop() }
        let body = [UInt8](repeating: 0x20, count: 300_000) + Array("[]".utf8)
        engine.answer("/services", .chunks(body, size: 5000, pauseMs: 0))
        let proxy = try TLSProxy(to: engine.path, authority: authority, certificate: "server")
        defer { proxy.stop() }
        let environment = [
            "DOCKER_HOST": "tcp://127.0.0.1:\(proxy.port)", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": folder,
        ]
        let endpoint = try DockerEndpoint(setting: "auto") { environment[$0] }
        #expect(endpoint.whyHopeless() == nil)
        let client = DockerClient(endpoint: endpoint, callTimeoutMs: 10_000)
        defer { client.disconnect() }
        #expect(try client.get(.services) == body)
        #expect(try client.get(.services) == body)
        #expect(engine.connectionCount == 1)
    }

    @Test func eventsComeThroughTLS() throws {
        let (authority, folder) = try folder()
        let engine = try FakeDocker()
        defer { engine.stop() }
        try Recording.load(into: engine)
        let proxy = try TLSProxy(to: engine.path, authority: authority, certificate: "server")
        defer { proxy.stop() }
        let seen = try Collected<DockerObservation>()
        let endpoint = DockerEndpoint(
            address: .tcp(host: "localhost", port: proxy.port), credentials: .init(directory: folder))
        let watcher = try DockerWatcher(
            settings: DockerSettings(endpoint: endpoint, pollIntervalMs: 60_000, busyPollIntervalMs: 60_000)
        ) {
            seen.append($0)
        } note: { _ in
        }
        try watcher.start()
        defer { watcher.stop() }
        #expect(seen.wait { !$0.isEmpty })
        #expect(eventually { engine.openEventStreamCount == 1 && watcher.status.isEventStreamOpen })
        engine.answer("/services", .json("[]"))
        engine.emit("{}")
        #expect(seen.wait { $0.last?.inventory.services.isEmpty == true })
    }

    @Test func aServerThatRefusesOurCertificateIsQuoted() throws {
        let (authority, _) = try folder()
        let (_, strangers) = try folder()
        let engine = try FakeDocker()
        defer { engine.stop() }
        let proxy = try TLSProxy(to: engine.path, authority: authority, certificate: "server")
        defer { proxy.stop() }
        var credentials = DockerEndpoint.Credentials(directory: strangers)
        credentials.authorityFile = authority.authorityFile
        let client = DockerClient(
            endpoint: DockerEndpoint(address: .tcp(host: "127.0.0.1", port: proxy.port), credentials: credentials),
            callTimeoutMs: 5_000)
        for _ in 0..<5 {
            let error = #expect(throws: DockerError.self) { try client.get(.info) }
            #expect(error?.kind == .tls)
            #expect(error?.description.contains("unknown ca") == true, "\(error?.description ?? "")")
        }
    }

    @Test func aServerThatIsAnotherIsATLSFailure() throws {
        let (authority, folder) = try folder()
        try authority.issue("other", names: "DNS:other.test")
        let engine = try FakeDocker()
        defer { engine.stop() }
        let proxy = try TLSProxy(to: engine.path, authority: authority, certificate: "other")
        defer { proxy.stop() }
        let endpoint = DockerEndpoint(
            address: .tcp(host: "127.0.0.1", port: proxy.port), credentials: .init(directory: folder))
        let error = #expect(throws: DockerError.self) {
            try DockerClient(endpoint: endpoint, callTimeoutMs: 5_000).get(.info)
        }
        #expect(error?.kind == .tls)
        #expect(engine.requests.isEmpty)
    }
}
