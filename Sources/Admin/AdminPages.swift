// Which page is at which path. Every page is made anew for each request from what the source says now.

import Model
import Routing
import Telemetry
import Wire

struct AdminPages: Sendable {
    let source: AdminSource
    let process = ProcessStatistics()

    enum Page: Sendable {
        case index, health, readiness, metrics, routes, certificates

        init?(path: Bytes) {
            if path.isEmpty || path.equals("/") {
                self = .index
            } else if path.equals("/healthz") {
                self = .health
            } else if path.equals("/readyz") {
                self = .readiness
            } else if path.equals("/metrics") {
                self = .metrics
            } else if path.equals("/api/routes") {
                self = .routes
            } else if path.equals("/api/certificates") {
                self = .certificates
            } else {
                return nil
            }
        }

        var isOpen: Bool {
            switch self {
            case .health, .readiness, .metrics: true
            case .index, .routes, .certificates: false
            }
        }
    }

    func answer(_ page: Page) -> AdminAnswer {
        switch page {
        case .index: .text(index())
        case .health: health()
        case .readiness: readiness()
        case .metrics: metrics()
        case .routes:
            .json(200, RoutesPage.json(table: source.table(), control: source.control(), health: source.tasks().tasks))
        case .certificates: .json(200, CertificatesPage.json(source.tls()))
        }
    }

    private func metrics() -> AdminAnswer {
        AdminAnswer(
            status: 200, contentType: PrometheusText.contentType,
            body: MetricsPage.render(source, process: process))
    }

    /// 503 only if the process should be replaced: neither a start nor a drain nor an absent Docker is that.
    private func health() -> AdminAnswer {
        let reading = source.health()
        var answer = report(reading, isGood: reading.problem == nil)
        answer.extraLines =
            "Interlock-Was-Ready: \(reading.wasReady)\r\nInterlock-Process: \(source.processNamespace)\r\n"
        return answer
    }

    /// 503 while starting and while draining: whoever sends clients here should look elsewhere.
    private func readiness() -> AdminAnswer {
        let reading = source.health()
        return report(reading, isGood: reading.phase == .ready && reading.problem == nil)
    }

    private func report(_ reading: HealthReading, isGood: Bool) -> AdminAnswer {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("status", isGood ? "ok" : "unavailable")
            writer.field("phase", reading.phase.rawValue)
            writer.field("was_ready", reading.wasReady)
            if let problem = reading.problem { writer.field("problem", problem) }
        }
        return .json(isGood ? 200 : 503, writer.bytes + [0x0A])
    }

    private func index() -> String {
        let health = source.health()
        let control = source.control()
        let table = source.table()
        let tls = source.tls()
        var lines = [
            "Interlock \(source.build.version), \(health.phase.rawValue)",
            "",
            "table       \(table.map { "version \($0.version)" } ?? "none yet")",
            "services    \(table?.serviceCount ?? 0)",
            "routes      \(table?.routeCount ?? 0)",
            "refused     \(MetricsPage.refusedCount(control.diagnostics))",
            "certificates \(tls.certificates.count), \(tls.problems.count) problems",
        ]
        switch control.docker {
        case nil: lines.append("docker      not watched")
        case let docker? where docker.isConnected: lines.append("docker      connected, \(docker.serverVersion)")
        case let docker?: lines.append("docker      away: \(docker.lastFailure)")
        }
        for entry in source.entryPorts() {
            lines.append("entry port  \(entry.port), \(entry.problem ?? "open")")
        }
        lines += healthLines()
        if !source.takeover.isEmpty { lines.append("takeover    \(source.takeover)") }
        if let problem = health.problem { lines.append("problem     \(problem)") }
        lines += [
            "", "/healthz     is the process well", "/readyz      should it get traffic",
            "/metrics     for Prometheus", "/api/routes  the live table and what was refused, as JSON",
            "/api/certificates  the certificates in use and what is wrong with them, as JSON", "",
        ]
        return lines.joined(separator: "\n")
    }

    private func healthLines() -> [String] {
        let reading = source.tasks()
        var counts: [String: Int] = [:]
        for task in reading.tasks.values { counts[task.health, default: 0] += 1 }
        let avoided = reading.tasks.values.count { $0.avoidingWorkers > 0 }
        let checked = ["healthy", "unhealthy", "unknown"].map { "\(counts[$0] ?? 0) \($0)" }
        return ["checked     \(checked.joined(separator: ", ")); \(avoided) avoided"]
            + reading.panickingServices.map { "panic       \($0): no task passes its health check, all are tried" }
    }
}
