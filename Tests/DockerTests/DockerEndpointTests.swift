import Support
import Testing

@testable import Docker

@Suite struct DockerEndpointTests {
    @Test(
        arguments: [
            ("auto", [:], "unix:///var/run/docker.sock", nil),
            ("auto", ["DOCKER_HOST": ""], "unix:///var/run/docker.sock", nil),
            ("auto", ["DOCKER_HOST": "tcp://10.0.0.1:2375"], "tcp://10.0.0.1:2375", nil),
            ("auto", ["DOCKER_HOST": "unix:///run/x.sock", "DOCKER_TLS_VERIFY": "1"], "unix:///run/x.sock", nil),
            ("auto", ["DOCKER_HOST": "tcp://h:1", "DOCKER_CERT_PATH": "/c"], "tcp://h:1", "/c/ca.pem"),
            (
                "auto", ["DOCKER_HOST": "tcp://h:1", "DOCKER_TLS_VERIFY": "1", "HOME": "/h"], "tcp://h:1",
                "/h/.docker/ca.pem"
            ),
            (
                "unix:///run/user/1000/docker.sock", ["DOCKER_HOST": "tcp://h:1"], "unix:///run/user/1000/docker.sock",
                nil
            ),
            (
                "tcp://[2001:db8::1]:2376", ["DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"],
                "tcp://[2001:db8::1]:2376",
                "/c/ca.pem"
            ),
            ("tcp://proxy:2375/", [:], "tcp://proxy:2375", nil),
        ] as [(String, [String: String], String, String?)])
    func reads(setting: String, environment: [String: String], expected: String, authority: String?) throws {
        let endpoint = try DockerEndpoint(setting: setting) { environment[$0] }
        #expect(endpoint.description == expected)
        #expect(endpoint.credentials?.authorityFile == authority)
    }

    @Test(arguments: [
        "docker.sock", "/var/run/docker.sock", "unix://var/run/docker.sock", "unix://", "tcp://", "tcp://host",
        "tcp://host:",
        "tcp://host:0", "tcp://host:65536", "tcp://:2375", "tcp://2001:db8::1:2375", "tcp://host:23x", "http://host:80",
        "ssh://host", "tcp://ho st:1", "tcp://host/x:1", "unix:///" + String(repeating: "x", count: 110),
    ])
    func refuses(setting: String) {
        let error = #expect(throws: DockerEndpoint.Invalid.self) {
            try DockerEndpoint(setting: setting) { _ in nil }
        }
        #expect(error?.description.contains("\"\(setting)\"") == true)
    }

    @Test func aWrongVariableIsNamed() {
        let error = #expect(throws: DockerEndpoint.Invalid.self) {
            try DockerEndpoint(setting: "auto") { $0 == "DOCKER_HOST" ? "tcp://nowhere" : nil }
        }
        #expect(error?.description.contains("DOCKER_HOST") == true)
    }

    @Test func tlsWithoutAFolderIsAnError() {
        #expect(throws: DockerEndpoint.Invalid.self) {
            try DockerEndpoint(setting: "tcp://h:1") { $0 == "DOCKER_TLS_VERIFY" ? "1" : nil }
        }
    }

    @Test func aMissingSocketIsHopelessAndAListeningOneIsNot() throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        #expect(DockerEndpoint(address: .unix(path: engine.path)).whyHopeless() == nil)
        let missing = DockerEndpoint(address: .unix(path: FakeDocker.freshPath()))
        #expect(missing.whyHopeless()?.contains("there is no Docker socket at") == true)
        #expect(DockerEndpoint(address: .tcp(host: "127.0.0.1", port: 1)).whyHopeless() == nil)
    }

    @Test func missingCertificatesAreHopeless() {
        let endpoint = DockerEndpoint(
            address: .tcp(host: "127.0.0.1", port: 1), credentials: .init(directory: "/nonexistent"))
        #expect(endpoint.whyHopeless()?.contains("/nonexistent/ca.pem") == true)
    }
}
