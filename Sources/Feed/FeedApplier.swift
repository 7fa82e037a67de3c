// The client's second thread: decodes contents, has them applied, and keeps the last good one on disk. It may take its
// time; meanwhile the first thread goes on talking to the controller.

internal import Kernel
internal import Model
internal import Synchronization

/// A content that was offered, with all its pieces.
struct FeedCandidate: Sendable {
    let name: FeedContentName
    /// In the order of the content.
    let digests: [FeedDigest]
    let pieces: [[UInt8]]
    /// Which connection it came by.
    let connection: UInt64
    /// The controller was told that it waits.
    var isToldToWait = false

    /// - Parameter digests: those of the pieces.
    init(name: FeedContentName, digests: [FeedDigest], pieces: [[UInt8]], connection: UInt64) {
        precondition(digests.count == pieces.count, "a digest for each piece")
        self.name = name
        self.digests = digests
        self.pieces = pieces
        self.connection = connection
    }

    /// What it is without its secrets.
    var bareDigest: FeedDigest {
        FeedDigest(
            of: zip(digests, pieces).lazy.filter { !SnapshotPiece(bytes: $0.1).isSecret }.map { digest, _ in digest })
    }

    /// By digest, to be found again.
    var byDigest: [FeedDigest: [UInt8]] { Dictionary(zip(digests, pieces)) { first, _ in first } }
}

/// What became of a candidate.
struct FeedApplied: Sendable {
    let candidate: FeedCandidate
    /// The version of the table; or why it could not be used.
    let outcome: Result<UInt64, FeedFailure>
    let pieces: [FeedDigest: [UInt8]]
}

/// What was on disk.
struct FeedRestored: Sendable {
    let applied: FeedApplied
    /// Nanoseconds since 1970.
    let savedAtNs: UInt64
    /// The secrets in the file could not be opened.
    let lacksSecrets: Bool
}

final class FeedApplier: Sendable {
    private enum Job: Sendable {
        case apply(FeedCandidate)
        case touch
    }

    private struct State {
        var jobs: [Job] = []
        var isStopped = false
        var thread: Thread?
    }

    private let lastGood: LastGood?
    private let apply: @Sendable (FeedContent) -> UInt64
    private let tell: @Sendable (FeedNote) -> Void
    private let wakeup: Wakeup
    private let state = Mutex(State())

    init(
        lastGood: LastGood?, apply: @escaping @Sendable (FeedContent) -> UInt64,
        tell: @escaping @Sendable (FeedNote) -> Void
    ) throws(SystemError) {
        self.lastGood = lastGood
        self.apply = apply
        self.tell = tell
        wakeup = try Wakeup()
    }

    /// - Parameter done: called on this thread.
    func start(done: @escaping @Sendable (FeedApplied) -> Void) throws(SystemError) {
        let thread = try Thread.start(name: "feed-applier") { self.run(done) }
        state.withLock { $0.thread = thread }
    }

    /// Ends after the job at hand.
    func stop() {
        let thread = state.withLock { state in
            state.isStopped = true
            state.jobs = []
            return state.thread
        }
        wakeup.ring()
        thread?.join()
    }

    /// Applies a candidate; `done` says what became of it.
    func submit(_ candidate: FeedCandidate) { add(.apply(candidate)) }

    /// A controller has confirmed what was applied last: its age on disk begins anew.
    func touch() { add(.touch) }

    private func add(_ job: Job) {
        state.withLock { $0.jobs.append(job) }
        wakeup.ring()
    }

    /// What was saved, applied; nil without such. On the caller's thread, before the first job.
    func restore() -> FeedRestored? {
        guard let lastGood else { return nil }
        let saved: LastGood.Loaded
        do throws(LastGoodError) {
            guard let loaded = try lastGood.load() else { return nil }
            saved = loaded
        } catch {
            tell(FeedNote(.warning, "the last good snapshot on disk cannot be used", error.description))
            return nil
        }
        if let missing = saved.missingSecrets {
            tell(FeedNote(.warning, "the last good snapshot on disk has no secrets", missing))
        }
        let version = apply(saved.content)
        tell(FeedNote(.info, "serving the last good snapshot from disk until a controller answers"))
        let pieces =
            (SnapshotCodec.pieces(of: saved.content.snapshot) + SnapshotCodec.pieces(of: saved.content.secrets))
            .map(\.bytes)
        let digests = pieces.map { FeedDigest(of: $0) }
        let candidate = FeedCandidate(
            name: FeedContentName(order: saved.content.snapshot.order, digest: FeedDigest(of: digests)),
            digests: digests, pieces: pieces, connection: 0)
        let applied = FeedApplied(candidate: candidate, outcome: .success(version), pieces: candidate.byDigest)
        return FeedRestored(
            applied: applied, savedAtNs: saved.savedAtNs, lacksSecrets: saved.missingSecrets != nil)
    }

    // MARK: Its thread

    private func run(_ done: @Sendable (FeedApplied) -> Void) {
        var lastTrouble = ""
        while true {
            let (job, isStopped) = state.withLock { state in
                (state.jobs.isEmpty ? nil : state.jobs.removeFirst(), state.isStopped)
            }
            if isStopped { return }
            switch job {
            case nil: _ = wakeup.wait(timeoutMs: -1)
            case .touch: keep(&lastTrouble) { (file) throws(LastGoodError) in try file.touch(atNs: Clock.realtimeNs()) }
            case .apply(let candidate):
                do throws(FeedFailure) {
                    let content = try Self.decode(candidate)
                    let version = apply(content)
                    done(FeedApplied(candidate: candidate, outcome: .success(version), pieces: candidate.byDigest))
                    keep(&lastTrouble) { (file) throws(LastGoodError) in
                        try file.save(content, atNs: Clock.realtimeNs())
                    }
                } catch {
                    done(FeedApplied(candidate: candidate, outcome: .failure(error), pieces: [:]))
                }
            }
        }
    }

    private static func decode(_ candidate: FeedCandidate) throws(FeedFailure) -> FeedContent {
        do throws(SnapshotCodecError) {
            let (snapshot, secrets) = try SnapshotCodec.decode(
                candidate.pieces.map { SnapshotPiece(bytes: $0) }, order: candidate.name.order)
            return FeedContent(snapshot: snapshot, secrets: secrets)
        } catch {
            throw FeedFailure("the snapshot cannot be read: \(error)")
        }
    }

    /// Does something with the file on disk. The same trouble is told once.
    private func keep(_ lastTrouble: inout String, _ step: (LastGood) throws(LastGoodError) -> Void) {
        guard let lastGood else { return }
        do throws(LastGoodError) {
            try step(lastGood)
            lastTrouble = ""
        } catch {
            let trouble = error.description
            if trouble != lastTrouble { tell(FeedNote(.warning, "the last good snapshot cannot be saved", trouble)) }
            lastTrouble = trouble
        }
    }
}
