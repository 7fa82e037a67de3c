// One content as it is sent: its pieces by digest, and the manifest that lists them. It is encoded once, by who
// publishes it, and never changes; all clients' threads send out of the same memory.

internal import Model
internal import TLS

final class FeedPublication: Sendable {
    let name: FeedContentName
    /// The MANIFEST frame, ready to send.
    let manifestFrame: [UInt8]
    let pieceCount: Int
    let byteCount: Int
    /// PIECE frames, ready to send.
    private let frames: [FeedDigest: [UInt8]]

    init(order: SnapshotOrder, pieces: [EncodedPiece]) {
        let manifest = FeedManifest(
            order: order,
            entries: pieces.map { FeedManifest.Entry(digest: $0.digest, size: UInt32(clamping: $0.size)) })
        name = manifest.name
        manifestFrame = FeedFrame.manifest(manifest).encoded
        pieceCount = pieces.count
        byteCount = manifest.byteCount
        frames = Dictionary(pieces.map { ($0.digest, $0.frame) }) { first, _ in first }
    }

    /// The frame that carries the piece; nil if this content has no such piece.
    func frame(_ digest: FeedDigest) -> [UInt8]? { frames[digest] }

    /// A piece with its digest and the frame that carries it.
    struct EncodedPiece: Sendable {
        let digest: FeedDigest
        let frame: [UInt8]
        var size: Int { frame.count - FeedLimits.headSize }

        /// - Parameter previous: where an equal piece may be, so that memory is not held twice.
        init(_ piece: SnapshotPiece, previous: FeedPublication?) {
            digest = FeedDigest(of: piece.bytes)
            frame = previous?.frame(digest) ?? FeedFrame.piece(piece.bytes).encoded
        }
    }
}

/// What a cluster's clients get: proxies everything, extensions what they may have.
struct FeedOffering: Sendable {
    let proxies: FeedPublication
    let extensions: FeedPublication

    /// Encodes a content.
    /// - Parameter previous: the cluster's offering before this one.
    init(_ content: FeedContent, sharesSecretsWithExtensions: Bool, previous: FeedOffering?) {
        let order = content.snapshot.order
        func encode(_ pieces: [SnapshotPiece]) -> [FeedPublication.EncodedPiece] {
            pieces.map { FeedPublication.EncodedPiece($0, previous: previous?.proxies) }
        }
        let shared = encode(SnapshotCodec.pieces(of: content.snapshot))
        proxies = FeedPublication(order: order, pieces: shared + encode(SnapshotCodec.pieces(of: content.secrets)))
        var secrets = SecretFiles()
        if sharesSecretsWithExtensions {
            secrets = content.secrets
            // It opens every session of the proxies' clients; no other load balancer can use it.
            secrets.ticketKey = nil
        }
        extensions = FeedPublication(order: order, pieces: shared + encode(SnapshotCodec.pieces(of: secrets)))
    }

    func publication(for role: FeedIdentity.Role) -> FeedPublication {
        switch role {
        case .proxy: proxies
        case .extension_, .controller: extensions
        }
    }
}

extension SecretFiles {
    /// Without credentials of the feed: who has a controller's mounted beside certificates must not hand it out.
    /// - Returns: the names of what was left out.
    mutating func removeFeedCredentials() -> [String] {
        var removed: [String] = []
        func isKept(_ entry: (key: String, value: [UInt8])) -> Bool {
            guard FeedCredential.isCredential(entry.value) else { return true }
            removed.append(entry.key)
            return false
        }
        secrets = secrets.filter { isKept($0) }
        certificates = certificates.filter { isKept($0) }
        return removed.sorted()
    }
}
