// The server's side of one connection, without a socket: frames and times go in, frames and events come out.
//
//   state     | the client may send           | what follows
//   greeting  | HELLO                         | WELCOME, and a MANIFEST if there is a content
//   idle      | ACK about the last content    | noted
//   offered   | WANT, once                    | its pieces, one after the other
//             | ACK, once all pieces are out  | idle, or the next MANIFEST if a newer content came meanwhile
//   any but the first: HEARTBEAT; any: REFUSAL, which ends it
//
// One content is on its way at a time; of those that come meanwhile only the newest is kept. Everything else that a
// client sends is thrown as a refusal, which the owner sends before it closes.

internal import TLS

struct FeedServerSession {
    struct Settings: Sendable {
        var controllerID = ""
        var heartbeatNs: UInt64 = 500_000_000
        /// A client that says nothing for so long is gone.
        var silenceNs: UInt64 = 3_000_000_000
        /// A client that leaves a content unanswered for so long is broken.
        var answerNs: UInt64 = 60_000_000_000
    }

    enum Event: Hashable, Sendable {
        case greeted(FeedHello)
        case acknowledged(FeedAcknowledgement)
    }

    private let settings: Settings
    private let identity: FeedIdentity
    private(set) var isGreeted = false
    /// The client has given its reason and goes.
    private(set) var refusal: FeedRefusal?
    private var isCurrent = true
    /// What the client should have.
    private var newest: FeedPublication?
    /// What it was offered and has not answered yet.
    private var offered: FeedPublication?
    /// What it answered last.
    private var answered: FeedPublication?
    private var control: [[UInt8]] = []
    private var wanted: [FeedDigest] = []
    private var sentCount = 0
    private var hasAsked = false
    private var lastHeardNs: UInt64
    private var lastSentNs: UInt64
    /// When the client last took a step towards its answer.
    private var lastStepNs: UInt64

    init(settings: Settings, identity: FeedIdentity, nowNs: UInt64) {
        self.settings = settings
        self.identity = identity
        lastHeardNs = nowNs
        lastSentNs = nowNs
        lastStepNs = nowNs
    }

    /// The cluster has a new content.
    mutating func publish(_ publication: FeedPublication, nowNs: UInt64) {
        newest = publication
        offerNewest(nowNs)
    }

    /// Whether the controller's own look at the world is up to date; a change is told at once.
    mutating func setCurrent(_ isCurrent: Bool) {
        guard isCurrent != self.isCurrent else { return }
        self.isCurrent = isCurrent
        if isGreeted { control.append(FeedFrame.heartbeat(isCurrent: isCurrent).encoded) }
    }

    /// Bytes came in, whole frames or not.
    mutating func heard(nowNs: UInt64) { lastHeardNs = nowNs }

    mutating func receive(_ frame: FeedFrame, nowNs: UInt64) throws(FeedRefusal) -> Event? {
        switch frame {
        case .hello(let hello): return try greet(hello, nowNs)
        case .want(let digests): try want(digests, nowNs)
        case .acknowledgement(let acknowledgement): return try acknowledge(acknowledgement, nowNs)
        case .heartbeat: break
        case .refusal(let refusal): self.refusal = refusal
        case .welcome, .manifest, .piece:
            throw FeedRefusal(.protocolBroken, "sent a \(frame.type) frame, which only a controller sends")
        }
        return nil
    }

    private mutating func greet(_ hello: FeedHello, _ nowNs: UInt64) throws(FeedRefusal) -> Event {
        guard hello.version == FeedLimits.version else {
            throw FeedRefusal(
                .version,
                "speaks version \(hello.version) of the feed, this controller speaks \(FeedLimits.version)")
        }
        guard !isGreeted else { throw FeedRefusal(.protocolBroken, "sent a second hello") }
        guard hello.cluster == identity.cluster else {
            throw FeedRefusal(
                .cluster,
                "asks for the cluster \"\(hello.cluster)\" with a credential for \"\(identity.cluster)\"")
        }
        isGreeted = true
        let welcome = FeedWelcome(
            controllerID: settings.controllerID, isCurrent: isCurrent, order: newest?.name.order)
        control.append(FeedFrame.welcome(welcome).encoded)
        offerNewest(nowNs)
        return .greeted(hello)
    }

    private mutating func want(_ digests: [FeedDigest], _ nowNs: UInt64) throws(FeedRefusal) {
        guard let offered else { throw FeedRefusal(.protocolBroken, "asks for pieces of nothing") }
        guard !hasAsked else { throw FeedRefusal(.protocolBroken, "asks for pieces twice") }
        guard !digests.isEmpty, digests.count <= offered.pieceCount, Set(digests).count == digests.count else {
            throw FeedRefusal(.protocolBroken, "asks for pieces in a way that nobody needs")
        }
        for digest in digests where offered.frame(digest) == nil {
            throw FeedRefusal(.protocolBroken, "asks for the piece \(digest), which it was not offered")
        }
        hasAsked = true
        wanted = digests
        sentCount = 0
        lastStepNs = nowNs
    }

    private mutating func acknowledge(
        _ acknowledgement: FeedAcknowledgement, _ nowNs: UInt64
    ) throws(FeedRefusal) -> Event {
        if let offered, acknowledgement.name == offered.name {
            guard sentCount == wanted.count else {
                throw FeedRefusal(.protocolBroken, "acknowledges what it has not got yet")
            }
            answered = offered
            self.offered = nil
            wanted = []
            sentCount = 0
            offerNewest(nowNs)
        } else if acknowledgement.name != answered?.name {
            throw FeedRefusal(.protocolBroken, "acknowledges what it was not offered")
        }
        return .acknowledged(acknowledgement)
    }

    private mutating func offerNewest(_ nowNs: UInt64) {
        guard isGreeted, offered == nil, let newest, newest !== answered else { return }
        offered = newest
        hasAsked = false
        lastStepNs = nowNs
        control.append(newest.manifestFrame)
    }

    /// The next frame to send, once the one before is out.
    mutating func nextOutput(nowNs: UInt64) -> [UInt8]? {
        var output: [UInt8]?
        if !control.isEmpty {
            output = control.removeFirst()
        } else if sentCount < wanted.count {
            output = offered?.frame(wanted[sentCount])
            sentCount += 1
            lastStepNs = nowNs
        } else if isGreeted, nowNs &- lastSentNs >= settings.heartbeatNs {
            output = FeedFrame.heartbeat(isCurrent: isCurrent).encoded
        }
        if output != nil { lastSentNs = nowNs }
        return output
    }

    /// Throws if a deadline is over.
    func check(nowNs: UInt64, realtimeS: Int64) throws(FeedRefusal) {
        if nowNs &- lastHeardNs >= settings.silenceNs, nowNs > lastHeardNs {
            throw FeedRefusal(.deadline, "said nothing for \(settings.silenceNs / 1_000_000) ms")
        }
        if offered != nil, sentCount == wanted.count, nowNs &- lastStepNs >= settings.answerNs, nowNs > lastStepNs {
            throw FeedRefusal(.deadline, "did not answer a content for \(settings.answerNs / 1_000_000) ms")
        }
        if realtimeS >= identity.notAfterSeconds { throw FeedRefusal(.expired, "its credential has expired") }
    }

    /// When `check` or `nextOutput` is due at the latest.
    var dueNs: UInt64 { min(lastHeardNs &+ settings.silenceNs, lastSentNs &+ settings.heartbeatNs) }
}
