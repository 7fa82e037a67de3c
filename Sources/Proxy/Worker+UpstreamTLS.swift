// TLS to tasks: which name is asked for, and the handshake, between the connect and the first byte of the request.
//
//   what the handshake comes to      what follows
//   done                             the request is sent, together with the handshake's last bytes
//   deadline of the connect          another task, else 504
//   anything else                    another task, else 502: nothing of the request was sent, whatever its method
//
// A PROXY header goes first, in clear, as its readers expect it.

internal import Kernel
internal import Routing
internal import TLS
internal import Telemetry
internal import Wire

extension Worker {
    /// Where TLS to the task at `home` leads for this exchange: none for plain connections.
    /// - Returns: nil if the service wants TLS and there can be none: the task is not connected to.
    mutating func tlsTarget(_ slot: UInt32, home: Int32) -> UInt32? {
        let exchange = exchanges[slot]
        let position = exchange.pointee.service.backendTLS
        if position < 0 || exchange.pointee.isPassedOn { return Slab<TLSTarget>.none }
        guard exchange.pointee.held >= 0, let publication = held[Int(exchange.pointee.held)].publication,
            let policy = publication.tls.backendPolicy(position)
        else { return nil }
        let state = states[home]
        let name = publication.backendNames[Int(position)]
        guard !name.isEmpty else {
            return targets.find(policy, host: requestedHost(slot), isNamed: false, of: state)
        }
        return name.withUnsafeBufferPointer { targets.find(policy, host: Bytes($0), isNamed: true, of: state) }
    }

    /// The host of the request, without port and trailing dot, as it stands in the head that tasks receive; empty if
    /// there is none.
    func requestedHost(_ slot: UInt32) -> Bytes {
        let exchange = exchanges[slot]
        guard exchange.pointee.headCount > 0 else { return .empty }
        // Written by us: the request line, then Host.
        let head = exchange.pointee.sent.bytes.slice(from: 0, to: Int(exchange.pointee.headCount))
        guard let lineEnd = head.firstIndex(of: UInt8(ascii: "\n")) else { return .empty }
        let rest = head.slice(from: lineEnd + 1)
        guard rest.hasPrefix("Host: "), let end = rest.firstIndex(of: UInt8(ascii: "\r")) else { return .empty }
        return HostText.name(in: rest.slice(from: 6, to: end))
    }

    /// The task's connection stands: TLS or the request begins.
    mutating func linkEstablished(_ slot: UInt32) {
        let upstream = upstreams[slot]
        if rooms.count > 0 { noteReached(upstream.pointee.exchange) }
        if upstream.pointee.target == Slab<TLSTarget>.none {
            upstreamConnected(slot)
        } else {
            beginHandshake(slot)
        }
    }

    private mutating func beginHandshake(_ slot: UInt32) {
        let upstream = upstreams[slot]
        let target = targets[upstream.pointee.target]
        upstream.pointee.state = .handshaking
        let session = target.pointee.session
        // RFC 8446 section C.4: two connections must not show the same ticket.
        if session?.isSingleUse == true { target.pointee.session = nil }
        let name = target.pointee.name.isEmpty ? nil : String(decoding: target.pointee.name, as: UTF8.self)
        guard
            let stream = TLSStream(
                client: target.pointee.policy, serverName: name, isAddress: target.pointee.isAddress,
                session: session, workspace: tlsWorkspace)
        else {
            // No memory, or no name to verify.
            loseHandshake(slot, .tlsUnusable)
            return
        }
        sink.reset()
        if addProxyHeader(upstream.pointee.exchange) > 0 {
            // An empty buffer takes it.
            _ = buffers.append(sink.gather, from: 0, to: &upstream.pointee.output)
        }
        upstream.pointee.tls = stream
        tlsWorkspace.setInput(UnsafeRawBufferPointer(start: nil, count: 0))
        driveHandshake(slot, isFirst: true)
    }

    /// Goes on with a handshake as far as the task has answered.
    mutating func driveHandshake(_ slot: UInt32, isFirst: Bool = false) {
        let upstream = upstreams[slot]
        guard let stream = upstream.pointee.tls else { return }
        var hasInput = isFirst
        while true {
            if !hasInput {
                guard upstream.pointee.isReadable else { return }
                switch receiveForTLS(slot, capacity: Int(Self.headReadSize)) {
                case .nothing: return
                case .bytes: break
                case .end, .failed:
                    loseHandshake(slot, .tlsHandshake)
                    return
                }
            }
            hasInput = false
            switch stream.handshake() {
            case .needsInput:
                guard case .done = sendTLSOutput(slot) else {
                    loseHandshake(slot, .tlsHandshake)
                    return
                }
            case .done:
                finishHandshake(slot, stream)
                return
            case .failed(let failure):
                // The alert that says why.
                _ = sendTLSOutput(slot)
                loseHandshake(slot, UpstreamFailure(handshake: failure))
                return
            }
        }
    }

    private mutating func finishHandshake(_ slot: UInt32, _ stream: TLSStream) {
        let upstream = upstreams[slot]
        counters.add(upstream: HandshakeKind(isTLS13: stream.version == .tls13, isResumed: stream.isResumed))
        keepSession(slot, stream)
        // What came behind the handshake is read when its turn comes.
        let early = tlsWorkspace.remainingInput
        if early.count > 0 || stream.hasPending {
            // At most one read's worth into an empty buffer: it fits.
            _ = buffers.append(early, to: &upstream.pointee.early)
            upstream.pointee.hasEarly = true
            upstream.pointee.isReadable = true
        }
        // Our last message leaves with the request, in one write.
        _ = buffers.append(tlsWorkspace.output, to: &upstream.pointee.output)
        tlsWorkspace.dropOutput()
        let generation = upstreams.generation(of: slot)
        upstreamConnected(slot)
        guard upstreams.isCurrent(slot, generation: generation) else { return }
        if !upstream.pointee.output.isEmpty, !upstream.pointee.isWriteBlocked {
            guard flushUpstream(slot) else { return }
        }
        if upstream.pointee.isReadable { driveUpstream(slot) }
    }

    mutating func loseHandshake(_ slot: UInt32, _ failure: UpstreamFailure) {
        let target = targets[upstreams[slot].pointee.target]
        target.pointee.session = nil
        loseUpstream(slot, failure)
    }

    /// The newest session that the task offered, if it did, is for the next connection.
    @inline(__always)
    mutating func keepSession(_ slot: UInt32, _ stream: TLSStream) {
        guard let session = stream.takeSession() else { return }
        targets[upstreams[slot].pointee.target].pointee.session = session
    }

    /// Reads what came on an idle connection: a session for the next one, as TLS 1.3 sends it whenever it likes, is
    /// nothing to close it for.
    /// - Returns: whether the connection may still be used.
    mutating func staysIdle(_ slot: UInt32, _ readiness: Readiness) -> Bool {
        let upstream = upstreams[slot]
        guard upstream.pointee.tls != nil, readiness.isDisjoint(with: [.peerClosed, .hungUp, .failed]) else {
            return false
        }
        upstream.pointee.isReadable = true
        guard case .nothing = readUpstream(slot, capacity: Int(Self.headReadSize)) else { return false }
        return upstream.pointee.state == .busy || upstream.pointee.output.isEmpty
    }
}

/// A host as it stands in a request.
enum HostText {
    /// The host of `host[:port]`, without brackets and trailing dot.
    static func name(in authority: Bytes) -> Bytes {
        var end = authority.count
        if end > 0, authority[0] == UInt8(ascii: "[") {
            return authority.slice(from: 1, to: authority.firstIndex(of: UInt8(ascii: "]")) ?? 1)
        }
        if let colon = authority.firstIndex(of: UInt8(ascii: ":")) { end = colon }
        if end > 0, authority[end - 1] == UInt8(ascii: ".") { end -= 1 }
        return authority.slice(from: 0, to: end)
    }
}

extension UpstreamFailure {
    /// Why there is no TLS with a task.
    init(handshake failure: TLSFailure) {
        switch failure {
        case .garbage, .plainHTTP: self = .tlsPlaintext
        default: self = failure.isVerification ? .tlsVerification : .tlsHandshake
        }
    }

    /// Why established TLS with a task ended.
    init(reading failure: TLSFailure) {
        switch failure {
        // TLS 1.3 tells us behind the handshake that the task wants a certificate of ours.
        case .certificateRefused, .noClientCertificate: self = .tlsHandshake
        default: self = .reset
        }
    }
}
