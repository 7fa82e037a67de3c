// Entry ports of services: they come and go with the tables, also under load; a port that cannot be had harms nobody
// and is had later; server names choose where TLS goes.

@testable import Proxy
import Kernel
import Model
import Support
import Telemetry
import Testing

@Suite(.serialized) struct EntryPortTests {
    private static func echo(_ port: UInt16, via task: StreamTask) throws {
        let client = try StreamWorld.connect(port)
        try client.writeAll([6], timeoutMs: 1000)
        // What only looked whether the port is open may come first.
        var server = try task.accept()
        while try server.readSome(maximum: 1, timeoutMs: 10_000).isEmpty { server = try task.accept() }
        try server.writeAll([7], timeoutMs: 1000)
        guard try StreamWorld.read(client, 1) == [7] else { throw LiveClient.Failure(description: "not echoed") }
    }

    private static func isClosed(_ port: UInt16) -> Bool { (try? StreamWorld.connect(port)) == nil }

    @Test("a port comes and goes with its service, and live connections stay")
    func comeAndGo() throws {
        let task = try StreamTask()
        let other = try StreamTask()
        let proxy = try StreamWorld.start(workerCount: 2)
        defer { StreamWorld.stop(proxy) }
        let ports = try (0..<2).map { _ in try StreamWorld.freePort() }
        let first = [StreamPort(port: ports[0], services: [0])]
        #expect(Self.isClosed(ports[0]))
        proxy.publish(StreamWorld.snapshot([[task.port], [other.port]], streams: first))
        try Self.echo(ports[0], via: task)
        let client = try StreamWorld.connect(ports[0])
        let server = try task.accept()

        proxy.publish(
            StreamWorld.snapshot(
                [[task.port], [other.port]], streams: [StreamPort(port: ports[1], services: [1])], version: 2))
        try Self.echo(ports[1], via: other)
        #expect(eventually { Self.isClosed(ports[0]) })
        #expect(proxy.entryPorts.map(\.port) == [ports[1]])

        // Its task goes too, and with it every table that knew it.
        proxy.publish(StreamWorld.snapshot([[other.port]], version: 3))
        #expect(eventually { Self.isClosed(ports[1]) })
        #expect(eventually { proxy.livePublicationCount == 1 }, "a connection keeps no table")
        try client.writeAll([1, 2], timeoutMs: 1000)
        #expect(try StreamWorld.read(server, 2) == [1, 2])

        for version in UInt64(4)..<12 {
            proxy.publish(
                StreamWorld.snapshot(
                    [[task.port], [other.port]], streams: version % 2 == 0 ? first : [], version: version))
        }
        proxy.publish(StreamWorld.snapshot([[task.port], [other.port]], streams: first, version: 12))
        #expect(proxy.entryPorts == [EntryPortReading(port: ports[0], problem: nil)])
        for _ in 0..<8 { try Self.echo(ports[0], via: task) }
    }

    @Test("ports that come and go under load lose no connection of another port")
    func underLoad() throws {
        let backend = try Backend(listenerCount: 1)
        defer { backend.stop() }
        let proxy = try StreamWorld.start(workerCount: 2)
        defer { StreamWorld.stop(proxy) }
        let steady = try StreamWorld.freePort()
        let coming = try (0..<3).map { _ in try StreamWorld.freePort() }
        func publish(_ round: Int) {
            var streams = [StreamPort(port: steady, services: [0])]
            for (index, port) in coming.enumerated() where (round + index) % 3 != 0 {
                streams.append(StreamPort(port: port, services: [0]))
            }
            proxy.publish(
                StreamWorld.snapshot(
                    [backend.ports], streams: streams.sorted { $0.port < $1.port }, version: UInt64(round + 1)))
        }
        publish(0)
        let helpers = Helpers()
        for number in 0..<3 {
            try helpers.run("client \(number)") {
                var kept = try LiveClient(port: steady)
                for round in 0..<150 {
                    var client = try LiveClient(port: steady)
                    guard try client.get("any.test").status == 200, try kept.get("any.test").status == 200 else {
                        return "round \(round)"
                    }
                    client.stream.close()
                }
                return nil
            }
        }
        for round in 1..<40 {
            publish(round)
            Thread.sleep(milliseconds: 20)
        }
        #expect(helpers.join() == [])
        #expect(proxy.entryPorts.allSatisfy { $0.problem == nil })
    }

    @Test("a port that another holds is a finding, and is taken once it is free")
    func portTaken() throws {
        let task = try StreamTask()
        let taken = try StreamWorld.freePort()
        let free = try StreamWorld.freePort()
        let holder = try ListeningSocket(SocketAddress(v4: 0, port: taken))
        let proxy = try StreamWorld.start()
        defer { StreamWorld.stop(proxy) }
        let streams = [taken, free].sorted().map { StreamPort(port: $0, services: [0]) }
        proxy.publish(StreamWorld.snapshot([[task.port]], streams: streams))
        let bad = proxy.entryPorts.filter { $0.problem != nil }
        #expect(bad == [EntryPortReading(port: taken, problem: "another process holds the port")])
        try Self.echo(free, via: task)
        holder.close()
        #expect(eventually { proxy.entryPorts.allSatisfy { $0.problem == nil } })
        try Self.echo(taken, via: task)
    }

    @Test("only ports of the setting are opened, and never our own")
    func notAllowed() throws {
        let proxy = try StreamWorld.start()
        defer { StreamWorld.stop(proxy) }
        let outside = UInt16(32_100)
        let streams = [StreamPort(port: outside, services: [0])]
        proxy.publish(StreamWorld.snapshot([[1]], streams: streams))
        #expect(proxy.entryPorts.map(\.problem) == ["it is not among INTERLOCK_TCP_PORTS"])
        #expect(Self.isClosed(outside))

        let own = try StreamWorld.freePort()
        let second = try StreamWorld.start { $0.httpListen = [ListenAddress(address: .loopback(port: own))] }
        defer { StreamWorld.stop(second) }
        second.publish(StreamWorld.snapshot([[1]], streams: [StreamPort(port: own, services: [0])]))
        #expect(second.entryPorts.map(\.problem) == ["it is a port of the proxy's own"])
    }

    // MARK: Server names

    @Test("server names of a port choose the service, and every byte arrives once")
    func serverNames() throws {
        let tasks = try (0..<3).map { _ in try StreamTask() }
        let proxy = try StreamWorld.start()
        defer { StreamWorld.stop(proxy) }
        let port = try StreamWorld.freePort()
        let hosts = [
            StreamHost(host: .exact("one.test"), services: [0]), StreamHost(host: .wildcard("two.test"), services: [1]),
        ]
        proxy.publish(
            StreamWorld.snapshot(tasks.map { [$0.port] }, streams: [StreamPort(port: port, hosts: hosts)]))
        for (name, index) in [("one.test", 0), ("ONE.test.", 0), ("a.two.test", 1)] {
            for recordSize in [16_384, 10] {
                let hello = Hellos.make(name, recordSize: recordSize)
                let client = try StreamWorld.connect(port)
                try client.writeAll(hello.prefix(20), timeoutMs: 1000)
                Thread.sleep(milliseconds: 10)
                try client.writeAll(hello.dropFirst(20) + [1, 2, 3], timeoutMs: 1000)
                let server = try tasks[index].accept()
                #expect(try StreamWorld.read(server, hello.count + 3) == hello + [1, 2, 3], "\(name)")
            }
        }
        func refused() -> UInt64 {
            HandshakeFailures.all.reduce(0) { $0 + proxy.counters.total(handshakeFailure: $1.number) }
        }
        let before = refused()
        for (bytes, alert) in [
            (Hellos.make("three.test"), UInt8(112)), (Hellos.make(nil), 109), (Array("GET / HTTP/1.1\r\n".utf8), 50),
        ] {
            let client = try StreamWorld.connect(port)
            try client.writeAll(bytes, timeoutMs: 1000)
            #expect(try StreamWorld.read(client, 7) == [21, 3, 3, 0, 2, 2, alert])
            #expect(StreamWorld.ending(client) == "end")
        }
        #expect(refused() == before + 3)
        #expect(tasks.allSatisfy { $0.isQuiet() })
    }

    @Test("a passthrough host of the HTTPS port gets its bytes as they came")
    func passthrough() throws {
        let task = try StreamTask()
        let dead = try StreamWorld.freePort()
        let proxy = try StreamWorld.start {
            $0.httpsListen = [ListenAddress(address: .loopback)]
            $0.accessLog = .json
        }
        defer { StreamWorld.stop(proxy) }
        proxy.publish(
            StreamWorld.snapshot(
                [[dead, task.port]], hosts: [HostOptions(host: .exact("pass.test"), passthrough: [0])]))
        let hello = Hellos.make("Pass.test", recordSize: 50)
        for round in 0..<4 {
            let client = try StreamWorld.connect(proxy.httpsPorts[0])
            for byte in hello.prefix(round * 30) { try client.writeAll([byte], timeoutMs: 1000) }
            try client.writeAll(hello.dropFirst(round * 30), timeoutMs: 1000)
            let server = try task.accept()
            let helpers = Helpers()
            let down = Transfer(seed: UInt64(round), count: 300_000)
            let up = Transfer(seed: UInt64(round) + 50, count: 300_000)
            try helpers.run("task sends") { try down.send(server) }
            try helpers.run("client sends") { try up.send(client) }
            #expect(try StreamWorld.read(server, hello.count) == hello)
            try helpers.run("client receives") { try down.receive(client) }
            #expect(try up.receive(server) == nil)
            #expect(helpers.join() == [])
        }
        #expect(task.isQuiet())
        var lines: [String] = []
        #expect(
            eventually {
                _ = proxy.logRings[0].drain {
                    lines += String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init)
                }
                return lines.count == 4
            })
        for line in lines {
            #expect(line.contains(#""scheme":"tls","host":"Pass.test","outcome":"ok""#), "\(line)")
            #expect(line.contains(#""bytes_in":\#(300_000 + hello.count),"bytes_out":300000"#), "\(line)")
        }
    }
}
