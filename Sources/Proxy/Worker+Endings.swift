// How an exchange ends: its answer complete, an answer of our own, or the client cut off. Each way ends in `finish`,
// which counts, logs and frees, once.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    /// The answer is complete, and all of it handed to the client's connection.
    /// - Parameter upstreamHasMore: the task sent bytes behind its answer.
    mutating func completeExchange(_ slot: UInt32, upstreamHasMore: Bool) {
        let exchange = exchanges[slot]
        let clientSlot = exchange.pointee.client
        let client = clients[clientSlot]
        let upstream = exchange.pointee.upstream
        let keeps = exchange.pointee.keepsClient && exchange.pointee.requestIsComplete
        let isReusable =
            exchange.pointee.upstreamIsReusable && !upstreamHasMore
            && exchange.pointee.service.proxyProtocolVersion == 0
        exchange.pointee.cells.noteAnswer(atNs: nowNs)
        releaseUpstream(upstream, isReusable: isReusable, keepAliveHintS: exchange.pointee.responseKeepAliveS)
        finish(slot, .ok, status: exchange.pointee.status)
        guard keeps else {
            linger(clientSlot)
            return
        }
        nextRequest(clientSlot)
        if client.pointee.isReadable || !client.pointee.input.isEmpty {
            driveClient(clientSlot)
        } else if !client.pointee.isWriteBlocked {
            becomeIdle(clientSlot)
        }
    }

    /// Ends an exchange whose answer has not begun with one of our own. If it has begun, the client is cut off.
    mutating func endExchange(_ slot: UInt32, with outcome: Outcome) {
        let exchange = exchanges[slot]
        if exchange.pointee.kind == .stream { return endStream(slot, outcome) }
        if exchange.pointee.answerBegan {
            cutExchange(slot, outcome)
            return
        }
        dropUpstream(of: slot)
        let clientSlot = exchange.pointee.client
        let client = clients[clientSlot]
        let closes = !exchange.pointee.keepsClient || !exchange.pointee.requestIsComplete || isDraining
        var lines = extraLinesWriter
        appendHSTS(exchange: slot, to: &lines)
        let local = LocalAnswer(
            outcome: outcome, status: outcome.status, code: outcome.code, explanation: outcome.explanation,
            format: exchange.pointee.accept, isHead: exchange.pointee.isHead, closes: closes,
            version: exchange.pointee.clientVersion, retryAfterS: outcome.status == 503 ? 1 : nil,
            requestID: exchange.pointee.requestID, extraLines: lines.bytes)
        counters.add(rejection: RejectionReasons.number(of: outcome))
        finish(slot, outcome, status: outcome.status)
        sendLocal(clientSlot, local)
        if closes {
            linger(clientSlot)
        } else {
            nextRequest(clientSlot)
            // Not here and now: the caller may be in the middle of this client's turn.
            if client.pointee.isReadable || !client.pointee.input.isEmpty {
                continueLater(client: clientSlot)
            } else if !client.pointee.isWriteBlocked {
                becomeIdle(clientSlot)
            }
        }
    }

    /// Ends an exchange and its client's connection at once: nothing that could still be sent would be true.
    mutating func cutExchange(_ slot: UInt32, _ outcome: Outcome) {
        let exchange = exchanges[slot]
        if exchange.pointee.kind == .stream { return endStream(slot, outcome) }
        let clientSlot = exchange.pointee.client
        dropUpstream(of: slot)
        // An HTTP/1.0 client takes FIN for the end of the body: only a reset tells it otherwise.
        if exchange.pointee.answerBegan, exchange.pointee.clientVersion == .http10 {
            Socket.resetOnClose(clients[clientSlot].pointee.descriptor)
        }
        if !exchange.pointee.answerBegan { counters.add(rejection: RejectionReasons.number(of: outcome)) }
        finish(slot, outcome, status: exchange.pointee.answerBegan ? exchange.pointee.status : outcome.status)
        clients[clientSlot].pointee.exchange = Slab<Exchange>.none
        closeClient(clientSlot)
    }

    mutating func dropUpstream(of slot: UInt32) {
        let upstream = exchanges[slot].pointee.upstream
        guard upstream != Slab<UpstreamConnection>.none else { return }
        exchanges[slot].pointee.upstream = Slab<UpstreamConnection>.none
        closeUpstream(upstream)
    }

    /// Counts, logs and frees an exchange. The client's and the task's connections are the caller's.
    mutating func finish(_ slot: UInt32, _ outcome: Outcome, status: UInt16) {
        let exchange = exchanges[slot]
        exchange.pointee.finish()
        let durationUs = (nowNs &- exchange.pointee.startedNs) / 1000
        let cells = exchange.pointee.cells
        cells.addRequest(status: status, durationUs: durationUs)
        cells.addBytesIn(exchange.pointee.requestByteCount &+ exchange.pointee.tunnelBytesIn)
        cells.addBytesOut(exchange.pointee.responseByteCount &+ exchange.pointee.tunnelBytesOut)
        counters.subtract(.requestsActive)
        if logRing != nil { log(slot, outcome, status: status, durationUs: durationUs) }
        release(slot)
    }

    /// Frees an exchange that was counted and logged.
    mutating func release(_ slot: UInt32) {
        let exchange = exchanges[slot]
        if exchange.pointee.waiter != Slab<Waiter>.none { forgetWaiter(slot) }
        if exchange.pointee.limit != nil { givePlace(slot) }
        buffers.give(&exchange.pointee.sent)
        buffers.give(&exchange.pointee.logged)
        let position = exchange.pointee.held
        exchange.pointee.retainedCounters?.release()
        exchanges.remove(slot)
        if position >= 0 {
            held[Int(position)].exchangeCount -= 1
            if position != currentHeld { retireIfUnused(position) }
        }
    }
}
