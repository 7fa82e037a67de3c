// Choosing the task that an exchange is sent to. It never connects and never ends an exchange: what comes of a choice
// is Worker+Connecting's. Every rule of which task may be chosen now (health, failures, limits) meets in `fitness`, so
// that a request, a retry and a stream of a TCP port are held to the same ones; how one of several is chosen is
// Balancer's.

internal import Routing
internal import Telemetry

extension Worker {
    /// The task to try: of the fittest that were not tried, the one that the pool's way of balancing says.
    mutating func pickMember(_ slot: UInt32) -> Member? {
        let exchange = exchanges[slot]
        guard exchange.pointee.held >= 0, let publication = held[Int(exchange.pointee.held)].publication else {
            return nil
        }
        let pool = exchange.pointee.pool
        let tried = exchange.pointee.tried
        if pool.isPlain {
            var turn = cursors[Int(pool.cursorSlot)]
            // Mostly the next in turn is as good as any.
            if let member = Balancer.pick(pool, in: publication.table, cursor: &turn, avoiding: tried),
                fitness(of: member) == .fit
            {
                cursors[Int(pool.cursorSlot)] = turn
                return member
            }
        }
        let request = PickRequest(key: exchange.pointee.balancingKey, dice: requestIDs.next(), nowNs: nowNs)
        // The turns are the worker's, and so is all that the pick asks for: they leave it for as long.
        var turns: [UInt32] = []
        swap(&turns, &cursors)
        let member = Balancer.pick(
            pool, in: publication.table, turns: &turns, for: request,
            fitness: { tried.contains($0.identity) ? .never : fitness(of: $0) },
            load: { load(of: $0) })
        swap(&turns, &cursors)
        if let member, member.isChecked, fitness(of: member) == .unhealthy { counters.add(.panicAttempts) }
        return member
    }

    /// Requests, tunnels and streams of this worker that a task has now.
    func load(of member: Member) -> Int32 {
        let home = states.find(member.identity)
        return home < 0 ? 0 : states[home].pointee.activeCount
    }

    // MARK: Who has whom

    mutating func attach(_ upstream: UInt32, to slot: UInt32) {
        exchanges[slot].pointee.upstream = upstream
        upstreams[upstream].pointee.exchange = slot
        states[upstreams[upstream].pointee.home].pointee.activeCount += 1
    }

    /// The connection's exchange, if it has one, needs its task no more.
    @inline(__always)
    mutating func detach(_ upstream: UInt32) {
        guard upstreams[upstream].pointee.exchange != Slab<Exchange>.none else { return }
        upstreams[upstream].pointee.exchange = Slab<Exchange>.none
        states[upstreams[upstream].pointee.home].pointee.activeCount -= 1
    }
}
