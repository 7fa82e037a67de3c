// The client's side of a worker, inwards: accepting connections and reading request heads.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    // MARK: Accepting

    /// - Returns: whether more may wait.
    @discardableResult
    mutating func acceptBatch(_ position: Int) -> Bool {
        for _ in 0..<64 {
            if clients.count >= connectionShare, !makeRoom() {
                pauseAccepting()
                return false
            }
            var peer = SocketAddress(v4: 0, port: 0)
            let result = Socket.accept(listeners[position], peer: &peer)
            if result.isFailure {
                switch result.code {
                case SystemError.tooManyFilesCode, SystemError.systemFilesCode:
                    // Idle connections go first; without any, accepting waits instead of spinning.
                    if !makeRoom() {
                        pauseAccepting()
                        return false
                    }
                    continue
                default:
                    // Nothing waits, or the connection was gone before it was taken: look again at the next event.
                    return false
                }
            }
            admit(Int32(result.raw), from: peer, localPort: localPorts[position])
        }
        return true
    }

    mutating func admit(_ descriptor: Int32, from address: SocketAddress, localPort: UInt16) {
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
    mutating func makeRoom() -> Bool {
        guard let oldest = idleClients.oldest(in: clients) else { return false }
        counters.add(.connectionsEvicted)
        closeClient(oldest)
        return true
    }

    mutating func pauseAccepting() {
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
    mutating func readRequest(_ slot: UInt32) -> Bool {
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

    mutating func parseRequest(_ slot: UInt32, _ bytes: Bytes, isInInput: Bool) -> Bool {
        let client = clients[slot]
        if client.pointee.requestStartedNs == 0 {
            client.pointee.requestStartedNs = nowNs
            leaveIdle(slot)
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

    /// The connection is idle no more: a request began on it, or it ends.
    @inline(__always)
    mutating func leaveIdle(_ slot: UInt32) {
        guard clients[slot].pointee.isInIdleList else { return }
        idleClients.remove(slot, in: clients)
        counters.set(.connectionsIdle, UInt64(idleClients.count))
    }

    mutating func becomeIdle(_ slot: UInt32) {
        let client = clients[slot]
        guard !client.pointee.isInIdleList else { return }
        if isDraining {
            closeClient(slot)
            return
        }
        idleClients.append(slot, in: clients)
        counters.set(.connectionsIdle, UInt64(idleClients.count))
        setDeadline(client: slot, afterMs: settings.keepAliveTimeoutMs)
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
