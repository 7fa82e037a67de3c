// What a worker remembers about each task, whatever table is in force: idle connections, how many are open, whether it
// is being drained, how it failed of late. Keyed by the task's identity, never by its address.

internal import Model

/// One task, as one worker knows it.
struct UpstreamState {
    var identity: UInt64
    var endpoint: Endpoint
    /// The latest of what TLS was agreed on for; none if it is spoken to plainly.
    var firstTarget = Slab<TLSTarget>.none
    /// The most recently used idle connection.
    var idleHead: UInt32 = Slab<UpstreamConnection>.none
    var idleCount: Int32 = 0
    /// Connections of every state.
    var openCount: Int32 = 0
    /// Those that an exchange has: requests, tunnels and streams under way.
    var activeCount: Int32 = 0
    /// No table names it as ready: nothing new goes there, and the slot goes with its last connection.
    var isDrained = false
    /// How it failed of late.
    var failures = FailureRecord()
    /// What its probes have come to; without a meaning for tasks that are not probed.
    var health = TaskHealth.unproven
    /// The endpoint as text, for logs and the info header.
    let text: AddressText

    init(identity: UInt64, endpoint: Endpoint) {
        self.identity = identity
        self.endpoint = endpoint
        text = AddressText(endpoint.description)
    }
}

/// The tasks that a worker has had to do with. Slots do not move while a connection uses them.
struct UpstreamStates: ~Copyable {
    private var slots: Slab<UpstreamState> = Slab()
    private var index = IdentityIndex()

    subscript(home: Int32) -> UnsafeMutablePointer<UpstreamState> { slots[UInt32(bitPattern: home)] }

    var count: Int { slots.count }

    /// All slots ever made: the range to walk with `isInUse`.
    var slotCount: Int32 { Int32(slots.slotCount) }
    func isInUse(_ home: Int32) -> Bool { slots.isInUse(UInt32(bitPattern: home)) }

    /// The slot of a task, made if it is new.
    mutating func home(of identity: UInt64, endpoint: Endpoint) -> Int32 {
        let known = index.find(identity)
        if known >= 0 { return known }
        let slot = Int32(bitPattern: slots.insert(UpstreamState(identity: identity, endpoint: endpoint)))
        index.insert(identity, slot)
        return slot
    }

    /// The slot of a task that is known already, else -1.
    func find(_ identity: UInt64) -> Int32 { index.find(identity) }

    /// Forgets a drained task that has no connection left, and what TLS was agreed on for.
    mutating func forgetIfUnused(_ home: Int32, _ targets: inout TLSTargets) {
        let state = self[home]
        guard state.pointee.isDrained, state.pointee.openCount == 0 else { return }
        targets.forgetAll(of: state)
        index.remove(state.pointee.identity)
        slots.remove(UInt32(bitPattern: home))
    }
}

/// From identity to slot: open addressing with linear probing, because a request asks it once.
struct IdentityIndex: ~Copyable {
    private var keys: UnsafeMutablePointer<UInt64>
    private var values: UnsafeMutablePointer<Int32>
    private var mask: Int
    private var count = 0
    // Identities begin at 1.
    private static var vacant: UInt64 { 0 }

    init() {
        (keys, values) = Self.allocate(64)
        mask = 63
    }

    deinit {
        keys.deallocate()
        values.deallocate()
    }

    @inline(__always)
    private func start(_ identity: UInt64) -> Int {
        Int(truncatingIfNeeded: (identity &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
    }

    @inline(__always)
    func find(_ identity: UInt64) -> Int32 {
        var position = start(identity)
        while keys[position] != Self.vacant {
            if keys[position] == identity { return values[position] }
            position = (position + 1) & mask
        }
        return -1
    }

    mutating func insert(_ identity: UInt64, _ value: Int32) {
        precondition(identity != Self.vacant)
        if count * 2 > mask { grow() }
        var position = start(identity)
        while keys[position] != Self.vacant { position = (position + 1) & mask }
        keys[position] = identity
        values[position] = value
        count += 1
    }

    mutating func remove(_ identity: UInt64) {
        var hole = start(identity)
        while keys[hole] != identity {
            if keys[hole] == Self.vacant { return }
            hole = (hole + 1) & mask
        }
        count -= 1
        // Close the gap: what was pushed past it moves back.
        var next = (hole + 1) & mask
        while keys[next] != Self.vacant {
            let home = start(keys[next])
            if (next - home) & mask >= (next - hole) & mask {
                keys[hole] = keys[next]
                values[hole] = values[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        keys[hole] = Self.vacant
    }

    private mutating func grow() {
        let oldKeys = keys
        let oldValues = values
        let oldCapacity = mask + 1
        (keys, values) = Self.allocate(oldCapacity * 2)
        mask = oldCapacity * 2 - 1
        count = 0
        for position in 0..<oldCapacity where oldKeys[position] != Self.vacant {
            insert(oldKeys[position], oldValues[position])
        }
        oldKeys.deallocate()
        oldValues.deallocate()
    }

    private static func allocate(_ capacity: Int) -> (UnsafeMutablePointer<UInt64>, UnsafeMutablePointer<Int32>) {
        let keys = UnsafeMutablePointer<UInt64>.allocate(capacity: capacity)
        keys.initialize(repeating: vacant, count: capacity)
        return (keys, .allocate(capacity: capacity))
    }
}
