// No field is forgotten by the codec: each one is changed, and the change has to arrive. Which fields there are is
// asked of the values themselves: a new field fails here until there is a change for it, and its bytes are written.

import Model
import Testing

/// A change of one field of the rich snapshot, which stays sound.
struct FieldChange: Sendable, CustomStringConvertible {
    /// `Type.field`.
    let description: String
    let apply: @Sendable (inout Snapshot) -> Void

    init(_ description: String, _ apply: @escaping @Sendable (inout Snapshot) -> Void) {
        self.description = description
        self.apply = apply
    }

    static func service(_ field: String, _ apply: @escaping @Sendable (inout Service) -> Void) -> FieldChange {
        .init("Service.\(field)") { apply(&$0.configuration.services[0]) }
    }

    static func option(_ field: String, _ apply: @escaping @Sendable (inout ServiceOptions) -> Void) -> FieldChange {
        .init("ServiceOptions.\(field)") { apply(&$0.configuration.services[0].options) }
    }

    static func check(_ field: String, _ apply: @escaping @Sendable (inout HealthCheck) -> Void) -> FieldChange {
        .init("HealthCheck.\(field)") { snapshot in
            if snapshot.configuration.services[0].options.health != nil {
                apply(&snapshot.configuration.services[0].options.health!)
            }
        }
    }

    static func route(_ field: String, _ apply: @escaping @Sendable (inout Route) -> Void) -> FieldChange {
        .init("Route.\(field)") { apply(&$0.configuration.routes[0]) }
    }

    static func host(_ field: String, _ apply: @escaping @Sendable (inout HostOptions) -> Void) -> FieldChange {
        .init("HostOptions.\(field)") { apply(&$0.configuration.hosts[0]) }
    }

    static func stream(_ field: String, _ apply: @escaping @Sendable (inout StreamPort) -> Void) -> FieldChange {
        .init("StreamPort.\(field)") { apply(&$0.configuration.streams[1]) }
    }

    static func streamHost(_ field: String, _ apply: @escaping @Sendable (inout StreamHost) -> Void) -> FieldChange {
        .init("StreamHost.\(field)") { apply(&$0.configuration.streams[1].hosts[0]) }
    }

    static func tls(_ field: String, _ apply: @escaping @Sendable (inout TLSOptions) -> Void) -> FieldChange {
        .init(field) { apply(&$0.configuration.hosts[0].tls) }
    }

    static func upstream(_ field: String, _ apply: @escaping @Sendable (inout Upstream) -> Void) -> FieldChange {
        .init(field) { apply(&$0.endpoints[0][1]) }
    }

    static func diagnostic(_ field: String, _ apply: @escaping @Sendable (inout Diagnostic) -> Void) -> FieldChange {
        .init("Diagnostic.\(field)") { apply(&$0.diagnostics[0]) }
    }
}

private let services: [FieldChange] = [
    .init("Configuration.services") { snapshot in
        snapshot.configuration.services.append(Service(id: "id-d", name: "d"))
        snapshot.endpoints.append([])
    },
    .service("id") { $0.id = "id-x" }, .service("name") { $0.name = "aa" }, .service("stack") { $0.stack = "" },
    .service("cluster") { $0.cluster = "" }, .service("source") { $0.source = .container },
    .service("backendMode") { $0.backendMode = .task }, .service("desiredTaskCount") { $0.desiredTaskCount = nil },
    .service("options") { $0.options = ServiceOptions() },
    .option("connectTimeoutMs") { $0.connectTimeoutMs = 100 },
    .option("responseTimeoutMs") { $0.responseTimeoutMs = nil },
    .option("idleTimeoutMs") { $0.idleTimeoutMs = 100 }, .option("tunnelTimeoutMs") { $0.tunnelTimeoutMs = nil },
    .option("retries") { $0.retries = 0 }, .option("retryStatuses") { $0.retryStatuses = [504] },
    .option("maxBodySize") { $0.maxBodySize = 0 }, .option("proxyProtocol") { $0.proxyProtocol = .v1 },
    .option("backendTLS") { $0.backendTLS = nil }, .option("weight") { $0.weight = 0 },
    .option("slowStartMs") { $0.slowStartMs = 100 }, .option("maxFails") { $0.maxFails = 0 },
    .option("failTimeoutMs") { $0.failTimeoutMs = 100 }, .option("health") { $0.health = nil },
    .option("holdMs") { $0.holdMs = 0 }, .option("maxConnections") { $0.maxConnections = 100 },
    .option("queueTimeoutMs") { $0.queueTimeoutMs = 100 },
    .init("BackendTLS.verifies") { $0.configuration.services[0].options.backendTLS?.verifies = false },
    .init("BackendTLS.authorities") { $0.configuration.services[0].options.backendTLS?.authorities = nil },
    .init("BackendTLS.serverName") { $0.configuration.services[0].options.backendTLS?.serverName = nil },
    .check("mode") { $0.mode = .http }, .check("path") { $0.path = "/" }, .check("intervalMs") { $0.intervalMs = 100 },
    .check("timeoutMs") { $0.timeoutMs = 100 }, .check("statuses") { $0.statuses = [200...205, 300...399] },
    .check("port") { $0.port = nil }, .check("rise") { $0.rise = 100 }, .check("fall") { $0.fall = 100 },
]

private let places: [FieldChange] = [
    .init("Configuration.routes") { $0.configuration.routes.removeLast() },
    .init("Configuration.hosts") { $0.configuration.hosts.removeLast() },
    .init("Configuration.streams") { $0.configuration.streams.removeLast() },
    .route("host") { $0.host = .exact("a.tess") }, .route("pathPrefix") { $0.pathPrefix = "/" },
    .route("conditions") { $0.conditions = .init() }, .route("balancing") { $0.balancing = .init() },
    .route("rewritesPrefix") { $0.rewritesPrefix = false }, .route("pathPolicy") { $0.pathPolicy = .safe },
    .route("requiresTLS") { $0.requiresTLS = false }, .route("hsts") { $0.hsts = nil },
    .route("services") { $0.services = [0, 1, 2] },
    .init("RouteConditions.headers") { $0.configuration.routes[0].conditions.headers = [] },
    .init("RouteConditions.methods") { $0.configuration.routes[0].conditions.methods = ["GET", "PUT"] },
    .init("RouteConditions.Header.name") { $0.configuration.routes[0].conditions.headers[1].name = "x-c" },
    .init("RouteConditions.Header.value") { $0.configuration.routes[0].conditions.headers[1].value = nil },
    .init("Balancing.method") { $0.configuration.routes[0].balancing.method = .random },
    .init("Balancing.key") { $0.configuration.routes[0].balancing.key = .header("SID") },
    .host("host") { $0.host = .exact("a.tess") }, .host("tls") { $0.tls = TLSOptions() },
    .init("HostOptions.passthrough") { $0.configuration.hosts[1].passthrough = [0, 2] },
    .init("HostOptions.balancing") { $0.configuration.hosts[1].balancing = .init() },
    .host("redirects") { $0.redirects.append(.init(scheme: .https, target: "http://a")) },
    .init("HostRedirect.scheme") { $0.configuration.hosts[0].redirects[0].scheme = .https },
    .init("HostRedirect.target") { $0.configuration.hosts[0].redirects[0].target = "https://c.test" },
    .stream("port") { $0.port = 6380 }, .stream("hosts") { $0.hosts.removeLast() },
    .init("StreamPort.services") { $0.configuration.streams[0].services = [1] },
    .init("StreamPort.balancing") { $0.configuration.streams[0].balancing = .init() },
    .streamHost("host") { $0.host = .wildcard("r.test") }, .streamHost("services") { $0.services = [0] },
    .streamHost("balancing") { $0.balancing = .init() }, .streamHost("tls") { $0.tls = nil },
    .tls("TLSOptions.certificates") { $0.certificates = [] },
    .tls("TLSOptions.minimumVersion") { $0.minimumVersion = .tls12 },
    .tls("TLSOptions.clientAuthentication") { $0.clientAuthentication = nil },
    .tls("CertificateReference.certificate") { $0.certificates[0].certificate = .init("other") },
    .tls("CertificateReference.key") { $0.certificates[0].key = nil },
    .tls("SecretReference.names") { $0.certificates[0].key?.names.append("other") },
    .tls("ClientAuthentication.demand") { $0.clientAuthentication?.demand = .required },
    .tls("ClientAuthentication.authorities") { $0.clientAuthentication?.authorities = .init("other") },
]

private let running: [FieldChange] = [
    .init("Snapshot.configuration") { $0.configuration.services[1].stack = "other" },
    .init("Snapshot.endpoints") { $0.endpoints[0].removeLast() },
    .init("Snapshot.diagnostics") { $0.diagnostics = [] },
    .upstream("Upstream.id") { $0.id = "task-9" }, .upstream("Upstream.state") { $0.state = .ready },
    .upstream("Upstream.endpoint") { $0.endpoint = endpoint("10.0.0.2:80") },
    .upstream("Endpoint.address") { $0.endpoint = endpoint("10.0.0.2:443") },
    .upstream("Endpoint.port") { $0.endpoint = endpoint("[2001:db8::1]:444") },
    .upstream("IPAddress.high") { $0.endpoint = endpoint("[2001:db9::1]:443") },
    .upstream("IPAddress.low") { $0.endpoint = endpoint("[2001:db8::2]:443") },
    .upstream("IPAddress.isIPv4") { $0.endpoint = Endpoint(address: IPAddress(v4: 1), port: 443) },
    .diagnostic("severity") { $0.severity = .error }, .diagnostic("service") { $0.service = "b" },
    .diagnostic("label") { $0.label = "" }, .diagnostic("value") { $0.value = String(repeating: "v", count: 300) },
    .diagnostic("message") { $0.message = "" },
]

/// One for each field.
let snapshotFieldChanges = services + places + running

@Test("a changed field changes pieces, and arrives", arguments: snapshotFieldChanges)
func fieldIsWritten(_ change: FieldChange) throws {
    var changed = richSnapshot()
    change.apply(&changed)
    #expect(changed != richSnapshot(), "nothing was changed")
    let pieces = SnapshotCodec.pieces(of: changed)
    #expect(pieces != SnapshotCodec.pieces(of: richSnapshot()))
    #expect(try SnapshotCodec.decode(pieces, order: changed.order).snapshot == changed)
}

@Test("there is a change for each field")
func noFieldIsForgotten() {
    var found: Set<String> = []
    collectFields(of: richSnapshot(), into: &found)
    // When it was seen is told beside the pieces.
    let order = ["clusterID", "version", "listedAtNs"].map { "SnapshotOrder.\($0)" } + ["Snapshot.order"]
    #expect(found.isSuperset(of: order))
    #expect(found.subtracting(order) == Set(snapshotFieldChanges.map(\.description)))
}

@Test("the order is not in the pieces")
func orderIsElsewhere() {
    var later = richSnapshot()
    later.order = SnapshotOrder(clusterID: "other", version: 1, listedAtNs: 2)
    #expect(SnapshotCodec.pieces(of: later) == SnapshotCodec.pieces(of: richSnapshot()))
}

@Test(
    "a changed secret changes pieces, and arrives",
    arguments: [
        { $0.secrets["new"] = [1] }, { $0.secrets["cert"] = [] }, { $0.certificates["x.pem"] = nil },
        { $0.defaultCertificate = nil }, { $0.defaultKey = [] }, { $0.defaultStaple = nil }, { $0.ticketKey = nil },
        { $0.failures["clients"] = "cannot be read" }, { $0 = SecretFiles(ticketKey: [1]) },
    ] as [@Sendable (inout SecretFiles) -> Void])
func secretIsWritten(_ change: @Sendable (inout SecretFiles) -> Void) throws {
    // A field of it more has another size; its values are not to be looked at (`customMirror`).
    #expect(MemoryLayout<SecretFiles>.size == 7 * MemoryLayout<Int>.size, "the codec has to write the new field")
    var changed = richSecrets()
    change(&changed)
    let pieces = SnapshotCodec.pieces(of: changed)
    #expect(pieces != SnapshotCodec.pieces(of: richSecrets()))
    let all = SnapshotCodec.pieces(of: Snapshot()) + pieces
    #expect(try SnapshotCodec.decode(all, order: .init()).secrets == changed)
}

@Test("printing a piece prints nothing that is in it")
func piecesAreQuiet() throws {
    let pieces = SnapshotCodec.pieces(of: SecretFiles(secrets: ["key": Array("PRIVATE".utf8)]))
    #expect(pieces.allSatisfy { $0.isSecret } && pieces.count == 2)
    #expect(!SnapshotCodec.pieces(of: richSnapshot()).contains { $0.isSecret })
    var dumped = ""
    dump(pieces, to: &dumped)
    #expect(!dumped.contains("80") && !"\(pieces)".contains("80"), "\(dumped)")
    #expect("\(pieces[1])" == "14 bytes of secrets")
}

/// The stored fields of all types of the model in a value.
private func collectFields(of value: Any, into found: inout Set<String>) {
    let mirror = Mirror(reflecting: value)
    let type = String(reflecting: mirror.subjectType)
    for child in mirror.children {
        if mirror.displayStyle == .struct, type.hasPrefix("Model."), let label = child.label {
            found.insert("\(type.dropFirst("Model.".count)).\(label)")
        }
        collectFields(of: child.value, into: &found)
    }
}
