// One pick in a pool that is not plain. Where services are split by weight, a service is found first and a member of it
// then, so that shares do not depend on how many tasks a service has. Pure, and without allocation: turns, loads and
// who may be picked are the caller's.

import Model

/// One look for a member: those that are `least` fit. All positions are the table's; -1 is none.
struct Picking {
    private let pool: PoolEntry
    private var dice: UInt64
    private let nowNs: UInt64
    private let least: Fitness

    init(pool: PoolEntry, dice: UInt64, nowNs: UInt64, least: Fitness) {
        self.pool = pool
        self.dice = dice
        self.nowNs = nowNs
        self.least = least
    }

    private var everybody: Range<Int32> { pool.firstMember..<(pool.firstMember + pool.memberCount) }

    private func members(_ group: GroupEntry) -> Range<Int32> {
        group.firstMember..<(group.firstMember + group.memberCount)
    }

    /// The next random number (splitmix64).
    private mutating func roll() -> UInt64 {
        dice &+= 0x9E37_79B9_7F4A_7C15
        return StableHash.spread(dice)
    }

    // MARK: By method

    mutating func byMethod(
        _ table: RouteTable, _ turns: inout [UInt32], _ fitness: (Member) -> Fitness,
        _ load: (Member) -> Int32
    ) -> Int32 {
        guard pool.groupCount > 0 else {
            return pick(among: everybody, table, &turns[Int(pool.cursorSlot)], fitness, load)
        }
        // The golden ratio's multiples fall into any range by its size, as evenly in a few as in many. The turn's
        // product is the fraction of it, in 2^32nds.
        let turn = turns[Int(pool.cursorSlot)]
        turns[Int(pool.cursorSlot)] = turn &+ 1
        let place = UInt64(turn &* 0x9E37_79B9)
        let (group, rest) = group(at: place, table) { _ in true }
        let found = pick(among: members(group), table, &turns[Int(group.cursorSlot)], fitness, load)
        if found >= 0 { return found }
        // Nobody there: the share of that service is split among the others, by weight again.
        let isLeft = { (group: GroupEntry) in
            members(group).contains { fitness(table.member($0)) >= least }
        }
        guard total(table, isLeft) > 0 else { return -1 }
        let (other, _) = self.group(at: rest, table, isLeft)
        return pick(among: members(other), table, &turns[Int(other.cursorSlot)], fitness, load)
    }

    private func total(_ table: RouteTable, _ isCounted: (GroupEntry) -> Bool) -> UInt64 {
        var total: UInt64 = 0
        for index in 0..<pool.groupCount {
            let group = table.groups[Int(pool.firstGroup + index)]
            if isCounted(group) { total += UInt64(group.weight) }
        }
        return total
    }

    /// The group at a place of 2^32, each as wide as its weight, and which place of 2^32 that is within the group.
    private func group(
        at place: UInt64, _ table: RouteTable, _ isCounted: (GroupEntry) -> Bool
    ) -> (group: GroupEntry, rest: UInt64) {
        var rest = place * total(table, isCounted)
        for index in 0..<pool.groupCount {
            let group = table.groups[Int(pool.firstGroup + index)]
            guard isCounted(group) else { continue }
            let width = UInt64(group.weight) << 32
            if rest < width { return (group, rest / UInt64(group.weight)) }
            rest -= width
        }
        preconditionFailure("a place beyond all groups")
    }

    private mutating func pick(
        among members: Range<Int32>, _ table: RouteTable, _ turn: inout UInt32,
        _ fitness: (Member) -> Fitness,
        _ load: (Member) -> Int32
    ) -> Int32 {
        guard !members.isEmpty else { return -1 }
        switch pool.method {
        case .roundRobin: return next(members, table, &turn, fitness)
        case .leastConnections: return leastLoaded(members, table, &turn, fitness, load)
        case .random: return luckier(members, table, fitness, load)
        }
    }

    /// The member of a turn: turns past the end begin again.
    private func place(_ turn: UInt32, _ step: Int, _ members: Range<Int32>) -> Int32 {
        members.lowerBound + Int32((Int(turn) % members.count + step) % members.count)
    }

    /// In turn. A young member lets turns pass; they go to the next one, whose own turn they are from then on, so that
    /// nobody inherits what the young one does not take yet.
    private mutating func next(
        _ members: Range<Int32>, _ table: RouteTable, _ turn: inout UInt32,
        _ fitness: (Member) -> Fitness
    ) -> Int32 {
        var reserve: Int32 = -1
        for step in 0..<members.count {
            let position = place(turn, step, members)
            let member = table.member(position)
            guard fitness(member) >= least else { continue }
            if pool.growsSlowly, member.growth(nowNs: nowNs) <= roll() & 1023 {
                if reserve < 0 { reserve = position }
                continue
            }
            turn = UInt32(position - members.lowerBound) + 1
            return position
        }
        if reserve >= 0 { turn = UInt32(reserve - members.lowerBound) + 1 }
        return reserve
    }

    /// The one with the fewest requests under way, the next in turn among equals. A young member counts as busier than
    /// it is: by as much as its share is smaller.
    private func leastLoaded(
        _ members: Range<Int32>, _ table: RouteTable, _ turn: inout UInt32,
        _ fitness: (Member) -> Fitness,
        _ load: (Member) -> Int32
    ) -> Int32 {
        var best: Int32 = -1
        var bestLoad: UInt64 = 0
        var bestGrowth: UInt64 = 1
        for step in 0..<members.count {
            let position = place(turn, step, members)
            let member = table.member(position)
            guard fitness(member) >= least else { continue }
            // With the request that is to come.
            let load = UInt64(clamping: load(member)) + 1
            let growth = pool.growsSlowly ? member.growth(nowNs: nowNs) : 1024
            if best < 0 || load * bestGrowth < bestLoad * growth {
                best = position
                bestLoad = load
                bestGrowth = growth
            }
        }
        if best >= 0 { turn = UInt32(best - members.lowerBound) + 1 }
        return best
    }

    /// The less loaded one of two that are drawn.
    private mutating func luckier(
        _ members: Range<Int32>, _ table: RouteTable, _ fitness: (Member) -> Fitness,
        _ load: (Member) -> Int32
    ) -> Int32 {
        let first = draw(members, table, not: -1, fitness)
        guard first >= 0 else { return -1 }
        let second = draw(members, table, not: first, fitness)
        guard second >= 0 else { return first }
        return load(table.member(second)) < load(table.member(first)) ? second : first
    }

    /// One that may be picked, each as likely as any other.
    private mutating func draw(
        _ members: Range<Int32>, _ table: RouteTable, not other: Int32, _ fitness: (Member) -> Fitness
    ) -> Int32 {
        for _ in 0..<8 {
            let position =
                members.lowerBound + Int32(truncatingIfNeeded: ((roll() >> 32) * UInt64(members.count)) >> 32)
            let member = table.member(position)
            guard position != other, fitness(member) >= least else { continue }
            if pool.growsSlowly, member.growth(nowNs: nowNs) <= roll() & 1023 { continue }
            return position
        }
        // Few of many are left, or hardly any but young ones: whoever comes first from a random place on.
        let start = UInt32(truncatingIfNeeded: roll())
        for step in 0..<members.count {
            let position = place(start, step, members)
            if position != other, fitness(table.member(position)) >= least { return position }
        }
        return -1
    }

    // MARK: By key

    /// Rendezvous hashing: each member has a number of its own for each key, and the highest one takes the key. One
    /// that comes takes its share of the keys from all others alike, and what one that goes had is all that moves.
    func byKey(_ key: UInt64, _ table: RouteTable, _ fitness: (Member) -> Fitness) -> Int32 {
        guard pool.groupCount > 0 else { return highest(key, everybody, table, fitness) }
        // The services by their own numbers first, so that a task more or less moves no key to another service.
        var bound = Double.infinity
        var boundIndex: Int32 = -1
        for _ in 0..<pool.groupCount {
            var best = -Double.infinity
            var bestIndex: Int32 = -1
            for index in 0..<pool.groupCount {
                let group = table.groups[Int(pool.firstGroup + index)]
                let score = StableHash.weighted(
                    StableHash.score(key, group.seed), weight: Double(group.weight))
                // Below the last one, or equal and behind it: the next in the descending order.
                guard score < bound || score == bound && index > boundIndex, score > best else { continue }
                best = score
                bestIndex = index
            }
            guard bestIndex >= 0 else { return -1 }
            let found = highest(
                key, members(table.groups[Int(pool.firstGroup + bestIndex)]), table, fitness)
            if found >= 0 { return found }
            (bound, boundIndex) = (best, bestIndex)
        }
        return -1
    }

    private func highest(
        _ key: UInt64, _ members: Range<Int32>, _ table: RouteTable, _ fitness: (Member) -> Fitness
    ) -> Int32 {
        if pool.growsSlowly { return highestGrown(key, members, table, fitness) }
        var best: Int32 = -1
        var bestScore: UInt64 = 0
        for position in members {
            let member = table.member(position)
            let score = StableHash.score(key, member.seed)
            guard best < 0 || score > bestScore, fitness(member) >= least else { continue }
            best = position
            bestScore = score
        }
        return best
    }

    /// While a member grows, keys move to it one after the other and none of them back.
    private func highestGrown(
        _ key: UInt64, _ members: Range<Int32>, _ table: RouteTable, _ fitness: (Member) -> Fitness
    ) -> Int32 {
        var best: Int32 = -1
        var bestScore = 0.0
        for position in members {
            let member = table.member(position)
            let share = Double(member.growth(nowNs: nowNs)) / 1024
            let score = StableHash.weighted(StableHash.score(key, member.seed), weight: share)
            guard best < 0 || score > bestScore, fitness(member) >= least else { continue }
            best = position
            bestScore = score
        }
        return best
    }
}
