// When to list next. Pure: the time is handed in, so a test can play hours in a millisecond.
//
//   something happened (a hint)     full list at once, then at most 5 a second and no more than half of the time
//   tasks are on the move           tasks alone every `busyMs`; every 750 ms when nothing moved for 30 s
//                                   (a task that waits for a free port may wait for weeks)
//   all quiet                       full list every `quietMs`, with jitter
//   the last list failed            full list after the back-off
//
// Polls take at most a quarter of the time: the next begins no sooner than four times the last one's duration after
// it began. All times are nanoseconds of one monotonic clock.

struct PollSchedule: Sendable {
    enum Action: Hashable, Sendable {
        case full
        case tasks
    }

    private static let fullSpacingNs: UInt64 = 200_000_000
    private static let calmAfterNs: UInt64 = 30_000_000_000
    private static let calmNs: UInt64 = 750_000_000

    private let quietNs: UInt64
    private let busyNs: UInt64
    private var hintedAtNs: UInt64?
    private var retryAtNs: UInt64?
    private var lastFull: Listed?
    private var lastList: Listed?
    private var isBusy = false
    private var movedAtNs: UInt64 = 0
    private var backoff: Backoff
    // 1/1024 of the quiet interval that this round is shortened or lengthened by, -102 to 102.
    private var jitter: Int64 = 0

    private struct Listed {
        var startedNs: UInt64
        var durationNs: UInt64

        /// The start of the next list, `interval` later but with `factor` times the duration in between.
        func next(_ intervalNs: UInt64, factor: UInt64) -> UInt64 {
            startedNs &+ max(intervalNs, durationNs &* factor)
        }
    }

    init(quietMs: Int, busyMs: Int) {
        quietNs = UInt64(max(1, quietMs)) &* 1_000_000
        busyNs = UInt64(max(1, busyMs)) &* 1_000_000
        backoff = Backoff(firstMs: min(250, max(1, quietMs)), limitMs: 2_000)
    }

    /// Something happened that calls for a full list.
    mutating func hint(nowNs: UInt64) {
        if hintedAtNs == nil { hintedAtNs = nowNs }
    }

    /// A list begins: hints up to now are served by a full one.
    mutating func begin(_ action: Action) {
        if action == .full { hintedAtNs = nil }
    }

    /// A list succeeded.
    /// - Parameters:
    ///   - isBusy: tasks are on the move.
    ///   - hasMoved: it differs from the one before.
    ///   - random: for the jitter.
    mutating func succeed(
        _ action: Action, startedNs: UInt64, endedNs: UInt64, isBusy: Bool, hasMoved: Bool, random: UInt64
    ) {
        let listed = Listed(startedNs: startedNs, durationNs: endedNs &- startedNs)
        lastList = listed
        if action == .full { lastFull = listed }
        retryAtNs = nil
        backoff.reset()
        if hasMoved || (isBusy && !self.isBusy) { movedAtNs = endedNs }
        self.isBusy = isBusy
        jitter = Int64(random % 205) - 102
    }

    /// A list failed: what was is kept, and a full list comes after the back-off.
    mutating func fail(startedNs: UInt64, endedNs: UInt64, random: UInt64) {
        lastList = Listed(startedNs: startedNs, durationNs: 0)
        retryAtNs = endedNs &+ UInt64(backoff.nextMs(random: random)) &* 1_000_000
    }

    /// What comes next, and when; a time that has passed means now.
    func next() -> (action: Action, atNs: UInt64) {
        if let retryAtNs {
            guard let hintedAtNs, let lastList else { return (.full, retryAtNs) }
            return (.full, min(retryAtNs, max(hintedAtNs, lastList.next(Self.fullSpacingNs, factor: 2))))
        }
        guard let lastFull, let lastList else { return (.full, 0) }
        let jitterNs = Int64(quietNs / 1024) &* jitter
        var best = (Action.full, lastFull.next(UInt64(Int64(quietNs) &+ jitterNs), factor: 4))
        if let hintedAtNs {
            best.1 = min(best.1, max(hintedAtNs, lastFull.next(Self.fullSpacingNs, factor: 2)))
        }
        if isBusy {
            let isCalm = lastList.startedNs &- min(movedAtNs, lastList.startedNs) > Self.calmAfterNs
            let tasksAtNs = lastList.next(isCalm ? max(busyNs, Self.calmNs) : busyNs, factor: 4)
            if tasksAtNs < best.1 { best = (.tasks, tasksAtNs) }
        }
        return best
    }
}
