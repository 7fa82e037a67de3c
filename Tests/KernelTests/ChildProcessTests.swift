// Programs that are run: what they are given, what they say, how they end, and that nothing of them is left.

import Kernel
import Support
import Testing

@Suite struct ChildProcessTests {
    private func shell(_ script: String, input: [UInt8] = [], timeoutMs: Int = 20_000) throws -> ChildProcess.Report {
        try ChildProcess.run(["/bin/sh", "-c", script], input: input, timeoutMs: timeoutMs)
    }

    @Test func statusAndOutput() throws {
        #expect(try ChildProcess.run(["true"], timeoutMs: 20_000).isSuccess)
        #expect(try ChildProcess.run(["false"], timeoutMs: 20_000).ending == .exited(1))
        let report = try shell("echo out; echo err >&2; exit 7")
        #expect(report.ending == .exited(7))
        #expect(String(decoding: report.output, as: UTF8.self) == "out\nerr\n")
        #expect(try shell("kill -TERM $$").ending == .signalled(15))
    }

    @Test func argumentsAreHandedOnAsTheyAre() throws {
        let words = ["$(id)", "a b", "", "`x`", "\"'\\", ";exit 3", "line\nfeed"]
        let report = try ChildProcess.run(["printf", "[%s]"] + words, timeoutMs: 20_000)
        #expect(String(decoding: report.output, as: UTF8.self) == words.map { "[\($0)]" }.joined())
    }

    @Test func inputOfAnySize() throws {
        let input = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0) }
        #expect(String(decoding: try shell("wc -c", input: input).output, as: UTF8.self).contains("3000000"))
        // Who reads none of it, or half, is no failure.
        #expect(try shell("exit 0", input: input).isSuccess)
        #expect(try shell("head -c 10 > /dev/null; exec 0<&-; sleep 0.1", input: input).isSuccess)
    }

    @Test func aProgramThatIsNotThere() {
        #expect(throws: SystemError.self) { try ChildProcess.run(["/no/such/program"], timeoutMs: 1000) }
        #expect(throws: SystemError.self) { try ChildProcess.run(["no-such-program-anywhere"], timeoutMs: 1000) }
    }

    @Test func theLastOutputIsKept() throws {
        let report = try ChildProcess.run(
            ["/bin/sh", "-c", "yes | head -c 1000000; echo; echo end"], timeoutMs: 20_000, outputLimit: 100)
        #expect(report.isSuccess && report.isCut && report.output.count == 100)
        #expect(String(decoding: report.output, as: UTF8.self).hasSuffix("end\n"))
    }

    @Test func theDeadlineEndsAllOfIt() throws {
        let startedNs = Clock.monotonicNs()
        let report = try shell("sleep 60 & echo $!; sleep 60", timeoutMs: 300)
        #expect(report.ending == .timedOut)
        #expect(Clock.monotonicNs() - startedNs < 10_000_000_000)
        let child = String(decoding: report.output, as: UTF8.self).split(separator: "\n").first.map(String.init) ?? ""
        #expect(!child.isEmpty)
        // A dead one may wait for whoever inherited it; it runs no more.
        #expect(
            eventually {
                let script = "sed -n 's/^State:.\\(.\\).*/\\1/p' /proc/\(child)/status 2> /dev/null; true"
                let state = (try? shell(script))?.output ?? []
                return ["", "Z\n", "X\n"].contains(String(decoding: state, as: UTF8.self))
            })
    }

    @Test func whatIsLeftBehindIsNotWaitedFor() throws {
        let startedNs = Clock.monotonicNs()
        #expect(try shell("sleep 5 & exit 0").isSuccess)
        #expect(Clock.monotonicNs() - startedNs < 4_000_000_000)
    }

    @Test func cancelling() throws {
        let report = try ChildProcess.run(["sleep", "60"], timeoutMs: 60_000, isCancelled: { true })
        #expect(report.ending == .cancelled)
    }

    @Test func theChildHasNoOpenFilesOfOurs() throws {
        let report = try shell("ls /proc/self/fd | tr '\\n' ' '")
        // The three, and the one that `ls` reads the directory by.
        #expect(String(decoding: report.output, as: UTF8.self) == "0 1 2 3 ")
    }
}
