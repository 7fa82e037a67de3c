// Requests that have no task yet: whether one may wait, and what becomes of it when it is woken, its time is over, or
// its client goes away. A waiting request is an exchange in its first phase: nothing of it was sent, or it may be sent
// again. Its body is not read meanwhile, and it holds no table: it takes its route anew from the one in force.
//
//   what happens                               what follows
//   a task may be had                          the request is sent, with all its attempts but those that a task may
//                                              have seen
//   its route leads to nobody, or away         the answer that a new request would get
//   its time is over                           503
//   its client sends FIN, or resets            it is forgotten: who has gone must cause nothing any more
//   the process drains                         it waits on, and is answered 503 shortly before the deadline

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    private enum WaitVerdict {
        case wait(WaitReason, untilNs: UInt64)
        case end(Outcome)
    }

    /// How long before the end of a drain those that still wait are told: an answer needs time to arrive.
    private static var farewellNs: UInt64 { 300_000_000 }

    // MARK: Who may wait

    /// How long requests for the pool may wait for a task to come back; 0: not at all.
    /// - Parameter waited: the request has waited before: that there was a task lately is known.
    func holdMs(ofPool index: Int32, _ pool: PoolEntry, in publication: Publication, waited: Bool) -> Int {
        publication.table.holdMs(ofPool: index, setting: settings.holdMs) { service in
            waited || wasServed(service, hasMembers: pool.memberCount > 0, in: publication)
        }
    }

    /// Whether the service was there a short time ago: it had a task that is lost now, or it has some and one answered.
    private func wasServed(_ service: Int32, hasMembers: Bool, in publication: Publication) -> Bool {
        let window = TaskLosses.windowNs
        if let lossNs = publication.losses[service], lossNs + window > nowNs { return true }
        guard hasMembers else { return false }
        let answerNs = publication.counters.lastAnswerNs(service: Int(service))
        return answerNs > 0 && answerNs + window > nowNs
    }

    /// How long requests for the pool may wait for their turn; 0: not at all.
    private func queueTimeoutMs(_ index: Int32, in publication: Publication) -> Int {
        var longest = 0
        for service in publication.table.servicesBehind(pool: index) {
            let entry = publication.table.waiting(service)
            guard entry.maxConnections > 0 else { continue }
            longest = max(longest, entry.queueTimeoutMs >= 0 ? Int(entry.queueTimeoutMs) : settings.queueTimeoutMs)
        }
        return longest
    }

    /// Half of the connections that the worker may have wait, for whatever services: the other half serves the rest.
    private var isCrowded: Bool { rooms.count >= max(1, connectionShare / 2) }

    private func waitVerdict(_ slot: UInt32, _ outcome: Outcome, isFull: Bool) -> WaitVerdict {
        let exchange = exchanges[slot]
        let client = clients[exchange.pointee.client]
        guard exchange.pointee.route >= 0, exchange.pointee.held >= 0,
            let publication = held[Int(exchange.pointee.held)].publication
        else { return .end(outcome) }
        // The end of one direction says little about a stream.
        if exchange.pointee.kind == .http, client.pointee.isPeerClosed || client.pointee.isAtEnd {
            return .end(isFull ? .queueTimeout : outcome)
        }
        let pool = poolIndex(of: slot, in: publication)
        let waiter = exchange.pointee.waiter
        let waited = waiter != Slab<Waiter>.none
        let isRoomFull = !waited && (rooms.count(in: room(of: slot)) >= WaitingRooms.capacity || isCrowded)
        if isFull {
            let queuedSinceNs = waited ? rooms.waiters[waiter].pointee.queuedSinceNs : 0
            let limitNs = UInt64(queueTimeoutMs(pool, in: publication)) * 1_000_000
            let untilNs = (queuedSinceNs > 0 ? queuedSinceNs : nowNs) + limitNs
            guard untilNs > nowNs else { return .end(.queueTimeout) }
            return isRoomFull ? .end(.queueFull) : .wait(.turn, untilNs: untilNs)
        }
        switch outcome {
        case .noTask: break
        case .connectRefused, .connectTimeout, .connectError, .reset, .closedEarly:
            // Who wants no second attempt gets none by waiting, as long as the first one says little about the others.
            if exchange.pointee.retryLimit == 0, exchange.pointee.hasAlternative { return .end(outcome) }
        default: return .end(outcome)
        }
        let limitMs = holdMs(ofPool: pool, exchange.pointee.pool, in: publication, waited: waited)
        guard limitMs > 0 else { return .end(outcome) }
        let heldSinceNs = waited ? rooms.waiters[waiter].pointee.heldSinceNs : 0
        let untilNs = (heldSinceNs > 0 ? heldSinceNs : nowNs) + UInt64(limitMs) * 1_000_000
        guard untilNs > nowNs else { return .end(.holdTimeout) }
        return isRoomFull ? .end(.queueFull) : .wait(.task, untilNs: untilNs)
    }

    private func poolIndex(of slot: UInt32, in publication: Publication) -> Int32 {
        let route = exchanges[slot].pointee.route
        return exchanges[slot].pointee.kind == .stream ? route : publication.table.route(route).pool
    }

    /// Requests wait by the first service of their pool.
    func room(of slot: UInt32) -> Int32 {
        let exchange = exchanges[slot]
        guard exchange.pointee.held >= 0, let publication = held[Int(exchange.pointee.held)].publication else {
            return WaitingRooms.none
        }
        return publication.table.service(exchange.pointee.pool.service).statsSlot
    }

    @inline(__always)
    func isWaiting(_ clientSlot: UInt32) -> Bool {
        guard rooms.count > 0 else { return false }
        let client = clients[clientSlot]
        guard client.pointee.state == .exchanging || client.pointee.state == .joining else { return false }
        return isWaiting(exchange: client.pointee.exchange)
    }

    private func isWaiting(exchange slot: UInt32) -> Bool {
        let waiter = exchanges[slot].pointee.waiter
        return waiter != Slab<Waiter>.none && rooms.waiters[waiter].pointee.isWaiting
    }

    // MARK: In and out

    /// No task can be had for the exchange now: it waits for one if it may, else it ends.
    /// - Parameter isFull: there is one, and it has as much to do as it may.
    mutating func waitOrEnd(_ slot: UInt32, with outcome: Outcome, isFull: Bool = false) {
        switch waitVerdict(slot, outcome, isFull: isFull) {
        case .end(let outcome): endExchange(slot, with: outcome)
        case .wait(let reason, let untilNs): wait(slot, reason, untilNs: untilNs)
        }
    }

    private mutating func wait(_ slot: UInt32, _ reason: WaitReason, untilNs: UInt64) {
        let exchange = exchanges[slot]
        dropUpstream(of: slot)
        if exchange.pointee.limit != nil { givePlace(slot) }
        exchange.pointee.prepareRetry()
        if exchange.pointee.kind == .stream { rejoin(exchange.pointee.client) }
        if exchange.pointee.waiter == Slab<Waiter>.none {
            exchange.pointee.waiter = rooms.waiters.insert(Waiter(exchange: slot, sinceNs: nowNs))
        }
        let waiter = rooms.waiters[exchange.pointee.waiter]
        waiter.pointee.reason = reason
        switch reason {
        case .task: if waiter.pointee.heldSinceNs == 0 { waiter.pointee.heldSinceNs = nowNs }
        case .turn: if waiter.pointee.queuedSinceNs == 0 { waiter.pointee.queuedSinceNs = nowNs }
        }
        let room = room(of: slot)
        rooms.enter(exchange.pointee.waiter, room: room, nowNs: nowNs, cells: exchange.pointee.cells)
        if hasLimits { tellOthers(room) }
        // Between the look that found no place and here one may have been freed: nobody told us.
        if reason == .turn, !isWaking, hasPlace(slot) { rooms.note(.oldest, room) }
        if exchange.pointee.kind == .http { restorePrefix(slot) }
        letGoOfPublication(slot)
        let clientSlot = exchange.pointee.client
        clients[clientSlot].pointee.deadlineNs = untilNs
        if isDraining { endWait(clientSlot, byNs: drainDeadlineNs) }
        wheel.schedule(timerID(client: clientSlot), atNs: clients[clientSlot].pointee.deadlineNs)
    }

    /// The exchange ends: nothing of it waits any more.
    mutating func forgetWaiter(_ slot: UInt32) {
        let waiter = exchanges[slot].pointee.waiter
        let room = rooms.waiters[waiter].pointee.room
        rooms.leave(waiter, nowNs: nowNs)
        if hasLimits { tellOthers(room) }
        rooms.waiters.remove(waiter)
        exchanges[slot].pointee.waiter = Slab<Waiter>.none
    }

    /// Its time is over.
    mutating func waitTimedOut(_ slot: UInt32) {
        let waiter = rooms.waiters[exchanges[slot].pointee.waiter]
        let isAtDrainsEnd = isDraining && nowNs &+ Self.farewellNs >= drainDeadlineNs
        endExchange(
            slot, with: isAtDrainsEnd ? .drained : waiter.pointee.reason == .turn ? .queueTimeout : .holdTimeout)
    }

    /// The process ends by then: who waits is told in time.
    mutating func endWaits(byNs deadlineNs: UInt64) {
        for slot in 0..<UInt32(clients.slotCount) where clients.isInUse(slot) {
            guard isWaiting(slot) else { continue }
            endWait(slot, byNs: deadlineNs)
            wheel.schedule(timerID(client: slot), atNs: clients[slot].pointee.deadlineNs)
        }
    }

    private mutating func endWait(_ clientSlot: UInt32, byNs deadlineNs: UInt64) {
        let client = clients[clientSlot]
        client.pointee.deadlineNs = min(
            client.pointee.deadlineNs, max(nowNs, deadlineNs < Self.farewellNs ? 0 : deadlineNs - Self.farewellNs))
    }

    // MARK: Waking

    /// The exchange's task takes connections: others that wait for it need not wait any longer.
    mutating func noteReached(_ slot: UInt32) {
        let room = room(of: slot)
        let oldest = rooms.oldest(in: room)
        guard oldest != Slab<Waiter>.none, rooms.waiters[oldest].pointee.reason == .task else { return }
        rooms.note(.all, room)
    }

    /// Wakes those that something has changed for. Not to be called while an event is dealt with.
    mutating func wakeDue() {
        isWaking = true
        defer { isWaking = false }
        for (room, due) in rooms.takeDue() {
            switch due {
            case .nobody: break
            case .oldest: wakeOldest(of: room)
            case .all:
                for waiter in rooms.takeAll(of: room, nowNs: nowNs) { wake(waiter) }
            }
            if hasLimits { tellOthers(room) }
        }
    }

    private mutating func wakeOldest(of room: Int32) {
        while case let waiter = rooms.oldest(in: room), waiter != Slab<Waiter>.none {
            let slot = rooms.waiters[waiter].pointee.exchange
            let reason = rooms.waiters[waiter].pointee.reason
            let generation = exchanges.generation(of: slot)
            rooms.leave(waiter, nowNs: nowNs)
            wake(waiter)
            // One is enough to find out whether a task is there.
            if reason == .task { return }
            if exchanges.isCurrent(slot, generation: generation), isWaiting(exchange: slot) { return }
        }
    }

    /// Looks for a task again. The waiter is out of its room.
    private mutating func wake(_ waiter: UInt32) {
        let slot = rooms.waiters[waiter].pointee.exchange
        let exchange = exchanges[slot]
        clients[exchange.pointee.client].pointee.deadlineNs = .max
        guard exchange.pointee.kind == .stream ? streamAgain(slot) : routeAgain(slot) else { return }
        exchange.pointee.tried = TriedUpstreams()
        exchange.pointee.attempts = exchange.pointee.losses
        exchange.pointee.lastFailure = .noTask
        connect(slot)
    }
}
