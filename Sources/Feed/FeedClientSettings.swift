// What a feed client is told at its start, and what it says about itself.

public import Model
public import TLS

public struct FeedClientSettings: Sendable {
    /// Names or addresses; each may stand for several controllers.
    public var controllers: [(host: String, port: UInt16)]
    public var credential: FeedCredential
    /// This host, for the controller's status page.
    public var name: String
    public var connectMs: Int
    /// For TLS and the controller's first answer.
    public var handshakeMs: Int
    public var heartbeatMs: Int
    /// A controller that says nothing for so long is gone. After half of it others are called, to be at hand.
    public var silenceMs: Int
    /// A controller that owes a snapshot and delivers no piece of it for so long is left.
    public var deliveryMs: Int
    /// Between two tries of one address, doubled each time.
    public var shortestPauseMs: Int
    public var longestPauseMs: Int
    /// How long an older snapshot waits for a newer one.
    public var patienceMs: Int
    /// For so long a content that could not be used is not asked for again.
    public var refusalPauseMs: Int
    /// Bytes of one content.
    public var maximumContentSize: Int

    public init(
        controllers: [(host: String, port: UInt16)], credential: FeedCredential, name: String, connectMs: Int = 1_000,
        handshakeMs: Int = 3_000, heartbeatMs: Int = 500, silenceMs: Int = 1_500, deliveryMs: Int = 15_000,
        shortestPauseMs: Int = 250, longestPauseMs: Int = 2_000, patienceMs: Int = 10_000, refusalPauseMs: Int = 10_000,
        maximumContentSize: Int = 512 << 20
    ) {
        self.controllers = controllers
        self.credential = credential
        self.name = name
        self.connectMs = connectMs
        self.handshakeMs = handshakeMs
        self.heartbeatMs = heartbeatMs
        self.silenceMs = silenceMs
        self.deliveryMs = deliveryMs
        self.shortestPauseMs = shortestPauseMs
        self.longestPauseMs = longestPauseMs
        self.patienceMs = patienceMs
        self.refusalPauseMs = refusalPauseMs
        self.maximumContentSize = maximumContentSize
    }

    var session: FeedClientSession.Settings {
        FeedClientSession.Settings(
            heartbeatNs: Self.nanoseconds(heartbeatMs), silenceNs: Self.nanoseconds(silenceMs),
            deliveryNs: Self.nanoseconds(deliveryMs), contentSize: maximumContentSize)
    }

    static func nanoseconds(_ milliseconds: Int) -> UInt64 { UInt64(max(0, milliseconds)) * 1_000_000 }
}

/// How a feed client is doing.
public struct FeedClientStatus: Hashable, Sendable {
    /// A controller is followed.
    public var isConnected = false
    /// Of the controller that is followed, or was last.
    public var controllerID = ""
    public var controllerAddress = ""
    /// Whether that controller says that its own look at the world is up to date.
    public var isControllerCurrent = false
    /// Since that controller was heard; nil: none ever was.
    public var lastHeardAgeMs: Int?
    /// Controllers' addresses that are known.
    public var addressCount = 0

    /// What is served; nil: nothing yet.
    public var order: SnapshotOrder?
    /// The digest of that content, 64 hexadecimal digits.
    public var contentDigest = ""
    /// What `apply` returned for it.
    public var tableVersion: UInt64 = 0
    /// It came from disk, and no controller has confirmed it yet.
    public var isFromDisk = false
    /// Since a controller that is up to date offered what is served.
    public var contentAgeMs: Int?

    /// An older snapshot that waits for a newer one; nil: none does.
    public var waitingOrder: SnapshotOrder?
    public var waitingMs = 0
    /// Why the last content was not taken; "" once another was.
    public var lastRefusal = ""
    /// Why the last connection or try came to nothing.
    public var lastFailure = ""

    public var connectionCount: UInt64 = 0
    public var lossCount: UInt64 = 0
    public var appliedCount: UInt64 = 0
    /// Contents taken though they were older than the one before.
    public var olderTakenCount: UInt64 = 0
    public var refusedCount: UInt64 = 0
    /// Plain bytes that controllers sent.
    public var receivedByteCount: UInt64 = 0
    public var receivedPieceCount: UInt64 = 0

    public init() {}
}
