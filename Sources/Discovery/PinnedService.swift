// What services said at one time, as far as routes follow from it: labels and age, never tasks or addresses. With it
// the same configuration can be had again later, over the tasks that run then.

import Model

/// One service as it was when a configuration was in force.
public struct PinnedService: Hashable, Sendable {
    /// What it is known by as long as people would call it the same: Swarm's service id, `container:<name>` or
    /// `file:<name>`. (A container gets a new id each time it is made anew, and keeps its name.)
    public var key: String
    /// For people.
    public var name: String
    /// Decides between services that disagree, as it did then.
    public var createdAtNs: Int64
    /// The labels in force: those of the service, or of its spec before the last update. Only the proxy's own, and the
    /// stack's.
    public var labels: [String: String]
    /// The tasks' port then, for a service that has no `port` label and whose port cannot be told any more.
    public var port: UInt16?
    /// false: it was left out, and kept the hosts that it asked for.
    public var isRouted: Bool

    public init(
        key: String, name: String, createdAtNs: Int64 = 0, labels: [String: String] = [:], port: UInt16? = nil,
        isRouted: Bool = true
    ) {
        self.key = key
        self.name = name
        self.createdAtNs = createdAtNs
        self.labels = labels
        self.port = port
        self.isRouted = isRouted
    }

    /// Whether it belongs to this machine alone: other controllers see other containers, perhaps of the same name.
    var isLocal: Bool { key.hasPrefix("container:") }
}

/// A configuration by what its services said.
public struct PinnedConfiguration: Hashable, Sendable {
    /// The proxy groups that it is for, in order; others are not touched by it. nil: all of them.
    public var clusters: [String]?
    /// By key, each once.
    public var services: [PinnedService]

    /// Of all groups, unless some are named.
    public init(clusters: [String]? = nil, services: [PinnedService] = []) {
        self.clusters = clusters
        self.services = services
    }

    public func covers(_ cluster: String) -> Bool { clusters?.contains(cluster) ?? true }

    /// Whether it is for any of these groups; nil: of all groups.
    public func covers(anyOf others: [String]?) -> Bool { others?.contains { covers($0) } ?? (clusters != []) }

    /// Whether it is for each of these groups; nil: for all groups.
    public func coversAll(of others: [String]?) -> Bool { others?.allSatisfy { covers($0) } ?? (clusters == nil) }

    /// Whether it is for these groups alone; nil: all groups.
    public func isWithin(_ others: [String]?) -> Bool {
        guard let others else { return true }
        return clusters?.allSatisfy { others.contains($0) } ?? false
    }
}

/// A configuration that somebody asked to be held.
public struct Pin: Hashable, Sendable {
    /// Unlike that of any other pin.
    public var id: String
    /// The number of the configuration in the history of the controller that pinned it.
    public var number: Int
    /// When, in nanoseconds since 1970.
    public var atNs: Int64
    /// The host name of the controller that pinned it.
    public var controller: String
    /// When the configuration came into force and what had changed: for people.
    public var cause: String
    /// The Swarm node of that controller's engine; "" without a Swarm. Pinned containers are those of that engine.
    public var nodeID: String
    public var configuration: PinnedConfiguration

    public init(
        id: String, number: Int, atNs: Int64, controller: String = "", cause: String = "", nodeID: String = "",
        configuration: PinnedConfiguration = PinnedConfiguration()
    ) {
        self.id = id
        self.number = number
        self.atNs = atNs
        self.controller = controller
        self.cause = cause
        self.nodeID = nodeID
        self.configuration = configuration
    }
}

/// What a service of a mapping said, with all its labels as they came: cheap to make, since nothing is copied.
public struct SaidService: Hashable, Sendable {
    public let key: String
    let name: String
    let stack: String
    let createdAtNs: Int64
    let labels: [String: String]
    let port: UInt16?
    let isRouted: Bool

    init(_ candidate: Candidate, isRouted: Bool) {
        key = Self.key(of: candidate)
        name = candidate.service.name
        stack = candidate.service.stack
        createdAtNs = candidate.createdAtNs
        labels = candidate.labels.written
        port = candidate.port
        self.isRouted = isRouted
    }

    static func key(of candidate: Candidate) -> String {
        candidate.service.source == .container ? "container:\(candidate.service.name)" : candidate.service.id
    }

    /// What of it is worth keeping.
    public func pinned(labelPrefix: String) -> PinnedService {
        var kept = labels.filter { PinnedLabels.isKept($0.key, prefix: labelPrefix) }
        // The labels from before an update may lack the stack's name, which is the service's.
        if !stack.isEmpty, kept[Labels.stackLabel] == nil, kept[Labels.composeProjectLabel] == nil {
            kept[Labels.stackLabel] = stack
        }
        return PinnedService(
            key: key, name: name, createdAtNs: createdAtNs, labels: kept, port: port, isRouted: isRouted)
    }
}
