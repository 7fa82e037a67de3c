// Tasks that fail requests, with a running proxy: what counts, who is taken out for how long, and how it comes back.
// One worker, since each counts for itself.

@testable import Proxy
import Kernel
import Model
import Support
import Telemetry
import Testing

private func limits(_ maxFails: Int?, _ failTimeoutMs: Int = 60_000, responseMs: Int? = nil) -> (inout ServiceOptions)
    -> Void
{
    { options in
        options.maxFails = maxFails
        options.failTimeoutMs = failTimeoutMs
        options.responseTimeoutMs = responseMs
    }
}

@Suite(.serialized) struct PassiveHealthTests {
    /// Requests reach the bad task until it has failed so often; then no more.
    @Test(arguments: [(1, 1), (2, 2), (nil, 3)] as [(Int?, Int)])
    func resetsBeforeAnAnswerCount(maxFails: Int?, expected: Int) throws {
        let lab = try HealthLab()
        let bad = try lab.makeTask()
        let good = try lab.makeTask()
        bad.answerRequests(.resets)
        try lab.publish([bad, good], nil, limits(maxFails))
        #expect(try lab.ask(30) == Array(repeating: 200, count: 30))
        #expect(bad.requestCount == expected && good.requestCount == 30)
        #expect(lab.proxy.counters.total(.tasksAvoided) == 1)
        #expect(eventually { lab.readings[0]?.avoidingWorkers == 1 })
        #expect(["reset", "closed_early"].contains(lab.readings[0]?.lastFailure))
        #expect(lab.logCount("task is passed over: requests failed") == 1)
    }

    @Test func closedPortsAndSilenceCount() throws {
        let lab = try HealthLab()
        let closed = try lab.makeTask()
        let silent = try lab.makeTask()
        let good = try lab.makeTask()
        silent.answerRequests(.hangs)
        closed.close()
        try lab.publish([closed, silent, good], nil, limits(2, responseMs: 100))
        var answers: [Int] = []
        for _ in 0..<30 { answers += try lab.ask() }
        // What hung was not tried again: it may have been at work.
        #expect(answers.count { $0 == 504 } == 2 && answers.count { $0 == 200 } == 28)
        #expect(silent.requestCount == 2)
        #expect(eventually { lab.readings.map { $0?.avoidingWorkers ?? 0 } == [1, 1, 0] })
        #expect(lab.readings.map { $0?.lastFailure ?? "" } == ["connect_refused", "response_timeout", ""])
        #expect(lab.proxy.counters.total(.connectRefused) == 2)
    }

    @Test func zeroIsNever() throws {
        let lab = try HealthLab()
        let bad = try lab.makeTask()
        let good = try lab.makeTask()
        bad.answerRequests(.resets)
        try lab.publish([bad, good], nil, limits(0))
        #expect(try lab.ask(40) == Array(repeating: 200, count: 40))
        #expect(bad.requestCount >= 15 && lab.proxy.counters.total(.tasksAvoided) == 0)
    }

    @Test func theLastIsNeverTakenOut() throws {
        let lab = try HealthLab()
        let tasks = [try lab.makeTask(), try lab.makeTask()]
        try lab.publish([tasks[0]], nil, limits(1))
        tasks[0].answerRequests(.resets)
        #expect(try lab.ask(5) == Array(repeating: 502, count: 5))
        #expect(lab.proxy.counters.total(.tasksAvoided) == 0)
        // Of two, one stays, and both are asked before a request is given up.
        tasks[1].answerRequests(.resets)
        try lab.publish(tasks, nil, limits(1))
        #expect(try lab.ask(5) == Array(repeating: 502, count: 5))
        #expect(lab.proxy.counters.total(.tasksAvoided) == 1)
        for task in tasks { task.answerRequests(nil) }
        #expect(try lab.ask(5) == Array(repeating: 200, count: 5))
    }

    @Test func oneRequestTriesAfterTheTime() throws {
        let lab = try HealthLab()
        let bad = try lab.makeTask()
        let good = try lab.makeTask()
        bad.answerRequests(.resets)
        try lab.publish([bad, good], nil, limits(2, 400))
        #expect(try lab.ask(10) == Array(repeating: 200, count: 10))
        #expect(bad.requestCount == 2)
        Thread.sleep(milliseconds: 450)
        // The trial fails, and nobody else comes along.
        #expect(try lab.ask(10) == Array(repeating: 200, count: 10))
        #expect(bad.requestCount == 3)
        bad.answerRequests(nil)
        Thread.sleep(milliseconds: 450)
        #expect(try lab.ask(20) == Array(repeating: 200, count: 20))
        #expect(bad.requestCount >= 10)
        #expect(eventually { lab.readings[0]?.avoidingWorkers == 0 })
        #expect(lab.logCount("task is not passed over any more") == 1)
        #expect(lab.proxy.counters.total(.tasksAvoided) == 1)
    }

    /// A swap of another service leaves what is known; a task that is gone leaves nothing.
    @Test func swapsTouchNothing() throws {
        let lab = try HealthLab()
        let bad = try lab.makeTask()
        let good = try lab.makeTask()
        bad.answerRequests(.resets)
        lab.others = 2
        for _ in 0..<10 {
            try lab.publish([bad, good], nil, limits(2))
            #expect(try lab.ask(4) == [200, 200, 200, 200])
        }
        #expect(bad.requestCount == 2)
        try lab.publish([good], nil, limits(2))
        #expect(eventually { lab.proxy.healthReport.tasks.isEmpty })
    }

    /// Errors that an application answers, and connections that idled away, are no failures.
    @Test func answersAreNoFailures() throws {
        let lab = try HealthLab()
        let task = try lab.makeTask()
        let other = try lab.makeTask()
        task.answerRequests(.status(500))
        try lab.publish([task, other], nil, limits(1))
        #expect(Set(try lab.ask(20)) == [200, 500])
        #expect(lab.proxy.counters.total(.tasksAvoided) == 0)
    }
}
