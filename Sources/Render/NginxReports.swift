// What nginx does otherwise than services ask for, told by service and label.

import Model

extension NginxBuilder {
    /// Labels that have no effect, or another one.
    mutating func reportOptions() {
        for service in input.snapshot.configuration.services {
            let options = service.options
            if options.health != nil {
                report(
                    .warning, service, "health_mode", options.health?.mode.rawValue ?? "",
                    "nginx does not probe: a task is out after max_fails failures alone")
            }
            if let time = options.slowStartMs, time > 0 {
                report(.warning, service, "slow_start", "\(time)ms", "nginx gives new tasks their full share at once")
            }
            if let time = options.holdMs, time > 0 {
                report(.warning, service, "hold", "\(time)ms", "nginx answers 503 at once while there is no task")
            }
            if let count = options.maxConnections {
                report(
                    .warning, service, "max_connections", "\(count)",
                    "nginx answers 502 beyond the limit; nobody waits for a turn")
            }
        }
        for route in input.snapshot.configuration.routes where route.pathPolicy == .raw {
            let others = input.snapshot.configuration.routes.contains {
                $0.host == route.host && $0.pathPrefix != route.pathPrefix
            }
            for service in route.services where others {
                report(
                    .warning, input.snapshot.configuration.services[service], "path_policy", "raw",
                    "nginx decodes and tidies a path before it chooses the route")
            }
        }
    }

    /// Options that nginx has for a route as a whole, where services of the route differ in them.
    mutating func reportDifferences(_ pool: PlannedPool) {
        let lead = pool.leadOptions
        for service in pool.services.dropFirst() {
            let own = service.options
            let differing: [(label: String, differs: Bool)] = [
                ("connect_timeout", own.connectTimeoutMs != lead.connectTimeoutMs),
                ("response_timeout", own.responseTimeoutMs != lead.responseTimeoutMs),
                ("idle_timeout", own.idleTimeoutMs != lead.idleTimeoutMs),
                ("tunnel_timeout", own.tunnelTimeoutMs != lead.tunnelTimeoutMs),
                ("retries", own.retries != lead.retries), ("retry_on", own.retryStatuses != lead.retryStatuses),
                ("max_body_size", own.maxBodySize != lead.maxBodySize),
            ]
            for (label, differs) in differing where differs {
                report(
                    .warning, service, label, "", "nginx has one for the whole route: that of \(pool.lead.name) is used"
                )
            }
        }
    }
}
