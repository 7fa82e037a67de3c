// What a table is made of: pools, members, options, and the numbers that outlive it.

import Model
import Routing
import Testing

/// A snapshot of one route per service on host `<name>.test`, each service with the upstreams named.
private func fleet(_ services: [(name: String, upstreams: [(id: String, state: UpstreamState)])]) -> Snapshot {
    Snapshot(
        configuration: Configuration(
            services: services.map { Service(id: "id-\($0.name)", name: $0.name) },
            routes: services.indices.map { Route(host: .exact("\(services[$0].name).test"), services: [$0]) }),
        endpoints: services.map { service in
            service.upstreams.map {
                Upstream(id: $0.id, endpoint: Endpoint(address: IPAddress(v4: 1), port: 80), state: $0.state)
            }
        })
}

extension RouteTable {
    fileprivate func members(of pool: PoolEntry) -> [Member] {
        (0..<pool.memberCount).map { member(pool.firstMember + $0) }
    }

    /// The route index of a host's root, or -1.
    fileprivate func routeIndex(_ host: String) -> Int32 {
        if case .route(let index) = lookup(host, "/") { return index }
        return -1
    }

    fileprivate func pool(ofHost host: String) -> PoolEntry { pool(route(routeIndex(host)).pool) }
}

@Test func onlyReadyUpstreamsAreMembers() {
    let table = compile(fleet([("a", [("1", .ready), ("2", .draining), ("3", .pending), ("4", .ready)]), ("b", [])]))
    #expect(table.members(of: table.pool(ofHost: "a.test")).map(\.identity) == [1, 4])
    #expect(table.pool(ofHost: "b.test").memberCount == 0)
    #expect(table.pool(ofHost: "b.test").service == 1)
    #expect(table.upstreamIdentities == [1, 2, 3, 4])
}

@Test func identitiesAreKeptAndNeverReused() {
    var numbering = Numbering()
    func table(_ upstreams: [(id: String, state: UpstreamState)]) -> RouteTable {
        RouteTable(compiling: fleet([("a", upstreams)]), version: 1, numbering: &numbering)
    }
    let first = table([("x", .ready), ("y", .ready), ("z", .ready)])
    let second = table([("w", .ready), ("x", .ready), ("y", .draining), ("z", .pending)])
    #expect(second.members(of: second.pool(ofHost: "a.test")).map(\.identity) == [4, 1])
    #expect(second.removed(since: first) == [2, 3])
    #expect((0...5).map { UInt64($0) }.filter { second.isReady($0) } == [1, 4])
    #expect(second.gone(since: first) == [])
    let third = table([("w", .ready)])
    #expect(third.removed(since: second) == [1])
    #expect(third.gone(since: second) == [1, 2, 3])
    let fourth = table([("w", .ready), ("x", .ready)])
    #expect(fourth.upstreamIdentities == [4, 5])
    #expect(fourth.removed(since: third) == [])
}

@Test func serviceSlotsAreReusedOnlyAfterRecycling() {
    var numbering = Numbering()
    func slots(_ names: [String]) -> [Int32] {
        let table = RouteTable(compiling: fleet(names.map { ($0, []) }), version: 1, numbering: &numbering)
        return names.indices.map { table.service(Int32($0)).statsSlot }
    }
    #expect(slots(["a", "b", "c"]) == [0, 1, 2])
    #expect(slots(["a", "c"]) == [0, 2])
    #expect(numbering.freedServiceSlots == [1])
    #expect(slots(["a", "c", "d"]) == [0, 2, 3])
    #expect(numbering.freedServiceSlots == [])
    numbering.recycle([1, 0, 77, 1])
    #expect(slots(["a", "b", "c", "d", "e"]) == [0, 1, 2, 3, 4])
    #expect(numbering.serviceSlotCount == 5)
}

@Test func poolsKeepTheirTurnSlot() {
    var numbering = Numbering()
    let first = RouteTable(compiling: fleet([("a", []), ("b", [])]), version: 1, numbering: &numbering)
    let slot = first.pool(ofHost: "b.test").cursorSlot
    let second = RouteTable(compiling: fleet([("b", []), ("c", []), ("d", [])]), version: 2, numbering: &numbering)
    #expect(second.pool(ofHost: "b.test").cursorSlot == slot)
    let others = [second.pool(ofHost: "c.test").cursorSlot, second.pool(ofHost: "d.test").cursorSlot]
    #expect(Set(others + [slot]).count == 3)
    #expect(others.allSatisfy { Int($0) < second.cursorCount })
}

/// Services 0 and 1 merged on a.test, with the numbers of tasks given.
private func merged(_ counts: [Int]) -> RouteTable {
    var snapshot = fleet(
        counts.enumerated().map { index, count in
            ("s\(index)", (0..<count).map { ("\(index)-\($0)", UpstreamState.ready) })
        })
    snapshot.configuration.routes = [Route(host: .exact("a.test"), services: Array(counts.indices))]
    return compile(snapshot)
}

@Test(
    "each task of merged services counts once, and any window of picks is shared out evenly",
    arguments: [[4, 1], [1, 1], [3, 5], [2, 0], [0, 3], [5, 5, 5], [1, 9]])
func mergedServicesShareEvenly(counts: [Int]) {
    let table = merged(counts)
    let pool = table.pool(ofHost: "a.test")
    let total = counts.reduce(0, +)
    #expect(Int(pool.memberCount) == total)
    var cursor: UInt32 = 0
    var picks: [Int32] = []
    var seen: [UInt64: Int] = [:]
    for _ in 0..<(total * 10) {
        guard let member = Balancer.pick(pool, in: table, cursor: &cursor, avoiding: TriedUpstreams()) else { continue }
        picks.append(member.service)
        seen[member.identity, default: 0] += 1
    }
    #expect(seen.count == total)
    #expect(seen.values.allSatisfy { $0 == 10 })
    // Any window as long as half of the pool holds each service's share, give or take one pick at each end.
    let window = max(total / 2, 1)
    for start in 0...(picks.count - window) {
        for (service, count) in counts.enumerated() {
            let found = picks[start..<(start + window)].count { $0 == Int32(service) }
            let share = Double(count * window) / Double(total)
            #expect(abs(Double(found) - share) < 2, "\(counts) \(start)")
        }
    }
}

@Test func pickingAvoidsWhatWasTried() {
    let table = merged([2, 1])
    let pool = table.pool(ofHost: "a.test")
    var tried = TriedUpstreams()
    var cursor: UInt32 = .max
    var seen: Set<UInt64> = []
    for _ in 0..<3 {
        guard let member = Balancer.pick(pool, in: table, cursor: &cursor, avoiding: tried) else { continue }
        seen.insert(member.identity)
        tried.insert(member.identity)
    }
    #expect(seen == [1, 2, 3])
    #expect(Balancer.pick(pool, in: table, cursor: &cursor, avoiding: tried) == nil)
    let empty = merged([0, 0])
    #expect(Balancer.pick(empty.pool(ofHost: "a.test"), in: empty, cursor: &cursor, avoiding: .init()) == nil)
    for identity in 1...100 { tried.insert(UInt64(identity)) }
    #expect(tried.count == 8)
    #expect(tried.contains(5) && !tried.contains(6))
}

@Test func optionsAreResolvedWithMinusOneForUnset() {
    var snapshot = fleet([("a", [("1", .ready)]), ("b", [])])
    var options = ServiceOptions()
    options.connectTimeoutMs = 5
    options.idleTimeoutMs = 0
    options.retries = 3
    options.retryStatuses = [500, 504]
    options.maxBodySize = .max
    options.proxyProtocol = .v2
    snapshot.configuration.services[0].options = options
    snapshot.configuration.services[0].backendMode = .vip
    let table = compile(snapshot)
    let entry = table.service(0)
    #expect(entry.connectTimeoutMs == 5 && entry.idleTimeoutMs == 0 && entry.retries == 3)
    #expect(entry.responseTimeoutMs == -1 && entry.tunnelTimeoutMs == -1)
    #expect(entry.maxBodySize == .max && entry.proxyProtocolVersion == 2)
    #expect([500, 502, 503, 504, 404].map { entry.retries(on: $0) } == [true, false, false, true, false])
    #expect(table.member(0).isVIP)
    let unset = table.service(1)
    #expect(unset.retries == -1 && unset.maxBodySize == -1 && unset.retryStatusMask == 0)
    #expect(unset.proxyProtocolVersion == 0)
}

@Test func routesKeepTheirPrefixAndPolicy() {
    let table = compile(
        snapshot([
            Route(host: .exact("a.test"), rewritesPrefix: true, pathPolicy: .raw, services: [0]),
            Route(host: .exact("a.test"), pathPrefix: "/app", rewritesPrefix: true, services: [0]),
        ]))
    #expect(!table.route(0).rewritesPrefix && table.route(0).pathPolicyIsRaw)
    #expect(table.route(1).rewritesPrefix && !table.route(1).pathPolicyIsRaw)
    #expect(table.route(1).prefixCount == 4)
    #expect(table.found("a.test", "/app/x") == "/app")
    #expect(table.poolCount == 1)
}

@Test func anUnsoundSnapshotTrapsNowhere() {
    var broken = snapshot([
        Route(host: .exact("b.test"), services: [0]), Route(host: .exact("a.test"), services: [0, 9, -1]),
        Route(host: .exact("b.test"), pathPrefix: "/x", services: [0]), Route(host: .exact("b.test"), services: [0]),
        Route(host: .exact(""), services: [0]), Route(host: .exact("c.test"), services: []),
        Route(host: .exact("c.test"), services: [7]), Route(host: .exact("b.test"), pathPrefix: "x", services: [0]),
        Route(host: .exact("b.test"), pathPrefix: "/x/", services: [0]),
        Route(host: .exact("b.test"), pathPrefix: "", services: [0]), Route(host: .any, services: []),
    ])
    broken.endpoints = []
    broken.configuration.services = Array(broken.configuration.services.prefix(1))
    let table = compile(broken)
    #expect(table.lookup("a.test", "/") != .unknownHost)
    #expect(table.found("b.test", "/x/y") == "/x")
    #expect(table.found("b.test", "/y") == "/")
    #expect(table.lookup("c.test", "/") == .unknownHost)
    #expect(table.pool(ofHost: "a.test").memberCount == 0)
    #expect(table.routeCount == 3)
}
