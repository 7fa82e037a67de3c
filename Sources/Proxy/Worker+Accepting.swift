// The door: accepting connections, and the limits that stand there. A connection over a limit waits in the kernel's
// queue where that helps, and is closed where it does not; nothing that is under way is ever touched, but for what
// waits for a client that says nothing.

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
        let listener = listeners[position]
        let expectsHello = expectsHello(listener.entry)
        for _ in 0..<64 {
            if expectsHello, newcomers.count >= newcomerShare, !makeRoomForNewcomer() {
                pauseAccepting(position)
                return false
            }
            if clients.count >= connectionShare, !makeRoom() {
                pauseAccepting()
                return false
            }
            var peer = SocketAddress(v4: 0, port: 0)
            let result = Socket.accept(listener.descriptor, peer: &peer)
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
            admit(Int32(result.raw), from: peer, through: listener)
        }
        return true
    }

    mutating func admit(_ descriptor: Int32, from address: SocketAddress, through listener: Listener) {
        counters.add(.connectionsAccepted)
        switch listener.entry {
        case .http: counters.add(ConnectionEntry.http)
        case .https: counters.add(ConnectionEntry.https)
        case .stream: counters.add(ConnectionEntry.tcp)
        }
        let peer = Endpoint(address.unmapped)
        guard shared.admission.enter(peer.address) else {
            counters.add(.connectionsRejected)
            Socket.resetOnClose(descriptor)
            Socket.close(descriptor)
            return
        }
        let slot = clients.insert(
            ClientConnection(descriptor: descriptor, peer: peer, localPort: listener.port, entry: listener.entry))
        counters.set(.connectionsActive, UInt64(clients.count))
        let client = clients[slot]
        client.pointee.peerIsTrusted = hasTrustedProxies && trusts(peer.address)
        let token = Token(kind: Kind.client, generation: clients.generation(of: slot), slot: slot)
        do throws(SystemError) {
            try poller.add(descriptor, [.readable, .writable, .peerClosed, .edgeTriggered], token: token)
        } catch {
            closeClient(slot)
            return
        }
        if hasProxyProtocolPeers, settings.proxyProtocolPeers.contains(where: { $0.contains(peer.address) }) {
            client.pointee.state = .preface
            setDeadline(client: slot, afterMs: settings.prefaceTimeoutMs)
        } else {
            beginConnection(slot)
        }
    }

    /// The first own state of a connection, once its PROXY header, if it needed one, is read. It may end it.
    mutating func beginConnection(_ slot: UInt32) {
        switch clients[slot].pointee.entry {
        case .http:
            clients[slot].pointee.state = .reading
            setDeadline(client: slot, afterMs: settings.headerTimeoutMs)
        case .https: awaitHello(slot)
        case .stream: beginStream(slot)
        }
    }

    func trusts(_ address: IPAddress) -> Bool {
        for block in settings.trustedProxies where block.contains(address) { return true }
        return false
    }

    // MARK: Limits

    /// Closes the connection that has been idle longest.
    mutating func makeRoom() -> Bool {
        guard let oldest = idleClients.oldest else { return false }
        counters.add(.connectionsEvicted)
        closePolitely(oldest)
        return true
    }

    /// Stops accepting through all listeners for a moment.
    mutating func pauseAccepting() {
        for position in listeners.indices { pauseAccepting(position) }
    }

    /// Stops accepting through one listener for a moment.
    mutating func pauseAccepting(_ position: Int) {
        guard !listeners[position].isPaused, listeners[position].descriptor >= 0 else { return }
        listeners[position].isPaused = true
        poller.remove(listeners[position].descriptor)
        guard !isAcceptPaused else { return }
        isAcceptPaused = true
        counters.add(.acceptPauses)
        counters.set(.acceptPaused, 1)
        acceptResumesNs = nowNs + 50_000_000
    }

    mutating func resumeAccepting() {
        acceptResumesNs = .max
        guard isAcceptPaused, !isDraining else { return }
        isAcceptPaused = false
        counters.set(.acceptPaused, 0)
        for position in listeners.indices where listeners[position].isPaused {
            do throws(SystemError) {
                try poller.add(listeners[position].descriptor, .readable, token: Self.listenerToken(position))
                listeners[position].isPaused = false
            } catch {
                isAcceptPaused = true
                counters.set(.acceptPaused, 1)
                acceptResumesNs = nowNs + 50_000_000
                return
            }
        }
    }

    /// Room was made: what was paused need not wait any longer.
    @inline(__always)
    mutating func resumeAcceptingSoon() {
        if isAcceptPaused, acceptResumesNs > nowNs { acceptResumesNs = nowNs }
    }
}
