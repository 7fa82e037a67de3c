// What the controller is told at its start, and what it tells about itself.

public import Discovery
public import Docker
public import Model

/// Whom a controller maps for.
public enum ClusterScope: Hashable, Sendable {
    /// One proxy group, by name: the process proxies itself.
    case only(String)
    /// Every group that a label names or that somebody asked for, and the group named "".
    case all
}

/// What a controller may change in the services that it and the proxies run in.
public enum ServiceManagement: Hashable, Sendable {
    case off
    /// Secrets that labels name are attached to the controller's service.
    case secrets
    /// And networks of services to the proxies' services.
    case secretsAndNetworks
}

public struct ControllerSettings: Hashable, Sendable {
    /// nil: Docker is off.
    public var docker: DockerSettings?
    /// nil: there is none.
    public var servicesFile: String?
    /// `serviceCluster` and `proxyService` are set for each group in turn. Where `proxyNetworks` is nil, the networks
    /// of the group's proxy service are used, and with one group only those of the own container.
    public var mapping: MappingSettings
    public var clusters: ClusterScope
    /// The Swarm services that the proxies run in, by group.
    public var proxyServices: [String: String]
    /// Where the history is kept over restarts, and a pin where there is no Swarm; nil: nowhere.
    public var stateDirectory: String?
    /// Whether a rollback may write its pin to Docker.
    public var mayPin: Bool
    public var management: ServiceManagement
    /// The Swarm service that this process is a task of; nil: as Docker tells.
    public var controllerService: String?
    /// Names of secrets and of their files that are the operator's own: no label of a service gets at them.
    public var reservedSecrets: Set<String>
    /// When a history that could not be saved is tried again.
    var historyRetryMs = 10_000

    /// - Parameter clusters: nil is the one group that `mapping` names.
    public init(
        docker: DockerSettings? = nil, servicesFile: String? = nil, mapping: MappingSettings = MappingSettings(),
        clusters: ClusterScope? = nil, proxyServices: [String: String] = [:],
        management: ServiceManagement = .off, controllerService: String? = nil, reservedSecrets: Set<String> = [],
        stateDirectory: String? = nil, mayPin: Bool = false
    ) {
        self.docker = docker
        self.servicesFile = servicesFile
        self.mapping = mapping
        self.clusters = clusters ?? .only(mapping.serviceCluster)
        self.proxyServices = proxyServices
        self.stateDirectory = stateDirectory
        self.mayPin = mayPin
        self.management = management
        self.controllerService = controllerService
        self.reservedSecrets = reservedSecrets
    }
}

extension ControllerSettings {
    /// The mapping's settings for one group.
    func mapping(of cluster: String, at place: ProxyPlaces.Place) -> MappingSettings {
        var mapping = mapping
        mapping.serviceCluster = cluster
        mapping.proxyNetworks = place.networks
        mapping.proxyService = place.service
        return mapping
    }
}

/// What the proxies of one group are to do.
public struct ClusterSnapshot: Hashable, Sendable {
    public var cluster: String
    public var snapshot: Snapshot

    public init(cluster: String, snapshot: Snapshot) {
        self.cluster = cluster
        self.snapshot = snapshot
    }
}

/// Why the controller cannot start: one clear line.
public struct ControllerError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(description: String) { self.description = description }
}

public struct ControllerStatus: Hashable, Sendable {
    /// nil: Docker is off.
    public var docker: DockerStatus?
    /// Everything that is wrong right now: by group, in the order of its last snapshot, then with managed services.
    public var diagnostics: [Diagnostic] = []
    /// Snapshots handed out, of all groups.
    public var publishedCount: UInt64 = 0
    /// Looks at the world that asked for nothing new.
    public var unchangedCount: UInt64 = 0
    /// The last mapping from inventory to snapshots, in microseconds.
    public var lastMappingUs: Int = 0
    /// The last published snapshot's place in time.
    public var order = SnapshotOrder()
    /// nil: there is none.
    public var pin: PinStatus?

    public init() {}
}
