// From a snapshot to the arrays of a route table. Runs on the publishing thread, up to ten times a second with ten
// thousand routes; workers never compile.

import Model

/// Everything a `RouteTable` is made of, while it is being made.
struct RouteCompiler {
    let snapshot: Snapshot
    let nowNs: UInt64
    let hash: KeyedHash
    var keys: [UInt8] = []
    var hosts: [HostEntry] = []
    var hostNames: ByteTableBuilder
    var contexts: ByteTableBuilder
    var anyHost: Int32 = -1
    var longestWildcard = 0
    var routes: [RouteEntry] = []
    var conditions: [ConditionEntry] = []
    var headerConditions: [HeaderCondition] = []
    var methodNames: [ByteRange] = []
    var pools: [PoolEntry] = []
    var members: [Member] = []
    var groups: [GroupEntry] = []
    var serviceEntries: [ServiceEntry] = []
    var cursorCount = 0
    var mergedPools: [Int32: [Int32]] = [:]
    var readyIdentities: [UInt64] = []
    var upstreamIdentities: [UInt64] = []
    var endpointIdentities: [UInt64] = []
    var endpointStarts: [Int32] = []
    var checks: [ServiceCheck] = []
    /// The first one asks for nothing: what holds for hosts without a word on TLS.
    var tlsOptions: [TLSOptions] = [TLSOptions()]
    var backendTLS: [BackendTLS] = []
    var redirectTargets: [ByteRange] = []
    var streams: [StreamEntry] = []
    var streamHosts: [StreamHostRow] = []
    var streamNames: ByteTableBuilder
    var longestStreamWildcard = 0
    var anyStreamHosts: [Int32] = []

    private var tlsOptionsPositions: [TLSOptions: Int32] = [TLSOptions(): 0]
    private var backendTLSPositions: [BackendTLS: Int32] = [:]

    /// The routes of one host and path, by the first of them.
    var chains: [Int32: RouteChain] = [:]
    /// The ready members of each service, index for index.
    var readyMembers: [[Member]] = []
    var poolOfService: [Int32]
    var poolOfServices: [PoolDescription: Int32] = [:]

    init(snapshot: Snapshot, nowNs: UInt64) {
        self.snapshot = snapshot
        self.nowNs = nowNs
        let routeCount = snapshot.configuration.routes.count
        let configuration = snapshot.configuration
        hash = KeyedHash(key: .random(in: .min ... .max))
        hostNames = ByteTableBuilder(capacity: routeCount + configuration.hosts.count)
        streamNames = ByteTableBuilder(capacity: configuration.streams.reduce(0) { $0 + $1.hosts.count })
        contexts = ByteTableBuilder(capacity: routeCount)
        keys.reserveCapacity(routeCount * 24)
        routes.reserveCapacity(routeCount)
        poolOfService = Array(repeating: -1, count: snapshot.configuration.services.count)
    }

    mutating func compile(numbering: inout Numbering) {
        numbering.beginTable()
        compileServices(numbering: &numbering)
        for route in snapshot.configuration.routes { compileRoute(route, numbering: &numbering) }
        linkShorterPrefixes()
        for host in snapshot.configuration.hosts { compileHost(host, numbering: &numbering) }
        for stream in snapshot.configuration.streams { compileStream(stream, numbering: &numbering) }
        if !checks.isEmpty { nameChecks() }
        numbering.endTable()
        readyIdentities.sort()
        upstreamIdentities.sort()
    }

    private mutating func compileServices(numbering: inout Numbering) {
        for (index, service) in snapshot.configuration.services.enumerated() {
            let slot = numbering.slot(ofService: service.id)
            let backend = service.options.backendTLS.map { position(ofBackend: $0) } ?? -1
            serviceEntries.append(ServiceEntry(service.options, statsSlot: slot, backendTLS: backend))
            let slowStartNs = UInt64(clamping: service.options.slowStartMs ?? 0) &* 1_000_000
            let check = service.options.health
            if let check { checks.append(ServiceCheck(service: Int32(index), check: check)) }
            var ready: [Member] = []
            endpointStarts.append(Int32(endpointIdentities.count))
            for upstream in index < snapshot.endpoints.count ? snapshot.endpoints[index] : [] {
                let isReady = upstream.state == .ready
                let known = numbering.upstream(upstream.id, isReady: isReady, nowNs: nowNs)
                upstreamIdentities.append(known.identity)
                endpointIdentities.append(known.identity)
                guard isReady else { continue }
                readyIdentities.append(known.identity)
                ready.append(
                    Member(
                        identity: known.identity, endpoint: upstream.endpoint, service: Int32(index),
                        isVIP: service.backendMode == .vip, isChecked: check != nil, seed: known.seed,
                        readySinceNs: known.readySinceNs ?? 0, slowStartNs: slowStartNs))
                if check != nil { checks[checks.count - 1].tasks.append((known.identity, upstream.endpoint)) }
            }
            readyMembers.append(ready)
        }
    }

    private mutating func compileRoute(_ route: Route, numbering: inout Numbering) {
        guard let pool = pool(of: route.services, route.balancing, numbering: &numbering),
            let host = host(of: route.host)
        else { return }
        let prefix = append(route.pathPrefix)
        let hsts = append(route.hsts ?? "")
        let isRoot = route.pathPrefix == "/"
        let index = Int32(routes.count)
        let entry = RouteEntry(
            pool: pool, prefixStart: prefix.start, prefixCount: prefix.count,
            rewritesPrefix: route.rewritesPrefix && !isRoot, pathPolicyIsRaw: route.pathPolicy == .raw,
            requiresTLS: route.requiresTLS, hstsStart: hsts.start, hstsCount: hsts.count, host: host,
            conditions: route.conditions.isEmpty ? -1 : Int32(conditions.count))
        let head: Int32
        if isRoot {
            head = hosts[Int(host)].rootRoute < 0 ? index : hosts[Int(host)].rootRoute
            hosts[Int(host)].rootRoute = head
        } else {
            guard let found = insertContext(entry, index: index) else { return }
            head = found
        }
        guard link(index, to: head, route.conditions) else { return }
        routes.append(entry)
        appendConditions(route.conditions)
    }

    /// Adds text to the keys.
    mutating func append(_ text: String) -> ByteRange {
        let start = keys.count
        keys.append(contentsOf: text.utf8)
        return ByteRange(start: UInt32(start), count: Int32(keys.count - start))
    }

    mutating func position(ofOptions options: TLSOptions) -> Int32 {
        if let known = tlsOptionsPositions[options] { return known }
        let position = Int32(tlsOptions.count)
        tlsOptions.append(options)
        tlsOptionsPositions[options] = position
        return position
    }

    private mutating func position(ofBackend backend: BackendTLS) -> Int32 {
        if let known = backendTLSPositions[backend] { return known }
        let position = Int32(backendTLS.count)
        backendTLS.append(backend)
        backendTLSPositions[backend] = position
        return position
    }

    /// The first route of this host and path, `index` if there was none; nil if the prefix is not one.
    private mutating func insertContext(_ entry: RouteEntry, index: Int32) -> Int32? {
        let place = keys.withUnsafeBytes { keys -> (head: Int32, depth: Int32)? in
            // Other text follows it among the keys.
            let end = Int(entry.prefixStart) + Int(entry.prefixCount)
            let prefix = UnsafeRawBufferPointer(rebasing: keys[Int(entry.prefixStart)..<end])
            guard prefix.count > 1, prefix[0] == UInt8(ascii: "/"), prefix[prefix.count - 1] != UInt8(ascii: "/")
            else { return nil }
            let (hash, depth) = contextHash(prefix, host: entry.host)
            return (contexts.insert(index, key: entry.key, hash: hash, keys: keys, entries: routes), depth)
        }
        guard let place else { return nil }
        hosts[Int(entry.host)].deepestPrefix = max(hosts[Int(entry.host)].deepestPrefix, place.depth)
        hosts[Int(entry.host)].longestPrefix = max(hosts[Int(entry.host)].longestPrefix, entry.prefixCount)
        return place.head
    }

    /// The hash of a prefix as the lookup builds it, and how many segments it has.
    func contextHash(_ prefix: UnsafeRawBufferPointer, host: Int32) -> (UInt64, Int32) {
        var state = hash.start(scope: host)
        var depth: Int32 = 0
        var start = 1
        while start <= prefix.count {
            let end = prefix[start...].firstIndex(of: UInt8(ascii: "/")) ?? prefix.count
            state = hash.plain(UnsafeRawBufferPointer(rebasing: prefix[start..<end]), from: state)
            depth += 1
            start = end + 1
        }
        return (state, depth)
    }

    /// The entry of a host pattern, made when it is new; nil if the pattern is empty.
    mutating func host(of pattern: HostPattern) -> Int32? {
        let name: String
        let scope: Int32
        switch pattern {
        case .any:
            if anyHost < 0 {
                anyHost = Int32(hosts.count)
                hosts.append(HostEntry())
            }
            return anyHost
        case .exact(let text): (name, scope) = (text, HostScope.exact)
        case .wildcard(let text): (name, scope) = (text, HostScope.wildcard)
        }
        let start = keys.count
        keys.append(contentsOf: name.utf8)
        let count = keys.count - start
        guard count > 0 else { return nil }
        let next = Int32(hosts.count)
        let key = ByteKey(start: UInt32(start), count: UInt32(count), scope: scope)
        let found = keys.withUnsafeBytes { keys in
            let state = hash.start(scope: scope)
            let value = hash.folded(UnsafeRawBufferPointer(rebasing: keys[start...]), from: state)
            return hostNames.insert(next, key: key, hash: value, keys: keys, entries: hosts)
        }
        if found == next {
            hosts.append(HostEntry(key: key))
            if scope == HostScope.wildcard { longestWildcard = max(longestWildcard, count) }
        } else {
            keys.removeLast(count)
        }
        return found
    }
}
