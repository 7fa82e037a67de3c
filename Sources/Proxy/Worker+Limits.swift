// The places of tasks whose service says how many requests each may have: taking one before a connection is looked for,
// giving it back when the exchange needs the task no more, and whose turn it is then.

internal import Kernel
internal import Routing
internal import Telemetry

extension Worker {
    /// Whether the task has as much to do as it may.
    @inline(__always)
    func isFull(_ member: Member) -> Bool { hasLimits && places(at: member) <= 0 }

    /// How many more requests the task may have; many if its service has no limit.
    private func places(at member: Member) -> Int { publication.limits?.tasks[member.identity]?.leftCount ?? .max }

    /// Takes one of the task's places for the exchange, where there is a limit.
    /// - Returns: false if there is none left.
    mutating func takePlace(_ slot: UInt32, at member: Member) -> Bool {
        guard let task = publication.limits?.tasks[member.identity] else { return true }
        guard task.take() else { return false }
        exchanges[slot].pointee.limit = Unmanaged.passRetained(task)
        exchanges[slot].pointee.limitRoom = room(of: slot)
        return true
    }

    /// Gives the exchange's place back: to who has waited longest, on whichever worker.
    mutating func givePlace(_ slot: UInt32) {
        let exchange = exchanges[slot]
        guard let limit = exchange.pointee.limit else { return }
        exchange.pointee.limit = nil
        limit.takeUnretainedValue().give()
        limit.release()
        placeFreed(exchange.pointee.limitRoom)
    }

    /// A task of the service in that slot may take a request.
    mutating func placeFreed(_ room: Int32) {
        let ownNs = rooms.oldestNs(in: room)
        if let other = publication.limits?.queues[room]?.longest(besides: index, before: ownNs) {
            shared.mailboxes[other].post(.placeFreed(room))
        } else {
            rooms.note(.oldest, room)
        }
    }

    /// Says to the other workers since when somebody has waited here.
    func tellOthers(_ room: Int32) {
        publication.limits?.queues[room]?.set(rooms.oldestNs(in: room), worker: index)
    }

    /// Whether others wait for a place already: who comes later does not go first.
    func isBehindOthers(_ slot: UInt32) -> Bool {
        let exchange = exchanges[slot]
        guard rooms.count > 0, exchange.pointee.waiter == Slab<Waiter>.none, exchange.pointee.attempts == 0 else {
            return false
        }
        let oldest = rooms.oldest(in: room(of: slot))
        return oldest != Slab<Waiter>.none && rooms.waiters[oldest].pointee.reason == .turn
    }

    /// Whether some task that the exchange may go to has a place.
    func hasPlace(_ slot: UInt32) -> Bool {
        let exchange = exchanges[slot]
        guard exchange.pointee.held >= 0, let publication = held[Int(exchange.pointee.held)].publication else {
            return false
        }
        let pool = exchange.pointee.pool
        for position in pool.firstMember..<(pool.firstMember + pool.memberCount)
        where places(at: publication.table.member(position)) > 0 {
            return true
        }
        return false
    }
}
