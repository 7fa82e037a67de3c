// Keeps the list of a cluster from going back in time: after a failover a manager may answer from an older state.
// The highest index of a whole list proves nothing, since it falls whenever the newest object is removed; what never
// falls is the index of an object that is still there. Pure: the time is handed in.

struct VersionGuard: Sendable {
    enum Verdict: Hashable, Sendable {
        case accepted
        /// Another cluster answers than before.
        case acceptedNewCluster(previous: String)
        /// Older than what was seen, but so for a long time: that is how the cluster is now.
        case acceptedAfterWaiting
        /// To be dropped: this object was newer before.
        case stale(id: String, seen: UInt64, listed: UInt64)
    }

    /// How long an older state is not believed.
    static let patienceNs: UInt64 = 10_000_000_000

    /// The highest index ever seen in this cluster.
    private(set) var highest: UInt64 = 0
    private(set) var clusterID = ""
    private var seen: [String: UInt64] = [:]
    private var staleSinceNs: UInt64?

    /// Judges a list of objects, and remembers it if it is accepted.
    /// - Parameter isWhole: objects that are not listed are gone; false for a list of one kind, or of some tasks.
    mutating func judge(
        clusterID: String, versions: [String: UInt64], isWhole: Bool, nowNs: UInt64
    ) -> Verdict {
        var verdict = Verdict.accepted
        if clusterID != self.clusterID {
            if !self.clusterID.isEmpty { verdict = .acceptedNewCluster(previous: self.clusterID) }
            self.clusterID = clusterID
            highest = 0
            seen = [:]
        } else if let older = versions.filter({ $0.value < seen[$0.key] ?? 0 }).min(by: { $0.key < $1.key }) {
            let since = staleSinceNs ?? nowNs
            staleSinceNs = since
            guard nowNs &- since >= Self.patienceNs else {
                return .stale(id: older.key, seen: seen[older.key] ?? 0, listed: older.value)
            }
            verdict = .acceptedAfterWaiting
        }
        staleSinceNs = nil
        if isWhole { seen = versions } else { seen.merge(versions) { $1 } }
        highest = max(highest, versions.values.max() ?? 0)
        return verdict
    }
}
