// The request on its way from a client to a task: head and body, backpressure, and what is kept for another attempt.

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    // MARK: The request

    /// Sends the head, and what is there of the body in the same write.
    mutating func sendRequest(_ slot: UInt32) {
        let exchange = exchanges[slot]
        let client = clients[exchange.pointee.client]
        exchange.pointee.sentNs = nowNs
        sink.reset()
        let headPieces = addProxyHeader(slot) + 1
        sink.append(exchange.pointee.sent.bytes)
        var position = 0
        var progress = Exchange.RequestProgress.complete
        let isReplay = exchange.pointee.sent.count > Int(exchange.pointee.headCount)
        if !exchange.pointee.requestIsComplete, !isReplay, !client.pointee.input.isEmpty {
            progress = exchange.pointee.clientInput(client.pointee.input.bytes, position: &position, into: &sink)
            client.pointee.input.consume(position)
        }
        guard relayed(slot, progress, headPieces: headPieces) else { return }
        if client.pointee.input.isEmpty { buffers.give(&client.pointee.input) }
        requestProgressed(slot)
        if !exchange.pointee.requestIsComplete { pumpRequest(exchange.pointee.client) }
    }

    /// Moves body bytes of the client to the task as far as both are ready.
    mutating func pumpRequest(_ slot: UInt32) {
        let client = clients[slot]
        let exchangeSlot = client.pointee.exchange
        let exchange = exchanges[exchangeSlot]
        let generation = exchanges.generation(of: exchangeSlot)
        var budget = Self.turnBudget
        while !exchange.pointee.requestIsComplete, !exchange.pointee.requestIsAbandoned {
            guard exchange.pointee.phase == .awaiting || exchange.pointee.phase == .streaming,
                !upstreams[exchange.pointee.upstream].pointee.isWriteBlocked
            else { return }
            if budget <= 0 {
                continueLater(client: slot)
                return
            }
            sink.reset()
            var position = 0
            if !client.pointee.input.isEmpty {
                let bytes = client.pointee.input.bytes
                let progress = exchange.pointee.clientInput(bytes, position: &position, into: &sink)
                // Used up before anything can go wrong with the write: the next request begins behind it whatever
                // becomes of this one. The memory stays until the write is done.
                client.pointee.input.consume(position)
                guard relayed(exchangeSlot, progress, headPieces: 0) else { return }
                if client.pointee.input.isEmpty { buffers.give(&client.pointee.input) }
                budget -= position
            } else {
                guard client.pointee.isReadable, let count = readClient(slot, capacity: Int(client.pointee.readSize))
                else { return }
                if count == 0 {
                    cutExchange(exchangeSlot, .clientClosed)
                    return
                }
                client.pointee.progress &+= UInt64(count)
                budget -= count
                let bytes = Bytes(scratch, count: count)
                while true {
                    let progress = exchange.pointee.clientInput(bytes, position: &position, into: &sink)
                    let isDone = position == count || exchange.pointee.requestIsComplete
                    if isDone, position < count {
                        // The begin of the next request. At most one read's worth into an empty buffer: it fits.
                        _ = buffers.append(bytes.slice(from: position).raw, to: &client.pointee.input)
                    }
                    guard relayed(exchangeSlot, progress, headPieces: 0) else {
                        // What is left in the scratch buffer goes with it.
                        if !isDone, exchanges.isCurrent(exchangeSlot, generation: generation) {
                            exchange.pointee.isBodyLost = true
                        }
                        return
                    }
                    if isDone { break }
                    sink.reset()
                }
                let blocked = upstreams[exchange.pointee.upstream].pointee.isWriteBlocked
                adapt(&client.pointee.readSize, isFull: client.pointee.readWasFull, isBlocked: blocked)
            }
            requestProgressed(exchangeSlot)
            guard exchanges.isCurrent(exchangeSlot, generation: generation) else { return }
        }
    }

    /// Reads grow while everything read is taken at once, and shrink when it is not: what a slow reader leaves behind
    /// has to be kept.
    @inline(__always)
    func adapt(_ size: inout Int32, isFull: Bool, isBlocked: Bool) {
        if isBlocked {
            size = max(16_384, size / 2)
        } else if isFull {
            size = min(Int32(Self.scratchSize), size * 2)
        }
    }

    /// Deals with what a piece of the request came to, and sends the sink.
    /// - Returns: false if the exchange was ended, or another attempt has taken over.
    mutating func relayed(_ slot: UInt32, _ progress: Exchange.RequestProgress, headPieces: Int) -> Bool {
        switch progress {
        case .more, .complete:
            return sendToUpstream(slot, headPieces: headPieces)
        case .tooLarge:
            exchanges[slot].pointee.keepsClient = false
            endExchange(slot, with: .bodyTooLarge)
            return false
        case .refused(let refusal):
            counters.add(rejection: RejectionReasons.number(of: refusal.reason))
            exchanges[slot].pointee.keepsClient = false
            endExchange(slot, with: .badBody)
            return false
        }
    }

    /// Writes what is in the sink to the exchange's task; what it does not take waits in `output`.
    /// - Returns: false if the exchange was ended, or another attempt has taken over.
    mutating func sendToUpstream(_ slot: UInt32, headPieces: Int) -> Bool {
        let exchange = exchanges[slot]
        let upstream = exchange.pointee.upstream
        if sink.gather.byteCount == 0 { return true }
        let result = writeUpstream(upstream)
        exchange.pointee.keepForReplay(
            sink, headPieces: headPieces, limit: settings.retryBufferSize, in: &buffers)
        switch result {
        case .done:
            if exchange.pointee.requestByteCount > Self.bulkSize { setCarriesBulk(upstream, true) }
            return true
        case .failed:
            return writeFailed(slot)
        case .overloaded:
            endExchange(slot, with: .overloaded)
            return false
        }
    }

    /// The task takes no more bytes. It may have answered before it closed: look, then decide.
    mutating func writeFailed(_ slot: UInt32) -> Bool {
        let exchange = exchanges[slot]
        let upstream = exchange.pointee.upstream
        exchange.pointee.requestIsAbandoned = true
        buffers.give(&upstreams[upstream].pointee.output)
        upstreams[upstream].pointee.isWriteBlocked = false
        upstreams[upstream].pointee.isReadable = true
        upstreams[upstream].pointee.isPeerClosed = true
        continueLater(upstream: upstream)
        return false
    }

    /// After some of the request went out: deadlines follow who is waited for.
    mutating func requestProgressed(_ slot: UInt32) {
        let exchange = exchanges[slot]
        let upstream = exchange.pointee.upstream
        guard upstream != Slab<UpstreamConnection>.none else { return }
        if exchange.pointee.requestIsComplete || upstreams[upstream].pointee.isWriteBlocked {
            setDeadline(upstream: upstream, afterMs: responseTimeoutMs(exchange.pointee.service))
            if exchange.pointee.requestIsComplete, !clients[exchange.pointee.client].pointee.isWriteBlocked {
                clients[exchange.pointee.client].pointee.deadlineNs = .max
                return
            }
        } else if exchange.pointee.waitsForContinue {
            // The client waits for the task's word.
            setDeadline(upstream: upstream, afterMs: responseTimeoutMs(exchange.pointee.service))
        } else if !exchange.pointee.answerBegan {
            // The task owes nothing while the client still sends.
            upstreams[upstream].pointee.deadlineNs = .max
        }
        updateClientDeadline(exchange.pointee.client)
    }

    /// Writes what waits for the task.
    /// - Returns: false if the exchange was ended, or another attempt has taken over.
    mutating func flushUpstream(_ slot: UInt32) -> Bool {
        let upstream = upstreams[slot]
        guard case .done = writeUpstreamOutput(slot) else {
            switch upstream.pointee.state {
            case .tunnel:
                endTunnel(exchanges[upstream.pointee.exchange].pointee.client, .reset)
                return false
            case .handshaking:
                loseHandshake(slot, .tlsHandshake)
                return false
            case .connecting, .idle, .busy:
                return writeFailed(upstream.pointee.exchange)
            }
        }
        if upstream.pointee.isWriteBlocked { return true }
        let exchange = upstream.pointee.exchange
        if upstream.pointee.state == .busy {
            let generation = upstreams.generation(of: slot)
            requestProgressed(exchange)
            pumpRequest(exchanges[exchange].pointee.client)
            return upstreams.isCurrent(slot, generation: generation)
        }
        return true
    }
}
