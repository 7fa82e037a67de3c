// The client's side of a worker: accepting, reading heads, writing answers, deadlines, and the end of a connection.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    // MARK: Accepting

    mutating func acceptBatch(_ position: Int) {
        for _ in 0..<64 {
            if clients.count >= connectionShare, !makeRoom() {
                pauseAccepting()
                return
            }
            var peer = SocketAddress(v4: 0, port: 0)
            let result = Socket.accept(listeners[position], peer: &peer)
            if result.isFailure {
                switch result.code {
                case SystemError.tooManyFilesCode, SystemError.systemFilesCode:
                    // Idle connections go first; without any, accepting waits instead of spinning.
                    if !makeRoom() {
                        pauseAccepting()
                        return
                    }
                    continue
                default:
                    // Nothing waits, or the connection was gone before it was taken: look again at the next event.
                    return
                }
            }
            admit(Int32(result.raw), from: peer, localPort: localPorts[position])
        }
    }

    private mutating func admit(_ descriptor: Int32, from address: SocketAddress, localPort: UInt16) {
        counters.add(.connectionsAccepted)
        let peer = Endpoint(address.unmapped)
        guard shared.admission.enter(peer.address) else {
            counters.add(.connectionsRejected)
            Socket.resetOnClose(descriptor)
            Socket.close(descriptor)
            return
        }
        Socket.setNoDelay(descriptor)
        let slot = clients.insert(ClientConnection(descriptor: descriptor, peer: peer, localPort: localPort))
        counters.set(.connectionsActive, UInt64(clients.count))
        let client = clients[slot]
        client.pointee.peerIsTrusted = hasTrustedProxies && trusts(peer.address)
        var timeoutMs = settings.headerTimeoutMs
        if hasProxyProtocolPeers, settings.proxyProtocolPeers.contains(where: { $0.contains(peer.address) }) {
            client.pointee.state = .preface
            timeoutMs = settings.prefaceTimeoutMs
        }
        let token = Token(kind: Kind.client, generation: clients.generation(of: slot), slot: slot)
        do throws(SystemError) {
            try poller.add(descriptor, [.readable, .writable, .peerClosed, .edgeTriggered], token: token)
        } catch {
            closeClient(slot)
            return
        }
        setDeadline(client: slot, afterMs: timeoutMs)
    }

    func trusts(_ address: IPAddress) -> Bool {
        for block in settings.trustedProxies where block.contains(address) { return true }
        return false
    }

    /// Closes the connection that has been idle longest.
    private mutating func makeRoom() -> Bool {
        guard let oldest = idleClients.oldest(in: clients) else { return false }
        counters.add(.connectionsEvicted)
        closeClient(oldest)
        return true
    }

    private mutating func pauseAccepting() {
        guard !isAcceptPaused else { return }
        isAcceptPaused = true
        counters.add(.acceptPauses)
        counters.set(.acceptPaused, 1)
        for listener in listeners { poller.remove(listener) }
        acceptResumesNs = nowNs + 50_000_000
    }

    mutating func resumeAccepting() {
        acceptResumesNs = .max
        guard isAcceptPaused, !isDraining else { return }
        isAcceptPaused = false
        counters.set(.acceptPaused, 0)
        for (position, listener) in listeners.enumerated() {
            do throws(SystemError) {
                try poller.add(listener, .readable, token: Self.listenerToken(position))
            } catch {
                pauseAccepting()
                return
            }
        }
    }

    // MARK: Events

    @inline(__always)
    mutating func clientReady(_ slot: UInt32, _ readiness: Readiness) {
        let client = clients[slot]
        if readiness.contains(.failed) {
            abandonClient(slot, .clientClosed)
            return
        }
        if readiness.contains(.readable) { client.pointee.isReadable = true }
        if !readiness.isDisjoint(with: [.peerClosed, .hungUp]) {
            client.pointee.isReadable = true
            client.pointee.isPeerClosed = true
        }
        if readiness.contains(.writable), client.pointee.isWriteBlocked {
            guard flushClient(slot) else { return }
        }
        driveClient(slot)
    }

    /// Does whatever the client's connection is ready for.
    mutating func driveClient(_ slot: UInt32) {
        var turns = 0
        while true {
            switch clients[slot].pointee.state {
            case .preface:
                guard readPreface(slot) else { return }
            case .reading:
                guard readRequest(slot) else { return }
                turns += 1
                if turns == 64 {
                    continueLater(client: slot)
                    return
                }
            case .exchanging:
                pumpRequest(slot)
                return
            case .tunnel:
                driveTunnel(slot)
                return
            case .lingering:
                drainLingering(slot)
                return
            }
        }
    }

    /// Reads into the scratch buffer.
    /// - Returns: bytes read; 0 at the end of the stream; nil if there is nothing now. A failed read closes the
    ///   connection: `isGone` tells.
    @inline(__always)
    mutating func readClient(_ slot: UInt32, capacity: Int) -> Int? {
        let client = clients[slot]
        let result = Socket.read(client.pointee.descriptor, scratch, capacity: capacity)
        if result.isFailure {
            client.pointee.isReadable = false
            if result.isWouldBlock { return nil }
            client.pointee.isAtEnd = true
            return 0
        }
        if result.count < capacity { client.pointee.isReadable = client.pointee.isPeerClosed }
        if result.count == 0 {
            client.pointee.isAtEnd = true
            client.pointee.isReadable = false
        } else {
            counters.add(.bytesFromClients, UInt64(result.count))
        }
        return result.count
    }

    // MARK: Request heads

    /// Looks for the next request.
    /// - Returns: whether to look again: a request was begun, or answered.
    private mutating func readRequest(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        // What was answered must be taken before the next request is looked at.
        if client.pointee.isWriteBlocked { return false }
        if client.pointee.input.count > Int(client.pointee.scannedCount) {
            let bytes = client.pointee.input.bytes
            return parseRequest(slot, bytes, isInInput: true)
        }
        guard client.pointee.isReadable, !client.pointee.isAtEnd else {
            if client.pointee.isAtEnd {
                closeClient(slot)
            } else if client.pointee.requestStartedNs == 0, client.pointee.requestCount > 0 {
                becomeIdle(slot)
            }
            return false
        }
        guard let count = readClient(slot, capacity: Int(Self.headReadSize)) else { return false }
        if count == 0 {
            closeClient(slot)
            return false
        }
        if client.pointee.input.isEmpty {
            return parseRequest(slot, Bytes(scratch, count: count), isInInput: false)
        }
        guard buffers.append(UnsafeRawBufferPointer(start: scratch, count: count), to: &client.pointee.input) else {
            closeClient(slot)
            return false
        }
        return parseRequest(slot, client.pointee.input.bytes, isInInput: true)
    }

    private mutating func parseRequest(_ slot: UInt32, _ bytes: Bytes, isInInput: Bool) -> Bool {
        let client = clients[slot]
        if client.pointee.requestStartedNs == 0 {
            client.pointee.requestStartedNs = nowNs
            idleClients.remove(slot, in: clients)
            setDeadline(client: slot, afterMs: settings.headerTimeoutMs)
        }
        switch requestHead.parse(bytes, scanned: Int(client.pointee.scannedCount)) {
        case .complete(let byteCount):
            client.pointee.scannedCount = 0
            client.pointee.requestCount &+= 1
            startRequest(slot, bytes, headCount: byteCount, isInInput: isInInput)
            return clients.isInUse(slot) && clients[slot].pointee.state != .lingering
        case .incomplete:
            client.pointee.scannedCount = Int32(bytes.count)
            if !isInInput, !buffers.append(bytes.raw, to: &client.pointee.input) {
                closeClient(slot)
                return false
            }
            return client.pointee.isReadable
        case .refused(let refusal):
            refuse(slot, refusal, from: bytes)
            return false
        }
    }

    mutating func becomeIdle(_ slot: UInt32) {
        let client = clients[slot]
        guard !client.pointee.isInIdleList else { return }
        if isDraining {
            closeClient(slot)
            return
        }
        idleClients.append(slot, in: clients)
        setDeadline(client: slot, afterMs: settings.keepAliveTimeoutMs)
    }

    // MARK: Writing

    /// Writes what is in the sink; what the socket does not take waits in `output`.
    /// - Returns: false if the client is gone and everything of it was cleaned up.
    @inline(__always)
    mutating func sendToClient(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        let total = sink.gather.byteCount
        if total == 0 { return true }
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

    private mutating func keepForClient(_ slot: UInt32, from written: Int) -> Bool {
        let client = clients[slot]
        guard buffers.append(sink.gather, from: written, to: &client.pointee.output) else {
            abandonClient(slot, .overloaded)
            return false
        }
        if !client.pointee.isWriteBlocked {
            client.pointee.isWriteBlocked = true
            client.pointee.progress = 0
            updateClientDeadline(slot)
        }
        return true
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
        guard client.pointee.state == .exchanging else { return }
        let exchange = exchanges[client.pointee.exchange]
        var owesBody = !exchange.pointee.requestIsComplete && !exchange.pointee.requestIsAbandoned
        if owesBody {
            let waitsForContinue =
                exchange.pointee.expectsContinue && !exchange.pointee.didContinue && exchange.pointee.requestByteCount == 0
            let upstream = exchange.pointee.upstream
            let upstreamIsBlocked =
                upstream == Slab<UpstreamConnection>.none || upstreams[upstream].pointee.isWriteBlocked
                || exchange.pointee.phase == .connecting
            if waitsForContinue || upstreamIsBlocked { owesBody = false }
        }
        if owesBody || client.pointee.isWriteBlocked {
            if client.pointee.deadlineNs == .max {
                client.pointee.progress = 0
                setDeadline(client: slot, afterMs: idleTimeoutMs(exchange.pointee.service.idleTimeoutMs))
            }
        } else {
            client.pointee.deadlineNs = .max
        }
    }

    func idleTimeoutMs(_ override: Int64) -> Int { override >= 0 ? Int(override) : settings.idleTimeoutMs }

    mutating func clientTimedOut(_ slot: UInt32) {
        let client = clients[slot]
        switch client.pointee.state {
        case .preface:
            rejectPreface(slot)
        case .reading:
            if client.pointee.isWriteBlocked {
                abandonClient(slot, .clientTooSlow)
            } else if client.pointee.input.isEmpty {
                closeClient(slot)
            } else {
                answerWithoutHead(slot, .headerTimeout)
            }
        case .lingering:
            closeClient(slot)
        case .tunnel:
            endTunnel(slot, .ok)
        case .exchanging:
            let exchange = exchanges[client.pointee.exchange]
            if client.pointee.progress >= 1024 {
                client.pointee.progress = 0
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
        idleClients.remove(slot, in: clients)
        setDeadline(client: slot, afterMs: settings.lingerTimeoutMs)
        if client.pointee.isWriteBlocked {
            client.pointee.closesAfterFlush = true
            setDeadline(client: slot, afterMs: max(settings.lingerTimeoutMs, settings.idleTimeoutMs))
            return
        }
        buffers.give(&client.pointee.input)
        if client.pointee.isAtEnd {
            closeClient(slot)
            return
        }
        Socket.shutdownWrite(client.pointee.descriptor)
        drainLingering(slot)
    }

    private mutating func drainLingering(_ slot: UInt32) {
        let client = clients[slot]
        guard !client.pointee.isWriteBlocked else { return }
        while client.pointee.isReadable {
            guard let count = readClient(slot, capacity: Self.scratchSize) else { return }
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
        case .exchanging:
            cutExchange(client.pointee.exchange, outcome)
        default:
            closeClient(slot)
        }
    }

    /// Closes the descriptor and frees the slot. The client has no exchange any more.
    mutating func closeClient(_ slot: UInt32) {
        let client = clients[slot]
        idleClients.remove(slot, in: clients)
        wheel.cancel(timerID(client: slot))
        buffers.give(&client.pointee.input)
        buffers.give(&client.pointee.output)
        shared.admission.leave(client.pointee.acceptedFrom)
        Socket.close(client.pointee.descriptor)
        clients.remove(slot)
        counters.set(.connectionsActive, UInt64(clients.count))
        if isAcceptPaused, acceptResumesNs > nowNs { acceptResumesNs = nowNs }
    }
}

extension Endpoint {
    /// The address of an accepted connection.
    init(_ address: SocketAddress) {
        switch address.family {
        case .v4: self.init(address: IPAddress(v4: UInt32(truncatingIfNeeded: address.low)), port: address.port)
        case .v6: self.init(address: IPAddress(v6High: address.high, low: address.low), port: address.port)
        case .unix: self.init(address: IPAddress(v4: 0), port: 0)
        }
    }

    var socketAddress: SocketAddress {
        address.isIPv4
            ? SocketAddress(v4: UInt32(truncatingIfNeeded: address.low), port: port)
            : SocketAddress(v6High: address.high, low: address.low, port: port)
    }
}
