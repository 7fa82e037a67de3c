// Tunnels: bytes pass both ways as they are until both sides have ended, one of them failed, or nothing moved for too
// long. After a 101, and for streams from their first byte on. A tunnel keeps no publication: whatever is swapped, it
// never notices.
//
//   what happens                          what follows
//   a side sends FIN                      FIN to the other once all before it is out; the other direction goes on, and
//                                         from here on silence is allowed for `idle_timeout` only
//   both sides have sent FIN              closed, outcome ok
//   ... over TLS, without close_notify    the same, and no close_notify to the other either
//   ... in the middle of a TLS record     reset to the other: something was cut off
//   a side's connection is reset          what the kernel still has of a task is passed on; reset to the other
//   a side does not take its bytes        its peer is read no more until it does
//   nothing moved for `tunnel_timeout`    closed, outcome tunnel_timeout
//   the drain's deadline                  reset to both

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    /// The task said 101, and its head is on its way to the client.
    mutating func beginTunnel(_ slot: UInt32) {
        let exchange = exchanges[slot]
        letGoOfPublication(slot)
        // Nothing is sent again, and a tunnel may live for days.
        buffers.give(&exchange.pointee.sent)
        clients[exchange.pointee.client].pointee.state = .tunnel
        upstreams[exchange.pointee.upstream].pointee.state = .tunnel
        upstreams[exchange.pointee.upstream].pointee.deadlineNs = .max
        counters.add(.tunnelsOpened)
        counters.add(.tunnelsActive)
        touchTunnel(exchange.pointee.client)
        driveTunnel(exchange.pointee.client)
    }

    /// Something moved, or ended: silence counts from here.
    @inline(__always)
    mutating func touchTunnel(_ slot: UInt32) {
        let exchange = exchanges[clients[slot].pointee.exchange]
        let service = exchange.pointee.service
        var timeoutMs = service.tunnelTimeoutMs >= 0 ? Int(service.tunnelTimeoutMs) : settings.tunnelTimeoutMs
        if clients[slot].pointee.isAtEnd || upstreams[exchange.pointee.upstream].pointee.isAtEnd {
            // Half open is legitimate, but mostly it is a peer that will never say anything again.
            let idleMs = idleTimeoutMs(service.idleTimeoutMs)
            if idleMs > 0 { timeoutMs = timeoutMs > 0 ? min(timeoutMs, idleMs) : idleMs }
        }
        setDeadline(client: slot, afterMs: timeoutMs)
    }

    /// Moves what is there, both ways. `slot` is the client's.
    mutating func driveTunnel(_ slot: UInt32) {
        let client = clients[slot]
        let exchange = exchanges[client.pointee.exchange]
        let upstream = upstreams[exchange.pointee.upstream]
        guard moveUp(slot), moveDown(slot) else { return }
        if client.pointee.isAtEnd, upstream.pointee.isAtEnd, !client.pointee.isWriteBlocked,
            !upstream.pointee.isWriteBlocked
        {
            endTunnel(slot, .ok)
        }
    }

    /// From the client to the task.
    /// - Returns: false if the tunnel was ended.
    mutating func moveUp(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        let exchange = exchanges[client.pointee.exchange]
        let upstream = upstreams[exchange.pointee.upstream]
        if !client.pointee.input.isEmpty, !upstream.pointee.isWriteBlocked {
            let bytes = client.pointee.input.bytes
            guard passUp(slot, UnsafeRawBufferPointer(start: bytes.base, count: bytes.count)) else { return false }
            buffers.give(&client.pointee.input)
        }
        var budget = Self.turnBudget
        while client.pointee.isReadable, !upstream.pointee.isWriteBlocked, !client.pointee.isAtEnd {
            if budget <= 0 {
                continueLater(client: slot)
                return true
            }
            guard let count = readClient(slot, capacity: Int(client.pointee.readSize)) else { break }
            if count == 0 {
                if client.pointee.isBroken {
                    endTunnel(slot, .clientClosed)
                    return false
                }
                touchTunnel(slot)
                break
            }
            budget -= count
            guard passUp(slot, UnsafeRawBufferPointer(start: scratch, count: count)) else { return false }
            adapt(
                &client.pointee.readSize, isFull: client.pointee.readWasFull,
                isBlocked: upstream.pointee.isWriteBlocked)
        }
        if client.pointee.isAtEnd, !upstream.pointee.isWriteBlocked, !upstream.pointee.isShutdownWanted {
            let isSaid = client.pointee.tls.map { $0.pointee.end == .said } ?? true
            shutdownUpstream(exchange.pointee.upstream, isSaid: isSaid)
        }
        return true
    }

    mutating func passUp(_ slot: UInt32, _ bytes: UnsafeRawBufferPointer) -> Bool {
        let exchange = exchanges[clients[slot].pointee.exchange]
        let upstream = upstreams[exchange.pointee.upstream]
        touchTunnel(slot)
        guard let base = bytes.baseAddress, bytes.count > 0 else { return true }
        sink.reset()
        sink.append(Bytes(base.assumingMemoryBound(to: UInt8.self), count: bytes.count))
        switch writeUpstream(exchange.pointee.upstream) {
        case .done:
            exchange.pointee.tunnelBytesIn &+= UInt64(bytes.count)
            let isBulk = upstream.pointee.isWriteBlocked || bytes.count >= Self.bulkSize
            if isBulk { setCarriesBulk(exchange.pointee.upstream, true) }
            return true
        case .failed:
            loseTunnel(slot, unsent: bytes)
            return false
        case .overloaded:
            endTunnel(slot, .overloaded)
            return false
        }
    }

    /// The task's connection failed. A stream of which nothing was passed on yet goes to another task; else what the
    /// kernel still has of the task is the client's, and then the reset.
    mutating func loseTunnel(_ slot: UInt32, unsent: UnsafeRawBufferPointer? = nil) {
        let client = clients[slot]
        let exchange = exchanges[client.pointee.exchange]
        let upstream = exchange.pointee.upstream
        if exchange.pointee.kind == .stream, exchange.pointee.isUntouched {
            // At most one read's worth into an empty buffer: it fits.
            if client.pointee.input.isEmpty, let unsent { _ = buffers.append(unsent, to: &client.pointee.input) }
            loseUpstream(upstream, .reset)
            return
        }
        if unsent != nil {
            upstreams[upstream].pointee.isReadable = true
            guard moveDown(slot) else { return }
        }
        endTunnel(slot, .reset)
    }

    /// From the task to the client.
    mutating func moveDown(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        let exchange = exchanges[client.pointee.exchange]
        let upstreamSlot = exchange.pointee.upstream
        let upstream = upstreams[upstreamSlot]
        var budget = Self.turnBudget
        while upstream.pointee.isReadable, !client.pointee.isWriteBlocked, !upstream.pointee.isAtEnd {
            if budget <= 0 {
                continueLater(upstream: upstreamSlot)
                return true
            }
            var count = 0
            switch readUpstream(upstreamSlot, capacity: Int(upstream.pointee.readSize)) {
            case .bytes(let more): count = more
            case .nothing: break
            case .end: touchTunnel(slot)
            case .failed:
                loseTunnel(slot)
                return false
            }
            if count == 0 { break }
            budget -= count
            exchange.pointee.tunnelBytesOut &+= UInt64(count)
            touchTunnel(slot)
            sink.reset()
            sink.append(Bytes(scratch, count: count))
            guard sendToClient(slot) else { return false }
            adapt(
                &upstream.pointee.readSize, isFull: upstream.pointee.readWasFull,
                isBlocked: client.pointee.isWriteBlocked)
        }
        if upstream.pointee.isAtEnd, !client.pointee.isWriteBlocked, !client.pointee.isShutdownDone {
            // What the task did not say in TLS is not said for it.
            if upstream.pointee.tls != nil, !upstream.pointee.isEndSaid { client.pointee.tls?.pointee.didNotify = true }
            client.pointee.isShutdownDone = shutdownClient(slot)
        }
        return true
    }

    /// Closes both sides. A failure of one side is passed on to the other as a reset, and what is cut off is cut off
    /// visibly.
    mutating func endTunnel(_ slot: UInt32, _ outcome: Outcome) {
        let client = clients[slot]
        let exchangeSlot = client.pointee.exchange
        let upstream = exchanges[exchangeSlot].pointee.upstream
        exchanges[exchangeSlot].pointee.upstream = Slab<UpstreamConnection>.none
        switch outcome {
        case .reset: Socket.resetOnClose(client.pointee.descriptor)
        case .clientClosed: Socket.resetOnClose(upstreams[upstream].pointee.descriptor)
        case .drained, .overloaded:
            Socket.resetOnClose(client.pointee.descriptor)
            Socket.resetOnClose(upstreams[upstream].pointee.descriptor)
        default: break
        }
        closeUpstream(upstream)
        if exchanges[exchangeSlot].pointee.kind == .stream {
            finishStream(exchangeSlot, outcome)
        } else {
            counters.subtract(.tunnelsActive)
            finish(exchangeSlot, outcome, status: 101)
        }
        client.pointee.exchange = Slab<Exchange>.none
        closeClient(slot)
    }
}
