// Hands snapshots on to something that is not ours: one at a time, the newest always, in an orderly pace. Whoever
// brings a snapshot never waits. What fails is told and tried again, and what was good stays in force meanwhile.

internal import Kernel
public import Model
internal import Synchronization
public import Telemetry

/// The runner cannot be started.
public struct ExtensionError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
}

public final class ExtensionRunner: Sendable {
    private struct Content {
        var snapshot: Snapshot
        var secrets: SecretFiles

        /// Whether their documents differ in their orders at most.
        func saysTheSame(as other: Content) -> Bool {
            snapshot.hasSameContent(as: other.snapshot) && snapshot.diagnostics == other.snapshot.diagnostics
                && secrets.hasSameNames(as: other.secrets)
        }
    }

    private struct State {
        var pending: Content?
        var isStopping = false
        var status: ExtensionStatus
    }

    private let settings: ExtensionSettings
    private let log: Log
    private let state: Mutex<State>
    private let wakeup: Wakeup
    private let thread = Mutex<Thread?>(nil)

    public init(settings: ExtensionSettings, log: Log) throws(ExtensionError) {
        self.settings = settings
        self.log = log
        let name: String
        switch settings.work {
        case .configure(let target, _, _): name = target.name
        case .run(let command):
            guard let program = command.first, !program.isEmpty else {
                throw ExtensionError(description: "there is no command to run")
            }
            name = program
        }
        state = Mutex(State(status: ExtensionStatus(name: name)))
        do throws(SystemError) { wakeup = try Wakeup() } catch {
            throw ExtensionError(description: "cannot start: \(error)")
        }
    }

    public func start() throws(ExtensionError) {
        do throws(SystemError) {
            let started = try Thread.start(name: "extension") { self.run() }
            thread.withLock { $0 = started }
        } catch {
            throw ExtensionError(description: "cannot start: \(error)")
        }
    }

    /// Takes a snapshot; the one before it is forgotten if it was not begun yet. On any thread, at once.
    public func apply(_ snapshot: Snapshot, secrets: SecretFiles) {
        state.withLock { $0.pending = Content(snapshot: snapshot, secrets: secrets) }
        wakeup.ring()
    }

    public var status: ExtensionStatus { state.withLock { $0.status } }

    /// Ends a command that runs, and the thread.
    public func stop() {
        state.withLock { $0.isStopping = true }
        wakeup.ring()
        thread.withLock { $0 }?.join()
    }

    // MARK: The runner's thread

    /// The thread's own: what is to be done, and when it may be.
    private struct Pace {
        var held: Content?
        /// No reload before.
        var earliestNs: UInt64 = 0
        /// What is held failed: it is tried again then.
        var retryNs = UInt64.max
        var retryMs = 0
        /// What the newest successful run was given.
        var done: Content?
    }

    private func run() {
        var pace = Pace()
        var writer: ConfigurationWriter?
        if case .configure(let target, let settings, let reading) = settings.work {
            writer = ConfigurationWriter(target, settings, reading)
        }
        while !state.withLock({ $0.isStopping }) {
            let nowNs = Clock.monotonicNs()
            let hasNews = state.withLock { $0.pending != nil }
            let dueNs = min(hasNews ? pace.earliestNs : .max, max(pace.retryNs, pace.earliestNs))
            guard dueNs <= nowNs else {
                let waitMs = dueNs == .max ? 3_600_000 : Int((dueNs - nowNs) / 1_000_000) + 1
                _ = wakeup.wait(timeoutMs: waitMs)
                continue
            }
            if let news = state.withLock({ $0.pending.take() }) {
                pace.held = news
                pace.retryMs = 0
            }
            pace.retryNs = .max
            step(&pace, &writer)
        }
    }

    private func step(_ pace: inout Pace, _ writer: inout ConfigurationWriter?) {
        guard let content = pace.held else { return }
        let startedNs = Clock.monotonicNs()
        do throws(ExtensionFailure) {
            if try perform(content, &pace, &writer) {
                pace.earliestNs = startedNs &+ UInt64(settings.intervalMs) * 1_000_000
                state.withLock { $0.status.appliedCount += 1 }
            }
            pace.held = nil
            note(success: content.snapshot.order, writer)
        } catch {
            pace.earliestNs = startedNs &+ UInt64(settings.intervalMs) * 1_000_000
            pace.retryMs = min(max(settings.firstRetryMs, pace.retryMs * 2), settings.longestRetryMs)
            pace.retryNs = Clock.monotonicNs() &+ UInt64(pace.retryMs) * 1_000_000
            guard !state.withLock({ $0.isStopping }) else { return }
            note(failure: error, writer, retryMs: pace.retryMs)
        }
    }

    /// - Returns: whether a command had its effect.
    private func perform(
        _ content: Content, _ pace: inout Pace, _ writer: inout ConfigurationWriter?
    ) throws(ExtensionFailure) -> Bool {
        if writer != nil {
            let reloaded = try writer?.apply(content.snapshot, content.secrets) {
                command, step throws(ExtensionFailure) in try self.run(command, step, input: [])
            }
            if reloaded == true { state.withLock { $0.status.reloadCount += 1 } }
            return reloaded == true
        }
        guard case .run(let command) = settings.work else { return false }
        if let done = pace.done, content.saysTheSame(as: done) { return false }
        let document = SnapshotDocument.json(snapshot: content.snapshot, secrets: content.secrets)
        try run(command, .run, input: document)
        pace.done = content
        return true
    }

    private func run(
        _ command: [String], _ step: ExtensionStatus.Failure.Step, input: [UInt8]
    ) throws(ExtensionFailure) {
        // Nothing to check or reload by: the operator's choice.
        guard !command.isEmpty else { return }
        state.withLock { $0.status.commandCount += 1 }
        let report: ChildProcess.Report
        do throws(SystemError) {
            report = try ChildProcess.run(
                command, input: input, timeoutMs: settings.commandTimeoutMs,
                isCancelled: { state.withLock { $0.isStopping } })
        } catch {
            throw ExtensionFailure(step: step, text: error.description)
        }
        guard !report.isSuccess else {
            log.debug("command done", ["step": .string(step.rawValue), "command": .string(command[0])])
            return
        }
        let output = String(decoding: report.output.suffix(2_000), as: UTF8.self)
        throw ExtensionFailure(step: step, text: "\(command[0]) \(describe(report.ending)): \(output)")
    }

    private func describe(_ ending: ChildProcess.Ending) -> String {
        switch ending {
        case .exited(let status): "ended with status \(status)"
        case .signalled(let number): "was ended by signal \(number)"
        case .timedOut: "took longer than \(settings.commandTimeoutMs) ms and was ended"
        case .cancelled: "was ended"
        }
    }

    // MARK: What became of it

    private func note(success order: SnapshotOrder, _ writer: ConfigurationWriter?) {
        let (wasFailing, news) = state.withLock { state in
            let before = (state.status.isFailing, Set(state.status.diagnostics))
            state.status.isFailing = false
            state.status.lastSuccess = .init(atNs: Clock.realtimeNs(), order: order)
            if let writer {
                state.status.files = writer.names
                state.status.diagnostics = writer.diagnostics
            }
            return (before.0, state.status.diagnostics.filter { !before.1.contains($0) })
        }
        if wasFailing { log.info("extension works again") }
        for finding in news { tell(finding) }
    }

    private func note(failure: ExtensionFailure, _ writer: ConfigurationWriter?, retryMs: Int) {
        state.withLock { state in
            state.status.isFailing = true
            state.status.failureCount += 1
            state.status.lastFailure = .init(
                atNs: Clock.realtimeNs(), step: failure.step, text: String(failure.text.prefix(2_200)))
            if let writer { state.status.diagnostics = writer.diagnostics }
        }
        log.error(
            "extension failed; what was in force stays",
            [
                "step": .string(failure.step.rawValue), "problem": .string(failure.text),
                "retry_ms": .integer(retryMs),
            ])
    }

    private func tell(_ finding: Diagnostic) {
        let fields: Log.Fields = [
            "service": .string(finding.service), "label": .string(finding.label), "value": .string(finding.value),
            "problem": .string(finding.message),
        ]
        switch finding.severity {
        case .error: log.error("service not expressed", fields)
        case .warning: log.warning("service expressed otherwise", fields)
        }
    }
}
