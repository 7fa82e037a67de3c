// The route of a request that waited, taken anew from the table in force. What it is routed by is the head that was
// written for a task: it says all that routing asks for, once the prefix is put back that its old route took from the
// path. A stream is found its pool again by its port, or by the server name it came with.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    // MARK: The route, anew

    /// Finds the route of a request that waited in the table in force.
    /// - Returns: false if it leads to no task; the exchange was ended then.
    mutating func routeAgain(_ slot: UInt32) -> Bool {
        let exchange = exchanges[slot]
        let head = exchange.pointee.sent.bytes.slice(from: 0, to: Int(exchange.pointee.headCount))
        // What was accepted once is not refused for the lines that were added.
        var roomy = RequestHead(
            limits: HeadLimits(
                requestLineSize: head.count, headSize: head.count + 1,
                fieldCount: settings.fieldCount + Self.addedFieldCount))
        swap(&requestHead, &roomy)
        defer { swap(&requestHead, &roomy) }
        guard case .complete = requestHead.parse(head) else {
            endExchange(slot, with: exchange.pointee.lastFailure)
            return false
        }
        let verdict = routeOn(exchange.pointee.client, head, waited: true)
        switch verdict {
        case .forward(let route):
            take(route, for: slot, head)
            return true
        case .answer(let outcome):
            endExchange(slot, with: outcome)
        case .answerHere, .redirect, .redirectToHTTPS, .redirectAway:
            answerInstead(slot, verdict)
        }
        return false
    }

    /// More than the proxy adds to any head.
    private static var addedFieldCount: Int { 64 }

    /// Makes a route of the table in force the exchange's.
    private mutating func take(_ index: Int32, for slot: UInt32, _ head: Bytes) {
        let exchange = exchanges[slot]
        let table = publication.table
        let route = table.route(index)
        takePool(route.pool, for: slot)
        exchange.pointee.route = index
        exchange.pointee.maximumBodySize = maximumBodySize(exchange.pointee.pool)
        let pool = exchange.pointee.pool
        exchange.pointee.balancingKey =
            pool.keyKind == .none ? nil : balancingKey(exchange.pointee.client, head, pool)
        let hasHSTS = !table.hsts(of: route).isEmpty && isSecure(exchange.pointee.client, head)
        exchange.pointee.hstsRoute = hasHSTS ? index : -1
        if route.rewritesPrefix { stripPrefix(slot, Bytes(table.prefix(of: route))) }
    }

    private mutating func takePool(_ index: Int32, for slot: UInt32) {
        let exchange = exchanges[slot]
        let table = publication.table
        let pool = table.pool(index)
        exchange.pointee.pool = pool
        exchange.pointee.service = table.service(pool.service)
        exchange.pointee.serviceIndex = pool.service
        exchange.pointee.cells = publication.counters.cells(service: Int(pool.service), worker: self.index)
        exchange.pointee.publicationVersion = table.version
        exchange.pointee.retryLimit = retryLimit(exchange.pointee.service)
        held[Int(currentHeld)].exchangeCount += 1
        exchange.pointee.held = currentHeld
        exchange.pointee.retainedCounters?.release()
        exchange.pointee.retainedCounters = nil
    }

    /// Finds the pool of a stream that waited in the table in force: by its port, or by the name it was found by.
    /// - Returns: false if there is none any more; the client was reset then.
    mutating func streamAgain(_ slot: UInt32) -> Bool {
        let exchange = exchanges[slot]
        let pool = streamPool(slot)
        guard pool >= 0 else {
            endExchange(slot, with: exchange.pointee.lastFailure)
            return false
        }
        takePool(pool, for: slot)
        exchange.pointee.route = pool
        let byAddress = exchange.pointee.pool.keyKind == .clientAddress
        let address = clients[exchange.pointee.client].pointee.peer.address
        exchange.pointee.balancingKey = byAddress ? Balancer.key(address) : nil
        return true
    }

    private mutating func streamPool(_ slot: UInt32) -> Int32 {
        let exchange = exchanges[slot]
        let client = clients[exchange.pointee.client]
        let table = publication.table
        var serverName = Bytes.empty
        if exchange.pointee.isPassedOn {
            // What the client sent is still there, beginning with its ClientHello.
            let memory = UnsafeMutableRawBufferPointer(start: headScratch, count: ClientHello.sizeLimit)
            guard !client.pointee.input.isEmpty,
                case .complete(let name, _) = ClientHello.parse(client.pointee.input.bytes, scratch: memory)
            else { return -1 }
            serverName = name
        } else if let tls = client.pointee.tls {
            serverName = NameText.bytes(at: &tls.pointee.serverName)
        }
        guard case .stream(let port) = client.pointee.entry else {
            let host = table.host(serverName.raw)
            return host < 0 ? -1 : table.hostRules(host).passthroughPool
        }
        let stream = table.stream(port: port)
        guard stream >= 0 else { return -1 }
        if !exchange.pointee.carriesTLS { return table.stream(stream).rawPool }
        guard let host = table.streamHost(stream, serverName: serverName.raw),
            (host.tlsOptions < 0) == exchange.pointee.isPassedOn
        else { return -1 }
        // TLS was agreed on by a policy: it must be the one that holds now.
        if let tls = client.pointee.tls, !exchange.pointee.isPassedOn,
            publication.tls.identity(options: host.tlsOptions) != tls.pointee.policyIdentity
        {
            return -1
        }
        return host.pool
    }

    /// The route leads away: the request is answered as if it had come now, and was never an exchange.
    private mutating func answerInstead(_ slot: UInt32, _ verdict: RouteVerdict) {
        let exchange = exchanges[slot]
        let clientSlot = exchange.pointee.client
        let client = clients[clientSlot]
        let keeps = exchange.pointee.keepsClient
        var kept = exchange.pointee.sent
        let head = kept.bytes.slice(from: 0, to: Int(exchange.pointee.headCount))
        exchange.pointee.sent = .empty
        counters.subtract(.requestsActive)
        client.pointee.exchange = Slab<Exchange>.none
        release(slot)
        switch verdict {
        case .redirect: redirectToRoot(clientSlot, head)
        case .redirectToHTTPS: redirectToHTTPS(clientSlot, head)
        case .redirectAway(let target): redirectAway(clientSlot, head, to: target)
        case .answerHere, .forward, .answer: preconditionFailure("only redirects lead away")
        }
        buffers.give(&kept)
        if client.pointee.closesAfterAnswer || !keeps { return linger(clientSlot) }
        nextRequest(clientSlot)
        if client.pointee.isReadable || !client.pointee.input.isEmpty {
            continueLater(client: clientSlot)
        } else if !client.pointee.isWriteBlocked {
            becomeIdle(clientSlot)
        }
    }

    // MARK: The head, for another route

    /// Puts back what the route took from the path: another one may take something else.
    mutating func restorePrefix(_ slot: UInt32) {
        let exchange = exchanges[slot]
        guard exchange.pointee.held >= 0, let publication = held[Int(exchange.pointee.held)].publication else { return }
        let route = publication.table.route(exchange.pointee.route)
        guard route.rewritesPrefix else { return }
        let prefix = Bytes(publication.table.prefix(of: route))
        let old = exchange.pointee.sent.bytes
        let head = old.slice(from: 0, to: Int(exchange.pointee.headCount))
        let line = prefixLine(in: head, prefix)
        guard let target = head.firstIndex(of: UInt8(ascii: " ")).map({ $0 + 1 }), line.count > 0 else { return }
        rewrite(slot, growth: prefix.count) { writer in
            writer.append(old.slice(from: 0, to: target))
            // The asterisk of OPTIONS is no path.
            if old[target] == UInt8(ascii: "/") { writer.append(prefix) }
            writer.append(old.slice(from: target, to: line.start))
            writer.append(head.slice(from: line.start + line.count))
        }
    }

    /// Takes the route's prefix from the path, and says so.
    private mutating func stripPrefix(_ slot: UInt32, _ prefix: Bytes) {
        let exchange = exchanges[slot]
        let head = exchange.pointee.sent.bytes.slice(from: 0, to: Int(exchange.pointee.headCount))
        guard let target = head.firstIndex(of: UInt8(ascii: " ")).map({ $0 + 1 }) else { return }
        let path = head.slice(from: target)
        let isStripped = path.count > prefix.count && path.slice(from: 0, to: prefix.count).equals(prefix)
        rewrite(slot, growth: Self.prefixName.utf8CodeUnitCount + prefix.count + 2) { writer in
            writer.append(head.slice(from: 0, to: target))
            writer.append(path.slice(from: isStripped ? prefix.count : 0, to: path.count - 2))
            writer.append(Self.prefixName)
            writer.append(prefix)
            writer.append("\r\n\r\n")
        }
    }

    private static var prefixName: StaticString { "X-Forwarded-Prefix: " }

    /// Where our own word about the prefix stands in a head, with its line end; no client's is forwarded.
    private func prefixLine(in head: Bytes, _ prefix: Bytes) -> (start: Int, count: Int) {
        let name = Self.prefixName
        var start = 0
        while let end = head.firstIndex(of: UInt8(ascii: "\n"), from: start) {
            let line = head.slice(from: start, to: end + 1)
            if line.hasPrefix(name) { return (start, line.count) }
            start = end + 1
        }
        return (0, 0)
    }

    /// Replaces the head; the part of the body that was kept stays behind it.
    private mutating func rewrite(_ slot: UInt32, growth: Int, _ write: (inout ByteWriter) -> Void) {
        let exchange = exchanges[slot]
        var old = exchange.pointee.sent
        let oldCount = Int(exchange.pointee.headCount)
        var new = buffers.take(old.count + growth)
        var writer = ByteWriter(base: new.tail, capacity: new.space)
        write(&writer)
        exchange.pointee.headCount = Int32(writer.count)
        writer.append(old.bytes.slice(from: oldCount))
        new.filled(writer.count)
        exchange.pointee.sent = new
        buffers.give(&old)
    }
}
