// The feed's client: follows one controller at a time, and another one as soon as that is silent. Three kinds of
// threads: one that follows (FeedFollower), one that decodes and applies (FeedApplier), and short ones that look names
// up and call. They meet in the mailbox here.

internal import Kernel
internal import Model
internal import Synchronization
public import TLS

/// What the follower's thread hears from others.
enum FeedMail: Sendable {
    case linked(FeedStandby)
    case failed(SocketAddress, FeedFailure)
    case applied(FeedApplied)
    /// The credential was replaced.
    case renewed
}

public final class FeedClient: Sendable {
    let settings: FeedClientSettings
    let applier: FeedApplier
    let wakeup: Wakeup
    private let note: @Sendable (FeedNote) -> Void
    private let stopping = Atomic(false)
    private let state: Mutex<State>

    private struct State {
        var context: TLSContext
        var mail: [FeedMail] = []
        var status = FeedClientStatus()
        /// Monotonic.
        var lastHeardNs: UInt64?
        var waitingUntilNs: UInt64?
        /// Nanoseconds since 1970.
        var confirmedAtNs: UInt64?
        var book: FeedAddressBook?
        var thread: Thread?
    }

    /// - Parameters:
    ///   - lastGood: where the last content is kept for the next start.
    ///   - apply: called on a thread of the client's, one content at a time; returns the version of its table.
    ///   - note: called from any thread.
    public init(
        settings: FeedClientSettings, lastGood: LastGood?,
        apply: @escaping @Sendable (FeedContent) -> UInt64, note: @escaping @Sendable (FeedNote) -> Void
    ) throws(FeedStartError) {
        guard settings.credential.identity.role != .controller else {
            throw FeedStartError("a controller's credential cannot follow a feed: give one of a proxy or an extension")
        }
        self.settings = settings
        self.note = note
        do throws(TLSError) {
            state = Mutex(State(context: try TLSContext(feed: settings.credential, asServer: false)))
        } catch {
            throw FeedStartError(error.description)
        }
        do throws(SystemError) {
            wakeup = try Wakeup()
            applier = try FeedApplier(lastGood: lastGood, apply: apply, tell: note)
        } catch {
            throw FeedStartError("cannot start the feed: \(error)")
        }
    }

    /// Serves what is on disk, if there is something, and follows a controller from then on. Returns at once.
    public func start() throws(FeedStartError) {
        do throws(SystemError) {
            let bell = wakeup
            let book = try FeedAddressBook(settings.controllers) { bell.ring() }
            state.withLock { $0.book = book }
            try book.start()
            try applier.start { [weak self] applied in self?.post(.applied(applied)) }
            let thread = try Thread.start(name: "feed-client") {
                var follower = FeedFollower(client: self, book: book)
                follower.run()
            }
            state.withLock { $0.thread = thread }
        } catch {
            throw FeedStartError("cannot start the feed: \(error)")
        }
    }

    /// Ends all threads and waits for them, but for those that look names up or call: they end by their deadlines.
    public func stop() {
        stopping.store(true, ordering: .releasing)
        wakeup.ring()
        let (thread, book) = state.withLock { ($0.thread, $0.book) }
        book?.stop()
        thread?.join()
        applier.stop()
    }

    /// Uses a renewed credential, of the same role and cluster, for connections from now on.
    public func replace(credential: FeedCredential) throws(TLSError) {
        let (old, new) = (settings.credential.identity, credential.identity)
        guard old.role == new.role, old.cluster == new.cluster else {
            throw TLSError(
                kind: .configuration,
                description: "the new feed credential is for another role or service cluster: that takes a restart")
        }
        let context = try TLSContext(feed: credential, asServer: false)
        state.withLock { $0.context = context }
        post(.renewed)
    }

    public var status: FeedClientStatus {
        let nowNs = Clock.monotonicNs()
        let realNs = Clock.realtimeNs()
        func ageMs(_ thenNs: UInt64, _ nowNs: UInt64) -> Int { nowNs > thenNs ? Int((nowNs - thenNs) / 1_000_000) : 0 }
        return state.withLock { state in
            var status = state.status
            status.lastHeardAgeMs = state.lastHeardNs.map { ageMs($0, nowNs) }
            status.contentAgeMs = state.confirmedAtNs.map { ageMs($0, realNs) }
            status.waitingMs = state.waitingUntilNs.map { ageMs(nowNs, $0) } ?? 0
            return status
        }
    }

    // MARK: For the client's threads

    var isStopping: Bool { stopping.load(ordering: .acquiring) }
    var context: TLSContext { state.withLock { $0.context } }

    func post(_ mail: FeedMail) {
        state.withLock { $0.mail.append(mail) }
        wakeup.ring()
    }

    func takeMail() -> [FeedMail] {
        state.withLock { state in
            defer { state.mail = [] }
            return state.mail
        }
    }

    func tell(_ level: FeedNote.Level, _ message: String, _ detail: String = "") {
        note(FeedNote(level, message, detail))
    }

    func report(_ change: (inout FeedClientStatus) -> Void) { state.withLock { change(&$0.status) } }

    func heard(atNs: UInt64, receivedCount: UInt64) {
        state.withLock { state in
            state.lastHeardNs = atNs
            state.status.receivedByteCount &+= receivedCount
        }
    }

    /// A controller offers what is served, or it is as old as the file it came from.
    func confirmed(atRealtimeNs: UInt64) { state.withLock { $0.confirmedAtNs = atRealtimeNs } }

    func waits(_ order: SnapshotOrder?, untilNs: UInt64?) {
        state.withLock { state in
            state.status.waitingOrder = order
            state.waitingUntilNs = untilNs
        }
    }
}
