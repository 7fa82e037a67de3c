// The task's side of a worker: its events and deadlines, and what is done when it is lost. The bytes themselves move in
// Worker+RequestRelay and Worker+ResponseRelay.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    // MARK: Events

    @inline(__always)
    mutating func upstreamReady(_ slot: UInt32, _ readiness: Readiness) {
        let upstream = upstreams[slot]
        switch upstream.pointee.state {
        case .connecting:
            if !readiness.isDisjoint(with: [.readable, .peerClosed]) { upstream.pointee.isReadable = true }
            if readiness.contains(.peerClosed) { upstream.pointee.isPeerClosed = true }
            if !readiness.isDisjoint(with: [.writable, .failed, .hungUp]) {
                connectFinished(slot, isSuspect: !readiness.isDisjoint(with: [.failed, .hungUp]))
            }
            return
        case .idle:
            // The task closed it, or said something unasked: either way it is of no more use.
            if !readiness.isDisjoint(with: [.readable, .peerClosed, .hungUp, .failed]), !staysIdle(slot, readiness) {
                closeUpstream(slot)
            }
            return
        case .busy where upstream.pointee.takenInBatch == batch:
            // The event is older than the request that took the connection since: this is no answer to it.
            if !readiness.isDisjoint(with: [.readable, .peerClosed, .hungUp, .failed]), !staysIdle(slot, readiness) {
                loseUpstream(slot, .closedEarly)
                return
            }
        case .handshaking, .busy, .tunnel:
            break
        }
        if readiness.contains(.readable) { upstream.pointee.isReadable = true }
        if !readiness.isDisjoint(with: [.peerClosed, .hungUp, .failed]) {
            upstream.pointee.isReadable = true
            upstream.pointee.isPeerClosed = true
        }
        if readiness.contains(.writable), upstream.pointee.isWriteBlocked {
            guard flushUpstream(slot) else { return }
        }
        driveUpstream(slot)
    }

    /// Does whatever the task's connection is ready for.
    mutating func driveUpstream(_ slot: UInt32) {
        let upstream = upstreams[slot]
        switch upstream.pointee.state {
        case .handshaking: driveHandshake(slot)
        case .busy: pumpResponse(slot)
        case .tunnel: driveTunnel(exchanges[upstream.pointee.exchange].pointee.client)
        case .connecting, .idle: break
        }
    }

    mutating func upstreamTimedOut(_ slot: UInt32) {
        let upstream = upstreams[slot]
        switch upstream.pointee.state {
        case .idle: closeUpstream(slot)
        case .connecting: loseUpstream(slot, .connectTimeout)
        case .handshaking: loseHandshake(slot, .connectTimeout)
        case .busy:
            let began = exchanges[upstream.pointee.exchange].pointee.answerBegan
            loseUpstream(slot, began ? .bodyTimeout : .responseTimeout)
        case .tunnel:
            // A stream that stays.
            upstream.pointee.deadlineNs = .max
            watchUpstream(slot)
        }
    }

    // MARK: Losing a task

    /// The task's connection is of no more use to its exchange: try another, answer, or cut the client off.
    mutating func loseUpstream(_ slot: UInt32, _ failure: UpstreamFailure) {
        let upstream = upstreams[slot]
        let exchangeSlot = upstream.pointee.exchange
        let exchange = exchanges[exchangeSlot]
        if speaksAgainstTask(slot, failure) { noteFailure(upstream.pointee.home, of: exchangeSlot, failure) }
        countFailure(exchangeSlot, failure)
        switch exchange.pointee.upstreamLost(failure, isReused: upstream.pointee.isReused) {
        case .retry(let reason):
            retry(exchangeSlot, reason)
        case .exhausted(let outcome):
            waitOrEnd(exchangeSlot, with: outcome)
        case .answer(let outcome):
            endExchange(exchangeSlot, with: outcome)
        case .cut(let outcome):
            cutExchange(exchangeSlot, outcome)
        }
    }

    mutating func retry(_ slot: UInt32, _ reason: RetryReason) {
        let exchange = exchanges[slot]
        counters.add(reason)
        exchange.pointee.cells.addRetry()
        if reason != .connectFailed || exchange.pointee.phase == .tunnel { exchange.pointee.losses &+= 1 }
        let upstream = exchange.pointee.upstream
        let identity = states[upstreams[upstream].pointee.home].pointee.identity
        // A pooled connection that was closed says nothing against its task, but the next attempt takes a new one.
        if upstreams[upstream].pointee.isReused, reason == .connectionClosed {
            exchange.pointee.wantsNewConnection = true
        } else {
            exchange.pointee.tried.insert(identity)
        }
        exchange.pointee.upstream = Slab<UpstreamConnection>.none
        closeUpstream(upstream)
        if exchange.pointee.limit != nil { givePlace(slot) }
        exchange.pointee.prepareRetry()
        if exchange.pointee.kind == .stream { rejoin(exchange.pointee.client) }
        connect(slot)
    }

    mutating func countFailure(_ slot: UInt32, _ failure: UpstreamFailure) {
        counters.add(failure)
        exchanges[slot].pointee.lastFailure = Outcome(failure)
        exchanges[slot].pointee.cells.addFailure()
    }
}
