import Testing

@testable import Docker

@Suite struct PollScheduleTests {
    private let ms: UInt64 = 1_000_000

    /// Plays `seconds` of lists that take `durationMs`; returns the starts of each kind in milliseconds.
    private func play(
        _ schedule: inout PollSchedule, fromMs: Int = 0, seconds: Int, durationMs: Int, isBusy: Bool,
        hasMoved: Bool = false, hintsAtMs: [Int] = []
    ) -> (full: [Int], tasks: [Int]) {
        var nowNs = UInt64(fromMs) * ms
        let endNs = nowNs + UInt64(seconds) * 1000 * ms
        var hints = hintsAtMs.map { UInt64($0) * ms }[...]
        var full: [Int] = []
        var tasks: [Int] = []
        while true {
            let (action, atNs) = schedule.next()
            if let hint = hints.first, hint <= max(nowNs, atNs) {
                hints = hints.dropFirst()
                nowNs = max(nowNs, hint)
                schedule.hint(nowNs: nowNs)
                continue
            }
            nowNs = max(nowNs, atNs)
            guard nowNs < endNs else { return (full, tasks) }
            if action == .full { full.append(Int(nowNs / ms)) } else { tasks.append(Int(nowNs / ms)) }
            schedule.begin(action)
            let startedNs = nowNs
            nowNs += UInt64(durationMs) * ms
            schedule.succeed(
                action, startedNs: startedNs, endedNs: nowNs, isBusy: isBusy, hasMoved: hasMoved, random: 102)
        }
    }

    @Test func quietListsComeEveryInterval() {
        var schedule = PollSchedule(quietMs: 5000, busyMs: 250)
        let (full, tasks) = play(&schedule, seconds: 21, durationMs: 10, isBusy: false)
        #expect(full == [0, 5000, 10000, 15000, 20000])
        #expect(tasks.isEmpty)
    }

    @Test(arguments: [0, 50, 102, 204, 205, 1_000_003] as [UInt64])
    func jitterStaysWithinATenth(random: UInt64) {
        var schedule = PollSchedule(quietMs: 5000, busyMs: 250)
        schedule.succeed(.full, startedNs: 0, endedNs: 0, isBusy: false, hasMoved: false, random: random)
        #expect((4500 * ms...5500 * ms).contains(schedule.next().atNs))
    }

    @Test func busyListsOfTasksComeOften() {
        var schedule = PollSchedule(quietMs: 5000, busyMs: 250)
        let (full, tasks) = play(&schedule, seconds: 4, durationMs: 10, isBusy: true, hasMoved: true)
        #expect(full == [0])
        #expect(tasks.prefix(3) == [250, 500, 750])
        #expect(tasks.count == 15)
    }

    @Test func whatNeverMovesIsWatchedLessOften() {
        var schedule = PollSchedule(quietMs: 5000, busyMs: 250)
        _ = play(&schedule, seconds: 40, durationMs: 10, isBusy: true)
        let (_, tasks) = play(&schedule, fromMs: 40_000, seconds: 10, durationMs: 10, isBusy: true)
        #expect((8...14).contains(tasks.count))
        // A move brings the short interval back.
        schedule.succeed(.full, startedNs: 51_000 * ms, endedNs: 51_000 * ms, isBusy: true, hasMoved: true, random: 0)
        #expect(schedule.next().atNs == 51_250 * ms)
    }

    @Test func slowListsTakeAtMostAQuarterOfTheTime() {
        var schedule = PollSchedule(quietMs: 1000, busyMs: 250)
        let (full, tasks) = play(&schedule, seconds: 100, durationMs: 1000, isBusy: true, hasMoved: true)
        #expect(full.count + tasks.count <= 26)
        #expect(full.count + tasks.count >= 20)
    }

    @Test func aHintActsAtOnce() {
        var schedule = PollSchedule(quietMs: 5000, busyMs: 250)
        let (full, _) = play(&schedule, seconds: 4, durationMs: 10, isBusy: false, hintsAtMs: [1234])
        #expect(full == [0, 1234])
    }

    @Test func aBurstOfHintsIsTwoLists() {
        var schedule = PollSchedule(quietMs: 5000, busyMs: 250)
        let (full, _) = play(
            &schedule, seconds: 4, durationMs: 10, isBusy: false, hintsAtMs: Array(stride(from: 1000, to: 1100, by: 2)))
        #expect(full == [0, 1000, 1200])
    }

    @Test func aFloodOfHintsIsFiveListsASecond() {
        var schedule = PollSchedule(quietMs: 5000, busyMs: 250)
        let (full, _) = play(
            &schedule, seconds: 10, durationMs: 10, isBusy: false, hintsAtMs: Array(stride(from: 0, to: 10_000, by: 1)))
        #expect((45...51).contains(full.count))
    }

    @Test func failuresBackOffAndHintsCutThemShort() {
        var schedule = PollSchedule(quietMs: 5000, busyMs: 250)
        var nowNs: UInt64 = 0
        var waits: [UInt64] = []
        for _ in 0..<8 {
            schedule.begin(.full)
            schedule.fail(startedNs: nowNs, endedNs: nowNs, random: 0)
            let (action, atNs) = schedule.next()
            #expect(action == .full)
            waits.append((atNs - nowNs) / ms)
            nowNs = atNs
        }
        #expect(waits == [125, 250, 500, 1000, 1000, 1000, 1000, 1000])
        schedule.fail(startedNs: nowNs, endedNs: nowNs, random: .max)
        schedule.hint(nowNs: nowNs)
        #expect(schedule.next().atNs == nowNs + 200 * ms)
    }

    @Test func backoffJitterIsBounded() {
        for random in stride(from: UInt64(0), to: 5000, by: 7) {
            var backoff = Backoff(firstMs: 100, limitMs: 1000)
            for full in [100, 200, 400, 800, 1000, 1000] {
                #expect((full / 2...full).contains(backoff.nextMs(random: random)))
            }
            backoff.reset()
            #expect(backoff.nextMs(random: random) <= 100)
        }
    }
}
