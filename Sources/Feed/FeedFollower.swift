// The client's first thread: whom it follows, when it calls others, and when it changes over. It waits for its one
// connection and for its mailbox, and for nothing else. FeedFollower+Content.swift is about what it is offered.
//
//   no controller                      call all, take the first that is good; the best there is after half a second
//   silent for half of the deadline    call all, to have another at hand
//   silent for the deadline, or ended  take the one at hand, or call all
//   promises and does not deliver      leave it; it is doubted until it delivers something that can be used
//   it is behind, or not up to date    call the others every now and then, change over to a better one

internal import Kernel
internal import Model
internal import TLS

struct FeedFollower: ~Copyable {
    /// The connection that is followed. (A class: as a structure in an optional its contents leaked with each offer, by
    /// the compiler of Swift 6.3.)
    final class Current {
        let number: UInt64
        let address: SocketAddress
        let link: FeedLink
        var session: FeedClientSession
        let welcome: FeedWelcome
        let sinceNs: UInt64
        /// Of what it offered last.
        var order: SnapshotOrder?
        /// What it has offered; nil: nothing yet.
        var offer: Offer?
        /// What it offered last could not be used.
        var isRefused = false
        /// What it offered last is what is served.
        var isConfirmed = false
        var isSuspected = false
        var receivedCount: UInt64

        init(_ standby: FeedStandby, number: UInt64, nowNs: UInt64) {
            self.number = number
            address = standby.address
            link = standby.link
            session = standby.session
            welcome = standby.welcome
            sinceNs = nowNs
            order = standby.welcome.order
            receivedCount = standby.link.receivedCount
        }

        var name: String { "\(welcome.controllerID) at \(address)" }
    }

    /// A content on offer, with the digests of its pieces.
    struct Offer {
        let name: FeedContentName
        let digests: [FeedDigest]
    }

    let client: FeedClient
    let book: FeedAddressBook
    var succession: FeedSuccession
    var current: Current?
    var candidate: FeedCandidate?
    /// A candidate is being applied.
    var isApplying = false
    /// The pieces of what is held.
    var pieces: [FeedDigest: [UInt8]] = [:]
    var tableVersion: UInt64 = 0
    /// Contents that could not be used, until when they are not asked for again, and why.
    var refused: [FeedDigest: (untilNs: UInt64, reason: String)] = [:]
    /// Controllers that delivered nothing usable when they were last followed: any other is preferred.
    var doubted: Set<SocketAddress> = []
    /// What is held without its secrets, if they could not be read from disk.
    var bareDigest: FeedDigest?
    var touchedNs: UInt64 = 0
    private var dialer: FeedDialer
    private var standbys: [FeedStandby] = []
    private var connectionCount: UInt64 = 0
    /// Failures that were told, until a controller is followed; refusals for good.
    private var told: Set<String> = []
    private var toldRefusals: Set<String> = []

    private static let graceNs: UInt64 = 500_000_000
    private static let standbyNs: UInt64 = 2_000_000_000
    /// A connection that ends sooner counts as a failed try.
    private static let shortLifeNs: UInt64 = 5_000_000_000
    private static let longestWaitMs = 500
    /// The file is not written as often.
    static let touchNs: UInt64 = 5_000_000_000

    init(client: FeedClient, book: FeedAddressBook) {
        self.client = client
        self.book = book
        let settings = client.settings
        succession = FeedSuccession(patienceNs: FeedClientSettings.nanoseconds(settings.patienceMs))
        dialer = FeedDialer(
            shortestNs: FeedClientSettings.nanoseconds(settings.shortestPauseMs),
            longestNs: FeedClientSettings.nanoseconds(settings.longestPauseMs))
    }

    mutating func run() {
        restore()
        while !client.isStopping {
            takeMail()
            dialer.update(book.addresses)
            settle(Clock.monotonicNs())
            dial(Clock.monotonicNs())
            advance(Clock.monotonicNs())
            exchange()
        }
        for standby in standbys { standby.close() }
        guard let current else { return }
        current.link.end(saying: FeedRefusal(.stopping, "is left: this client stops"), lingerMs: 100)
        current.link.stream.close()
    }

    private mutating func takeMail() {
        let nowNs = Clock.monotonicNs()
        for mail in client.takeMail() {
            switch mail {
            case .linked(let standby):
                dialer.succeeded(standby.address, nowNs: nowNs)
                standbys.append(standby)
            case .failed(let address, let failure):
                dialer.failed(address, nowNs: nowNs, random: Machine.random())
                tellOnce(failure)
            case .applied(let applied): finish(applied, nowNs)
            case .renewed:
                toldRefusals = []
                dialer.hurry(nowNs: nowNs)
            }
        }
    }

    // MARK: Whom to follow

    private func standing(_ current: Current) -> FeedStanding {
        if current.isRefused || doubted.contains(current.address) { return .useless }
        return FeedStanding(
            order: current.order, isCurrent: current.session.isServerCurrent, held: succession.held?.order)
    }

    private func standing(_ standby: FeedStandby) -> FeedStanding {
        if doubted.contains(standby.address) { return .useless }
        return FeedStanding(
            order: standby.welcome.order, isCurrent: standby.welcome.isCurrent, held: succession.held?.order)
    }

    /// Leaves a controller that is silent, and takes one that is at hand.
    private mutating func settle(_ nowNs: UInt64) {
        if let current, current.session.isSilent(nowNs: nowNs) {
            lose(FeedFailure("\(current.name) said nothing for \(client.settings.silenceMs) ms"))
        }
        if let current, current.session.isStalled(nowNs: nowNs) {
            let reason = "has a snapshot and delivered nothing of it for \(client.settings.deliveryMs) ms"
            lose(FeedFailure(refusing: current.name, FeedRefusal(.deadline, reason)))
        }
        for standby in standbys where nowNs &- standby.readyNs >= Self.standbyNs && nowNs > standby.readyNs {
            standby.close()
        }
        standbys.removeAll { nowNs > $0.readyNs && nowNs - $0.readyNs >= Self.standbyNs }
        guard let best = standbys.max(by: { standing($0) < standing($1) }) else { return }
        if let current {
            if standing(best) > standing(current) {
                client.tell(
                    .info, "changing over to a controller that knows more",
                    "\(best.welcome.controllerID) at \(best.address) instead of \(current.name)")
                current.link.stream.close()
                self.current = nil
                adopt(best, nowNs)
            } else if !current.isSuspected {
                standbys.forEach { $0.close() }
                standbys = []
            }
        } else if standing(best) == .good || standbys.contains(where: { nowNs >= $0.readyNs + Self.graceNs }) {
            adopt(best, nowNs)
        }
    }

    private mutating func adopt(_ standby: FeedStandby, _ nowNs: UInt64) {
        for other in standbys where other.link !== standby.link { other.close() }
        standbys = []
        connectionCount += 1
        let made = Current(standby, number: connectionCount, nowNs: nowNs)
        current = made
        told = []
        book.setUrgent(false)
        client.heard(atNs: standby.session.lastHeardNs, receivedCount: standby.link.receivedCount)
        client.report { status in
            status.isConnected = true
            status.controllerID = standby.welcome.controllerID
            status.controllerAddress = "\(standby.address)"
            status.isControllerCurrent = standby.welcome.isCurrent
            status.connectionCount &+= 1
            status.lastFailure = ""
        }
        client.tell(.info, "following a controller", made.name)
        // What came together with its first answer.
        perform { (follower) throws(FeedFailure) in try follower.hear() }
    }

    private mutating func lose(_ failure: FeedFailure) {
        guard let lost = current else { return }
        let nowNs = Clock.monotonicNs()
        current = nil
        if candidate?.isToldToWait == true { drop() }
        client.report { status in
            status.isConnected = false
            status.lossCount &+= 1
            status.lastFailure = failure.description
        }
        client.tell(.warning, "the controller is lost, keeping what there is", failure.description)
        if failure.lastWord != nil || !lost.isConfirmed { doubt(lost.address) }
        dialer.hurry(nowNs: nowNs)
        if failure.isRefusal || failure.lastWord != nil || nowNs &- lost.sinceNs < Self.shortLifeNs {
            dialer.failed(lost.address, nowNs: nowNs, random: Machine.random())
        }
        book.setUrgent(true)
        Self.end(lost.link, failure.lastWord)
    }

    /// Until it delivers something that can be used, any other controller is preferred.
    mutating func doubt(_ address: SocketAddress) {
        if doubted.count >= 256 { doubted = [] }
        doubted.insert(address)
    }

    /// A last word takes a moment: not on this thread.
    private static func end(_ link: FeedLink, _ lastWord: FeedRefusal?) {
        guard let lastWord else { return link.stream.close() }
        let thread = try? Thread.start(name: "feed-farewell") {
            link.end(saying: lastWord)
            link.stream.close()
        }
        if thread == nil { link.stream.close() }
    }

    // MARK: Calling

    private mutating func dial(_ nowNs: UInt64) {
        if let current, !current.isSuspected, nowNs >= suspectNs(current) {
            self.current?.isSuspected = true
            dialer.hurry(nowNs: nowNs)
        }
        guard isLooking else { return }
        for address in dialer.takeDue(nowNs: nowNs, except: sparedAddress) {
            let attempt = FeedAttempt(
                address: address, context: client.context, hello: hello, settings: client.settings)
            let client = client
            let thread = try? Thread.start(name: "feed-attempt") {
                do throws(FeedFailure) {
                    client.post(.linked(try attempt.run()))
                } catch {
                    client.post(.failed(address, error))
                }
            }
            if thread == nil {
                client.post(.failed(address, FeedFailure("no thread can be started to call \(address)")))
            }
        }
        if current == nil, !book.failure.isEmpty { tellOnce(FeedFailure(book.failure)) }
        let count = dialer.addressCount
        client.report { $0.addressCount = count }
    }

    /// When a controller that says nothing may be gone.
    private func suspectNs(_ current: Current) -> UInt64 {
        current.session.lastHeardNs &+ FeedClientSettings.nanoseconds(client.settings.silenceMs) / 2
    }

    private var isLooking: Bool {
        guard let current else { return true }
        return current.isSuspected || standing(current) < .good
    }

    /// Whom not to call: who is followed, unless it may be gone.
    private var sparedAddress: SocketAddress? {
        guard let current, !current.isSuspected else { return nil }
        return current.address
    }

    private var hello: FeedHello {
        FeedHello(
            name: client.settings.name, cluster: client.settings.credential.identity.cluster, held: succession.held,
            tableVersion: tableVersion)
    }

    mutating func tellOnce(_ failure: FeedFailure) {
        client.report { $0.lastFailure = failure.description }
        forgetWhatWasTold()
        let isNews =
            failure.isRefusal
            ? toldRefusals.insert(failure.description).inserted : told.insert(failure.description).inserted
        guard isNews else { return }
        let isAlone = current == nil
        client.tell(
            isAlone || failure.isRefusal ? .warning : .debug, "a controller cannot be followed",
            failure.description)
    }

    /// A controller that is broken finds ever new words.
    private mutating func forgetWhatWasTold() {
        guard told.count + toldRefusals.count >= 256 else { return }
        told = []
        toldRefusals = []
    }

    mutating func tellRefusal(_ reason: String) {
        forgetWhatWasTold()
        guard toldRefusals.insert(reason).inserted else { return }
        client.tell(.warning, "a snapshot of the feed is refused, keeping what there is", reason)
    }

    // MARK: The connection

    /// Runs a step of the conversation; one that fails loses the controller.
    mutating func perform(_ step: (inout FeedFollower) throws(FeedFailure) -> Void) {
        do throws(FeedFailure) { try step(&self) } catch { lose(error) }
    }

    /// Sends what is to be sent, and waits until something happens.
    private mutating func exchange() {
        perform { (follower) throws(FeedFailure) in try follower.send() }
        guard let connection = current else {
            _ = client.wakeup.wait(timeoutMs: waitMs())
            return
        }
        let ready = connection.link.stream.wait(
            forWriting: connection.link.hasPendingOutput, or: client.wakeup, timeoutMs: waitMs())
        perform { (follower) throws(FeedFailure) in
            // Whatever the wait came to: a thread that was kept waiting must not find the controller silent.
            try follower.receive()
            if ready.isWritable { try follower.current?.link.flush() }
        }
    }

    private mutating func send() throws(FeedFailure) {
        while let link = current?.link, !link.hasPendingOutput,
            let frame = current?.session.nextOutput(nowNs: Clock.monotonicNs())
        {
            try link.send(frame)
        }
    }

    private mutating func receive() throws(FeedFailure) {
        guard let link = current?.link, try link.receive() else { return }
        let nowNs = Clock.monotonicNs()
        current?.session.heard(nowNs: nowNs)
        current?.isSuspected = false
        let news = link.receivedCount &- (current?.receivedCount ?? 0)
        current?.receivedCount = link.receivedCount
        client.heard(atNs: nowNs, receivedCount: news)
        try hear()
    }

    /// Takes the frames that are there.
    private mutating func hear() throws(FeedFailure) {
        let wasCurrent = current?.session.isServerCurrent
        while let frame = try nextFrame() {
            if case .piece = frame { client.report { $0.receivedPieceCount &+= 1 } }
            if let event = try receive(frame) { take(event) }
        }
        let isCurrent = current?.session.isServerCurrent ?? false
        if isCurrent != wasCurrent { client.report { $0.isControllerCurrent = isCurrent } }
        if isCurrent, current?.isConfirmed == true { client.confirmed(atRealtimeNs: Clock.realtimeNs()) }
        touch()
    }

    private func nextFrame() throws(FeedFailure) -> FeedFrame? {
        guard let current else { return nil }
        do throws(FeedRefusal) { return try current.link.nextFrame() } catch {
            throw FeedFailure(refusing: current.name, error)
        }
    }

    private mutating func receive(_ frame: FeedFrame) throws(FeedFailure) -> FeedClientSession.Event? {
        let name = current?.name ?? ""
        let event: FeedClientSession.Event?
        do throws(FeedRefusal) { event = try current?.session.receive(frame) } catch {
            throw FeedFailure(refusing: name, error)
        }
        if let refusal = current?.session.refusal { throw FeedFailure(refusedBy: name, refusal) }
        return event
    }

    private func waitMs() -> Int {
        var dueNs: [UInt64] = []
        if let current {
            dueNs.append(current.isSuspected ? current.session.dueNs : min(current.session.dueNs, suspectNs(current)))
        }
        if isLooking, let nextNs = dialer.nextNs(except: sparedAddress) { dueNs.append(nextNs) }
        if let candidateDueNs { dueNs.append(candidateDueNs) }
        // A heartbeat that is due cannot leave while something waits.
        if current?.link.hasPendingOutput == true { return 50 }
        let longest = standbys.isEmpty ? Self.longestWaitMs : 50
        guard let firstNs = dueNs.min() else { return longest }
        return min(FeedLink.remainingMs(firstNs), longest)
    }
}
