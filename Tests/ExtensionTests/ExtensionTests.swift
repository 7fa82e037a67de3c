// The runner with real commands: what is written when, what stays when a check or a reload fails, how often it runs.

import Kernel
import Model
import Render
import Support
import Telemetry
import Testing

@testable import Extension

/// A target whose main file names its services, with a file beside it for each, and commands that are scripts.
private struct Bench {
    let folder: String
    let log: Collected<String>

    init() throws {
        folder = try makeFolder()
        log = try Collected()
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// nil: there is no such file.
    func text(_ name: String) -> String? {
        ConfigurationDirectory(path: folder).read(name).map { String(decoding: $0, as: UTF8.self) }
    }

    /// What is in the file of that name which is in force.
    func inForce(_ name: String, _ runner: ExtensionRunner) -> String? {
        runner.status.files.first { $0.hasPrefix("made-") && $0.hasSuffix("/" + name) }.flatMap { text("conf/" + $0) }
    }

    /// All files of that name, in force or not.
    func all(_ name: String) throws -> Int {
        let report = try ChildProcess.run(
            ["find", path("conf"), "-path", "*/made-*/\(name)"], timeoutMs: 10_000)
        return report.output.count { $0 == UInt8(ascii: "\n") }
    }

    func count(_ name: String) -> Int { (text(name) ?? "").split(separator: "\n").count }

    func settings(check: String = "true", reload: String = "true") -> ExtensionSettings {
        let target = ExtensionTarget(
            name: "test", checkCommand: ["/bin/sh", "-c", "echo x >> \(path("checks")); \(check)", "sh", "{file}"],
            reloadCommand: ["/bin/sh", "-c", "echo x >> \(path("reloads")); \(reload)", "sh", "{file}"]
        ) { input in
            let names = input.snapshot.configuration.services.map(\.name)
            let main = RenderedFile(path: "main.conf", bytes: Array(names.joined(separator: "\n").utf8))
            return RenderOutput(
                files: [main] + names.map { RenderedFile(path: "keys/\($0)", bytes: Array($0.utf8), isSecret: true) },
                diagnostics: [Diagnostic(severity: .warning, service: "a", label: "hold", message: "is not done")])
        }
        var render = RenderSettings()
        render.directory = path("conf")
        var settings = ExtensionSettings(work: .configure(target, render, .byForm))
        settings.intervalMs = 0
        settings.firstRetryMs = 50
        return settings
    }

    func runner(_ settings: ExtensionSettings) throws -> ExtensionRunner {
        let log = self.log
        let made = try ExtensionRunner(
            settings: settings,
            log: Log(level: .debug, clock: { 0 }) { log.append(String(decoding: $0, as: UTF8.self)) })
        try made.start()
        return made
    }
}

private func snapshot(_ names: String..., version: UInt64 = 1) -> Snapshot {
    Snapshot(
        order: SnapshotOrder(clusterID: "c", version: version),
        configuration: Configuration(services: names.map { Service(id: "file:\($0)", name: $0) }),
        endpoints: names.map { _ in [] })
}

@Suite(.timeLimit(.minutes(2))) struct ExtensionTests {
    @Test func writesChecksReloadsAndTidies() throws {
        let bench = try Bench()
        let runner = try bench.runner(
            bench.settings(check: "test -s \"$1\"", reload: "ls \(bench.path("conf"))/made-*/keys/a"))
        defer { runner.stop() }
        runner.apply(snapshot("a", "b"), secrets: SecretFiles())
        #expect(eventually { runner.status.reloadCount == 1 })
        #expect(bench.text("conf/main.conf") == "a\nb")
        #expect(eventually { runner.status.lastSuccess?.order.version == 1 })
        let status = runner.status
        #expect(status.files.count == 4 && !status.isFailing && status.commandCount == 2)
        #expect(bench.inForce("keys/b", runner) == "b")
        #expect(status.diagnostics.map(\.label) == ["hold"])
        #expect(bench.log.wait { $0.contains { $0.contains("is not done") } })
        runner.apply(snapshot("a", "c", version: 2), secrets: SecretFiles())
        #expect(eventually { runner.status.reloadCount == 2 })
        #expect(eventually { runner.status.lastSuccess?.order.version == 2 })
        #expect(try bench.all("keys/b") == 0 && bench.all("keys/a") == 1 && bench.all("main.conf") == 1)
        #expect(bench.inForce("keys/a", runner) == "a" && bench.inForce("keys/c", runner) == "c")
    }

    @Test func whatDoesNotChangeRunsNothing() throws {
        let bench = try Bench()
        let runner = try bench.runner(bench.settings())
        defer { runner.stop() }
        for version: UInt64 in 1...5 {
            runner.apply(snapshot("a", version: version), secrets: SecretFiles())
            #expect(eventually { runner.status.lastSuccess?.order.version == version })
        }
        #expect(bench.count("checks") == 1 && bench.count("reloads") == 1)
        // Nor does another process that begins with the same.
        let second = try bench.runner(bench.settings())
        defer { second.stop() }
        second.apply(snapshot("a", version: 9), secrets: SecretFiles())
        #expect(eventually { second.status.lastSuccess?.order.version == 9 })
        #expect(bench.count("checks") == 1 && second.status.files == runner.status.files)
    }

    @Test func aFailedCheckLeavesWhatIsInForce() throws {
        let bench = try Bench()
        let runner = try bench.runner(bench.settings(check: "if grep bad \"$1\"; then echo no good; exit 3; fi"))
        defer { runner.stop() }
        runner.apply(snapshot("a"), secrets: SecretFiles())
        #expect(eventually { runner.status.reloadCount == 1 })
        runner.apply(snapshot("a", "bad", version: 2), secrets: SecretFiles())
        #expect(eventually { runner.status.isFailing })
        let failure = try #require(runner.status.lastFailure)
        #expect(failure.step == .check && failure.text.contains("status 3") && failure.text.contains("no good"))
        #expect(bench.text("conf/main.conf") == "a" && bench.inForce("keys/a", runner) == "a")
        #expect(bench.count("reloads") == 1 && runner.status.lastSuccess?.order.version == 1)
        #expect(bench.log.wait { $0.contains { $0.contains("no good") && $0.contains("\"level\":\"error\"") } })
        runner.apply(snapshot("good", version: 3), secrets: SecretFiles())
        #expect(eventually { runner.status.reloadCount == 2 && !runner.status.isFailing })
        #expect(eventually { runner.status.lastSuccess?.order.version == 3 })
        #expect(try bench.text("conf/main.conf") == "good" && bench.all("keys/bad") == 0)
    }

    @Test func refusedConfigurationsDoNotPileUp() throws {
        let bench = try Bench()
        let runner = try bench.runner(bench.settings(check: "! grep -q bad \"$1\""))
        defer { runner.stop() }
        runner.apply(snapshot("a"), secrets: SecretFiles())
        #expect(eventually { runner.status.reloadCount == 1 })
        for number in 1...4 {
            runner.apply(snapshot("a", "bad\(number)", version: UInt64(number) + 1), secrets: SecretFiles())
            #expect(eventually { (try? bench.all("keys/bad\(number)")) == 1 && runner.status.isFailing })
            let old = try bench.all("keys/bad\(number - 1)")
            #expect(try old == 0 && bench.all("keys/a") == 2 && bench.all("main.conf") == 2)
            #expect(bench.inForce("keys/a", runner) == "a" && bench.text("conf/main.conf") == "a")
        }
        runner.apply(snapshot("a", "b", version: 9), secrets: SecretFiles())
        #expect(eventually { runner.status.lastSuccess?.order.version == 9 })
        #expect(try bench.all("main.conf") == 1 && bench.all("keys/bad4") == 0)
    }

    @Test func aFailedReloadIsTriedAgain() throws {
        let bench = try Bench()
        let runner = try bench.runner(bench.settings(reload: "test $(wc -l < \(bench.path("reloads"))) -ge 3"))
        defer { runner.stop() }
        runner.apply(snapshot("a"), secrets: SecretFiles())
        #expect(eventually { runner.status.reloadCount == 1 })
        #expect(bench.count("reloads") == 3 && runner.status.failureCount == 2)
        #expect(runner.status.lastFailure?.step == .reload)
    }

    @Test func aBurstIsFewReloadsAndTheNewestWins() throws {
        let bench = try Bench()
        var settings = bench.settings()
        settings.intervalMs = 300
        let runner = try bench.runner(settings)
        defer { runner.stop() }
        let startedNs = Clock.monotonicNs()
        for index: UInt64 in 1...200 {
            runner.apply(snapshot("s\(index)", version: index), secrets: SecretFiles())
            if index.isMultiple(of: 20) { Thread.sleep(milliseconds: 20) }
        }
        #expect(eventually { runner.status.lastSuccess?.order.version == 200 })
        #expect(bench.text("conf/main.conf") == "s200")
        let elapsedMs = Int((Clock.monotonicNs() - startedNs) / 1_000_000)
        #expect(bench.count("reloads") <= elapsedMs / 300 + 1)
    }

    @Test func aHungCommandIsEnded() throws {
        let bench = try Bench()
        var settings = bench.settings(check: "sleep 60")
        settings.commandTimeoutMs = 200
        let runner = try bench.runner(settings)
        runner.apply(snapshot("a"), secrets: SecretFiles())
        #expect(eventually { runner.status.lastFailure?.text.contains("longer than 200 ms") ?? false })
        #expect(bench.text("conf/main.conf") == nil)
        // Stopping waits for no command.
        var long = bench.settings(check: "sleep 60")
        long.commandTimeoutMs = 60_000
        let other = try bench.runner(long)
        other.apply(snapshot("a"), secrets: SecretFiles())
        #expect(eventually { bench.count("checks") >= 2 })
        let startedNs = Clock.monotonicNs()
        other.stop()
        runner.stop()
        #expect(Clock.monotonicNs() - startedNs < 10_000_000_000)
    }

    @Test func aDirectoryThatCannotBeWrittenIsTold() throws {
        let bench = try Bench()
        try writeFile(bench.path("conf"), "a file")
        let runner = try bench.runner(bench.settings())
        defer { runner.stop() }
        runner.apply(snapshot("a"), secrets: SecretFiles())
        #expect(eventually { runner.status.lastFailure?.step == .write })
        #expect(runner.status.lastFailure?.text.contains("conf") ?? false && bench.count("checks") == 0)
    }

    @Test func onlyOwnFilesAreEverRemoved() throws {
        let bench = try Bench()
        let directory = ConfigurationDirectory(path: bench.path("conf"))
        try directory.write(RenderedFile(path: "keys/theirs", bytes: Array("x".utf8)))
        try directory.write(
            RenderedFile(path: ".interlock-files", bytes: Array("../outside\n/etc/x\nkeys/../../y\n".utf8)))
        try writeFile(bench.path("outside"), "x")
        let runner = try bench.runner(bench.settings())
        defer { runner.stop() }
        runner.apply(snapshot("a"), secrets: SecretFiles())
        #expect(eventually { runner.status.lastSuccess != nil })
        #expect(bench.text("conf/keys/theirs") == "x" && bench.text("outside") == "x")
        #expect(throws: SystemError.self) { try directory.write(RenderedFile(path: "../x", bytes: [])) }
    }

    @Test func secretsAreForTheirOwnerAlone() throws {
        let bench = try Bench()
        let runner = try bench.runner(bench.settings())
        defer { runner.stop() }
        runner.apply(snapshot("a"), secrets: SecretFiles())
        #expect(eventually { runner.status.lastSuccess != nil })
        let report = try ChildProcess.run(
            ["/bin/sh", "-c", "stat -c %a \(bench.path("conf"))/made-*/keys/a \(bench.path("conf/main.conf"))"],
            timeoutMs: 10_000)
        #expect(String(decoding: report.output, as: UTF8.self).hasPrefix("600\n64"))
    }
}

@Suite(.timeLimit(.minutes(2))) struct ExecTests {
    private func settings(_ bench: Bench, _ script: String) -> ExtensionSettings {
        var settings = ExtensionSettings(work: .run(["/bin/sh", "-c", script]))
        settings.intervalMs = 0
        settings.firstRetryMs = 50
        return settings
    }

    @Test func eachSnapshotIsGivenAsJSON() throws {
        let bench = try Bench()
        let runner = try bench.runner(settings(bench, "cat >> \(bench.path("seen"))"))
        defer { runner.stop() }
        runner.apply(snapshot("a", version: 1), secrets: SecretFiles())
        #expect(eventually { runner.status.lastSuccess?.order.version == 1 })
        runner.apply(snapshot("b", version: 2), secrets: SecretFiles())
        #expect(eventually { runner.status.lastSuccess?.order.version == 2 })
        // The same again is no news.
        runner.apply(snapshot("b", version: 3), secrets: SecretFiles())
        #expect(eventually { runner.status.lastSuccess?.order.version == 3 })
        #expect(runner.status.commandCount == 2 && runner.status.name == "/bin/sh")
        let lines = (bench.text("seen") ?? "").split(separator: "\n")
        #expect(lines.count == 2 && lines.allSatisfy { $0.hasPrefix("{\"interlock_snapshot\":1,") })
        #expect(lines[1].contains("\"name\":\"b\""))
    }

    @Test func aSecretThatComesOrGoesIsToldAndARenewedOneIsNot() throws {
        let bench = try Bench()
        let runner = try bench.runner(
            ExtensionSettings(work: .run(["/bin/sh", "-c", "cat >> \(bench.path("given"))"])))
        defer { runner.stop() }
        func give(_ secrets: SecretFiles, _ version: UInt64) {
            runner.apply(snapshot("a", version: version), secrets: secrets)
            #expect(eventually { runner.status.lastSuccess?.order.version == version })
        }
        give(SecretFiles(failures: ["a.pem": "there is no such file"]), 1)
        give(SecretFiles(secrets: ["a.pem": [1]]), 2)
        give(SecretFiles(secrets: ["a.pem": [2]]), 3)
        #expect(bench.count("given") == 2)
        #expect(bench.text("given")?.contains("\"names\":[\"a.pem\"]") == true)
    }

    @Test func aFailureIsTriedAgainWithTheNewest() throws {
        let bench = try Bench()
        let runner = try bench.runner(
            settings(bench, "cat > \(bench.path("seen")); test -f \(bench.path("open")) || { echo closed; exit 1; }"))
        defer { runner.stop() }
        runner.apply(snapshot("a", version: 1), secrets: SecretFiles())
        #expect(eventually { runner.status.failureCount >= 2 })
        #expect(runner.status.lastFailure?.step == .run)
        #expect(runner.status.lastFailure?.text.contains("closed") ?? false)
        runner.apply(snapshot("b", version: 2), secrets: SecretFiles())
        try writeFile(bench.path("open"), "")
        #expect(eventually { runner.status.lastSuccess?.order.version == 2 && !runner.status.isFailing })
        #expect(bench.text("seen")?.contains("\"name\":\"b\"") ?? false)
    }

    @Test func noCommandIsNoRunner() {
        #expect(throws: ExtensionError.self) {
            try ExtensionRunner(settings: ExtensionSettings(work: .run([])), log: Log(level: .error))
        }
    }
}
