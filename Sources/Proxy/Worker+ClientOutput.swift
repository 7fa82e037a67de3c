// The client's side of a worker, outwards: writing answers, deadlines, and the end of a connection.

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    // MARK: Writing

    /// Writes what is in the sink; what the socket does not take waits in `output`.
    /// - Returns: false if the client is gone and everything of it was cleaned up.
    @inline(__always)
    mutating func sendToClient(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        let total = sink.gather.byteCount
        if total == 0 { return true }
        if client.pointee.tls != nil { return sendToTLSClient(slot) }
        var written = 0
        if !client.pointee.isWriteBlocked {
            let result = sink.gather.write(to: client.pointee.descriptor)
            if result.isFailure {
                if !result.isWouldBlock {
                    abandonClient(slot, .clientClosed)
                    return false
                }
            } else {
                written = result.count
                counters.add(.bytesToClients, UInt64(written))
                client.pointee.progress &+= UInt64(written)
            }
            if written == total { return true }
        }
        return keepForClient(slot, from: written)
    }

    mutating func keepForClient(_ slot: UInt32, from written: Int) -> Bool {
        let client = clients[slot]
        guard buffers.append(sink.gather, from: written, to: &client.pointee.output) else {
            abandonClient(slot, .overloaded)
            return false
        }
        noteBlocked(slot)
        return true
    }

    /// Something waits in `output`.
    mutating func noteBlocked(_ slot: UInt32) {
        let client = clients[slot]
        if !client.pointee.isWriteBlocked {
            client.pointee.isWriteBlocked = true
            beginWindow(slot)
            // A window of its own: what was left of another one is too short. A tunnel has its own deadline.
            if client.pointee.state == .exchanging { client.pointee.deadlineNs = .max }
            updateClientDeadline(slot)
        }
    }

    /// Writes what waits in `output`.
    /// - Returns: false if the client is gone.
    mutating func flushClient(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        while !client.pointee.output.isEmpty {
            let bytes = client.pointee.output.bytes
            let result = Socket.write(client.pointee.descriptor, bytes.base, count: bytes.count)
            if result.isFailure {
                if result.isWouldBlock { return true }
                abandonClient(slot, .clientClosed)
                return false
            }
            counters.add(.bytesToClients, UInt64(result.count))
            client.pointee.progress &+= UInt64(result.count)
            client.pointee.output.consume(result.count)
        }
        buffers.give(&client.pointee.output)
        client.pointee.isWriteBlocked = false
        if client.pointee.closesAfterFlush {
            linger(slot)
            return clients.isInUse(slot)
        }
        if client.pointee.state == .exchanging || client.pointee.state == .tunnel {
            updateClientDeadline(slot)
            let upstream = exchanges[client.pointee.exchange].pointee.upstream
            if upstream != Slab<UpstreamConnection>.none {
                if upstreams[upstream].pointee.state == .busy, upstreams[upstream].pointee.deadlineNs == .max {
                    let service = exchanges[client.pointee.exchange].pointee.service
                    setDeadline(upstream: upstream, afterMs: responseTimeoutMs(service))
                }
                let generation = clients.generation(of: slot)
                driveUpstream(upstream)
                return clients.isCurrent(slot, generation: generation)
            }
        } else if client.pointee.state == .reading {
            setDeadline(client: slot, afterMs: settings.keepAliveTimeoutMs)
        }
        return true
    }

    // MARK: Deadlines

    /// Sets or lifts the deadline for progress of a client that has a request under way: it runs while the client owes
    /// body bytes, or does not take its answer.
    mutating func updateClientDeadline(_ slot: UInt32) {
        let client = clients[slot]
        guard client.pointee.state == .exchanging, !isWaiting(slot) else { return }
        let exchange = exchanges[client.pointee.exchange]
        var owesBody = !exchange.pointee.requestIsComplete && !exchange.pointee.requestIsAbandoned
        if owesBody {
            let upstream = exchange.pointee.upstream
            let upstreamIsBlocked =
                upstream == Slab<UpstreamConnection>.none || upstreams[upstream].pointee.isWriteBlocked
                || exchange.pointee.phase == .connecting
            if exchange.pointee.waitsForContinue || upstreamIsBlocked { owesBody = false }
        }
        if owesBody || client.pointee.isWriteBlocked {
            if client.pointee.deadlineNs == .max {
                beginWindow(slot)
                setDeadline(client: slot, afterMs: idleTimeoutMs(exchange.pointee.service.idleTimeoutMs))
            }
        } else {
            client.pointee.deadlineNs = .max
        }
    }

    /// From here on counts what the client takes or sends.
    mutating func beginWindow(_ slot: UInt32) {
        let client = clients[slot]
        client.pointee.progress = 0
        client.pointee.queuedCount = client.pointee.isWriteBlocked ? Socket.queuedCount(client.pointee.descriptor) : 0
    }

    /// Whether the client made the least progress in the window that ends now. The kernel says so late that there is
    /// room again, after a third of its buffer: what the client has acknowledged counts.
    mutating func madeProgress(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        var moved = Int(truncatingIfNeeded: client.pointee.progress)
        if moved < 1024, client.pointee.isWriteBlocked {
            moved += client.pointee.queuedCount - Socket.queuedCount(client.pointee.descriptor)
        }
        beginWindow(slot)
        return moved >= 1024
    }

    func idleTimeoutMs(_ override: Int64) -> Int { override >= 0 ? Int(override) : settings.idleTimeoutMs }

    mutating func clientTimedOut(_ slot: UInt32) {
        let client = clients[slot]
        switch client.pointee.state {
        case .preface:
            rejectPreface(slot)
        case .hello, .handshake:
            counters.add(handshakeFailure: HandshakeFailures.timeout)
            closeClient(slot)
        case .reading:
            if client.pointee.isWriteBlocked {
                guard madeProgress(slot) else { return abandonClient(slot, .clientTooSlow) }
                setDeadline(client: slot, afterMs: settings.idleTimeoutMs)
            } else if client.pointee.input.isEmpty {
                closePolitely(slot)
            } else {
                answerWithoutHead(slot, .headerTimeout)
            }
        case .lingering:
            guard client.pointee.isWriteBlocked, madeProgress(slot) else { return closeClient(slot) }
            setDeadline(client: slot, afterMs: settings.idleTimeoutMs)
        case .joining where isWaiting(slot):
            waitTimedOut(client.pointee.exchange)
        case .joining:
            // Its task's connection has the deadline.
            client.pointee.deadlineNs = .max
        case .tunnel:
            endTunnel(slot, .tunnelTimeout)
        case .exchanging where isWaiting(slot):
            waitTimedOut(client.pointee.exchange)
        case .exchanging:
            let exchange = exchanges[client.pointee.exchange]
            if madeProgress(slot) {
                setDeadline(client: slot, afterMs: idleTimeoutMs(exchange.pointee.service.idleTimeoutMs))
            } else if client.pointee.isWriteBlocked {
                abandonClient(slot, .clientTooSlow)
            } else {
                endExchange(client.pointee.exchange, with: .bodyTimeout)
            }
        }
    }

    // MARK: The end of a connection

    /// Sends FIN once everything is written, then reads and drops what the client still sends, so that it can read the
    /// last answer before it sees a reset.
    mutating func linger(_ slot: UInt32) {
        let client = clients[slot]
        client.pointee.state = .lingering
        leaveIdle(slot)
        leaveNewcomers(slot)
        if client.pointee.isWriteBlocked {
            client.pointee.closesAfterFlush = true
            beginWindow(slot)
            setDeadline(client: slot, afterMs: settings.idleTimeoutMs)
            return
        }
        setDeadline(client: slot, afterMs: settings.lingerTimeoutMs)
        buffers.give(&client.pointee.input)
        if client.pointee.tls != nil {
            sayGoodbyeToClient(slot)
            // It comes back here once that is out.
            if client.pointee.isWriteBlocked {
                client.pointee.closesAfterFlush = true
                return
            }
        }
        if client.pointee.isAtEnd {
            closeClient(slot)
            return
        }
        Socket.shutdownWrite(client.pointee.descriptor)
        drainLingering(slot)
    }

    mutating func drainLingering(_ slot: UInt32) {
        let client = clients[slot]
        guard !client.pointee.isWriteBlocked else { return }
        while client.pointee.isReadable {
            guard let count = readClient(slot, capacity: Self.scratchSize, decrypts: false) else { return }
            client.pointee.discardedCount += Int32(count)
            if count == 0 || client.pointee.discardedCount > 16 << 20 {
                closeClient(slot)
                return
            }
        }
    }

    /// Ends everything that the client has under way, at once.
    mutating func abandonClient(_ slot: UInt32, _ outcome: Outcome) {
        let client = clients[slot]
        switch client.pointee.state {
        case .tunnel:
            endTunnel(slot, outcome)
        case .exchanging, .joining:
            cutExchange(client.pointee.exchange, outcome)
        default:
            closeClient(slot)
        }
    }

    /// Closes a connection on which nothing is under way.
    mutating func closePolitely(_ slot: UInt32) {
        if clients[slot].pointee.tls != nil { sayGoodbyeToClient(slot) }
        closeClient(slot)
    }

    /// Closes the descriptor and frees the slot. The client has no exchange any more.
    mutating func closeClient(_ slot: UInt32) {
        let client = clients[slot]
        leaveIdle(slot)
        leaveNewcomers(slot)
        wheel.cancel(timerID(client: slot))
        buffers.give(&client.pointee.input)
        buffers.give(&client.pointee.output)
        if client.pointee.tls != nil { endTLS(slot) }
        shared.admission.leave(client.pointee.acceptedFrom)
        Socket.close(client.pointee.descriptor)
        clients.remove(slot)
        counters.set(.connectionsActive, UInt64(clients.count))
        resumeAcceptingSoon()
    }
}
