// Contents on their way from a server to clients: whole, changed, to whom they belong, and to many.

import Kernel
import Model
import Support
import TLS
import Testing

@testable import Feed

@Suite("delivery")
struct DeliveryTests {
    @Test("a client gets what is published, and the server knows what it serves")
    func firstDelivery() throws {
        let server = try TestServer()
        defer { server.stop() }
        let content = makeContent(secrets: makeSecrets())
        server.publish(content)
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(client.waitUntilServing(content))
        #expect(server.waitUntilServed())
        let reading = try #require(server.server.clients.first)
        #expect(reading.name == "host-1" && reading.identity.role == .proxy && reading.identity.cluster.isEmpty)
        #expect(reading.order == content.snapshot.order && reading.tableVersion == 1 && reading.refusal.isEmpty)
        #expect(reading.acknowledgedAtNs >= reading.connectedAtNs)
        let offer = try #require(server.server.offers.first)
        #expect(offer.contentDigest == reading.contentDigest && offer.order == content.snapshot.order)
        #expect(eventually { client.status.contentAgeMs != nil })
        let status = client.status
        #expect(status.isConnected && status.isControllerCurrent && !status.isFromDisk)
        #expect(status.controllerID == "controller-1" && status.contentDigest == reading.contentDigest)
        #expect(status.tableVersion == 1 && status.order == content.snapshot.order && status.addressCount == 1)
    }

    @Test("who comes before there is anything waits for it; the cluster is asked for once")
    func clientBeforeContent() throws {
        let server = try TestServer()
        defer { server.stop() }
        let clients = try (0..<2).map { _ in try TestClient([server.port]) }
        defer { clients.forEach { $0.stop() } }
        #expect(server.wanted.wait { $0 == [""] })
        #expect(eventually { server.server.clients.count == 2 })
        #expect(!server.server.clients[0].isUpToDate)
        let content = makeContent()
        server.publish(content)
        for client in clients { #expect(client.waitUntilServing(content)) }
        #expect(server.wanted.all == [""])
    }

    @Test("an empty snapshot is applied as any other")
    func emptySnapshot() throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent())
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(client.waitUntilServing(makeContent()))
        let empty = makeContent(0, version: 2)
        server.publish(empty)
        #expect(client.waitUntilServing(empty))
    }

    @Test("an update brings only the pieces that changed")
    func changedPieces() throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent(5_000))
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(server.waitUntilServed())
        let before = client.status
        let changed = makeContent(5_000, changed: [77], version: 2)
        server.publish(changed)
        #expect(client.waitUntilServing(changed))
        #expect(server.waitUntilServed())
        let after = client.status
        #expect(before.receivedPieceCount > 50)
        #expect((1...4).contains(after.receivedPieceCount - before.receivedPieceCount))
        // The manifest names all pieces; heartbeats are small.
        let offer = try #require(server.server.offers.first)
        let limit = offer.pieceCount * 40 + offer.byteCount / 10
        #expect(after.receivedByteCount - before.receivedByteCount < limit)
    }

    @Test("the same content with another order costs no piece")
    func sameContent() throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent(100))
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(server.waitUntilServed())
        let pieces = client.status.receivedPieceCount
        server.publish(makeContent(100, version: 9))
        #expect(eventually { client.status.order?.version == 9 })
        #expect(client.status.receivedPieceCount == pieces && client.contents.all.count == 1)
        #expect(eventually { server.server.clients.first?.order?.version == 9 })
    }

    @Test("each client gets what is its cluster's")
    func clusters() throws {
        let server = try TestServer()
        defer { server.stop() }
        let contents = ["": makeContent(2), "blue": makeContent(3, secrets: makeSecrets()), "green": makeContent(4)]
        for (cluster, content) in contents { server.publish(content, cluster: cluster) }
        for (cluster, content) in contents {
            let client = try TestClient([server.port], credential: authority.credential(.proxy, cluster: cluster))
            defer { client.stop() }
            #expect(client.waitUntilServing(content), "\(cluster)")
            #expect(client.contents.all == [content])
        }
        #expect(server.wanted.all.isEmpty)
    }

    @Test("an extension gets no secret, unless it may; the ticket key it never gets", arguments: [false, true])
    func extensions(_ isShared: Bool) throws {
        let server = try TestServer { $0.sharesSecretsWithExtensions = isShared }
        defer { server.stop() }
        let content = makeContent(secrets: makeSecrets())
        server.publish(content)
        var expected = content
        expected.secrets = isShared ? makeSecrets() : SecretFiles()
        expected.secrets.ticketKey = nil
        let client = try TestClient([server.port], credential: authority.credential(.extension_))
        defer { client.stop() }
        #expect(client.waitUntilServing(expected))
        #expect(server.waitUntilServed())
        let proxy = try TestClient([server.port])
        defer { proxy.stop() }
        #expect(proxy.waitUntilServing(content))
    }

    @Test("a credential of the feed among the secrets is not handed out")
    func credentialAmongSecrets() throws {
        let server = try TestServer()
        defer { server.stop() }
        var content = makeContent(secrets: makeSecrets())
        content.secrets.secrets["feed-controller.pem"] = try authority.pem(.controller)
        content.secrets.certificates["feed.pem"] = try authority.pem(.proxy)
        server.publish(content)
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(client.waitUntilServing(makeContent(secrets: makeSecrets())))
        #expect(server.notes.waitFor("feed-controller.pem, feed.pem"))
    }

    /// How soon is measured where nothing else runs, with two hundred: Tests/EndToEndTests/test_feed_scale.py.
    @Test("fifty clients get an update, and none of them anything else")
    func manyClients() throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent(1_000))
        let clients = try (0..<50).map { _ in try TestClient([server.port]) }
        defer { clients.forEach { $0.stop() } }
        #expect(server.waitUntilServed(by: 50, timeoutMs: 60_000))
        let changed = makeContent(1_000, changed: [5], version: 2)
        let startNs = Clock.monotonicNs()
        server.publish(changed)
        #expect(server.waitUntilServed(by: 50, timeoutMs: 60_000))
        print("an update reached 50 clients after \((Clock.monotonicNs() - startNs) / 1_000_000) ms")
        for client in clients { #expect(client.contents.all == [makeContent(1_000), changed]) }
    }

    @Test("of contents that come fast the newest wins")
    func newestWins() throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent(500))
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(server.waitUntilServed())
        for version in 2...30 { server.publish(makeContent(500, changed: [version], version: UInt64(version))) }
        #expect(client.waitUntilServing(makeContent(500, changed: [30], version: 30)))
        #expect(server.waitUntilServed())
    }
}
