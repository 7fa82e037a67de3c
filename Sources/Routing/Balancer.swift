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

public enum Balancer {
    /// The next member in turn that was not tried, or nil if there is none. `cursor` is any number; it is moved past
    /// the member that was picked.
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
}
