// What a service's labels say about which requests it takes, which of its tasks gets them, and how tasks are found
// well: settled for one service. Services that differ about a route they share meet in `RouteMerging`.

import Model

/// These labels as they were written, before it is known what they mean together.
struct TrafficLabels {
    var headers: [RouteConditions.Header] = []
    var methods: [String] = []
    var balancing: String?
    var cookie: String?
    var hashesAddress = false
    var healthMode: String?
    var healthPath: String?
    var healthInterval: Int?
    var healthTimeout: Int?
    var healthStatuses: [ClosedRange<Int>] = []
    var healthPort: Int?
    var healthRise: Int?
    var healthFall: Int?

    mutating func apply(_ name: String, _ value: LabelValue) {
        switch (name, value) {
        case ("match_headers", .headers(let headers)): self.headers = headers
        case ("match_methods", .list(let methods)): self.methods = methods
        case ("lb", .text(let text)): balancing = text
        case ("sticky_session_cookie", .text(let text)): cookie = text
        case ("ip_hash", .boolean(let isOn)): hashesAddress = isOn
        case ("health_mode", .text(let text)): healthMode = text
        case ("health_path", .text(let text)): healthPath = text
        case ("health_interval", .number(let number)): healthInterval = number
        case ("health_timeout", .number(let number)): healthTimeout = number
        case ("health_status", .statuses(let ranges)): healthStatuses = ranges
        case ("health_port", .number(let number)): healthPort = number
        case ("health_rise", .number(let number)): healthRise = number
        case ("health_fall", .number(let number)): healthFall = number
        default: break
        }
    }

    fileprivate var checksHealth: Bool {
        healthMode != nil || isForHTTPOnly || healthInterval != nil || healthTimeout != nil || healthPort != nil
            || healthRise != nil || healthFall != nil
    }

    /// A path or statuses: whoever names them means a GET.
    fileprivate var isForHTTPOnly: Bool { healthPath != nil || !healthStatuses.isEmpty }
}

extension LabelReading {
    /// The options of this name and value that are read without regard to others.
    mutating func applyTraffic(_ name: String, _ value: LabelValue) {
        switch (name, value) {
        case ("weight", .number(let number)): options.weight = number
        case ("slow_start", .number(let number)): options.slowStartMs = number == 0 ? nil : number
        case ("max_fails", .number(let number)): options.maxFails = number
        case ("fail_timeout", .number(let number)): options.failTimeoutMs = number
        case ("hold", .number(let number)): options.holdMs = number
        case ("max_connections", .number(let number)): options.maxConnections = number
        case ("queue_timeout", .number(let number)): options.queueTimeoutMs = number
        default: break
        }
    }

    /// Settles what the labels mean together. Nothing is said about labels of which one could not be read.
    mutating func combine(_ written: TrafficLabels) {
        guard !hasBadValue, !isRefused else { return }
        conditions = RouteConditions(headers: written.headers, methods: written.methods)
        combineBalancing(written)
        combineHealth(written)
        combineLimits()
        if tcpPort != nil {
            checkUnseen(written, "on a TCP service")
        } else if passesThrough {
            checkUnseen(written, "with ssl_passthrough: TLS ends at the tasks")
        }
    }

    /// The cookie goes first, then the address, then a header; who sends no key is balanced by `lb`.
    private mutating func combineBalancing(_ written: TrafficLabels) {
        var keys: [(label: String, value: String, key: Balancing.Key)] = []
        let seesRequests = tcpPort == nil && !passesThrough
        if seesRequests, let cookie = written.cookie { keys.append(("sticky_session_cookie", cookie, .cookie(cookie))) }
        if written.hashesAddress { keys.append(("ip_hash", "true", .clientAddress)) }
        if let text = written.balancing {
            if let method = Balancing.Method(rawValue: text) {
                balancing.method = method
            } else if seesRequests {
                keys.append(("lb", text, .header(String(text.dropFirst("hash:header:".count)))))
            }
        }
        guard let first = keys.first else { return }
        balancing.key = first.key
        for other in keys.dropFirst() {
            add(.doubtful, other.label, other.value, "has no effect beside \(first.label), which goes before it")
        }
        if backendMode == .vip {
            let message =
                "chooses between services alone, since Swarm balances what is behind a virtual address; use "
                + "backend_mode=task"
            add(.doubtful, first.label, first.value, message)
        }
    }

    private mutating func combineHealth(_ written: TrafficLabels) {
        guard written.checksHealth else { return }
        if written.healthMode == "grpc" {
            return add(.refused, "health_mode", "grpc", "is not supported in this version; write http or tcp")
        }
        var check = HealthCheck()
        check.mode = written.healthMode.flatMap { .init(rawValue: $0) } ?? (written.isForHTTPOnly ? .http : .tcp)
        if check.mode == .tcp {
            let why = "has no effect with health_mode=tcp, which asks for nothing"
            if let path = written.healthPath { add(.doubtful, "health_path", path, why) }
            if !written.healthStatuses.isEmpty { add(.doubtful, "health_status", "", why) }
        } else {
            check.path = written.healthPath ?? check.path
            check.statuses = written.healthStatuses.isEmpty ? check.statuses : written.healthStatuses
        }
        check.intervalMs = written.healthInterval ?? check.intervalMs
        check.timeoutMs = written.healthTimeout ?? check.timeoutMs
        check.port = written.healthPort.flatMap { UInt16(exactly: $0) }
        check.rise = written.healthRise ?? check.rise
        check.fall = written.healthFall ?? check.fall
        options.health = check
    }

    private mutating func combineLimits() {
        if let time = options.failTimeoutMs {
            if options.maxFails == 0 { add(.doubtful, "fail_timeout", "", "has no effect with max_fails=0") }
            // Out for no time is never out.
            if time == 0 { (options.maxFails, options.failTimeoutMs) = (0, nil) }
        }
        if options.queueTimeoutMs != nil, options.maxConnections == nil {
            add(.doubtful, "queue_timeout", "", "has no effect without max_connections")
        }
    }

    /// Where connections go on as they come, no request is seen: what looks into requests cannot be done.
    private mutating func checkUnseen(_ written: TrafficLabels, _ place: String) {
        if !written.headers.isEmpty { add(.refused, "match_headers", "", "cannot be enforced \(place)") }
        if !written.methods.isEmpty { add(.refused, "match_methods", "", "cannot be enforced \(place)") }
        let why = "has no effect \(place)"
        if let cookie = written.cookie { add(.doubtful, "sticky_session_cookie", cookie, why) }
        if let text = written.balancing, Balancing.Method(rawValue: text) == nil { add(.doubtful, "lb", text, why) }
    }
}
