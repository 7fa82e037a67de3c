// The wheel against a virtual clock: never early, at most a tick late, and the same as a plain list of deadlines.

@testable import Proxy
import Support
import Testing

private let tickNs = TimerWheel.tickNs
private let horizonNs = tickNs * 4095

/// What comes up at `nowNs`, in the wheel's order.
private func popAll(_ wheel: inout TimerWheel, _ nowNs: UInt64) -> [Int] {
    var popped: [Int] = []
    while let id = wheel.popExpired(nowNs: nowNs) { popped.append(id) }
    return popped
}

@Suite struct TimerWheelTests {
    @Test(arguments: [1, 1_000_000, 15_999_999, 16_000_000, 16_000_001, 5_000_000_000, 60_000_000_000] as [UInt64])
    func comesUpAfterItsDeadlineAndWithinATick(afterNs: UInt64) {
        for startNs in [0, 7, tickNs, tickNs * 4095 + 3, 123_456_789_012_345] as [UInt64] {
            var wheel = TimerWheel(nowNs: startNs)
            let deadlineNs = startNs + afterNs
            wheel.schedule(3, atNs: deadlineNs)
            #expect(popAll(&wheel, startNs).isEmpty)
            #expect(popAll(&wheel, deadlineNs - 1).isEmpty, "start \(startNs), after \(afterNs)")
            #expect(popAll(&wheel, deadlineNs + tickNs) == [3], "start \(startNs), after \(afterNs)")
            #expect(popAll(&wheel, deadlineNs + 10 * tickNs).isEmpty)
        }
    }

    @Test func aDeadlineInThePastComesUpAtTheNextTick() {
        var wheel = TimerWheel(nowNs: 100 * tickNs)
        wheel.schedule(0, atNs: 1)
        #expect(popAll(&wheel, 100 * tickNs).isEmpty)
        #expect(popAll(&wheel, 101 * tickNs) == [0])
    }

    @Test func aLaterDeadlineLeavesTheTimerWhereItIs() {
        var wheel = TimerWheel(nowNs: 0)
        wheel.schedule(0, atNs: 10 * tickNs)
        wheel.schedule(0, atNs: 1000 * tickNs)
        // It comes up at its old place; its owner knows the new deadline and puts it back.
        #expect(popAll(&wheel, 11 * tickNs) == [0])
        wheel.schedule(0, atNs: 1000 * tickNs)
        #expect(popAll(&wheel, 1000 * tickNs).isEmpty)
        #expect(popAll(&wheel, 1001 * tickNs) == [0])
    }

    @Test func anEarlierDeadlineMovesTheTimer() {
        var wheel = TimerWheel(nowNs: 0)
        wheel.schedule(0, atNs: 1000 * tickNs)
        wheel.schedule(0, atNs: 10 * tickNs)
        #expect(popAll(&wheel, 11 * tickNs) == [0])
        #expect(popAll(&wheel, 2000 * tickNs).isEmpty)
        #expect(wheel.timeoutMs(nowNs: 2000 * tickNs) == -1)
    }

    @Test(arguments: [horizonNs, horizonNs + tickNs, horizonNs * 100, .max] as [UInt64])
    func whatLiesBehindTheHorizonComesUpAtIt(deadlineNs: UInt64) {
        var wheel = TimerWheel(nowNs: 0)
        wheel.schedule(0, atNs: deadlineNs)
        #expect(popAll(&wheel, horizonNs - 1).isEmpty)
        #expect(popAll(&wheel, horizonNs) == [0])
    }

    @Test func aCancelledTimerDoesNotComeUp() {
        var wheel = TimerWheel(nowNs: 0)
        // Three in one bucket: the first, the middle and the last of its list.
        for victim in 0..<3 {
            let startNs = UInt64(victim) * 100 * tickNs
            for id in 0..<3 { wheel.schedule(id, atNs: startNs + 5 * tickNs) }
            wheel.cancel(victim)
            wheel.cancel(victim)
            let popped = popAll(&wheel, startNs + 6 * tickNs)
            #expect(Set(popped) == Set(0..<3).subtracting([victim]))
        }
        wheel.cancel(77)
        #expect(wheel.timeoutMs(nowNs: 0) == -1)
    }

    @Test func anHourWithoutTurningIsCaughtUp() {
        var wheel = TimerWheel(nowNs: 0)
        for id in 0..<100 { wheel.schedule(id, atNs: UInt64(id) * 500_000_000) }
        #expect(Set(popAll(&wheel, 3_600_000_000_000)) == Set(0..<100))
        wheel.schedule(5, atNs: 3_600_000_000_000 + 3 * tickNs)
        #expect(popAll(&wheel, 3_600_000_000_000 + 4 * tickNs) == [5])
    }

    @Test func theTimeoutIsNeverTooLong() {
        var wheel = TimerWheel(nowNs: 0)
        #expect(wheel.timeoutMs(nowNs: 0) == -1)
        wheel.schedule(0, atNs: 10 * tickNs)
        // It comes up at tick 11: 176 ms.
        #expect((176...177).contains(wheel.timeoutMs(nowNs: 0)))
        #expect((76...77).contains(wheel.timeoutMs(nowNs: 100_000_000)))
        #expect(wheel.timeoutMs(nowNs: 200_000_000) == 1)
    }

    /// An owner as the worker is one: it keeps the true deadlines, and puts back what came up before its time.
    @Test(arguments: 0..<24 as Range<UInt64>)
    func agreesWithAPlainList(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var nowNs = random.next() % 1_000_000_000_000
        var wheel = TimerWheel(nowNs: nowNs)
        var deadlines: [Int: UInt64] = [:]
        var expiredCount = 0
        for _ in 0..<1500 {
            for _ in 0..<random.number(0...4) {
                let id = random.number(0...199)
                if random.oneIn(6) {
                    wheel.cancel(id)
                    deadlines[id] = nil
                } else {
                    let spreadNs = random.choice([20, 1000, 70_000, 200_000]) * 1_000_000
                    let deadlineNs = nowNs + UInt64(random.number(0...spreadNs))
                    deadlines[id] = deadlineNs
                    wheel.schedule(id, atNs: deadlineNs)
                }
            }
            let timeoutMs = wheel.timeoutMs(nowNs: nowNs)
            #expect((timeoutMs < 0) == deadlines.isEmpty || timeoutMs >= 1, "seed \(seed)")
            switch random.number(0...3) {
            case 0: nowNs += UInt64(random.number(0...2_000_000))
            case 1: nowNs += UInt64(random.number(0...80_000_000))
            case 2 where timeoutMs > 0: nowNs += UInt64(timeoutMs) * 1_000_000
            default: nowNs += UInt64(random.number(0...3_000)) * 1_000_000
            }
            while let id = wheel.popExpired(nowNs: nowNs) {
                guard let deadlineNs = deadlines[id] else {
                    Issue.record("seed \(seed): timer \(id) was cancelled and came up")
                    continue
                }
                if deadlineNs <= nowNs {
                    deadlines[id] = nil
                    expiredCount += 1
                } else {
                    wheel.schedule(id, atNs: deadlineNs)
                }
            }
            let overdue = deadlines.filter { $0.value + tickNs <= nowNs }
            #expect(overdue.isEmpty, "seed \(seed): \(overdue) at \(nowNs)")
        }
        #expect(expiredCount > 100, "seed \(seed)")
    }

    /// A timer that is set once comes up neither early nor twice, and the loop that sleeps as it is told misses none.
    @Test(arguments: 0..<8 as Range<UInt64>)
    func aLoopThatSleepsAsToldIsOnTime(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let startNs = random.next() % 1_000_000_000_000
        var nowNs = startNs
        var wheel = TimerWheel(nowNs: nowNs)
        var deadlines: [Int: UInt64] = [:]
        for id in 0..<500 {
            let deadlineNs = nowNs + UInt64(random.number(0...60_000)) * 1_000_000
            deadlines[id] = deadlineNs
            wheel.schedule(id, atNs: deadlineNs)
        }
        var rounds = 0
        while !deadlines.isEmpty, rounds < 20_000 {
            rounds += 1
            let timeoutMs = wheel.timeoutMs(nowNs: nowNs)
            guard timeoutMs > 0 else { break }
            nowNs += UInt64(timeoutMs) * 1_000_000
            while let id = wheel.popExpired(nowNs: nowNs) {
                guard let deadlineNs = deadlines.removeValue(forKey: id) else {
                    Issue.record("seed \(seed): timer \(id) came up twice")
                    continue
                }
                #expect(nowNs >= deadlineNs, "seed \(seed): early")
                #expect(nowNs <= deadlineNs + 2 * tickNs, "seed \(seed): late")
            }
        }
        #expect(deadlines.isEmpty, "seed \(seed): the loop would sleep for ever")
        // Sleeping is not spinning: one round a timer at most.
        #expect(rounds <= 501, "seed \(seed): \(rounds) rounds")
    }
}
