// TCP connections, and TLS connections that are passed on: from the client's first byte, or before it, to a task. What
// follows is a tunnel (Worker+Tunnels). Nothing is parsed here but what the caller did already; what the client sent
// until then waits in its `input` and leaves exactly once, behind the PROXY header if the tasks expect one.
//
//   client state   begins                                ends
//   joining        a task is being connected to; the     `.tunnel`, or closed by a reset: no task is left
//                  client is not read
//   tunnel         the task's connection stands          see Worker+Tunnels

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    /// How old a stream is before the loss of its task's node is watched for: most are over by then, and the options
    /// cost five system calls.
    static var probeDelayMs: Int { 1000 }

    // MARK: The beginning

    /// A connection through an entry port: to its tasks at once, as the server may speak first; or to where the server
    /// name leads.
    mutating func beginStream(_ slot: UInt32) {
        let table = publication.table
        guard case .stream(let port) = clients[slot].pointee.entry, case let stream = table.stream(port: port),
            stream >= 0
        else { return rejectStream(slot) }
        let pool = table.stream(stream).rawPool
        if pool >= 0 {
            join(slot, pool: pool, serverName: .empty, isTLS: false, isPassedOn: false)
        } else {
            awaitHello(slot)
        }
    }

    /// Passes a TLS connection on as it is: its ClientHello, and perhaps more, is in `input`.
    mutating func beginPassthrough(_ slot: UInt32, pool: Int32, serverName: Bytes) {
        join(slot, pool: pool, serverName: serverName, isTLS: true, isPassedOn: true)
    }

    /// TLS of an entry port is agreed on: what is inside goes to the pool.
    mutating func beginTerminatedStream(_ slot: UInt32, pool: Int32, serverName: Bytes) {
        join(slot, pool: pool, serverName: serverName, isTLS: true, isPassedOn: false)
    }

    /// Finds a task of the pool for a connection.
    /// - Parameters:
    ///   - isTLS: the client speaks TLS: for the log.
    ///   - isPassedOn: that TLS ends at the task.
    private mutating func join(
        _ slot: UInt32, pool index: Int32, serverName: Bytes, isTLS: Bool, isPassedOn: Bool
    ) {
        let client = clients[slot]
        let table = publication.table
        let pool = table.pool(index)
        let seed = Exchange.Seed(
            client: slot, held: currentHeld, pool: pool, service: table.service(pool.service),
            serviceIndex: pool.service,
            cells: publication.counters.cells(service: Int(pool.service), worker: self.index),
            publicationVersion: table.version, maximumBodySize: .max, requestID: requestIDs.makeID(),
            startedNs: client.pointee.requestStartedNs == 0 ? nowNs : client.pointee.requestStartedNs)
        let exchangeSlot = exchanges.insert(Exchange(stream: seed))
        let exchange = exchanges[exchangeSlot]
        exchange.pointee.retryLimit = retryLimit(exchange.pointee.service)
        // All that is known of a connection is whose it is.
        if pool.keyKind == .clientAddress { exchange.pointee.balancingKey = Balancer.key(client.pointee.peer.address) }
        exchange.pointee.route = index
        exchange.pointee.carriesTLS = isTLS
        exchange.pointee.isPassedOn = isPassedOn
        if settings.accessLog != .off { keepForLog(exchangeSlot, serverName: serverName) }
        leaveNewcomers(slot)
        held[Int(currentHeld)].exchangeCount += 1
        counters.add(.streamsActive)
        client.pointee.state = .joining
        client.pointee.exchange = exchangeSlot
        client.pointee.deadlineNs = .max
        connect(exchangeSlot)
    }

    /// Nothing here serves the connection.
    mutating func rejectStream(_ slot: UInt32) {
        counters.add(.connectionsRejected)
        Socket.resetOnClose(clients[slot].pointee.descriptor)
        closeClient(slot)
    }

    /// The task's connection stands: what is there for it leaves in one write, and bytes pass both ways from here on.
    mutating func streamConnected(_ upstreamSlot: UInt32) {
        let upstream = upstreams[upstreamSlot]
        let slot = upstream.pointee.exchange
        let exchange = exchanges[slot]
        let clientSlot = exchange.pointee.client
        let client = clients[clientSlot]
        exchange.pointee.streamConnected(nowNs: nowNs)
        exchange.pointee.cells.noteAnswer(atNs: nowNs)
        upstream.pointee.state = .tunnel
        client.pointee.state = .tunnel
        setDeadline(upstream: upstreamSlot, afterMs: Self.probeDelayMs)
        // A table that was replaced meanwhile is not kept alive by a connection that may last for days.
        if exchange.pointee.held != currentHeld { letGoOfPublication(slot) }
        touchTunnel(clientSlot)
        sink.reset()
        _ = addProxyHeader(slot)
        if !client.pointee.input.isEmpty { sink.append(client.pointee.input.bytes) }
        if sink.gather.byteCount > 0 {
            switch writeUpstream(upstreamSlot) {
            case .done:
                exchange.pointee.tunnelBytesIn &+= UInt64(client.pointee.input.count)
                buffers.give(&client.pointee.input)
            case .failed:
                return loseUpstream(upstreamSlot, .reset)
            case .overloaded:
                return endTunnel(clientSlot, .overloaded)
            }
        }
        driveTunnel(clientSlot)
    }

    // MARK: The end

    /// Another task is looked for: the client waits again.
    mutating func rejoin(_ slot: UInt32) {
        clients[slot].pointee.state = .joining
        clients[slot].pointee.deadlineNs = .max
    }

    /// Ends a stream that found no task, or whose client or time is gone. What the client sent reached nobody: it is
    /// told by a reset.
    mutating func endStream(_ slot: UInt32, _ outcome: Outcome) {
        let clientSlot = exchanges[slot].pointee.client
        if clients[clientSlot].pointee.state == .tunnel { return endTunnel(clientSlot, outcome) }
        dropUpstream(of: slot)
        finishStream(slot, outcome)
        clients[clientSlot].pointee.exchange = Slab<Exchange>.none
        Socket.resetOnClose(clients[clientSlot].pointee.descriptor)
        closeClient(clientSlot)
    }

    /// Counts, logs and frees the exchange of a stream. The connections are the caller's.
    mutating func finishStream(_ slot: UInt32, _ outcome: Outcome) {
        let exchange = exchanges[slot]
        let cells = exchange.pointee.cells
        cells.addStream(reachedTask: exchange.pointee.phase == .tunnel)
        cells.addBytesIn(exchange.pointee.tunnelBytesIn)
        cells.addBytesOut(exchange.pointee.tunnelBytesOut)
        exchange.pointee.finish()
        counters.subtract(.streamsActive)
        if logRing != nil { logStream(slot, outcome) }
        release(slot)
    }
}
