// A client that starts again: from disk, with and without a controller, and names that do not resolve.

import Kernel
import Model
import Support
import Synchronization
import TLS
import Testing

@testable import Feed

@Suite("starting again")
struct RestartTests {
    private let folder: String
    private let key = [UInt8](repeating: 7, count: 32)

    init() throws { folder = try makeFolder() }

    private func lastGood(key: [UInt8]? = nil) throws -> LastGood {
        try LastGood(directory: folder, sealingKey: key ?? self.key, cluster: "", maximumAgeMs: 86_400_000)
    }

    /// Gets a content and saves it.
    private func serve(_ content: FeedContent) throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(content)
        let client = try TestClient([server.port], lastGood: lastGood())
        defer { client.stop() }
        #expect(server.waitUntilServed())
    }

    @Test("without a controller, the last good snapshot is served with its secrets")
    func withoutController() throws {
        let content = makeContent(20, secrets: makeSecrets())
        try serve(content)
        let client = try TestClient([], lastGood: lastGood())
        defer { client.stop() }
        #expect(client.waitUntilServing(content))
        #expect(eventually { client.status.isFromDisk })
        #expect(client.status.tableVersion == 1 && client.status.order == content.snapshot.order)
        #expect(client.status.contentAgeMs != nil && !client.status.isConnected)
    }

    @Test("a controller that offers the same confirms it: no piece travels, nothing is applied again")
    func confirmed() throws {
        let content = makeContent(20, secrets: makeSecrets())
        try serve(content)
        let server = try TestServer()
        defer { server.stop() }
        server.publish(content)
        let client = try TestClient([server.port], lastGood: lastGood())
        defer { client.stop() }
        #expect(server.waitUntilServed())
        #expect(eventually { !client.status.isFromDisk })
        #expect(client.contents.all.count == 1 && client.status.receivedPieceCount == 0)
    }

    @Test("an older offer does not replace what is on disk at once")
    func olderOffer() throws {
        try serve(makeContent(20, version: 9))
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent(1, version: 8))
        let client = try TestClient([server.port], lastGood: lastGood()) { $0.patienceMs = 60_000 }
        defer { client.stop() }
        #expect(client.notes.waitFor("waiting for a newer one"))
        #expect(client.contents.all == [makeContent(20, version: 9)])
    }

    @Test("without the key the snapshot is served bare, and its secrets come from any controller at once")
    func withoutKey() throws {
        let content = makeContent(20, version: 9, secrets: makeSecrets())
        try serve(content)
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent(20, version: 8, secrets: makeSecrets()))
        let client = try TestClient(
            [server.port], lastGood: lastGood(key: [UInt8](repeating: 8, count: 32))
        ) { $0.patienceMs = 60_000 }
        defer { client.stop() }
        #expect(client.waitUntilServing(makeContent(20, version: 8, secrets: makeSecrets())))
        #expect(client.contents.all.first == makeContent(20, version: 9))
        #expect(client.notes.count("has no secrets") == 1)
    }

    @Test("a damaged file is told, and a controller mends it")
    func damaged() throws {
        try serve(makeContent(20))
        try writeFile("\(folder)/\(LastGood.fileName)", "nonsense")
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent(20))
        let client = try TestClient([server.port], lastGood: lastGood())
        #expect(server.waitUntilServed())
        client.stop()
        #expect(client.notes.count("cannot be used") == 1)
        let again = try TestClient([], lastGood: lastGood())
        defer { again.stop() }
        #expect(again.waitUntilServing(makeContent(20)))
    }

    @Test("a resolver that hangs or fails holds up no other name, and what is known stays known")
    func resolver() throws {
        let answers = Mutex<[String: [SocketAddress]]>(["good": [.loopback(port: 1), .loopback(port: 2)]])
        let changes = try Collected<Bool>()
        let release = try Wakeup()
        let book = try FeedAddressBook(
            [("hangs", 1), ("good", 1), ("bad", 1)], quietMs: 20, urgentMs: 10,
            lookUp: { (host, port) throws(Resolver.Failure) in
                if host == "hangs" { _ = release.wait(timeoutMs: 60_000) }
                guard let found = answers.withLock({ $0[host] }) else {
                    return try Resolver.resolve(host: "no such name.invalid", port: port)
                }
                return found
            }, changed: { changes.append(true) })
        try book.start()
        defer {
            book.stop()
            release.ring()
        }
        #expect(eventually { book.addresses == [.loopback(port: 1), .loopback(port: 2)] })
        #expect(eventually { book.failure.contains("no such name.invalid") })
        answers.withLock { $0 = [:] }
        #expect(eventually { book.failure.split(separator: ";").count == 2 })
        #expect(book.addresses.count == 2)
        answers.withLock { $0 = ["bad": [.loopback(port: 2), .loopback(port: 3)]] }
        #expect(eventually { book.addresses.map(\.port) == [1, 2, 3] })
        #expect(changes.all.count == 2)
    }
}
