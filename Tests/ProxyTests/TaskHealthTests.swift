// The judgements of tasks as state machines, step by step: no socket, no clock.

@testable import Proxy
import Testing

private let secondNs: UInt64 = 1_000_000_000

@Suite struct TaskHealthTests {
    /// Each step is a result, a second apart, and the health after it: + success, - failure; U, H, D.
    @Test(arguments: [
        // A new task waits for its first success, and one is enough.
        (false, 2, 3, "+H+H"), (false, 5, 3, "-U-U+H"),
        // It fails if it never comes, and one success still is enough.
        (false, 2, 3, "-U-U-D+H"), (false, 3, 1, "-D+H"),
        // `fall` in a row, `rise` in a row.
        (false, 2, 3, "+H-H-H+H-H-H-D+D-D+D+H"), (false, 1, 1, "+H-D+H-D"), (false, 3, 2, "+H-H-D+D+D-D+D+D+H"),
        // Who is only presumed to be well fails at once, and needs `rise`.
        (true, 2, 3, "-D+D+H"), (true, 2, 3, "+H-H-H-D"),
    ])
    func probes(isPresumed: Bool, rise: Int, fall: Int, steps: String) {
        var record = HealthRecord(isPresumed: isPresumed)
        #expect(record.health == (isPresumed ? .healthy : .unproven))
        let steps = Array(steps)
        for index in stride(from: 0, to: steps.count, by: 2) {
            let before = record.health
            let hasChanged =
                steps[index] == "+"
                ? record.succeeded(rise: rise)
                : record.failed(nowNs: UInt64(index + 1) * secondNs, fall: fall, intervalMs: 1000)
            let letters: [TaskHealth: Character] = [.unproven: "U", .healthy: "H", .unhealthy: "D"]
            #expect(letters[record.health] == steps[index + 1], "step \(index / 2)")
            #expect(hasChanged == (record.health != before))
        }
    }

    /// A task that is starting is asked often, and does not fail the earlier for it.
    @Test func aStartingTaskIsAskedOften() {
        var record = HealthRecord(isPresumed: false)
        var delays: [Int] = []
        var nowNs: UInt64 = secondNs
        for _ in 0..<6 {
            delays.append(record.delayMs(intervalMs: 5000, jitter: 0))
            check(!record.failed(nowNs: nowNs, fall: 3, intervalMs: 5000))
            nowNs += UInt64(delays[delays.count - 1]) * 1_000_000
        }
        #expect(delays == [250, 500, 1000, 2000, 4000, 5000])
        // 12.75 s have passed. The failures at 0, 7.75 and 12.75 s count.
        check(record.failed(nowNs: nowNs, fall: 3, intervalMs: 5000))
    }

    @Test func theIntervalHasJitter() {
        var record = HealthRecord(isPresumed: false)
        _ = record.succeeded(rise: 1)
        #expect(record.delayMs(intervalMs: 5000, jitter: 0) == 4500)
        #expect(record.delayMs(intervalMs: 5000, jitter: 1) == 5500)
        #expect(record.delayMs(intervalMs: 1, jitter: 0) == 1)
    }

    @Test func failuresWithinTheTimeTakeOut() {
        var record = FailureRecord()
        func fail(_ nowNs: UInt64, isLast: Bool = false) -> Bool {
            record.failed(nowNs: nowNs, limit: 3, windowNs: 10 * secondNs) { isLast }
        }
        #expect(!fail(secondNs) && !fail(2 * secondNs))
        // The first is too long ago.
        #expect(!fail(12 * secondNs) && !fail(13 * secondNs))
        #expect(!record.isOut)
        #expect(fail(14 * secondNs))
        #expect(record.outUntilNs == 24 * secondNs)
        // A trial renews it, whatever its end; a further failure does not take it out again.
        record.tried(nowNs: 25 * secondNs, windowNs: 10 * secondNs)
        #expect(record.outUntilNs == 35 * secondNs)
        #expect(!fail(26 * secondNs) && record.outUntilNs == 36 * secondNs)
        record.clear()
        #expect(!record.isOut && !fail(37 * secondNs))
    }

    @Test func theLastStaysAndZeroIsNever() {
        var record = FailureRecord()
        for second in 1...20 {
            check(!record.failed(nowNs: UInt64(second) * secondNs / 10, limit: 2, windowNs: secondNs) { true })
        }
        // As soon as there is another one, the next failure counts.
        check(record.failed(nowNs: 2 * secondNs, limit: 2, windowNs: secondNs * 5) { false })
        // The label was taken away meanwhile.
        check(!record.failed(nowNs: 3 * secondNs, limit: 0, windowNs: secondNs) { false })
        #expect(!record.isOut)
        for second in 3...20 {
            check(!record.failed(nowNs: UInt64(second) * secondNs, limit: 0, windowNs: secondNs) { false })
        }
    }
}
