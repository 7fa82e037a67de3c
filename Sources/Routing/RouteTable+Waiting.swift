// What services say about requests that have no task yet. It is asked only when such a request turns up, so it lies
// apart from the entries that every request reads.

internal import Model

/// What a service says about requests that have to wait. -1 means that the global setting holds.
public struct WaitingEntry: BitwiseCopyable, Sendable {
    /// How long requests wait for a task to come back; 0: not at all.
    public let holdMs: Int64
    /// How long a request waits for its turn; 0: not at all.
    public let queueTimeoutMs: Int64
    /// Requests and tunnels under way at once, by task; 0: no limit.
    public let maxConnections: Int32
    /// Tasks of this service may get requests, now or as soon as they run: replicas are wanted, or nobody can say how
    /// many are, and its weight is not 0.
    public let expectsTasks: Bool

    init(_ service: Service) {
        let options = service.options
        holdMs = Int64(clamping: options.holdMs ?? -1)
        queueTimeoutMs = Int64(clamping: options.queueTimeoutMs ?? -1)
        maxConnections = Int32(clamping: max(0, options.maxConnections ?? 0))
        expectsTasks = service.desiredTaskCount != 0 && options.weight != 0
    }
}

extension RouteTable {
    public func waiting(_ service: Int32) -> WaitingEntry { waitingEntries[Int(service)] }

    /// How long requests for a pool may wait for a task to come back; 0: not at all.
    /// - Parameters:
    ///   - setting: for services that say nothing about it.
    ///   - wasServed: whether a service was there a short time ago.
    public func holdMs(ofPool index: Int32, setting: Int, _ wasServed: (_ service: Int32) -> Bool) -> Int {
        var longest = 0
        for service in servicesBehind(pool: index) {
            let entry = waiting(service)
            let ms = entry.holdMs >= 0 ? Int(entry.holdMs) : setting
            guard entry.expectsTasks, ms > longest, wasServed(service) else { continue }
            longest = ms
        }
        return longest
    }

    /// The services of a pool, whether any of their tasks is a member or not.
    public func servicesBehind(pool index: Int32) -> [Int32] { mergedPools[index] ?? [pool(index).service] }

    /// Whether it names an upstream, in whatever state.
    public func names(_ identity: UInt64) -> Bool { upstreamIdentities.containsAscending(identity) }

    /// Positions of the services of whose upstreams some were members of the old table and are not ready in this one.
    public func servicesWithLosses(since old: RouteTable) -> [Int32] {
        let removed = Set(removed(since: old))
        guard !removed.isEmpty else { return [] }
        var services: Set<Int32> = []
        for index in 0..<old.members.count where removed.contains(old.members[index].identity) {
            services.insert(old.members[index].service)
        }
        return services.sorted()
    }
}
