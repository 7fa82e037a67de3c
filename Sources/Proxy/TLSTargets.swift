// What a worker remembers of TLS to tasks: for each task, policy and server name the newest session, so that the next
// connection needs no full handshake. Connections are pooled by the same three: one that was verified for a name never
// serves another, and one of an older policy serves nobody.

internal import Model
internal import TLS
internal import Wire

/// One name of one task under one policy.
struct TLSTarget {
    let policy: TLSClientPolicy
    /// In lower case; empty: none is sent, and none is verified.
    let name: [UInt8]
    let isAddress: Bool
    /// A label gives the name. Otherwise clients choose it by the host they ask for.
    let isNamed: Bool
    /// For the next connection.
    var session: TLSResumption?
    var connectionCount: Int32 = 0
    /// The next target of the same task.
    fileprivate(set) var next = Slab<TLSTarget>.none

    /// - Parameter host: without port and trailing dot.
    init(policy: TLSClientPolicy, host: Bytes, isNamed: Bool) {
        self.policy = policy
        self.isNamed = isNamed
        name = (0..<host.count).map { ASCII.lower(host[$0]) }
        isAddress = IPAddress(String(decoding: name, as: UTF8.self)) != nil
    }

    @inline(__always)
    func answers(_ policy: TLSClientPolicy, host: Bytes, isNamed: Bool) -> Bool {
        guard self.policy === policy, self.isNamed == isNamed, name.count == host.count else { return false }
        for index in 0..<host.count where name[index] != ASCII.lower(host[index]) { return false }
        return true
    }
}

/// The targets of a worker; each task's state holds the first of its own.
struct TLSTargets: ~Copyable {
    /// Targets of one task that are kept without a connection. Under a wildcard host clients choose the names.
    private static var keptLimit: Int { 32 }
    private var slots: Slab<TLSTarget> = Slab()

    var count: Int { slots.count }

    subscript(slot: UInt32) -> UnsafeMutablePointer<TLSTarget> { slots[slot] }

    /// The target of a task, made if it is new.
    mutating func find(
        _ policy: TLSClientPolicy, host: Bytes, isNamed: Bool, of state: UnsafeMutablePointer<UpstreamState>
    ) -> UInt32 {
        var slot = state.pointee.firstTarget
        var previous = Slab<TLSTarget>.none
        var length = 0
        while slot != Slab<TLSTarget>.none {
            if slots[slot].pointee.answers(policy, host: host, isNamed: isNamed) {
                guard previous != Slab<TLSTarget>.none else { return slot }
                // The latest first: the last one goes when there are too many.
                slots[previous].pointee.next = slots[slot].pointee.next
                slots[slot].pointee.next = state.pointee.firstTarget
                state.pointee.firstTarget = slot
                return slot
            }
            previous = slot
            slot = slots[slot].pointee.next
            length += 1
        }
        if length >= Self.keptLimit { forgetLastUnused(of: state) }
        var target = TLSTarget(policy: policy, host: host, isNamed: isNamed)
        target.next = state.pointee.firstTarget
        state.pointee.firstTarget = slots.insert(target)
        return state.pointee.firstTarget
    }

    private mutating func forgetLastUnused(of state: UnsafeMutablePointer<UpstreamState>) {
        var last = Slab<TLSTarget>.none
        var slot = state.pointee.firstTarget
        while slot != Slab<TLSTarget>.none {
            if slots[slot].pointee.connectionCount == 0 { last = slot }
            slot = slots[slot].pointee.next
        }
        forget(of: state) { candidate, _ in candidate == last }
    }

    /// Forgets all targets of a task that has no connection left.
    mutating func forgetAll(of state: UnsafeMutablePointer<UpstreamState>) { forget(of: state) { _, _ in true } }

    /// Forgets those without a connection whose policy is of no table in force any more.
    mutating func forgetUnused(of state: UnsafeMutablePointer<UpstreamState>, keeping policies: [TLSClientPolicy?]) {
        forget(of: state) { _, target in
            target.connectionCount == 0 && !policies.contains { $0 === target.policy }
        }
    }

    private mutating func forget(
        of state: UnsafeMutablePointer<UpstreamState>, where isUnused: (UInt32, borrowing TLSTarget) -> Bool
    ) {
        var slot = state.pointee.firstTarget
        var kept = Slab<TLSTarget>.none
        while slot != Slab<TLSTarget>.none {
            let next = slots[slot].pointee.next
            if isUnused(slot, slots[slot].pointee) {
                precondition(slots[slot].pointee.connectionCount == 0, "a target in use was forgotten")
                if kept == Slab<TLSTarget>.none {
                    state.pointee.firstTarget = next
                } else {
                    slots[kept].pointee.next = next
                }
                slots.remove(slot)
            } else {
                kept = slot
            }
            slot = next
        }
    }
}
