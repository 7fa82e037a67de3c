// The last good snapshot on disk: what a proxy or an extension starts with when no controller answers, and what a new
// one is compared with. One file in the state directory, replaced as a whole or not at all. Certificates and keys are
// in it sealed; without a key to seal them with they are not in it.

internal import Kernel
internal import Model
internal import Synchronization
internal import TLS

/// Why there is no last good snapshot to be had, or none can be kept: one sentence that names the file, what is wrong
/// and what follows.
public struct LastGoodError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Hashable, Sendable {
        /// The state directory is not there, no directory, or not ours to write to.
        case directory
        /// The system does not let us read the file.
        case unreadable
        /// Somebody else may have written it.
        case untrusted
        /// Cut off, changed, or never a last good snapshot.
        case damaged
        /// Written by another version of this program.
        case format
        /// Its addresses may be other services' by now.
        case tooOld
        /// It was told to another service cluster.
        case foreign
        /// The system does not let us write the file.
        case unwritable
    }

    public let kind: Kind
    public let description: String

    init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }
}

/// The file. Any thread may use it; one at a time is let in.
public struct LastGood: Sendable {
    public static let fileName = "last-good"
    /// A file that says the same is written anew after this time, so that its age stays true.
    static let refreshNs: UInt64 = 60_000_000_000

    /// What was read.
    public struct Loaded: Sendable {
        public var content: FeedContent
        /// When a controller last confirmed it, nanoseconds since 1970.
        public var savedAtNs: UInt64
        /// nil: the secrets are there, or there were none. Otherwise a sentence: why they are not.
        public var missingSecrets: String?
    }

    /// What the file says, as far as this process knows.
    private struct Written {
        var content: FeedContent
        var atNs: UInt64
    }

    /// Shared by copies of this value.
    private final class Memory: Sendable {
        let written = Mutex<Written?>(nil)
        let owner: Mutex<LastGoodOwner>

        init(_ owner: LastGoodOwner) { self.owner = Mutex(owner) }
    }

    public let path: String
    private let directory: String
    private let maximumAgeMs: Int
    private let memory: Memory

    /// - Parameters:
    ///   - directory: the state directory. It has to be there, and to be ours to write to.
    ///   - sealingKey: seals the secrets (`FeedCredential.derivedKey`); nil: they are not kept.
    ///   - cluster: the service cluster it is for; what another one was told is not used.
    ///   - maximumAgeMs: what is older is not used.
    public init(
        directory: String, sealingKey: [UInt8]?, cluster: String, maximumAgeMs: Int
    ) throws(LastGoodError) {
        self.directory = directory
        self.maximumAgeMs = max(0, maximumAgeMs)
        path = directory.hasSuffix("/") ? directory + Self.fileName : "\(directory)/\(Self.fileName)"
        memory = Memory(LastGoodOwner(cluster: cluster, key: sealingKey.map(Self.key)))
        try LastGoodFile.check(directory: directory)
        LastGoodFile.removeLeftovers(directory: directory, name: Self.fileName, nowNs: Clock.realtimeNs())
    }

    /// Keeps a snapshot that a controller sent. The same one again is a `touch`.
    public func save(_ content: FeedContent, atNs: UInt64) throws(LastGoodError) {
        try memory.written.withLock { (written) throws(LastGoodError) in
            if let last = written, last.content == content {
                try refresh(last, atNs, &written)
            } else {
                try write(content, atNs, &written)
            }
        }
    }

    /// A controller has confirmed what was saved or loaded last: its age begins anew. The file is written once a minute
    /// at most.
    public func touch(atNs: UInt64) throws(LastGoodError) {
        try memory.written.withLock { (written) throws(LastGoodError) in
            if let last = written { try refresh(last, atNs, &written) }
        }
    }

    /// The credential was renewed: what was saved or loaded is sealed anew, since the old key goes with the old one.
    /// What another service cluster was told is left alone.
    public func reseal(with sealingKey: [UInt8], cluster: String) throws(LastGoodError) {
        let owner = LastGoodOwner(cluster: cluster, key: Self.key(sealingKey))
        try memory.written.withLock { (written) throws(LastGoodError) in
            let before = memory.owner.withLock { held in
                defer { held = owner }
                return held
            }
            if before.cluster != cluster { written = nil }
            if let last = written { try write(last.content, last.atNs, &written) }
        }
    }

    private static func key(_ sealingKey: [UInt8]) -> [UInt8] {
        Sealing.key(from: sealingKey, salt: [], info: "interlock last good")
    }

    /// - Returns: nil if nothing was saved here.
    public func load() throws(LastGoodError) -> Loaded? { try load(nowNs: Clock.realtimeNs()) }

    func load(nowNs: UInt64) throws(LastGoodError) -> Loaded? {
        guard let bytes = try LastGoodFile.read(path) else { return nil }
        let stored: LastGoodRecord
        do throws(LastGoodRecord.Problem) {
            stored = try LastGoodRecord(bytes)
        } catch {
            throw error.described(path)
        }
        // A clock that went back makes nothing younger than new.
        let ageNs = nowNs > stored.savedAtNs ? nowNs - stored.savedAtNs : 0
        guard ageNs / 1_000_000 <= UInt64(maximumAgeMs) else {
            throw LastGoodError(
                .tooOld,
                """
                the last good snapshot \(path) is \(hours(ageNs / 1_000_000)) old and not used after \
                \(hours(UInt64(maximumAgeMs))): its addresses may be other services' by now; a controller has to \
                answer first, or a greater age has to be allowed
                """)
        }
        let owner = memory.owner.withLock { $0 }
        guard stored.cluster == owner.cluster else {
            throw LastGoodError(
                .foreign,
                """
                the last good snapshot \(path) is of \(Self.name(stored.cluster)), and this is one of \
                \(Self.name(owner.cluster)): it is not used, and the next snapshot of a controller takes its place
                """)
        }
        let (secretPieces, missing) = stored.openSecrets(owner.key)
        let content: FeedContent
        do throws(SnapshotCodecError) {
            let (snapshot, secrets) = try SnapshotCodec.decode(stored.pieces + secretPieces, order: stored.order)
            content = FeedContent(snapshot: snapshot, secrets: secrets)
        } catch {
            throw LastGoodRecord.Problem.damaged("\(error)").described(path)
        }
        // What lacks its secrets is not what would be saved.
        if missing == nil {
            memory.written.withLock { $0 = Written(content: content, atNs: stored.savedAtNs) }
        }
        return Loaded(
            content: content, savedAtNs: stored.savedAtNs,
            missingSecrets: missing.map {
                "the last good snapshot \(path) is used without its certificates and keys: \($0)"
            })
    }

    // MARK: Inside

    private func refresh(_ last: Written, _ atNs: UInt64, _ written: inout Written?) throws(LastGoodError) {
        // A clock that went back is believed too: who reads the file goes by the same one.
        let isDue = atNs < last.atNs || atNs - last.atNs >= Self.refreshNs
        if isDue { try write(last.content, atNs, &written) }
    }

    private func write(_ content: FeedContent, _ atNs: UInt64, _ written: inout Written?) throws(LastGoodError) {
        let bytes: [UInt8]
        do throws(TLSError) {
            bytes = try LastGoodRecord.bytes(of: content, atNs: atNs, for: memory.owner.withLock { $0 })
        } catch {
            throw LastGoodError(.unwritable, "the secrets in \(path) cannot be sealed: \(error)")
        }
        try LastGoodFile.replace(path, in: directory, with: bytes)
        written = Written(content: content, atNs: atNs)
    }

    private static func name(_ cluster: String) -> String {
        cluster.isEmpty ? "the default service cluster" : "the service cluster \"\(cluster)\""
    }

    private func hours(_ milliseconds: UInt64) -> String {
        milliseconds < 7_200_000 ? "\(milliseconds / 60_000) min" : "\(milliseconds / 3_600_000) h"
    }
}
