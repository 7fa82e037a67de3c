// One worker: a thread with its own poller, listeners, connections, pools, timers and counters. It shares nothing; the
// mailbox is its only door. This file owns the loop; the steps of a request are in the Worker+... files beside it.
//
// Rules of the loop:
// - Descriptors are registered once, edge-triggered, for both directions. A short read means that nothing is left,
//   unless the poller has seen the peer's FIN.
// - A new publication is taken between two events, never inside one.
// - No turn moves more than `turnBudget` bytes of one connection; what is left goes to `continued`.

internal import Kernel
internal import Model
internal import Routing
internal import TLS
internal import Telemetry
internal import Wire

/// What the threads have in common, all of it immutable or a thread-safe door.
final class WorkerShared: Sendable {
    let settings: ProxySettings
    let counters: ProxyCounters
    let registry: ServiceRegistry
    let admission: Admission
    let publisherMailbox: Mailbox<PublisherMessage>
    let proberMailbox: Mailbox<ProberMessage>
    /// Of the workers.
    let mailboxes: [Mailbox<WorkerMessage>]
    let log: Log
    /// Who this proxy is, for the info header.
    let proxyID: [UInt8]

    init(
        settings: ProxySettings, counters: ProxyCounters, registry: ServiceRegistry, admission: Admission,
        publisherMailbox: Mailbox<PublisherMessage>, proberMailbox: Mailbox<ProberMessage>,
        mailboxes: [Mailbox<WorkerMessage>], log: Log, proxyID: [UInt8]
    ) {
        self.settings = settings
        self.counters = counters
        self.registry = registry
        self.admission = admission
        self.publisherMailbox = publisherMailbox
        self.proberMailbox = proberMailbox
        self.mailboxes = mailboxes
        self.log = log
        self.proxyID = proxyID
    }
}

/// What a worker is built from inside its thread.
struct WorkerSeed: Sendable {
    let index: Int
    let shared: WorkerShared
    let mailbox: Mailbox<WorkerMessage>
    let listeners: [Listener]
    let publication: Publication
    let logRing: LogRing?
}

/// A publication that this worker's exchanges still use.
struct HeldPublication {
    var publication: Publication?
    var exchangeCount = 0
}

struct Worker: ~Copyable {
    enum Kind {
        static let mailbox: UInt8 = 0
        static let listener: UInt8 = 1
        static let client: UInt8 = 2
        static let upstream: UInt8 = 3
    }

    static var turnBudget: Int { 1 << 20 }
    static var scratchSize: Int { 1 << 19 }
    static var headScratchSize: Int { 1 << 17 }
    static var headReadSize: Int32 { 16_384 }

    let index: Int
    let settings: ProxySettings
    let shared: WorkerShared
    let mailbox: Mailbox<WorkerMessage>
    let counters: ProxyCells
    let unrouted: ServiceCells
    let logRing: LogRing?
    let hasTrustedProxies: Bool
    /// The setting once more, in the parser's own terms.
    let trusted: UnsafeBufferPointer<Wire.AddressBlock>
    let hasProxyProtocolPeers: Bool
    let connectionShare: Int
    /// Handshakes at once.
    let newcomerShare: Int

    var poller: Poller
    var wheel: TimerWheel
    var clients = Slab<ClientConnection>()
    var upstreams = Slab<UpstreamConnection>()
    var exchanges = Slab<Exchange>()
    var states = UpstreamStates()
    var targets = TLSTargets()
    var buffers = BufferPool()
    var requestHead: RequestHead
    var responseHead: ResponseHead
    var sink = Sink()
    /// Requests that have no task yet.
    var rooms = WaitingRooms()
    /// Some service limits what its tasks may have to do; who does not is not asked.
    var hasLimits = false
    /// Waiting requests are being woken.
    var isWaking = false
    /// The route of the request in `requestHead`; -1: none was found, or not yet.
    var routed: Int32 = -1
    let scratch: UnsafeMutablePointer<UInt8>
    let headScratch: UnsafeMutablePointer<UInt8>
    /// Ciphertext that was read, or plaintext on its way to become one record. Valid within one call.
    let cipherScratch: UnsafeMutablePointer<UInt8>
    /// What all TLS connections of this worker read from and write to. Empty between two calls on a connection.
    let tlsWorkspace: TLSWorkspace

    /// In force now; requests that begin take it.
    var publication: Publication
    var held: [HeldPublication]
    var currentHeld: Int32 = 0
    /// Whose turn it is, by pool.
    var cursors: [UInt32]

    var listeners: [Listener]
    var isAcceptPaused = false
    var acceptResumesNs: UInt64 = .max
    var isDraining = false
    var drainDeadlineNs: UInt64 = .max
    var continued: [Token] = []
    var spareContinued: [Token] = []
    var idleClients = ClientList(.idle)
    var newcomers = ClientList(.newcomers)
    var nowNs: UInt64
    /// Numbers the batches of events, from 1.
    var batch: UInt64 = 0
    var date = DateText()
    var requestIDs: RequestIDs
    let viaName: Bytes
    private let viaMemory: UnsafeMutablePointer<UInt8>

    /// - Parameters:
    ///   - poller, workspace: new ones; they become the worker's.
    init(_ seed: WorkerSeed, poller: consuming Poller, workspace: TLSWorkspace) {
        index = seed.index
        shared = seed.shared
        settings = seed.shared.settings
        mailbox = seed.mailbox
        counters = seed.shared.counters.cells(worker: seed.index)
        unrouted = seed.shared.registry.unrouted.cells(worker: seed.index)
        logRing = seed.logRing
        hasTrustedProxies = !settings.trustedProxies.isEmpty
        let blocks = settings.trustedProxies.compactMap {
            Wire.AddressBlock(NetworkAddress($0.base), prefixLength: $0.prefixLength)
        }
        let memory = UnsafeMutableBufferPointer<Wire.AddressBlock>.allocate(capacity: max(1, blocks.count))
        _ = memory.initialize(from: blocks)
        trusted = UnsafeBufferPointer(rebasing: memory[..<blocks.count])
        hasProxyProtocolPeers = !settings.proxyProtocolPeers.isEmpty
        connectionShare = max(1, settings.maximumConnections / max(1, settings.workerCount))
        newcomerShare = max(1, settings.maximumHandshakes / max(1, settings.workerCount))
        nowNs = Clock.monotonicNs()
        self.poller = poller
        wheel = TimerWheel(nowNs: nowNs)
        let limits = HeadLimits(
            requestLineSize: settings.requestLineSize, headSize: settings.headSize, fieldCount: settings.fieldCount)
        requestHead = RequestHead(limits: limits)
        responseHead = ResponseHead(limits: limits)
        scratch = .allocate(capacity: Self.scratchSize)
        headScratch = .allocate(capacity: Self.headScratchSize)
        cipherScratch = .allocate(capacity: Self.scratchSize)
        tlsWorkspace = workspace
        publication = seed.publication
        held = [HeldPublication(publication: seed.publication)]
        cursors = []
        listeners = seed.listeners
        requestIDs = RequestIDs()
        let name = Array(settings.viaName.utf8)
        viaMemory = .allocate(capacity: max(1, name.count))
        viaMemory.initialize(repeating: 0, count: max(1, name.count))
        for (position, byte) in name.enumerated() { viaMemory[position] = byte }
        viaName = Bytes(viaMemory, count: name.count)
        growCursors()
    }

    /// Begins to listen to the mailbox and the listeners.
    mutating func register() throws(SystemError) {
        try poller.add(
            mailbox.wakeup.descriptor, [.readable, .edgeTriggered],
            token: Token(kind: Kind.mailbox, generation: 0, slot: 0))
        for (position, listener) in listeners.enumerated() {
            try poller.add(listener.descriptor, .readable, token: Self.listenerToken(position))
        }
    }

    deinit {
        viaMemory.deallocate()
        trusted.deallocate()
        scratch.deallocate()
        headScratch.deallocate()
        cipherScratch.deallocate()
    }

    static func listenerToken(_ position: Int) -> Token {
        Token(kind: Kind.listener, generation: 0, slot: UInt32(position))
    }

    /// Runs until it is drained.
    mutating func run() {
        while !(isDraining && clients.count == 0) {
            let timeoutMs = continued.isEmpty && !rooms.isDue ? wheelTimeoutMs() : 0
            let count = poller.wait(timeoutMs: timeoutMs)
            nowNs = Clock.monotonicNs()
            batch &+= 1
            for index in 0..<count {
                dispatch(poller.token(at: index), poller.readiness(at: index))
            }
            runContinued()
            expireTimers()
            if rooms.isDue { wakeDue() }
        }
        closeAll()
    }

    mutating func wheelTimeoutMs() -> Int32 {
        var timeoutMs = wheel.timeoutMs(nowNs: nowNs)
        for deadline in [acceptResumesNs, drainDeadlineNs, rooms.nextRetryNs] where deadline != .max {
            let left = deadline <= nowNs ? 0 : Int32(clamping: (deadline - nowNs) / 1_000_000 + 1)
            timeoutMs = timeoutMs < 0 ? left : min(timeoutMs, left)
        }
        return timeoutMs
    }

    @inline(__always)
    mutating func dispatch(_ token: Token, _ readiness: Readiness) {
        switch token.kind {
        case Kind.client:
            if clients.isCurrent(token.slot, generation: token.generation) { clientReady(token.slot, readiness) }
        case Kind.upstream:
            if upstreams.isCurrent(token.slot, generation: token.generation) { upstreamReady(token.slot, readiness) }
        case Kind.listener:
            let position = Int(token.slot)
            if !isDraining, !listeners[position].isPaused, listeners[position].descriptor >= 0 {
                acceptBatch(position)
            }
        default:
            readMailbox()
        }
    }

    mutating func runContinued() {
        guard !continued.isEmpty else { return }
        swap(&continued, &spareContinued)
        for token in spareContinued {
            switch token.kind {
            case Kind.client:
                guard clients.isCurrent(token.slot, generation: token.generation) else { continue }
                clients[token.slot].pointee.isContinued = false
                driveClient(token.slot)
            default:
                guard upstreams.isCurrent(token.slot, generation: token.generation) else { continue }
                upstreams[token.slot].pointee.isContinued = false
                driveUpstream(token.slot)
            }
        }
        spareContinued.removeAll(keepingCapacity: true)
    }

    /// Comes back to this client in the next round of the loop.
    mutating func continueLater(client slot: UInt32) {
        let client = clients[slot]
        guard !client.pointee.isContinued else { return }
        client.pointee.isContinued = true
        continued.append(Token(kind: Kind.client, generation: clients.generation(of: slot), slot: slot))
    }

    mutating func continueLater(upstream slot: UInt32) {
        let upstream = upstreams[slot]
        guard !upstream.pointee.isContinued else { return }
        upstream.pointee.isContinued = true
        continued.append(Token(kind: Kind.upstream, generation: upstreams.generation(of: slot), slot: slot))
    }

    // MARK: Timers

    @inline(__always)
    func timerID(client slot: UInt32) -> Int { Int(slot) * 2 }
    @inline(__always)
    func timerID(upstream slot: UInt32) -> Int { Int(slot) * 2 + 1 }

    @inline(__always)
    mutating func setDeadline(client slot: UInt32, afterMs milliseconds: Int) {
        let deadline = milliseconds <= 0 ? UInt64.max : nowNs + UInt64(milliseconds) * 1_000_000
        clients[slot].pointee.deadlineNs = deadline
        if deadline != .max { wheel.schedule(timerID(client: slot), atNs: deadline) }
    }

    @inline(__always)
    mutating func setDeadline(upstream slot: UInt32, afterMs milliseconds: Int) {
        let deadline = milliseconds <= 0 ? UInt64.max : nowNs + UInt64(milliseconds) * 1_000_000
        upstreams[slot].pointee.deadlineNs = deadline
        if deadline != .max { wheel.schedule(timerID(upstream: slot), atNs: deadline) }
    }

    mutating func expireTimers() {
        while let id = wheel.popExpired(nowNs: nowNs) {
            let slot = UInt32(id / 2)
            if id % 2 == 0 {
                guard clients.isInUse(slot) else { continue }
                let deadline = clients[slot].pointee.deadlineNs
                if deadline == .max { continue }
                if deadline <= nowNs {
                    clientTimedOut(slot)
                } else {
                    wheel.schedule(id, atNs: deadline)
                }
            } else {
                guard upstreams.isInUse(slot) else { continue }
                let deadline = upstreams[slot].pointee.deadlineNs
                if deadline == .max { continue }
                if deadline <= nowNs {
                    upstreamTimedOut(slot)
                } else {
                    wheel.schedule(id, atNs: deadline)
                }
            }
        }
        if acceptResumesNs <= nowNs { resumeAccepting() }
        if rooms.nextRetryNs <= nowNs { rooms.noteRetries(nowNs: nowNs) }
        if drainDeadlineNs <= nowNs {
            drainDeadlineNs = .max
            for slot in 0..<UInt32(clients.slotCount) where clients.isInUse(slot) { abandonClient(slot, .drained) }
        }
    }
}
