// Whom a connection speaks for, and whether a path means the same to everybody: PROXY protocol both ways, the walk over
// X-Forwarded-For, and the readings of a path.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    // MARK: PROXY protocol

    /// Reads the header that a listed peer's connection begins with.
    /// - Returns: whether to go on with this client.
    mutating func readPreface(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        guard client.pointee.isReadable else { return false }
        guard let count = readClient(slot, capacity: Int(Self.headReadSize)) else { return false }
        guard count > 0, buffers.append(UnsafeRawBufferPointer(start: scratch, count: count), to: &client.pointee.input)
        else {
            rejectPreface(slot)
            return false
        }
        switch ProxyProtocol.parse(client.pointee.input.bytes) {
        case .incomplete:
            return client.pointee.isReadable
        case .refused:
            rejectPreface(slot)
            return false
        case .complete(let byteCount, let ends):
            client.pointee.input.consume(byteCount)
            if client.pointee.input.isEmpty { buffers.give(&client.pointee.input) }
            if let ends {
                client.pointee.setPeer(Endpoint(address: IPAddress(ends.source), port: ends.sourcePort))
                client.pointee.localPort = ends.destinationPort
                client.pointee.peerIsTrusted = hasTrustedProxies && trusts(client.pointee.peer.address)
            }
            let generation = clients.generation(of: slot)
            beginConnection(slot)
            return clients.isCurrent(slot, generation: generation)
        }
    }

    mutating func rejectPreface(_ slot: UInt32) {
        counters.add(.connectionsRejected)
        Socket.resetOnClose(clients[slot].pointee.descriptor)
        closeClient(slot)
    }

    /// Adds the header that the service's tasks expect in front of a connection's first request.
    /// - Returns: pieces added.
    mutating func addProxyHeader(_ slot: UInt32) -> Int {
        let exchange = exchanges[slot]
        let version = exchange.pointee.service.proxyProtocolVersion
        // In front of TLS it went before the handshake.
        guard version != 0, upstreams[exchange.pointee.upstream].pointee.tls == nil else { return 0 }
        let client = clients[exchange.pointee.client]
        var ends: ProxyProtocol.Ends?
        if let local = try? Socket.localAddress(client.pointee.descriptor) {
            ends = ProxyProtocol.Ends(
                source: NetworkAddress(client.pointee.peer.address), sourcePort: client.pointee.peer.port,
                destination: NetworkAddress(Endpoint(local.unmapped).address),
                destinationPort: client.pointee.localPort)
        }
        var writer = ByteWriter(base: headScratch, capacity: 256)
        if version == 1 {
            ProxyProtocol.writeV1(ends, into: &writer)
        } else {
            ProxyProtocol.writeV2(ends, into: &writer)
        }
        sink.append(writer.bytes)
        return 1
    }

    // MARK: The real client

    /// Where the walk over a trusted peer's X-Forwarded-For ends, as text in the head scratch.
    mutating func realClient(_ slot: UInt32, _ bytes: Bytes) -> Bytes {
        let address = ForwardedHeaders.realClient(
            peer: NetworkAddress(clients[slot].pointee.peer.address), trusted: trusted, head: requestHead,
            source: bytes)
        var writer = ByteWriter(base: headScratch, capacity: 64)
        address.write(into: &writer)
        return writer.bytes
    }

    // MARK: Paths

    /// Whether the path selects the same route in every reading that a server may apply to it.
    /// - Parameter head: the first of the routes that may answer. What a request has beside its path is the same in
    ///   every reading, so who comes first decides who answers.
    mutating func pathIsUnambiguous(_ path: Bytes, host: Bytes, head: Int32) -> Bool {
        if PathPolicy.isPlain(path) { return true }
        let memory = UnsafeMutableRawBufferPointer(start: headScratch, count: Self.headScratchSize)
        guard let readings = PathPolicy.readings(path, scratch: memory) else { return false }
        return publication.table.leads(
            host: host.raw, paths: readings.n1.raw, readings.n2.raw, readings.unresolved.raw, to: head)
    }
}

extension NetworkAddress {
    init(_ address: IPAddress) {
        if address.isIPv4 {
            self.init(ipv4: UInt32(truncatingIfNeeded: address.low))
        } else {
            self.init(ipv6High: address.high, low: address.low)
        }
    }
}

extension IPAddress {
    init(_ address: NetworkAddress) {
        if address.isIPv6 {
            self.init(v6High: address.high, low: address.low)
        } else {
            self.init(v4: UInt32(truncatingIfNeeded: address.low))
        }
    }
}
