// Owns what the tests of balancing need: pools made of a few numbers, and many picks from one.

import Model
import Routing

/// Pools whose services are `s0`, `s1` and so on, all of them on one route, each with tasks `s0-0`, `s0-1` and so on.
struct PoolWorld {
    var snapshot: Snapshot
    var numbering = Numbering()
    private(set) var table: RouteTable
    var turns: [UInt32]
    /// Requests under way, by identity.
    var loads: [UInt64: Int32] = [:]
    var fitness: [UInt64: Fitness] = [:]
    private var random = SplitMix(state: 1)

    init(
        _ taskCounts: [Int], weights: [Int?] = [], balancing: Balancing = Balancing(), slowStartMs: Int? = nil,
        nowNs: UInt64 = 1
    ) {
        snapshot = Snapshot(
            configuration: Configuration(
                services: taskCounts.indices.map { index in
                    var options = ServiceOptions()
                    options.weight = index < weights.count ? weights[index] : nil
                    options.slowStartMs = slowStartMs
                    return Service(id: "id-s\(index)", name: "s\(index)", options: options)
                },
                routes: [Route(host: .exact("a.test"), balancing: balancing, services: Array(taskCounts.indices))]))
        snapshot.endpoints = taskCounts.enumerated().map { Self.tasks(of: $0, count: $1) }
        table = RouteTable(compiling: snapshot, version: 1, numbering: &numbering, nowNs: nowNs)
        turns = Array(repeating: 0, count: table.cursorCount)
    }

    static func tasks(of service: Int, count: Int) -> [Upstream] {
        (0..<count).map { task in
            let endpoint = Endpoint(address: IPAddress(v4: UInt32(service << 16 | task)), port: 80)
            return Upstream(id: "s\(service)-\(task)", endpoint: endpoint)
        }
    }

    /// Another table from what `snapshot` has become.
    mutating func recompile(nowNs: UInt64 = 1) {
        table = RouteTable(compiling: snapshot, version: table.version + 1, numbering: &numbering, nowNs: nowNs)
        while turns.count < table.cursorCount { turns.append(UInt32(truncatingIfNeeded: random.next())) }
    }

    var pool: PoolEntry {
        guard case .route(let route) = table.lookup("a.test", "/") else { fatalError("no route") }
        return table.pool(table.route(route).pool)
    }

    /// The id of a task.
    func name(_ member: Member) -> String {
        "s\(member.endpoint.address.low >> 16)-\(member.endpoint.address.low & 0xFFFF)"
    }

    func identity(_ name: String) -> UInt64 {
        let pool = pool
        for position in pool.firstMember..<(pool.firstMember + pool.memberCount)
        where self.name(table.member(position)) == name {
            return table.member(position).identity
        }
        fatalError("no member \(name)")
    }

    mutating func begin(seed: UInt64) {
        random = SplitMix(state: seed)
        for index in turns.indices { turns[index] = UInt32(truncatingIfNeeded: random.next()) }
    }

    /// One pick; nil if nobody may be picked.
    mutating func pick(key: UInt64? = nil, tried: Set<UInt64> = [], nowNs: UInt64 = 1) -> String? {
        let request = PickRequest(key: key, dice: random.next(), nowNs: nowNs)
        let (loads, fitness) = (loads, fitness)
        let member = Balancer.pick(
            pool, in: table, turns: &turns, for: request,
            fitness: { tried.contains($0.identity) ? .never : fitness[$0.identity] ?? .fit },
            load: { loads[$0.identity] ?? 0 })
        return member.map { name($0) }
    }

    /// How often each task comes up.
    mutating func picks(_ count: Int, nowNs: UInt64 = 1) -> [String: Int] {
        var result: [String: Int] = [:]
        for _ in 0..<count {
            if let name = pick(nowNs: nowNs) { result[name, default: 0] += 1 }
        }
        return result
    }

    /// Who has which of the keys `0 ..< count`.
    mutating func owners(_ count: Int, nowNs: UInt64 = 1) -> [String] {
        (0..<count).map { pick(key: Self.key("key-\($0)"), nowNs: nowNs) ?? "" }
    }

    static func key(_ text: String) -> UInt64 { Array(text.utf8).withUnsafeBytes { Balancer.key($0) } }
}

/// Random numbers that a seed repeats.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var number = state
        number = (number ^ number >> 30) &* 0xBF58_476D_1CE4_E5B9
        number = (number ^ number >> 27) &* 0x94D0_49BB_1331_11EB
        return number ^ number >> 31
    }
}

/// The service of a task's name.
func service(_ task: String) -> String { String(task.prefix { $0 != "-" }) }
