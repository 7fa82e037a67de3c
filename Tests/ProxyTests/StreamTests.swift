// TCP connections through a running proxy: every byte once and in order both ways, ends and resets passed on, tasks
// that fail before the first byte replaced, headers for the tasks exact.

@testable import Proxy
import Kernel
import Model
import Support
import Telemetry
import Testing

@Suite(.serialized) struct StreamTests {
    /// A proxy with one raw entry port for tasks.
    private static func start(
        _ tasks: [UInt16], options: ServiceOptions = ServiceOptions(), workerCount: Int = 1,
        _ change: (inout ProxySettings) -> Void = { _ in }
    ) throws -> (proxy: ProxyServer, port: UInt16) {
        let proxy = try StreamWorld.start(workerCount: workerCount, change)
        let port = try StreamWorld.freePort()
        proxy.publish(
            StreamWorld.snapshot([tasks], streams: [StreamPort(port: port, services: [0])], options: options))
        #expect(proxy.entryPorts == [EntryPortReading(port: port, problem: nil)])
        return (proxy, port)
    }

    @Test("bytes pass both ways, however they are cut")
    func bytes() throws {
        let task = try StreamTask()
        let (proxy, port) = try Self.start([task.port], workerCount: 2)
        defer { StreamWorld.stop(proxy) }
        let helpers = Helpers()
        for seed in UInt64(0)..<6 {
            let client = try StreamWorld.connect(port)
            let server = try task.accept()
            let up = Transfer(seed: seed, count: 3_000_000 + Int(seed))
            let down = Transfer(seed: seed + 100, count: 2_000_000)
            try helpers.run("client sends") { try up.send(client) }
            try helpers.run("client receives") { try down.receive(client) }
            try helpers.run("task sends") { try down.send(server) }
            try helpers.run("task receives") { try up.receive(server) }
        }
        #expect(helpers.join() == [])
        #expect(eventually { proxy.counters.total(.streamsActive) == 0 })
        let reading = try #require(proxy.registry.readings().first { $0.name == "service0" })
        #expect(reading.streams == 6 && reading.streamsFailed == 0)
        #expect(reading.bytesIn == 18_000_015 && reading.bytesOut == 12_000_000)
        #expect(reading.requests.allSatisfy { $0 == 0 }, "streams are no requests")
        #expect(proxy.counters.total(.requestsActive) == 0)
        #expect(proxy.counters.total(.upstreamConnectionsActive) == 0)
    }

    @Test("the server may speak first")
    func serverSpeaksFirst() throws {
        let task = try StreamTask()
        let (proxy, port) = try Self.start([task.port])
        defer { StreamWorld.stop(proxy) }
        let client = try StreamWorld.connect(port)
        let server = try task.accept()
        try server.writeAll(Array("220 ready\r\n".utf8), timeoutMs: 1000)
        #expect(try StreamWorld.read(client, 11) == Array("220 ready\r\n".utf8))
    }

    @Test("each end is passed on, and the other direction goes on", arguments: [true, false])
    func halfClose(clientEndsFirst: Bool) throws {
        let task = try StreamTask()
        let (proxy, port) = try Self.start([task.port])
        defer { StreamWorld.stop(proxy) }
        let client = try StreamWorld.connect(port)
        let server = try task.accept()
        let (first, second) = clientEndsFirst ? (client, server) : (server, client)
        try first.writeAll(Array("last".utf8), timeoutMs: 1000)
        first.shutdownWrite()
        #expect(try StreamWorld.read(second, 4) == Array("last".utf8))
        #expect(StreamWorld.ending(second) == "end")
        let more = Transfer(seed: 9, count: 500_000)
        let helpers = Helpers()
        try helpers.run("sends") { try more.send(second) }
        #expect(try more.receive(first) == nil)
        #expect(helpers.join() == [])
        #expect(eventually { proxy.counters.total(.streamsActive) == 0 })
    }

    @Test("a reset is passed on", arguments: [true, false])
    func reset(clientResets: Bool) throws {
        let task = try StreamTask()
        let (proxy, port) = try Self.start([task.port])
        defer { StreamWorld.stop(proxy) }
        let client = try StreamWorld.connect(port)
        let server = try task.accept()
        try client.writeAll([1], timeoutMs: 1000)
        #expect(try StreamWorld.read(server, 1) == [1])
        StreamWorld.reset(clientResets ? client : server)
        #expect(StreamWorld.ending(clientResets ? server : client) == "reset")
        #expect(eventually { proxy.counters.total(.streamsActive) == 0 })
    }

    @Test("what a task said before its reset still arrives")
    func lastWords() throws {
        let task = try StreamTask()
        let (proxy, port) = try Self.start([task.port])
        defer { StreamWorld.stop(proxy) }
        for _ in 0..<20 {
            let client = try StreamWorld.connect(port)
            let server = try task.accept()
            try client.writeAll([1], timeoutMs: 1000)
            // Closed with a byte unread: the kernel sends a reset behind the words.
            #expect(server.isReadable(timeoutMs: 5000))
            try server.writeAll(Array("last words".utf8), timeoutMs: 1000)
            server.close()
            #expect(try StreamWorld.read(client, 10) == Array("last words".utf8))
        }
    }

    // MARK: Tasks that fail

    @Test("another task takes over while nothing was sent")
    func retries() throws {
        let task = try StreamTask()
        let dead = try (0..<2).map { _ in try StreamWorld.freePort() }
        let (proxy, port) = try Self.start(dead + [task.port])
        defer { StreamWorld.stop(proxy) }
        for round in UInt8(0)..<6 {
            let client = try StreamWorld.connect(port)
            try client.writeAll([round, 2, 3], timeoutMs: 1000)
            let server = try task.accept()
            #expect(try StreamWorld.read(server, 3) == [round, 2, 3])
        }
        #expect(task.isQuiet(), "once each")
        #expect(proxy.counters.total(RetryReason.connectFailed) > 0)
        let reading = try #require(proxy.registry.readings().first { $0.name == "service0" })
        #expect(reading.retries > 0 && reading.failures > 0)
    }

    @Test("a connection reset before the first byte counts as none")
    func resetBeforeAnything() throws {
        let flaky = try StreamTask()
        let good = try StreamTask()
        let (proxy, port) = try Self.start([flaky.port, good.port])
        defer { StreamWorld.stop(proxy) }
        var wasMoved = false
        for _ in 0..<4 {
            let client = try StreamWorld.connect(port)
            if let first = try flaky.listener.accept(timeoutMs: 500) {
                StreamWorld.reset(first.stream)
                wasMoved = true
            }
            let server = try good.accept()
            try client.writeAll(Array("hello".utf8), timeoutMs: 1000)
            #expect(try StreamWorld.read(server, 5) == Array("hello".utf8))
        }
        #expect(wasMoved)
    }

    @Test("with no task left the client is reset", arguments: [0, 1, 3])
    func noTask(count: Int) throws {
        let dead = try (0..<count).map { _ in try StreamWorld.freePort() }
        let (proxy, port) = try Self.start(dead)
        defer { StreamWorld.stop(proxy) }
        #expect(StreamWorld.endingOfNew(port) == "reset")
        #expect(eventually { proxy.counters.total(.streamsActive) == 0 })
        let reading = try #require(proxy.registry.readings().first { $0.name == "service0" })
        #expect(reading.streams == 1 && reading.streamsFailed == 1)
        #expect(eventually { proxy.counters.total(.connectionsActive) == 0 })
    }

    // MARK: PROXY protocol

    @Test("the task gets the header it expects, exactly, and what follows once", arguments: [1, 2])
    func proxyHeaderOut(version: Int) throws {
        let task = try StreamTask()
        let dead = try StreamWorld.freePort()
        var options = ServiceOptions()
        options.proxyProtocol = version == 1 ? .v1 : .v2
        let (proxy, port) = try Self.start([dead, task.port], options: options)
        defer { StreamWorld.stop(proxy) }
        for _ in 0..<3 {
            let client = try StreamWorld.connect(port)
            let own = try Socket.localAddress(client.descriptor).port
            try client.writeAll(Array("data".utf8), timeoutMs: 1000)
            client.shutdownWrite()
            let server = try task.accept()
            var header: [UInt8]
            if version == 1 {
                header = Array("PROXY TCP4 127.0.0.1 127.0.0.1 \(own) \(port)\r\n".utf8)
            } else {
                header = [13, 10, 13, 10, 0, 13, 10] + Array("QUIT\n".utf8) + [0x21, 0x11, 0, 12]
                header += [127, 0, 0, 1, 127, 0, 0, 1]
                for number in [own, port] { header += [UInt8(number >> 8), UInt8(number & 255)] }
            }
            #expect(try StreamWorld.read(server, header.count + 4) == header + Array("data".utf8))
            #expect(StreamWorld.ending(server) == "end")
        }
    }

    @Test("a header from a listed peer tells who the client is")
    func proxyHeaderIn() throws {
        let task = try StreamTask()
        var options = ServiceOptions()
        options.proxyProtocol = .v1
        let peers = try #require(AddressBlock("127.0.0.0/8") as Model.AddressBlock?)
        let (proxy, port) = try Self.start([task.port], options: options) { $0.proxyProtocolPeers = [peers] }
        defer { StreamWorld.stop(proxy) }
        let client = try StreamWorld.connect(port)
        try client.writeAll(Array("PROXY TCP4 192.0.2.7 198.51.100.1 4711 5432\r\nhi".utf8), timeoutMs: 1000)
        let server = try task.accept()
        let expected = Array("PROXY TCP4 192.0.2.7 127.0.0.1 4711 5432\r\nhi".utf8)
        #expect(try StreamWorld.read(server, expected.count) == expected)
        // Without a header, or with a bad one, such a peer gets nowhere.
        let bare = try StreamWorld.connect(port)
        try bare.writeAll(Array("hello there\r\n".utf8), timeoutMs: 1000)
        #expect(StreamWorld.ending(bare) == "reset")
        #expect(task.isQuiet())
    }

    // MARK: Waiting

    @Test("a side that does not read is waited for, and loses nothing")
    func backpressure() throws {
        let task = try StreamTask()
        let (proxy, port) = try Self.start([task.port])
        defer { StreamWorld.stop(proxy) }
        let client = try StreamWorld.connect(port)
        let server = try task.accept()
        let helpers = Helpers()
        let down = Transfer(seed: 5, count: 16_000_000)
        try helpers.run("task sends") { try down.send(server) }
        // Until nothing moves any more: what is under way is bounded.
        var moved: UInt64 = 0
        #expect(
            eventually {
                Thread.sleep(milliseconds: 200)
                let now = proxy.counters.total(.bytesFromUpstreams)
                defer { moved = now }
                return now == moved && now > 0
            })
        #expect(moved < 15_000_000)
        #expect(try down.receive(client) == nil)
        #expect(helpers.join() == [])
    }

    @Test("half open and silent is given up sooner than both open")
    func halfOpenIsBounded() throws {
        let task = try StreamTask()
        var options = ServiceOptions()
        options.idleTimeoutMs = 400
        let (proxy, port) = try Self.start([task.port], options: options)
        defer { StreamWorld.stop(proxy) }
        let patient = try StreamWorld.connect(port)
        let patientServer = try task.accept()
        let client = try StreamWorld.connect(port)
        let server = try task.accept()
        server.shutdownWrite()
        #expect(StreamWorld.ending(client) == "end")
        let begin = Clock.monotonicNs()
        // The client says nothing and does not close.
        #expect(StreamWorld.ending(server) == "end")
        #expect((Clock.monotonicNs() - begin) / 1_000_000 >= 300)
        #expect(eventually { proxy.counters.total(.streamsActive) == 1 })
        try patient.writeAll([1], timeoutMs: 1000)
        #expect(try StreamWorld.read(patientServer, 1) == [1])
    }

    @Test("nothing moved for too long")
    func tunnelTimeout() throws {
        let task = try StreamTask()
        var options = ServiceOptions()
        options.tunnelTimeoutMs = 300
        let (proxy, port) = try Self.start([task.port], options: options) { $0.accessLog = .json }
        defer { StreamWorld.stop(proxy) }
        let client = try StreamWorld.connect(port)
        let server = try task.accept()
        #expect(StreamWorld.ending(client) == "end")
        #expect(StreamWorld.ending(server) == "end")
        var lines = ""
        #expect(
            eventually {
                _ = proxy.logRings[0].drain { lines += String(decoding: $0, as: UTF8.self) }
                return lines.hasSuffix("\n")
            })
        #expect(lines.contains(#""scheme":"tcp","outcome":"tunnel_timeout""#), "\(lines)")
        #expect(lines.contains(#""service":"service0","upstream":"127.0.0.1:\#(task.port)""#))
    }

    @Test("a drain leaves tunnels alone until its deadline")
    func drain() throws {
        let task = try StreamTask()
        let (proxy, port) = try Self.start([task.port])
        let client = try StreamWorld.connect(port)
        let server = try task.accept()
        let waiting = try StreamWorld.connect(port)
        proxy.drain(timeoutMs: 1500)
        let second = try task.accept()
        try second.writeAll([2], timeoutMs: 1000)
        #expect(try StreamWorld.read(waiting, 1) == [2], "accepted before the listener closed")
        #expect(eventually { (try? StreamWorld.connect(port)) == nil })
        try client.writeAll([1], timeoutMs: 1000)
        #expect(try StreamWorld.read(server, 1) == [1])
        #expect(StreamWorld.ending(client) == "reset")
        #expect(StreamWorld.ending(server) == "reset")
        proxy.waitUntilStopped()
    }
}
