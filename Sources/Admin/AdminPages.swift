// Which page is at which path. Every page is made anew for each request from what the source says now.

import Model
import Routing
import Telemetry
import Wire

struct AdminPages: Sendable {
    let source: AdminSource
    let process = ProcessStatistics()

    enum Page: Sendable, Equatable {
        case index, health, readiness, metrics, routes, certificates, snapshot, feed, history, explain
        /// Acts: POST only.
        case rollback(number: Int), resume

        init?(path: Bytes) {
            let path = path.isEmpty ? "/" : path.string()
            switch path {
            case "/": self = .index
            case "/healthz": self = .health
            case "/readyz": self = .readiness
            case "/metrics": self = .metrics
            case "/api/routes": self = .routes
            case "/api/certificates": self = .certificates
            case "/api/snapshot": self = .snapshot
            case "/api/feed": self = .feed
            case "/api/history": self = .history
            case "/api/explain": self = .explain
            case "/api/resume": self = .resume
            default:
                guard path.hasPrefix(Self.rollbackPath), let number = Int(path.dropFirst(Self.rollbackPath.count)),
                    number > 0, "\(Self.rollbackPath)\(number)" == path
                else { return nil }
                self = .rollback(number: number)
            }
        }

        private static let rollbackPath = "/api/rollback/"

        var isOpen: Bool {
            switch self {
            case .health, .readiness, .metrics: true
            default: false
            }
        }

        /// It changes something.
        var isAct: Bool {
            switch self {
            case .rollback, .resume: true
            default: false
            }
        }
    }

    func answer(_ page: Page, _ query: PageQuery = PageQuery()) -> AdminAnswer {
        // The proxy group that is asked for; nil: the request does not say.
        let cluster = query.first("cluster")
        return switch page {
        case .index: .text(index())
        case .health: health()
        case .readiness: readiness()
        case .metrics: metrics()
        case .routes: routes(cluster)
        case .certificates: .json(200, CertificatesPage.json(source.tls()))
        case .snapshot:
            source.snapshot(cluster).map { .json(200, $0) } ?? .text(404, "there is no such snapshot\n")
        case .feed: .json(200, FeedPage.json(source.feed(), balancer: source.balancer()))
        case .history:
            source.history().map { .json(200, HistoryPage.json($0, pin: source.control().pin)) }
                ?? .text(404, "no history is kept here: ask a controller\n")
        case .explain: explain(query, cluster: cluster)
        case .rollback(let number): act { $0.rollback(number) }
        case .resume: act { $0.resume() }
        }
    }

    private func routes(_ cluster: String?) -> AdminAnswer {
        let table = cluster.map { source.clusterTable($0) } ?? source.table()
        guard cluster == nil || table != nil else { return .text(404, "there is no such group of proxies\n") }
        return .json(
            200, RoutesPage.json(table: table, control: source.control(), health: source.tasks().tasks))
    }

    private func explain(_ query: PageQuery, cluster: String?) -> AdminAnswer {
        guard let terms = source.explain else { return .text(404, "nothing is routed here: ask a proxy\n") }
        let question: ExplainQuestion
        do throws(ExplainQuestion.Invalid) { question = try ExplainQuestion(query) } catch {
            return .text(400, "\(error)\n")
        }
        guard let table = cluster.map({ source.clusterTable($0) }) ?? source.table() else {
            return cluster == nil
                ? .text(503, "no services are known yet\n") : .text(404, "there is no such group of proxies\n")
        }
        let health = source.traffic == nil ? nil : source.tasks().tasks
        let explanation = Explainer.explain(question, table, terms: terms, health: health, refusal: source.refusal)
        if query.first("format") == "text" {
            var answer = AdminAnswer.text(explanation.lines.map { $0 + "\n" }.joined())
            answer.extraLines = "Interlock-Served: \(explanation.isServed)\r\n"
            return answer
        }
        return .json(
            200,
            explanation.json(question) { writer in
                RoutesPage.append(services: explanation.services, of: table, health: health ?? [:], to: &writer)
            })
    }

    private func act(_ body: (AdminActions) -> AdminActions.Outcome) -> AdminAnswer {
        guard let actions = source.actions else { return .text(404, "nothing can be changed here: ask a controller\n") }
        return switch body(actions) {
        case .done(let text): .text(200, text + "\n")
        case .refused(let text): .text(409, text + "\n")
        case .failed(let text): .text(502, text + "\n")
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
        if source.traffic != nil { lines += healthLines() }
        lines += feedLines(source.feed())
        if let pin = control.pin {
            let what = pin.number.map { "configuration \($0)" } ?? "a configuration"
            lines.append(pin.isBroken ? "pin         not obeyed: \(pin.note)" : "pinned      \(what): \(pin.note)")
        }
        if let balancer = source.balancer() {
            let state = balancer.problem.isEmpty ? "\(balancer.appliedCount) configurations taken" : balancer.problem
            lines.append("\(balancer.kind.padded(to: 11)) \(state)")
        }
        if !source.takeover.isEmpty { lines.append("takeover    \(source.takeover)") }
        if let problem = health.problem { lines.append("problem     \(problem)") }
        lines += [
            "", "/healthz     is the process well", "/readyz      should it get traffic",
            "/metrics     for Prometheus", "/api/routes  the live table and what was refused, as JSON",
            "/api/certificates  the certificates in use and what is wrong with them, as JSON",
            "/api/snapshot  everything that was read from labels, as JSON",
            "/api/explain?url=URL  what would become of a request, as JSON",
            "/api/feed    who runs which snapshot, as JSON", "/api/history  earlier configurations, as JSON", "",
        ]
        return lines.joined(separator: "\n")
    }

    private func feedLines(_ feed: FeedReading?) -> [String] {
        var lines: [String] = []
        if let clients = feed?.clients {
            lines.append(
                "feed        \(clients.count) connected, \(clients.count { $0.isCurrent }) run what is in force")
        }
        if let origin = feed?.source {
            let disk = origin.isFromDisk ? ", the table is from disk" : ""
            let state = origin.isConnected ? "from \(origin.controller)" : "no controller: \(origin.problem)"
            lines.append("feed        \(state)\(disk)")
        }
        return lines
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

extension String {
    fileprivate func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
