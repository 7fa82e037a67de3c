// The history of a controller and the pin that it obeys. The controller's thread tells what is in force; rollback and
// resume come from other threads, write a pin where it belongs (the Swarm, or a file without one), and wait until the
// controller has seen it there. So who asked for it and who only sees it do the same thing.

import Discovery
import Docker
import Glibc
import Kernel
import Model
import Synchronization
import Telemetry

final class PinKeeper: Sendable {
    private let settings: ControllerSettings
    private let log: Log
    private let state: Mutex<State>
    /// One rollback or resume at a time.
    private let acting = Mutex(())

    private struct State {
        var history: History
        /// When history that the file does not have yet is to be saved; nil: the file has it.
        var saveAtNs: UInt64?
        var hasToldSaving = false
        var filePin: Pin?
        var fileProblem: Diagnostic?
        // As of the last look.
        var docker: DockerPlace?
        var inForce: [Pin] = []
        var problems: [Diagnostic] = []
        var heldBack: [String] = []
        /// Ids of the pins by which routes were published.
        var published: [String] = []
    }

    /// What of the engine decides where a pin is kept.
    private struct DockerPlace {
        var isSwarm: Bool
        var nodeID: String
    }

    private static let saveDelayNs: UInt64 = 1_000_000_000
    private static let historySizeLimit = 512 << 20
    private static let pinSizeLimit = 128 << 20
    private static let patienceMs = 5_000

    init(settings: ControllerSettings, log: Log) {
        self.settings = settings
        self.log = log
        state = Mutex(State(history: History(labelPrefix: settings.mapping.labelPrefix)))
        readHistory()
        readPin()
    }

    private var historyFile: StateFile? { settings.stateDirectory.map { StateFile("history", in: $0) } }
    private var pinFile: StateFile? { settings.stateDirectory.map { StateFile("pin", in: $0) } }
    /// nil: all of them.
    private var clusters: [String]? {
        if case .only(let name) = settings.clusters { [name] } else { nil }
    }

    // MARK: Anybody's questions

    var entries: [HistoryEntry] { state.withLock { $0.history.entries } }

    var status: PinStatus? {
        state.withLock { state in
            guard let pin = state.inForce.first else {
                guard let problem = state.problems.first else { return nil }
                var status = PinStatus()
                status.problem = problem.message
                return status
            }
            var status = PinStatus()
            status.number = pin.number
            status.sinceNs = UInt64(clamping: pin.atNs)
            status.controller = pin.controller
            status.cause = pin.cause
            status.heldBack = state.heldBack
            status.problem = state.problems.first?.message ?? ""
            return status
        }
    }

    // MARK: The controller's thread

    /// The pins to obey, the newest first, and what is wrong with others. What the Swarm holds goes before the file.
    func inForce(_ docker: DockerObservation?) -> (pins: [Pin], problems: [Diagnostic]) {
        state.withLock { state in
            state.docker = docker.map {
                DockerPlace(isSwarm: $0.isManager, nodeID: $0.nodeID)
            }
            let problems = (docker?.pinProblems ?? []) + (state.fileProblem.map { [$0] } ?? [])
            let own = (docker?.pins ?? []).filter { $0.configuration.covers(anyOf: clusters) }
            var pins: [Pin] = []
            for pin in own where pins.last.map({ !$0.configuration.coversAll(of: clusters) }) ?? true {
                pins.append(pin)
            }
            if pins.isEmpty, var pin = state.filePin, pin.configuration.covers(anyOf: clusters) {
                // A file is of this machine, whatever became of its engine.
                pin.nodeID = docker?.nodeID ?? ""
                pins = [pin]
            }
            return (pins, problems)
        }
    }

    /// Tells of the pins before anybody is routed by them.
    func obeys(_ pass: MappingPass, problems: [Diagnostic]) {
        let (before, old, new) = state.withLock { state in
            defer { (state.inForce, state.problems, state.heldBack) = (pass.pins, problems, pass.heldBack) }
            for pin in pass.pins { state.history.skip(to: pin.number) }
            return (state.inForce, Set(state.heldBack), pass.heldBack)
        }
        tell(before, pass.pins)
        let fresh = new.filter { !old.contains($0) }
        if !fresh.isEmpty {
            let shown = fresh.prefix(20).joined(separator: ", ")
            let rest = fresh.count > 20 ? " and \(fresh.count - 20) more" : ""
            log.warning("held back by the pinned configuration", ["services": .string(shown + rest)])
        }
    }

    /// Takes what was just published into the history, unless it is an old configuration that is pinned.
    func published(_ pass: MappingPass, isWhole: Bool) {
        state.withLock { $0.published = pass.pins.map(\.id) }
        guard isWhole, pass.pins.isEmpty else { return }
        let entry = state.withLock { state in
            let entry = state.history.take(pass.parts, atNs: Clock.realtimeNs())
            if entry != nil, state.saveAtNs == nil { state.saveAtNs = Clock.monotonicNs() + Self.saveDelayNs }
            return entry
        }
        if let entry {
            log.info("configuration", ["number": .integer(entry.number), "cause": .string(entry.cause)])
        }
    }

    private func tell(_ before: [Pin], _ now: [Pin]) {
        guard before.map(\.id) != now.map(\.id) else { return }
        guard let pin = now.first else {
            return log.info("no configuration is pinned any more: services are routed as they say now")
        }
        log.warning(
            "a configuration is pinned: services are routed as they said then",
            [
                "number": .integer(pin.number), "pinned_by": .string(pin.controller), "pin": .string(pin.id),
                "cause": .string(pin.cause),
            ])
    }

    /// How long the controller may sleep until something must be saved; -1: as long as it likes.
    var waitMs: Int {
        state.withLock { state in
            state.saveAtNs.map { atNs in
                let nowNs = Clock.monotonicNs()
                return nowNs >= atNs ? 0 : Int((atNs - nowNs) / 1_000_000) + 1
            } ?? -1
        }
    }

    /// Saves the history once no more comes for a moment, since each time it is written as a whole.
    func save(now: Bool = false) {
        guard let file = historyFile, now || waitMs == 0 else {
            if historyFile == nil { state.withLock { $0.saveAtNs = nil } }
            return
        }
        let document: HistoryDocument? = state.withLock { state in
            defer { state.saveAtNs = nil }
            return state.saveAtNs == nil ? nil : state.history.document
        }
        guard let document else { return }
        do throws(SystemError) {
            try file.write(document.encode())
            state.withLock { $0.hasToldSaving = false }
        } catch {
            let isNews = state.withLock { state in
                defer { state.hasToldSaving = true }
                // As on a full disk. Only this thread takes history, so nothing has set it meanwhile.
                state.saveAtNs = Clock.monotonicNs() + UInt64(settings.historyRetryMs) * 1_000_000
                return !state.hasToldSaving
            }
            if isNews { log.warning("the history cannot be saved", ["problem": .string(error.description)]) }
        }
    }

    // MARK: Files

    private func readHistory() {
        guard let file = historyFile else { return }
        do {
            guard let bytes = try file.read(limit: Self.historySizeLimit) else { return }
            let document = try HistoryDocument(decoding: bytes)
            state.withLock { $0.history.restore(document) }
        } catch {
            log.warning(
                "the history cannot be read, beginning a new one",
                ["file": .string(file.path), "problem": .string("\(error)")])
        }
    }

    private func readPin() {
        guard let file = pinFile else { return }
        do {
            guard let bytes = try file.read(limit: Self.pinSizeLimit) else { return }
            let pin = try PinDocument.decode(bytes)
            state.withLock { $0.filePin = pin }
        } catch {
            let problem = Diagnostic(
                severity: .warning, service: PinnedLabels.subject, value: file.path,
                message: "the pin in \(file.path) is passed over: \(error)")
            state.withLock { $0.fileProblem = problem }
        }
    }

    // MARK: Rollback and resume

    /// - Parameter look: makes the engine be looked at, and the controller look at what there is.
    func rollback(to number: Int, look: () -> Void) throws(RollbackError) {
        try acting.withLock { (_) throws(RollbackError) in
            let pin = try self.pin(of: number)
            if try place() == .swarm {
                do throws(DockerError) { try dockerPins?.write(pin) } catch { throw Self.failure(error) }
            } else {
                try write(pin)
            }
            look()
            guard waitUntil({ $0.published.contains(pin.id) }) else {
                throw RollbackError(
                    .late,
                    "the pin is written, and nobody is routed by it yet: it is obeyed as soon as it is seen; "
                        + "/api/history tells, and `interlock resume` lets go of it")
            }
        }
    }

    func resume(look: () -> Void) throws(RollbackError) {
        try acting.withLock { (_) throws(RollbackError) in
            var isFound = try removeFile()
            // With the engine away there may be a file all the same.
            if try place(orNone: true, evenUnheard: isFound) == .swarm {
                do throws(DockerError) {
                    if try dockerPins?.remove(for: clusters) == true { isFound = true }
                } catch {
                    throw Self.failure(error)
                }
            }
            guard isFound else { throw RollbackError(.nothingPinned, "no configuration is pinned") }
            look()
            _ = waitUntil { $0.published.isEmpty && $0.problems.isEmpty }
        }
    }

    private enum Place { case swarm, file, none }

    /// Where a pin belongs.
    private func place(orNone: Bool = false, evenUnheard: Bool = false) throws(RollbackError) -> Place {
        let docker = state.withLock { $0.docker }
        if settings.docker != nil, docker == nil, !evenUnheard {
            throw RollbackError(.notReady, "the engine has not answered yet, so what it holds is not known")
        }
        if docker?.isSwarm == true {
            guard settings.mayPin else {
                throw RollbackError(.notAllowed, "this process may not write to Docker: ask a controller that may")
            }
            return .swarm
        }
        if settings.stateDirectory != nil { return .file }
        if orNone { return .none }
        throw RollbackError(
            .noPlace, "there is no Swarm and no state directory to keep the pin in (INTERLOCK_STATE_DIR)")
    }

    private var dockerPins: DockerPins? {
        settings.docker.map { docker in
            var docker = docker
            docker.writes = settings.mayPin ? .pins : []
            return DockerPins(docker)
        }
    }

    private func pin(of number: Int) throws(RollbackError) -> Pin {
        let (services, entry, numbers, nodeID) = state.withLock { state in
            (
                state.history.configuration(number), state.history.entries.first { $0.number == number },
                state.history.numbers, state.docker?.nodeID ?? ""
            )
        }
        guard let services else {
            let known = numbers.map { "\($0)" }.joined(separator: ", ")
            throw RollbackError(
                .unknownNumber,
                "there is no configuration \(number)"
                    + (known.isEmpty ? "; the history is empty" : "; there are \(known)"))
        }
        return Pin(
            id: Self.freshID(), number: number, atNs: Int64(clamping: Clock.realtimeNs()),
            controller: Self.hostName(), cause: entry?.cause ?? "", nodeID: nodeID,
            configuration: PinnedConfiguration(clusters: clusters, services: services))
    }

    private func write(_ pin: Pin) throws(RollbackError) {
        guard let file = pinFile else { return }
        do throws(SystemError) { try file.write(PinDocument.encode(pin)) } catch {
            throw RollbackError(.file, "the pin cannot be written: \(error)")
        }
        state.withLock { state in
            state.filePin = pin
            state.fileProblem = nil
        }
    }

    private func removeFile() throws(RollbackError) -> Bool {
        guard let file = pinFile else { return false }
        let isRemoved: Bool
        do throws(SystemError) { isRemoved = try file.remove() } catch {
            throw RollbackError(.file, "the pin cannot be removed: \(error)")
        }
        return state.withLock { state in
            defer { (state.filePin, state.fileProblem) = (nil, nil) }
            return isRemoved || state.filePin != nil
        }
    }

    private static func failure(_ error: DockerError) -> RollbackError {
        error.kind == .notAllowed
            ? RollbackError(.notAllowed, "\(error)") : RollbackError(.engine, "Docker did not do it: \(error)")
    }

    /// Waits until it is so, for a moment: the pin is written or gone, and whoever sees that late obeys it late.
    /// - Returns: whether it is.
    private func waitUntil(_ isSo: (State) -> Bool) -> Bool {
        let endNs = Clock.monotonicNs() + UInt64(Self.patienceMs) * 1_000_000
        while !state.withLock({ isSo($0) }) {
            guard Clock.monotonicNs() < endNs else { return false }
            Thread.sleep(milliseconds: 10)
        }
        return true
    }

    private static func freshID() -> String {
        let digits = String(Machine.random(), radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }

    private static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
