// The thread on which managed services are brought to what labels need: beside the watcher, so that a slow update
// delays no route. It is woken by new looks at the world, and looks by itself as often as the reconciler asks.

import Docker
import Kernel
import Model
import Synchronization

final class ReconcileLoop: Sendable {
    private let settings: ControllerSettings
    private let calls: ServiceCalls
    private let wakeup: Wakeup
    private let tell: @Sendable (Reconciler.Outcome) -> Void
    private let isStopping = Atomic(false)
    private let inbox = Mutex(Inbox())

    private struct Inbox {
        /// nil: it was taken, and nothing new came.
        var world: ReconcileWorld?
        var thread: Thread?
    }

    /// However often the world changes.
    private static let spacingNs: UInt64 = 1_000_000_000

    /// - Parameter tell: called on the loop's thread after each look.
    init(
        settings: ControllerSettings, docker: DockerSettings, tell: @escaping @Sendable (Reconciler.Outcome) -> Void
    ) throws(SystemError) {
        self.settings = settings
        self.tell = tell
        calls = ServiceCalls(settings: docker, mayUpdate: true)
        wakeup = try Wakeup()
    }

    func start() throws(SystemError) {
        let thread = try Thread.start(name: "services") { self.run() }
        inbox.withLock { $0.thread = thread }
    }

    func take(_ world: ReconcileWorld) {
        inbox.withLock { $0.world = world }
        wakeup.ring()
    }

    /// Ends the thread and waits for it.
    func stop() {
        isStopping.store(true, ordering: .releasing)
        calls.cancel()
        wakeup.ring()
        inbox.withLock { $0.thread }?.join()
    }

    private func run() {
        var reconciler = Reconciler(settings: settings)
        var places = ProxyPlaces(settings)
        var needs: ReconcileNeeds?
        var nextNs = UInt64.max
        var earliestNs: UInt64 = 0
        while !isStopping.load(ordering: .acquiring) {
            let nowNs = Clock.monotonicNs()
            let isNew = inbox.withLock { $0.world != nil }
            let dueNs = isNew ? earliestNs : max(nextNs, earliestNs)
            if dueNs > nowNs {
                let waitMs = dueNs == .max ? -1 : Int(min((dueNs - nowNs) / 1_000_000 + 1, 60_000))
                _ = wakeup.wait(timeoutMs: waitMs)
                continue
            }
            let world = inbox.withLock { inbox in
                defer { inbox.world = nil }
                return inbox.world
            }
            if let world { needs = ReconcileNeeds(of: world, settings: settings, places: &places) }
            guard let needs else { continue }
            let outcome = reconciler.step(needs, calls, nowNs: nowNs, random: Machine.random)
            nextNs = outcome.nextNs
            earliestNs = Clock.monotonicNs() &+ Self.spacingNs
            if !isStopping.load(ordering: .acquiring) { tell(outcome) }
        }
        calls.disconnect()
    }
}
