// Who is let in, who is not, and what both sides' logs say about it.

import Kernel
import Model
import Support
import TLS
import Testing

@testable import Feed

@Suite("trust")
struct TrustTests {
    @Test("an expired, a foreign and a controller's credential are refused, and both sides say why")
    func wrongClients() throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent())
        let foreign = try TestFeedAuthority(name: "foreign")
        let rows: [(FeedCredential, client: String, server: String)] = [
            (try authority.credential(.proxy, name: "late", days: -1), "expired", "expired"),
            (try foreign.credential(.proxy, name: "stranger"), "another CA", "another CA"),
        ]
        for (credential, clientText, serverText) in rows {
            // The second one is refused as well, and the server has said it already.
            for _ in 0..<2 {
                let client = try TestClient([server.port], credential: credential)
                #expect(client.notes.waitFor(clientText), "\(client.notes.all)")
                #expect(server.notes.waitFor(serverText), "\(server.notes.all)")
                client.stop()
                #expect(client.contents.all.isEmpty && client.notes.count(clientText) == 1, "\(client.notes.all)")
            }
            #expect(server.notes.count(serverText) == 1)
        }
        #expect(server.server.clients.isEmpty)
        #expect(throws: FeedStartError.self) {
            try TestClient([server.port], credential: authority.credential(.controller))
        }
        #expect(throws: FeedStartError.self) { try TestServer(credential: authority.credential(.proxy)) }
    }

    @Test("a server with another CA's credential is not believed")
    func wrongServer() throws {
        let foreign = try TestFeedAuthority(name: "foreign")
        let server = try TestServer(credential: foreign.credential(.controller))
        defer { server.stop() }
        server.publish(makeContent())
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(client.notes.waitFor("another CA"))
        #expect(server.notes.waitFor("another CA"), "\(server.notes.all)")
        #expect(client.contents.all.isEmpty)
    }

    @Test("while one CA takes over from another, both are believed; a renewed credential needs no restart")
    func rotation() throws {
        let next = try TestFeedAuthority(name: "next")
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent())
        let old = try TestClient(
            [server.port], credential: authority.credential(.proxy, alsoTrusted: next.certificatePEM))
        defer { old.stop() }
        #expect(server.waitUntilServed())
        let new = try TestClient(
            [server.port], credential: next.credential(.proxy, alsoTrusted: authority.certificatePEM))
        defer { new.stop() }
        #expect(new.notes.waitFor("another CA"), "the server knows only the old one yet")
        try server.server.replace(
            credential: next.credential(.controller, alsoTrusted: authority.certificatePEM))
        #expect(server.waitUntilServed(by: 2), "who was there stays, who waited comes")
        try old.client.replace(credential: next.credential(.proxy))
        #expect(throws: TLSError.self) { try old.client.replace(credential: next.credential(.extension_)) }
        #expect(throws: TLSError.self) { try old.client.replace(credential: next.credential(.proxy, cluster: "blue")) }
        #expect(throws: TLSError.self) { try server.server.replace(credential: next.credential(.proxy)) }
    }

    @Test("whoever asks for another cluster than its certificate's gets nothing")
    func anotherCluster() throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent(), cluster: "blue")
        let client = try RawClient(port: server.port)
        defer { client.close() }
        try client.send(.hello(FeedHello(name: "raw", cluster: "blue")))
        let refusal = try client.refusal()
        #expect(refusal.code == .cluster && refusal.reason.contains("the cluster \"blue\""))
        #expect(server.notes.waitFor("asks for the cluster \"blue\" with a credential for \"\""))
    }

    @Test("another version is refused on both sides, with the versions that are spoken")
    func versions() throws {
        let server = try TestServer()
        defer { server.stop() }
        let raw = try RawClient(port: server.port)
        defer { raw.close() }
        try raw.send([0, 0, 0, 3, 1, 0, 9, 9])
        let refusal = try raw.refusal()
        #expect(refusal.code == .version && refusal.oldestVersion == 1 && refusal.newestVersion == 1)
        #expect(server.notes.waitFor("speaks version 9 of the feed, this controller speaks 1"))

        let welcome: [UInt8] = [0, 0, 0, 2, 2, 0, 7]
        var later = FeedRefusal(.version, "speaks version 1")
        (later.oldestVersion, later.newestVersion) = (3, 5)
        for (opening, text) in [
            (welcome, "speaks version 7 of the feed, this client speaks 1"),
            (FeedFrame.refusal(later).encoded, "speaks version 3 to 5 of the feed, this side 1: update"),
        ] {
            let controller = try RawController(opening: [opening])
            defer { controller.stop() }
            let client = try TestClient([controller.port])
            #expect(client.notes.waitFor(text), "\(client.notes.all)")
            client.stop()
            #expect(client.notes.count(text) == 1)
        }
    }
}
