// A feed on loopback: an authority and its credentials, made once, servers and clients with short deadlines, and
// contents of any size.

import Kernel
import Model
import Support
import TLS

@testable import Feed

/// An authority that issues what a test asks for.
struct TestFeedAuthority: Sendable {
    let certificatePEM: String
    private let keyPEM: String

    init(name: String = "test authority") throws {
        (certificatePEM, keyPEM) = try FeedAuthority.makeAuthority(name: name, days: 30)
    }

    func pem(
        _ role: FeedIdentity.Role, cluster: String = "", name: String = "", days: Int = 7, alsoTrusted: String = ""
    ) throws -> [UInt8] {
        let text = try FeedAuthority.issue(
            role: role, cluster: cluster, commonName: name.isEmpty ? "test \(role.rawValue)" : name, days: days,
            authorityCertificatePEM: certificatePEM, authorityKeyPEM: keyPEM, alsoTrusted: alsoTrusted)
        return Array(text.utf8)
    }

    func credential(
        _ role: FeedIdentity.Role, cluster: String = "", name: String = "", days: Int = 7, alsoTrusted: String = ""
    ) throws -> FeedCredential {
        let pem = try pem(role, cluster: cluster, name: name, days: days, alsoTrusted: alsoTrusted)
        return try FeedCredential(pem: pem, acceptsExpired: true)
    }
}

/// What most tests use.
let authority: TestFeedAuthority = {
    guard let made = try? TestFeedAuthority() else { preconditionFailure("no authority can be made") }
    return made
}()

/// A server with the notes it wrote and the clusters it was asked for.
final class TestServer: Sendable {
    let server: FeedServer
    let notes: Collected<FeedNote>
    let wanted: Collected<String>

    init(
        _ name: String = "controller-1", credential: FeedCredential? = nil, port: UInt16 = 0,
        _ change: (inout FeedServerSettings) -> Void = { _ in }
    ) throws {
        var settings = FeedServerSettings(
            addresses: [(.loopback(port: port), false)],
            credential: try credential ?? authority.credential(.controller), controllerID: name)
        settings.heartbeatMs = 100
        settings.silenceMs = 10_000
        change(&settings)
        let notes = try Collected<FeedNote>()
        let wanted = try Collected<String>()
        self.notes = notes
        self.wanted = wanted
        server = try FeedServer(settings: settings, wanted: { wanted.append($0) }, note: { notes.append($0) })
        try server.start()
    }

    var port: UInt16 { server.ports[0] }

    func publish(_ content: FeedContent, cluster: String = "") { server.publish(content, cluster: cluster) }
    func stop() { server.stop() }

    /// Waits until a client says that it serves what is offered.
    func waitUntilServed(by count: Int = 1, timeoutMs: Int = 20_000) -> Bool {
        eventually(timeoutMs: timeoutMs) { server.clients.count { $0.isUpToDate } >= count }
    }
}

/// A client with the contents it was given and the notes it wrote.
final class TestClient: Sendable {
    let client: FeedClient
    let notes: Collected<FeedNote>
    let contents: Collected<FeedContent>

    init(
        _ ports: [UInt16], credential: FeedCredential? = nil, lastGood: LastGood? = nil,
        _ change: (inout FeedClientSettings) -> Void = { _ in }
    ) throws {
        var settings = FeedClientSettings(
            controllers: ports.map { ("127.0.0.1", $0) }, credential: try credential ?? authority.credential(.proxy),
            name: "host-1")
        settings.heartbeatMs = 100
        change(&settings)
        let notes = try Collected<FeedNote>()
        let contents = try Collected<FeedContent>()
        self.notes = notes
        self.contents = contents
        client = try FeedClient(
            settings: settings, lastGood: lastGood,
            apply: { content in
                contents.append(content)
                return UInt64(contents.all.count)
            }, note: { notes.append($0) })
        try client.start()
    }

    var status: FeedClientStatus { client.status }
    func stop() { client.stop() }

    func waitUntilServing(_ content: FeedContent, timeoutMs: Int = 20_000) -> Bool {
        contents.wait(timeoutMs: timeoutMs) { $0.last == content }
    }
}

extension Collected where Element == FeedNote {
    /// Waits for a note that says this, in its message or its detail.
    func waitFor(_ text: String, timeoutMs: Int = 20_000) -> Bool {
        wait(timeoutMs: timeoutMs) { notes in notes.contains { "\($0.message): \($0.detail)".contains(text) } }
    }

    func count(_ text: String) -> Int { all.count { "\($0.message): \($0.detail)".contains(text) } }
}

/// A content with that many services; those in `changed` have another address than otherwise.
func makeContent(
    _ count: Int = 3, changed: Set<Int> = [], version: UInt64 = 1, listedAtNs: UInt64 = 1_000,
    clusterID: String = "swarm-1", secrets: SecretFiles = SecretFiles()
) -> FeedContent {
    let order = SnapshotOrder(clusterID: clusterID, version: version, listedAtNs: listedAtNs)
    var configuration = Configuration()
    var endpoints: [[Upstream]] = []
    for index in 0..<count {
        let name = String(100_000 + index)
        configuration.services.append(Service(id: "id-\(name)", name: name))
        configuration.routes.append(Route(host: .exact("\(name).test"), services: [index]))
        let port = UInt16(changed.contains(index) ? 9_000 : 8_000)
        let address = IPAddress(v4: 0x0A00_0000 + UInt32(index))
        endpoints.append([Upstream(id: "task-\(name)", endpoint: Endpoint(address: address, port: port))])
    }
    let snapshot = Snapshot(order: order, configuration: configuration, endpoints: endpoints)
    return FeedContent(snapshot: snapshot, secrets: secrets)
}

func makeSecrets() -> SecretFiles {
    SecretFiles(
        secrets: ["web.pem": Array("certificate and key".utf8)], certificates: ["a.pem": Array("another".utf8)],
        ticketKey: Array("ticket key".utf8))
}
