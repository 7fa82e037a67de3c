// What stands in the file of the last good snapshot:
//
//     "interlock last good\n" | format (1) | clear, behind its size | sealed, behind its size | SHA-256 of all before
//
// Clear: when it was saved, the service cluster that it is for, the snapshot's order, whether there were secrets, the
// snapshot's pieces. Sealed: the pieces of the secrets, by AES-256-GCM; the digest of what stands before them is
// authenticated with them, so that no secrets go with another snapshot. The last digest finds accidents; against people
// who write files there is the file's owner.

internal import Model
internal import TLS

/// Whose last good snapshot a file is.
struct LastGoodOwner {
    var cluster: String
    /// Seals the secrets; nil: they are not kept.
    var key: [UInt8]?
}

struct LastGoodRecord {
    static let magic = Array("interlock last good\n".utf8)
    static let format: UInt8 = 2

    /// Why bytes are not a last good snapshot.
    enum Problem: Error, Equatable {
        case format(UInt8)
        case damaged(String)
    }

    let savedAtNs: UInt64
    let cluster: String
    let order: SnapshotOrder
    /// There were some when it was saved.
    let hasSecrets: Bool
    let pieces: [SnapshotPiece]
    /// Empty: they were not kept.
    private let sealed: [UInt8]
    private let context: [UInt8]

    static func bytes(
        of content: FeedContent, atNs: UInt64, for owner: LastGoodOwner
    ) throws(TLSError) -> [UInt8] {
        let secrets = SnapshotCodec.pieces(of: content.secrets)
        let order = content.snapshot.order
        var clear = ByteEncoder()
        clear.add(word: atNs)
        clear.add(text: owner.cluster)
        clear.add(text: order.clusterID)
        clear.add(word: order.version)
        clear.add(word: order.listedAtNs)
        clear.add(flag: !secrets.isEmpty)
        clear.add(list: SnapshotCodec.pieces(of: content.snapshot)) { $0.add(blob: $1.bytes) }
        var file = ByteEncoder()
        file.bytes = magic
        file.bytes.reserveCapacity(clear.bytes.count + 1024)
        file.add(byte: format)
        file.add(blob: clear.bytes)
        var sealed: [UInt8] = []
        if let key = owner.key, !secrets.isEmpty {
            var plain = ByteEncoder()
            plain.add(list: secrets) { $0.add(blob: $1.bytes) }
            sealed = try Sealing.seal(plain.bytes, key: key, authenticating: Digest.sha256(file.bytes))
        }
        file.add(blob: sealed)
        file.bytes += Digest.sha256(file.bytes)
        return file.bytes
    }

    init(_ bytes: [UInt8]) throws(Problem) {
        guard bytes.starts(with: Self.magic) else { throw .damaged("it does not begin as one") }
        guard bytes.count > Self.magic.count else { throw .damaged("it is cut off") }
        guard bytes[Self.magic.count] == Self.format else { throw .format(bytes[Self.magic.count]) }
        let end = bytes.count - Digest.size
        guard end > Self.magic.count, Digest.sha256(Array(bytes[..<end])) == Array(bytes[end...]) else {
            throw .damaged("it was cut off or changed")
        }
        do throws(ByteDecodingError) {
            var file = ByteDecoder(bytes, offset: Self.magic.count + 1)
            var clear = ByteDecoder(try file.blob())
            context = Digest.sha256(Array(bytes[..<file.offset]))
            sealed = try file.blob()
            guard file.offset == end else { throw file.error("has something behind its secrets") }
            savedAtNs = try clear.word()
            cluster = try clear.text()
            order = SnapshotOrder(
                clusterID: try clear.text(), version: try clear.word(), listedAtNs: try clear.word())
            hasSecrets = try clear.flag()
            pieces = try Self.pieces(&clear, areSecret: false)
        } catch {
            throw .damaged("\(error)")
        }
    }

    /// The pieces of the secrets; or none, and why: a clause.
    func openSecrets(_ key: [UInt8]?) -> (pieces: [SnapshotPiece], missing: String?) {
        guard hasSecrets else { return ([], nil) }
        guard !sealed.isEmpty else {
            return ([], "they were not kept, since there was no feed credential to seal them with")
        }
        guard let key else { return ([], "they are sealed, and there is no feed credential to open them with") }
        guard let plain = Sealing.open(sealed, key: key, authenticating: context) else {
            return ([], "they are sealed with the key of another feed credential")
        }
        var decoder = ByteDecoder(plain)
        guard let pieces = try? Self.pieces(&decoder, areSecret: true) else {
            return ([], "what was sealed are no certificates and keys")
        }
        return (pieces, nil)
    }

    private static func pieces(
        _ decoder: inout ByteDecoder, areSecret: Bool
    ) throws(ByteDecodingError) -> [SnapshotPiece] {
        let pieces = try decoder.list { (decoder) throws(ByteDecodingError) in SnapshotPiece(bytes: try decoder.blob())
        }
        guard decoder.isAtEnd, pieces.allSatisfy({ $0.isSecret == areSecret }) else {
            throw decoder.error("has something else among its pieces")
        }
        return pieces
    }
}

extension LastGoodRecord.Problem {
    func described(_ path: String) -> LastGoodError {
        switch self {
        case .format(let format):
            LastGoodError(
                .format,
                """
                the last good snapshot \(path) has the format \(format), and this version reads \
                \(LastGoodRecord.format): it is not used, and the next snapshot of a controller takes its place
                """)
        case .damaged(let reason):
            LastGoodError(
                .damaged,
                """
                the last good snapshot \(path) is damaged (\(reason)): it is not used, and the next snapshot of a \
                controller takes its place
                """)
        }
    }
}
