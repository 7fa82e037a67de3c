// Connections for an exchange's task: the pool of idle ones, new ones, and trying another task.

internal import Kernel
internal import Model
internal import Routing
internal import TLS
internal import Telemetry
internal import Wire

extension Worker {
    /// A method that is not idempotent uses a pooled connection only if it was used this short a time ago: the task
    /// cannot have closed it meanwhile without our having seen it.
    private static var freshIdleNs: UInt64 { 1_000_000_000 }
    /// A node that acknowledges nothing for this long is lost.
    private static var lossTimeoutMs: Int32 { 5000 }
    /// The kernel counts a closed window as well, so a task that reads late needs longer.
    private static var bulkLossTimeoutMs: Int32 { 60_000 }
    /// Smaller than any window a task begins with, unless it asks for less.
    static var bulkSize: UInt64 { 16_384 }

    /// Picks a task and begins to connect, or sends at once where a connection is waiting. Ends the exchange with an
    /// answer when no task is left to try.
    mutating func connect(_ slot: UInt32) {
        let exchange = exchanges[slot]
        if hasLimits, isBehindOthers(slot) { return waitOrEnd(slot, with: .noTask, isFull: true) }
        while true {
            guard let member = pickMember(slot) else {
                waitOrEnd(slot, with: exchange.pointee.lastFailure)
                return
            }
            guard !hasLimits || takePlace(slot, at: member) else {
                return waitOrEnd(slot, with: exchange.pointee.lastFailure, isFull: true)
            }
            exchange.pointee.attempts &+= 1
            exchange.pointee.attemptStartedNs = nowNs
            let tried = exchange.pointee.tried
            exchange.pointee.hasAlternative =
                exchange.pointee.pool.memberCount > tried.count + (tried.contains(member.identity) ? 0 : 1)
            let home = states.home(of: member.identity, endpoint: member.endpoint)
            // A request that began with an older table may try a task that is gone: its state goes with the attempt.
            if exchange.pointee.held != currentHeld, !publication.table.isReady(member.identity) {
                states[home].pointee.isDrained = true
            }
            exchange.pointee.upstreamText = states[home].pointee.text
            useService(of: member, for: slot)
            if states[home].pointee.failures.isOut { beginTrial(home, for: slot) }
            guard let target = tlsTarget(slot, home: home) else {
                exchange.pointee.tried.insert(member.identity)
                guard goesOn(slot, without: member.identity, .tlsUnusable) else { return }
                continue
            }
            if !exchange.pointee.wantsNewConnection, exchange.pointee.service.proxyProtocolVersion == 0 {
                let idle = takeIdle(home, target: target, isIdempotent: exchange.pointee.method.isIdempotent)
                if idle != Slab<UpstreamConnection>.none {
                    counters.add(.upstreamConnectionsReused)
                    attach(idle, to: slot)
                    upstreamConnected(idle)
                    return
                }
            }
            exchange.pointee.tried.insert(member.identity)
            let isWatched = exchange.pointee.kind == .http
            switch open(home, to: member.endpoint, target: target, isWatched: isWatched) {
            case .connecting(let upstream):
                attach(upstream, to: slot)
                setDeadline(upstream: upstream, afterMs: connectTimeoutMs(exchange.pointee.service))
                return
            case .connected(let upstream):
                attach(upstream, to: slot)
                setDeadline(upstream: upstream, afterMs: connectTimeoutMs(exchange.pointee.service))
                linkEstablished(upstream)
                return
            case .failed(let code):
                // What this machine is short of says nothing about the task.
                if code != SystemError.tooManyFilesCode, code != SystemError.systemFilesCode,
                    code != SystemError.noAddressCode
                {
                    noteFailure(home, of: slot, UpstreamFailure(connectCode: code))
                }
                guard goesOn(slot, without: member.identity, UpstreamFailure(connectCode: code)) else { return }
            }
        }
    }

    /// An attempt came to nothing before there was a connection.
    /// - Returns: whether another one follows; if not, the exchange was ended.
    private mutating func goesOn(_ slot: UInt32, without identity: UInt64, _ failure: UpstreamFailure) -> Bool {
        let exchange = exchanges[slot]
        if exchange.pointee.limit != nil { givePlace(slot) }
        countFailure(slot, failure)
        let known = states.find(identity)
        if known >= 0 { states.forgetIfUnused(known, &targets) }
        switch exchange.pointee.upstreamLost(failure, isReused: false) {
        case .retry: break
        case .exhausted(let outcome):
            waitOrEnd(slot, with: outcome)
            return false
        case .answer(let outcome), .cut(let outcome):
            endExchange(slot, with: outcome)
            return false
        }
        counters.add(RetryReason.connectFailed)
        exchange.pointee.cells.addRetry()
        return true
    }

    func connectTimeoutMs(_ service: ServiceEntry) -> Int {
        service.connectTimeoutMs >= 0 ? Int(service.connectTimeoutMs) : settings.connectTimeoutMs
    }

    func responseTimeoutMs(_ service: ServiceEntry) -> Int {
        service.responseTimeoutMs >= 0 ? Int(service.responseTimeoutMs) : settings.responseTimeoutMs
    }

    /// Counts and timeouts are those of the service whose task was picked.
    mutating func useService(of member: Member, for slot: UInt32) {
        let exchange = exchanges[slot]
        guard member.service != exchange.pointee.serviceIndex, exchange.pointee.held >= 0,
            let publication = held[Int(exchange.pointee.held)].publication
        else { return }
        exchange.pointee.serviceIndex = member.service
        exchange.pointee.service = publication.table.service(member.service)
        exchange.pointee.cells = publication.counters.cells(service: Int(member.service), worker: index)
    }

    // MARK: New connections

    enum OpenResult {
        case connecting(UInt32)
        case connected(UInt32)
        case failed(Int32)
    }

    /// When descriptors run out, idle clients go first here too.
    private mutating func createSocket(for address: SocketAddress) throws(SystemError) -> Int32 {
        do throws(SystemError) {
            return try Socket.create(for: address)
        } catch {
            let isExhausted = error.code == SystemError.tooManyFilesCode || error.code == SystemError.systemFilesCode
            guard isExhausted, makeRoom() else { throw error }
        }
        return try Socket.create(for: address)
    }

    /// - Parameters:
    ///   - target: what TLS is to be agreed on for; none for a plain connection.
    ///   - isWatched: the loss of the task's node is watched for from the start; see `watchUpstream`.
    mutating func open(_ home: Int32, to endpoint: Endpoint, target: UInt32, isWatched: Bool) -> OpenResult {
        let address = endpoint.socketAddress
        do throws(SystemError) {
            let descriptor = try createSocket(for: address)
            Socket.setNoDelay(descriptor)
            let result = Socket.connect(descriptor, address)
            if result.isFailure, result.code != Socket.inProgressCode {
                Socket.close(descriptor)
                return .failed(result.code)
            }
            let slot = upstreams.insert(
                UpstreamConnection(
                    descriptor: descriptor, home: home, idleLimitMs: Int32(clamping: settings.upstreamIdleTimeoutMs)))
            states[home].pointee.openCount += 1
            if isWatched { watchUpstream(slot) }
            if target != Slab<TLSTarget>.none {
                upstreams[slot].pointee.target = target
                targets[target].pointee.connectionCount += 1
            }
            counters.add(.upstreamConnectionsOpened)
            counters.set(.upstreamConnectionsActive, UInt64(upstreams.count))
            let token = Token(kind: Kind.upstream, generation: upstreams.generation(of: slot), slot: slot)
            do throws(SystemError) {
                try poller.add(descriptor, [.readable, .writable, .peerClosed, .edgeTriggered], token: token)
            } catch {
                closeUpstream(slot)
                return .failed(error.code)
            }
            return result.isFailure ? .connecting(slot) : .connected(slot)
        } catch {
            return .failed(error.code)
        }
    }

    /// From here on the loss of the task's node is felt.
    mutating func watchUpstream(_ slot: UInt32) {
        let upstream = upstreams[slot]
        upstream.pointee.isWatched = true
        Socket.setLivenessProbes(
            upstream.pointee.descriptor,
            userTimeoutMs: upstream.pointee.carriesBulk ? Self.bulkLossTimeoutMs : Self.lossTimeoutMs, idleS: 5,
            intervalS: 1, count: 3)
    }

    /// The poller says that the connect came to an end.
    /// - Parameter isSuspect: it also says that something is wrong.
    mutating func connectFinished(_ slot: UInt32, isSuspect: Bool) {
        let upstream = upstreams[slot]
        let code = isSuspect ? Socket.pendingError(upstream.pointee.descriptor) : 0
        if code == 0 {
            let generation = upstreams.generation(of: slot)
            linkEstablished(slot)
            // A task may speak first; the poller does not say so again.
            if upstreams.isCurrent(slot, generation: generation), upstream.pointee.isReadable { driveUpstream(slot) }
        } else {
            loseUpstream(slot, UpstreamFailure(connectCode: code))
        }
    }

    /// A connection stands, new or from the pool: its exchange's request is sent.
    mutating func upstreamConnected(_ slot: UInt32) {
        let upstream = upstreams[slot]
        let exchange = exchanges[upstream.pointee.exchange]
        if exchange.pointee.kind == .stream {
            // A task may wait for its client to speak: that it took the connection has to do.
            if states[upstream.pointee.home].pointee.failures.isOut { noteReturn(upstream.pointee.home) }
            return streamConnected(slot)
        }
        upstream.pointee.state = .busy
        exchange.pointee.upstreamConnected(nowNs: nowNs)
        sendRequest(upstream.pointee.exchange)
    }

    /// Gives a task time to read a large body, or takes that back.
    mutating func setCarriesBulk(_ slot: UInt32, _ carriesBulk: Bool) {
        let upstream = upstreams[slot]
        guard upstream.pointee.carriesBulk != carriesBulk else { return }
        upstream.pointee.carriesBulk = carriesBulk
        guard upstream.pointee.isWatched else { return }
        Socket.setUserTimeout(
            upstream.pointee.descriptor, milliseconds: carriesBulk ? Self.bulkLossTimeoutMs : Self.lossTimeoutMs)
    }

    // MARK: The pool

    /// The most recently used idle connection of a task that was made for `target`.
    mutating func takeIdle(_ home: Int32, target: UInt32, isIdempotent: Bool) -> UInt32 {
        var slot = states[home].pointee.idleHead
        while slot != Slab<UpstreamConnection>.none, upstreams[slot].pointee.target != target {
            slot = upstreams[slot].pointee.idleNext
        }
        guard slot != Slab<UpstreamConnection>.none else { return slot }
        if !isIdempotent, nowNs &- upstreams[slot].pointee.idleSinceNs > Self.freshIdleNs {
            return Slab<UpstreamConnection>.none
        }
        unlinkIdle(slot)
        upstreams[slot].pointee.isReused = true
        upstreams[slot].pointee.takenInBatch = batch
        return slot
    }

    mutating func unlinkIdle(_ slot: UInt32) {
        let upstream = upstreams[slot]
        let state = states[upstream.pointee.home]
        let next = upstream.pointee.idleNext
        let previous = upstream.pointee.idlePrevious
        if previous == Slab<UpstreamConnection>.none {
            state.pointee.idleHead = next
        } else {
            upstreams[previous].pointee.idleNext = next
        }
        if next != Slab<UpstreamConnection>.none { upstreams[next].pointee.idlePrevious = previous }
        state.pointee.idleCount -= 1
        counters.subtract(.upstreamConnectionsIdle)
    }

    /// Puts a connection back into the pool after its exchange, or closes it.
    /// - Parameter hint: seconds after which the task will close it, -1 if it did not say.
    mutating func releaseUpstream(_ slot: UInt32, isReusable: Bool, keepAliveHintS hint: Int) {
        let upstream = upstreams[slot]
        let state = states[upstream.pointee.home]
        detach(slot)
        var idleMs = settings.upstreamIdleTimeoutMs
        if hint >= 0 { idleMs = min(idleMs, hint * 1000 - 500) }
        guard isReusable, idleMs > 0, !state.pointee.isDrained, !isDraining, !upstream.pointee.isPeerClosed,
            // After a read that was filled to its end, more may wait that nobody asked for.
            !upstream.pointee.isReadable, upstream.pointee.output.isEmpty, upstream.pointee.input.isEmpty,
            Int(state.pointee.idleCount) < settings.upstreamIdleLimit
        else {
            // An answer that is complete ends its connection properly.
            if isReusable { sayGoodbye(slot) }
            closeUpstream(slot)
            return
        }
        setCarriesBulk(slot, false)
        upstream.pointee.state = .idle
        upstream.pointee.idleSinceNs = nowNs
        upstream.pointee.idlePrevious = Slab<UpstreamConnection>.none
        upstream.pointee.idleNext = state.pointee.idleHead
        if state.pointee.idleHead != Slab<UpstreamConnection>.none {
            upstreams[state.pointee.idleHead].pointee.idlePrevious = slot
        }
        state.pointee.idleHead = slot
        state.pointee.idleCount += 1
        counters.add(.upstreamConnectionsIdle)
        setDeadline(upstream: slot, afterMs: idleMs)
    }

    /// Closes a connection in any state. Its exchange, if any, must not point to it any more.
    mutating func closeUpstream(_ slot: UInt32) {
        let upstream = upstreams[slot]
        detach(slot)
        if upstream.pointee.state == .idle {
            unlinkIdle(slot)
            sayGoodbye(slot)
        }
        upstream.pointee.tls?.free()
        let target = upstream.pointee.target
        if target != Slab<TLSTarget>.none { targets[target].pointee.connectionCount -= 1 }
        let home = upstream.pointee.home
        wheel.cancel(timerID(upstream: slot))
        buffers.give(&upstream.pointee.input)
        buffers.give(&upstream.pointee.output)
        buffers.give(&upstream.pointee.early)
        Socket.close(upstream.pointee.descriptor)
        upstreams.remove(slot)
        counters.set(.upstreamConnectionsActive, UInt64(upstreams.count))
        states[home].pointee.openCount -= 1
        states.forgetIfUnused(home, &targets)
    }
}

extension UpstreamFailure {
    init(connectCode code: Int32) {
        switch code {
        case SystemError.refusedCode: self = .connectRefused
        case SystemError.timedOutCode: self = .connectTimeout
        default: self = .connectError
        }
    }
}
