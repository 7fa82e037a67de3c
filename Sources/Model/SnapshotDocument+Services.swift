// Services with their tasks, in the JSON of a snapshot. Options are those that somebody set: what is not there is for
// the load balancer to decide.

extension SnapshotDocument {
    static func append(_ service: Service, _ upstreams: [Upstream], to writer: inout JSONWriter) {
        writer.field("id", service.id)
        writer.field("name", service.name)
        writer.field("stack", service.stack)
        writer.field("cluster", service.cluster)
        writer.field("source", service.source.rawValue)
        writer.field("backend_mode", service.backendMode.rawValue)
        if let count = service.desiredTaskCount {
            writer.field("desired_tasks", count)
        } else {
            writer.null("desired_tasks")
        }
        writer.object("options") { append(service.options, to: &$0) }
        writer.array("endpoints") { writer in
            for upstream in upstreams {
                writer.object { writer in
                    writer.field("id", upstream.id)
                    writer.field("address", upstream.endpoint.address.description)
                    writer.field("port", upstream.endpoint.port)
                    writer.field("state", upstream.state.rawValue)
                }
            }
        }
    }

    private static func append(_ options: ServiceOptions, to writer: inout JSONWriter) {
        let numbers: [(String, Int?)] = [
            ("connect_timeout_ms", options.connectTimeoutMs), ("response_timeout_ms", options.responseTimeoutMs),
            ("idle_timeout_ms", options.idleTimeoutMs), ("tunnel_timeout_ms", options.tunnelTimeoutMs),
            ("retries", options.retries), ("weight", options.weight), ("slow_start_ms", options.slowStartMs),
            ("max_fails", options.maxFails), ("fail_timeout_ms", options.failTimeoutMs), ("hold_ms", options.holdMs),
            ("max_connections", options.maxConnections), ("queue_timeout_ms", options.queueTimeoutMs),
        ]
        for (key, number) in numbers {
            if let number { writer.field(key, number) }
        }
        if !options.retryStatuses.isEmpty {
            writer.array("retry_on") { writer in
                for status in options.retryStatuses { writer.value(status) }
            }
        }
        if let size = options.maxBodySize { writer.field("max_body_size", size) }
        if let version = options.proxyProtocol { writer.field("proxy_protocol", version.rawValue) }
        if let backend = options.backendTLS {
            writer.object("backend_tls") { writer in
                writer.field("verify", backend.verifies)
                append("authorities", backend.authorities, to: &writer)
                append("server_name", backend.serverName, to: &writer)
            }
        }
        if let health = options.health { writer.object("health") { append(health, to: &$0) } }
    }

    private static func append(_ health: HealthCheck, to writer: inout JSONWriter) {
        writer.field("mode", health.mode.rawValue)
        writer.field("path", health.path)
        if let port = health.port { writer.field("port", port) } else { writer.null("port") }
        writer.field("interval_ms", health.intervalMs)
        writer.field("timeout_ms", health.timeoutMs)
        writer.field("rise", health.rise)
        writer.field("fall", health.fall)
        writer.array("statuses") { writer in
            for range in health.statuses {
                writer.array { writer in
                    writer.value(range.lowerBound)
                    writer.value(range.upperBound)
                }
            }
        }
    }
}
