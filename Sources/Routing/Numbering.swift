// Numbers for things that outlive a table: upstreams, services, pools. The publisher keeps one Numbering for the life
// of the process and hands it to every compilation; workers know only the numbers.

/// Keeps the numbers of upstreams, services and pools from one table to the next.
public struct Numbering: Sendable {
    private var upstreams: [String: KnownUpstream] = [:]
    private var lastIdentity: UInt64 = 0
    /// Upstreams that are ready in the first table with any were there before us, for all anybody knows.
    private var hasSeenUpstreams = false
    private var round: UInt64 = 0
    private var serviceSlots = SlotNumbers()
    private var poolSlots = SlotNumbers()

    public init() {}

    /// Service slots that the newest table no longer uses. They are not given out again until `recycle` says that no
    /// worker can still count into them.
    public var freedServiceSlots: [Int32] { serviceSlots.freed }

    /// Lets freed service slots be used for other services. Call it when the last table that used them is released.
    public mutating func recycle(_ slots: [Int32]) { serviceSlots.recycle(slots) }

    /// One more than the highest service slot ever used.
    public var serviceSlotCount: Int { serviceSlots.count }

    /// Begins a table: what is not asked for until `endTable` is forgotten.
    mutating func beginTable() {
        round += 1
        serviceSlots.begin()
        poolSlots.begin()
    }

    /// An upstream with its number (1, 2, 3 and so on, never given twice), and since when it is ready.
    mutating func upstream(_ id: String, isReady: Bool, nowNs: UInt64) -> KnownUpstream {
        let now = hasSeenUpstreams ? nowNs : 0
        if let index = upstreams.index(forKey: id) {
            upstreams.values[index].round = round
            if isReady, upstreams.values[index].readySinceNs == nil { upstreams.values[index].readySinceNs = now }
            return upstreams.values[index]
        }
        lastIdentity += 1
        let known = KnownUpstream(
            identity: lastIdentity, seed: Balancer.seed(ofID: id), readySinceNs: isReady ? now : nil, round: round)
        upstreams[id] = known
        return known
    }

    mutating func slot(ofService id: String) -> Int32 { serviceSlots.slot(of: id) }

    mutating func slot(ofPool key: String) -> Int32 { poolSlots.slot(of: key) }

    mutating func endTable() {
        let round = round
        if !upstreams.isEmpty { hasSeenUpstreams = true }
        if upstreams.values.contains(where: { $0.round != round }) {
            upstreams = upstreams.filter { $0.value.round == round }
        }
        serviceSlots.end()
        poolSlots.end()
        // A pool's slot only remembers whose turn it was: it may change hands at once.
        poolSlots.recycle(poolSlots.freed)
    }
}

/// What is kept of an upstream as long as it is in the tables.
struct KnownUpstream: Sendable {
    let identity: UInt64
    let seed: UInt64
    /// nil: it never was; 0: it was when we began to look.
    fileprivate(set) var readySinceNs: UInt64?
    fileprivate var round: UInt64
}

/// Small numbers for names: the lowest free one, kept as long as the name is in use.
struct SlotNumbers: Sendable {
    private var slots: [String: (slot: Int32, round: UInt64)] = [:]
    private var round: UInt64 = 0
    /// Free slots in descending order, so that the lowest is taken from the end.
    private var free: [Int32] = []
    private var quarantined: Set<Int32> = []
    private(set) var freed: [Int32] = []
    private(set) var count = 0

    mutating func begin() { round += 1 }

    mutating func slot(of name: String) -> Int32 {
        if let index = slots.index(forKey: name) {
            slots.values[index].round = round
            return slots.values[index].slot
        }
        let slot: Int32
        if let lowest = free.popLast() {
            slot = lowest
        } else {
            slot = Int32(count)
            count += 1
        }
        slots[name] = (slot, round)
        return slot
    }

    mutating func end() {
        freed = []
        let round = round
        for (_, entry) in slots where entry.round != round { freed.append(entry.slot) }
        guard !freed.isEmpty else { return }
        freed.sort()
        quarantined.formUnion(freed)
        slots = slots.filter { $0.value.round == round }
    }

    /// Slots that were not freed before are left alone.
    mutating func recycle(_ slots: [Int32]) {
        let known = slots.filter { quarantined.remove($0) != nil }
        guard !known.isEmpty else { return }
        free.append(contentsOf: known)
        free.sort(by: >)
    }
}
