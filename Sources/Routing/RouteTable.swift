// The compiled form of a snapshot that workers look requests up in. It never changes after `init`; publishing another
// table is the only way to change a route. Looking up takes no lock, allocates nothing and counts no references.

public import Model

/// All routes, pools, upstreams and services of one snapshot, ready for lookup.
public final class RouteTable: Sendable {
    /// What a host and a path lead to.
    public enum Match: BitwiseCopyable, Hashable, Sendable {
        /// For `route(_:)`; the first of those that may answer, see `RouteEntry.fallback`.
        case route(Int32)
        /// Nobody claims the host, and there is no default backend.
        case unknownHost
        /// The host has routes, but none for this path.
        case unknownPath
    }

    public let version: UInt64
    /// What the table was made from, for people.
    public let snapshot: Snapshot
    /// One more than the highest `PoolEntry.cursorSlot`.
    public let cursorCount: Int

    let hash: KeyedHash
    /// Where hashing a host name and a wildcard's suffix begins.
    let exactStart: UInt64
    let wildcardStart: UInt64
    /// Host names, wildcard suffixes and path prefixes, one after the other.
    let keys: FrozenArray<UInt8>
    let hosts: FrozenArray<HostEntry>
    let hostNames: ByteTable
    let contexts: ByteTable
    /// The host entry of the default backend, or -1.
    let anyHost: Int32
    /// Bytes of the longest wildcard suffix; 0 without wildcards.
    let longestWildcard: Int
    let routes: FrozenArray<RouteEntry>
    let pools: FrozenArray<PoolEntry>
    let members: FrozenArray<Member>
    let groups: FrozenArray<GroupEntry>
    let conditions: FrozenArray<ConditionEntry>
    let headerConditions: FrozenArray<HeaderCondition>
    let methodNames: FrozenArray<ByteRange>
    let serviceEntries: FrozenArray<ServiceEntry>
    let waitingEntries: FrozenArray<WaitingEntry>
    /// The services of pools that have several.
    let mergedPools: [Int32: [Int32]]
    let readyIdentities: [UInt64]
    let redirectTargets: FrozenArray<ByteRange>
    let streamEntries: FrozenArray<StreamEntry>
    let streamHosts: FrozenArray<StreamHostRow>
    let streamNames: ByteTable
    /// Bytes of the longest wildcard suffix of any entry port; 0 without wildcards.
    let longestStreamWildcard: Int
    /// By stream: the entry for every other server name, or -1.
    let anyStreamHosts: FrozenArray<Int32>
    /// By service and upstream, as in `Snapshot.endpoints`; see `identity(service:upstream:)`.
    let endpointIdentities: [UInt64]
    let endpointStarts: [Int32]

    /// What was asked of TLS; the first one asks for nothing.
    public let tlsOptions: [TLSOptions]
    /// What was asked of TLS to tasks.
    public let backendTLS: [BackendTLS]

    /// The services with a health check, in the order of services.
    public let checks: [ServiceCheck]

    /// Ascending numbers of all upstreams, whatever their state.
    public let upstreamIdentities: [UInt64]

    /// Compiles a snapshot. Upstreams, services and pools keep the numbers they have in `numbering`. What a valid
    /// snapshot cannot hold (see `Snapshot.problems()`) is left out.
    /// - Parameter nowNs: CLOCK_MONOTONIC; what is ready for the first time is so since then.
    public init(compiling snapshot: Snapshot, version: UInt64, numbering: inout Numbering, nowNs: UInt64 = 0) {
        var compiler = RouteCompiler(snapshot: snapshot, nowNs: nowNs)
        compiler.compile(numbering: &numbering)
        self.version = version
        self.snapshot = snapshot
        hash = compiler.hash
        exactStart = hash.start(scope: HostScope.exact)
        wildcardStart = hash.start(scope: HostScope.wildcard)
        keys = FrozenArray(compiler.keys)
        hosts = FrozenArray(compiler.hosts)
        hostNames = compiler.hostNames.freeze()
        contexts = compiler.contexts.freeze()
        anyHost = compiler.anyHost
        longestWildcard = compiler.longestWildcard
        routes = FrozenArray(compiler.routes)
        pools = FrozenArray(compiler.pools)
        members = FrozenArray(compiler.members)
        groups = FrozenArray(compiler.groups)
        conditions = FrozenArray(compiler.conditions)
        headerConditions = FrozenArray(compiler.headerConditions)
        methodNames = FrozenArray(compiler.methodNames)
        serviceEntries = FrozenArray(compiler.serviceEntries)
        cursorCount = compiler.cursorCount
        waitingEntries = FrozenArray(snapshot.configuration.services.map(WaitingEntry.init))
        mergedPools = compiler.mergedPools
        readyIdentities = compiler.readyIdentities
        upstreamIdentities = compiler.upstreamIdentities
        redirectTargets = FrozenArray(compiler.redirectTargets)
        streamEntries = FrozenArray(compiler.streams)
        streamHosts = FrozenArray(compiler.streamHosts)
        streamNames = compiler.streamNames.freeze()
        longestStreamWildcard = compiler.longestStreamWildcard
        anyStreamHosts = FrozenArray(compiler.anyStreamHosts)
        tlsOptions = compiler.tlsOptions
        backendTLS = compiler.backendTLS
        endpointIdentities = compiler.endpointIdentities
        endpointStarts = compiler.endpointStarts
        checks = compiler.checks
    }

    /// In the order of `Configuration.services`.
    public var services: [Service] { snapshot.configuration.services }

    public var routeCount: Int { routes.count }
    public var poolCount: Int { pools.count }
    public var serviceCount: Int { serviceEntries.count }

    public func route(_ index: Int32) -> RouteEntry { routes[Int(index)] }
    public func pool(_ index: Int32) -> PoolEntry { pools[Int(index)] }
    public func member(_ index: Int32) -> Member { members[Int(index)] }
    public func service(_ index: Int32) -> ServiceEntry { serviceEntries[Int(index)] }

    /// The bytes of a route's path prefix; valid as long as the table lives.
    public func prefix(of route: RouteEntry) -> UnsafeRawBufferPointer {
        keys.bytes(from: Int(route.prefixStart), count: Int(route.prefixCount))
    }

    /// The name of the cookie (as it is spelled) or field (in lower case) that a pool's requests are hashed by; valid
    /// as long as the table lives.
    public func keyName(of pool: PoolEntry) -> UnsafeRawBufferPointer { text(pool.keyName) }

    /// Valid as long as the table lives.
    func text(_ range: ByteRange) -> UnsafeRawBufferPointer {
        keys.bytes(from: Int(range.start), count: Int(range.count))
    }

    /// Upstreams that were ready in the old table and are not ready in this one, ascending: no new request goes there,
    /// idle connections are closed.
    public func removed(since old: RouteTable) -> [UInt64] {
        difference(old.readyIdentities, readyIdentities)
    }

    /// Whether an upstream is ready in this table.
    public func isReady(_ identity: UInt64) -> Bool { readyIdentities.containsAscending(identity) }

    /// Upstreams of the old table that are not in this one at all, ascending: their state can be forgotten once their
    /// last connection is closed.
    public func gone(since old: RouteTable) -> [UInt64] {
        difference(old.upstreamIdentities, upstreamIdentities)
    }

    /// What is in the first and not in the second; both ascending.
    private func difference(_ first: [UInt64], _ second: [UInt64]) -> [UInt64] {
        var result: [UInt64] = []
        var position = 0
        for identity in first {
            while position < second.count, second[position] < identity { position += 1 }
            if position == second.count || second[position] != identity { result.append(identity) }
        }
        return result
    }
}
