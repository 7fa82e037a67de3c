// Whether an offered content may take the place of the one that is held. Pure: the only clock is the time it is given.
//
//   nothing is held                                        take
//   another Swarm's                                        refuse, until the state directory is cleared
//   the same content                                       same, whatever its order
//   without a Swarm: listed later; with one: a higher      take
//   version, or the same version listed later
//   else: older                                            wait for 10 s from the first older offer on, then take it
//
// Two controllers that see the same give the same content. While the cluster changes, one of them is some 100 ms ahead,
// and after a failover the other one's offer may be older for a moment: it catches up within its next list. If it does
// not, something else is wrong (a restored Swarm, a clock set back), and what the cluster says now is worth more than
// what it said once. A controller that does not see its cluster cannot tell what that says now: its older offer waits
// for as long as that is so, and for 10 s more.

internal import Model

struct FeedSuccession: Sendable {
    enum Verdict: Hashable, Sendable {
        case take
        /// What is held already.
        case same
        /// Older: judge again then.
        case wait(untilNs: UInt64)
        /// Older, and nothing newer came for long enough.
        case takeOlder
        case refuse(String)
    }

    /// What is held now.
    private(set) var held: FeedContentName?
    private let patienceNs: UInt64
    /// When the first older offer came since something was taken.
    private var olderSinceNs: UInt64?
    /// When one was judged last: a wait that nobody looked at for long is over.
    private var olderJudgedNs: UInt64 = 0

    init(patienceNs: UInt64 = 10_000_000_000) { self.patienceNs = patienceNs }

    /// Judges an offer, without changing what is held.
    /// - Parameter isCurrent: whether who offers it sees its cluster now.
    mutating func judge(_ offer: FeedContentName, isCurrent: Bool = true, nowNs: UInt64) -> Verdict {
        guard let held else { return .take }
        if let objection = Self.objection(to: offer.order, held: held.order) { return .refuse(objection) }
        if offer.digest == held.digest { return .same }
        guard Self.isOlder(offer.order, than: held.order) else { return .take }
        if nowNs &- olderJudgedNs > 2 &* patienceNs || !isCurrent { olderSinceNs = nil }
        let sinceNs = olderSinceNs ?? nowNs
        olderSinceNs = sinceNs
        olderJudgedNs = nowNs
        return nowNs &- sinceNs >= patienceNs ? .takeOlder : .wait(untilNs: sinceNs &+ patienceNs)
    }

    /// When an older offer that waits is taken; nil: none was judged.
    var waitUntilNs: UInt64? { olderSinceNs.map { $0 &+ patienceNs } }

    /// A content was applied.
    mutating func take(_ name: FeedContentName) {
        held = name
        olderSinceNs = nil
    }

    /// A controller has offered what is held. Of the two orders the higher one counts from now on.
    mutating func confirm(_ name: FeedContentName) {
        olderSinceNs = nil
        if let held, !Self.isOlder(name.order, than: held.order) { self.held = name }
    }

    /// Why an order is none of this cluster's; nil: it is.
    static func objection(to offer: SnapshotOrder, held: SnapshotOrder) -> String? {
        guard !held.clusterID.isEmpty, offer.clusterID != held.clusterID else { return nil }
        let other = offer.clusterID.isEmpty ? "without a Swarm" : "of the Swarm \(offer.clusterID)"
        return "a snapshot \(other) cannot follow one of the Swarm \(held.clusterID): if that is meant, clear the "
            + "state directory (INTERLOCK_STATE_DIR) and start again"
    }

    /// Within one cluster. Without a Swarm there are no versions, only times.
    static func isOlder(_ offer: SnapshotOrder, than held: SnapshotOrder) -> Bool {
        // A Swarm that was made meanwhile is newer than the time before it.
        guard offer.clusterID == held.clusterID else { return false }
        if offer.clusterID.isEmpty { return offer.listedAtNs < held.listedAtNs }
        return (offer.version, offer.listedAtNs) < (held.version, held.listedAtNs)
    }
}

/// How good a controller is to follow, in ascending order.
enum FeedStanding: Int, Comparable, Sendable {
    /// It has nothing, or nothing for us.
    case useless
    /// It is behind what is held.
    case behind
    /// Its own look at the world is not up to date.
    case stale
    case good

    static func < (left: FeedStanding, right: FeedStanding) -> Bool { left.rawValue < right.rawValue }

    /// - Parameters:
    ///   - order: of what it offers; nil: nothing yet.
    ///   - isCurrent: whether it says that its look at the world is up to date.
    init(order: SnapshotOrder?, isCurrent: Bool, held: SnapshotOrder?) {
        guard let order else {
            self = .useless
            return
        }
        if let held {
            guard FeedSuccession.objection(to: order, held: held) == nil else {
                self = .useless
                return
            }
            guard !FeedSuccession.isOlder(order, than: held) else {
                self = .behind
                return
            }
        }
        self = isCurrent ? .good : .stale
    }
}
