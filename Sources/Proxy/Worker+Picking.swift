// Choosing the task that an exchange is sent to. It never connects and never ends an exchange: what comes of a choice is
// Worker+Connecting's. Every rule of which task may be chosen now (health, failures, limits) meets here, so that a
// request, a retry and a stream of a TCP port are held to the same ones.

internal import Routing

extension Worker {
    /// The next member in turn that is worth trying: first those that did not fail of late, then any that was not
    /// tried, then, if only pooled connections failed so far, any at all.
    mutating func pickMember(_ slot: UInt32) -> Member? {
        let exchange = exchanges[slot]
        guard exchange.pointee.held >= 0, let publication = held[Int(exchange.pointee.held)].publication else {
            return nil
        }
        let pool = exchange.pointee.pool
        let cursor = Int(pool.cursorSlot)
        var avoided = exchange.pointee.tried
        var fallback: Member?
        // At most as many looks as can be remembered.
        for _ in 0..<TriedUpstreams.capacity {
            guard
                let member = Balancer.pick(pool, in: publication.table, cursor: &cursors[cursor], avoiding: avoided)
            else { break }
            let home = states.find(member.identity)
            guard home >= 0, states[home].pointee.avoidedUntilNs > nowNs else { return member }
            if fallback == nil { fallback = member }
            avoided.insert(member.identity)
            if avoided.count == TriedUpstreams.capacity { break }
        }
        return fallback
    }
}
