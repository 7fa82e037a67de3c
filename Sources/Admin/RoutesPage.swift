// The live table as JSON: what is routed where, to which tasks, and what was refused and why.

import Model
import Routing

enum RoutesPage {
    /// Without a table the lists are empty and `version` is null.
    static func json(table: RouteTable?, control: ControlReading) -> [UInt8] {
        var writer = JSONWriter()
        let snapshot = table?.snapshot ?? Snapshot()
        let services = snapshot.configuration.services
        writer.object { writer in
            if let table { writer.field("version", table.version) } else { writer.null("version") }
            writer.object("order") { writer in
                writer.field("cluster", snapshot.order.clusterID)
                writer.field("version", snapshot.order.version)
                writer.field("listed_at_ns", snapshot.order.listedAtNs)
            }
            writer.array("routes") { writer in
                for route in snapshot.configuration.routes { append(route, services, to: &writer) }
            }
            writer.array("services") { writer in
                for (index, service) in services.enumerated() {
                    append(service, index < snapshot.endpoints.count ? snapshot.endpoints[index] : [], to: &writer)
                }
            }
            writer.array("diagnostics") { writer in
                for diagnostic in control.diagnostics { append(diagnostic, to: &writer) }
            }
        }
        return writer.bytes + [0x0A]
    }

    private static func append(_ route: Route, _ services: [Service], to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("host", route.host.description)
            writer.field("path", route.pathPrefix)
            writer.field("rewrites_prefix", route.rewritesPrefix)
            writer.field("path_policy", route.pathPolicy.rawValue)
            writer.field("services", route.services.filter(services.indices.contains).map { services[$0].name })
        }
    }

    private static func append(_ service: Service, _ upstreams: [Upstream], to writer: inout JSONWriter) {
        writer.object { writer in
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
            writer.array("upstreams") { writer in
                for upstream in upstreams {
                    writer.object { writer in
                        writer.field("id", upstream.id)
                        writer.field("address", upstream.endpoint.description)
                        writer.field("state", upstream.state.rawValue)
                    }
                }
            }
        }
    }

    /// Only what the service set; the rest is the proxy's settings.
    private static func append(_ options: ServiceOptions, to writer: inout JSONWriter) {
        if let value = options.connectTimeoutMs { writer.field("connect_timeout_ms", value) }
        if let value = options.responseTimeoutMs { writer.field("response_timeout_ms", value) }
        if let value = options.idleTimeoutMs { writer.field("idle_timeout_ms", value) }
        if let value = options.tunnelTimeoutMs { writer.field("tunnel_timeout_ms", value) }
        if let value = options.retries { writer.field("retries", value) }
        if !options.retryStatuses.isEmpty {
            writer.array("retry_on") { writer in
                for status in options.retryStatuses { writer.value(status) }
            }
        }
        if let value = options.maxBodySize { writer.field("max_body_size", value) }
        if let value = options.proxyProtocol { writer.field("proxy_protocol", value.rawValue) }
    }

    private static func append(_ diagnostic: Diagnostic, to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("severity", diagnostic.severity.rawValue)
            writer.field("service", diagnostic.service)
            writer.field("label", diagnostic.label)
            writer.field("value", diagnostic.value)
            writer.field("message", diagnostic.message)
        }
    }
}
