// What a worker makes of the health of tasks: it counts the failures of its own requests (passive health) and keeps
// what the prober says (active health) with the state of each task, so that it survives every swap. Whether a task may
// be picked is asked here and decided in Worker+Picking. Nothing here looks at more than one task for a request that
// goes well.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry

extension Worker {
    /// Whether a task may get a request now.
    @inline(__always)
    func fitness(of member: Member) -> Fitness {
        let home = states.find(member.identity)
        guard home >= 0 else { return member.isChecked ? .never : isFull(member) ? .full : .fit }
        let state = states[home]
        if member.isChecked, state.pointee.health != .healthy {
            return state.pointee.health == .unproven ? .never : .unhealthy
        }
        if state.pointee.failures.outUntilNs > nowNs { return .avoided }
        return isFull(member) ? .full : .fit
    }

    // MARK: Passive health

    private func failWindowNs(_ service: ServiceEntry) -> UInt64 {
        let milliseconds = service.failTimeoutMs >= 0 ? Int(service.failTimeoutMs) : settings.failTimeoutMs
        return UInt64(max(0, milliseconds)) * 1_000_000
    }

    /// A task that is out is tried: the one request of its trial, or one that has no better task.
    mutating func beginTrial(_ home: Int32, for slot: UInt32) {
        states[home].pointee.failures.tried(
            nowNs: nowNs, windowNs: failWindowNs(exchanges[slot].pointee.service))
    }

    /// The task failed this exchange in a way that speaks against it.
    mutating func noteFailure(_ home: Int32, of slot: UInt32, _ failure: UpstreamFailure) {
        let service = exchanges[slot].pointee.service
        let windowNs = failWindowNs(service)
        let maxFails = service.maxFails >= 0 ? Int(service.maxFails) : settings.maxFails
        // Within no time nothing happens, and for no time nobody is out.
        let limit = windowNs == 0 ? 0 : maxFails
        let identity = states[home].pointee.identity
        var record = states[home].pointee.failures
        let wasOut = record.isOut
        let isTakenOut = record.failed(nowNs: nowNs, limit: limit, windowNs: windowNs) {
            isLastFit(identity, for: slot)
        }
        states[home].pointee.failures = record
        if isTakenOut {
            counters.add(.tasksAvoided)
            shared.proberMailbox.post(
                .passedOver(
                    identity: identity, worker: index, failure: failure, service: nameOfService(slot),
                    address: states[home].pointee.endpoint))
        } else if wasOut, !record.isOut {
            shared.proberMailbox.post(.takenBack(identity: identity, worker: index))
        }
    }

    /// The task answered: if it was out, it is back.
    mutating func noteReturn(_ home: Int32) {
        states[home].pointee.failures.clear()
        shared.proberMailbox.post(.takenBack(identity: states[home].pointee.identity, worker: index))
    }

    /// Whether the exchange's pool has no other task that may get requests now.
    private func isLastFit(_ identity: UInt64, for slot: UInt32) -> Bool {
        let exchange = exchanges[slot]
        guard exchange.pointee.held >= 0, let publication = held[Int(exchange.pointee.held)].publication else {
            return true
        }
        let pool = exchange.pointee.pool
        for position in pool.firstMember..<pool.firstMember + pool.memberCount {
            let member = publication.table.member(position)
            if member.identity != identity, fitness(of: member) >= .full { return false }
        }
        return true
    }

    private func nameOfService(_ slot: UInt32) -> String {
        let exchange = exchanges[slot]
        guard exchange.pointee.held >= 0, let publication = held[Int(exchange.pointee.held)].publication else {
            return ""
        }
        return publication.table.services[Int(exchange.pointee.serviceIndex)].name
    }

    /// Whether a loss makes the task one to pass over for a while: it could not be reached, or it was and did not
    /// answer. What clients can bring about with any task is not its fault.
    func speaksAgainstTask(_ slot: UInt32, _ failure: UpstreamFailure) -> Bool {
        let upstream = upstreams[slot]
        switch upstream.pointee.state {
        case .connecting: return true
        // Clients choose the name, unless a label does: what they ask for in vain must not take a task from others.
        case .handshaking: return failure == .connectTimeout || targets[upstream.pointee.target].pointee.isNamed
        case .busy:
            guard !exchanges[upstream.pointee.exchange].pointee.answerBegan else { return false }
            if failure == .responseTimeout { return true }
            // A reused connection that ends is mostly one that the task had closed already.
            return !upstream.pointee.isReused && (failure == .reset || failure == .closedEarly)
        case .tunnel:
            let exchange = exchanges[upstream.pointee.exchange]
            return exchange.pointee.kind == .stream && exchange.pointee.isUntouched && failure == .reset
        case .idle: return false
        }
    }

    // MARK: Active health

    /// What the prober found out since it last said something.
    mutating func takeHealth(_ changes: [HealthChange]) {
        for change in changes {
            var home = states.find(change.identity)
            if home < 0 {
                // It may be gone by now; nobody would ever forget its state then.
                guard change.health != .unproven, publication.table.isReady(change.identity) else { continue }
                home = states.home(of: change.identity, endpoint: change.endpoint)
            }
            states[home].pointee.health = change.health
        }
    }

    /// A task that got requests before its service had a check.
    mutating func presumeHealthy(_ identity: UInt64, _ endpoint: Endpoint) {
        states[states.home(of: identity, endpoint: endpoint)].pointee.health = .healthy
    }
}
