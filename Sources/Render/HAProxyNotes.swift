// What haproxy cannot do as our own proxy does, told by service and label. What is the same for every service, whatever
// its labels, is in docs/EXTENSIONS.md instead.

import Model

struct HAProxyNotes {
    private(set) var found: Set<Diagnostic> = []

    mutating func add(
        _ severity: Diagnostic.Severity, _ service: String, _ label: String, _ message: String, value: String = ""
    ) {
        found.insert(
            Diagnostic(severity: severity, service: service, label: label, value: value, message: message))
    }

    mutating func warn(_ service: Service, _ label: String, _ message: String, value: String = "") {
        add(.warning, service.name, label, message, value: value)
    }

    mutating func formUnion(_ other: HAProxyNotes) { found.formUnion(other.found) }

    /// About a pool that got a backend.
    mutating func note(_ pool: PlannedPool, _ traffic: HAProxyTraffic) {
        noteKey(pool)
        let lead = pool.lead
        for service in pool.services {
            note(service)
            if service.id != lead.id { noteDifferences(service, lead, traffic) }
        }
        noteChecks(pool)
    }

    private mutating func note(_ service: Service) {
        let options = service.options
        if (options.holdMs ?? 0) > 0 {
            warn(service, "hold", "haproxy does not wait for a task to come back: 503 is answered at once")
        }
        if options.idleTimeoutMs != nil {
            warn(service, "idle_timeout", "haproxy has one such time for all services, and it is not this label's")
        }
        if (options.slowStartMs ?? 0) > 0 {
            warn(
                service, "slow_start",
                "haproxy does not know a new task from an old one after a reload: only a task that was out grows slowly"
            )
        }
        if (options.maxBodySize ?? 0) > 0 {
            warn(service, "max_body_size", "haproxy does not measure bodies without Content-Length")
        }
        if options.maxFails != nil || options.failTimeoutMs != nil {
            warn(
                service, "max_fails",
                "haproxy counts failed connections in a row, and no timeouts and resets; a task comes back with"
                    + " the first connection that it accepts within fail_timeout")
        }
        if options.health != nil {
            warn(service, "health_mode", "haproxy sends a new task requests before its first probe")
        }
    }

    private mutating func noteKey(_ pool: PlannedPool) {
        let lead = pool.lead
        guard let key = pool.balancing.key else { return }
        let label: String
        let value: String
        switch key {
        case .clientAddress: (label, value) = ("ip_hash", "true")
        case .cookie(let name): (label, value) = ("sticky_session_cookie", name)
        case .header(let name): (label, value) = ("lb", "hash:header:\(name)")
        }
        if HAProxyKey(key) == nil {
            warn(lead, label, "haproxy cannot be given this name; requests are balanced without it", value: value)
        } else if pool.balancing.method != .roundRobin {
            let method = pool.balancing.method.rawValue
            warn(lead, "lb", "haproxy balances requests without the key of \(label) in turn", value: method)
        }
    }

    /// haproxy has these once for a backend.
    private mutating func noteDifferences(_ service: Service, _ lead: Service, _ traffic: HAProxyTraffic) {
        let (own, other) = (service.options, lead.options)
        var differences: [String] = []
        if own.connectTimeoutMs != other.connectTimeoutMs { differences.append("connect_timeout") }
        if own.tunnelTimeoutMs != other.tunnelTimeoutMs { differences.append("tunnel_timeout") }
        if own.queueTimeoutMs != other.queueTimeoutMs { differences.append("queue_timeout") }
        if traffic == .requests {
            if own.responseTimeoutMs != other.responseTimeoutMs { differences.append("response_timeout") }
            if own.retryStatuses != other.retryStatuses { differences.append("retry_on") }
        }
        for label in differences {
            warn(service, label, "haproxy has one for all services of a pool, and that of \(lead.name) is used")
        }
    }

    private mutating func noteChecks(_ pool: PlannedPool) {
        let checked = pool.servers.compactMap { server in
            pool.services[server.service].options.health.map { (pool.services[server.service], $0) }
        }
        guard let first = checked.first else { return }
        for (service, check) in checked where !check.isProbedAlike(first.1) {
            warn(
                service, "health_mode",
                "haproxy has one kind of probe for a pool, that of \(first.0.name): this service is not probed"
            )
        }
    }
}
