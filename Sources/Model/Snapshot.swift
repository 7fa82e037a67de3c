// The Snapshot: the one type at which the control plane and the data plane meet.
// Everything in it is a plain value in canonical order, so two observers of the same cluster hold equal snapshots.
// It never holds a socket, a clock or a reference; what was refused is told in `diagnostics`.
//
// A new field of any type in a snapshot has to be written and read in SnapshotCodec+Encoding.swift and
// SnapshotCodec+Decoding.swift, or it never reaches a proxy; compared in SnapshotContent.swift, if it decides anything;
// and shown in SnapshotDocument.swift. Tests/ModelTests/SnapshotFieldTests.swift asks for it.

/// What the proxy is to do, as of one look at the world.
public struct Snapshot: Hashable, Sendable {
    public var order: SnapshotOrder
    /// What people wrote: services, hosts, paths, options.
    public var configuration: Configuration
    /// What runs: one list of upstreams for each service, index for index with `configuration.services`.
    public var endpoints: [[Upstream]]
    /// What was refused or doubted, and why. It changes no route, but a change of it is published too, so that people
    /// see it.
    public var diagnostics: [Diagnostic]

    public init(
        order: SnapshotOrder = .init(), configuration: Configuration = .init(), endpoints: [[Upstream]] = [],
        diagnostics: [Diagnostic] = []
    ) {
        self.order = order
        self.configuration = configuration
        self.endpoints = endpoints
        self.diagnostics = diagnostics
    }
}

/// The order of snapshots: within one cluster, by the highest object version ever seen, then by the start of the list.
public struct SnapshotOrder: Hashable, Sendable {
    /// Swarm's cluster id; "" without Swarm.
    public var clusterID: String
    /// The highest `Version.Index` seen in any object of the cluster so far.
    public var version: UInt64
    /// When the list began, nanoseconds since 1970.
    public var listedAtNs: UInt64

    public init(clusterID: String = "", version: UInt64 = 0, listedAtNs: UInt64 = 0) {
        self.clusterID = clusterID
        self.version = version
        self.listedAtNs = listedAtNs
    }
}

/// The part of a snapshot that people write and that a rollback can pin.
public struct Configuration: Hashable, Sendable {
    /// In canonical order (see `Service.id`); routes and endpoints refer to positions in this list.
    public var services: [Service]
    /// In canonical order: host pattern, then path prefix, then conditions.
    public var routes: [Route]
    /// In canonical order of host patterns.
    public var hosts: [HostOptions]
    /// In order of ports.
    public var streams: [StreamPort]

    public init(
        services: [Service] = [], routes: [Route] = [], hosts: [HostOptions] = [], streams: [StreamPort] = []
    ) {
        self.services = services
        self.routes = routes
        self.hosts = hosts
        self.streams = streams
    }
}

/// A service that is published through the proxy.
public struct Service: Hashable, Sendable {
    /// Unique in a snapshot and stable as long as the service lives: Swarm's service id, `container:<id>`, or
    /// `file:<name>`. Services are sorted by (name, id).
    public var id: String
    /// What people call it; the label of its metrics.
    public var name: String
    /// `com.docker.stack.namespace`, or "".
    public var stack: String
    /// The proxy group that serves it; "" is the default group.
    public var cluster: String
    public var source: ServiceSource
    public var backendMode: BackendMode
    /// Replicas wanted, where the source knows; nil otherwise.
    public var desiredTaskCount: Int?
    public var options: ServiceOptions

    public init(
        id: String, name: String, stack: String = "", cluster: String = "", source: ServiceSource = .file,
        backendMode: BackendMode = .task, desiredTaskCount: Int? = nil, options: ServiceOptions = .init()
    ) {
        self.id = id
        self.name = name
        self.stack = stack
        self.cluster = cluster
        self.source = source
        self.backendMode = backendMode
        self.desiredTaskCount = desiredTaskCount
        self.options = options
    }
}

public enum ServiceSource: String, Hashable, Sendable, CaseIterable { case swarm, container, file, config }

public enum BackendMode: String, Hashable, Sendable, CaseIterable { case task, vip }

/// Per-service overrides; nil means the proxy's global setting. Durations are milliseconds.
public struct ServiceOptions: Hashable, Sendable {
    public var connectTimeoutMs: Int?
    public var responseTimeoutMs: Int?
    public var idleTimeoutMs: Int?
    public var tunnelTimeoutMs: Int?
    /// Attempts beyond the first.
    public var retries: Int?
    /// Statuses (of 500, 502, 503, 504) after which an idempotent request is tried on another task.
    public var retryStatuses: [Int] = []
    public var maxBodySize: UInt64?
    public var proxyProtocol: ProxyProtocolVersion?
    /// nil: plain connections to the tasks.
    public var backendTLS: BackendTLS?
    /// Its share among the services of a route, 0 to 1000; nil: by the number of its tasks, unless another service of
    /// the route has a weight.
    public var weight: Int?
    /// Over this time the share of a new task grows to its full size.
    public var slowStartMs: Int?
    /// So many failures within `failTimeoutMs` take a task out for as long; 0: never.
    public var maxFails: Int?
    public var failTimeoutMs: Int?
    public var health: HealthCheck?
    /// How long requests wait for a task to come back; 0: not at all.
    public var holdMs: Int?
    /// Requests and tunnels under way at once, by task; nil: no limit.
    public var maxConnections: Int?
    /// How long a request waits for its turn.
    public var queueTimeoutMs: Int?

    public init() {}
}

public enum ProxyProtocolVersion: String, Hashable, Sendable, CaseIterable { case v1, v2 }

/// Which hosts a route answers.
public enum HostPattern: Hashable, Sendable {
    /// A lower-case host name without port or trailing dot; an IPv6 literal keeps its brackets.
    case exact(String)
    /// `*.example.com` is `.wildcard("example.com")`: one or more labels before it.
    case wildcard(String)
    /// Every host that nobody else claims.
    case any
}

/// A host pattern and a path prefix, and the services whose tasks answer it (merged into one pool).
public struct Route: Hashable, Sendable {
    public var host: HostPattern
    /// Begins with `/`; without a trailing slash except for the root. Matched by whole segments.
    public var pathPrefix: String
    /// Of routes with the same host and path, those with conditions are asked first.
    public var conditions: RouteConditions
    public var balancing: Balancing
    /// Strip the prefix before sending on.
    public var rewritesPrefix: Bool
    public var pathPolicy: PathPolicy
    /// Plain HTTP is redirected to https.
    public var requiresTLS: Bool
    /// The value of Strict-Transport-Security on https answers (RFC 6797); nil: none.
    public var hsts: String?
    /// Positions in `Configuration.services`, ascending.
    public var services: [Int]

    public init(
        host: HostPattern, pathPrefix: String = "/", rewritesPrefix: Bool = false, pathPolicy: PathPolicy = .safe,
        requiresTLS: Bool = false, hsts: String? = nil, conditions: RouteConditions = .init(),
        balancing: Balancing = .init(), services: [Int]
    ) {
        self.host = host
        self.pathPrefix = pathPrefix
        self.conditions = conditions
        self.balancing = balancing
        self.rewritesPrefix = rewritesPrefix
        self.pathPolicy = pathPolicy
        self.requiresTLS = requiresTLS
        self.hsts = hsts
        self.services = services
    }
}

public enum PathPolicy: String, Hashable, Sendable, CaseIterable { case safe, raw }

/// One address that answers for a service: a task, a VIP, a container, or a fixed endpoint.
public struct Upstream: Hashable, Sendable {
    /// The identity that state is kept under: the Swarm task id, `vip:<service id>`, `container:<id>` or
    /// `file:<name>/<address>`. Never an address alone: another task may get it next.
    public var id: String
    public var endpoint: Endpoint
    public var state: UpstreamState

    public init(id: String, endpoint: Endpoint, state: UpstreamState = .ready) {
        self.id = id
        self.endpoint = endpoint
        self.state = state
    }
}

/// Where an upstream stands between start and stop.
public enum UpstreamState: String, Hashable, Sendable, CaseIterable {
    /// Starting, or not healthy yet: gets nothing.
    case pending
    case ready
    /// Told to stop: no new request; what is under way finishes.
    case draining
}
