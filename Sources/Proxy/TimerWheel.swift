// Deadlines of many connections for little: a ring of buckets, one intrusive node for each timer.
// A deadline that moves later costs nothing: the node stays where it is, and when it comes up its owner looks at the
// real deadline and puts it back. Only a deadline that moves earlier is re-linked.

/// A hashed timer wheel. Times are CLOCK_MONOTONIC nanoseconds; it is exact to one tick, never early.
struct TimerWheel {
    static let tickNs: UInt64 = 16_000_000
    private static let bucketCount = 4096
    private static let none: Int32 = -1

    private struct Node {
        var next: Int32 = TimerWheel.none
        var previous: Int32 = TimerWheel.none
        /// Tick at which it comes up; 0 = not linked.
        var tick: UInt64 = 0
    }

    private var nodes: [Node] = []
    private var heads: [Int32]
    /// One bit a bucket that is not empty.
    private var occupied: [UInt64]
    private var currentTick: UInt64

    init(nowNs: UInt64) {
        heads = Array(repeating: Self.none, count: Self.bucketCount)
        occupied = Array(repeating: 0, count: Self.bucketCount / 64)
        currentTick = nowNs / Self.tickNs
    }

    /// Makes sure that timer `id` comes up no later than about `deadlineNs` (clamped to the wheel's horizon of 65 s).
    mutating func schedule(_ id: Int, atNs deadlineNs: UInt64) {
        while id >= nodes.count { nodes.append(Node()) }
        let horizon = currentTick + UInt64(Self.bucketCount - 1)
        let wanted = max(deadlineNs == .max ? horizon : deadlineNs / Self.tickNs + 1, currentTick + 1)
        let tick = min(wanted, horizon)
        if nodes[id].tick != 0 {
            if nodes[id].tick <= tick { return }
            unlink(id)
        }
        link(id, tick: tick)
    }

    mutating func cancel(_ id: Int) {
        if id < nodes.count, nodes[id].tick != 0 { unlink(id) }
    }

    /// Moves to `nowNs` and hands out one timer that came up, unlinked; nil when there is none left.
    mutating func popExpired(nowNs: UInt64) -> Int? {
        let target = nowNs / Self.tickNs
        while currentTick <= target {
            let head = heads[Int(currentTick) & (Self.bucketCount - 1)]
            if head != Self.none {
                unlink(Int(head))
                return Int(head)
            }
            if currentTick == target { return nil }
            currentTick = nextOccupied(after: currentTick, limit: target)
        }
        return nil
    }

    /// Milliseconds until the next timer may come up, at least 1; -1 if there is none.
    func timeoutMs(nowNs: UInt64) -> Int32 {
        let horizon = currentTick + UInt64(Self.bucketCount)
        let tick = nextOccupied(after: currentTick &- 1, limit: horizon)
        guard tick < horizon else { return -1 }
        let atNs = tick * Self.tickNs
        return atNs <= nowNs ? 1 : Int32(clamping: (atNs - nowNs) / 1_000_000 + 1)
    }

    private func nextOccupied(after tick: UInt64, limit: UInt64) -> UInt64 {
        var candidate = tick &+ 1
        while candidate < limit {
            let bucket = Int(candidate) & (Self.bucketCount - 1)
            let bits = occupied[bucket >> 6] >> UInt64(bucket & 63)
            if bits != 0 { return min(candidate + UInt64(bits.trailingZeroBitCount), limit) }
            candidate += UInt64(64 - bucket & 63)
        }
        return limit
    }

    private mutating func link(_ id: Int, tick: UInt64) {
        let bucket = Int(tick) & (Self.bucketCount - 1)
        let head = heads[bucket]
        nodes[id] = Node(next: head, previous: Self.none, tick: tick)
        if head != Self.none { nodes[Int(head)].previous = Int32(id) }
        heads[bucket] = Int32(id)
        occupied[bucket >> 6] |= 1 << UInt64(bucket & 63)
    }

    private mutating func unlink(_ id: Int) {
        let node = nodes[id]
        let bucket = Int(node.tick) & (Self.bucketCount - 1)
        if node.previous == Self.none { heads[bucket] = node.next } else { nodes[Int(node.previous)].next = node.next }
        if node.next != Self.none { nodes[Int(node.next)].previous = node.previous }
        if heads[bucket] == Self.none { occupied[bucket >> 6] &= ~(1 << UInt64(bucket & 63)) }
        nodes[id] = Node()
    }
}
