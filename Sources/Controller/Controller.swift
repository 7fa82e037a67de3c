// From the world to snapshots: joins what the sources deliver (an engine, a services file), maps it for each proxy
// group, and hands out what is new. Sources deliver on their own threads; one thread of the controller's maps and
// publishes, always the newest of each source, so a burst costs one mapping. It never hands out what no source has
// said.

import Discovery
import Docker
import Kernel
import Model
import Synchronization
public import Telemetry

public final class Controller: Sendable {
    private let settings: ControllerSettings
    private let log: Log
    private let publish: @Sendable ([ClusterSnapshot]) -> Void
    private let inbox = Mutex(Inbox())
    private let isStopping = Atomic(false)
    private let held = Mutex(Held())
    private let keeper: PinKeeper

    /// What the sources said last.
    private struct Inbox {
        var docker: DockerObservation?
        var file: ServicesFileObservation?
        /// Groups that were asked for, by name.
        var wanted: Set<String> = []
        /// With managed services.
        var problems: [Diagnostic] = []
        var status = ControllerStatus()
    }

    private struct Held {
        var wakeup: Wakeup?
        var thread: Thread?
        var docker: DockerWatcher?
        var file: ServicesFileWatcher?
        var services: ReconcileLoop?
    }

    /// - Parameter publish: called on the controller's thread with the snapshots that differ from those before, one for
    ///   each proxy group at most.
    public init(
        settings: ControllerSettings, log: Log, publish: @escaping @Sendable ([ClusterSnapshot]) -> Void
    ) {
        self.settings = settings
        self.log = log
        self.publish = publish
        keeper = PinKeeper(settings: settings, log: log)
    }

    /// Starts all sources. The first snapshot follows as soon as any of them has delivered.
    /// - Throws: for a services file that is missing or bad, and for an engine's socket that is missing while nothing
    ///   else provides services.
    public func start() throws(ControllerError) {
        do throws(ControllerError) {
            let wakeup = try Self.system { () throws(SystemError) in try Wakeup() }
            held.withLock { $0.wakeup = wakeup }
            if let path = settings.servicesFile { try startFile(path, wakeup) }
            if let docker = settings.docker { try startDocker(docker, wakeup) }
            if let docker = settings.docker, settings.management != .off { try startManaging(docker) }
            let thread = try Self.system { () throws(SystemError) in
                try Thread.start(name: "controller") { self.run(wakeup) }
            }
            held.withLock { $0.thread = thread }
        } catch {
            stop()
            throw error
        }
    }

    /// Ends all sources and waits for their threads; nothing is published afterwards.
    public func stop() {
        isStopping.store(true, ordering: .releasing)
        let last = held.withLock { held in
            defer { held = Held() }
            return held
        }
        last.docker?.stop()
        last.file?.stop()
        last.services?.stop()
        last.wakeup?.ring()
        last.thread?.join()
    }

    /// Somebody serves that group: it gets a snapshot even if no label names it, now or as soon as a source has
    /// delivered. For a controller of all groups.
    public func want(cluster: String) {
        let isNew = inbox.withLock { $0.wanted.insert(cluster).inserted }
        if isNew { held.withLock { $0.wakeup }?.ring() }
    }

    public var status: ControllerStatus {
        let docker = held.withLock { $0.docker }?.status
        return inbox.withLock { inbox in
            var status = inbox.status
            status.docker = docker
            status.pin = keeper.status
            status.diagnostics += inbox.problems
            return status
        }
    }

    // MARK: History

    /// The configurations that were in force, the newest first.
    public var history: [HistoryEntry] { keeper.entries }

    /// Pins a configuration of the history: services are routed as they said then, by this controller and by all others
    /// of the Swarm. Blocks for some seconds at most, until that is so.
    public func rollback(to number: Int) throws(RollbackError) { try keeper.rollback(to: number, look: look) }

    /// Lets go of what is pinned: services are routed as they say now. Blocks for some seconds at most.
    public func resume() throws(RollbackError) { try keeper.resume(look: look) }

    private func look() {
        let (docker, wakeup) = held.withLock { ($0.docker, $0.wakeup) }
        docker?.look()
        wakeup?.ring()
    }

    // MARK: Sources

    private func startFile(_ path: String, _ wakeup: Wakeup) throws(ControllerError) {
        let watcher = try Self.system { () throws(SystemError) in
            try ServicesFileWatcher(path: path) { [weak self] observation in
                self?.inbox.withLock { $0.file = observation }
                wakeup.ring()
            }
        }
        do throws(ServicesFileError) { try watcher.start() } catch {
            throw ControllerError(description: error.description)
        }
        held.withLock { $0.file = watcher }
    }

    private func startDocker(_ docker: DockerSettings, _ wakeup: Wakeup) throws(ControllerError) {
        if settings.servicesFile == nil, let reason = docker.endpoint.whyHopeless() {
            throw ControllerError(description: reason)
        }
        let log = log
        let watcher = try Self.system { () throws(SystemError) in
            try DockerWatcher(settings: docker) { [weak self] observation in
                self?.inbox.withLock { $0.docker = observation }
                wakeup.ring()
            } note: { note in
                Self.write(note, to: log)
            }
        }
        held.withLock { $0.docker = watcher }
        try Self.system { () throws(SystemError) in try watcher.start() }
    }

    private func startManaging(_ docker: DockerSettings) throws(ControllerError) {
        let log = log
        let loop = try Self.system { () throws(SystemError) in
            try ReconcileLoop(settings: settings, docker: docker) { [weak self] outcome in
                for note in outcome.notes { Self.write(note, to: log) }
                self?.take(problems: outcome.problems)
            }
        }
        held.withLock { $0.services = loop }
        try Self.system { () throws(SystemError) in try loop.start() }
    }

    /// On the thread of managed services.
    private func take(problems: [Diagnostic]) {
        let before = inbox.withLock { inbox in
            defer { inbox.problems = problems }
            return inbox.problems
        }
        for problem in problems where !before.contains(problem) {
            log.warning("managed service", Self.fields(problem))
        }
        for problem in before where !problems.contains(problem) {
            log.info("no longer a problem", Self.fields(problem))
        }
    }

    private static func system<Value>(_ body: () throws(SystemError) -> Value) throws(ControllerError) -> Value {
        do throws(SystemError) { return try body() } catch {
            throw ControllerError(description: "cannot start the controller: \(error)")
        }
    }

    private static func write(_ note: DockerNote, to log: Log) {
        let fields: Log.Fields = note.detail.isEmpty ? [:] : ["detail": .string(note.detail)]
        switch note.level {
        case .info: log.info("docker: " + note.message, fields)
        case .warning: log.warning("docker: " + note.message, fields)
        case .debug: log.debug("docker: " + note.message, fields)
        }
    }

    // MARK: The controller's thread

    private func run(_ wakeup: Wakeup) {
        var pass = MappingPass(settings: settings)
        while !isStopping.load(ordering: .acquiring) {
            let (docker, file, wanted) = inbox.withLock { ($0.docker, $0.file, $0.wanted) }
            if docker != nil || file != nil { take(docker, file, wanted, &pass) }
            keeper.save()
            _ = wakeup.wait(timeoutMs: keeper.waitMs)
        }
        keeper.save(now: true)
    }

    private func take(
        _ docker: DockerObservation?, _ file: ServicesFileObservation?, _ wanted: Set<String>,
        _ pass: inout MappingPass
    ) {
        let startedNs = Clock.monotonicNs()
        let (pins, problems) = keeper.inForce(docker)
        guard
            let outcome = pass.take(
                docker: docker, file: file, wanted: wanted, pins: pins, pinProblems: problems)
        else { return }
        let tookUs = Int((Clock.monotonicNs() &- startedNs) / 1000)
        if let docker, let services = held.withLock({ $0.services }) {
            services.take(ReconcileWorld(docker: docker, file: file, published: pass.secretReferences))
        }
        for diagnostic in outcome.appeared { tell(diagnostic) }
        for diagnostic in outcome.vanished {
            log.info("no longer a problem", Self.fields(diagnostic))
        }
        inbox.withLock { inbox in
            inbox.status.diagnostics = pass.diagnostics
            inbox.status.lastMappingUs = tookUs
            guard let order = outcome.changed.last?.snapshot.order else {
                inbox.status.unchangedCount &+= 1
                return
            }
            inbox.status.publishedCount &+= UInt64(outcome.changed.count)
            inbox.status.order = order
        }
        guard !isStopping.load(ordering: .acquiring) else { return }
        keeper.obeys(pass, problems: problems)
        if !outcome.changed.isEmpty { publish(outcome.changed) }
        // One source alone is no configuration: the other is still being asked.
        keeper.published(pass, isWhole: settings.docker == nil || docker != nil)
    }

    private func tell(_ diagnostic: Diagnostic) {
        switch diagnostic.severity {
        case .warning: log.warning("doubtful service", Self.fields(diagnostic))
        case .error: log.warning("service left out", Self.fields(diagnostic))
        }
    }

    private static func fields(_ diagnostic: Diagnostic) -> Log.Fields {
        [
            "service": .string(diagnostic.service), "label": .string(diagnostic.label),
            "value": .string(diagnostic.value), "problem": .string(diagnostic.message),
        ]
    }
}
