// The runner with a real nginx: it is started, follows snapshots without being started again, and keeps what it has
// when a configuration is refused.

import Kernel
import Model
import Render
import Support
import Telemetry
import Testing

@testable import Extension

private let isInstalled = (try? ChildProcess.run(["nginx", "-v"], timeoutMs: 10_000))?.isSuccess ?? false

@Suite(.timeLimit(.minutes(2)), .enabled(if: isInstalled)) struct NginxRunTests {
    private func snapshot(_ host: String, version: UInt64) -> Snapshot {
        Snapshot(
            order: SnapshotOrder(version: version),
            configuration: Configuration(
                services: [Service(id: "file:a", name: "a")],
                routes: [Route(host: .exact(host), pathPrefix: "/x", services: [0])]),
            endpoints: [[]])
    }

    private func status(_ port: UInt16, _ host: String) -> String {
        let report = try? ChildProcess.run(
            [
                "curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: \(host)",
                "http://127.0.0.1:\(port)/y",
            ], timeoutMs: 10_000)
        return String(decoding: report?.output ?? [], as: UTF8.self)
    }

    @Test func startsFollowsAndKeeps() throws {
        let folder = try makeFolder()
        let listener = try ListeningSocket(.loopback)
        let port = listener.localPort
        listener.close()
        let isRoot = try ChildProcess.run(["id", "-u"], timeoutMs: 10_000).output.first == UInt8(ascii: "0")
        var render = RenderSettings(httpListen: ["127.0.0.1:\(port)"], httpsListen: [], directory: folder + "/conf")
        render.nginx.mainLines = [
            ["worker_processes", "1"], ["pid", folder + "/pid"], ["error_log", folder + "/log"],
        ]
        if isRoot { render.nginx.mainLines.append(["user", "root"]) }
        var target = ExtensionTarget.nginx
        let conf = folder + "/conf/nginx.conf"
        target.reloadCommand = ["/bin/sh", "-c", "nginx -s reload -c \(conf) 2> /dev/null || nginx -c \(conf)"]
        var settings = ExtensionSettings(work: .configure(target, render, .byForm))
        settings.intervalMs = 100
        settings.firstRetryMs = 100
        let runner = try ExtensionRunner(settings: settings, log: Log(level: .error, clock: { 0 }) { _ in })
        try runner.start()
        defer {
            runner.stop()
            _ = try? ChildProcess.run(["nginx", "-s", "stop", "-c", conf], timeoutMs: 10_000)
        }
        runner.apply(snapshot("a.test", version: 1), secrets: SecretFiles())
        #expect(eventually { status(port, "a.test") == "404" }, "\(String(describing: runner.status.lastFailure))")
        #expect(status(port, "b.test") == "503")
        runner.apply(snapshot("b.test", version: 2), secrets: SecretFiles())
        #expect(eventually { status(port, "b.test") == "404" && status(port, "a.test") == "503" })
        // A name longer than nginx's table of names takes is refused by its own check.
        let long = Array(repeating: String(repeating: "a", count: 60), count: 12).joined(separator: ".")
        runner.apply(snapshot(long, version: 3), secrets: SecretFiles())
        #expect(eventually { runner.status.isFailing })
        #expect(runner.status.lastFailure?.step == .check)
        // A worker of before the reload may still take a connection while it ends.
        #expect(eventually { status(port, "b.test") == "404" })
        #expect(runner.status.lastSuccess?.order.version == 2)
        runner.apply(snapshot("c.test", version: 4), secrets: SecretFiles())
        #expect(eventually { status(port, "c.test") == "404" && !runner.status.isFailing })
    }
}
