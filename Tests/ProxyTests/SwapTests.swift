// Tables of 10,000 routes swapped under load, in one process: no request fails, no connection is closed, a tunnel never
// notices, and no table stays behind. INTERLOCK_TEST_LONG=1 makes it 20 seconds. An unoptimised build, which takes
// seconds for such a table, swaps tables of 1,000.

@testable import Proxy
import Glibc
import Kernel
import Model
import Routing
import Support
import Synchronization
import Telemetry
import Testing

private let isLong = getenv("INTERLOCK_TEST_LONG") != nil
private let durationMs = isLong ? 20_000 : 4000
#if DEBUG
    private let routeCount = 1000
#else
    private let routeCount = 10_000
#endif
/// Beside other suites, or under a sanitizer, nobody can keep the pace; alone it must be kept.
private let leastSwaps = isLong ? durationMs / 200 : 4

func startProxy(workerCount: Int, _ change: (inout ProxySettings) -> Void = { _ in }) throws -> ProxyServer {
    var settings = ProxySettings()
    settings.workerCount = workerCount
    settings.httpListen = [ListenAddress(address: .loopback)]
    change(&settings)
    return try ProxyServer(settings: settings, proxyID: "test", log: Log(level: .error))
}

/// One service that is asked for, and as many beside it as make the table large.
private func snapshot(routeCount: Int, tasks: [(id: String, port: UInt16)], round: Int) -> Snapshot {
    let loopback = IPAddress(v4: 0x7F00_0001)
    var services = [Service(id: "hot", name: "hot"), Service(id: "tunnel", name: "tunnel")]
    var routes = [Route(host: .exact("hot.test"), services: [0]), Route(host: .exact("tunnel.test"), services: [1])]
    var endpoints = [
        tasks.map { Upstream(id: $0.id, endpoint: Endpoint(address: loopback, port: $0.port)) },
        [Upstream(id: "tunnel-task", endpoint: Endpoint(address: loopback, port: tasks[0].port))],
    ]
    for number in 0..<routeCount {
        // Some of the others come and go with every round.
        let name = number % 10 == 0 ? "cold-\(number)-\(round)" : "cold-\(number)"
        services.append(Service(id: name, name: name))
        routes.append(Route(host: .exact("\(name).test"), pathPrefix: "/\(number % 7)", services: [number + 2]))
        endpoints.append([Upstream(id: name, endpoint: Endpoint(address: loopback, port: 9))])
    }
    return Snapshot(
        order: SnapshotOrder(version: UInt64(round)),
        configuration: Configuration(services: services, routes: routes), endpoints: endpoints)
}

/// What the threads of the load share.
private final class Load: Sendable {
    private let stopping = Atomic<Bool>(false)
    private let requests = Atomic<Int>(0)
    private let failures = Mutex<[String]>([])

    var isOver: Bool { stopping.load(ordering: .acquiring) }
    var requestCount: Int { requests.load(ordering: .acquiring) }
    var failed: [String] { failures.withLock { $0 } }

    func stop() { stopping.store(true, ordering: .releasing) }

    func start(_ name: String, _ body: @escaping @Sendable (Load) throws -> Void) throws -> Thread {
        try Thread.start(name: name) { [self] in
            do { try body(self) } catch { failures.withLock { $0.append("\(name): \(error)") } }
        }
    }

    /// Asks in turns over a few connections, each kept for the whole time.
    func ask(port: UInt16) throws {
        var clients = try (0..<4).map { _ in try LiveClient(port: port) }
        while !isOver {
            for index in clients.indices {
                let answer = try clients[index].get("hot.test")
                guard answer.status == 200, answer.body.starts(with: "task".utf8) else {
                    throw LiveClient.Failure(description: "\(answer)")
                }
                requests.add(1, ordering: .relaxed)
            }
        }
    }
}

private struct WeakTable { weak var table: RouteTable? }

@Suite(.serialized) struct SwapTests {
    @Test func swapsUnderLoadLoseNothing() throws {
        let backend = try Backend(listenerCount: 4)
        let proxy = try startProxy(workerCount: 2)
        let port = proxy.ports[0]
        func task(_ number: Int) -> (id: String, port: UInt16) { ("task-\(number)", backend.ports[number]) }
        // Task 0 stays, the others take turns. Made before, as a source hands them over: ready.
        let rounds = [[0, 1, 2, 3], [0, 1], [0, 2], [0, 3, 1]]
        let snapshots = rounds.indices.map { index in
            snapshot(routeCount: routeCount - 2, tasks: rounds[index].map(task), round: index)
        }
        proxy.publish(snapshots[0])
        let load = Load()
        var threads = try (0..<3).map { number in
            try load.start("load \(number)") { try $0.ask(port: port) }
        }
        let tunnel = try load.start("tunnel") { load in
            var client = try LiveClient(port: port)
            try client.upgrade("tunnel.test")
            var sent = 0
            while !load.isOver || sent < 5 {
                let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: sent), count: 1 + sent % 3000)
                guard try client.echo(bytes) == bytes else { throw LiveClient.Failure(description: "another echo") }
                sent += 1
                Thread.sleep(milliseconds: 20)
            }
        }
        threads.append(tunnel)
        var swaps = 0
        var retired: [WeakTable] = []
        let endNs = Clock.monotonicNs() + UInt64(durationMs) * 1_000_000
        while Clock.monotonicNs() < endNs || swaps < 4 {
            let nextNs = Clock.monotonicNs() + 100_000_000
            retired.append(WeakTable(table: proxy.table))
            swaps += 1
            proxy.publish(snapshots[swaps % snapshots.count])
            let nowNs = Clock.monotonicNs()
            if nowNs < nextNs { Thread.sleep(milliseconds: Int((nextNs - nowNs) / 1_000_000)) }
        }
        // The tunnel is still open, and keeps no table.
        #expect(proxy.counters.total(.tunnelsActive) == 1)
        #expect(eventually { proxy.livePublicationCount == 1 }, "\(proxy.livePublicationCount) tables are alive")
        load.stop()
        for thread in threads { thread.join() }
        #expect(load.failed == [])
        #expect(load.requestCount > 200)
        #expect(swaps >= leastSwaps, "\(swaps) swaps")
        #expect(retired.allSatisfy { $0.table == nil }, "a retired table is still alive")
        #expect(eventually { proxy.counters.total(.tableSwaps) == UInt64(swaps + 1) * 2 })
        #expect(proxy.counters.total(.connectionsAccepted) == 13)
        proxy.drain(timeoutMs: 1000)
        proxy.waitUntilStopped()
        backend.stop()
    }

    @Test(arguments: [nil, .draining, .pending] as [Model.UpstreamState?])
    func aTaskThatIsTakenOutGetsNothingNew(state: Model.UpstreamState?) throws {
        let backend = try Backend(listenerCount: 2)
        let proxy = try startProxy(workerCount: 2) { $0.upstreamIdleTimeoutMs = 600_000 }
        let both = snapshot(routeCount: 0, tasks: [("a", backend.ports[0]), ("b", backend.ports[1])], round: 0)
        var without = both
        if let state { without.endpoints[0][1].state = state } else { without.endpoints[0].removeLast() }
        proxy.publish(both)
        #expect(eventually { proxy.counters.total(.tableSwaps) == 2 })
        var clients = try (0..<12).map { _ in try LiveClient(port: proxy.ports[0]) }
        func askAll() throws -> Set<[UInt8]> {
            var bodies: Set<[UInt8]> = []
            for index in clients.indices {
                for _ in 0..<4 { bodies.insert(try clients[index].get("hot.test").body) }
            }
            return bodies
        }
        let names = [Array("task   0".utf8), Array("task   1".utf8)]
        #expect(try askAll() == Set(names))
        #expect(backend.openCount(1) > 0)
        proxy.publish(without)
        #expect(eventually { proxy.counters.total(.tableSwaps) == 4 })
        let before = backend.requestCount(1)
        // Its idle connections go at once; everybody else's stay, and no client notices.
        #expect(eventually(timeoutMs: 3000) { backend.openCount(1) == 0 })
        #expect(backend.openCount(0) > 0)
        #expect(try askAll() == [names[0]])
        #expect(backend.requestCount(1) == before)
        // And it may come back.
        proxy.publish(both)
        #expect(eventually { proxy.counters.total(.tableSwaps) == 6 })
        #expect(try askAll() == Set(names))
        #expect(eventually { proxy.livePublicationCount == 1 })
        proxy.drain(timeoutMs: 1000)
        proxy.waitUntilStopped()
        backend.stop()
    }
}
