// A running admin server with everything it shows under the test's control, and a small strict client.

import Kernel
import Model
import Routing
import Synchronization
import Telemetry
import Testing

@testable import Admin

final class Fixture: Sendable {
    struct State: Sendable {
        var health = HealthReading(phase: .ready, wasReady: true)
        var control = ControlReading()
        var table: RouteTable?
        var tls = TLSReading()
        var entryPorts: [PortReading] = []
        var feed: FeedReading?
        var history: HistoryReading?
        var balancer: BalancerReading?
    }

    let state = Mutex(State())
    let counters = ProxyCounters(workerCount: 2)
    let services = ServiceRegistry(workerCount: 2)
    private let server: Mutex<AdminServer?> = Mutex(nil)
    let port: UInt16

    init(
        token: String? = nil, isOpen: Bool = false, address: SocketAddress = .loopback,
        limits: AdminLimits = AdminLimits(), hasTraffic: Bool = true, actions: AdminActions? = nil
    ) throws {
        let box = Box()
        let source = AdminSource(
            build: BuildInformation(version: "1.2.3", revision: "abc"),
            traffic: hasTraffic
                ? TrafficSource(
                    counters: counters, services: services,
                    rejectionNames: [
                        (0, "bad_request_line"), (1, "bad_method"), (2, "bad_method"), (9999, "out_of_range"),
                    ],
                    handshakeFailureNames: [
                        (0, "hello_timeout"), (1, "bad_certificate"), (2, "bad_certificate"), (64, "no"),
                    ]) : nil,
            health: {
                box.fixture.withLock { $0?.state.withLock { $0.health } }
                    ?? HealthReading(phase: .starting, wasReady: false)
            },
            table: { box.fixture.withLock { $0?.state.withLock { $0.table } } },
            control: { box.fixture.withLock { $0?.state.withLock { $0.control } } ?? ControlReading() },
            tls: { box.fixture.withLock { $0?.state.withLock { $0.tls } } ?? TLSReading() },
            entryPorts: { box.fixture.withLock { $0?.state.withLock { $0.entryPorts } } ?? [] },
            feed: { box.fixture.withLock { $0?.state.withLock { $0.feed } } },
            history: { box.fixture.withLock { $0?.state.withLock { $0.history } } },
            snapshot: { $0 == "blue" ? Array("{}\n".utf8) : nil },
            clusterTable: { name in
                name == "blue" ? box.fixture.withLock { $0?.state.withLock { $0.table } } : nil
            },
            explain: ExplainTerms(),
            balancer: { box.fixture.withLock { $0?.state.withLock { $0.balancer } } }, actions: actions)
        var settings = AdminSettings(addresses: [(address, false)], token: token, isOpen: isOpen)
        settings.limits = limits
        let made = try AdminServer(settings: settings, source: source, log: Log(level: .error))
        port = made.ports[0]
        box.fixture.withLock { $0 = self }
        server.withLock { $0 = made }
        try made.start()
    }

    /// The source's closures are made before the fixture is whole.
    private final class Box: Sendable {
        let fixture = Mutex<Fixture?>(nil)
    }

    var clientCount: Int { server.withLock { $0?.slots.count } ?? 0 }

    func stop() { server.withLock { $0?.stop() } }

    func connect(to address: SocketAddress? = nil) throws -> Stream {
        try Stream.connect(to: address ?? .loopback(port: port), timeoutMs: 5000)
    }

    /// Sends the bytes on a connection of their own and reads to the end.
    func exchange(_ text: String, to address: SocketAddress? = nil) throws -> Answer {
        let stream = try connect(to: address)
        defer { stream.close() }
        try stream.writeAll(Array(text.utf8), timeoutMs: 5000)
        return try #require(try Answer.readAll(from: stream).first)
    }

    func get(_ path: String, _ lines: String = "Host: localhost\r\n") throws -> Answer {
        try exchange("GET \(path) HTTP/1.1\r\n\(lines)Connection: close\r\n\r\n")
    }
}

/// An answer as it came.
struct Answer {
    var status: Int
    var head: String
    var body: String

    func header(_ name: String) -> String? {
        for line in head.split(separator: "\r\n").dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2, parts[0].lowercased() == name.lowercased() { return String(parts[1].dropFirst()) }
        }
        return nil
    }

    /// Reads until the server closes; every answer must be whole. `isHead`: no answer has a body.
    static func readAll(from stream: Stream, isHead: Bool = false) throws -> [Answer] {
        var bytes: [UInt8] = []
        while true {
            let more = try stream.readSome(timeoutMs: 10_000)
            if more.isEmpty { break }
            bytes += more
        }
        var answers: [Answer] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            var end = rest.startIndex
            while !rest[end...].starts(with: "\r\n\r\n".utf8) {
                end += 1
                try #require(end < rest.endIndex, "a head without an end")
            }
            let head = String(decoding: rest[..<end], as: UTF8.self)
            var answer = Answer(status: Int(head.dropFirst(9).prefix(3)) ?? 0, head: head, body: "")
            let length = try #require(answer.header("content-length").flatMap { Int($0) })
            rest = rest[(end + 4)...]
            if !isHead {
                try #require(rest.count >= length, "a body cut short")
                answer.body = String(decoding: rest.prefix(length), as: UTF8.self)
                rest = rest.dropFirst(length)
            }
            answers.append(answer)
        }
        return answers
    }
}
