// Watches one engine: a thread that lists, woken by hints and by the clock (`PollSchedule`), and a thread that
// listens to events. Level-triggered: the list is the truth, events only say when to look. A list that fails changes
// nothing; a cluster that is truly empty is handed out as such.

public import Kernel
import Discovery
import Synchronization

public final class DockerWatcher: Sendable {
    private let settings: DockerSettings
    private let deliver: @Sendable (DockerObservation) -> Void
    private let note: @Sendable (DockerNote) -> Void
    private let client: DockerClient
    private let wakeup: Wakeup
    private let isStopping = Atomic(false)
    private let isHinted = Atomic(false)
    private let state = Mutex(State())

    private struct State {
        var status = DockerStatus()
        var lastGoodNs: UInt64?
        var lastEventNs: UInt64 = 0
        var hasToldRefusal = false
        var thread: Thread?
        var events: EventStream?
    }

    /// - Parameters:
    ///   - deliver: called on the watcher's thread for each list that was taken.
    ///   - note: called from the watcher's threads.
    public init(
        settings: DockerSettings, deliver: @escaping @Sendable (DockerObservation) -> Void,
        note: @escaping @Sendable (DockerNote) -> Void
    ) throws(SystemError) {
        self.settings = settings
        self.deliver = deliver
        self.note = note
        client = DockerClient(
            endpoint: settings.endpoint, callTimeoutMs: settings.callTimeoutMs, bodyLimit: settings.answerLimit)
        wakeup = try Wakeup()
    }

    public func start() throws(SystemError) {
        let events = try EventStream(
            endpoint: settings.endpoint, callTimeoutMs: settings.callTimeoutMs, silenceMs: settings.eventSilenceMs
        ) { [weak self] hint in self?.hear(hint) }
        let thread = try Thread.start(name: "docker-watcher") { self.run() }
        state.withLock { state in
            state.thread = thread
            state.events = events
        }
        try events.start()
    }

    /// Ends both threads and waits for them.
    public func stop() {
        isStopping.store(true, ordering: .releasing)
        client.cancel()
        wakeup.ring()
        let (thread, events) = state.withLock { ($0.thread, $0.events) }
        events?.stop()
        thread?.join()
    }

    /// Looks again soon, as after an event.
    public func look() {
        if !isHinted.exchange(true, ordering: .acquiringAndReleasing) { wakeup.ring() }
    }

    public var status: DockerStatus {
        let nowNs = Clock.monotonicNs()
        return state.withLock { state in
            var status = state.status
            status.lastListAgeMs = state.lastGoodNs.map { Int((nowNs &- min($0, nowNs)) / 1_000_000) }
            return status
        }
    }

    // MARK: Events

    private func hear(_ hint: EventHint) {
        state.withLock { state in
            switch hint {
            case .opened:
                state.status.isEventStreamOpen = true
                state.hasToldRefusal = false
            case .closed: state.status.isEventStreamOpen = false
            case .event(_, let delayMs):
                state.status.eventCount &+= 1
                state.lastEventNs = Clock.monotonicNs()
                if let delayMs { state.status.eventLagMs = delayMs }
            }
        }
        if case .closed(let reason, let isRefusal) = hint {
            tellClosed(reason, isRefusal: isRefusal)
            return
        }
        // Only the first of a flood wakes the lister.
        look()
    }

    private func tellClosed(_ reason: String, isRefusal: Bool) {
        guard !reason.isEmpty else { return }
        let isNews = state.withLock { state in
            defer { state.hasToldRefusal = state.hasToldRefusal || isRefusal }
            return isRefusal && !state.hasToldRefusal
        }
        if isNews {
            note(DockerNote(.warning, "the engine refuses to tell events, changes are seen by polling only", reason))
        } else {
            note(DockerNote(.debug, "the event stream ended", reason))
        }
    }

    // MARK: The lister's thread

    private func run() {
        var pass = Pass(
            schedule: PollSchedule(quietMs: settings.pollIntervalMs, busyMs: settings.busyPollIntervalMs),
            lister: DockerLister(
                client: client, labelPrefix: settings.labelPrefix, ownCandidates: OwnContainer.candidates(),
                note: note))
        while !isStopping.load(ordering: .acquiring) {
            let (action, atNs) = pass.schedule.next()
            let nowNs = Clock.monotonicNs()
            if nowNs < atNs {
                let waitMs = Int((atNs - nowNs) / 1_000_000) + 1
                _ = wakeup.wait(timeoutMs: waitMs)
                if isHinted.exchange(false, ordering: .acquiringAndReleasing) {
                    pass.schedule.hint(nowNs: Clock.monotonicNs())
                }
                continue
            }
            list(action, &pass)
        }
        client.disconnect()
    }

    private struct Pass {
        var schedule: PollSchedule
        var lister: DockerLister
        var hasFailed = false
        var isFirst = true
        var nodeChangedAtNs: UInt64?
    }

    private static let nodeUnrestNs: UInt64 = 30_000_000_000

    private func list(_ action: PollSchedule.Action, _ pass: inout Pass) {
        if action == .full, isHinted.exchange(false, ordering: .acquiringAndReleasing) {
            pass.schedule.hint(nowNs: Clock.monotonicNs())
        }
        let before = pass.lister.world
        pass.schedule.begin(action)
        let startedNs = Clock.monotonicNs()
        do throws(ListFailure) {
            switch action {
            case .full: try pass.lister.listAll(nowNs: startedNs)
            case .tasks: try pass.lister.listTasksOnly(nowNs: startedNs)
            }
        } catch {
            fail(error, &pass, startedNs: startedNs)
            return
        }
        let endedNs = Clock.monotonicNs()
        let world = pass.lister.world
        let hasMoved = world.differs(from: before)
        if hasMoved, !pass.isFirst, world.nodes != before.nodes { pass.nodeChangedAtNs = endedNs }
        let isNodeUnrest = pass.nodeChangedAtNs.map { endedNs &- $0 < Self.nodeUnrestNs } ?? false
        let isBusy =
            isNodeUnrest
            || TaskMotion.isUnderWay(
                services: world.services, tasks: world.tasks.map(\.task), nodes: world.nodes)
        pass.schedule.succeed(
            action, startedNs: startedNs, endedNs: endedNs, isBusy: isBusy, hasMoved: hasMoved,
            random: Machine.random())
        if action == .tasks, hasMoved, pass.lister.hasUnknownServices { pass.schedule.hint(nowNs: endedNs) }
        // Counts of tasks change in a service without an event; its version never does.
        let haveServicesChanged = !pass.isFirst && Self.versions(world.services) != Self.versions(before.services)
        noteUnannounced(action, haveServicesChanged, startedNs)
        record(action, pass.lister, startedNs: startedNs, endedNs: endedNs)
        if pass.hasFailed { note(DockerNote(.info, "the engine answers again")) }
        pass.hasFailed = false
        if hasMoved || pass.isFirst { deliver(pass.lister.observation()) }
        pass.isFirst = false
    }

    private static func versions(_ services: [SwarmService]) -> [String: UInt64] {
        Dictionary(services.map { ($0.id, $0.version) }) { first, _ in first }
    }

    /// Everything stays as it was.
    private func fail(_ failure: ListFailure, _ pass: inout Pass, startedNs: UInt64) {
        guard !isStopping.load(ordering: .acquiring) else { return }
        pass.schedule.fail(startedNs: startedNs, endedNs: Clock.monotonicNs(), random: Machine.random())
        pass.lister.forgetInfo()
        var isStale = false
        if case .stale = failure { isStale = true }
        state.withLock { state in
            state.status.failedListCount &+= 1
            if isStale { state.status.staleListCount &+= 1 }
            state.status.isConnected = false
            state.status.lastFailure = failure.description
        }
        note(DockerNote(.warning, "listing failed, keeping what is known", failure.description))
        pass.hasFailed = true
    }

    private func record(
        _ action: PollSchedule.Action, _ lister: DockerLister, startedNs: UInt64, endedNs: UInt64
    ) {
        var counts: [TaskState: Int] = [:]
        for listed in lister.world.tasks { counts[listed.task.state, default: 0] += 1 }
        state.withLock { state in
            state.lastGoodNs = startedNs
            state.status.isConnected = true
            state.status.isManager = lister.isManager
            state.status.apiVersion = lister.apiVersion
            state.status.serverVersion = lister.info.serverVersion
            state.status.clusterID = lister.info.clusterID
            state.status.highestVersion = lister.versions.highest
            state.status.lastListDurationMs = Int((endedNs &- startedNs) / 1_000_000)
            state.status.taskCounts = counts
            state.status.lastFailure = ""
            if action == .full { state.status.fullListCount &+= 1 } else { state.status.taskListCount &+= 1 }
        }
    }

    /// A poll found services changed and no event had said so: the stream is silent though it is open. Open it anew.
    private func noteUnannounced(_ action: PollSchedule.Action, _ hasChanged: Bool, _ startedNs: UInt64) {
        guard action == .full, hasChanged else { return }
        let events: EventStream? = state.withLock { state in
            let silentNs = startedNs &- min(state.lastEventNs, startedNs)
            guard state.status.isEventStreamOpen, silentNs > 2_000_000_000 else { return nil }
            // Heard while the list was under way: late, not lost.
            guard state.lastEventNs < startedNs else { return nil }
            state.status.unannouncedChangeCount &+= 1
            return state.events
        }
        events?.reopen()
    }
}
