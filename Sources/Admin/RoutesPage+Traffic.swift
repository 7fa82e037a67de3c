// What `/api/routes` says of conditions, of how tasks are picked and found well, and of waiting: only what somebody
// asked for, under the names of the labels.

import Model

extension RoutesPage {
    static func append(_ conditions: RouteConditions, to writer: inout JSONWriter) {
        if !conditions.headers.isEmpty {
            let headers = conditions.headers.map { header in header.value.map { "\(header.name): \($0)" } ?? header.name
            }
            writer.field("match_headers", headers)
        }
        if !conditions.methods.isEmpty { writer.field("match_methods", conditions.methods) }
    }

    static func append(_ balancing: Balancing, to writer: inout JSONWriter) {
        switch balancing.key {
        case .cookie(let name): writer.field("sticky_session_cookie", name)
        case .clientAddress: writer.field("ip_hash", true)
        case .header(let name): return writer.field("lb", "hash:header:\(name)")
        case nil: break
        }
        if balancing.method != .roundRobin { writer.field("lb", balancing.method.rawValue) }
    }

    static func appendTraffic(_ options: ServiceOptions, to writer: inout JSONWriter) {
        if let value = options.weight { writer.field("weight", value) }
        if let value = options.slowStartMs { writer.field("slow_start_ms", value) }
        if let value = options.maxFails { writer.field("max_fails", value) }
        if let value = options.failTimeoutMs { writer.field("fail_timeout_ms", value) }
        if let value = options.holdMs { writer.field("hold_ms", value) }
        if let value = options.maxConnections { writer.field("max_connections", value) }
        if let value = options.queueTimeoutMs { writer.field("queue_timeout_ms", value) }
        guard let health = options.health else { return }
        writer.object("health") { writer in
            writer.field("mode", health.mode.rawValue)
            if health.mode == .http {
                writer.field("path", health.path)
                let statuses = health.statuses.map {
                    $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)"
                }
                writer.field("status", statuses)
            }
            if let port = health.port { writer.field("port", Int(port)) }
            writer.field("interval_ms", health.intervalMs)
            writer.field("timeout_ms", health.timeoutMs)
            writer.field("rise", health.rise)
            writer.field("fall", health.fall)
        }
    }
}
