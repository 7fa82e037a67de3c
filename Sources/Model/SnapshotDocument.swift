// A snapshot as JSON, for `interlock extension exec` and `/api/snapshot`. Programs of other people read it, so its
// names stay what they are. docs/EXTENSIONS.md describes every field; secrets are named in it and never shown.

public enum SnapshotDocument {
    /// The value of `interlock_snapshot`. Fields may be added under the same number; one that goes, or means something
    /// else, makes another.
    public static let version = 1

    /// One line of text with a line feed at its end.
    /// - Parameter secrets: what of the secrets is at hand; their names alone are written.
    public static func json(snapshot: Snapshot, secrets: SecretFiles = SecretFiles()) -> [UInt8] {
        let configuration = snapshot.configuration
        let ids = configuration.services.map(\.id)
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("interlock_snapshot", version)
            writer.object("order") { writer in
                writer.field("cluster", snapshot.order.clusterID)
                writer.field("version", snapshot.order.version)
                writer.field("listed_at_ns", snapshot.order.listedAtNs)
            }
            writer.array("services") { writer in
                for (index, service) in configuration.services.enumerated() {
                    let upstreams = index < snapshot.endpoints.count ? snapshot.endpoints[index] : []
                    writer.object { append(service, upstreams, to: &$0) }
                }
            }
            writer.array("routes") { writer in
                for route in configuration.routes { writer.object { append(route, ids, to: &$0) } }
            }
            writer.array("hosts") { writer in
                for host in configuration.hosts { writer.object { append(host, ids, to: &$0) } }
            }
            writer.array("streams") { writer in
                for stream in configuration.streams { writer.object { append(stream, ids, to: &$0) } }
            }
            writer.array("diagnostics") { writer in
                for diagnostic in snapshot.diagnostics { writer.object { append(diagnostic, to: &$0) } }
            }
            writer.object("secrets") { append(secrets, to: &$0) }
        }
        return writer.bytes + [0x0A]
    }

    // MARK: Where requests go

    private static func append(_ route: Route, _ ids: [String], to writer: inout JSONWriter) {
        writer.field("host", route.host.description)
        writer.field("path", route.pathPrefix)
        writer.object("conditions") { writer in
            writer.array("headers") { writer in
                for header in route.conditions.headers {
                    writer.object { writer in
                        writer.field("name", header.name)
                        append("value", header.value, to: &writer)
                    }
                }
            }
            writer.field("methods", route.conditions.methods)
        }
        append(route.balancing, to: &writer)
        writer.field("rewrites_prefix", route.rewritesPrefix)
        writer.field("path_policy", route.pathPolicy.rawValue)
        writer.field("requires_tls", route.requiresTLS)
        append("hsts", route.hsts, to: &writer)
        append(services: route.services, ids, "services", to: &writer)
    }

    private static func append(_ host: HostOptions, _ ids: [String], to writer: inout JSONWriter) {
        writer.field("host", host.host.description)
        append(services: host.passthrough, ids, "passthrough", to: &writer)
        append(host.balancing, to: &writer)
        append(host.tls, to: &writer)
        writer.array("redirects") { writer in
            for redirect in host.redirects {
                writer.object { writer in
                    writer.field("scheme", redirect.scheme.rawValue)
                    writer.field("target", redirect.target)
                }
            }
        }
    }

    private static func append(_ stream: StreamPort, _ ids: [String], to writer: inout JSONWriter) {
        writer.field("port", stream.port)
        append(services: stream.services, ids, "services", to: &writer)
        append(stream.balancing, to: &writer)
        writer.array("hosts") { writer in
            for host in stream.hosts {
                writer.object { writer in
                    writer.field("host", host.host.description)
                    append(services: host.services, ids, "services", to: &writer)
                    append(host.balancing, to: &writer)
                    append(host.tls, to: &writer)
                }
            }
        }
    }

    private static func append(_ balancing: Balancing, to writer: inout JSONWriter) {
        writer.object("balancing") { writer in
            writer.field("method", balancing.method.rawValue)
            guard let key = balancing.key else { return writer.null("key") }
            writer.object("key") { writer in
                switch key {
                case .clientAddress: writer.field("of", "client_address")
                case .cookie(let name):
                    writer.field("of", "cookie")
                    writer.field("name", name)
                case .header(let name):
                    writer.field("of", "header")
                    writer.field("name", name)
                }
            }
        }
    }

    /// Options of TLS where it ends here.
    private static func append(_ tls: TLSOptions?, to writer: inout JSONWriter) {
        guard let tls else { return writer.null("tls") }
        writer.object("tls") { writer in
            writer.array("certificates") { writer in
                for certificate in tls.certificates {
                    writer.object { writer in
                        writer.field("certificate", certificate.certificate.names)
                        append("key", certificate.key, to: &writer)
                    }
                }
            }
            append("min_version", tls.minimumVersion?.rawValue, to: &writer)
            guard let client = tls.clientAuthentication else { return writer.null("client_auth") }
            writer.object("client_auth") { writer in
                writer.field("demand", client.demand.rawValue)
                writer.field("authorities", client.authorities.names)
            }
        }
    }

    // MARK: The rest

    private static func append(_ diagnostic: Diagnostic, to writer: inout JSONWriter) {
        writer.field("severity", diagnostic.severity.rawValue)
        writer.field("service", diagnostic.service)
        writer.field("label", diagnostic.label)
        writer.field("value", diagnostic.value)
        writer.field("message", diagnostic.message)
    }

    private static func append(_ secrets: SecretFiles, to writer: inout JSONWriter) {
        func sorted(_ names: some Sequence<String>) -> [String] { names.sorted { $0.isBefore($1) } }
        writer.field("names", sorted(secrets.secrets.keys))
        writer.field("certificates", sorted(secrets.certificates.keys))
        writer.field("has_default_certificate", secrets.defaultCertificate != nil)
        writer.array("failures") { writer in
            for name in sorted(secrets.failures.keys) {
                writer.object { writer in
                    writer.field("name", name)
                    writer.field("reason", secrets.failures[name] ?? "")
                }
            }
        }
    }
}

extension SecretFiles {
    /// Whether a document tells the same of both.
    public func hasSameNames(as other: SecretFiles) -> Bool {
        secrets.keys == other.secrets.keys && certificates.keys == other.certificates.keys
            && (defaultCertificate == nil) == (other.defaultCertificate == nil) && failures == other.failures
    }
}

// What is there or null.
extension SnapshotDocument {
    static func append(_ key: String, _ text: String?, to writer: inout JSONWriter) {
        if let text { writer.field(key, text) } else { writer.null(key) }
    }

    static func append(_ key: String, _ reference: SecretReference?, to writer: inout JSONWriter) {
        if let reference { writer.field(key, reference.names) } else { writer.null(key) }
    }

    static func append(services: [Int], _ ids: [String], _ key: String, to writer: inout JSONWriter) {
        writer.field(key, services.lazy.filter(ids.indices.contains).map { ids[$0] })
    }
}
