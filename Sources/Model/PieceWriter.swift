// Cuts records into pieces. Where a piece begins depends on the records' keys and on nothing around them, so that a
// record more, or one less, moves no other border.

struct PieceWriter {
    private var pieces: [SnapshotPiece] = []
    private var encoder = ByteEncoder()
    private var kind = SnapshotCodec.Kind.services
    private var hasRecords = false
    /// Of each kind, by its number.
    private var counts: [Int] = .init(repeating: 0, count: 256)

    /// The records that follow are of this kind.
    mutating func begin(_ kind: SnapshotCodec.Kind) {
        cut()
        self.kind = kind
    }

    /// - Parameter key: with `more`, what names the record as long as it is the same thing.
    mutating func addRecord(key: String, _ more: String = "", _ body: (inout ByteEncoder) -> Void) {
        cut(before: key, more)
        write(body)
    }

    mutating func add(files: [String: [UInt8]]) {
        for (name, bytes) in files.sorted(by: { $0.key.isBefore($1.key) }) {
            addRecord(key: name) { encoder in
                encoder.add(text: name)
                encoder.add(blob: bytes)
            }
        }
    }

    /// The upstreams of one service stay together up to a number, whatever their ids: tasks come and go. The service
    /// is named once in a piece.
    mutating func add(_ upstreams: [Upstream], of service: String) {
        for (position, upstream) in upstreams.enumerated() {
            if position == 0 {
                cut(before: service)
            } else if position >= 64 {
                cut(before: upstream.id)
            }
            let isNamed = position == 0 || isAtStart
            write { encoder in
                encoder.add(text: isNamed ? service : "")
                encoder.add(upstream)
            }
        }
    }

    /// The pieces, behind one that counts their records.
    mutating func finish(_ kind: SnapshotCodec.Kind) -> [SnapshotPiece] {
        cut()
        let written = pieces
        let numbers = SnapshotCodec.Kind.counted(by: kind).map { counts[Int($0.rawValue)] }
        pieces = []
        self.kind = kind
        write { encoder in
            for number in numbers { encoder.add(count: number) }
        }
        cut()
        return pieces + written
    }

    // MARK: Inside

    private var isAtStart: Bool { !hasRecords || encoder.bytes.count >= SnapshotCodec.fullSize }

    private mutating func write(_ body: (inout ByteEncoder) -> Void) {
        if encoder.bytes.count >= SnapshotCodec.fullSize { cut() }
        if !hasRecords {
            encoder.add(byte: kind.rawValue)
            encoder.add(byte: SnapshotCodec.format)
            hasRecords = true
        }
        counts[Int(kind.rawValue)] += 1
        body(&encoder)
    }

    private mutating func cut(before key: String, _ more: String = "") {
        guard hasRecords else { return }
        var hash = StableHash()
        hash.add(key)
        if !more.isEmpty { hash.add(more) }
        if hash.mixed % kind.recordsByPiece == 0 { cut() }
    }

    private mutating func cut() {
        guard hasRecords else { return }
        // A copy of the size it has, not of the size the buffer grew to.
        pieces.append(SnapshotPiece(bytes: Array(encoder.bytes[...])))
        encoder.bytes.removeAll(keepingCapacity: true)
        hasRecords = false
    }
}
