import Kernel
import Testing

@Suite struct KernelTests {
    @Test func tokenKeepsItsParts() {
        let token = Token(kind: 7, generation: 0x12_3456, slot: 0xDEAD_BEEF)
        #expect(token.kind == 7)
        #expect(token.generation == 0x12_3456)
        #expect(token.slot == 0xDEAD_BEEF)
    }

    @Test func streamsCarryBytesAndTheEnd() throws {
        let listener = try ListeningSocket(.loopback)
        let client = try Stream.connect(to: .loopback(port: listener.localPort), timeoutMs: 5000)
        let accepted = try #require(try listener.accept(timeoutMs: 5000))
        try client.writeAll(Array("hello".utf8), timeoutMs: 5000)
        client.shutdownWrite()
        #expect(try accepted.stream.readSome(timeoutMs: 5000) == Array("hello".utf8))
        #expect(try accepted.stream.readSome(timeoutMs: 5000) == [])
        #expect(accepted.peer.family == .v4)
    }

    @Test("accepted connections write at once, without being told one by one", arguments: [false, true])
    func acceptedConnectionsHaveNoDelay(sharesPort: Bool) throws {
        let listener = try Socket.listen(.loopback, sharesPort: sharesPort)
        defer { Socket.close(listener) }
        let client = try Stream.connect(to: try Socket.localAddress(listener), timeoutMs: 5000)
        defer { client.close() }
        var peer = SocketAddress(v4: 0, port: 0)
        let accepted = Stream(adopting: Int32(Socket.accept(listener, peer: &peer).raw))
        defer { accepted.close() }
        #expect(Socket.hasNoDelay(accepted.descriptor))
    }

    @Test func readTimesOutWithAnError() throws {
        let listener = try ListeningSocket(.loopback)
        let client = try Stream.connect(to: .loopback(port: listener.localPort), timeoutMs: 5000)
        #expect(throws: SystemError(code: SystemError.timedOutCode, operation: "read")) {
            try client.readSome(timeoutMs: 20)
        }
    }

    /// What a takeover stands on: sockets of a port are numbered as they began to listen, and a number that nobody has
    /// any more leaves the choice to the kernel.
    @Test func newConnectionsAreSteeredWithinAPort() throws {
        var listeners = [try Socket.bind(.loopback, sharesPort: true)]
        defer { for listener in listeners { Socket.close(listener) } }
        let address = SocketAddress.loopback(port: try Socket.localAddress(listeners[0]).port)
        for _ in 0..<3 { listeners.append(try Socket.bind(address, sharesPort: true)) }
        for listener in listeners { try Socket.startListening(listener) }

        /// How many of 64 connections came to each listener.
        func spread() throws -> [Int] {
            let clients = try (0..<64).map { _ in try Stream.connect(to: address, timeoutMs: 5000) }
            var peer = address
            let counts = listeners.map { listener in
                var count = 0
                while case let result = Socket.accept(listener, peer: &peer), !result.isFailure {
                    Socket.close(Int32(result.raw))
                    count += 1
                }
                return count
            }
            for client in clients { client.close() }
            return counts
        }
        #expect(Socket.steer(listeners[0], first: 2, count: 2))
        let both = try spread()
        #expect(both[0] == 0 && both[1] == 0 && both[2] > 0 && both[2] + both[3] == 64)
        #expect(Socket.steer(listeners[0], first: 2, count: 1))
        Socket.close(listeners.removeFirst())
        #expect(try spread()[0] == 0)
        Socket.close(listeners.removeFirst())
        #expect(try spread().reduce(0, +) == 64)
        Socket.unsteer(listeners[0])
        #expect(try spread().allSatisfy { $0 > 0 })
    }

    @Test func aTakenPortIsAnError() throws {
        let listener = try ListeningSocket(.loopback)
        #expect(throws: SystemError.self) { try Socket.probeBind(.loopback(port: listener.localPort)) }
    }

    @Test func gatherListJoinsNeighboursAndWritesAll() throws {
        let listener = try ListeningSocket(.loopback)
        let client = try Stream.connect(to: .loopback(port: listener.localPort), timeoutMs: 5000)
        let accepted = try #require(try listener.accept(timeoutMs: 5000))
        let bytes = Array("abcdefgh".utf8)
        bytes.withUnsafeBytes { buffer in
            var list = GatherList(capacity: 4)
            guard let base = buffer.baseAddress else { return }
            list.append(base, count: 2)
            list.append(base + 2, count: 2)
            list.append(base + 6, count: 2)
            #expect(list.count == 2)
            #expect(list.byteCount == 6)
            #expect(list.write(to: client.descriptor).count == 6)
        }
        #expect(try accepted.stream.readSome(timeoutMs: 5000) == Array("abcdgh".utf8))
    }

    @Test func wakeupIsHeardAcrossThreads() throws {
        let wakeup = try Wakeup()
        let thread = try Thread.start(name: "ringer") { wakeup.ring() }
        #expect(wakeup.wait(timeoutMs: 5000))
        thread.join()
        #expect(!wakeup.wait(timeoutMs: 0))
    }

    @Test(arguments: [
        (SocketAddress(v4: 0x0A00_0001, port: 80), "10.0.0.1:80"),
        (SocketAddress(v6High: 0x2001_0DB8_0000_0000, low: 1, port: 443), "[2001:db8::1]:443"),
        (SocketAddress(v6High: 0, low: 0xFFFF_0A00_0001, port: 1).unmapped, "10.0.0.1:1"),
    ])
    func addressesAreWrittenAsPeopleExpect(address: SocketAddress, text: String) {
        #expect(address.description == text)
    }
}
