// The feed's server: a thread accepts, and each client has one of its own (FeedPeer). What is published is encoded
// once, by who publishes it, and is from then on read by all; nobody who publishes waits for a client.

internal import Kernel
internal import Model
internal import Synchronization
public import TLS

public final class FeedServer: Sendable {
    let settings: FeedServerSettings
    private let wanted: @Sendable (String) -> Void
    private let note: @Sendable (FeedNote) -> Void
    private let listeners: [ListeningSocket]
    private let stopping = Atomic(false)
    private let current = Atomic(true)
    private let state: Mutex<State>
    private static let quietNs: UInt64 = 600_000_000_000
    /// Held while a content is encoded, so that the newest is the last.
    private let publishing = Mutex(())

    private struct State {
        var context: TLSContext
        var offerings: [String: FeedOffering] = [:]
        var wantedClusters: Set<String> = []
        var peers: [Int: FeedPeer] = [:]
        var nextPeer = 0
        var acceptors: [Thread] = []
        /// When what was told last; who is refused comes again every few seconds.
        var toldNs: [FeedNote: UInt64] = [:]
    }

    /// Binds its addresses at once; `start` accepts.
    /// - Parameters:
    ///   - wanted: called on a client's thread when the first client of a cluster comes that nothing was published
    ///     for. It must return soon.
    ///   - note: called from any thread.
    public init(
        settings: FeedServerSettings, wanted: @escaping @Sendable (_ cluster: String) -> Void,
        note: @escaping @Sendable (FeedNote) -> Void
    ) throws(FeedStartError) {
        self.settings = settings
        self.wanted = wanted
        self.note = note
        do throws(TLSError) {
            state = Mutex(State(context: try Self.makeContext(settings.credential)))
        } catch {
            throw FeedStartError(error.description)
        }
        var listeners: [ListeningSocket] = []
        for (address, isDualStack) in settings.addresses {
            do throws(SystemError) {
                listeners.append(try ListeningSocket(address, backlog: 1024, isDualStack: isDualStack))
            } catch {
                throw FeedStartError("cannot listen for the feed on \(address): \(error.reason)")
            }
        }
        self.listeners = listeners
    }

    private static func makeContext(_ credential: FeedCredential) throws(TLSError) -> TLSContext {
        guard credential.identity.role == .controller else {
            throw TLSError(
                kind: .configuration,
                description: "a feed is served with a controller's credential, this one is for the role "
                    + "\(credential.identity.role.rawValue)")
        }
        return try TLSContext(feed: credential, asServer: true)
    }

    /// The ports it listens on, address by address.
    public var ports: [UInt16] { listeners.map(\.localPort) }

    public func start() throws(FeedStartError) {
        for listener in listeners {
            do throws(SystemError) {
                let thread = try Thread.start(name: "feed-server") { self.accept(listener) }
                state.withLock { $0.acceptors.append(thread) }
            } catch {
                throw FeedStartError("cannot start the feed: \(error)")
            }
        }
    }

    /// Ends all connections and waits for all threads.
    public func stop() {
        stopping.store(true, ordering: .releasing)
        listeners.forEach { $0.cancel() }
        let (acceptors, _) = state.withLock { ($0.acceptors, $0.peers.count) }
        acceptors.forEach { $0.join() }
        let peers = state.withLock { Array($0.peers.values) }
        for peer in peers {
            peer.wakeup.ring()
            // Who has not greeted yet may be in the middle of a blocking handshake.
            if peer.identity == nil { peer.cancel() }
        }
        for peer in peers { peer.thread?.join() }
        listeners.forEach { $0.close() }
    }

    // MARK: What is published

    /// Offers a content to the clients of a cluster, instead of the one before. It is encoded here and now.
    public func publish(_ content: FeedContent, cluster: String) {
        publishing.withLock { _ in
            var content = content
            let removed = content.secrets.removeFeedCredentials()
            if !removed.isEmpty {
                tellAgain(
                    .warning, "credentials of the feed are among the secrets, they are not handed out",
                    removed.joined(separator: ", "))
            }
            let previous = state.withLock { $0.offerings[cluster] }
            let offering = FeedOffering(
                content, sharesSecretsWithExtensions: settings.sharesSecretsWithExtensions, previous: previous)
            guard offering.proxies.pieceCount <= FeedLimits.pieceCount else {
                return tell(
                    .warning, "a snapshot is too large for the feed, clients keep the one before",
                    "\(offering.proxies.pieceCount) pieces, the limit is \(FeedLimits.pieceCount)")
            }
            let peers = state.withLock { state in
                state.offerings[cluster] = offering
                return state.peers.values.filter { $0.identity?.cluster == cluster }
            }
            peers.forEach { $0.wakeup.ring() }
        }
    }

    /// Whether this controller's own look at the world is up to date. While it is not, clients look for another
    /// controller, and stay if there is none. It is at the beginning.
    public var isCurrent: Bool {
        get { current.load(ordering: .acquiring) }
        set {
            guard current.exchange(newValue, ordering: .acquiringAndReleasing) != newValue else { return }
            state.withLock { Array($0.peers.values) }.forEach { $0.wakeup.ring() }
        }
    }

    /// Uses a renewed credential for connections from now on.
    public func replace(credential: FeedCredential) throws(TLSError) {
        let context = try Self.makeContext(credential)
        state.withLock { $0.context = context }
    }

    // MARK: What is going on

    /// The clients that are connected now, by role, cluster, name and address.
    public var clients: [FeedClientReading] {
        let readings = state.withLock { state in
            state.peers.values.compactMap { peer -> FeedClientReading? in
                guard var reading = peer.reading else { return nil }
                let offered = state.offerings[reading.identity.cluster]?.publication(for: reading.identity.role)
                reading.isUpToDate = offered != nil && peer.held == offered?.name.digest
                return reading
            }
        }
        func key(_ reading: FeedClientReading) -> [String] {
            [reading.identity.role.rawValue, reading.identity.cluster, reading.name, reading.address]
        }
        return readings.sorted { key($0).lexicographicallyPrecedes(key($1)) }
    }

    /// What is offered, by cluster.
    public var offers: [FeedOfferReading] {
        let readings = state.withLock { state in
            state.offerings.map { cluster, offering in
                FeedOfferReading(
                    cluster: cluster, order: offering.proxies.name.order,
                    contentDigest: "\(offering.proxies.name.digest)", pieceCount: offering.proxies.pieceCount,
                    byteCount: offering.proxies.byteCount)
            }
        }
        return readings.sorted { $0.cluster < $1.cluster }
    }

    func tell(_ level: FeedNote.Level, _ message: String, _ detail: String = "") {
        note(FeedNote(level, message, detail))
    }

    /// Tells it, unless the same was told of late.
    private func tellAgain(_ level: FeedNote.Level, _ message: String, _ detail: String) {
        let note = FeedNote(level, message, detail)
        let nowNs = Clock.monotonicNs()
        let isNews = state.withLock { state in
            if let lastNs = state.toldNs[note], nowNs &- lastNs < Self.quietNs { return false }
            if state.toldNs.count >= 256 { state.toldNs = [:] }
            state.toldNs[note] = nowNs
            return true
        }
        if isNews { self.note(note) }
    }

    // MARK: For the clients' threads

    var isStopping: Bool { stopping.load(ordering: .acquiring) }
    var context: TLSContext { state.withLock { $0.context } }

    /// What a client gets; nil, after asking for it, if there is nothing yet.
    func publication(for identity: FeedIdentity) -> FeedPublication? {
        let (offering, isFirst) = state.withLock { state in
            let offering = state.offerings[identity.cluster]
            return (offering, offering == nil && state.wantedClusters.insert(identity.cluster).inserted)
        }
        if isFirst { wanted(identity.cluster) }
        return offering?.publication(for: identity.role)
    }

    /// A client has said who it is. When all places are taken, the address that has most of them gives one up to one
    /// that has fewer: whoever holds a stolen credential keeps nobody out from a single machine.
    func admit(_ peer: FeedPeer, _ reading: FeedClientReading) throws(FeedRefusal) {
        let (isAdmitted, surplus) = state.withLock { state -> (Bool, FeedPeer?) in
            let present = state.peers.values.filter { $0.isPresent }
            var surplus: FeedPeer?
            if present.count >= settings.maximumClients {
                surplus = Self.surplus(among: present, for: peer)
                guard let surplus else { return (false, nil) }
                surplus.cancel()
            }
            peer.isAdmitted(as: reading)
            return (true, surplus)
        }
        guard isAdmitted else {
            throw FeedRefusal(.full, "comes when all places for \(settings.maximumClients) clients are taken")
        }
        if let surplus {
            tellAgain(
                .warning, "all places are taken: a feed client gives its own up to one of another address",
                surplus.address.hostText)
        }
        tell(.debug, "a feed client has called", reading.text)
    }

    /// The newest client of the address that has most, if it still has more then than the newcomer's. An IPv6 machine
    /// has as many addresses as it likes: its network of 64 bits counts first, where the newcomer is not in it too.
    private static func surplus(among present: [FeedPeer], for newcomer: FeedPeer) -> FeedPeer? {
        func newest(by key: (SocketAddress) -> [UInt64]) -> FeedPeer? {
            let groups = Dictionary(grouping: present) { key($0.address) }
            let own = groups[key(newcomer.address)]?.count ?? 0
            guard let most = groups.values.max(by: { $0.count < $1.count }), most.count > own + 1 else { return nil }
            return most.max { $0.connectedAtNs < $1.connectedAtNs }
        }
        return newest { $0.family == .v6 ? [1, $0.high] : [0, $0.low] } ?? newest { [$0.high, $0.low] }
    }

    func acknowledged(_ acknowledgement: FeedAcknowledgement, by peer: FeedPeer, isFirst: Bool) {
        guard let reading = peer.reading else { return }
        if isFirst { tell(.info, "a feed client follows this controller", reading.text) }
        switch acknowledgement.verdict {
        case .applied: tell(.debug, "a feed client has applied a snapshot", reading.text)
        case .waiting:
            tell(.info, "a feed client has a newer snapshot and waits", "\(reading.text): \(acknowledgement.reason)")
        case .refused:
            tell(.warning, "a feed client refuses a snapshot", "\(reading.text): \(acknowledgement.reason)")
        }
    }

    /// A connection came to its end.
    func ended(_ peer: FeedPeer, _ failure: FeedFailure) {
        guard !isStopping else { return }
        if peer.isFollowing {
            tell(failure.lastWord == nil ? .info : .warning, "a feed client is gone", failure.description)
        } else if failure.lastWord != nil || failure.isRefusal {
            tellAgain(.warning, "a feed client is refused", failure.description)
        } else {
            tell(.debug, "a connection to the feed came to nothing", failure.description)
        }
    }

    // MARK: Accepting

    private func accept(_ listener: ListeningSocket) {
        while !isStopping {
            do throws(SystemError) {
                guard let (stream, address) = try listener.accept(timeoutMs: 1_000) else { continue }
                try begin(FeedPeer(stream: stream, address: address.unmapped))
            } catch {
                tellAgain(.warning, "the feed cannot accept a connection", error.description)
                // Out of descriptors or threads: those that are there go on.
                Thread.sleep(milliseconds: 50)
            }
        }
    }

    private func begin(_ peer: FeedPeer) throws(SystemError) {
        let limit = settings.maximumHandshakes
        let (number, surplus) = state.withLock { state -> (Int, FeedPeer?) in
            let number = state.nextPeer
            state.nextPeer += 1
            state.peers[number] = peer
            let arriving = state.peers.filter { $0.value.isArriving }
            return (number, arriving.count > limit ? arriving.min { $0.key < $1.key }?.value : nil)
        }
        surplus?.cancel()
        do throws(SystemError) {
            peer.keep(
                try Thread.start(name: "feed-client") {
                    peer.serve(for: self)
                    self.state.withLock { $0.peers[number] = nil }
                })
        } catch {
            state.withLock { $0.peers[number] = nil }
            throw error
        }
    }
}
