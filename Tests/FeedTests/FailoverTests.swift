// What becomes of clients when controllers end, fall silent, lag behind or were never there.

import Kernel
import Model
import Support
import TLS
import Testing

@testable import Feed

@Suite("failover")
struct FailoverTests {
    /// Two controllers with the same content, and a client that follows one of them.
    private func pair(_ content: FeedContent) throws -> (followed: TestServer, other: TestServer, client: TestClient) {
        let servers = try [TestServer("one"), TestServer("two")]
        servers.forEach { $0.publish(content) }
        let client = try TestClient(servers.map(\.port))
        #expect(client.waitUntilServing(content))
        #expect(eventually { client.status.isConnected })
        let isFirst = client.status.controllerID == "one"
        return isFirst ? (servers[0], servers[1], client) : (servers[1], servers[0], client)
    }

    @Test("when the controller ends, the other one is followed, and nothing is applied again")
    func controllerEnds() throws {
        let (followed, other, client) = try pair(makeContent(50))
        defer { client.stop() }
        defer { other.stop() }
        let startNs = Clock.monotonicNs()
        followed.stop()
        #expect(other.waitUntilServed())
        // The goal is two seconds.
        #expect(Clock.monotonicNs() - startNs < 10_000_000_000)
        #expect(eventually { client.status.controllerID != followed.server.settings.controllerID })
        #expect(client.contents.all.count == 1)
        let next = makeContent(50, changed: [1], version: 2)
        other.publish(next)
        #expect(client.waitUntilServing(next))
        #expect(client.status.lossCount == 1)
    }

    @Test("a controller that falls silent is left for one that speaks")
    func controllerFallsSilent() throws {
        let silent = try TestServer("silent") { $0.heartbeatMs = 3_600_000 }
        defer { silent.stop() }
        let content = makeContent(10)
        silent.publish(content)
        let hole = try ListeningSocket(.loopback)
        defer { hole.close() }
        let port = try freePort()
        let client = try TestClient([silent.port, hole.localPort, port])
        defer { client.stop() }
        #expect(client.waitUntilServing(content))
        let speaking = try TestServer("speaking", port: port)
        defer { speaking.stop() }
        speaking.publish(content)
        #expect(speaking.waitUntilServed())
        #expect(client.notes.waitFor("said nothing for 1500 ms"))
        #expect(eventually { client.status.controllerID == "speaking" && client.status.isConnected })
    }

    @Test("an address that swallows everything holds nobody up")
    func blackHole() throws {
        let hole = try ListeningSocket(.loopback)
        defer { hole.close() }
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent())
        let client = try TestClient([hole.localPort, server.port])
        defer { client.stop() }
        #expect(client.waitUntilServing(makeContent()))
    }

    @Test("a controller that comes later is found, and one that comes back too")
    func controllerComesLater() throws {
        let port = try freePort()
        let client = try TestClient([port])
        defer { client.stop() }
        #expect(client.notes.waitFor("Connection refused"))
        for version in 1...2 as ClosedRange<UInt64> {
            let server = try TestServer(port: port)
            defer { server.stop() }
            let content = makeContent(version: version, listedAtNs: version)
            server.publish(content)
            #expect(server.waitUntilServed())
            #expect(client.contents.all.count == 1, "the same content is not applied again")
        }
        #expect(eventually { !client.status.isConnected })
        #expect(client.status.order?.version == 2)
        #expect(client.notes.count("Connection refused") <= 3, "told once, each time there is none")
    }

    @Test("an older offer waits, and is taken when nothing newer comes")
    func olderOffer() throws {
        let newer = try TestServer("newer")
        newer.publish(makeContent(3, version: 5))
        let port = try freePort()
        let client = try TestClient([newer.port, port]) { $0.patienceMs = 700 }
        defer { client.stop() }
        #expect(newer.waitUntilServed())
        let older = try TestServer("older", port: port)
        defer { older.stop() }
        older.publish(makeContent(2, version: 4))
        newer.stop()
        #expect(client.notes.waitFor("waiting for a newer one"))
        #expect(eventually { older.server.clients.first?.refusal.contains("older") == true })
        #expect(client.contents.wait { $0.last == makeContent(2, version: 4) })
        #expect(older.waitUntilServed())
        #expect(client.notes.count("since no newer one came") == 1)
        #expect(client.status.olderTakenCount == 1 && client.status.waitingOrder == nil)
        #expect(older.server.clients.first?.refusal == "")
    }

    @Test("an older offer of a controller that does not see its cluster is never taken")
    func olderOfferUnseen() throws {
        let newer = try TestServer("newer")
        newer.publish(makeContent(3, version: 5))
        let port = try freePort()
        let client = try TestClient([newer.port, port]) { $0.patienceMs = 300 }
        defer { client.stop() }
        #expect(newer.waitUntilServed())
        let older = try TestServer("older", port: port)
        defer { older.stop() }
        older.server.isCurrent = false
        older.publish(makeContent(2, version: 4))
        newer.stop()
        #expect(client.notes.waitFor("waiting for a newer one"))
        Thread.sleep(milliseconds: 1_500)
        #expect(client.status.order?.version == 5 && client.status.olderTakenCount == 0)
        #expect(client.status.waitingOrder?.version == 4)
        older.server.isCurrent = true
        #expect(client.contents.wait { $0.last == makeContent(2, version: 4) })
    }

    @Test("an older offer is dropped when a newer one comes in time")
    func olderOfferOvertaken() throws {
        let newer = try TestServer("newer")
        newer.publish(makeContent(3, version: 5))
        let port = try freePort()
        let client = try TestClient([newer.port, port]) { $0.patienceMs = 60_000 }
        defer { client.stop() }
        #expect(newer.waitUntilServed())
        let older = try TestServer("older", port: port)
        defer { older.stop() }
        older.publish(makeContent(2, version: 4))
        newer.stop()
        #expect(eventually { client.status.waitingOrder?.version == 4 && client.status.waitingMs > 0 })
        let next = makeContent(4, version: 6)
        older.publish(next)
        #expect(client.waitUntilServing(next))
        #expect(!client.contents.all.contains(makeContent(2, version: 4)))
        #expect(client.status.waitingOrder == nil && client.status.olderTakenCount == 0)
    }

    @Test("of controllers that answer, one that is behind is left for one that is not")
    func changeOver() throws {
        let (port, otherPort) = (try freePort(), try freePort())
        let first = try TestServer("first", port: port)
        first.publish(makeContent(3, version: 5))
        let client = try TestClient([otherPort, port]) { $0.patienceMs = 60_000 }
        defer { client.stop() }
        #expect(first.waitUntilServed())
        let behind = try TestServer("behind", port: otherPort)
        defer { behind.stop() }
        behind.publish(makeContent(2, version: 4))
        first.stop()
        #expect(eventually { client.status.controllerID == "behind" && client.status.isConnected })
        let again = try TestServer("again", port: port)
        defer { again.stop() }
        again.publish(makeContent(3, version: 5, listedAtNs: 2_000))
        #expect(again.waitUntilServed())
        #expect(client.notes.waitFor("changing over"))
    }

    @Test("a controller that does not see its cluster is left for one that does, and kept if there is none")
    func staleController() throws {
        let (followed, other, client) = try pair(makeContent(5))
        defer { client.stop() }
        defer { [followed, other].forEach { $0.stop() } }
        other.server.isCurrent = false
        followed.server.isCurrent = false
        #expect(eventually { !client.status.isControllerCurrent })
        #expect(client.status.isConnected && client.status.lossCount == 0)
        other.server.isCurrent = true
        #expect(other.waitUntilServed())
        #expect(eventually { client.status.isControllerCurrent && client.status.isConnected })
    }

    @Test("another Swarm's snapshot is refused, with the way out")
    func anotherSwarm() throws {
        let port = try freePort()
        let first = try TestServer(port: port)
        first.publish(makeContent())
        let client = try TestClient([port])
        defer { client.stop() }
        #expect(first.waitUntilServed())
        first.stop()
        let second = try TestServer(port: port)
        defer { second.stop() }
        second.publish(makeContent(1, version: 9, clusterID: "swarm-2"))
        #expect(client.notes.waitFor("clear the state directory (INTERLOCK_STATE_DIR)"))
        #expect(eventually { second.server.clients.first?.refusal.contains("swarm-2") == true })
        #expect(second.notes.waitFor("refuses a snapshot"))
        #expect(client.status.order?.clusterID == "swarm-1" && client.status.lastRefusal.contains("swarm-2"))
        #expect(client.contents.all.count == 1)
    }

    @Test("what cannot be read is refused, and not asked for again at once")
    func unreadableContent() throws {
        func publication(_ version: UInt64) -> FeedPublication {
            FeedPublication(
                order: SnapshotOrder(version: version, listedAtNs: version),
                pieces: [.init(SnapshotPiece(bytes: [99, 99]), previous: nil)])
        }
        let controller = try RawController(publication(1))
        defer { controller.stop() }
        let client = try TestClient([controller.port])
        defer { client.stop() }
        #expect(controller.acknowledgements.wait { $0.last?.verdict == .refused })
        controller.publish(publication(2))
        #expect(controller.acknowledgements.wait { $0.count == 2 })
        #expect(controller.acknowledgements.all.allSatisfy { $0.reason.contains("cannot be read") })
        #expect(controller.wants.all == [1], "asked for once")
        #expect(client.contents.all.isEmpty && client.status.lastRefusal.contains("cannot be read"))
        #expect(client.notes.count("cannot be read") == 1)
    }

    @Test("a controller that breaks the protocol is left")
    func hostileController() throws {
        let welcome = FeedFrame.welcome(FeedWelcome(controllerID: "hostile")).encoded
        for opening in [
            [FeedFrame.piece([1]).encoded], [welcome, FeedFrame.piece([1]).encoded], [[255, 255, 255, 255, 5]],
        ] {
            let controller = try RawController(opening: opening)
            defer { controller.stop() }
            let client = try TestClient([controller.port])
            defer { client.stop() }
            #expect(client.notes.waitFor("sent a "), "\(opening)")
        }
    }
}

/// A port that nobody listens on now.
private func freePort() throws -> UInt16 {
    let listener = try ListeningSocket(.loopback)
    defer { listener.close() }
    return listener.localPort
}
