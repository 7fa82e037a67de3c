// What the admin pages say of the health of tasks.

import Model
import Routing
import Telemetry
import Testing

@testable import Admin

@Suite struct HealthPageTests {
    private static func reading(_ table: RouteTable) -> TasksReading {
        let probes = ProbeCounters()
        probes.add(.success)
        probes.add(.status)
        probes.add(.status)
        probes.set(active: 3, waiting: 4)
        func number(_ upstream: Int) -> UInt64 { table.identity(service: 0, upstream: upstream) }
        return TasksReading(
            tasks: [
                number(0): TaskHealth(health: "healthy"),
                number(1): TaskHealth(
                    health: "unhealthy", lastFailure: "the answer's status was 500", failedAtNs: 17,
                    avoidingWorkers: 2),
                number(2): TaskHealth(health: "unknown"), 999: TaskHealth(health: "healthy"),
            ], panickingServices: ["web"], probes: probes)
    }

    private static func table() -> RouteTable {
        var numbering = Numbering()
        let loopback = IPAddress(v4: 0x7F00_0001)
        // Other tasks go before, so that numbers and places differ.
        let others = (0..<3).map { Upstream(id: "o\($0)", endpoint: Endpoint(address: loopback, port: 9)) }
        let upstreams = (0..<4).map { Upstream(id: "t\($0)", endpoint: Endpoint(address: loopback, port: 80)) }
        _ = RouteTable(
            compiling: Snapshot(
                configuration: Configuration(services: [Service(id: "o", name: "o")]), endpoints: [others]), version: 1,
            numbering: &numbering)
        return RouteTable(
            compiling: Snapshot(
                configuration: Configuration(
                    services: [Service(id: "s", name: "web")], routes: [Route(host: .any, services: [0])]),
                endpoints: [upstreams]), version: 2, numbering: &numbering)
    }

    @Test func eachTaskTellsItsHealth() {
        let table = Self.table()
        let page = RoutesPage.json(table: table, control: ControlReading(), health: Self.reading(table).tasks)
        let text = String(decoding: page, as: UTF8.self)
        for expected in [
            #"{"id":"t0","address":"127.0.0.1:80","state":"ready","health":"healthy"}"#,
            #"{"id":"t1","address":"127.0.0.1:80","state":"ready","health":"unhealthy","avoided_by_workers":2,"#
                + #""last_failure":"the answer's status was 500","failed_at_ns":17}"#,
            #"{"id":"t2","address":"127.0.0.1:80","state":"ready","health":"unknown"}"#,
            #"{"id":"t3","address":"127.0.0.1:80","state":"ready"}"#,
        ] { #expect(text.contains(expected), "\(text)") }
    }

    @Test func metrics() {
        let table = Self.table()
        let source = TrafficSource(
            counters: ProxyCounters(workerCount: 1), services: ServiceRegistry(workerCount: 1), rejectionNames: [])
        source.counters.cells(worker: 0).add(.panicAttempts, 5)
        source.counters.cells(worker: 0).add(.tasksAvoided, 6)
        var text = PrometheusText()
        MetricsPage.appendHealth(source, Self.reading(table), to: &text)
        let lines = Set(String(decoding: text.bytes, as: UTF8.self).split(separator: "\n").map(String.init))
        for expected in [
            #"interlock_checked_tasks{health="healthy"} 2"#, #"interlock_checked_tasks{health="unhealthy"} 1"#,
            #"interlock_checked_tasks{health="unknown"} 1"#, "interlock_tasks_avoided 1",
            "interlock_task_avoidances_total 6", #"interlock_health_probes_total{result="status"} 2"#,
            #"interlock_health_probes_total{result="timeout"} 0"#, "interlock_health_probes_active 3",
            "interlock_health_probes_waiting 4", #"interlock_service_panic{service="web"} 1"#,
            "interlock_panic_attempts_total 5",
        ] { #expect(lines.contains(expected), "\(expected) in \(lines.sorted())") }
        let whole = AdminSource(
            build: BuildInformation(version: "1"), traffic: source,
            health: { HealthReading(phase: .ready, wasReady: true) }, table: { table }, control: { ControlReading() },
            tasks: { Self.reading(table) })
        let index = AdminPages(source: whole).answer(.index)
        let page = String(decoding: index.body, as: UTF8.self)
        #expect(page.contains("checked     2 healthy, 1 unhealthy, 1 unknown; 1 avoided"))
        #expect(page.contains("panic       web: no task passes its health check, all are tried"))
    }
}
