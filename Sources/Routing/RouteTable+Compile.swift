// From a snapshot to the arrays of a route table. Runs on the publishing thread, up to ten times a second with ten
// thousand routes; workers never compile.

import Model

/// Everything a `RouteTable` is made of, while it is being made.
struct RouteCompiler {
    let snapshot: Snapshot
    let hash: KeyedHash
    var keys: [UInt8] = []
    var hosts: [HostEntry] = []
    var hostNames: ByteTableBuilder
    var contexts: ByteTableBuilder
    var anyHost: Int32 = -1
    var longestWildcard = 0
    var routes: [RouteEntry] = []
    var pools: [PoolEntry] = []
    var members: [Member] = []
    var serviceEntries: [ServiceEntry] = []
    var cursorCount = 0
    var readyIdentities: [UInt64] = []
    var upstreamIdentities: [UInt64] = []
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

    /// The ready members of each service, index for index.
    private var readyMembers: [[Member]] = []
    private var poolOfService: [Int32]
    private var poolOfServices: [[Int]: Int32] = [:]

    init(snapshot: Snapshot) {
        self.snapshot = snapshot
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
        for host in snapshot.configuration.hosts { compileHost(host, numbering: &numbering) }
        for stream in snapshot.configuration.streams { compileStream(stream, numbering: &numbering) }
        numbering.endTable()
        readyIdentities.sort()
        upstreamIdentities.sort()
    }

    private mutating func compileServices(numbering: inout Numbering) {
        for (index, service) in snapshot.configuration.services.enumerated() {
            let slot = numbering.slot(ofService: service.id)
            let backend = service.options.backendTLS.map { position(ofBackend: $0) } ?? -1
            serviceEntries.append(ServiceEntry(service.options, statsSlot: slot, backendTLS: backend))
            var ready: [Member] = []
            for upstream in index < snapshot.endpoints.count ? snapshot.endpoints[index] : [] {
                let identity = numbering.identity(ofUpstream: upstream.id)
                upstreamIdentities.append(identity)
                guard upstream.state == .ready else { continue }
                readyIdentities.append(identity)
                ready.append(
                    Member(
                        identity: identity, endpoint: upstream.endpoint, service: Int32(index),
                        isVIP: service.backendMode == .vip))
            }
            readyMembers.append(ready)
        }
    }

    private mutating func compileRoute(_ route: Route, numbering: inout Numbering) {
        guard let pool = pool(of: route.services, numbering: &numbering), let host = host(of: route.host) else {
            return
        }
        let start = UInt32(keys.count)
        keys.append(contentsOf: route.pathPrefix.utf8)
        let count = Int32(keys.count) - Int32(start)
        let hsts = append(route.hsts ?? "")
        let isRoot = route.pathPrefix == "/"
        let index = Int32(routes.count)
        let entry = RouteEntry(
            pool: pool, prefixStart: start, prefixCount: count, rewritesPrefix: route.rewritesPrefix && !isRoot,
            pathPolicyIsRaw: route.pathPolicy == .raw, requiresTLS: route.requiresTLS, hstsStart: hsts.start,
            hstsCount: hsts.count, host: host)
        if isRoot {
            guard hosts[Int(host)].rootRoute < 0 else { return }
            hosts[Int(host)].rootRoute = index
        } else {
            guard insertContext(entry, index: index) else { return }
        }
        routes.append(entry)
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

    /// False if the prefix is not one, or is taken.
    private mutating func insertContext(_ entry: RouteEntry, index: Int32) -> Bool {
        let depth = keys.withUnsafeBytes { keys -> Int32? in
            // Other text follows it among the keys.
            let end = Int(entry.prefixStart) + Int(entry.prefixCount)
            let prefix = UnsafeRawBufferPointer(rebasing: keys[Int(entry.prefixStart)..<end])
            guard prefix.count > 1, prefix[0] == UInt8(ascii: "/"), prefix[prefix.count - 1] != UInt8(ascii: "/")
            else { return nil }
            let (hash, depth) = contextHash(prefix, host: entry.host)
            let taken = contexts.insert(index, key: entry.key, hash: hash, keys: keys, entries: routes)
            return taken == index ? depth : nil
        }
        guard let depth else { return false }
        hosts[Int(entry.host)].deepestPrefix = max(hosts[Int(entry.host)].deepestPrefix, depth)
        hosts[Int(entry.host)].longestPrefix = max(hosts[Int(entry.host)].longestPrefix, entry.prefixCount)
        return true
    }

    /// The hash of a prefix as the lookup builds it, and how many segments it has.
    private func contextHash(_ prefix: UnsafeRawBufferPointer, host: Int32) -> (UInt64, Int32) {
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

    /// The pool of a list of services, shared by all routes with the same list; nil if none of them exists.
    mutating func pool(of services: [Int], numbering: inout Numbering) -> Int32? {
        let valid = services.allSatisfy(readyMembers.indices.contains)
        let services = valid ? services : services.filter(readyMembers.indices.contains)
        guard let first = services.first else { return nil }
        let known = services.count == 1 ? poolOfService[first] : poolOfServices[services] ?? -1
        if known >= 0 { return known }
        let index = Int32(pools.count)
        let start = members.count
        appendMembers(of: services)
        let cursorSlot = cursorSlot(of: services, numbering: &numbering)
        cursorCount = max(cursorCount, Int(cursorSlot) + 1)
        pools.append(
            PoolEntry(
                firstMember: Int32(start), memberCount: Int32(members.count - start), service: Int32(first),
                cursorSlot: cursorSlot))
        if services.count == 1 { poolOfService[first] = index } else { poolOfServices[services] = index }
        return index
    }

    /// Even numbers for pools of one service, odd ones for merged pools: so most pools need no number of their own.
    private func cursorSlot(of services: [Int], numbering: inout Numbering) -> Int32 {
        if services.count == 1 { return serviceEntries[services[0]].statsSlot * 2 }
        let ids = services.map { snapshot.configuration.services[$0].id }
        return numbering.slot(ofPool: ids.joined(separator: " ")) * 2 + 1
    }

    /// Members of several services are interleaved in proportion, so that any run of picks hits each by its share.
    private mutating func appendMembers(of services: [Int]) {
        guard services.count > 1 else { return members.append(contentsOf: readyMembers[services[0]]) }
        var placed: [(place: Double, service: Int, member: Member)] = []
        for service in services {
            let ready = readyMembers[service]
            for (index, member) in ready.enumerated() {
                placed.append(((Double(index) + 0.5) / Double(ready.count), service, member))
            }
        }
        placed.sort { ($0.place, $0.service) < ($1.place, $1.service) }
        var seen: Set<UInt64> = []
        for entry in placed where seen.insert(entry.member.identity).inserted { members.append(entry.member) }
    }
}
