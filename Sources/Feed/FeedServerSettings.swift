// What a feed server is told at its start, and what it says about its clients.

public import Kernel
public import Model
public import TLS

public struct FeedServerSettings: Sendable {
    public var addresses: [(address: SocketAddress, isDualStack: Bool)]
    public var credential: FeedCredential
    /// Names this controller for people: its host, its task.
    public var controllerID: String
    /// Whether extensions get certificates and keys; the ticket key they never get.
    public var sharesSecretsWithExtensions: Bool
    public var maximumClients: Int
    /// Connections that have not said who they are yet; beyond it the longest waiting one is closed.
    public var maximumHandshakes: Int
    public var heartbeatMs: Int
    /// A client that says nothing for so long is gone.
    public var silenceMs: Int
    /// For TLS and HELLO.
    public var handshakeMs: Int
    /// A client that takes nothing of what is sent to it for so long is dropped.
    public var stallMs: Int
    /// A client that leaves a content unanswered for so long is dropped.
    public var answerMs: Int

    public init(
        addresses: [(address: SocketAddress, isDualStack: Bool)], credential: FeedCredential, controllerID: String,
        sharesSecretsWithExtensions: Bool = false, maximumClients: Int = 1024, maximumHandshakes: Int = 256,
        heartbeatMs: Int = 500, silenceMs: Int = 3_000, handshakeMs: Int = 5_000, stallMs: Int = 5_000,
        answerMs: Int = 60_000
    ) {
        self.addresses = addresses
        self.credential = credential
        self.controllerID = controllerID
        self.sharesSecretsWithExtensions = sharesSecretsWithExtensions
        self.maximumClients = maximumClients
        self.maximumHandshakes = maximumHandshakes
        self.heartbeatMs = heartbeatMs
        self.silenceMs = silenceMs
        self.handshakeMs = handshakeMs
        self.stallMs = stallMs
        self.answerMs = answerMs
    }

    var session: FeedServerSession.Settings {
        FeedServerSession.Settings(
            controllerID: controllerID, heartbeatNs: UInt64(heartbeatMs) * 1_000_000,
            silenceNs: UInt64(silenceMs) * 1_000_000, answerNs: UInt64(answerMs) * 1_000_000)
    }
}

/// A client that is connected now.
public struct FeedClientReading: Hashable, Sendable {
    /// Its host, as it says itself.
    public var name: String
    /// Role, cluster and end of validity, as its certificate says.
    public var identity: FeedIdentity
    public var address: String
    /// Nanoseconds since 1970.
    public var connectedAtNs: UInt64
    /// What it serves; nil: nothing yet.
    public var order: SnapshotOrder?
    /// The digest of that content, 64 hexadecimal digits; "" for nothing.
    public var contentDigest = ""
    /// The version of its table, in its own count.
    public var tableVersion: UInt64 = 0
    /// When it last said what it serves, nanoseconds since 1970; 0: never.
    public var acknowledgedAtNs: UInt64 = 0
    /// It serves what this controller offers.
    public var isUpToDate = false
    /// Why it does not take what it was offered last, for now or for good; "" if it took it.
    public var refusal = ""
    /// When it said so, nanoseconds since 1970.
    public var refusedAtNs: UInt64 = 0

    /// As in `host-1, proxy of cluster blue at 10.0.0.5:40000`.
    var text: String {
        let group = identity.cluster.isEmpty ? "" : " of cluster \(identity.cluster)"
        return "\(name), \(identity.role.rawValue)\(group) at \(address)"
    }
}

/// What a server offers to the clients of a cluster.
public struct FeedOfferReading: Hashable, Sendable {
    public var cluster: String
    public var order: SnapshotOrder
    /// Of what proxies get.
    public var contentDigest: String
    public var pieceCount: Int
    public var byteCount: Int
}
