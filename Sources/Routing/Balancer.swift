// Which member of a pool is next. Pure: whose turn it is belongs to the caller.

/// Upstreams that this request has tried already; at most eight are remembered.
public struct TriedUpstreams: BitwiseCopyable, Sendable {
    public static let capacity = 8

    private var identities: InlineArray<8, UInt64> = .init(repeating: 0)
    public private(set) var count: Int32 = 0

    public init() {}

    /// Beyond the capacity nothing is remembered: retries are limited far below it.
    public mutating func insert(_ identity: UInt64) {
        guard count < Self.capacity else { return }
        identities[Int(count)] = identity
        count += 1
    }

    public func contains(_ identity: UInt64) -> Bool {
        for index in 0..<Int(count) where identities[index] == identity { return true }
        return false
    }
}

/// How good a choice a member is now; of the fittest there are, one is picked.
public enum Fitness: UInt8, Comparable, Sendable {
    /// In no case: it was tried, or nobody knows yet whether it works.
    case never
    /// Its probes fail.
    case unhealthy
    /// It failed requests of late.
    case avoided
    /// It is well, and has as much to do as it may: who picks it has to wait.
    case full
    case fit

    public static func < (left: Fitness, right: Fitness) -> Bool { left.rawValue < right.rawValue }
}

/// What a request brings to a pick.
public struct PickRequest: BitwiseCopyable, Sendable {
    /// See `Balancer.key(_:)`; nil: it has none, and the pool's method decides.
    public var key: UInt64?
    /// Random bits of its own.
    public var dice: UInt64
    /// CLOCK_MONOTONIC: how old a member is.
    public var nowNs: UInt64

    public init(key: UInt64? = nil, dice: UInt64 = 0, nowNs: UInt64 = 0) {
        self.key = key
        self.dice = dice
        self.nowNs = nowNs
    }
}

public enum Balancer {
    /// The next member in turn that was not tried, or nil if there is none: all that plain pools need. `cursor` is any
    /// number; it is moved past the member that was picked.
    public static func pick(
        _ pool: PoolEntry, in table: RouteTable, cursor: inout UInt32, avoiding tried: TriedUpstreams
    ) -> Member? {
        let count = UInt32(pool.memberCount)
        guard count > 0 else { return nil }
        let turn = cursor % count
        for step in 0..<count {
            let position = (turn + step) % count
            let member = table.member(pool.firstMember + Int32(position))
            if tried.count == 0 || !tried.contains(member.identity) {
                cursor = position + 1
                return member
            }
        }
        return nil
    }

    /// The member for a request, of any pool: one of the fittest there are, or nil.
    /// - Parameters:
    ///   - turns: whose turn it is, by `cursorSlot`.
    ///   - fitness: of a member, now.
    ///   - load: requests under way at a member.
    public static func pick(
        _ pool: PoolEntry, in table: RouteTable, turns: inout [UInt32], for request: PickRequest,
        fitness: (Member) -> Fitness, load: (Member) -> Int32
    ) -> Member? {
        var least = Fitness.fit
        while least > .never {
            var picking = Picking(pool: pool, dice: request.dice, nowNs: request.nowNs, least: least)
            let found =
                if let key = request.key {
                    picking.byKey(key, table, fitness)
                } else {
                    picking.byMethod(table, &turns, fitness, load)
                }
            if found >= 0 { return table.member(found) }
            least = Fitness(rawValue: least.rawValue - 1) ?? .never
        }
        return nil
    }
}

extension Member {
    /// Its share of what it will have once it is no longer new, in 1024ths; at least 1.
    func growth(nowNs: UInt64) -> UInt64 {
        guard isYoung(nowNs: nowNs) else { return 1024 }
        return max(1, (nowNs &- readySinceNs) / (slowStartNs / 1024 + 1))
    }

    @inline(__always)
    func isYoung(nowNs: UInt64) -> Bool {
        // One that became ready after `nowNs` was read is as young as can be.
        readySinceNs != 0 && slowStartNs != 0 && (nowNs <= readySinceNs || nowNs &- readySinceNs < slowStartNs)
    }
}
