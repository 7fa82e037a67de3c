// How many clients the admin server has, and until when each may take. A slow or silent client is cut off by the sweep
// and never by its own thread, so one deadline holds however the bytes drip.

import Kernel
import Synchronization

final class AdminSlots: Sendable {
    struct Ticket: Hashable, Sendable { fileprivate let number: UInt64 }

    private struct Occupant {
        let stream: Stream
        var deadlineNs: UInt64
    }

    private struct State {
        var occupants: [Ticket: Occupant] = [:]
        var nextNumber: UInt64 = 0
        var isClosing = false
    }

    /// Clients at once.
    let capacity: Int
    /// Of these, kept free for loopback peers: a health check must get in while others crowd.
    let reserved: Int
    private let state = Mutex(State())

    init(capacity: Int, reserved: Int) {
        self.capacity = capacity
        self.reserved = reserved
    }

    /// A place for a new connection; nil if there is none.
    func enter(_ stream: Stream, isLoopback: Bool, withinMs: Int) -> Ticket? {
        let deadlineNs = Self.deadline(withinMs)
        return state.withLock { state in
            let limit = isLoopback ? capacity : capacity - reserved
            guard !state.isClosing, state.occupants.count < limit else { return nil }
            state.nextNumber += 1
            let ticket = Ticket(number: state.nextNumber)
            state.occupants[ticket] = Occupant(stream: stream, deadlineNs: deadlineNs)
            return ticket
        }
    }

    /// From now on that long.
    func expect(_ ticket: Ticket, withinMs: Int) {
        let deadlineNs = Self.deadline(withinMs)
        state.withLock { $0.occupants[ticket]?.deadlineNs = deadlineNs }
    }

    /// Call it before the stream is closed.
    func leave(_ ticket: Ticket) {
        _ = state.withLock { $0.occupants.removeValue(forKey: ticket) }
    }

    var isClosing: Bool { state.withLock { $0.isClosing } }

    var count: Int { state.withLock { $0.occupants.count } }

    /// Cuts off whoever is late; or everybody, for good, at the end.
    func sweep(isClosing: Bool = false) {
        let nowNs = Clock.monotonicNs()
        // Under the lock: a stream is closed only after it left, so this descriptor is still its own.
        state.withLock { state in
            if isClosing { state.isClosing = true }
            for occupant in state.occupants.values where state.isClosing || occupant.deadlineNs <= nowNs {
                occupant.stream.cancel()
            }
        }
    }

    private static func deadline(_ withinMs: Int) -> UInt64 { Clock.monotonicNs() + UInt64(withinMs) * 1_000_000 }
}
