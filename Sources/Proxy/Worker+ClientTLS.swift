// TLS towards clients: from a decided ClientHello to a connection that carries requests, or a stream.
//
//   .hello      -> beginTLS: policy and certificates are chosen once, by the server name
//   .handshake  -> needs more input: the next event
//               -> failed: the alert is sent, the connection ends
//               -> done: `.reading` (requests) or `.joining` (entry ports)
//
// What came behind the handshake's last message is decrypted at once and waits in `input`: nothing of it stays in
// the worker's shared memory.

internal import Kernel
internal import Routing
internal import TLS
internal import Telemetry
internal import Wire

extension Worker {
    /// Begins the handshake with the client whose ClientHello is in `input`.
    /// - Parameter options: a position in `RouteTable.tlsOptions`.
    mutating func beginTLS(_ slot: UInt32, serverName: Bytes, options: Int32) {
        let client = clients[slot]
        var port: UInt16?
        if case .stream(let entryPort) = client.pointee.entry { port = entryPort }
        let choice = publication.tls.choose(options: options, serverName: serverName, port: port)
        guard case .serve(let policy, let certificates) = choice else {
            if case .refuse(let alert) = choice { refuseTLS(slot, alert) }
            return
        }
        guard
            let stream = TLSStream(
                server: policy, certificates: certificates.certificates, serverName: serverName.raw,
                workspace: tlsWorkspace)
        else { return refuseTLS(slot, .internalError) }
        let tls = UnsafeMutablePointer<ClientTLS>.allocate(capacity: 1)
        tls.initialize(
            to: ClientTLS(
                stream: stream, policyIdentity: policy.identity, certificates: certificates, serverName: serverName))
        client.pointee.tls = tls
        client.pointee.state = .handshake
        setDeadline(client: slot, afterMs: settings.handshakeTimeoutMs)
        var hello = client.pointee.input
        client.pointee.input = .empty
        tlsWorkspace.setInput(hello.bytes.raw)
        stepHandshake(slot, tls)
        buffers.give(&hello)
    }

    /// Goes on with a handshake.
    /// - Returns: whether to go on with this client.
    mutating func goOnWithHandshake(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        guard client.pointee.isReadable, let tls = client.pointee.tls else { return false }
        let capacity = Int(Self.headReadSize)
        let result = Socket.read(client.pointee.descriptor, cipherScratch, capacity: capacity)
        client.pointee.isReadable = result.count == capacity || client.pointee.isPeerClosed
        guard result.count > 0 else {
            client.pointee.isReadable = false
            if result.isWouldBlock { return false }
            counters.add(handshakeFailure: HandshakeFailures.number(of: TLSFailure.closed))
            closeClient(slot)
            return false
        }
        counters.add(.bytesFromClients, UInt64(result.count))
        tlsWorkspace.setInput(UnsafeRawBufferPointer(start: cipherScratch, count: result.count))
        let generation = clients.generation(of: slot)
        stepHandshake(slot, tls)
        guard clients.isCurrent(slot, generation: generation) else { return false }
        return client.pointee.state != .handshake || client.pointee.isReadable
    }

    /// Does what the workspace's input allows. It may end the client.
    private mutating func stepHandshake(_ slot: UInt32, _ tls: UnsafeMutablePointer<ClientTLS>) {
        switch tls.pointee.stream.handshake() {
        case .needsInput:
            if deliver(slot) != .done { closeClient(slot) }
        case .failed(let failure):
            counters.add(handshakeFailure: HandshakeFailures.number(of: failure))
            tls.pointee.didNotify = true
            _ = deliver(slot)
            linger(slot)
        case .done:
            establish(slot, tls)
        }
    }

    private mutating func establish(_ slot: UInt32, _ tls: UnsafeMutablePointer<ClientTLS>) {
        let client = clients[slot]
        let stream = tls.pointee.stream
        leaveNewcomers(slot)
        counters.add(HandshakeKind(isTLS13: stream.version == .tls13, isResumed: stream.isResumed))
        let count = decrypt(tls)
        // With it go session tickets.
        guard deliver(slot) == .done,
            buffers.append(UnsafeRawBufferPointer(start: scratch, count: count), to: &client.pointee.input)
        else { return closeClient(slot) }
        if tls.pointee.end != .open { client.pointee.isReadable = true }
        guard renderClientCertificate(tls) else { return closeClient(slot) }
        if case .stream(let port) = client.pointee.entry {
            beginInside(slot, tls, port: port)
        } else {
            client.pointee.state = .reading
            setDeadline(client: slot, afterMs: settings.headerTimeoutMs)
        }
    }

    /// TLS of an entry port stands. Its table may have been replaced meanwhile.
    private mutating func beginInside(_ slot: UInt32, _ tls: UnsafeMutablePointer<ClientTLS>, port: UInt16) {
        let table = publication.table
        let stream = table.stream(port: port)
        let serverName = NameText.bytes(at: &tls.pointee.serverName)
        guard stream >= 0, let host = table.streamHost(stream, serverName: serverName.raw), host.tlsOptions >= 0,
            publication.tls.streamIdentity(options: host.tlsOptions) == tls.pointee.policyIdentity
        else { return closePolitely(slot) }
        beginTerminatedStream(slot, pool: host.pool, serverName: serverName)
    }

    /// Writes, once for the connection, what its requests will say about the client's certificate.
    private mutating func renderClientCertificate(_ tls: UnsafeMutablePointer<ClientTLS>) -> Bool {
        let stream = tls.pointee.stream
        guard stream.asksForCertificate else { return true }
        var writer = ByteWriter(base: headScratch, capacity: Self.headScratchSize)
        switch stream.peerVerdict {
        case .accepted:
            let certificate = stream.peerCertificateDER()
            let subject = stream.peerSubject()
            certificate.withUnsafeBufferPointer { certificate in
                subject.withUnsafeBufferPointer { subject in
                    ClientCertificateFields.write(
                        certificate: Bytes(certificate), chain: [], subject: Bytes(subject), into: &writer)
                }
            }
        case .none:
            ClientCertificateFields.writeNone(into: &writer)
        case .failed(let failure):
            writer.append("X-SSL-Client-Verify: FAILED:")
            writer.append(failure.code)
            writer.append("\r\n")
        }
        return !writer.overflowed && buffers.append(writer.bytes.raw, to: &tls.pointee.certificateLines)
    }
}
