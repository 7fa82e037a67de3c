// Snapshots as pieces: what is written is read again, equal snapshots have equal pieces, and a small change is a small
// change.

import Model
import Support
import Testing

@Test("everything in a snapshot comes back")
func roundTrip() throws {
    let (snapshot, secrets) = (richSnapshot(), richSecrets())
    #expect(snapshot.problems() == [])
    let pieces = SnapshotCodec.pieces(of: snapshot) + SnapshotCodec.pieces(of: secrets)
    let read = try SnapshotCodec.decode(pieces, order: snapshot.order)
    #expect(read.snapshot == snapshot)
    #expect(read.secrets == secrets)
}

@Test("a snapshot of nothing comes back, and no pieces are no snapshot")
func nothing() throws {
    let read = try SnapshotCodec.decode(SnapshotCodec.pieces(of: Snapshot()), order: .init())
    #expect(read.snapshot == Snapshot() && read.secrets == SecretFiles())
    #expect(SnapshotCodec.pieces(of: SecretFiles()).isEmpty)
    #expect(throws: SnapshotCodecError.self) { try SnapshotCodec.decode([], order: .init()) }
}

@Test("snapshots of any seed come back, with the same bytes", arguments: 1...100)
func randomRoundTrip(_ seed: Int) throws {
    var generator = SnapshotGenerator(random: SeededRandom(seed: UInt64(seed)))
    let (snapshot, secrets) = (generator.snapshot(), generator.secrets())
    let pieces = SnapshotCodec.pieces(of: snapshot) + SnapshotCodec.pieces(of: secrets)
    let read = try SnapshotCodec.decode(pieces, order: snapshot.order)
    #expect(read.snapshot == snapshot)
    #expect(read.secrets == secrets)
    #expect(SnapshotCodec.pieces(of: read.snapshot) + SnapshotCodec.pieces(of: read.secrets) == pieces)
}
