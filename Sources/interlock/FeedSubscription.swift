// The feed as proxies and extensions use it: a client with its credential, its last good snapshot, and a log.

import Admin
import Feed
import Kernel
import TLS
import Telemetry

final class FeedSubscription: Sendable {
    let client: FeedClient
    private let credential: FeedCredentialFile
    private let ticker: Ticker
    private let log: Log

    /// - Parameter apply: called with each snapshot, one at a time; returns the version of the table made of it.
    init(
        _ settings: Settings, credential: FeedCredentialFile, log: Log,
        apply: @escaping @Sendable (FeedContent) -> UInt64
    ) throws(Interlock.Failure) {
        guard !settings.feedConnect.isEmpty else {
            throw Interlock.Failure(
                "INTERLOCK_FEED_CONNECT is not set: name the controllers, such as tasks.lb_controller")
        }
        self.credential = credential
        self.log = log
        let current = credential.current
        var lastGood: LastGood?
        if let directory = settings.stateDirectory {
            let opened = try StateKeeper.open(
                directory, sealingKey: current.stateKey, cluster: current.identity.cluster, settings)
            credential.whenRenewed {
                StateKeeper.reseal(opened, with: $0.stateKey, cluster: $0.identity.cluster, log: log)
            }
            lastGood = opened
        }
        let feedSettings = FeedClientSettings(
            controllers: settings.feedConnect.map { ($0.host, $0.port) }, credential: current,
            name: Startup.hostName())
        let made: FeedClient
        do throws(FeedStartError) {
            made = try FeedClient(settings: feedSettings, lastGood: lastGood, apply: apply) { note in
                log.write(note)
            }
        } catch {
            throw Interlock.Failure(error)
        }
        client = made
        ticker = try Ticker(name: "credential", everyMs: FeedCredentialFile.lookMs) {
            credential.reread(log: log) { renewed throws(TLSError) in try made.replace(credential: renewed) }
        }
    }

    func start() throws(Interlock.Failure) {
        do throws(FeedStartError) { try client.start() } catch { throw Interlock.Failure(error) }
    }

    func rereadCredential() { ticker.ring() }

    func stop() {
        ticker.stop()
        client.stop()
    }
}

extension Log {
    /// What the feed has to say.
    func write(_ note: FeedNote) {
        let fields: Log.Fields = note.detail.isEmpty ? [:] : ["detail": .string(note.detail)]
        switch note.level {
        case .info: info("feed: " + note.message, fields)
        case .warning: warning("feed: " + note.message, fields)
        case .debug: debug("feed: " + note.message, fields)
        }
    }
}
