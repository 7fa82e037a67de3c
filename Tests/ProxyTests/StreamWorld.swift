// Owns what the tests of TCP streams need: free ports, tables with entry ports, tasks that a test accepts from by hand,
// and transfers of random bytes that are checked to the last one.

@testable import Proxy
import Glibc
import Kernel
import Model
import Support
import Synchronization
import Telemetry
import Testing

enum StreamWorld {
    static let loopback = IPAddress(v4: 0x7F00_0001)

    /// A port that nobody listens on, outside the range of outgoing connections.
    static func freePort() throws -> UInt16 {
        for _ in 0..<1000 {
            let port = UInt16.random(in: 15_000...30_000)
            if (try? Socket.probeBind(SocketAddress(v4: 0, port: port))) != nil { return port }
        }
        throw LiveClient.Failure(description: "no free port")
    }

    /// A proxy that may listen on any port that a test asks for.
    static func start(
        workerCount: Int = 1, _ change: (inout ProxySettings) -> Void = { _ in }
    ) throws -> ProxyServer {
        try startProxy(workerCount: workerCount) {
            $0.tcpPorts = [10_000...32_000]
            change(&$0)
        }
    }

    static func stop(_ proxy: ProxyServer) {
        proxy.drain(timeoutMs: 0)
        proxy.waitUntilStopped()
    }

    /// One service by name for each list of task ports; `streams` name them by position.
    static func snapshot(
        _ services: [[UInt16]], streams: [StreamPort] = [], hosts: [HostOptions] = [], version: UInt64 = 1,
        options: ServiceOptions = ServiceOptions()
    ) -> Snapshot {
        let named = services.indices.map { Service(id: "id\($0)", name: "service\($0)", options: options) }
        let endpoints = services.enumerated().map { index, ports in
            ports.map { Upstream(id: "task-\(index)-\($0)", endpoint: Endpoint(address: loopback, port: $0)) }
        }
        return Snapshot(
            order: SnapshotOrder(version: version),
            configuration: Configuration(services: named, hosts: hosts, streams: streams), endpoints: endpoints)
    }

    static func connect(_ port: UInt16) throws -> Stream {
        try Stream.connect(to: .loopback(port: port), timeoutMs: 5000)
    }

    static func reset(_ stream: Stream) {
        Socket.resetOnClose(stream.descriptor)
        stream.close()
    }

    /// Reads exactly so many bytes.
    static func read(_ stream: Stream, _ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let more = try stream.readSome(maximum: count - bytes.count, timeoutMs: 10_000)
            if more.isEmpty { throw LiveClient.Failure(description: "ended after \(bytes.count) of \(count)") }
            bytes += more
        }
        return bytes
    }

    /// What becomes of a new connection on which the client says nothing; a reset may come before `connect` returns.
    static func endingOfNew(_ port: UInt16) -> String {
        do throws(SystemError) {
            return ending(try Stream.connect(to: .loopback(port: port), timeoutMs: 5000))
        } catch {
            return error.code == ECONNRESET ? "reset" : "\(error)"
        }
    }

    /// What ends the stream: "end", "reset", or what else came.
    static func ending(_ stream: Stream, timeoutMs: Int = 10_000) -> String {
        do throws(SystemError) {
            let more = try stream.readSome(maximum: 1024, timeoutMs: timeoutMs)
            return more.isEmpty ? "end" : "\(more.count) bytes"
        } catch {
            return error.code == ECONNRESET ? "reset" : "\(error)"
        }
    }
}

/// A task: what connects to it is accepted by the test.
struct StreamTask {
    let listener: ListeningSocket
    var port: UInt16 { listener.localPort }

    init() throws { listener = try ListeningSocket(.loopback) }

    func accept(timeoutMs: Int = 10_000) throws -> Stream {
        guard let accepted = try listener.accept(timeoutMs: timeoutMs) else {
            throw LiveClient.Failure(description: "nobody came")
        }
        return accepted.stream
    }

    /// Whether nobody comes for a while.
    func isQuiet() -> Bool { (try? accept(timeoutMs: 200)) == nil }
}

/// Random bytes from one end to the other, in pieces of random sizes both in writing and in reading, then FIN.
struct Transfer {
    let seed: UInt64
    let count: Int

    private var bytes: [UInt8] {
        var random = SeededRandom(seed: seed)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 7)
        // Eight at a time: builds for sanitizers take long over each step.
        while bytes.count < count { withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) } }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    /// - Returns: nil, as nothing can be wrong with what was sent.
    func send(_ stream: Stream) throws -> String? {
        var random = SeededRandom(seed: seed ^ 0xABCD)
        let bytes = bytes
        var position = 0
        while position < bytes.count {
            let size = min(bytes.count - position, random.choice([1, 7, 100, 1460, 16_384, 16_385, 70_000]))
            try stream.writeAll(bytes[position..<(position + size)], timeoutMs: 20_000)
            position += size
        }
        stream.shutdownWrite()
        return nil
    }

    /// - Returns: what is wrong, or nil.
    func receive(_ stream: Stream) throws -> String? {
        var random = SeededRandom(seed: seed ^ 0x1234)
        let expected = bytes
        var position = 0
        while true {
            let maximum = random.choice([1, 13, 1000, 65_536, 200_000])
            let more = try stream.readSome(maximum: maximum, timeoutMs: 20_000)
            if more.isEmpty { break }
            let end = position + more.count
            let isEqual = expected.withUnsafeBytes { expected in
                guard end <= expected.count, let wanted = expected.baseAddress else { return false }
                return more.withUnsafeBytes { $0.baseAddress.map { memcmp(wanted + position, $0, more.count) == 0 } }
                    ?? false
            }
            guard isEqual else {
                return "seed \(seed): wrong bytes behind \(position)"
            }
            position = end
        }
        return position == expected.count ? nil : "seed \(seed): \(position) of \(expected.count) bytes"
    }
}

/// Runs closures on threads of their own and collects what they say.
final class Helpers: Sendable {
    private let threads = Mutex<[Thread]>([])
    private let said = Mutex<[String]>([])

    func run(_ name: String, _ body: @escaping @Sendable () throws -> String?) throws {
        let thread = try Thread.start(name: name) { [self] in
            do {
                if let text = try body() { said.withLock { $0.append("\(name): \(text)") } }
            } catch {
                said.withLock { $0.append("\(name): \(error)") }
            }
        }
        threads.withLock { $0.append(thread) }
    }

    /// Waits for all.
    /// - Returns: complaints.
    func join() -> [String] {
        let running = threads.withLock { threads in
            let running = threads
            threads.removeAll()
            return running
        }
        for thread in running { thread.join() }
        return said.withLock { $0 }
    }
}
