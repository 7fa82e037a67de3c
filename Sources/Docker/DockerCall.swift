// Everything that is ever asked of the engine: there is no way to name another call. All but a few are GET; each call
// that writes needs a permission of its own, which a client was given when it was made or never has.

/// A version of the Engine API, such as 1.41.
public struct DockerVersion: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let major: Int
    public let minor: Int

    public init(_ major: Int, _ minor: Int) {
        self.major = major
        self.minor = minor
    }

    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ (1...4).contains($0.utf8.count) }), let major = Int(parts[0]),
            let minor = Int(parts[1]), major >= 0, minor >= 0
        else { return nil }
        self.init(major, minor)
    }

    public static func < (left: DockerVersion, right: DockerVersion) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }

    public var description: String { "\(major).\(minor)" }

    /// The newest version whose answers are understood.
    static let highest = DockerVersion(1, 51)
    /// The oldest: `/tasks` and `/services` as they are today.
    static let lowest = DockerVersion(1, 24)
}

/// What a client may write. Empty for all but those whose business it is, and for them only where a setting says so.
public struct DockerWrites: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Create and remove configs: the pin of a rollback.
    public static let pins = DockerWrites(rawValue: 1)
    /// Update services.
    public static let services = DockerWrites(rawValue: 2)
}

/// The id of an object as a part of a path: nothing in it can lead to another path.
struct DockerID: Hashable, Sendable {
    let text: String

    init?(_ text: String) {
        let isPlain = text.utf8.allSatisfy { byte in
            (0x61...0x7A).contains(byte | 0x20) || (0x30...0x39).contains(byte) || byte == 0x2D || byte == 0x5F
        }
        guard isPlain, (1...128).contains(text.utf8.count) else { return nil }
        self.text = text
    }
}

enum DockerCall: Hashable, Sendable {
    enum Method: String, Sendable { case get = "GET", post = "POST", delete = "DELETE" }

    case ping
    case info
    case services
    /// Tasks that are wanted: starting, running, or waiting for the one before them.
    case tasks
    /// Tasks by id, whatever is wanted of them.
    case tasksByID([String])
    case nodes
    case networks
    case configs
    case containers
    case events
    case createConfig
    case removeConfig(DockerID)
    /// One service, with all its fields.
    case service(DockerID)
    /// Names of secrets; no engine tells what is in them.
    case secrets
    case updateService(DockerID, version: UInt64)

    /// The paths that may be asked for, without the version. Nothing else leaves this process.
    static let allowedPaths: Set<String> = [
        "/_ping", "/info", "/services", "/tasks", "/nodes", "/networks", "/configs", "/containers/json", "/events",
        "/secrets", "/services/{id}",
    ]

    /// The calls that write, and what each needs. Nothing else that could change a cluster leaves this process.
    static let allowedWrites: [String: DockerWrites] = [
        "POST /configs/create": .pins, "DELETE /configs/{id}": .pins, "POST /services/{id}/update": .services,
    ]

    var method: Method {
        switch self {
        case .createConfig, .updateService: .post
        case .removeConfig: .delete
        default: .get
        }
    }

    var path: String {
        switch self {
        case .removeConfig(let id): "/configs/\(id.text)"
        case .service(let id): "/services/\(id.text)"
        case .updateService(let id, _): "/services/\(id.text)/update"
        default: pattern
        }
    }

    /// The path with `{id}` for an object's id.
    private var pattern: String {
        switch self {
        case .ping: "/_ping"
        case .info: "/info"
        case .services: "/services"
        case .tasks, .tasksByID: "/tasks"
        case .nodes: "/nodes"
        case .networks: "/networks"
        case .configs: "/configs"
        case .containers: "/containers/json"
        case .events: "/events"
        case .createConfig: "/configs/create"
        case .removeConfig: "/configs/{id}"
        case .service: "/services/{id}"
        case .secrets: "/secrets"
        case .updateService: "/services/{id}/update"
        }
    }

    /// For messages.
    var name: String { "\(method.rawValue) \(path)" }

    /// Whether a client with these permissions may make the call.
    func isAllowed(by writes: DockerWrites) -> Bool {
        guard method != .get else { return Self.allowedPaths.contains(pattern) }
        guard let needed = Self.allowedWrites["\(method.rawValue) \(pattern)"] else { return false }
        return writes.isSuperset(of: needed)
    }

    private func query(_ version: DockerVersion?) -> String {
        switch self {
        case .ping, .info, .nodes, .networks, .configs, .containers, .createConfig, .removeConfig, .service, .secrets:
            ""
        case .updateService(_, let version): "version=\(version)"
        // The counts of tasks came with 1.41.
        case .services: version ?? .highest >= DockerVersion(1, 41) ? "status=true" : ""
        case .tasks: "filters=" + Self.escape(#"{"desired-state":["running","ready","complete"]}"#)
        case .tasksByID(let ids):
            "filters=" + Self.escape(#"{"id":["# + ids.map { "\"\($0)\"" }.joined(separator: ",") + "]}")
        case .events: "filters=" + Self.escape(Self.eventFilter)
        }
    }

    /// Health checks make three exec events each: the list of actions keeps them out.
    private static let eventFilter = #"""
        {"type":["service","node","network","config","container"],\#
        "event":["create","update","remove","start","die","stop","kill","pause","unpause","destroy","health_status",\#
        "connect","disconnect","rename"]}
        """#

    /// The request target; `version` nil leaves the choice to the engine. Whoever sends it says what it may write.
    func target(_ version: DockerVersion?, writes: DockerWrites = []) -> String {
        precondition(isAllowed(by: writes), "a call outside the allow-list")
        let query = query(version)
        let prefix = version.map { self == .ping ? "" : "/v\($0)" } ?? ""
        return prefix + path + (query.isEmpty ? "" : "?" + query)
    }

    private static func escape(_ text: String) -> String {
        var escaped = ""
        for byte in text.utf8 {
            let isPlain = (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x2D || byte == 0x5F
            if isPlain {
                escaped.unicodeScalars.append(UnicodeScalar(byte))
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                escaped += digits.utf8.count == 1 ? "%0" + digits : "%" + digits
            }
        }
        return escaped
    }
}
