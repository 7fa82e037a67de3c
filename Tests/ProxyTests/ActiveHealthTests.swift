// Health checks with a running proxy and real tasks: what a probe is, what its results lead to, what tables do to it.

@testable import Proxy
import Kernel
import Model
import Routing
import Support
import TLS
import Telemetry
import Testing

@Suite(.serialized) struct ActiveHealthTests {
    @Test func aNewTaskWaitsForItsFirstSuccess() throws {
        let lab = try HealthLab(workerCount: 2)
        let good = try lab.makeTask()
        let new = try lab.makeTask(.status(503))
        try lab.publish([good], makeCheck())
        #expect(lab.becomes(["healthy"]))
        try lab.publish([good, new], makeCheck(fall: 1000))
        #expect(eventually { new.probeCount > 3 })
        #expect(lab.health == ["healthy", "unknown"])
        #expect(try lab.ask(20) == Array(repeating: 200, count: 20))
        #expect(new.requestCount == 0)
        // Not even if it is the only one.
        try lab.publish([new], makeCheck(fall: 1000))
        #expect(try lab.ask(4) == [503, 503, 503, 503])
        #expect(new.requestCount == 0 && lab.health == ["unknown"])
        new.answer(.status(204))
        #expect(lab.becomes(["healthy"]))
        #expect(eventually { (try? lab.ask()) == [200] })
        #expect(lab.logCount("task passes its health check") == 1)
    }

    /// At the proxy's start, and when its service gets a check, a task is no new one.
    @Test func whoIsThereIsPresumedToBeWell() throws {
        let lab = try HealthLab()
        let task = try lab.makeTask(.slow(300))
        try lab.publish([task], makeCheck(timeoutMs: 2000))
        #expect(try lab.ask(3) == [200, 200, 200])
        // It is taken away, and with it what was known; then it is asked for again.
        try lab.publish([task], nil)
        #expect(eventually { lab.readings[0] == nil })
        #expect(try lab.ask() == [200])
        let other = try lab.makeTask()
        task.answer(.status(500))
        try lab.publish([task, other], nil)
        try lab.publish([task, other], makeCheck(fall: 1000))
        // One failure is enough for one that was only presumed.
        #expect(lab.becomes(["unhealthy", "healthy"]))
        let before = task.requestCount
        #expect(try lab.ask(10) == Array(repeating: 200, count: 10))
        #expect(task.requestCount == before)
    }

    @Test func itTakesFallToGoAndRiseToComeBack() throws {
        let lab = try HealthLab()
        let tasks = [try lab.makeTask(), try lab.makeTask()]
        try lab.publish(tasks, makeCheck(rise: 3, fall: 3))
        #expect(eventually { tasks[0].probeCount > 1 })
        tasks[0].answer(.status(500))
        let before = tasks[0].probeCount
        #expect(lab.becomes(["unhealthy", "healthy"]))
        #expect(tasks[0].probeCount - before >= 3)
        let requests = tasks[0].requestCount
        #expect(try lab.ask(10) == Array(repeating: 200, count: 10))
        #expect(tasks[0].requestCount == requests)
        #expect(lab.readings[0]?.lastFailure == "the answer's status was 500")
        #expect(lab.readings[0]?.failedAtNs ?? 0 > 1_700_000_000_000_000_000)
        tasks[0].answer(.status(302))
        let sick = tasks[0].probeCount
        #expect(lab.becomes(["healthy", "healthy"]))
        #expect(tasks[0].probeCount - sick >= 3)
        #expect(
            eventually {
                _ = try? lab.ask(2); return tasks[0].requestCount > requests
            })
        // Once at each change, whatever the number of probes.
        #expect(lab.logCount("task fails its health check") == 1)
        #expect(lab.logCount("the answer's status was 500") == 1)
        #expect(lab.logCount("task passes its health check") == 1)
    }

    @Test func flappingIsNotFailing() throws {
        let lab = try HealthLab()
        let task = try lab.makeTask(.status(200))
        let other = try lab.makeTask()
        try lab.publish([task, other], makeCheck(intervalMs: 20, fall: 2))
        #expect(eventually { task.probeCount > 0 })
        task.answer(.flaps)
        #expect(eventually { task.probeCount > 20 })
        #expect(lab.health == ["healthy", "healthy"])
        #expect(lab.logCount("task fails") == 0)
        #expect(lab.proxy.probes.total(.status) > 5)
    }

    @Test(
        arguments: [
            (.status(404), .status, "the answer's status was 404"),
            (.slow(300), .timeout, "no answer within 100 ms"), (.hangs, .timeout, "no answer within 100 ms"),
            (.garbage, .badResponse, "the answer was not valid HTTP"),
            (.resets, .reset, "the task reset the connection"),
            (.closes, .closedEarly, "the task closed the connection without an answer"),
        ] as [(ProbedTask.Manner, ProbeResult, String)])
    func failures(manner: ProbedTask.Manner, result: ProbeResult, reason: String) throws {
        let lab = try HealthLab()
        let task = try lab.makeTask()
        let other = try lab.makeTask()
        try lab.publish([task, other], makeCheck(timeoutMs: 100))
        #expect(eventually { lab.proxy.probes.total(.success) >= 2 })
        task.answer(manner)
        #expect(lab.becomes(["unhealthy", "healthy"]))
        #expect(lab.proxy.probes.total(result) >= 2)
        #expect(lab.readings[0]?.lastFailure == reason)
        task.answer(.pieces)
        try lab.publish([task, other], makeCheck(timeoutMs: 2000, statuses: [200...200, 204...204]))
        #expect(lab.becomes(["healthy", "healthy"]))
    }

    @Test(arguments: [HealthCheck.Mode.http, .tcp])
    func aClosedPort(mode: HealthCheck.Mode) throws {
        let lab = try HealthLab()
        let task = try lab.makeTask()
        let other = try lab.makeTask(.status(mode == .http ? 200 : 500))
        try lab.publish([task, other], makeCheck(mode))
        #expect(eventually { lab.proxy.probes.total(.success) >= 2 })
        task.close()
        #expect(lab.becomes(["unhealthy", "healthy"]))
        #expect(lab.readings[0]?.lastFailure == "the connection was refused")
        #expect(try lab.ask(6) == Array(repeating: 200, count: 6))
        try task.open()
        #expect(lab.becomes(["healthy", "healthy"]))
    }

    @Test func aProbeAsksAsARequestWould() throws {
        let lab = try HealthLab()
        let task = try lab.makeTask()
        try lab.publish([task], makeCheck())
        #expect(eventually { task.probeCount > 0 })
        let rest = "User-Agent: interlock\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        #expect(task.lastProbe == "GET /up?x=1 HTTP/1.1\r\nHost: web.test\r\n" + rest)
        // Another question is asked at once, however long the interval.
        var seen = task.probeCount
        try lab.publish([("a", task.port)], makeCheck(path: "/other", intervalMs: 60_000), host: .wildcard("w.test"))
        #expect(eventually { task.probeCount > seen && task.lastProbe.hasPrefix("GET /other ") })
        #expect(task.lastProbe.contains("\r\nHost: www.w.test\r\n"))
        seen = task.probeCount
        try lab.publish([("a", task.port)], makeCheck(intervalMs: 60_000), host: .any) { $0.proxyProtocol = .v2 }
        #expect(eventually { task.probeCount > seen })
        #expect(task.lastProbe.hasPrefix("\r\n\r\n\0\r\nQUIT\n\u{20}\0\0\0GET /up"))
        #expect(task.lastProbe.contains("\r\nHost: 127.0.0.1:\(task.port)\r\n"))
        seen = task.probeCount
        try lab.publish([("a", task.port)], makeCheck(intervalMs: 60_000)) { $0.proxyProtocol = .v1 }
        #expect(eventually { task.probeCount > seen && task.lastProbe.hasPrefix("PROXY UNKNOWN\r\nGET /up") })
    }

    @Test func anotherPortIsProbed() throws {
        let lab = try HealthLab()
        let task = try lab.makeTask()
        let side = try lab.makeTask()
        try lab.publish([task], makeCheck(port: side.port)) { $0.proxyProtocol = .v1 }
        #expect(eventually { side.probeCount > 1 })
        // That port is not where its requests go, and PROXY headers are for those.
        #expect(side.lastProbe.hasPrefix("GET ") && task.probeCount == 0)
        side.close()
        #expect(lab.becomes(["unhealthy"]))
    }

    // MARK: Tables

    @Test func swapsTouchNothing() throws {
        let lab = try HealthLab(workerCount: 2)
        let bad = try lab.makeTask(.status(500))
        let good = try lab.makeTask()
        lab.others = 3
        try lab.publish([bad, good], makeCheck(intervalMs: 200, fall: 1))
        #expect(lab.becomes(["unhealthy", "healthy"]))
        let requests = bad.requestCount
        let probes = (bad.probeCount, good.probeCount)
        let startNs = Clock.monotonicNs()
        for _ in 0..<40 {
            try lab.publish([bad, good], makeCheck(intervalMs: 200, fall: 1))
            #expect(lab.health == ["unhealthy", "healthy"])
            #expect(try lab.ask(2) == [200, 200])
        }
        let turns = Int((Clock.monotonicNs() - startNs) / 180_000_000) + 1
        // No swap makes a probe, and none keeps one from being made.
        #expect(bad.probeCount - probes.0 <= turns && good.probeCount - probes.1 <= turns)
        #expect(eventually { bad.probeCount > probes.0 + 1 && good.probeCount > probes.1 + 1 })
        #expect(bad.requestCount == requests)
        #expect(eventually { lab.proxy.livePublicationCount == 1 })
    }

    @Test func workersAgree() throws {
        let lab = try HealthLab(workerCount: 3)
        let tasks = [try lab.makeTask(), try lab.makeTask(), try lab.makeTask()]
        try lab.publish(tasks, makeCheck(fall: 1))
        #expect(eventually { lab.proxy.probes.total(.success) >= 3 })
        tasks[1].answer(.status(503))
        #expect(lab.becomes(["healthy", "unhealthy", "healthy"]))
        // The board is told before the workers' mailboxes.
        Thread.sleep(milliseconds: 50)
        let before = tasks.map(\.requestCount)
        // Connections are spread over the workers by the kernel.
        #expect(try lab.ask(60) == Array(repeating: 200, count: 60))
        let after = tasks.map(\.requestCount)
        #expect(after[1] == before[1] && after[0] > before[0] && after[2] > before[2])
        // One probe for all of them.
        let times = tasks[0].probeTimesNs
        #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 > 40_000_000 })
    }

    @Test(arguments: [Model.UpstreamState.draining, .pending])
    func whoIsNotReadyIsNotProbed(state: Model.UpstreamState) throws {
        let lab = try HealthLab()
        let tasks = [try lab.makeTask(), try lab.makeTask()]
        let both = tasks.map { (id: "t\($0.port)", port: $0.port) }
        try lab.publish(both, makeCheck())
        #expect(lab.becomes(["healthy", "healthy"]))
        try lab.publish(both, makeCheck(), states: [.ready, state])
        #expect(eventually { lab.readings[1] == nil })
        let seen = (tasks[0].probeCount, tasks[1].probeCount)
        #expect(eventually { tasks[0].probeCount > seen.0 + 5 })
        #expect(tasks[1].probeCount <= seen.1 + 1)
        // If it comes back it begins anew.
        tasks[1].answer(.status(500))
        try lab.publish(both, makeCheck())
        #expect(lab.becomes(["healthy", "unknown"]) || lab.becomes(["healthy", "unhealthy"]))
        let requests = tasks[1].requestCount
        #expect(try lab.ask(6) == Array(repeating: 200, count: 6))
        #expect(tasks[1].requestCount == requests)
    }

    @Test func aCheckThatIsTakenAwayLeavesNothing() throws {
        let lab = try HealthLab()
        let bad = try lab.makeTask(.status(500))
        let good = try lab.makeTask()
        try lab.publish([bad, good], makeCheck(fall: 1))
        #expect(lab.becomes(["unhealthy", "healthy"]))
        try lab.publish([bad, good], nil)
        #expect(eventually { lab.proxy.healthReport.tasks.isEmpty })
        let probes = bad.probeCount
        let requests = bad.requestCount
        #expect(try lab.ask(6) == Array(repeating: 200, count: 6))
        #expect(bad.requestCount > requests)
        Thread.sleep(milliseconds: 150)
        #expect(bad.probeCount <= probes + 1 && lab.proxy.probes.active == 0)
    }

    // MARK: Panic

    @Test func ifAllFailAllAreTried() throws {
        let lab = try HealthLab(workerCount: 2)
        let tasks = [try lab.makeTask(), try lab.makeTask()]
        let new = try lab.makeTask(.status(500))
        try lab.publish(tasks, makeCheck())
        #expect(eventually { lab.proxy.probes.total(.success) >= 2 })
        for task in tasks { task.answer(.status(500)) }
        #expect(lab.becomes(["unhealthy", "unhealthy"]))
        #expect(lab.proxy.healthReport.panickingServices == ["web"])
        #expect(lab.logCount("no task of the service passes its health check: all are tried") == 1)
        // One that was never well is not among them.
        try lab.publish(tasks + [new], makeCheck(fall: 1000))
        Thread.sleep(milliseconds: 50)
        let before = tasks.map(\.requestCount)
        #expect(try lab.ask(20) == Array(repeating: 200, count: 20))
        #expect(zip(tasks, before).allSatisfy { $0.requestCount > $1 } && new.requestCount == 0)
        #expect(lab.proxy.counters.total(.panicAttempts) == 20)
        // As soon as one is well it gets everything.
        tasks[1].answer(.status(200))
        #expect(lab.becomes(["unhealthy", "healthy", "unknown"]))
        #expect(eventually { lab.proxy.healthReport.panickingServices.isEmpty })
        Thread.sleep(milliseconds: 50)
        let requests = tasks[0].requestCount
        #expect(try lab.ask(10) == Array(repeating: 200, count: 10))
        #expect(tasks[0].requestCount == requests && lab.proxy.counters.total(.panicAttempts) == 20)
        #expect(lab.logCount("the service has tasks again that pass") == 1)
    }

    // MARK: Floods

    @Test func whoHangsDelaysNobody() throws {
        let lab = try HealthLab { $0.maximumProbes = 8 }
        let hung = try lab.makeTask(.hangs)
        let good = try lab.makeTask()
        // Seven of eight places are taken all the time.
        let tasks = (0..<7).map { (id: "hung\($0)", port: hung.port) } + [(id: "good", port: good.port)]
        try lab.publish(tasks, makeCheck(intervalMs: 50, timeoutMs: 20_000))
        #expect(eventually { lab.proxy.probes.active >= 7 })
        let seen = good.probeCount
        #expect(eventually(timeoutMs: 5000) { good.probeCount > seen + 10 })
        #expect(lab.proxy.probes.active <= 8)
    }

    @Test func aFloodIsSpread() throws {
        let lab = try HealthLab { $0.maximumProbes = 64 }
        let task = try Backend(listenerCount: 1)
        let count = 1000
        let tasks = (0..<count).map { (id: "t\($0)", port: task.ports[0]) }
        try lab.publish(tasks, makeCheck(intervalMs: 2000, timeoutMs: 10_000))
        let startNs = Clock.monotonicNs()
        var most: UInt64 = 0
        var halfNs: UInt64 = 0
        #expect(
            eventually(timeoutMs: 30_000) {
                most = max(most, lab.proxy.probes.active)
                if halfNs == 0, lab.proxy.probes.total(.success) >= UInt64(count / 2) { halfNs = Clock.monotonicNs() }
                return lab.proxy.probes.total(.success) >= UInt64(count)
            })
        // A thousand of them take a second, and never more than the limit at once.
        #expect(halfNs - startNs > 300_000_000 && most <= 64)
        #expect(eventually { lab.health.allSatisfy { $0 == "healthy" } })
        try lab.publish([], makeCheck())
        #expect(eventually { lab.proxy.healthReport.tasks.isEmpty && lab.proxy.probes.active == 0 })
        task.stop()
    }
}
