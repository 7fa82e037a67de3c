// Owns what must be true of the routes, by the rules that people were promised, from nothing but what the engine said:
// which lists count, and which tasks are ready by the last one that did. It knows no inventory, mapping or table.

import Discovery

/// A rule that is got wrong on purpose, to show that it is held.
enum Flaw: String, CaseIterable, Sendable {
    case readyWithoutBeingWanted
    case readyBeforeItRuns
    case readyOnALostNode
    case lostOnAnUnknownNode
    case staleListsCount
    case failedListsCount
    case badLabelsTakeTheServiceOut
    case partialListsForgetNodes
    case addressesAreTasks
    case stopsMayBeMissed
}

struct SwarmOracle {
    private let flaw: Flaw?
    private var services: [ModelService] = []
    private var tasks: [ModelTask] = []
    private var nodes: [ModelNode] = []
    /// The version at which each object was last seen in a list that counts.
    private var versions: [String: UInt64] = [:]
    private var behindSinceNs: UInt64?

    init(flaw: Flaw?) { self.flaw = flaw }

    // MARK: Which lists count

    /// - Returns: whether the list counts. It does unless a call failed, or an object in it is older than it was seen
    ///   before: that is believed only when it has been so for ten seconds.
    mutating func take(_ told: ToldList, isWhole: Bool, startedNs: UInt64) -> Bool {
        if told.hasFailed, flaw != .failedListsCount { return false }
        var listed: [String: UInt64] = [:]
        for task in told.tasks { listed[task.id] = task.version }
        if isWhole {
            for service in told.services { listed[service.id] = service.version }
            for node in told.nodes { listed[node.id] = node.version }
        }
        let isBehind = listed.contains { id, version in versions[id].map { version < $0 } ?? false }
        if isBehind, flaw != .staleListsCount {
            let since = behindSinceNs ?? startedNs
            behindSinceNs = since
            if startedNs - since < 10_000_000_000 { return false }
        }
        behindSinceNs = nil
        tasks = told.tasks
        if isWhole {
            (services, nodes, versions) = (told.services, told.nodes, listed)
        } else {
            if flaw == .partialListsForgetNodes { nodes = [] }
            versions.merge(listed) { $1 }
        }
        return true
    }

    // MARK: Who is ready

    /// By host: the ready tasks behind it, by name, with their addresses.
    var routes: [String: [String: Int]] {
        var routes: [String: [String: Int]] = [:]
        for service in services {
            let fallback = flaw == .badLabelsTakeTheServiceOut ? nil : service.previousHost
            guard let host = service.host ?? fallback else { continue }
            var ready = routes[host] ?? [:]
            for task in tasks where task.service == service.id && isReady(task) { ready[task.id] = task.address }
            routes[host] = ready
        }
        return routes
    }

    private func isReady(_ task: ModelTask) -> Bool {
        guard task.address != nil else { return false }
        let isWanted = task.desired == .running || (flaw == .readyWithoutBeingWanted && task.desired == .shutdown)
        let runs = task.state == .running || (flaw == .readyBeforeItRuns && task.state == .starting)
        let node = nodes.first { $0.id == task.node }?.state
        let isLost =
            node == .down && flaw != .readyOnALostNode || node == .unknown && flaw == .lostOnAnUnknownNode
        return isWanted && runs && !isLost
    }
}
