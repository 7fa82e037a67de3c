// The live table as JSON: what is routed where, to which tasks, and what was refused and why. Certificates and secrets
// are named as labels name them; nobody here has seen what is in them.

import Model
import Routing

enum RoutesPage {
    /// Without a table the lists are empty and `version` is null.
    /// - Parameter health: of tasks, by their numbers.
    static func json(table: RouteTable?, control: ControlReading, health: [UInt64: TaskHealth] = [:]) -> [UInt8] {
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
            writer.array("hosts") { writer in
                for host in snapshot.configuration.hosts { append(host, services, to: &writer) }
            }
            writer.array("streams") { writer in
                for stream in snapshot.configuration.streams { append(stream, services, to: &writer) }
            }
            writer.array("services") { writer in
                if let table { append(services: Array(services.indices), of: table, health: health, to: &writer) }
            }
            writer.array("diagnostics") { writer in
                for diagnostic in control.diagnostics { append(diagnostic, to: &writer) }
            }
        }
        return writer.bytes + [0x0A]
    }

    /// Services by their positions.
    static func append(
        services positions: [Int], of table: RouteTable, health: [UInt64: TaskHealth], to writer: inout JSONWriter
    ) {
        for index in positions {
            let endpoints = table.snapshot.endpoints
            append(table.services[index], index < endpoints.count ? endpoints[index] : [], to: &writer) {
                health[table.identity(service: index, upstream: $0)]
            }
        }
    }

    private static func append(_ route: Route, _ services: [Service], to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("host", route.host.description)
            writer.field("path", route.pathPrefix)
            writer.field("rewrites_prefix", route.rewritesPrefix)
            writer.field("path_policy", route.pathPolicy.rawValue)
            if route.requiresTLS { writer.field("ssl_only", true) }
            if let hsts = route.hsts { writer.field("hsts", hsts) }
            append(route.conditions, to: &writer)
            append(route.balancing, to: &writer)
            writer.field("services", names(route.services, services))
        }
    }

    private static func names(_ positions: [Int], _ services: [Service]) -> [String] {
        positions.filter(services.indices.contains).map { services[$0].name }
    }

    /// Only what is special about it.
    private static func append(_ host: HostOptions, _ services: [Service], to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("host", host.host.description)
            if !host.passthrough.isEmpty { writer.field("passthrough", names(host.passthrough, services)) }
            append(host.balancing, to: &writer)
            append(host.tls, to: &writer)
            guard !host.redirects.isEmpty else { return }
            writer.array("redirects") { writer in
                for redirect in host.redirects {
                    writer.object { writer in
                        writer.field("scheme", redirect.scheme.rawValue)
                        writer.field("target", redirect.target)
                    }
                }
            }
        }
    }

    private static func append(_ stream: StreamPort, _ services: [Service], to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("port", Int(stream.port))
            append(stream.balancing, to: &writer)
            if !stream.services.isEmpty { return writer.field("services", names(stream.services, services)) }
            writer.array("hosts") { writer in
                for host in stream.hosts {
                    writer.object { writer in
                        writer.field("host", host.host.description)
                        writer.field("terminates_tls", host.tls != nil)
                        if let tls = host.tls { append(tls, to: &writer) }
                        append(host.balancing, to: &writer)
                        writer.field("services", names(host.services, services))
                    }
                }
            }
        }
    }

    /// Only what was asked for.
    private static func append(_ tls: TLSOptions, to writer: inout JSONWriter) {
        if !tls.certificates.isEmpty {
            writer.array("certificates") { writer in
                for certificate in tls.certificates {
                    writer.object { writer in
                        writer.field("certificate", certificate.certificate.names.first ?? "")
                        if let key = certificate.key { writer.field("key", key.names.first ?? "") }
                    }
                }
            }
        }
        if let version = tls.minimumVersion { writer.field("min_version", version.rawValue) }
        if let client = tls.clientAuthentication {
            writer.field("client_auth", client.demand.rawValue)
            writer.field("client_ca", client.authorities.names.first ?? "")
        }
    }

    private static func append(
        _ service: Service, _ upstreams: [Upstream], to writer: inout JSONWriter, health: (Int) -> TaskHealth?
    ) {
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
                for (position, upstream) in upstreams.enumerated() {
                    writer.object { writer in
                        writer.field("id", upstream.id)
                        writer.field("address", upstream.endpoint.description)
                        writer.field("state", upstream.state.rawValue)
                        if let health = health(position) { append(health, to: &writer) }
                    }
                }
            }
        }
    }

    /// Only what is known.
    private static func append(_ task: TaskHealth, to writer: inout JSONWriter) {
        if !task.health.isEmpty { writer.field("health", task.health) }
        if task.avoidingWorkers > 0 { writer.field("avoided_by_workers", task.avoidingWorkers) }
        guard !task.lastFailure.isEmpty else { return }
        writer.field("last_failure", task.lastFailure)
        writer.field("failed_at_ns", task.failedAtNs)
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
        appendTraffic(options, to: &writer)
        guard let backend = options.backendTLS else { return }
        writer.object("backend_tls") { writer in
            writer.field("verify", backend.verifies ? "required" : "none")
            if let authorities = backend.authorities { writer.field("ca", authorities.names.first ?? "") }
            if let name = backend.serverName { writer.field("name", name) }
        }
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
