// Bytes between a client and a task: the request on its way there, the answer on its way back, and what is done when a
// task is lost.

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
            if !readiness.isDisjoint(with: [.writable, .failed, .hungUp]) { connectFinished(slot) }
            return
        case .idle:
            // The task closed it, or said something unasked: either way it is of no more use.
            if !readiness.isDisjoint(with: [.readable, .peerClosed, .hungUp, .failed]) { closeUpstream(slot) }
            return
        case .busy, .tunnel:
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
        case .busy:
            let began = exchanges[upstream.pointee.exchange].pointee.answerBegan
            loseUpstream(slot, began ? .bodyTimeout : .responseTimeout)
        case .tunnel: upstream.pointee.deadlineNs = .max
        }
    }

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
                adapt(&client.pointee.readSize, read: count, isBlocked: blocked)
            }
            requestProgressed(exchangeSlot)
            guard exchanges.isCurrent(exchangeSlot, generation: generation) else { return }
        }
    }

    /// Reads grow while everything read is taken at once, and shrink when it is not: what a slow reader leaves behind
    /// has to be kept.
    @inline(__always)
    private func adapt(_ size: inout Int32, read count: Int, isBlocked: Bool) {
        if isBlocked {
            size = max(16_384, size / 2)
        } else if count == Int(size) {
            size = min(Int32(Self.scratchSize), size * 2)
        }
    }

    /// Deals with what a piece of the request came to, and sends the sink.
    /// - Returns: false if the exchange was ended, or another attempt has taken over.
    private mutating func relayed(_ slot: UInt32, _ progress: Exchange.RequestProgress, headPieces: Int) -> Bool {
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
    private mutating func sendToUpstream(_ slot: UInt32, headPieces: Int) -> Bool {
        let exchange = exchanges[slot]
        let upstreamSlot = exchange.pointee.upstream
        let upstream = upstreams[upstreamSlot]
        let total = sink.gather.byteCount
        if total == 0 { return true }
        var written = 0
        if !upstream.pointee.isWriteBlocked {
            let result = sink.gather.write(to: upstream.pointee.descriptor)
            if result.isFailure {
                if !result.isWouldBlock {
                    keepForReplay(slot, headPieces: headPieces)
                    return writeFailed(slot)
                }
            } else {
                written = result.count
                if written > 0 { exchange.pointee.didSend = true }
                counters.add(.bytesToUpstreams, UInt64(written))
            }
        }
        if written < total {
            guard buffers.append(sink.gather, from: written, to: &upstream.pointee.output) else {
                endExchange(slot, with: .overloaded)
                return false
            }
            upstream.pointee.isWriteBlocked = true
        }
        keepForReplay(slot, headPieces: headPieces)
        return true
    }

    /// Keeps body bytes that went out behind the head as long as the request may have to be sent again.
    private mutating func keepForReplay(_ slot: UInt32, headPieces: Int) {
        let exchange = exchanges[slot]
        guard !exchange.pointee.isBodyLost, sink.gather.count > headPieces else { return }
        guard exchange.pointee.method.isIdempotent, !exchange.pointee.answerBegan,
            exchange.pointee.sent.count + sink.gather.byteCount
                <= max(settings.retryBufferSize, Int(exchange.pointee.headCount))
        else {
            exchange.pointee.isBodyLost = true
            return
        }
        // The head's piece points into `sent`: pieces behind it do not, and are copied before `sent` may move.
        for index in headPieces..<sink.gather.count where !exchange.pointee.isBodyLost {
            if !buffers.append(sink.gather.piece(at: index), to: &exchange.pointee.sent) {
                exchange.pointee.isBodyLost = true
            }
        }
    }

    /// The task takes no more bytes. It may have answered before it closed: look, then decide.
    private mutating func writeFailed(_ slot: UInt32) -> Bool {
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
    private mutating func requestProgressed(_ slot: UInt32) {
        let exchange = exchanges[slot]
        let upstream = exchange.pointee.upstream
        guard upstream != Slab<UpstreamConnection>.none else { return }
        if exchange.pointee.requestIsComplete || upstreams[upstream].pointee.isWriteBlocked {
            setDeadline(upstream: upstream, afterMs: responseTimeoutMs(exchange.pointee.service))
            if exchange.pointee.requestIsComplete, !clients[exchange.pointee.client].pointee.isWriteBlocked {
                clients[exchange.pointee.client].pointee.deadlineNs = .max
                return
            }
        } else if !exchange.pointee.answerBegan {
            // The task owes nothing while the client still sends.
            upstreams[upstream].pointee.deadlineNs = .max
        }
        updateClientDeadline(exchange.pointee.client)
    }

    /// Writes what waits for the task.
    /// - Returns: false if the exchange was ended, or another attempt has taken over.
    private mutating func flushUpstream(_ slot: UInt32) -> Bool {
        let upstream = upstreams[slot]
        while !upstream.pointee.output.isEmpty {
            let bytes = upstream.pointee.output.bytes
            let result = Socket.write(upstream.pointee.descriptor, bytes.base, count: bytes.count)
            if result.isFailure {
                if result.isWouldBlock { return true }
                if upstream.pointee.state == .tunnel {
                    endTunnel(exchanges[upstream.pointee.exchange].pointee.client, .reset)
                    return false
                }
                return writeFailed(upstream.pointee.exchange)
            }
            if result.count > 0 { exchanges[upstream.pointee.exchange].pointee.didSend = true }
            counters.add(.bytesToUpstreams, UInt64(result.count))
            upstream.pointee.output.consume(result.count)
        }
        buffers.give(&upstream.pointee.output)
        upstream.pointee.isWriteBlocked = false
        let exchange = upstream.pointee.exchange
        if upstream.pointee.state == .busy {
            let generation = upstreams.generation(of: slot)
            requestProgressed(exchange)
            pumpRequest(exchanges[exchange].pointee.client)
            return upstreams.isCurrent(slot, generation: generation)
        }
        return true
    }

    // MARK: The answer

    /// Moves bytes of the task to the client as far as both are ready.
    private mutating func pumpResponse(_ slot: UInt32) {
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
            let capacity = Int(upstream.pointee.readSize)
            let result = Socket.read(upstream.pointee.descriptor, scratch, capacity: capacity)
            if result.isFailure {
                upstream.pointee.isReadable = false
                if result.isWouldBlock { return }
                loseUpstream(slot, .reset)
                return
            }
            if result.count == 0 {
                upstreamEnded(slot)
                return
            }
            upstream.pointee.isReadable = result.count == capacity || upstream.pointee.isPeerClosed
            counters.add(.bytesFromUpstreams, UInt64(result.count))
            budget -= result.count
            guard takeResponse(slot, count: result.count) else { return }
            adapt(
                &upstream.pointee.readSize, read: result.count,
                isBlocked: clients[exchange.pointee.client].pointee.isWriteBlocked)
        }
    }

    /// Deals with `count` bytes of the task that are in the scratch buffer.
    /// - Returns: false if the exchange is over or was handed to another task.
    private mutating func takeResponse(_ slot: UInt32, count: Int) -> Bool {
        let upstream = upstreams[slot]
        let exchangeSlot = upstream.pointee.exchange
        let exchange = exchanges[exchangeSlot]
        if exchange.pointee.answeredNs == 0 { exchange.pointee.answeredNs = nowNs }
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
        while true {
            sink.reset()
            let progress = advance(exchangeSlot, bytes, &position, scanned: scanned)
            scanned = 0
            switch progress {
            case .more:
                guard sendToClient(exchange.pointee.client) else { return false }
                if position < bytes.count { continue }
                if isKept { buffers.give(&upstream.pointee.input) }
                setDeadline(upstream: slot, afterMs: responseTimeoutMs(exchange.pointee.service))
                return true
            case .needHead:
                guard sendToClient(exchange.pointee.client) else { return false }
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
    private mutating func advance(
        _ slot: UInt32, _ bytes: Bytes, _ position: inout Int, scanned: Int
    ) -> Exchange.ResponseProgress {
        let exchange = exchanges[slot]
        date.update(nowNs: nowNs)
        var writer = ByteWriter(base: headScratch, capacity: Self.headScratchSize)
        let info = settings.showsInfoHeaders ? infoLines(slot) : 0
        let infoBytes = Bytes(headScratch + Self.headScratchSize - 1024, count: info)
        let surroundings = Exchange.ResponseSurroundings(
            date: date.bytes, viaName: viaName, infoLines: infoBytes,
            requestID: settings.showsRequestID ? RequestID.bytes(at: &exchange.pointee.requestID) : .empty,
            closesClient: isDraining)
        return exchange.pointee.upstreamInput(
            bytes, position: &position, scanned: scanned, head: &responseHead, writer: &writer,
            surroundings: surroundings, into: &sink)
    }

    private mutating func keepResponseHead(_ slot: UInt32, _ bytes: Bytes, from position: Int, isKept: Bool) -> Bool {
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
    private mutating func upstreamEnded(_ slot: UInt32) {
        let upstream = upstreams[slot]
        let exchangeSlot = upstream.pointee.exchange
        upstream.pointee.isReadable = false
        upstream.pointee.isAtEnd = true
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

    // MARK: Losing a task

    /// The task's connection is of no more use to its exchange: try another, answer, or cut the client off.
    mutating func loseUpstream(_ slot: UInt32, _ failure: UpstreamFailure) {
        let upstream = upstreams[slot]
        let exchangeSlot = upstream.pointee.exchange
        let exchange = exchanges[exchangeSlot]
        if upstream.pointee.state == .connecting { noteConnectFailure(upstream.pointee.home) }
        countFailure(exchangeSlot, failure)
        switch exchange.pointee.upstreamLost(failure, isReused: upstream.pointee.isReused) {
        case .retry(let reason):
            retry(exchangeSlot, reason)
        case .answer(let outcome):
            endExchange(exchangeSlot, with: outcome)
        case .cut(let outcome):
            cutExchange(exchangeSlot, outcome)
        }
    }

    private mutating func retry(_ slot: UInt32, _ reason: RetryReason) {
        let exchange = exchanges[slot]
        counters.add(reason)
        exchange.pointee.cells.addRetry()
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
        exchange.pointee.prepareRetry()
        connect(slot)
    }

    mutating func countFailure(_ slot: UInt32, _ failure: UpstreamFailure) {
        counters.add(failure)
        exchanges[slot].pointee.lastFailure = Outcome(failure)
        exchanges[slot].pointee.cells.addFailure()
    }
}
