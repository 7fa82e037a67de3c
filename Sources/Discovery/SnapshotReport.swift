// A snapshot for people, line by line: what is routed where and how, and what was refused or doubted. `interlock check`
// prints it, and the examples in the documents are held to it. Secrets are named, never read.

public import Model

public enum SnapshotReport {
    /// In canonical order: routes, hosts, entry ports, services that set something, diagnostics.
    public static func lines(_ snapshot: Snapshot) -> [String] {
        lines(snapshot.configuration)
            + snapshot.diagnostics.map(line)
    }

    /// In canonical order: routes, hosts, entry ports, services that set something.
    public static func lines(_ configuration: Configuration) -> [String] {
        func names(_ positions: [Int]) -> String {
            positions.map { configuration.services[$0].name }.joined(separator: ", ")
        }
        var lines = configuration.routes.map { route in
            "route    \(route.host)\(route.pathPrefix)\(conditions(route)) -> \(names(route.services))\(terms(route))"
        }
        for host in configuration.hosts {
            if !host.passthrough.isEmpty {
                let target = names(host.passthrough) + brackets(host.balancing.terms)
                lines.append("tls      \(host.host) passed on -> \(target)")
            }
            if host.tls != TLSOptions() { lines.append("tls      \(host.host): \(host.tls.terms)") }
            for redirect in host.redirects {
                lines.append("redirect \(redirect.scheme.rawValue)://\(host.host) -> \(redirect.target)")
            }
        }
        for port in configuration.streams {
            if !port.services.isEmpty {
                lines.append("tcp      \(port.port) -> \(names(port.services))\(brackets(port.balancing.terms))")
            }
            for host in port.hosts {
                let what = host.tls?.terms ?? "passed on"
                let target = names(host.services) + brackets(host.balancing.terms)
                lines.append("tcp      \(port.port) \(host.host): \(what) -> \(target)")
            }
        }
        for service in configuration.services {
            let terms = terms(service)
            if !terms.isEmpty { lines.append("service  \(service.name): \(terms.joined(separator: "; "))") }
        }
        return lines.map(\.harmless)
    }

    public static func line(_ finding: Diagnostic) -> String {
        let label = finding.label.isEmpty ? "" : " \(finding.label)=\"\(finding.value)\""
        let severity = finding.severity == .error ? "error  " : "warning"
        return "\(severity)  \(finding.service)\(label): \(finding.message)".harmless
    }

    private static func brackets(_ terms: [String]) -> String {
        terms.isEmpty ? "" : " (\(terms.joined(separator: "; ")))"
    }

    private static func conditions(_ route: Route) -> String {
        route.conditions.isEmpty ? "" : " [\(route.conditions)]"
    }

    private static func terms(_ route: Route) -> String {
        var terms: [String] = []
        if route.requiresTLS { terms.append("TLS only") }
        if let hsts = route.hsts { terms.append("hsts \(hsts)") }
        if route.rewritesPrefix { terms.append("without its prefix") }
        if route.pathPolicy == .raw { terms.append("raw paths") }
        return brackets(terms + route.balancing.terms)
    }

    // MARK: Services

    /// Only what the service set; the rest is the proxy's settings.
    private static func terms(_ service: Service) -> [String] {
        let options = service.options
        var terms: [String] = []
        if service.backendMode == .vip { terms.append("by its virtual address") }
        if let weight = options.weight { terms.append("weight \(weight)") }
        let times: [(String, Int?)] = [
            ("slow_start", options.slowStartMs), ("connect_timeout", options.connectTimeoutMs),
            ("response_timeout", options.responseTimeoutMs), ("idle_timeout", options.idleTimeoutMs),
            ("tunnel_timeout", options.tunnelTimeoutMs), ("hold", options.holdMs),
        ]
        for (label, milliseconds) in times {
            if let milliseconds { terms.append("\(label) \(duration(milliseconds))") }
        }
        if let count = options.retries { terms.append("retries \(count)") }
        if !options.retryStatuses.isEmpty {
            terms.append("retry_on \(options.retryStatuses.map { "\($0)" }.joined(separator: ","))")
        }
        if let size = options.maxBodySize { terms.append("max_body_size \(size)") }
        if let count = options.maxConnections { terms.append("max_connections \(count)") }
        if let time = options.queueTimeoutMs { terms.append("queue_timeout \(duration(time))") }
        if let count = options.maxFails { terms.append("max_fails \(count)") }
        if let time = options.failTimeoutMs { terms.append("fail_timeout \(duration(time))") }
        if let version = options.proxyProtocol { terms.append("PROXY protocol \(version.rawValue)") }
        if let backend = options.backendTLS { terms.append(Self.terms(backend)) }
        if let health = options.health { terms.append(Self.terms(health)) }
        return terms
    }

    private static func terms(_ backend: BackendTLS) -> String {
        let name = backend.serverName.map { " as \($0)" } ?? ""
        guard backend.verifies else { return "TLS to its tasks\(name), unverified" }
        return "TLS to its tasks\(name), verified by \(backend.authorities?.names.first ?? "the system's authorities")"
    }

    private static func terms(_ health: HealthCheck) -> String {
        let port = health.port.map { " at port \($0)" } ?? ""
        let statuses = health.statuses.map {
            $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)"
        }
        let what = health.mode == .tcp ? "tcp" : "http \(health.path) for \(statuses.joined(separator: ","))"
        return "probed by \(what)\(port) every \(duration(health.intervalMs)) within \(duration(health.timeoutMs)), "
            + "\(health.rise) up, \(health.fall) down"
    }

    private static func duration(_ milliseconds: Int) -> String {
        milliseconds % 1000 == 0 ? "\(milliseconds / 1000)s" : "\(milliseconds)ms"
    }
}
