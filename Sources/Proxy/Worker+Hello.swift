// The first bytes of a TLS connection. The worker reads the ClientHello itself, once, however it is cut, and its server
// name decides who gets the connection: the bytes read so far go with it. What is no ClientHello gets an alert; nothing
// here ever guesses a name or falls back to another one.
//
// Connections that have not finished a handshake are newcomers. There are so many of them at once, by worker: at that
// limit the longest waiting one is closed if it has had its second, else new ones wait in the kernel's queue. So a
// flood of half handshakes costs its own connections and nobody's requests, and a burst of real ones only waits for its
// turn.

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    /// Bytes of a ClientHello with the frames of its records. One byte a record is allowed for small ones.
    static var helloInputLimit: Int { 2 * ClientHello.sizeLimit }
    /// A handshake that takes longer may be ended in favour of another. Real ones take two round trips.
    static var newcomerGraceNs: UInt64 { 1_000_000_000 }

    /// Whether connections of that entry begin with a ClientHello.
    func expectsHello(_ entry: Entry) -> Bool {
        switch entry {
        case .http: return false
        case .https: return true
        case .stream(let port):
            let stream = publication.table.stream(port: port)
            return stream >= 0 && publication.table.stream(stream).rawPool < 0
        }
    }

    mutating func awaitHello(_ slot: UInt32) {
        let client = clients[slot]
        client.pointee.state = .hello
        client.pointee.requestStartedNs = nowNs
        newcomers.append(slot, in: clients)
        counters.set(.handshakesActive, UInt64(newcomers.count))
        setDeadline(client: slot, afterMs: settings.helloTimeoutMs)
    }

    /// The connection is a newcomer no more: its handshake is done, or it is passed on, or it ends.
    mutating func leaveNewcomers(_ slot: UInt32) {
        guard clients[slot].pointee.list == .newcomers else { return }
        newcomers.remove(slot, in: clients)
        counters.set(.handshakesActive, UInt64(newcomers.count))
        clients[slot].pointee.requestStartedNs = 0
        resumeAcceptingSoon()
    }

    /// Closes the newcomer that has waited longest, if it has had its time.
    mutating func makeRoomForNewcomer() -> Bool {
        guard let oldest = newcomers.oldest,
            nowNs &- clients[oldest].pointee.requestStartedNs >= Self.newcomerGraceNs
        else { return false }
        counters.add(handshakeFailure: HandshakeFailures.evicted)
        closeClient(oldest)
        return true
    }

    // MARK: Reading

    /// Collects the ClientHello.
    /// - Returns: whether to go on with this client.
    mutating func readHello(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        if client.pointee.input.count > Int(client.pointee.scannedCount) {
            return parseHello(slot, client.pointee.input.bytes, isInInput: true)
        }
        guard client.pointee.isReadable, let count = readClient(slot, capacity: Int(Self.headReadSize)) else {
            return false
        }
        if count == 0 {
            closeClient(slot)
            return false
        }
        if client.pointee.input.isEmpty {
            return parseHello(slot, Bytes(scratch, count: count), isInInput: false)
        }
        guard buffers.append(UnsafeRawBufferPointer(start: scratch, count: count), to: &client.pointee.input) else {
            closeClient(slot)
            return false
        }
        return parseHello(slot, client.pointee.input.bytes, isInInput: true)
    }

    private mutating func parseHello(_ slot: UInt32, _ bytes: Bytes, isInInput: Bool) -> Bool {
        let client = clients[slot]
        let memory = UnsafeMutableRawBufferPointer(start: headScratch, count: ClientHello.sizeLimit)
        switch ClientHello.parse(bytes, scratch: memory) {
        case .complete(let serverName, _):
            client.pointee.scannedCount = 0
            if !isInInput, !buffers.append(bytes.raw, to: &client.pointee.input) {
                closeClient(slot)
                return false
            }
            let generation = clients.generation(of: slot)
            takeHello(slot, serverName: serverName)
            return clients.isCurrent(slot, generation: generation) && client.pointee.state != .hello
        case .incomplete:
            guard bytes.count < Self.helloInputLimit, isInInput || buffers.append(bytes.raw, to: &client.pointee.input)
            else {
                refuseTLS(slot, ClientHello.refusalAlert)
                return false
            }
            client.pointee.scannedCount = Int32(bytes.count)
            return client.pointee.isReadable
        case .refused:
            refuseTLS(slot, ClientHello.refusalAlert)
            return false
        }
    }

    // MARK: Deciding

    /// Decides by the server name what becomes of a connection whose ClientHello is in `input`.
    mutating func takeHello(_ slot: UInt32, serverName: Bytes) {
        let table = publication.table
        if case .stream(let port) = clients[slot].pointee.entry {
            let stream = table.stream(port: port)
            guard stream >= 0, let host = table.streamHost(stream, serverName: serverName.raw) else {
                refuseTLS(slot, serverName.isEmpty ? .missingExtension : .unrecognizedName)
                return
            }
            if host.tlsOptions < 0 {
                beginPassthrough(slot, pool: host.pool, serverName: serverName)
            } else {
                beginTLS(slot, serverName: serverName, options: host.tlsOptions)
            }
            return
        }
        let host = table.host(serverName.raw)
        let rules = host < 0 ? nil : table.hostRules(host)
        if let pool = rules?.passthroughPool, pool >= 0 {
            beginPassthrough(slot, pool: pool, serverName: serverName)
        } else {
            beginTLS(slot, serverName: serverName, options: rules?.tlsOptions ?? 0)
        }
    }

    /// Says why there is no TLS, in the one record that needs none, and ends the connection.
    mutating func refuseTLS(_ slot: UInt32, _ alert: TLSAlert) {
        let client = clients[slot]
        counters.add(handshakeFailure: HandshakeFailures.number(of: alert))
        var writer = ByteWriter(base: headScratch, capacity: TLSAlert.recordSize)
        alert.write(into: &writer)
        let result = Socket.write(client.pointee.descriptor, headScratch, count: writer.count)
        if !result.isFailure { counters.add(.bytesToClients, UInt64(result.count)) }
        linger(slot)
    }
}
