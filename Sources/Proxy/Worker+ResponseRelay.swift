// The answer on its way from a task to a client: parsed, written anew, and moved on as far as the client takes it.

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    // MARK: The answer

    /// Moves bytes of the task to the client as far as both are ready.
    mutating func pumpResponse(_ slot: UInt32) {
        let upstream = upstreams[slot]
        let exchangeSlot = upstream.pointee.exchange
        let exchange = exchanges[exchangeSlot]
        var budget = Self.turnBudget
        while upstream.pointee.isReadable {
            if clients[exchange.pointee.client].pointee.isWriteBlocked {
                // The client is the one that is waited for.
                upstream.pointee.deadlineNs = .max
                return
            }
            if budget <= 0 {
                continueLater(upstream: slot)
                return
            }
            switch readUpstream(slot, capacity: Int(upstream.pointee.readSize)) {
            case .nothing:
                return
            case .failed(let failure):
                loseUpstream(slot, failure)
                return
            case .end:
                upstreamEnded(slot)
                return
            case .bytes(let count):
                budget -= count
                guard takeResponse(slot, count: count) else { return }
                adapt(
                    &upstream.pointee.readSize, isFull: upstream.pointee.readWasFull,
                    isBlocked: clients[exchange.pointee.client].pointee.isWriteBlocked)
            }
        }
    }

    /// Deals with `count` bytes of the task that are in the scratch buffer.
    /// - Returns: false if the exchange is over or was handed to another task.
    mutating func takeResponse(_ slot: UInt32, count: Int) -> Bool {
        let upstream = upstreams[slot]
        let exchangeSlot = upstream.pointee.exchange
        let exchange = exchanges[exchangeSlot]
        if exchange.pointee.answeredNs == 0 {
            exchange.pointee.answeredNs = nowNs
            if states[upstream.pointee.home].pointee.failures.isOut { noteReturn(upstream.pointee.home) }
        }
        var bytes = Bytes(scratch, count: count)
        let isKept = !upstream.pointee.input.isEmpty
        if isKept {
            guard buffers.append(bytes.raw, to: &upstream.pointee.input) else {
                loseUpstream(slot, .badResponse)
                return false
            }
            bytes = upstream.pointee.input.bytes
        }
        var position = 0
        var scanned = isKept ? Int(upstream.pointee.scannedCount) : 0
        let waited = exchange.pointee.waitsForContinue
        while true {
            sink.reset()
            let progress = advance(exchangeSlot, bytes, &position, scanned: scanned)
            scanned = 0
            switch progress {
            case .more:
                guard sendToClient(exchange.pointee.client) else { return false }
                if position < bytes.count { continue }
                if isKept { buffers.give(&upstream.pointee.input) }
                // An answer has begun: nothing is sent again.
                buffers.give(&exchange.pointee.sent)
                setDeadline(upstream: slot, afterMs: responseTimeoutMs(exchange.pointee.service))
                return true
            case .needHead:
                guard sendToClient(exchange.pointee.client) else { return false }
                // After 100 it is the client's turn.
                if waited, !exchange.pointee.waitsForContinue { requestProgressed(exchangeSlot) }
                return keepResponseHead(slot, bytes, from: position, isKept: isKept)
            case .complete:
                let hasMore = position < bytes.count
                guard sendToClient(exchange.pointee.client) else { return false }
                if isKept { buffers.give(&upstream.pointee.input) }
                completeExchange(exchangeSlot, upstreamHasMore: hasMore)
                return false
            case .tunnel:
                sink.append(bytes.slice(from: position))
                exchange.pointee.tunnelBytesOut &+= UInt64(bytes.count - position)
                guard sendToClient(exchange.pointee.client) else { return false }
                if isKept { buffers.give(&upstream.pointee.input) }
                beginTunnel(exchangeSlot)
                return false
            case .retryStatus:
                retry(exchangeSlot, .status)
                return false
            case .failed(let failure):
                // What was understood before the fault is the client's: interim answers, and the body so far.
                guard sendToClient(exchange.pointee.client) else { return false }
                loseUpstream(slot, failure)
                return false
            }
        }
    }

    /// Hands bytes to the exchange with everything it may need for a head.
    @inline(__always)
    mutating func advance(
        _ slot: UInt32, _ bytes: Bytes, _ position: inout Int, scanned: Int
    ) -> Exchange.ResponseProgress {
        let exchange = exchanges[slot]
        date.update(nowNs: nowNs)
        var writer = ByteWriter(base: headScratch, capacity: Self.headScratchSize - 1024)
        let hasLines = settings.showsInfoHeaders || exchange.pointee.hstsRoute >= 0
        let info = hasLines && !exchange.pointee.answerBegan ? infoLines(slot) : 0
        let infoBytes = Bytes(headScratch + Self.headScratchSize - 1024, count: info)
        let surroundings = Exchange.ResponseSurroundings(
            date: date.bytes, viaName: viaName, infoLines: infoBytes,
            requestID: settings.showsRequestID ? RequestID.bytes(at: &exchange.pointee.requestID) : .empty,
            closesClient: isDraining)
        return exchange.pointee.upstreamInput(
            bytes, position: &position, scanned: scanned, head: &responseHead, writer: &writer,
            surroundings: surroundings, into: &sink)
    }

    mutating func keepResponseHead(_ slot: UInt32, _ bytes: Bytes, from position: Int, isKept: Bool) -> Bool {
        let upstream = upstreams[slot]
        if isKept {
            upstream.pointee.input.consume(position)
        } else if !buffers.append(bytes.slice(from: position).raw, to: &upstream.pointee.input) {
            loseUpstream(slot, .badResponse)
            return false
        }
        upstream.pointee.scannedCount = Int32(upstream.pointee.input.count)
        if upstream.pointee.input.isEmpty { buffers.give(&upstream.pointee.input) }
        return true
    }

    /// The task sent FIN.
    mutating func upstreamEnded(_ slot: UInt32) {
        let upstream = upstreams[slot]
        let exchangeSlot = upstream.pointee.exchange
        sink.reset()
        switch exchanges[exchangeSlot].pointee.upstreamEnd(into: &sink) {
        case .complete:
            guard sendToClient(exchanges[exchangeSlot].pointee.client) else { return }
            completeExchange(exchangeSlot, upstreamHasMore: false)
        case .failed(let failure):
            loseUpstream(slot, failure)
        case .more, .needHead, .tunnel, .retryStatus:
            loseUpstream(slot, .closedEarly)
        }
    }
}
