// From a parsed head to an exchange, or to an answer of the proxy's own. Here a request meets the route table, once.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    /// Begins the request that `requestHead` was parsed from: `bytes` up to `headCount`. What follows in `bytes` is its
    /// body, or the next request, and is kept as the client's input.
    mutating func startRequest(_ slot: UInt32, _ bytes: Bytes, headCount: Int, isInInput: Bool) {
        let client = clients[slot]
        let generation = clients.generation(of: slot)
        client.pointee.deadlineNs = .max
        let verdict = route(slot, bytes)
        var exchange = Slab<Exchange>.none
        switch verdict {
        case .answer(let outcome):
            answerRequest(slot, bytes, outcome)
        case .answerHere:
            answerMaxForwards(slot, bytes)
        case .redirect:
            redirectToRoot(slot, bytes)
        case .redirectToHTTPS:
            redirectToHTTPS(slot, bytes)
        case .redirectAway(let target):
            redirectAway(slot, bytes, to: target)
        case .forward(let route):
            exchange = makeExchange(slot, bytes, headCount: headCount, route: route)
            if exchange == Slab<Exchange>.none { answerRequest(slot, bytes, .refused) }
        }
        guard clients.isCurrent(slot, generation: generation) else { return }
        takeFromInput(slot, bytes, count: headCount, isInInput: isInInput)
        if exchange != Slab<Exchange>.none {
            counters.add(.requestsActive)
            connect(exchange)
        } else if client.pointee.closesAfterAnswer {
            linger(slot)
        } else {
            nextRequest(slot)
        }
    }

    /// The head is used up: what is left of the bytes waits in the client's input.
    mutating func takeFromInput(_ slot: UInt32, _ bytes: Bytes, count: Int, isInInput: Bool) {
        let client = clients[slot]
        if isInInput {
            client.pointee.input.consume(count)
            if client.pointee.input.isEmpty { buffers.give(&client.pointee.input) }
        } else if bytes.count > count {
            // At most one read's worth into an empty buffer: it always fits.
            _ = buffers.append(bytes.slice(from: count).raw, to: &client.pointee.input)
        }
    }

    /// The connection is ready for its next request.
    mutating func nextRequest(_ slot: UInt32) {
        let client = clients[slot]
        client.pointee.state = .reading
        client.pointee.exchange = Slab<Exchange>.none
        client.pointee.requestStartedNs = 0
        client.pointee.scannedCount = 0
        if client.pointee.isWriteBlocked {
            beginWindow(slot)
            setDeadline(client: slot, afterMs: settings.idleTimeoutMs)
        } else {
            setDeadline(client: slot, afterMs: settings.keepAliveTimeoutMs)
        }
    }

    // MARK: Routing

    enum RouteVerdict {
        case forward(Int32)
        case answer(Outcome)
        /// Max-Forwards reached zero.
        case answerHere
        /// The bare root of a route whose prefix is stripped: its documents' relative links need the slash.
        case redirect
        case redirectToHTTPS
        /// For `RouteTable.redirectTarget(_:)`.
        case redirectAway(Int32)
    }

    mutating func route(_ slot: UInt32, _ bytes: Bytes) -> RouteVerdict {
        requestHead.maxForwards == 0 ? .answerHere : routeOn(slot, bytes)
    }

    /// The route of a request that does not end here. Sources/Admin/Explainer.swift says what comes of it, without a
    /// connection and in the same order: what changes here changes there.
    /// - Parameter waited: it has waited for a task, and may go on to.
    @inline(__always)
    mutating func routeOn(_ slot: UInt32, _ bytes: Bytes, waited: Bool = false) -> RouteVerdict {
        routed = -1
        let host = bytes.slice(requestHead.host)
        let path = bytes.slice(requestHead.path)
        let tls = clients[slot].pointee.tls
        if let tls, !mayServe(tls, host) { return .answer(.misdirected) }
        switch publication.table.lookup(host: host.raw, path: path.raw) {
        case .unknownHost: return .answer(.unknownHost)
        case .unknownPath: return unknownPath(slot, bytes, host: host)
        case .route(let head):
            let index = chosenRoute(head, slot, bytes)
            guard index >= 0 else { return unknownPath(slot, bytes, host: host) }
            routed = index
            let route = publication.table.route(index)
            let rules = publication.table.hostRules(route.host)
            let isPlainAndMayNot = tls == nil && (route.requiresTLS || settings.sslOnly)
            // At least one of the two is none but for a host that redirects.
            if isPlainAndMayNot || rules.httpRedirect & rules.httpsRedirect >= 0,
                let verdict = detour(slot, bytes, rules, requiresTLS: route.requiresTLS)
            {
                return verdict
            }
            if route.rewritesPrefix, path.count == Int(route.prefixCount) { return .redirect }
            let pool = publication.table.pool(route.pool)
            if pool.memberCount == 0, holdMs(ofPool: route.pool, pool, in: publication, waited: waited) == 0 {
                return .answer(.noTask)
            }
            if !route.pathPolicyIsRaw, !pathIsUnambiguous(path, host: host, head: head) {
                return .answer(.ambiguousPath)
            }
            if case .length(let size) = requestHead.body, size > maximumBodySize(pool) {
                return .answer(.bodyTooLarge)
            }
            return .forward(index)
        }
    }

    func maximumBodySize(_ pool: PoolEntry) -> UInt64 {
        publication.table.service(pool.service).bodyLimit(setting: settings.maximumBodySize)
    }

    // MARK: Exchanges

    /// Makes the exchange with the head that its task will receive.
    /// - Returns: none if the head grew past its limit.
    mutating func makeExchange(_ slot: UInt32, _ bytes: Bytes, headCount: Int, route index: Int32) -> UInt32 {
        let client = clients[slot]
        let table = publication.table
        let route = table.route(index)
        let pool = table.pool(route.pool)
        let keeps =
            requestHead.isPersistent && !isDraining
            && Int(client.pointee.requestCount) < settings.maximumRequestsPerConnection
        let accept = StandardResponses.Format(accept: bytes.slice(requestHead.accept))
        let seed = Exchange.Seed(
            client: slot, held: currentHeld, pool: pool, service: table.service(pool.service),
            serviceIndex: pool.service,
            cells: publication.counters.cells(service: Int(pool.service), worker: self.index),
            publicationVersion: table.version, maximumBodySize: maximumBodySize(pool),
            requestID: requestID(slot, bytes),
            startedNs: client.pointee.requestStartedNs)
        let exchangeSlot = exchanges.insert(
            Exchange(seed, head: requestHead, source: bytes, accept: accept, keepsClient: keeps))
        let exchange = exchanges[exchangeSlot]
        if !table.hsts(of: route).isEmpty, isSecure(slot, bytes) { exchange.pointee.hstsRoute = index }
        let prefix = route.rewritesPrefix ? Bytes(table.prefix(of: route)) : .empty
        let certificateLines = client.pointee.tls?.pointee.certificateLines ?? .empty
        exchange.pointee.sent = buffers.take(
            headCount + 2048 + prefix.count + 4 * Int(requestHead.authority.count) + certificateLines.count)
        guard writeHead(slot, exchangeSlot, bytes, prefix: prefix, certificateLines: certificateLines) else {
            buffers.give(&exchange.pointee.sent)
            exchanges.remove(exchangeSlot)
            return Slab<Exchange>.none
        }
        if pool.keyKind != .none { exchange.pointee.balancingKey = balancingKey(slot, bytes, pool) }
        exchange.pointee.route = index
        exchange.pointee.headCount = Int32(exchange.pointee.sent.count)
        exchange.pointee.retryLimit = retryLimit(exchange.pointee.service)
        if settings.accessLog != .off { keepForLog(exchangeSlot, bytes) }
        held[Int(currentHeld)].exchangeCount += 1
        client.pointee.state = .exchanging
        client.pointee.exchange = exchangeSlot
        return exchangeSlot
    }

    func retryLimit(_ service: ServiceEntry) -> UInt8 {
        UInt8(clamping: service.retries >= 0 ? Int(service.retries) : settings.retries)
    }

    mutating func requestID(_ slot: UInt32, _ bytes: Bytes) -> RequestID {
        if clients[slot].pointee.peerIsTrusted, let brought = RequestID(bytes.slice(requestHead.requestID)) {
            return brought
        }
        return requestIDs.makeID()
    }

    mutating func writeHead(
        _ slot: UInt32, _ exchangeSlot: UInt32, _ bytes: Bytes, prefix: Bytes, certificateLines: PooledBuffer
    ) -> Bool {
        let client = clients[slot]
        let exchange = exchanges[exchangeSlot]
        var writer = ByteWriter(base: exchange.pointee.sent.tail, capacity: exchange.pointee.sent.space)
        let realAddress = client.pointee.peerIsTrusted ? realClient(slot, bytes) : nil
        let clientAddress = ClientConnection.addressBytes(at: client)
        let context = RequestContext(
            clientAddress: clientAddress, isTLS: client.pointee.tls != nil, localPort: client.pointee.localPort,
            requestID: RequestID.bytes(at: &exchange.pointee.requestID), peerIsTrusted: client.pointee.peerIsTrusted,
            realClientAddress: realAddress ?? clientAddress, stripPrefixCount: prefix.count, forwardedPrefix: prefix,
            viaName: viaName, keepsUpgrade: requestHead.hasUpgrade, addsForwarded: settings.addsForwarded,
            dropsUnderscoreNames: settings.dropsUnderscoreNames,
            clientCertificateLines: certificateLines.isEmpty ? .empty : certificateLines.bytes)
        HeadWriter.writeRequest(requestHead, from: bytes, context: context, into: &writer)
        guard !writer.overflowed else { return false }
        exchange.pointee.sent.filled(writer.count)
        return true
    }

    // MARK: Answers of our own

    private static var allowLine: Bytes { Bytes("Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n") }

    /// Answers the request in `requestHead` with an outcome.
    mutating func answerRequest(_ slot: UInt32, _ bytes: Bytes, _ outcome: Outcome) {
        let client = clients[slot]
        var closes = !requestHead.isPersistent || isDraining
        // The body was not read: what follows on this connection is not a request.
        if requestHead.body != .none { closes = true }
        let service = outcome == .noTask || outcome == .ambiguousPath || outcome == .bodyTooLarge
        var lines = extraLinesWriter
        appendHSTS(slot, bytes, to: &lines)
        let local = LocalAnswer(
            outcome: outcome, status: outcome == .refused ? 431 : outcome.status, code: outcome.code,
            explanation: outcome.explanation,
            format: StandardResponses.Format(accept: bytes.slice(requestHead.accept)),
            isHead: requestHead.method == .head, closes: closes, version: requestHead.version,
            retryAfterS: outcome.status == 503 && service ? 1 : nil, requestID: requestID(slot, bytes),
            extraLines: lines.bytes)
        client.pointee.closesAfterAnswer = closes
        countLocal(slot, local, rejection: RejectionReasons.number(of: outcome), bytes: bytes, hasHead: true)
        sendLocal(slot, local)
    }

    /// RFC 9110 7.6.2: the last hop answers. OPTIONS says what a proxy does, TRACE is not offered.
    mutating func answerMaxForwards(_ slot: UInt32, _ bytes: Bytes) {
        let client = clients[slot]
        let isTrace = requestHead.method == .trace
        let closes = !requestHead.isPersistent || isDraining || requestHead.body != .none
        let local = LocalAnswer(
            outcome: .ok, status: isTrace ? 405 : 200, code: isTrace ? "trace_not_offered" : "ok",
            explanation: isTrace ? "TRACE is not offered here." : "The request ended at this proxy, as it asked.",
            format: StandardResponses.Format(accept: bytes.slice(requestHead.accept)), isHead: false, closes: closes,
            version: requestHead.version, retryAfterS: nil, requestID: requestID(slot, bytes),
            extraLines: Self.allowLine)
        client.pointee.closesAfterAnswer = closes
        countLocal(slot, local, rejection: nil, bytes: bytes, hasHead: true)
        sendLocal(slot, local)
    }

    /// Sends the client from `/app` to `/app/`, the query kept: 301 for GET and HEAD, else 308, which keeps the method.
    mutating func redirectToRoot(_ slot: UInt32, _ bytes: Bytes) {
        var writer = extraLinesWriter
        writer.append("Location: ")
        RedirectLocation.appendWithSlash(requestHead, from: bytes, to: &writer)
        writer.append("\r\n")
        appendHSTS(slot, bytes, to: &writer)
        answerRedirect(
            slot, bytes, status: RedirectLocation.permanentStatus(requestHead.method),
            explanation: "This service is found under the same address with a slash at its end.", writer)
    }

    /// Answers what is no request, and ends the connection.
    mutating func refuse(_ slot: UInt32, _ refusal: Refusal, from bytes: Bytes) {
        let local = LocalAnswer(
            outcome: .refused, status: refusal.status, code: refusal.reason.code,
            explanation: Outcome.refused.explanation, format: .html, isHead: false, closes: true, version: .http11,
            retryAfterS: nil, requestID: requestIDs.makeID(),
            extraLines: refusal.status == 405 ? Self.allowLine : .empty)
        countLocal(
            slot, local, rejection: RejectionReasons.number(of: refusal.reason), bytes: bytes, hasHead: false)
        sendLocal(slot, local)
        linger(slot)
    }

    /// Answers a client whose head never came to its end, and ends the connection.
    mutating func answerWithoutHead(_ slot: UInt32, _ outcome: Outcome) {
        let local = LocalAnswer(
            outcome: outcome, status: outcome.status, code: outcome.code, explanation: outcome.explanation,
            format: .html, isHead: false, closes: true, version: .http11, retryAfterS: nil,
            requestID: requestIDs.makeID())
        let input = clients[slot].pointee.input
        countLocal(
            slot, local, rejection: RejectionReasons.number(of: outcome),
            bytes: input.isEmpty ? .empty : input.bytes, hasHead: false)
        sendLocal(slot, local)
        linger(slot)
    }

    /// Writes an answer into the head scratch and sends it. A client that is gone is noticed by its next event.
    mutating func sendLocal(_ slot: UInt32, _ local: borrowing LocalAnswer) {
        date.update(nowNs: nowNs)
        // The other half may hold the extra lines.
        var writer = ByteWriter(base: headScratch, capacity: Self.headScratchSize / 2)
        local.requestID.withBytes { id in
            StandardResponses.write(
                status: local.status, code: local.code, explanation: local.explanation, requestID: id,
                format: local.format, isHead: local.isHead, closes: local.closes, clientVersion: local.version,
                retryAfterSeconds: local.retryAfterS, date: date.bytes, extraLines: local.extraLines,
                into: &writer)
        }
        let client = clients[slot]
        if client.pointee.tls != nil {
            sendLocalBytes(slot, writer.bytes.raw)
            return
        }
        var written = 0
        if !client.pointee.isWriteBlocked {
            let result = Socket.write(client.pointee.descriptor, headScratch, count: writer.count)
            if result.isFailure {
                // Anything but "later" means that nobody reads: the read side will say so.
                if !result.isWouldBlock { return }
            } else {
                written = result.count
                counters.add(.bytesToClients, UInt64(written))
            }
        }
        if written < writer.count {
            let rest = UnsafeRawBufferPointer(start: headScratch + written, count: writer.count - written)
            if buffers.append(rest, to: &client.pointee.output) { client.pointee.isWriteBlocked = true }
        }
    }
}

/// An answer of the proxy's own, before it is written.
struct LocalAnswer: ~Copyable {
    var outcome: Outcome
    var status: UInt16
    var code: StaticString
    var explanation: StaticString
    var format: StandardResponses.Format
    var isHead: Bool
    var closes: Bool
    var version: HTTPVersion
    var retryAfterS: Int?
    var requestID: RequestID
    /// Ready field lines, valid until the answer is written.
    var extraLines = Bytes.empty
}
