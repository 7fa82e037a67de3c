// A server with clients that are slow, hostile, silent or too many: none of them delays another.

import Kernel
import Model
import Support
import TLS
import Testing

@testable import Feed

@Suite("a server under bad clients")
struct ServerTests {
    /// Too large for the buffers between two sockets.
    private func large(version: UInt64 = 1) -> FeedContent {
        var content = makeContent(version: version)
        for index in 0..<24 {
            content.secrets.secrets["s\(index)"] = [UInt8](repeating: UInt8(index), count: 1 << 20)
        }
        return content
    }

    @Test("who reads nothing is dropped by its deadline, and delays nobody")
    func hungClient() throws {
        let server = try TestServer { $0.stallMs = 1_000 }
        defer { server.stop() }
        server.publish(large())
        let hung = try RawClient(port: server.port)
        defer { hung.close() }
        let manifest = try hung.greet()
        try hung.send(.want(manifest.entries.map(\.digest)))
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(client.waitUntilServing(large()))
        server.publish(makeContent(version: 2))
        #expect(client.waitUntilServing(makeContent(version: 2)))
        #expect(server.notes.waitFor("has taken nothing for 1000 ms"))
        #expect(eventually { server.server.clients.count == 1 })
    }

    @Test("who falls silent is dropped, and its place is free again")
    func silentClient() throws {
        let server = try TestServer {
            $0.silenceMs = 300
            $0.maximumClients = 1
        }
        defer { server.stop() }
        server.publish(makeContent())
        let silent = try RawClient(port: server.port)
        defer { silent.close() }
        _ = try silent.greet()
        let late = try RawClient(port: server.port)
        defer { late.close() }
        try late.send(.hello(FeedHello()))
        #expect(try late.refusal().code == .full)
        #expect(try silent.refusal().code == .deadline)
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(client.waitUntilServing(makeContent()))
        #expect(server.notes.waitFor("said nothing for 300 ms"))
    }

    @Test("one address does not take all places")
    func placesByAddress() throws {
        let server = try TestServer { $0.maximumClients = 4 }
        defer { server.stop() }
        server.publish(makeContent())
        let greedy = try (0..<4).map { _ in
            let client = try RawClient(port: server.port, host: 2)
            _ = try client.greet()
            return client
        }
        defer { greedy.forEach { $0.close() } }
        // A fifth of the same address is one too many.
        let fifth = try RawClient(port: server.port, host: 2)
        defer { fifth.close() }
        try fifth.send(.hello(FeedHello()))
        #expect(try fifth.refusal().code == .full)
        let others = try (3...4).map { host in
            let client = try RawClient(port: server.port, host: UInt32(host))
            _ = try client.greet()
            return client
        }
        defer { others.forEach { $0.close() } }
        #expect(
            eventually {
                server.server.clients.map(\.address).map { $0.split(separator: ":")[0] }.sorted() == [
                    "127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.4",
                ]
            })
        #expect(server.notes.waitFor("all places are taken"))
        // Two places are as many as a second client of the others would have: nobody is driven out in turn.
        let second = try RawClient(port: server.port, host: 3)
        defer { second.close() }
        try second.send(.hello(FeedHello()))
        #expect(try second.refusal().code == .full)
        // The newest gave way, and who was there first stays.
        for gone in greedy[2...] { #expect(throws: FeedFailure.self) { try gone.next(timeoutMs: 5_000) } }
        #expect(throws: RawClient.NoAnswer.self) { try greedy[0].next(timeoutMs: 200) }
    }

    @Test("hostile frames end the connection, with a reason on both sides")
    func hostileFrames() throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent())
        let rows: [(bytes: [UInt8], reason: String)] = [
            (Array("GET / HTTP/1.1\r\n\r\n".utf8), "unknown type 47"),
            ([255, 255, 255, 255, 1], "of 4294967295 bytes"),
            (FeedFrame.want([]).encoded, "want frame, which has no place"),
            (FeedFrame.hello(FeedHello()).encoded + FeedFrame.hello(FeedHello()).encoded, "second hello"),
            (FeedFrame.hello(FeedHello()).encoded + FeedFrame.piece([1]).encoded, "piece frame"),
            (FeedFrame.hello(FeedHello()).encoded + FeedFrame.want([.zero]).encoded, "not offered"),
        ]
        for (bytes, reason) in rows {
            let client = try RawClient(port: server.port)
            defer { client.close() }
            try client.send(bytes)
            #expect(try client.refusal().reason.contains(reason), "\(reason)")
            #expect(server.notes.waitFor(reason))
        }
        #expect(eventually { server.server.clients.isEmpty })
    }

    @Test("a hello that comes byte by byte is understood")
    func slowHello() throws {
        let server = try TestServer()
        defer { server.stop() }
        server.publish(makeContent())
        let client = try RawClient(port: server.port)
        defer { client.close() }
        for byte in FeedFrame.hello(FeedHello(name: "slow")).encoded { try client.send([byte]) }
        guard case .welcome = try client.next(), case .manifest = try client.next() else {
            Issue.record("no answer")
            return
        }
        #expect(eventually { server.server.clients.first?.name == "slow" })
    }

    @Test("who does not come to the point is dropped by its deadline", arguments: [true, false])
    func handshakeDeadline(_ hasTLS: Bool) throws {
        let server = try TestServer { $0.handshakeMs = 200 }
        defer { server.stop() }
        if hasTLS {
            let client = try RawClient(port: server.port)
            defer { client.close() }
            #expect(try client.refusal().code == .deadline)
        } else {
            let stream = try Stream.connect(to: .loopback(port: server.port), timeoutMs: 5_000)
            defer { stream.close() }
            try stream.writeAll([22, 3, 1], timeoutMs: 1_000)
            #expect(try stream.readSome(timeoutMs: 10_000).isEmpty)
        }
    }

    @Test("when too many are in their handshakes, the longest waiting one goes")
    func handshakeLimit() throws {
        let server = try TestServer {
            $0.handshakeMs = 60_000
            $0.maximumHandshakes = 2
        }
        defer { server.stop() }
        server.publish(makeContent())
        let waiting = try (0..<4).map { _ in
            try Stream.connect(to: .loopback(port: server.port), timeoutMs: 5_000)
        }
        defer { waiting.forEach { $0.close() } }
        #expect(try waiting[0].readSome(timeoutMs: 10_000).isEmpty)
        #expect(try waiting[1].readSome(timeoutMs: 10_000).isEmpty)
        let client = try TestClient([server.port])
        defer { client.stop() }
        #expect(client.waitUntilServing(makeContent()))
    }

    @Test("a taken port is told in words")
    func takenPort() throws {
        let server = try TestServer()
        defer { server.stop() }
        #expect(throws: FeedStartError.self) { try TestServer(port: server.port) }
    }
}
