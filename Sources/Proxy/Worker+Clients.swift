// The client's side of a worker, inwards: what a connection is ready for, and reading request heads.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
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
            // Nothing of its request was sent, and nobody is there for the answer.
            if client.pointee.state == .exchanging, isWaiting(slot) { return abandonClient(slot, .clientClosed) }
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
            case .hello:
                guard readHello(slot) else { return }
            case .handshake:
                guard goOnWithHandshake(slot) else { return }
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
            case .joining:
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

    /// Reads into the scratch buffer, and decrypts what there is to decrypt; it may be more than `capacity`.
    /// - Returns: bytes read; 0 at the end of the stream, or if the read failed (`isBroken`); nil if there is nothing
    ///   now.
    @inline(__always)
    mutating func readClient(_ slot: UInt32, capacity: Int, decrypts: Bool = true) -> Int? {
        let client = clients[slot]
        if decrypts, client.pointee.tls != nil { return readTLSClient(slot, capacity: capacity) }
        let result = Socket.read(client.pointee.descriptor, scratch, capacity: capacity)
        if result.isFailure {
            client.pointee.isReadable = false
            if result.isWouldBlock { return nil }
            client.pointee.isAtEnd = true
            client.pointee.isBroken = true
            return 0
        }
        client.pointee.readWasFull = result.count == capacity
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
                closePolitely(slot)
            } else if client.pointee.requestStartedNs == 0, client.pointee.requestCount > 0 {
                becomeIdle(slot)
            }
            return false
        }
        guard let count = readClient(slot, capacity: Int(Self.headReadSize)) else { return false }
        if count == 0 {
            closePolitely(slot)
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
        guard clients[slot].pointee.list == .idle else { return }
        idleClients.remove(slot, in: clients)
        counters.set(.connectionsIdle, UInt64(idleClients.count))
    }

    mutating func becomeIdle(_ slot: UInt32) {
        let client = clients[slot]
        guard client.pointee.list != .idle else { return }
        if isDraining {
            closePolitely(slot)
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
