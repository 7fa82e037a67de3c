// What logs look like, above all when somebody tries to write in them.

import Glibc
import Synchronization
import Testing

@testable import Telemetry

/// Lines a log wrote, and a clock that the test turns.
private final class Recorder: Sendable {
    let lines = Mutex<[String]>([])
    let nowNs = Atomic<UInt64>(1_795_363_202_125_000_000)

    func log(_ level: LogLevel = .debug) -> Log {
        Log(level: level, clock: { self.nowNs.load(ordering: .relaxed) }) { line in
            self.lines.withLock { $0.append(String(decoding: line, as: UTF8.self)) }
        }
    }

    var all: [String] { lines.withLock { $0 } }
    func advance(seconds: UInt64) { nowNs.add(seconds * 1_000_000_000, ordering: .relaxed) }
}

@Suite struct LogTests {
    @Test func aLineIsOneJSONObject() {
        let recorder = Recorder()
        recorder.log().warning(
            "service refused",
            [
                "service": .string("we\"b\n\u{1B}[2J"), "tasks": 3, "ok": false, "age": .double(.nan),
                "n": .unsigned(.max),
            ])
        #expect(
            recorder.all == [
                #"{"ts":"2026-11-22T16:00:02.125Z","level":"warning","msg":"service refused","#
                    + #""service":"we\"b\n\u001b[2J","tasks":3,"ok":false,"age":null,"n":18446744073709551615}"#
                    + "\n"
            ])
    }

    @Test func levelsBelowAreSilent() {
        let recorder = Recorder()
        let log = recorder.log(.warning)
        log.info("no")
        log.debug("no")
        log.warning("yes")
        log.error("yes")
        #expect(recorder.all.count == 2)
    }

    @Test func repeatsAreHeldBackAndCounted() {
        let recorder = Recorder()
        let log = recorder.log()
        for _ in 0..<100 { log.error("docker is away", ["error": "refused"]) }
        #expect(recorder.all.count == 1)
        for index in 0..<100 { log.error("task failed", ["task": .integer(index)]) }
        #expect(recorder.all.count == 1 + Log.burstCount)
        recorder.advance(seconds: 11)
        log.error("docker is away", ["error": "refused"])
        #expect(recorder.all.last?.hasSuffix(",\"error\":\"refused\",\"held_back\":99}\n") == true)
    }

    @Test func hugeValuesAreCut() {
        let recorder = Recorder()
        recorder.log().error("label", ["value": .string(String(repeating: "\u{1}", count: 10_000_000))])
        #expect(recorder.all[0].utf8.count < 30_000)
    }
}

@Suite struct CivilTimeTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000Z"), (951_782_400, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000Z"), (1_709_251_200, "2024-03-01T00:00:00.000Z"),
        (1_798_761_599, "2026-12-31T23:59:59.000Z"), (4_102_444_800, "2100-01-01T00:00:00.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ])
    func dates(_ seconds: UInt64, _ expected: String) {
        #expect(
            written { $0.appendTimestamp(CivilTime(realtimeNs: seconds * 1_000_000_000)) } == expected)
    }

    @Test func everyDayOfACenturyAgreesWithTheSystem() {
        for day in stride(from: 0, to: 36_525, by: 1) {
            var seconds = time_t(day) * 86_400 + 43_210
            var broken = tm()
            gmtime_r(&seconds, &broken)
            let time = CivilTime(realtimeNs: UInt64(seconds) * 1_000_000_000)
            let isEqual =
                time.year == Int(broken.tm_year) + 1900 && time.month == Int(broken.tm_mon) + 1
                && time.day == Int(broken.tm_mday) && time.hour == 12 && time.second == Int(broken.tm_sec)
            if !isEqual {
                Issue.record("day \(day): \(time)")
                break
            }
        }
    }
}

func written(_ body: (inout LineWriter) -> Void) -> String {
    withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 1) { buffer in
        var writer = LineWriter(buffer)
        body(&writer)
        return String(
            decoding: UnsafeRawBufferPointer(rebasing: buffer[..<writer.count]), as: UTF8.self)
    }
}
