// Active health checks: one thread probes the tasks of all services that have a check, for all workers. This file owns
// its loop: when each task is probed, and how many at once. What a probe does on its connection is in
// HealthProber+Probing, what follows from a result in HealthProber+Judging, whom it probes in HealthProber+Following.
//
// It is also where workers report the tasks that they pass over, since the log and the admin pages have one voice for
// both. It never touches a worker but through its mailbox, and no request ever waits for it.
//
//   a probe is   what happens to it
//   waiting      its deadline is when it is due
//   queued       it is due, and too many others are under way
//   connecting   its deadline is the check's timeout, for everything together
//   handshaking  likewise, if the service speaks TLS to its tasks
//   asking       likewise: the answer's head is read

internal import Kernel
internal import Model
internal import Routing
internal import TLS
internal import Telemetry
internal import Wire

/// What the prober is built from inside its thread.
struct ProberSeed: Sendable {
    let settings: ProxySettings
    let mailbox: Mailbox<ProberMessage>
    let workers: [Mailbox<WorkerMessage>]
    let publisherMailbox: Mailbox<PublisherMessage>
    let board: HealthBoard
    let counters: ProbeCounters
    let log: Log
    let publication: Publication
}

/// One task that is probed.
struct Probe {
    enum Phase: UInt8 { case waiting, queued, connecting, handshaking, asking }

    let identity: UInt64
    /// The task's id, for the log.
    let taskID: String
    /// A position in `RouteTable.checks` of the table that is followed.
    var position: Int
    /// Where its requests go.
    var endpoint: Endpoint
    var record: HealthRecord
    /// When it was last seen in a table.
    var round: UInt64
    var phase = Phase.waiting
    var deadlineNs: UInt64 = .max
    var descriptor: Int32 = -1
    var tls: TLSStream?
    var isPeerClosed = false
    var interimCount: UInt8 = 0
    /// What came of an answer's head.
    var input: [UInt8] = []
    /// What the socket did not take yet.
    var output: [UInt8] = []

    var isUnderWay: Bool { phase != .waiting && phase != .queued }
}

struct HealthProber: ~Copyable {
    enum Kind {
        static let mailbox: UInt8 = 0
        static let probe: UInt8 = 1
    }

    static var scratchSize: Int { 1 << 16 }

    let seed: ProberSeed
    var poller: Poller
    var wheel: TimerWheel
    let workspace: TLSWorkspace
    let scratch: UnsafeMutablePointer<UInt8>
    let plainScratch: UnsafeMutablePointer<UInt8>
    var head: ResponseHead
    var probes = Slab<Probe>()
    var slots: [UInt64: UInt32] = [:]
    var queue: ProbeQueue
    var publication: Publication
    var round: UInt64 = 0
    var nowNs: UInt64
    /// By check of the table: how many of its tasks are in which health.
    var tallies: [Tally] = []
    /// Services none of whose tasks passes its check: names by id.
    var panicking: [String: String] = [:]
    var isPanicChanged = false
    /// What the workers and the board are told after this turn.
    var changes: [HealthChange] = []
    var failures: [(identity: UInt64, reason: String)] = []
    var isStopped = false

    struct Tally {
        var healthy = 0
        var unhealthy = 0
    }

    /// - Parameters:
    ///   - poller, workspace: new ones; they become the prober's.
    init(_ seed: ProberSeed, poller: consuming Poller, workspace: TLSWorkspace) {
        self.seed = seed
        self.poller = poller
        self.workspace = workspace
        queue = ProbeQueue(limit: seed.settings.maximumProbes)
        nowNs = Clock.monotonicNs()
        wheel = TimerWheel(nowNs: nowNs)
        scratch = .allocate(capacity: Self.scratchSize)
        plainScratch = .allocate(capacity: Self.scratchSize)
        head = ResponseHead(
            limits: HeadLimits(
                requestLineSize: seed.settings.requestLineSize, headSize: seed.settings.headSize,
                fieldCount: seed.settings.fieldCount))
        publication = seed.publication
    }

    deinit {
        scratch.deallocate()
        plainScratch.deallocate()
    }

    mutating func register() throws(SystemError) {
        try poller.add(
            seed.mailbox.wakeup.descriptor, [.readable, .edgeTriggered],
            token: Token(kind: Kind.mailbox, generation: 0, slot: 0))
    }

    /// Runs until it is told to stop.
    mutating func run() {
        while !isStopped {
            let count = poller.wait(timeoutMs: wheel.timeoutMs(nowNs: nowNs))
            nowNs = Clock.monotonicNs()
            for index in 0..<count {
                let token = poller.token(at: index)
                if token.kind == Kind.mailbox {
                    readMailbox()
                } else if probes.isCurrent(token.slot, generation: token.generation) {
                    probeReady(token.slot, poller.readiness(at: index))
                }
            }
            expireTimers()
            startQueued()
            tell()
            seed.counters.set(active: queue.activeCount, waiting: queue.waitingCount)
        }
        for slot in 0..<UInt32(probes.slotCount) where probes.isInUse(slot) { close(slot) }
        seed.publisherMailbox.post(.retired(publication))
    }

    private mutating func readMailbox() {
        for message in seed.mailbox.takeAll() {
            switch message {
            case .publish(let next): follow(next)
            case .passedOver(let identity, let worker, let failure, let service, let address):
                notePassedOver(identity, worker: worker, failure, service: service, address: address)
            case .takenBack(let identity, let worker): noteTakenBack(identity, worker: worker)
            case .stop: isStopped = true
            }
        }
    }

    // MARK: When

    mutating func setDeadline(_ slot: UInt32, _ deadlineNs: UInt64) {
        probes[slot].pointee.deadlineNs = deadlineNs
        wheel.schedule(Int(slot), atNs: deadlineNs)
    }

    private mutating func expireTimers() {
        while let id = wheel.popExpired(nowNs: nowNs) {
            let slot = UInt32(id)
            guard probes.isInUse(slot) else { continue }
            let deadlineNs = probes[slot].pointee.deadlineNs
            if deadlineNs == .max { continue }
            if deadlineNs > nowNs {
                wheel.schedule(id, atNs: deadlineNs)
            } else if probes[slot].pointee.isUnderWay {
                finish(slot, .timeout)
            } else if probes[slot].pointee.phase == .waiting {
                probes[slot].pointee.phase = .queued
                probes[slot].pointee.deadlineNs = .max
                let token = Token(kind: Kind.probe, generation: probes.generation(of: slot), slot: slot)
                queue.append(token, of: probes[slot].pointee.position)
            }
        }
    }

    /// Begins what is due, as far as there is room.
    private mutating func startQueued() {
        while let (token, service) = queue.next() {
            if probes.isCurrent(token.slot, generation: token.generation), probes[token.slot].pointee.phase == .queued {
                begin(token.slot)
            } else {
                // It is gone, or asked anew.
                queue.ended(service)
            }
        }
    }
}

/// Starts the prober's thread.
func startProber(_ seed: ProberSeed) throws(ProxyStartError) -> Thread {
    do throws(SystemError) {
        return try Thread.start(name: "prober") { runProber(seed) }
    } catch {
        throw ProxyStartError(description: "cannot start the prober: \(error)")
    }
}

/// The prober's thread: it is built here, on the thread that will own it.
private func runProber(_ seed: ProberSeed) {
    do throws(SystemError) {
        guard let workspace = TLSWorkspace() else {
            seed.log.error("the prober has no memory for TLS")
            return
        }
        var prober = HealthProber(seed, poller: try Poller(), workspace: workspace)
        try prober.register()
        prober.run()
    } catch {
        seed.log.error("the prober could not start", ["error": .string("\(error)")])
    }
}
