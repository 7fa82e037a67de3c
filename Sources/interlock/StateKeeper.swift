// The last good snapshot on disk, for roles that see the cluster themselves: kept when there is a new one, confirmed
// while the source is heard, and served from when nothing answers at the start.

import Admin
import Feed
import Kernel
import Synchronization
import Telemetry

final class StateKeeper: Sendable {
    private let lastGood: LastGood
    private let log: Log
    private let state = Mutex(State())
    private let ticker = Mutex<Ticker?>(nil)
    /// A source has spoken. Locked while what is on disk is served, so that nothing of it comes after a source's word.
    private let hasSource = Mutex(false)

    private struct State {
        var told = ""
    }

    /// How long a source has to answer before what it said last is served.
    static let patienceMs = 2_000

    /// nil: the settings name no directory.
    /// - Parameter cluster: the service cluster whose content is kept.
    /// - Throws: if the directory cannot be used.
    init?(_ settings: Settings, cluster: String, sealingKey: [UInt8]?, log: Log) throws(Interlock.Failure) {
        guard let directory = settings.stateDirectory else { return nil }
        lastGood = try Self.open(directory, sealingKey: sealingKey, cluster: cluster, settings)
        self.log = log
    }

    /// - Throws: if the directory cannot be used.
    static func open(
        _ directory: String, sealingKey: [UInt8]?, cluster: String, _ settings: Settings
    ) throws(Interlock.Failure) -> LastGood {
        do throws(LastGoodError) {
            return try LastGood(
                directory: directory, sealingKey: sealingKey, cluster: cluster,
                maximumAgeMs: settings.stateMaximumAgeMs)
        } catch {
            throw Interlock.Failure("INTERLOCK_STATE_DIR: \(error)")
        }
    }

    /// A source speaks: to be called before what it says is served. What is on disk is not served from now on.
    func sourceSpeaks() { hasSource.withLock { $0 = true } }

    /// What a source said.
    func keep(_ content: FeedContent) {
        do throws(LastGoodError) {
            try lastGood.save(content, atNs: Clock.realtimeNs())
            state.withLock { $0.told = "" }
        } catch {
            let isNew = state.withLock { state in
                defer { state.told = error.description }
                return state.told != error.description
            }
            if isNew { log.warning("the last good snapshot cannot be kept", ["problem": .string(error.description)]) }
        }
    }

    /// The credential was renewed.
    func reseal(with sealingKey: [UInt8], cluster: String) {
        Self.reseal(lastGood, with: sealingKey, cluster: cluster, log: log)
    }

    static func reseal(_ lastGood: LastGood, with sealingKey: [UInt8], cluster: String, log: Log) {
        do throws(LastGoodError) {
            try lastGood.reseal(with: sealingKey, cluster: cluster)
        } catch {
            log.warning("the last good snapshot cannot be kept", ["problem": .string(error.description)])
        }
    }

    /// Confirms what is kept while `isConfirmed` says so, and serves it if the source does not answer in time.
    func serveLastGood(
        unlessReady life: Life, isConfirmed: @escaping @Sendable () -> Bool = { true },
        _ serve: @escaping @Sendable (FeedContent) -> Void
    ) {
        let startedNs = Clock.monotonicNs()
        let served = Atomic(false)
        let made = try? Ticker(name: "state", everyMs: Self.patienceMs) { [self] in
            if hasSource.withLock({ $0 }) {
                if isConfirmed() { try? lastGood.touch(atNs: Clock.realtimeNs()) }
                return
            }
            let hasWaited = Clock.monotonicNs() &- startedNs >= UInt64(Self.patienceMs) * 1_000_000
            guard hasWaited, !life.reading.wasReady, !served.exchange(true, ordering: .relaxed) else { return }
            serveFromDisk(serve)
        }
        ticker.withLock { $0 = made }
    }

    private func serveFromDisk(_ serve: (FeedContent) -> Void) {
        do throws(LastGoodError) {
            guard let loaded = try lastGood.load() else { return }
            let nowNs = Clock.realtimeNs()
            let ageS = (nowNs - min(loaded.savedAtNs, nowNs)) / 1_000_000_000
            if let missing = loaded.missingSecrets {
                log.warning("the last good snapshot has no secrets", ["problem": .string(missing)])
            }
            hasSource.withLock { hasSource in
                // It may have spoken meanwhile.
                guard !hasSource else { return }
                log.warning(
                    "nothing answers: serving what was last known", ["age_s": .integer(Int(clamping: ageS))])
                serve(loaded.content)
            }
        } catch {
            log.warning("the last good snapshot cannot be used", ["problem": .string(error.description)])
        }
    }

    func stop() { ticker.withLock { $0 }?.stop() }
}
