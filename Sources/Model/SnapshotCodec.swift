// A snapshot and its secrets as bytes, for the feed and for the disk: what is written, in which kinds of pieces, and
// where one piece ends and the next begins. A record names services by id and never by position, and pieces end where
// the records' own names say so: one changed service changes one or two pieces of hundreds, and who has the others
// keeps them (docs/decisions/2026-11-29-snapshot-pieces.md).
//
// Whoever adds a field to a type of the model adds it to SnapshotCodec+Encoding.swift and SnapshotCodec+Decoding.swift
// and raises `format`. Tests/ModelTests/SnapshotFieldTests.swift fails until then.

/// Some records of one kind. Equal records give equal pieces: a piece is known by the digest of its bytes.
public struct SnapshotPiece: Hashable, Sendable {
    /// The kind, the format, and the records.
    public var bytes: [UInt8]

    public init(bytes: [UInt8]) { self.bytes = bytes }

    /// Whether certificates or keys are in it, going by its first byte. A kind that nobody knows counts as secret.
    public var isSecret: Bool { kind?.isSecret ?? true }

    var kind: SnapshotCodec.Kind? { bytes.first.flatMap(SnapshotCodec.Kind.init) }
}

// Keys are in some of them: printing one prints none of its bytes.
extension SnapshotPiece: CustomStringConvertible, CustomReflectable {
    public var description: String { "\(bytes.count) bytes of \(kind.map { "\($0)" } ?? "nothing known")" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Why pieces are not a snapshot.
public struct SnapshotCodecError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The position of the piece; nil: it is about all of them.
    public var piece: Int?
    public var reason: String

    public var description: String { piece.map { "piece \($0): \(reason)" } ?? reason }
}

public enum SnapshotCodec {
    /// A reader refuses other formats: who does not know a field must not drop it.
    public static let format: UInt8 = 1
    /// No piece has more bytes. A piece ends once it has `fullSize`, and no record comes near the rest: the largest is
    /// a secret's file, of 1 MiB.
    public static let pieceLimit = 2 << 20
    static let fullSize = 1 << 19

    /// What the records of a piece are. The order of kinds is the order of pieces.
    enum Kind: UInt8, CaseIterable {
        /// How many records of each kind there are: a snapshot that lost a piece is none.
        case counts = 1
        case services, routes, hosts, streams, streamHosts, upstreams, diagnostics
        /// From here on: secrets.
        case secretCounts = 64
        case secrets, certificates, defaults, failures

        /// One of so many records begins a new piece. Secrets are large and change one by one.
        var recordsByPiece: UInt64 {
            switch self {
            case .secrets, .certificates: 8
            case .counts, .secretCounts, .defaults: 1
            case .services, .routes, .hosts, .streams, .streamHosts, .upstreams, .diagnostics, .failures: 64
            }
        }

        var isSecret: Bool { rawValue >= Self.secretCounts.rawValue }

        /// The kinds whose records a piece of counts counts.
        static func counted(by counts: Kind) -> [Kind] {
            allCases.filter { $0.isSecret == counts.isSecret && $0 != counts }
        }
    }

    /// The same bytes for equal snapshots on every machine. The order (`Snapshot.order`) is not in them: the same
    /// cluster, looked at later, has the same pieces. What a sound snapshot cannot have is left out: a service's
    /// position that does not exist, endpoints without a service.
    public static func pieces(of snapshot: Snapshot) -> [SnapshotPiece] {
        let configuration = snapshot.configuration
        var writer = PieceWriter()
        writer.begin(.services)
        for service in configuration.services { writer.addRecord(key: service.id) { $0.add(service) } }
        let ids = configuration.services.map(\.id)
        writer.begin(.routes)
        for route in configuration.routes {
            writer.addRecord(key: route.host.description, route.pathPrefix) { $0.add(route, ids) }
        }
        writer.begin(.hosts)
        for host in configuration.hosts { writer.addRecord(key: host.host.description) { $0.add(host, ids) } }
        writer.begin(.streams)
        for stream in configuration.streams { writer.addRecord(key: String(stream.port)) { $0.add(stream, ids) } }
        writer.begin(.streamHosts)
        for stream in configuration.streams {
            for host in stream.hosts {
                writer.addRecord(key: host.host.description, String(stream.port)) {
                    $0.add(host, port: stream.port, ids)
                }
            }
        }
        writer.begin(.upstreams)
        for (service, upstreams) in zip(ids, snapshot.endpoints) { writer.add(upstreams, of: service) }
        writer.begin(.diagnostics)
        for diagnostic in snapshot.diagnostics {
            writer.addRecord(key: diagnostic.service, diagnostic.label) { $0.add(diagnostic) }
        }
        return writer.finish(.counts)
    }

    /// The same for secrets; none if there are none.
    public static func pieces(of secrets: SecretFiles) -> [SnapshotPiece] {
        guard secrets != SecretFiles() else { return [] }
        var writer = PieceWriter()
        writer.begin(.secrets)
        writer.add(files: secrets.secrets)
        writer.begin(.certificates)
        writer.add(files: secrets.certificates)
        writer.begin(.defaults)
        for part in SecretDefault.allCases {
            guard let bytes = secrets[part] else { continue }
            writer.addRecord(key: "") { encoder in
                encoder.add(byte: part.rawValue)
                encoder.add(blob: bytes)
            }
        }
        writer.begin(.failures)
        for (name, reason) in secrets.failures.sorted(by: { $0.key.isBefore($1.key) }) {
            writer.addRecord(key: name) { encoder in
                encoder.add(text: name)
                encoder.add(text: reason)
            }
        }
        return writer.finish(.secretCounts)
    }

    /// Reads the pieces of a snapshot, followed by those of its secrets if they are there, in the order in which they
    /// were written. Any bytes may be given: what is not whole, not in order, or there twice is refused.
    public static func decode(
        _ pieces: [SnapshotPiece], order: SnapshotOrder
    ) throws(SnapshotCodecError) -> (snapshot: Snapshot, secrets: SecretFiles) {
        var reader = SnapshotReader()
        for (index, piece) in pieces.enumerated() {
            do throws(ByteDecodingError) {
                try reader.read(piece)
            } catch {
                throw SnapshotCodecError(piece: index, reason: error.description)
            }
        }
        return try reader.finish(order)
    }
}
