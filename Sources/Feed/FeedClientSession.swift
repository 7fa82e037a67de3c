// The client's side of one connection, without a socket: frames and times go in, frames and events come out.
//
//   state     | the server may send     | what follows
//   greeting  | WELCOME                 | an event
//   idle      | MANIFEST                | an event; the owner answers it, or fetches what it lacks
//   fetching  | the pieces asked for,   | an event with the last one
//             | in that order           |
//   answering | nothing                 | the owner answers
//   any but the first: HEARTBEAT; any: REFUSAL, which ends it
//
// A server that says what it has and then keeps it to itself is stalled, however well its heart beats.
//
// A piece is believed only if its digest is the one that was asked for. Everything else that a server sends is thrown
// as a refusal, which the owner sends before it closes.

internal import Model

struct FeedClientSession {
    struct Settings: Sendable {
        var heartbeatNs: UInt64 = 500_000_000
        /// A server that says nothing for so long is gone.
        var silenceNs: UInt64 = 1_500_000_000
        /// A server that owes an offer or a piece for so long will not give it.
        var deliveryNs: UInt64 = 15_000_000_000
        var contentSize = FeedLimits.contentSize
    }

    enum Event: Hashable, Sendable {
        case welcomed(FeedWelcome)
        /// Answer with `fetch` or `acknowledge`.
        case offered(FeedManifest)
        /// All pieces of the offered content are here, in its order. Answer with `acknowledge`.
        case fetched([[UInt8]])
    }

    private enum State { case greeting, idle, offered, fetching, answering }

    private let settings: Settings
    private var state = State.greeting
    /// The server has given its reason and goes.
    private(set) var refusal: FeedRefusal?
    private var manifest = FeedManifest(order: .init(), entries: [])
    private var pieces: [[UInt8]] = []
    /// Positions in the manifest of the pieces that were asked for, and how many of them have come.
    private var missing: [Int] = []
    private var receivedCount = 0
    private var control: [[UInt8]] = []
    private(set) var lastHeardNs: UInt64
    /// When the server last took a step towards a content.
    private var lastStepNs: UInt64
    /// WELCOME spoke of a content that was not offered yet.
    private var awaitsOffer = false
    private var lastSentNs: UInt64
    /// Whether the controller's own look at the world is up to date.
    private(set) var isServerCurrent = true

    init(settings: Settings, hello: FeedHello, nowNs: UInt64) {
        self.settings = settings
        lastHeardNs = nowNs
        lastStepNs = nowNs
        lastSentNs = nowNs
        control = [FeedFrame.hello(hello).encoded]
    }

    /// Bytes came in, whole frames or not.
    mutating func heard(nowNs: UInt64) { lastHeardNs = nowNs }

    mutating func receive(_ frame: FeedFrame) throws(FeedRefusal) -> Event? {
        switch (frame, state) {
        case (.refusal(let refusal), _):
            self.refusal = refusal
            return nil
        case (.welcome(let welcome), .greeting):
            guard welcome.version == FeedLimits.version else {
                throw FeedRefusal(
                    .version,
                    "speaks version \(welcome.version) of the feed, this client speaks \(FeedLimits.version)")
            }
            state = .idle
            awaitsOffer = welcome.order != nil
            lastStepNs = lastHeardNs
            isServerCurrent = welcome.isCurrent
            return .welcomed(welcome)
        case (.manifest(let manifest), .idle):
            guard manifest.byteCount <= settings.contentSize else {
                throw FeedRefusal(
                    .protocolBroken,
                    "offers \(manifest.byteCount) bytes, the limit is \(settings.contentSize)")
            }
            state = .offered
            awaitsOffer = false
            self.manifest = manifest
            return .offered(manifest)
        case (.piece(let bytes), .fetching): return try take(bytes)
        case (.heartbeat(let isCurrent), _) where state != .greeting:
            isServerCurrent = isCurrent
            return nil
        default:
            throw FeedRefusal(.protocolBroken, "sent a \(frame.type) frame that nobody asked for")
        }
    }

    /// Asks for what `held` does not have of the offered content.
    /// - Returns: `fetched`, if nothing is missing.
    mutating func fetch(holding held: (FeedDigest) -> [UInt8]?) -> Event? {
        precondition(state == .offered, "nothing is offered")
        pieces = []
        missing = []
        receivedCount = 0
        var asked: Set<FeedDigest> = []
        for (index, entry) in manifest.entries.enumerated() {
            let bytes = held(entry.digest)
            pieces.append(bytes ?? [])
            if bytes == nil, asked.insert(entry.digest).inserted { missing.append(index) }
        }
        guard !missing.isEmpty else { return complete() }
        state = .fetching
        lastStepNs = lastHeardNs
        control.append(FeedFrame.want(missing.map { manifest.entries[$0].digest }).encoded)
        return nil
    }

    private mutating func take(_ bytes: [UInt8]) throws(FeedRefusal) -> Event? {
        let index = missing[receivedCount]
        let entry = manifest.entries[index]
        guard bytes.count == Int(entry.size), FeedDigest(of: bytes) == entry.digest else {
            throw FeedRefusal(.protocolBroken, "sent a piece that is not the one asked for")
        }
        pieces[index] = bytes
        receivedCount += 1
        lastStepNs = lastHeardNs
        return receivedCount == missing.count ? complete() : nil
    }

    private mutating func complete() -> Event {
        state = .answering
        // A content may hold the same piece twice; it was asked for once.
        var found: [FeedDigest: [UInt8]] = [:]
        for (index, entry) in manifest.entries.enumerated() {
            if pieces[index].isEmpty { pieces[index] = found[entry.digest] ?? [] }
            found[entry.digest] = pieces[index]
        }
        defer { pieces = [] }
        return .fetched(pieces)
    }

    /// Says what became of a content: of the one just offered or, later once more, of the last one.
    mutating func acknowledge(_ acknowledgement: FeedAcknowledgement) {
        if state == .offered || state == .answering { state = .idle }
        control.append(FeedFrame.acknowledgement(acknowledgement).encoded)
    }

    /// The next frame to send, once the one before is out.
    mutating func nextOutput(nowNs: UInt64) -> [UInt8]? {
        var output: [UInt8]?
        if !control.isEmpty {
            output = control.removeFirst()
        } else if state != .greeting, nowNs &- lastSentNs >= settings.heartbeatNs {
            output = FeedFrame.heartbeat(isCurrent: true).encoded
        }
        if output != nil { lastSentNs = nowNs }
        return output
    }

    func isSilent(nowNs: UInt64) -> Bool { nowNs > lastHeardNs && nowNs - lastHeardNs >= settings.silenceNs }

    /// It owes something, and does not deliver.
    func isStalled(nowNs: UInt64) -> Bool {
        guard state == .fetching || state == .idle && awaitsOffer else { return false }
        return nowNs > lastStepNs && nowNs - lastStepNs >= settings.deliveryNs
    }

    /// When `nextOutput` or `isSilent` is due at the latest.
    var dueNs: UInt64 { min(lastHeardNs &+ settings.silenceNs, lastSentNs &+ settings.heartbeatNs) }
}
