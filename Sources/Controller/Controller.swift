// From the world to snapshots: joins what the sources deliver (an engine, a services file), maps it, and hands out
// what is new. Sources deliver on their own threads; one thread of the controller's maps and publishes, always the
// newest of each source, so a burst costs one mapping. It never hands out what no source has said.

import Discovery
import Docker
import Kernel
public import Model
import Synchronization
public import Telemetry

public final class Controller: Sendable {
    private let settings: ControllerSettings
    private let log: Log
    private let publish: @Sendable (Snapshot) -> Void
    private let inbox = Mutex(Inbox())
    private let isStopping = Atomic(false)
    private let held = Mutex(Held())

    /// What the sources said last.
    private struct Inbox {
        var docker: DockerObservation?
        var file: ServicesFileObservation?
        var status = ControllerStatus()
    }

    private struct Held {
        var wakeup: Wakeup?
        var thread: Thread?
        var docker: DockerWatcher?
        var file: ServicesFileWatcher?
    }

    /// - Parameter publish: called on the controller's thread with each snapshot that differs from the one before.
    public init(
        settings: ControllerSettings, log: Log, publish: @escaping @Sendable (Snapshot) -> Void
    ) {
        self.settings = settings
        self.log = log
        self.publish = publish
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
        last.wakeup?.ring()
        last.thread?.join()
    }

    public var status: ControllerStatus {
        let docker = held.withLock { $0.docker }?.status
        return inbox.withLock { inbox in
            var status = inbox.status
            status.docker = docker
            return status
        }
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
        var pass = MappingPass(mapping: settings.mapping)
        while !isStopping.load(ordering: .acquiring) {
            let (docker, file) = inbox.withLock { ($0.docker, $0.file) }
            if docker != nil || file != nil { take(docker, file, &pass) }
            _ = wakeup.wait(timeoutMs: -1)
        }
    }

    private func take(
        _ docker: DockerObservation?, _ file: ServicesFileObservation?, _ pass: inout MappingPass
    ) {
        let startedNs = Clock.monotonicNs()
        guard let outcome = pass.take(docker: docker, file: file) else { return }
        let tookUs = Int((Clock.monotonicNs() &- startedNs) / 1000)
        for diagnostic in outcome.appeared { tell(diagnostic) }
        for diagnostic in outcome.vanished {
            log.info("no longer a problem", Self.fields(diagnostic))
        }
        inbox.withLock { inbox in
            inbox.status.diagnostics = pass.diagnostics
            inbox.status.lastMappingUs = tookUs
            guard let snapshot = outcome.snapshot else {
                inbox.status.unchangedCount &+= 1
                return
            }
            inbox.status.publishedCount &+= 1
            inbox.status.order = snapshot.order
        }
        guard let snapshot = outcome.snapshot, !isStopping.load(ordering: .acquiring) else { return }
        publish(snapshot)
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
