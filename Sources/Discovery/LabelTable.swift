// Every label there is, in one table: its kind of value, what this build does with it, and whether it keeps anybody
// out. Parsing, diagnostics and the documentation of labels go by this table; nothing else knows a label's name.

/// One label, without its prefix.
public struct LabelDefinition: Hashable, Sendable {
    /// What this build does with the label.
    public enum Effect: String, Hashable, Sendable {
        /// Acts on it.
        case acts
        /// Reads it, and needs nothing from it: what it asks for happens anyway.
        case needless
        /// Checks its value and warns that it has no effect yet.
        case notYet
        /// Cannot do what it asks for, and serving without it would be wrong: the service is not routed.
        case refuses
    }

    public let name: String
    public let kind: LabelKind
    public let effect: Effect
    /// It keeps requests or peers out: it must never be ignored.
    public let restrictsAccess: Bool
    /// The parsed values under which a label asks for nothing.
    let idleValues: [LabelValue]

    /// Whether labels without it would be weaker: it restricts access, or keeps what is sent from other eyes.
    var protects: Bool { restrictsAccess || name == "ssl_backend" || name == "ssl_passthrough" }

    init(
        _ name: String, _ kind: LabelKind, _ effect: Effect, restrictsAccess: Bool = false,
        idleValues: [LabelValue] = []
    ) {
        self.name = name
        self.kind = kind
        self.effect = effect
        self.restrictsAccess = restrictsAccess
        self.idleValues = idleValues
    }
}

/// The table of labels.
public enum Labels {
    /// Swarm's label on the containers of its tasks.
    public static let swarmTaskLabel = "com.docker.swarm.task.id"
    /// Swarm's label with the name of the service that a container belongs to.
    public static let swarmServiceLabel = "com.docker.swarm.service.name"
    /// The label that `docker stack deploy` puts on everything.
    public static let stackLabel = "com.docker.stack.namespace"
    /// Compose's name for the group that a container belongs to.
    public static let composeProjectLabel = "com.docker.compose.project"

    /// What controllers write on the services that they manage: it asks the proxy for nothing.
    public static let managedMark = "managed"
    public static let managedFailedMark = "managed_failed"
    public static let addedSecretsMark = "added_secrets"
    public static let addedNetworksMark = "added_networks"
    /// On a secret: it is the operator's own, and no label of a service gets at it.
    public static let reservedMark = "reserved"

    static let marks: Set<String> = [managedMark, managedFailedMark, addedSecretsMark, addedNetworksMark]

    /// Whether a name, with its prefix, is one that a service's author uses.
    static func isAuthors(_ name: String, prefix: String) -> Bool {
        name.hasPrefix(prefix) && !marks.contains(String(name.dropFirst(prefix.count)))
    }

    public static func definition(of name: String) -> LabelDefinition? { byName[name] }

    private static let byName = Dictionary(table.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })

    /// All labels, without their prefix, in the order in which they are documented.
    public static let table: [LabelDefinition] = interlockLabels + ownLabels

    /// The labels of Docker Interlock.
    private static let interlockLabels: [LabelDefinition] = [
        .init("hosts", .hosts, .acts),
        .init("port", .port, .acts),
        .init("network", .name, .acts),
        .init("context_root", .path, .acts),
        .init("context_root_rewrite", .boolean, .acts),
        .init("ssl_cert", .secrets, .acts),
        .init("ssl_key", .secrets, .acts),
        .init("ssl_passthrough", .boolean, .acts, idleValues: [.boolean(false)]),
        .init("ssl_only", .boolean, .acts, restrictsAccess: true, idleValues: [.boolean(false)]),
        .init("ssl_backend", .boolean, .acts, idleValues: [.boolean(false)]),
        .init(
            "ssl_backend_tls_verify", .choice(["none", "required"]), .acts, restrictsAccess: true,
            idleValues: [.text("none")]),
        .init("ssl_backend_ca", .secret, .acts, restrictsAccess: true),
        .init("ssl_backend_name", .hostName, .acts),
        .init("websocket_endpoints", .paths, .needless),
        .init("service_cluster", .name, .acts),
        .init("sticky_session_cookie", .token, .acts),
        .init("ip_hash", .boolean, .acts),
        .init("redirects", .redirects, .acts),
        .init("default_backend", .boolean, .acts),
        .init("backend_mode", .choice(["task", "default", "vip"]), .acts),
        .init("max_fails", .integer(0...1000), .acts),
        .init("fail_timeout", .duration, .acts),
    ]

    /// The labels beyond Docker Interlock.
    private static let ownLabels: [LabelDefinition] = [
        .init("weight", .integer(0...1000), .acts),
        .init("match_headers", .conditions, .acts, restrictsAccess: true),
        .init("match_methods", .methods, .acts, restrictsAccess: true),
        .init("lb", .balancing, .acts),
        .init("health_mode", .choice(["http", "tcp", "grpc"]), .acts),
        .init("health_path", .requestTarget, .acts),
        .init("health_interval", .interval, .acts),
        .init("health_timeout", .deadline, .acts),
        .init("health_status", .statuses, .acts),
        .init("health_port", .port, .acts),
        .init("health_rise", .integer(1...100), .acts),
        .init("health_fall", .integer(1...100), .acts),
        .init("slow_start", .duration, .acts),
        .init("connect_timeout", .deadline, .acts),
        .init("response_timeout", .deadline, .acts),
        .init("idle_timeout", .duration, .acts),
        .init("tunnel_timeout", .deadline, .acts),
        .init("retries", .integer(0...8), .acts),
        .init("retry_on", .retryStatuses, .acts),
        .init("hold", .duration, .acts),
        .init("max_connections", .integer(1...1_000_000), .acts),
        .init("queue_timeout", .duration, .acts),
        .init("max_body_size", .size, .acts),
        .init("rate_limit", .rateLimit, .refuses, restrictsAccess: true),
        .init("ip_allow", .addressBlocks, .refuses, restrictsAccess: true),
        .init("ip_deny", .addressBlocks, .refuses, restrictsAccess: true),
        .init("basic_auth", .name, .refuses, restrictsAccess: true),
        .init("forward_auth", .url, .refuses, restrictsAccess: true),
        .init("forward_auth_headers", .names, .notYet),
        .init("request_headers", .headers, .notYet),
        .init("response_headers", .headers, .notYet),
        .init("cors_origins", .names, .notYet),
        .init("cors_methods", .methods, .notYet),
        .init("cors_headers", .names, .notYet),
        .init("cors_expose_headers", .names, .notYet),
        .init("cors_credentials", .boolean, .notYet, idleValues: [.boolean(false)]),
        .init("cors_max_age", .duration, .notYet),
        .init("hsts", .transportSecurity, .acts),
        .init("compress", .booleanOrNames, .notYet, idleValues: [.boolean(false)]),
        .init(
            "ssl_min_version", .choice(["1.2", "1.3"]), .acts, restrictsAccess: true, idleValues: [.text("1.2")]),
        .init("ssl_client_ca", .secret, .acts, restrictsAccess: true),
        .init("ssl_client_auth", .choice(["required", "optional"]), .acts, restrictsAccess: true),
        .init("proxy_protocol", .choice(["v1", "v2"]), .acts),
        .init("tcp_port", .port, .acts),
        .init(
            "backend_protocol", .choice(["http/1.1", "h2c", "h2"]), .refuses, idleValues: [.text("http/1.1")]),
        .init("path_policy", .choice(["safe", "raw"]), .acts),
    ]

    /// The known name that a mistyped one is nearest to; nil if none is near.
    public static func nearestName(to name: String) -> String? {
        guard name.utf8.count <= 40 else { return nil }
        let typed = Array(name.lowercased().replacingHyphens.utf8)
        var best: (name: String, distance: Int)?
        for definition in table {
            let distance = editDistance(typed, Array(definition.name.utf8))
            if distance <= max(1, definition.name.utf8.count / 3), distance < best?.distance ?? .max {
                best = (definition.name, distance)
            }
        }
        return best?.name
    }

    /// Insertions, deletions, replacements and swaps of neighbours that turn one into the other.
    private static func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...right.count)
        for row in left.indices {
            var current = [row + 1]
            for column in right.indices {
                var cost = min(
                    last[column] + (left[row] == right[column] ? 0 : 1), last[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                    cost = min(cost, beforeLast[column - 1] + 1)
                }
                current.append(cost)
            }
            beforeLast = last
            last = current
        }
        return last[right.count]
    }
}

extension String {
    fileprivate var replacingHyphens: String { String(map { $0 == "-" ? "_" : $0 }) }
}
