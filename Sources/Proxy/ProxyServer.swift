// The data plane as a whole: binds the listeners, starts the workers, publishes tables to them, and drains them.
// Publishing happens on the caller's thread; the workers only ever take a finished object. It has a lock of its own, so
// that publications leave in order; who only reads never waits for a table that is compiled or a certificate that is
// parsed. The order of the locks: publishing, then state.

internal import Kernel
public import Model
public import Routing
internal import Synchronization
internal import TLS
public import Telemetry
internal import Wire

/// Why the proxy cannot start, in one line for the operator.
public struct ProxyStartError: Error, CustomStringConvertible, Sendable {
    public let description: String
}

public final class ProxyServer: Sendable {
    public let settings: ProxySettings
    public let counters: ProxyCounters
    public let registry: ServiceRegistry
    public let probes = ProbeCounters()
    /// One for each worker where the access log is on; the log's thread drains them.
    public let logRings: [LogRing]
    /// The ports of HTTP that are listened on, in the order of the setting; tells what port 0 became.
    public let ports: [UInt16]
    /// Likewise of HTTPS.
    public let httpsPorts: [UInt16]

    private let log: Log
    private let mailboxes: [Mailbox<WorkerMessage>]
    private let publisherMailbox: Mailbox<PublisherMessage>
    private let proberMailbox: Mailbox<ProberMessage>
    private let board = HealthBoard()
    private let prober: Mutex<Thread?>
    private let workers: Mutex<[Thread]>
    private let collector: Mutex<Thread?>
    private let hasStopped = Atomic<Bool>(false)
    private let publishing: Mutex<Publishing>
    /// With `takesOver`: the ports of HTTP and HTTPS.
    private let sharedPorts: Mutex<SharedPorts>
    private let state: Mutex<PublisherState>

    /// What only publishers need.
    private struct Publishing {
        var numbering: Numbering
        var builder: TLSTableBuilder
        var secrets = SecretFiles()
        var log: TLSReportLog
        var newest: Publication
        var losses = TaskLosses()
        var limits = LimitBook()
    }

    private struct PublisherState {
        var table: RouteTable
        var tls: TLSTable
        var report = TLSReport()
        var lastPublishNs: UInt64 = 0
        var entryPorts: EntryPorts
        /// Publications that some worker, or the prober, may still use, with how many have not handed them back.
        var pending: [(publication: Publication, workers: Int)] = []
    }

    /// Binds and starts. Nothing is routed until the first `publish`: every host is unknown.
    public init(settings: ProxySettings, proxyID: String, log: Log) throws(ProxyStartError) {
        self.settings = settings
        self.log = log
        let workerCount = max(1, settings.workerCount)
        counters = ProxyCounters(workerCount: workerCount)
        registry = ServiceRegistry(workerCount: workerCount)
        logRings = settings.accessLog == .off ? [] : (0..<workerCount).map { _ in LogRing() }
        let bound = try Listeners.bind(settings, workerCount: workerCount)
        ports = bound.httpPorts
        httpsPorts = bound.httpsPorts
        do throws(SystemError) {
            publisherMailbox = try Mailbox()
            proberMailbox = try Mailbox()
            mailboxes = try (0..<workerCount).map { _ throws(SystemError) in try Mailbox() }
        } catch {
            throw ProxyStartError(description: "cannot start the workers: \(error)")
        }
        var numbering = Numbering()
        let table = RouteTable(compiling: Snapshot(), version: 0, numbering: &numbering)
        var builder: TLSTableBuilder
        do throws(TLSError) {
            builder = try TLSTableBuilder(settings.tls)
        } catch {
            for listener in bound.listeners.joined() { Socket.close(listener.descriptor) }
            throw ProxyStartError(description: "the TLS settings cannot be used: \(error)")
        }
        let publication = Publication(
            table: table, tls: builder.build(table, SecretFiles()).table, counters: registry.update([]), number: 0)
        let shared = WorkerShared(
            settings: settings, counters: counters, registry: registry,
            admission: Admission(limitPerClient: settings.maximumConnectionsPerClient),
            publisherMailbox: publisherMailbox, proberMailbox: proberMailbox, mailboxes: mailboxes, log: log,
            proxyID: Array(proxyID.utf8))
        publishing = Mutex(
            Publishing(
                numbering: numbering, builder: builder, log: TLSReportLog(log: log), newest: publication))
        sharedPorts = Mutex(SharedPorts(settings.takesOver ? bound.listeners : []))
        state = Mutex(
            PublisherState(
                table: table, tls: publication.tls,
                entryPorts: EntryPorts(
                    settings: settings, workerCount: workerCount, ownPorts: bound.httpPorts + bound.httpsPorts),
                pending: [(publication, workerCount + 1)]))
        var threads: [Thread] = []
        for index in 0..<workerCount {
            let seed = WorkerSeed(
                index: index, shared: shared, mailbox: mailboxes[index],
                listeners: settings.takesOver ? [] : bound.listeners[index],
                publication: publication, logRing: logRings.isEmpty ? nil : logRings[index])
            do throws(SystemError) {
                threads.append(try Thread.start(name: "worker \(index)") { runWorker(seed) })
            } catch {
                throw ProxyStartError(description: "cannot start worker \(index): \(error)")
            }
        }
        workers = Mutex(threads)
        let proberSeed = ProberSeed(
            settings: settings, mailbox: proberMailbox, workers: mailboxes, publisherMailbox: publisherMailbox,
            board: board, counters: probes, log: log, publication: publication)
        prober = Mutex(try startProber(proberSeed))
        collector = Mutex(nil)
        do throws(SystemError) {
            let thread = try Thread.start(name: "publisher") { [weak self, publisherMailbox] in
                while let timeoutMs = self?.collect() { _ = publisherMailbox.wakeup.wait(timeoutMs: timeoutMs) }
            }
            collector.withLock { $0 = thread }
        } catch {
            throw ProxyStartError(description: "cannot start the publisher: \(error)")
        }
    }

    /// Makes a snapshot the one that requests are routed by. Requests under way keep the one they began with.
    /// - Parameter secrets: what its names of secrets stand for; nil: what it was.
    /// - Returns: the version of the table; it grows by one with each call.
    @discardableResult
    public func publish(_ snapshot: Snapshot, secrets: SecretFiles? = nil) -> UInt64 {
        publishing.withLock { publishing in
            if let secrets { publishing.secrets = secrets }
            let version = publishing.newest.table.version + 1
            let table = RouteTable(
                compiling: snapshot, version: version, numbering: &publishing.numbering, nowNs: Clock.monotonicNs())
            let services = table.services.enumerated().map { index, service in
                (slot: table.service(Int32(index)).statsSlot, name: service.name)
            }
            let counters = registry.update(services)
            publishing.numbering.recycle(publishing.numbering.freedServiceSlots)
            publishing.losses.note(table, since: publishing.newest.table, nowNs: Clock.monotonicNs())
            swap(table, counters, &publishing, presumed: table.presumedHealthy(since: publishing.newest.table))
            sharedPorts.withLock { $0.open(mailboxes, log: log) }
            return version
        }
    }

    /// With `takesOver`: from now on new connections go to the process that took over, if there is one. Those that are
    /// on their way still come here: give them a moment before `drain`.
    public func stepAside() { sharedPorts.withLock { $0.stepAside(count: mailboxes.count) } }

    /// Takes renewed certificates and other secrets into use: the next handshake has them. Connections stay.
    public func update(secrets: SecretFiles) {
        publishing.withLock { publishing in
            guard publishing.secrets != secrets else { return }
            publishing.secrets = secrets
            swap(publishing.newest.table, publishing.newest.counters, &publishing)
        }
    }

    private func swap(
        _ table: RouteTable, _ counters: ServiceCounterTable, _ publishing: inout Publishing,
        presumed: [(identity: UInt64, endpoint: Endpoint)] = []
    ) {
        let (tls, report) = publishing.builder.build(table, publishing.secrets)
        publishing.log.tell(report)
        let publication = Publication(
            table: table, tls: tls, counters: counters, number: publishing.newest.number + 1, presumed: presumed,
            losses: publishing.losses.positions(in: table),
            limits: publishing.limits.limits(for: table, workerCount: mailboxes.count))
        publishing.newest = publication
        state.withLock { state in
            collectRetired(&state, publisherMailbox.takeQuietly())
            if state.table !== table { state.lastPublishNs = Clock.realtimeNs() }
            state.table = table
            state.tls = tls
            state.report = report
            state.pending.append((publication, mailboxes.count + 1))
            // What waits at a port that goes is accepted for the old table, what comes to a new one finds the new one.
            let changes = state.entryPorts.update(to: table, log: log)
            changes.postClosed(to: mailboxes)
            for mailbox in mailboxes { mailbox.post(.publish(publication)) }
            // Behind the workers: what it finds out about a task reaches them behind the table that names it.
            proberMailbox.post(.publish(publication))
            changes.postOpened(to: mailboxes)
            if state.entryPorts.retryAfterMs(nowNs: 0) >= 0 { publisherMailbox.wakeup.ring() }
        }
    }

    /// The certificates in use, and what is wrong with them.
    public var tlsReport: TLSReport { state.withLock { $0.report } }

    /// The alert that a client gets now that asks for TLS under this name; nil: TLS ends here, or is passed on.
    public func refusal(serverName: String) -> String? {
        let (table, tls) = state.withLock { ($0.table, $0.tls) }
        return Array(serverName.utf8).withUnsafeBytes { name -> String? in
            // As a worker decides whose a ClientHello is.
            let host = table.host(name)
            if host >= 0, table.hostRules(host).passthroughPool >= 0 { return nil }
            let options = host < 0 ? 0 : table.hostRules(host).tlsOptions
            guard case .refuse(let alert) = tls.choose(options: options, serverName: Bytes(name), port: nil)
            else { return nil }
            return "\(alert.code)"
        }
    }

    /// The health of tasks, for people.
    public var healthReport: HealthReport { board.report() }

    /// The table in force, for people.
    public var table: RouteTable { state.withLock { $0.table } }

    /// When the table in force was published, nanoseconds since 1970; 0 before the first.
    public var lastPublishNs: UInt64 { state.withLock { $0.lastPublishNs } }

    /// The ports that services ask for, ascending, and why nobody listens at some of them.
    public var entryPorts: [EntryPortReading] { state.withLock { $0.entryPorts.readings } }

    /// Publications that are still alive, the current one included.
    public var livePublicationCount: Int {
        state.withLock { state in
            collectRetired(&state, publisherMailbox.takeQuietly())
            return state.pending.count
        }
    }

    /// Releases retired publications as they come back, and tries ports again that could not be bound.
    /// - Returns: after how many milliseconds to come again without being called, -1 for never; nil: not any more.
    private func collect() -> Int? {
        let retired = publisherMailbox.takeAll()
        // Not before: the bell that was rung for the end is silent now.
        if hasStopped.load(ordering: .acquiring) { return nil }
        let retryMs = state.withLock { state in
            collectRetired(&state, retired)
            state.entryPorts.retry(nowNs: Clock.monotonicNs(), log: log).postOpened(to: mailboxes)
            return state.entryPorts.retryAfterMs(nowNs: Clock.monotonicNs())
        }
        // Certificates expire without anything being published.
        publishing.withLock { $0.log.tellAgain(afterNs: UInt64(Self.expiryLookMs) * 1_000_000) }
        return retryMs < 0 ? Self.expiryLookMs : min(retryMs, Self.expiryLookMs)
    }

    private static let expiryLookMs = 600_000

    /// Takes back what workers no longer use; the last reference goes here, not on a worker.
    private func collectRetired(_ state: inout sending PublisherState, _ messages: [PublisherMessage]) {
        for message in messages {
            switch message {
            case .retired(let publication):
                guard let index = state.pending.firstIndex(where: { $0.publication === publication }) else { continue }
                state.pending[index].workers -= 1
                if state.pending[index].workers == 0 { state.pending.remove(at: index) }
            case .closedPort(let port):
                state.entryPorts.didClose(port)
            }
        }
    }

    /// Stops accepting, lets requests under way finish, and cuts off what is left after `timeoutMs`.
    public func drain(timeoutMs: Int) {
        let deadlineNs = Clock.monotonicNs() + UInt64(max(0, timeoutMs)) * 1_000_000
        sharedPorts.withLock { $0.close() }
        for mailbox in mailboxes { mailbox.post(.drain(deadlineNs: deadlineNs)) }
        state.withLock { $0.entryPorts.isFrozen = true }
    }

    /// Waits until all workers have ended. Call `drain` first.
    public func waitUntilStopped() {
        let threads = workers.withLock { workers in
            let threads = workers
            workers.removeAll()
            return threads
        }
        for thread in threads { thread.join() }
        proberMailbox.post(.stop)
        prober.withLock { prober in
            let thread = prober
            prober = nil
            return thread
        }?.join()
        hasStopped.store(true, ordering: .releasing)
        publisherMailbox.wakeup.ring()
        collector.withLock { collector in
            let thread = collector
            collector = nil
            return thread
        }?.join()
    }
}

/// A worker's thread: the worker is built here, on the thread that will own it.
private func runWorker(_ seed: WorkerSeed) {
    do throws(SystemError) {
        guard let workspace = TLSWorkspace() else {
            seed.shared.log.error("a worker has no memory for TLS", ["worker": .integer(seed.index)])
            return
        }
        var worker = Worker(seed, poller: try Poller(), workspace: workspace)
        try worker.register()
        worker.run()
    } catch {
        seed.shared.log.error(
            "a worker could not start", ["worker": .integer(seed.index), "error": .string("\(error)")])
    }
}
