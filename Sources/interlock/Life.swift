// Where the process stands between start and end, as health pages tell it.

import Admin
import Synchronization

final class Life: Sendable {
    private let phase = Atomic<Int>(0)
    private let wasReady = Atomic<Bool>(false)
    private let stopped = Atomic<Bool>(false)
    private let onReady = Mutex<(@Sendable () -> Void)?>(nil)

    private static let starting = 0
    private static let ready = 1
    private static let draining = 2

    /// Routes are served for the first time; later calls change nothing.
    func becameReady() {
        wasReady.store(true, ordering: .relaxed)
        _ = phase.compareExchange(expected: Self.starting, desired: Self.ready, ordering: .acquiringAndReleasing)
        let action = onReady.withLock { action in
            defer { action = nil }
            return action
        }
        action?()
    }

    /// Calls `action` when it becomes ready for the first time, on the thread that says so. To be set before that.
    func whenReady(_ action: @escaping @Sendable () -> Void) { onReady.withLock { $0 = action } }

    func isDraining() { phase.store(Self.draining, ordering: .releasing) }

    func isStopped() { stopped.store(true, ordering: .releasing) }
    var hasStopped: Bool { stopped.load(ordering: .acquiring) }

    var reading: HealthReading {
        let phase: HealthReading.Phase =
            switch phase.load(ordering: .acquiring) {
            case Self.starting: .starting
            case Self.ready: .ready
            default: .draining
            }
        return HealthReading(phase: phase, wasReady: wasReady.load(ordering: .relaxed))
    }
}
