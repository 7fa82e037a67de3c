// Frames of the feed: what the two sides say to each other, as bytes and back. docs/FEED.md tells in which order.
// A frame is its payload's length (4 bytes, network order), its type (1 byte) and the payload. Nothing here waits,
// decides or remembers; what is not exactly as written is no frame.

internal import Model

/// Bounds of the protocol. Who comes near one is broken or hostile, except where it says otherwise.
enum FeedLimits {
    /// The version spoken. HELLO, WELCOME and REFUSAL begin alike in all versions.
    static let version: UInt16 = 1
    /// Length and type.
    static let headSize = 5
    /// Names of hosts, controllers and clusters.
    static let nameSize = 255
    static let reasonSize = 1024
    /// Pieces of one content: about four million services.
    static let pieceCount = 65_536
    static let pieceSize = SnapshotCodec.pieceLimit + 65_536
    /// Bytes of one content; a setting of the client lowers it.
    static let contentSize = 512 << 20
    /// A digest and a size.
    static let entrySize = FeedDigest.size + 4
}

/// The type byte of a frame, and the most that its payload may have.
enum FeedFrameType: UInt8, Sendable {
    case hello = 1
    case welcome = 2
    case manifest = 3
    case want = 4
    case piece = 5
    case acknowledgement = 6
    case heartbeat = 7
    case refusal = 8

    var limit: Int {
        switch self {
        case .hello, .welcome: 2_048
        case .manifest: 512 + FeedLimits.pieceCount * FeedLimits.entrySize
        case .want: 4 + FeedLimits.pieceCount * FeedDigest.size
        case .piece: FeedLimits.pieceSize
        case .acknowledgement, .refusal: 2_048
        case .heartbeat: 1
        }
    }

    /// Whether clients send it; `isFromServer`: whether servers do. Nobody may send what only the other side sends.
    var isFromClient: Bool { [.hello, .want, .acknowledgement, .heartbeat, .refusal].contains(self) }
    var isFromServer: Bool { [.welcome, .manifest, .piece, .heartbeat, .refusal].contains(self) }
}

/// A content by name: when it was seen, and what it is.
struct FeedContentName: Hashable, Sendable {
    var order: SnapshotOrder
    /// The digest of the digests of its pieces.
    var digest: FeedDigest
}

/// The client's first frame.
struct FeedHello: Hashable, Sendable {
    var version = FeedLimits.version
    /// The client's host, for people.
    var name = ""
    /// The service cluster that it takes itself to be of. Its certificate decides; another one here is refused.
    var cluster = ""
    /// What it serves now; nil: nothing.
    var held: FeedContentName?
    /// The version of its table.
    var tableVersion: UInt64 = 0
}

/// The server's answer to HELLO.
struct FeedWelcome: Hashable, Sendable {
    var version = FeedLimits.version
    var controllerID = ""
    /// Whether the controller's own look at the world is up to date.
    var isCurrent = true
    /// The order of what it has to offer; nil: nothing yet.
    var order: SnapshotOrder?
}

/// What a content consists of.
struct FeedManifest: Hashable, Sendable {
    struct Entry: Hashable, Sendable {
        var digest: FeedDigest
        var size: UInt32
    }

    var order: SnapshotOrder
    var entries: [Entry]

    /// Digests the whole list: not for each look.
    var name: FeedContentName {
        FeedContentName(order: order, digest: FeedDigest(of: entries.lazy.map(\.digest)))
    }
    var byteCount: Int { entries.reduce(0) { $0 + Int($1.size) } }
}

/// What became of a content at the client.
struct FeedAcknowledgement: Hashable, Sendable {
    enum Verdict: UInt8, Sendable {
        case applied = 1
        /// Older than what the client has: it waits for a newer one.
        case waiting = 2
        case refused = 3
    }

    var name: FeedContentName
    var verdict: Verdict
    /// Of the table that is served now.
    var tableVersion: UInt64
    /// Why it waits or was refused.
    var reason = ""
}

/// Why one side ends the conversation.
struct FeedRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    enum Code: UInt8, Sendable {
        case version = 1
        case role = 2
        case cluster = 3
        case expired = 4
        case full = 5
        /// A frame that is none, or that has no business at this point.
        case protocolBroken = 6
        /// Too slow, or silent.
        case deadline = 7
        case stopping = 8
    }

    var code: Code
    /// The versions that the sender speaks.
    var oldestVersion = FeedLimits.version
    var newestVersion = FeedLimits.version
    /// A sentence for the other side's log.
    var reason: String

    init(_ code: Code, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    var description: String { reason }
}

enum FeedFrame: Hashable, Sendable {
    case hello(FeedHello)
    case welcome(FeedWelcome)
    case manifest(FeedManifest)
    case want([FeedDigest])
    case piece([UInt8])
    case acknowledgement(FeedAcknowledgement)
    /// From a server: whether its look at the world is up to date. A client says true.
    case heartbeat(isCurrent: Bool)
    case refusal(FeedRefusal)

    var type: FeedFrameType {
        switch self {
        case .hello: .hello
        case .welcome: .welcome
        case .manifest: .manifest
        case .want: .want
        case .piece: .piece
        case .acknowledgement: .acknowledgement
        case .heartbeat: .heartbeat
        case .refusal: .refusal
        }
    }
}
