// The role `extension`: configures another load balancer by what a controller tells; or, without one, by what Docker or
// a services file say. It carries no traffic.

import Admin
import Controller
import Extension
import Feed
import Kernel
import Model
import Proxy
import Render
import Routing
import Secrets
import Synchronization
import TLS
import Telemetry

enum ExtensionRole {
    static func run(_ settings: Settings, _ arguments: Arguments) throws(Interlock.Failure) -> Int32 {
        let kind = arguments.extensionKind ?? settings.extensionKind
        let startup = try Startup(settings)
        let log = startup.log
        let runner: ExtensionRunner
        do throws(ExtensionError) {
            let work = work(settings, kind, command: arguments.command)
            runner = try ExtensionRunner(settings: ExtensionSettings(work: work), log: log)
        } catch {
            throw Interlock.Failure("extension \(kind.rawValue): \(error)")
        }
        let life = Life()
        let newest = Newest()
        let take: @Sendable (FeedContent) -> UInt64 = { content in
            let version = newest.take(content.snapshot)
            runner.apply(content.snapshot, secrets: content.secrets)
            life.becameReady()
            return version
        }
        let origin =
            settings.feedConnect.isEmpty
            ? try Origin(local: settings, log: log, take) : try Origin(feed: settings, log: log, take)
        let admin = try AdminStart.start(
            settings, source(life: life, newest: newest, runner: runner, kind: kind, origin: origin), log: log)
        do throws(ExtensionError) { try runner.start() } catch { throw Interlock.Failure(error) }
        try origin.start()
        log.info(
            "started",
            [
                "version": .string(Interlock.version), "role": "extension", "kind": .string(kind.rawValue),
                "admin_ports": .string("\(admin?.ports ?? [])"),
            ])
        startup.waitForStop { origin.reread() }
        life.isDraining()
        origin.stop()
        runner.stop()
        admin?.stop()
        return 0
    }

    /// What was asked for last.
    private final class Newest: Sendable {
        private let state = Mutex<(snapshot: Snapshot?, version: UInt64)>((nil, 0))

        func take(_ snapshot: Snapshot) -> UInt64 {
            state.withLock { state in
                state = (snapshot, state.version + 1)
                return state.version
            }
        }

        var snapshot: Snapshot? { state.withLock { $0.snapshot } }

        var table: RouteTable? {
            let (snapshot, version) = state.withLock { $0 }
            guard let snapshot else { return nil }
            var numbering = Numbering()
            return RouteTable(compiling: snapshot, version: version, numbering: &numbering)
        }
    }

    // MARK: What is done with a snapshot

    private static func work(_ settings: Settings, _ kind: ExtensionKind, command: [String]) -> ExtensionSettings.Work {
        switch kind {
        case .exec: .run(command.isEmpty ? settings.extensionCommand : command)
        case .nginx: configure(settings, .nginx, .nginx)
        case .haproxy: configure(settings, .haproxy, .haproxy)
        }
    }

    private static func configure(
        _ settings: Settings, _ target: ExtensionTarget, _ name: RenderArguments.Target
    ) -> ExtensionSettings.Work {
        var target = target
        target.checkCommand = chosen(settings.extensionCheck, else: target.checkCommand)
        target.reloadCommand = chosen(settings.extensionReload, else: target.reloadCommand)
        var render = RenderSettings(settings, for: name)
        if let directory = settings.extensionDirectory { render.directory = directory }
        return .configure(target, render, .byOpenSSL)
    }

    /// `off` is no command.
    private static func chosen(_ words: [String], else standard: [String]) -> [String] {
        words.isEmpty ? standard : words == ["off"] ? [] : words
    }

    // MARK: Pages

    private static func source(
        life: Life, newest: Newest, runner: ExtensionRunner, kind: ExtensionKind, origin: Origin
    ) -> AdminSource {
        AdminSource(
            build: BuildInformation(version: Interlock.version), health: { life.reading }, table: { newest.table },
            control: {
                var reading = origin.control() ?? ControlReading(diagnostics: newest.snapshot?.diagnostics ?? [])
                reading.diagnostics += runner.status.diagnostics
                return reading
            },
            feed: { origin.reading },
            snapshot: { _ in newest.snapshot.map { SnapshotDocument.json(snapshot: $0) } },
            balancer: { BalancerReading(runner.status, kind: kind) },
            processNamespace: Machine.processNamespace)
    }
}

/// Where an extension's snapshots come from.
private struct Origin: Sendable {
    let start: @Sendable () throws(Interlock.Failure) -> Void
    let reread: @Sendable () -> Void
    let stop: @Sendable () -> Void
    /// nil: a controller tells.
    let control: @Sendable () -> ControlReading?
    private let feed: FeedSubscription?

    var reading: FeedReading? { feed.map { FeedReading(source: FeedOrigin($0.client.status)) } }

    init(
        feed settings: Settings, log: Log, _ take: @escaping @Sendable (FeedContent) -> UInt64
    ) throws(Interlock.Failure) {
        let credential = try FeedCredentialFile(settings, role: .extension_, log: log)
        let feed = try FeedSubscription(settings, credential: credential, log: log, apply: take)
        self.feed = feed
        start = { () throws(Interlock.Failure) in try feed.start() }
        reread = { feed.rereadCredential() }
        stop = { feed.stop() }
        control = { nil }
    }

    init(
        local settings: Settings, log: Log, _ take: @escaping @Sendable (FeedContent) -> UInt64
    ) throws(Interlock.Failure) {
        let store: SecretStore
        let shared = Shared()
        do throws(SecretStoreError) {
            store = try SecretStore(places: settings.secretPlaces) { files in
                if let snapshot = shared.snapshot { _ = take(FeedContent(snapshot: snapshot, secrets: files)) }
            }
            try store.start()
        } catch {
            throw Interlock.Failure(error)
        }
        let control = try ControlPlane.settings(settings, clusters: .only(settings.serviceCluster), log: log)
        let controller = Controller(settings: control, log: log) { changes in
            for change in changes {
                shared.snapshot = change.snapshot
                _ = store.want(change.snapshot.configuration.secretNames) { files in
                    take(FeedContent(snapshot: change.snapshot, secrets: files))
                }
            }
        }
        feed = nil
        start = { () throws(Interlock.Failure) in
            do throws(ControllerError) { try controller.start() } catch { throw Interlock.Failure(error) }
        }
        reread = { store.reread() }
        stop = {
            controller.stop()
            store.stop()
        }
        self.control = { ControlPlane.reading(controller.status, publishedAtNs: nil) }
    }

    /// The newest snapshot, for when secrets change.
    private final class Shared: Sendable {
        private let held = Mutex<Snapshot?>(nil)
        var snapshot: Snapshot? {
            get { held.withLock { $0 } }
            set { held.withLock { $0 = newValue } }
        }
    }
}
