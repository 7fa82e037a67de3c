// A server's one client: its thread moves bytes between the socket and the session until one side ends it. Nothing
// here waits for another client, and nobody who publishes waits for this one.

import Kernel
import Synchronization
import TLS

final class FeedPeer: Sendable {
    private let stream: Stream
    let address: SocketAddress
    let wakeup: Wakeup
    let connectedAtNs = Clock.realtimeNs()
    private let state = Mutex(State())
    private static let blockedMs = 100

    struct State {
        /// Known once TLS is done.
        var identity: FeedIdentity?
        /// Known once it has greeted.
        var reading: FeedClientReading?
        /// The digest of what it was last found to serve.
        var held: FeedDigest?
        var thread: Thread?
        var isOpen = true
        var isCancelled = false
        /// It has acknowledged something: it follows this controller, and is not only looking.
        var isFollowing = false
    }

    init(stream: Stream, address: SocketAddress) throws(SystemError) {
        self.stream = stream
        self.address = address
        wakeup = try Wakeup()
    }

    var identity: FeedIdentity? { state.withLock { $0.identity } }
    var reading: FeedClientReading? { state.withLock { $0.reading } }
    var held: FeedDigest? { state.withLock { $0.held } }
    var isFollowing: Bool { state.withLock { $0.isFollowing } }
    var thread: Thread? { state.withLock { $0.thread } }
    func keep(_ thread: Thread) { state.withLock { $0.thread = thread } }

    /// Ends the connection from any thread.
    func cancel() {
        state.withLock { state in
            state.isCancelled = true
            if state.isOpen { stream.cancel() }
        }
    }

    /// It has not said yet what it wants, and nobody has ended it.
    var isArriving: Bool { state.withLock { $0.reading == nil && !$0.isCancelled } }

    /// It is given a place.
    func isAdmitted(as reading: FeedClientReading) { state.withLock { $0.reading = reading } }

    /// It has a place.
    var isPresent: Bool { state.withLock { $0.reading != nil && !$0.isCancelled } }

    // MARK: Its thread

    /// Serves the client to its end.
    func serve(for server: FeedServer) {
        defer {
            state.withLock { state in
                state.isOpen = false
                stream.close()
            }
        }
        // Without its port, which is another one with each try: the same trouble is told in the same words.
        let host = address.hostText
        let link: FeedLink
        do throws(TLSError) {
            link = FeedLink(
                stream: stream, tls: try TLSSession(server: server.context, peerName: host), peerName: host
            ) { $0 == .hello || $0 == .refusal }
        } catch {
            return server.ended(self, FeedFailure(error.description))
        }
        Socket.setUserTimeout(stream.descriptor, milliseconds: Int32(clamping: server.settings.stallMs))
        do throws(FeedFailure) {
            let deadlineNs = Clock.monotonicNs() + UInt64(server.settings.handshakeMs) * 1_000_000
            try link.handshake(deadlineNs: deadlineNs)
            guard let identity = link.identity, identity.role != .controller else {
                throw FeedFailure(
                    refusing: host, FeedRefusal(.role, "shows no credential of a proxy or an extension"))
            }
            state.withLock { $0.identity = identity }
            try converse(server, link, identity, greetingDeadlineNs: deadlineNs)
        } catch {
            server.ended(self, error)
            link.end(saying: error.lastWord)
        }
    }

    private func converse(
        _ server: FeedServer, _ link: FeedLink, _ identity: FeedIdentity, greetingDeadlineNs: UInt64
    ) throws(FeedFailure) {
        var session = FeedServerSession(
            settings: server.settings.session, identity: identity, nowNs: Clock.monotonicNs())
        var published: FeedPublication?
        while true {
            session.setCurrent(server.isCurrent)
            if let newest = server.publication(for: identity), newest !== published {
                published = newest
                session.publish(newest, nowNs: Clock.monotonicNs())
            }
            do throws(FeedRefusal) {
                try hear(server, link, &session, identity)
                try check(server, link, session, greetingDeadlineNs)
            } catch {
                throw FeedFailure(refusing: "\(link.peerName) (\(identity.commonName))", error)
            }
            if let refusal = session.refusal { throw FeedFailure(refusedBy: link.peerName, refusal) }
            while !link.hasPendingOutput, let frame = session.nextOutput(nowNs: Clock.monotonicNs()) {
                try link.send(frame)
            }
            let dueNs = session.isGreeted ? session.dueNs : greetingDeadlineNs
            // A heartbeat that is due cannot leave while something waits.
            let waitMs = link.hasPendingOutput ? Self.blockedMs : min(FeedLink.remainingMs(dueNs), 1_000)
            let ready = stream.wait(forWriting: link.hasPendingOutput, or: wakeup, timeoutMs: waitMs)
            // Whatever the wait came to: a thread that was kept waiting must not find the client silent.
            if try link.receive() { session.heard(nowNs: Clock.monotonicNs()) }
            if ready.isWritable { try link.flush() }
        }
    }

    private func hear(
        _ server: FeedServer, _ link: FeedLink, _ session: inout FeedServerSession, _ identity: FeedIdentity
    ) throws(FeedRefusal) {
        while let frame = try link.nextFrame() {
            switch try session.receive(frame, nowNs: Clock.monotonicNs()) {
            case nil: break
            case .greeted(let hello):
                link.allow { $0.isFromClient }
                let reading = greeting(hello, identity)
                state.withLock { $0.held = hello.held?.digest }
                try server.admit(self, reading)
            case .acknowledged(let acknowledgement):
                let isFirst = !isFollowing
                note(acknowledgement)
                server.acknowledged(acknowledgement, by: self, isFirst: isFirst)
            }
        }
    }

    private func check(
        _ server: FeedServer, _ link: FeedLink, _ session: FeedServerSession, _ greetingDeadlineNs: UInt64
    ) throws(FeedRefusal) {
        let nowNs = Clock.monotonicNs()
        if server.isStopping { throw FeedRefusal(.stopping, "is let go: this controller stops") }
        if !session.isGreeted, nowNs >= greetingDeadlineNs {
            throw FeedRefusal(.deadline, "did not say what it wants in time")
        }
        if link.stalledNs(nowNs: nowNs) >= UInt64(server.settings.stallMs) * 1_000_000 {
            throw FeedRefusal(.deadline, "has taken nothing for \(server.settings.stallMs) ms")
        }
        try session.check(nowNs: nowNs, realtimeS: Int64(Clock.realtimeNs() / 1_000_000_000))
    }

    // MARK: What is known of it

    private func greeting(_ hello: FeedHello, _ identity: FeedIdentity) -> FeedClientReading {
        var reading = FeedClientReading(
            name: hello.name, identity: identity, address: "\(address)", connectedAtNs: connectedAtNs)
        guard let held = hello.held else { return reading }
        reading.order = held.order
        reading.contentDigest = "\(held.digest)"
        reading.tableVersion = hello.tableVersion
        reading.acknowledgedAtNs = connectedAtNs
        return reading
    }

    private func note(_ acknowledgement: FeedAcknowledgement) {
        let nowNs = Clock.realtimeNs()
        state.withLock { state in
            state.isFollowing = true
            state.reading?.tableVersion = acknowledgement.tableVersion
            switch acknowledgement.verdict {
            case .applied:
                state.held = acknowledgement.name.digest
                state.reading?.order = acknowledgement.name.order
                state.reading?.contentDigest = "\(acknowledgement.name.digest)"
                state.reading?.acknowledgedAtNs = nowNs
                state.reading?.refusal = ""
                state.reading?.refusedAtNs = 0
            case .waiting, .refused:
                state.reading?.refusal = acknowledgement.reason
                state.reading?.refusedAtNs = nowNs
            }
        }
    }
}
