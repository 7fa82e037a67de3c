// What a worker is told from outside: a new publication, or to drain. Both arrive between two batches of events.

internal import Kernel
internal import Routing
internal import Telemetry

extension Worker {
    // MARK: Messages

    mutating func readMailbox() {
        for message in mailbox.takeAll() {
            switch message {
            case .publish(let publication): adopt(publication)
            case .health(let changes):
                takeHealth(changes)
                rooms.noteAll()
            case .listen(let listener): openListener(listener)
            case .closePort(let port): closeListeners(ofPort: port)
            case .placeFreed(let room): placeFreed(room)
            case .drain(let deadlineNs): drain(deadlineNs: deadlineNs)
            }
        }
    }

    /// Takes a new publication. What requests under way began with stays until they end; tasks that are no longer ready
    /// are drained; nothing else is touched.
    mutating func adopt(_ next: Publication) {
        let old = publication
        publication = next
        counters.add(.tableSwaps)
        var position = -1
        for index in held.indices where held[index].publication == nil { position = index }
        if position < 0 {
            held.append(HeldPublication())
            position = held.count - 1
        }
        held[position] = HeldPublication(publication: next)
        let previous = currentHeld
        currentHeld = Int32(position)
        growCursors()
        drainRemovedTasks(old: old.table, new: next.table)
        for task in next.presumed { presumeHealthy(task.identity, task.endpoint) }
        // A task may come back: a node that was lost, a service that was taken back.
        for identity in old.table.removed(since: next.table) {
            let home = states.find(identity)
            if home >= 0 { states[home].pointee.isDrained = false }
        }
        // Answers that have begun need nothing of the table: they must not keep it alive.
        for slot in 0..<UInt32(exchanges.slotCount) where exchanges.isInUse(slot) {
            if exchanges[slot].pointee.answerBegan { letGoOfPublication(slot) }
        }
        if targets.count > 0 { forgetOldTargets() }
        hasLimits = held.contains { $0.publication?.limits != nil }
        rooms.noteAll()
        retireIfUnused(previous)
    }

    /// What TLS was agreed on for by policies that are gone, with a CA that was replaced say, is of no more use.
    private mutating func forgetOldTargets() {
        let policies = publication.table.backendTLS.indices.map { publication.tls.backendPolicy(Int32($0)) }
        for slot in 0..<states.slotCount where states.isInUse(slot) {
            targets.forgetUnused(of: states[slot], keeping: policies)
        }
    }

    mutating func growCursors() {
        let missing = publication.table.cursorCount - cursors.count
        // Workers begin at different places, or the first task of every pool would get the first request of each.
        for _ in 0..<max(0, missing) { cursors.append(UInt32(truncatingIfNeeded: requestIDs.next())) }
    }

    mutating func drainRemovedTasks(old: RouteTable, new: RouteTable) {
        for identity in new.removed(since: old) {
            let home = states.find(identity)
            guard home >= 0 else { continue }
            states[home].pointee.isDrained = true
            // If it comes back, it is probed anew.
            states[home].pointee.health = .unproven
            while states[home].pointee.idleHead != Slab<UpstreamConnection>.none {
                let slot = states[home].pointee.idleHead
                let isLast = states[home].pointee.openCount == 1
                closeUpstream(slot)
                if isLast { break }
            }
            if states.find(identity) >= 0 { states.forgetIfUnused(home, &targets) }
        }
    }

    /// Hands a publication back once no exchange uses it.
    mutating func retireIfUnused(_ position: Int32) {
        guard position != currentHeld, held[Int(position)].exchangeCount == 0,
            let unused = held[Int(position)].publication
        else { return }
        held[Int(position)].publication = nil
        shared.publisherMailbox.post(.retired(unused))
    }

    /// The exchange needs no table any more; its counters stay alive by a reference of their own.
    mutating func letGoOfPublication(_ slot: UInt32) {
        let exchange = exchanges[slot]
        let position = exchange.pointee.held
        guard position >= 0, let publication = held[Int(position)].publication else { return }
        exchange.pointee.retainedCounters = Unmanaged.passRetained(publication.counters)
        exchange.pointee.held = -1
        held[Int(position)].exchangeCount -= 1
        retireIfUnused(position)
    }

    // MARK: The end

    /// How long a connection without a request may still bring one.
    static var drainGraceMs: Int { 1000 }

    /// Stops accepting; every answer from here on ends its connection. A client cannot know that, and its next request
    /// may be on the way: what is idle has a moment.
    mutating func drain(deadlineNs: UInt64) {
        if !isDraining {
            for position in listeners.indices { acceptWaiting(position) }
            isDraining = true
            closeAllListeners()
        }
        drainDeadlineNs = deadlineNs
        if rooms.count > 0 { endWaits(byNs: deadlineNs) }
        for slot in 0..<UInt32(clients.slotCount) where clients.isInUse(slot) {
            let client = clients[slot]
            guard client.pointee.state == .reading || client.pointee.state == .hello, client.pointee.input.isEmpty,
                client.pointee.output.isEmpty
            else { continue }
            setDeadline(client: slot, afterMs: Self.drainGraceMs)
        }
    }

    mutating func closeAll() {
        for slot in 0..<UInt32(clients.slotCount) where clients.isInUse(slot) { abandonClient(slot, .drained) }
        for slot in 0..<UInt32(upstreams.slotCount) where upstreams.isInUse(slot) { closeUpstream(slot) }
        for index in held.indices {
            if let publication = held[index].publication { shared.publisherMailbox.post(.retired(publication)) }
            held[index].publication = nil
        }
    }
}
