// Owns a running proxy with tasks that can be probed, and the snapshots that tests of health publish to it.

import Kernel
import Model
import Proxy
import Routing
import Support
import Telemetry
import Testing

func makeCheck(
    _ mode: HealthCheck.Mode = .http, path: String = "/up?x=1", intervalMs: Int = 60, timeoutMs: Int = 500,
    statuses: [ClosedRange<Int>] = [200...399], port: UInt16? = nil, rise: Int = 2, fall: Int = 2
) -> HealthCheck {
    HealthCheck(
        mode: mode, path: path, intervalMs: intervalMs, timeoutMs: timeoutMs, statuses: statuses, port: port,
        rise: rise,
        fall: fall)
}

/// A proxy and its tasks, stopped when they go.
final class HealthLab {
    let proxy: ProxyServer
    let log: Collected<String>
    private(set) var tasks: [ProbedTask] = []
    private var version: UInt64 = 0
    /// Services beside the one that is tested.
    var others = 0

    init(workerCount: Int = 1, _ change: (inout ProxySettings) -> Void = { _ in }) throws {
        let log = try Collected<String>()
        self.log = log
        var settings = ProxySettings()
        // Health alone is looked at: nobody waits for a task that comes back.
        settings.holdMs = 0
        settings.workerCount = workerCount
        settings.httpListen = [ListenAddress(address: .loopback)]
        change(&settings)
        proxy = try ProxyServer(
            settings: settings, proxyID: "test",
            log: Log(level: .info, clock: Clock.realtimeNs) { log.append(String(decoding: $0, as: UTF8.self)) })
    }

    deinit {
        proxy.drain(timeoutMs: 200)
        proxy.waitUntilStopped()
        for task in tasks { task.close() }
    }

    func makeTask(_ manner: ProbedTask.Manner = .status(200)) throws -> ProbedTask {
        let task = try ProbedTask(manner)
        tasks.append(task)
        return task
    }

    /// One service of these tasks for every host, beside `others`.
    func publish(
        _ tasks: [(id: String, port: UInt16)], _ check: HealthCheck?, secrets: SecretFiles? = nil,
        states: [Model.UpstreamState] = [], host: HostPattern = .exact("web.test"),
        _ change: (inout ServiceOptions) -> Void = { _ in }
    ) throws {
        version += 1
        var options = ServiceOptions()
        options.health = check
        change(&options)
        let loopback = IPAddress(v4: 0x7F00_0001)
        var snapshot = Snapshot(
            order: SnapshotOrder(version: version),
            configuration: Configuration(
                services: [Service(id: "web-id", name: "web", options: options)],
                routes: [Route(host: host, services: [0])]),
            endpoints: [
                tasks.enumerated().map { index, task in
                    Upstream(
                        id: task.id, endpoint: Endpoint(address: loopback, port: task.port),
                        state: index < states.count ? states[index] : .ready)
                }
            ])
        for number in 0..<others {
            snapshot.configuration.services.append(Service(id: "z\(number)-\(version)", name: "z\(number)"))
            snapshot.configuration.routes.append(Route(host: .exact("z\(number).test"), services: [number + 1]))
            snapshot.endpoints.append([Upstream(id: "z\(version)", endpoint: Endpoint(address: loopback, port: 9))])
        }
        let before = proxy.counters.total(.tableSwaps)
        proxy.publish(snapshot, secrets: secrets)
        guard eventually({ proxy.counters.total(.tableSwaps) >= before + UInt64(proxy.counters.workerCount) }) else {
            throw LiveClient.Failure(description: "no swap")
        }
    }

    func publish(_ tasks: [ProbedTask], _ check: HealthCheck?, _ change: (inout ServiceOptions) -> Void = { _ in })
        throws
    {
        try publish(tasks.map { ("t\($0.port)", $0.port) }, check, change)
    }

    /// Readings in the order of the service's tasks; nil: nothing is known.
    var readings: [TaskHealthReading?] {
        let table = proxy.table
        let report = proxy.healthReport
        return table.snapshot.endpoints[0].indices.map { report.tasks[table.identity(service: 0, upstream: $0)] }
    }

    var health: [String] { readings.map { $0?.health ?? "-" } }

    func becomes(_ expected: [String], timeoutMs: Int = 10_000) -> Bool {
        eventually(timeoutMs: timeoutMs) { health == expected }
    }

    /// Statuses of so many requests, each on a connection of its own.
    func ask(_ count: Int = 1) throws -> [Int] {
        try (0..<count).map { _ in
            var client = try LiveClient(port: proxy.ports[0])
            return try client.ask("GET", "web.test").head.status
        }
    }

    func logCount(_ text: String) -> Int { log.all.count { $0.contains(text) } }
}

extension PlainHead {
    var status: Int { Int(first.dropFirst(9).prefix(3)) ?? 0 }
}
