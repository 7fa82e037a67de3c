// Owns the properties of a snapshot's pieces, as they come from a controller or from the disk.

import Model

/// The input is pieces, each behind its size in two bytes. What is not refused is a snapshot that can be written again,
/// and is then the same.
func fuzzSnapshot(_ input: Bytes) {
    guard let read = try? SnapshotCodec.decode(pieces(input), order: SnapshotOrder()) else { return }
    let snapshot = SnapshotCodec.pieces(of: read.snapshot)
    let secrets = SnapshotCodec.pieces(of: read.secrets)
    require(!snapshot.contains { $0.isSecret } && secrets.allSatisfy { $0.isSecret }, "secrets are apart")
    let again = try? SnapshotCodec.decode(snapshot + secrets, order: SnapshotOrder())
    require(again?.snapshot == read.snapshot, "a snapshot comes back")
    require(again?.secrets == read.secrets, "secrets come back")
    require(!SnapshotDocument.json(snapshot: read.snapshot, secrets: read.secrets).isEmpty, "a snapshot can be shown")
    _ = read.snapshot.problems()
}

private func pieces(_ input: Bytes) -> [SnapshotPiece] {
    var pieces: [SnapshotPiece] = []
    var offset = 0
    while offset + 2 <= input.count {
        let size = min(Int(input[offset]) << 8 | Int(input[offset + 1]), input.count - offset - 2)
        offset += 2
        pieces.append(SnapshotPiece(bytes: input.slice(from: offset, to: offset + size).array()))
        offset += size
    }
    return pieces
}
