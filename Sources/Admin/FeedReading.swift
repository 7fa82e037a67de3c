// What the pages show of the feed, of earlier configurations and of another load balancer: plain values.

/// The feed, seen from one of its ends.
public struct FeedReading: Sendable, Hashable {
    /// A controller: who is connected; nil: this is none.
    public var clients: [FeedPeer]?
    /// A proxy or an extension: where its table comes from; nil: this is none.
    public var source: FeedOrigin?

    public init(clients: [FeedPeer]? = nil, source: FeedOrigin? = nil) {
        self.clients = clients
        self.source = source
    }
}

/// A proxy or an extension that is connected to this controller.
public struct FeedPeer: Sendable, Hashable {
    /// What it calls itself.
    public var name: String
    /// By its certificate: `proxy` or `extension`, and its group.
    public var role: String
    public var cluster: String
    public var address: String
    public var connectedAtNs: UInt64
    /// It has acknowledged what is in force now.
    public var isCurrent: Bool
    /// What it acknowledged last: the version of the snapshot, a hash of its content, the version of its own table,
    /// and when, nanoseconds since 1970; nil before the first.
    public var version: UInt64?
    public var content: String
    public var tableVersion: UInt64?
    public var acknowledgedAtNs: UInt64?
    /// Why it refused the newest snapshot; "": it did not.
    public var refusal: String

    public init(
        name: String, role: String, cluster: String, address: String, connectedAtNs: UInt64, isCurrent: Bool,
        version: UInt64? = nil, content: String = "", tableVersion: UInt64? = nil, acknowledgedAtNs: UInt64? = nil,
        refusal: String = ""
    ) {
        self.name = name
        self.role = role
        self.cluster = cluster
        self.address = address
        self.connectedAtNs = connectedAtNs
        self.isCurrent = isCurrent
        self.version = version
        self.content = content
        self.tableVersion = tableVersion
        self.acknowledgedAtNs = acknowledgedAtNs
        self.refusal = refusal
    }
}

/// Where a proxy or an extension gets its table from.
public struct FeedOrigin: Sendable, Hashable {
    public var isConnected = false
    /// The controller's name and address; "" without one.
    public var controller = ""
    /// Since the controller was heard last; nil: never.
    public var lastHeardMs: Int?
    /// Of the snapshot in force; nil before the first.
    public var version: UInt64?
    public var content = ""
    /// The snapshot in force was read from disk and no controller has confirmed it yet.
    public var isFromDisk = false
    /// Since a controller last confirmed what is in force; nil before the first.
    public var confirmedAgeMs: Int?
    public var connectionCount: UInt64 = 0
    public var appliedCount: UInt64 = 0
    public var refusedCount: UInt64 = 0
    /// Bytes of snapshots received.
    public var receivedBytes: UInt64 = 0
    /// Snapshots older than what was held that were taken after a wait, since no newer one came.
    public var steppedBackCount: UInt64 = 0
    /// Why it is not connected, or what it refused; "" if all is well.
    public var problem = ""

    public init() {}
}

/// A configuration that is pinned.
public struct PinReading: Sendable, Hashable {
    /// The number it has in the history of the controller that pinned it; nil: it is not known.
    public var number: Int?
    public var sinceNs: UInt64?
    /// Who pinned it, or why it is not obeyed.
    public var note: String
    /// A pin is there and cannot be used.
    public var isBroken: Bool

    public init(number: Int? = nil, sinceNs: UInt64? = nil, note: String = "", isBroken: Bool = false) {
        self.number = number
        self.sinceNs = sinceNs
        self.note = note
        self.isBroken = isBroken
    }
}

/// Earlier configurations, the newest first.
public struct HistoryReading: Sendable, Hashable {
    public struct Entry: Sendable, Hashable {
        public var number: Int
        /// Nanoseconds since 1970.
        public var atNs: UInt64
        /// What changed, in words.
        public var cause: String
        /// Lines that begin with `+` or `-`.
        public var difference: [String]

        public init(number: Int, atNs: UInt64, cause: String, difference: [String]) {
            self.number = number
            self.atNs = atNs
            self.cause = cause
            self.difference = difference
        }
    }

    public var entries: [Entry]

    public init(entries: [Entry] = []) { self.entries = entries }
}

/// How the load balancer that an extension configures is doing.
public struct BalancerReading: Sendable, Hashable {
    /// `nginx`, `haproxy` or `exec`.
    public var kind: String
    /// When it last took a configuration, nanoseconds since 1970; nil: not yet.
    public var appliedAtNs: UInt64?
    public var appliedCount: UInt64 = 0
    public var failureCount: UInt64 = 0
    /// Why it did not take the newest one; "": it did.
    public var problem = ""
    /// The files that are in force.
    public var files: [String] = []

    public init(kind: String) { self.kind = kind }
}

/// The acts that change something. They run on admin threads and may take seconds.
public struct AdminActions: Sendable {
    public enum Outcome: Sendable, Hashable {
        case done(String)
        /// It cannot be, as things are: 409.
        case refused(String)
        /// It was tried and did not work: 502.
        case failed(String)
    }

    public var rollback: @Sendable (_ number: Int) -> Outcome
    public var resume: @Sendable () -> Outcome

    public init(rollback: @escaping @Sendable (Int) -> Outcome, resume: @escaping @Sendable () -> Outcome) {
        self.rollback = rollback
        self.resume = resume
    }
}
