// The first bytes of TLS connections: how they may be cut, what is refused with which alert, and that handshakes which
// do not go on harm nobody.

@testable import Proxy
import Kernel
import Model
import Support
import Telemetry
import Testing

@Suite(.serialized) struct HelloTests {
    private static func start(_ change: (inout ProxySettings) -> Void = { _ in }) throws -> ProxyServer {
        try startProxy(workerCount: 1) {
            $0.httpsListen = [ListenAddress(address: .loopback)]
            change(&$0)
        }
    }

    private static func stop(_ proxy: ProxyServer) {
        proxy.drain(timeoutMs: 0)
        proxy.waitUntilStopped()
    }

    private static func connect(_ proxy: ProxyServer) throws -> Stream {
        try Stream.connect(to: .loopback(port: proxy.httpsPorts[0]), timeoutMs: 5000)
    }

    /// Everything that still comes.
    private static func rest(_ stream: Stream) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let more = try stream.readSome(maximum: 4096, timeoutMs: 10_000)
            if more.isEmpty { return bytes }
            bytes += more
        }
    }

    private static func alert(_ description: UInt8) -> [UInt8] { [21, 3, 3, 0, 2, 2, description] }

    struct Refused: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let bytes: [UInt8]
        let alert: UInt8

        init(_ name: String, _ bytes: [UInt8], _ alert: UInt8) {
            testDescription = name
            self.bytes = bytes
            self.alert = alert
        }
    }

    @Test(
        "is refused with the right alert",
        arguments: [
            Refused("unknown", Hellos.make("nobody.test"), 112),
            Refused("unknown, in other letters", Hellos.make("NOBODY.test."), 112),
            Refused("no name", Hellos.make(nil), 109),
            Refused("one byte a record", Hellos.make("nobody.test", recordSize: 1), 112),
            Refused("an address", Hellos.make("10.0.0.1"), 50),
            Refused("NUL in the name", Hellos.make("no\u{0}body.test"), 50),
            Refused("HTTP", Array("GET / HTTP/1.1\r\n\r\n".utf8), 50),
            Refused("SSLv2", [0x80, 0x2E, 1, 0, 2], 50),
            Refused("too large", [22, 3, 1, 0x40, 0, 1, 1, 0, 0] + [UInt8](repeating: 0, count: 16380), 50),
        ])
    func refusal(_ hello: Refused) throws {
        let proxy = try Self.start()
        defer { Self.stop(proxy) }
        let client = try Self.connect(proxy)
        try client.writeAll(hello.bytes, timeoutMs: 5000)
        #expect(try Self.rest(client) == Self.alert(hello.alert))
    }

    @Test func mayComeByteByByte() throws {
        let proxy = try Self.start()
        defer { Self.stop(proxy) }
        let client = try Self.connect(proxy)
        for byte in Hellos.make("nobody.test") { try client.writeAll([byte], timeoutMs: 5000) }
        #expect(try Self.rest(client) == Self.alert(112))
    }

    @Test func hasADeadline() throws {
        let proxy = try Self.start { $0.helloTimeoutMs = 200 }
        defer { Self.stop(proxy) }
        let silent = try Self.connect(proxy)
        let stalled = try Self.connect(proxy)
        try stalled.writeAll(Array(Hellos.make("nobody.test").dropLast()), timeoutMs: 5000)
        #expect(try Self.rest(silent).isEmpty)
        #expect(try Self.rest(stalled).isEmpty)
        #expect(eventually { proxy.counters.total(.connectionsActive) == 0 })
    }

    @Test func halfHandshakesOverTheLimitMakeRoomAndHarmNobody() throws {
        let backend = try Backend(listenerCount: 1)
        let proxy = try Self.start {
            $0.maximumHandshakes = 4
            $0.helloTimeoutMs = 60_000
        }
        defer {
            Self.stop(proxy)
            backend.stop()
        }
        let task = Upstream(
            id: "a", endpoint: Endpoint(address: IPAddress(v4: 0x7F00_0001), port: backend.ports[0]))
        proxy.publish(
            Snapshot(
                configuration: Configuration(
                    services: [Service(id: "a", name: "a")], routes: [Route(host: .exact("a.test"), services: [0])]),
                endpoints: [[task]]))
        #expect(eventually { proxy.counters.total(.tableSwaps) == 1 })
        let flood = try (0..<12).map { _ in try Self.connect(proxy) }
        #expect(eventually { proxy.counters.total(.connectionsActive) == 4 })
        // Plain HTTP is not held up, whatever waits at the other door.
        var plain = try LiveClient(port: proxy.ports[0])
        for _ in 0..<20 { #expect(try plain.get("a.test").status == 200) }
        // It comes behind all of them, and gets its turn when they have had theirs.
        let late = try Self.connect(proxy)
        try late.writeAll(Hellos.make("nobody.test"), timeoutMs: 5000)
        #expect(try Self.rest(late) == Self.alert(112))
        #expect(proxy.counters.total(handshakeFailure: HandshakeFailures.evicted) >= 9)
        #expect(try plain.get("a.test").status == 200)
        withExtendedLifetime(flood) {}
    }
}
