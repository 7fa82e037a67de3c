// What was seen in the world, before anybody decides what it means: services, tasks, nodes, networks, containers and
// services files as plain values in neutral terms. Whoever reads JSON fills it; `ServiceMapping` alone reads it.
// It never holds what the mapping does not need, so that equal worlds give equal inventories.

public import Model

/// One look at the world. The order of the lists does not matter.
public struct Inventory: Hashable, Sendable {
    public var order: SnapshotOrder
    public var services: [SwarmService]
    public var tasks: [SwarmTask]
    public var nodes: [SwarmNode]
    public var networks: [Network]
    /// Containers of this machine's engine, Swarm's own among them (they are skipped by their label).
    public var containers: [Container]
    /// Services files from disk and from Docker configs.
    public var files: [ServicesFile]

    public init(
        order: SnapshotOrder = .init(), services: [SwarmService] = [], tasks: [SwarmTask] = [],
        nodes: [SwarmNode] = [], networks: [Network] = [], containers: [Container] = [], files: [ServicesFile] = []
    ) {
        self.order = order
        self.services = services
        self.tasks = tasks
        self.nodes = nodes
        self.networks = networks
        self.containers = containers
        self.files = files
    }
}

/// A Swarm service: `GET /services?status=true`.
public struct SwarmService: Hashable, Sendable {
    public var id: String
    public var name: String
    /// `Version.Index`.
    public var version: UInt64
    /// Nanoseconds since 1970; the older of two services decides a conflict between them.
    public var createdAtNs: Int64
    /// `Spec.Labels`.
    public var labels: [String: String]
    /// `Spec.TaskTemplate.ContainerSpec.Labels`, read only to say that labels are in the wrong place.
    public var containerLabels: [String: String]
    /// `PreviousSpec.Labels`; nil if there is no previous spec.
    public var previousLabels: [String: String]?
    public var mode: ServiceMode
    /// `ServiceStatus.DesiredTasks` and `.RunningTasks`; nil where the engine did not say.
    public var desiredTaskCount: Int?
    public var runningTaskCount: Int?
    /// `UpdateStatus.State`; nil if it was never updated.
    public var updateState: UpdateState?
    public var usesVirtualIP: Bool
    /// `Endpoint.Ports`, or `Spec.EndpointSpec.Ports`.
    public var ports: [PublishedPort]
    /// `Endpoint.VirtualIPs`, without their prefix length.
    public var virtualIPs: [NetworkAddress]
    /// `Spec.TaskTemplate.Networks[].Target`: ids or names.
    public var networks: [String]

    public init(
        id: String, name: String, version: UInt64 = 0, createdAtNs: Int64 = 0, labels: [String: String] = [:],
        containerLabels: [String: String] = [:], previousLabels: [String: String]? = nil,
        mode: ServiceMode = .replicated(1), desiredTaskCount: Int? = nil, runningTaskCount: Int? = nil,
        updateState: UpdateState? = nil, usesVirtualIP: Bool = true, ports: [PublishedPort] = [],
        virtualIPs: [NetworkAddress] = [], networks: [String] = []
    ) {
        self.id = id
        self.name = name
        self.version = version
        self.createdAtNs = createdAtNs
        self.labels = labels
        self.containerLabels = containerLabels
        self.previousLabels = previousLabels
        self.mode = mode
        self.desiredTaskCount = desiredTaskCount
        self.runningTaskCount = runningTaskCount
        self.updateState = updateState
        self.usesVirtualIP = usesVirtualIP
        self.ports = ports
        self.virtualIPs = virtualIPs
        self.networks = networks
    }
}

public enum ServiceMode: Hashable, Sendable {
    case replicated(Int)
    case global
    /// `ReplicatedJob` and `GlobalJob`: tasks that end by themselves.
    case job
}

/// `UpdateStatus.State`.
public enum UpdateState: String, Hashable, Sendable {
    case updating, paused, completed
    case rollbackStarted = "rollback_started"
    case rollbackPaused = "rollback_paused"
    case rollbackCompleted = "rollback_completed"

    /// Tasks are being replaced right now.
    public var isUnderWay: Bool { self == .updating || self == .rollbackStarted }
}

/// A port that a service or container publishes.
public struct PublishedPort: Hashable, Sendable {
    public enum Mode: String, Hashable, Sendable { case ingress, host }

    public var targetPort: UInt16
    /// 0 until the engine has chosen one.
    public var publishedPort: UInt16
    public var mode: Mode
    /// UDP and SCTP ports are listed too; only TCP ones are used.
    public var isTCP: Bool

    public init(targetPort: UInt16, publishedPort: UInt16 = 0, mode: Mode = .ingress, isTCP: Bool = true) {
        self.targetPort = targetPort
        self.publishedPort = publishedPort
        self.mode = mode
        self.isTCP = isTCP
    }
}

/// An address on a network.
public struct NetworkAddress: Hashable, Sendable {
    public var networkID: String
    public var address: IPAddress

    public init(networkID: String, address: IPAddress) {
        self.networkID = networkID
        self.address = address
    }
}

/// A Swarm task: `GET /tasks`.
public struct SwarmTask: Hashable, Sendable {
    public var id: String
    public var version: UInt64
    public var serviceID: String
    /// 0 for tasks of global services.
    public var slot: Int
    /// "" until it is assigned to a node.
    public var nodeID: String
    public var desiredState: TaskState
    /// `Status.State`.
    public var state: TaskState
    /// `Status.Timestamp`, nanoseconds since 1970.
    public var stateSinceNs: Int64
    /// `NetworksAttachments[].Addresses`, without their prefix length.
    public var addresses: [NetworkAddress]
    /// `Status.PortStatus.Ports`: what this task really publishes on its node.
    public var hostPorts: [PublishedPort]

    public init(
        id: String, version: UInt64 = 0, serviceID: String, slot: Int = 0, nodeID: String = "",
        desiredState: TaskState = .running, state: TaskState = .running, stateSinceNs: Int64 = 0,
        addresses: [NetworkAddress] = [], hostPorts: [PublishedPort] = []
    ) {
        self.id = id
        self.version = version
        self.serviceID = serviceID
        self.slot = slot
        self.nodeID = nodeID
        self.desiredState = desiredState
        self.state = state
        self.stateSinceNs = stateSinceNs
        self.addresses = addresses
        self.hostPorts = hostPorts
    }
}

/// The life of a task, in order; `TaskState("running")` reads the API's spelling.
public enum TaskState: Int, Hashable, Comparable, Sendable, CaseIterable {
    case new, pending, assigned, accepted, preparing, ready, starting, running
    case complete, shutdown, failed, rejected, remove, orphaned

    public init?(_ text: some StringProtocol) {
        guard let state = Self.allCases.first(where: { String(describing: $0) == text }) else { return nil }
        self = state
    }

    public static func < (left: TaskState, right: TaskState) -> Bool { left.rawValue < right.rawValue }

    /// The process is gone, or will never be.
    public var isTerminal: Bool { self > .running }
}

/// A Swarm node: `GET /nodes`.
public struct SwarmNode: Hashable, Sendable {
    public enum State: String, Hashable, Sendable { case unknown, down, ready, disconnected }
    public enum Availability: String, Hashable, Sendable { case active, pause, drain }

    public var id: String
    public var hostname: String
    /// `Status.Addr`; 0.0.0.0 and loopback addresses are kept as they are reported.
    public var address: IPAddress?
    /// The host part of `ManagerStatus.Addr`; nil on workers.
    public var managerAddress: IPAddress?
    public var state: State
    public var availability: Availability

    public init(
        id: String, hostname: String = "", address: IPAddress? = nil, managerAddress: IPAddress? = nil,
        state: State = .ready, availability: Availability = .active
    ) {
        self.id = id
        self.hostname = hostname
        self.address = address
        self.managerAddress = managerAddress
        self.state = state
        self.availability = availability
    }
}

/// A network: `GET /networks`.
public struct Network: Hashable, Sendable {
    public enum Scope: String, Hashable, Sendable { case swarm, global, local }

    public var id: String
    public var name: String
    public var labels: [String: String]
    public var isIngress: Bool
    public var scope: Scope

    public init(
        id: String, name: String, labels: [String: String] = [:], isIngress: Bool = false, scope: Scope = .swarm
    ) {
        self.id = id
        self.name = name
        self.labels = labels
        self.isIngress = isIngress
        self.scope = scope
    }
}

/// A container of this machine's engine: `GET /containers/json`, with its health.
public struct Container: Hashable, Sendable {
    public enum State: String, Hashable, Sendable {
        case created, running, paused, restarting, removing, exited, dead
    }
    public enum Health: String, Hashable, Sendable { case none, starting, healthy, unhealthy }

    public var id: String
    /// Without the leading slash.
    public var name: String
    public var createdAtNs: Int64
    public var labels: [String: String]
    public var networks: [ContainerNetwork]
    /// TCP ports that the image or the run command exposes.
    public var exposedPorts: [UInt16]
    public var publishedPorts: [PublishedPort]
    public var state: State
    public var health: Health

    public init(
        id: String, name: String, createdAtNs: Int64 = 0, labels: [String: String] = [:],
        networks: [ContainerNetwork] = [], exposedPorts: [UInt16] = [], publishedPorts: [PublishedPort] = [],
        state: State = .running, health: Health = .none
    ) {
        self.id = id
        self.name = name
        self.createdAtNs = createdAtNs
        self.labels = labels
        self.networks = networks
        self.exposedPorts = exposedPorts
        self.publishedPorts = publishedPorts
        self.state = state
        self.health = health
    }
}

/// A network as a container lists it: by name and id, with the container's addresses on it.
public struct ContainerNetwork: Hashable, Sendable {
    public var id: String
    public var name: String
    public var addresses: [IPAddress]

    public init(id: String, name: String, addresses: [IPAddress]) {
        self.id = id
        self.name = name
        self.addresses = addresses
    }
}

/// A services file that could be read: a file on disk, or a Docker config labelled as one.
public struct ServicesFile: Hashable, Sendable {
    public enum Origin: String, Hashable, Sendable { case file, config }

    /// The file's path, or the config's name.
    public var name: String
    public var origin: Origin
    /// Where two files hold a service of the same name, the younger one's is used. A file on disk has none: what it
    /// asks for is older than all else, however often it is written anew, and so is not lost by that.
    public var createdAtNs: Int64
    public var services: [FileService]

    public init(name: String, origin: Origin = .file, createdAtNs: Int64 = 0, services: [FileService] = []) {
        self.name = name
        self.origin = origin
        self.createdAtNs = createdAtNs
        self.services = services
    }
}

/// A service written by hand, with fixed endpoints.
public struct FileService: Hashable, Sendable {
    public var name: String
    public var labels: [String: String]
    /// `address:port` as written; what does not parse becomes a diagnostic of this service.
    public var endpoints: [String]

    public init(name: String, labels: [String: String] = [:], endpoints: [String] = []) {
        self.name = name
        self.labels = labels
        self.endpoints = endpoints
    }
}
