// Everything that is ever asked of the engine. Only GET, only these paths: the proxy cannot change a cluster, whatever
// the rest of the program does, since there is no way to name another call.

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

enum DockerCall: Hashable, Sendable {
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

    /// The paths that may be asked for, without the version. Nothing else leaves this process.
    static let allowedPaths: Set<String> = [
        "/_ping", "/info", "/services", "/tasks", "/nodes", "/networks", "/configs", "/containers/json", "/events",
    ]

    var path: String {
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
        }
    }

    /// For messages.
    var name: String { "GET \(path)" }

    private func query(_ version: DockerVersion?) -> String {
        switch self {
        case .ping, .info, .nodes, .networks, .configs, .containers: ""
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

    /// The request target; `version` nil leaves the choice to the engine.
    func target(_ version: DockerVersion?) -> String {
        precondition(Self.allowedPaths.contains(path), "a call outside the allow-list")
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
