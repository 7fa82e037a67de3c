// Lists what an engine knows, call by call, and keeps the last good list of each kind. Used by the watcher's thread
// alone. It decides nothing about time; what it refuses to believe is an error, and then everything stays as it was.

import Discovery
import Kernel
import Model

/// Why a list was not taken.
enum ListFailure: Error, Hashable, Sendable {
    case call(DockerError)
    /// The engine answers from an older state.
    case stale(String)
    /// The engine cannot say, or lost, what it belongs to.
    case unsettled(String)

    var description: String {
        switch self {
        case .call(let error): error.description
        case .stale(let text), .unsettled(let text): text
        }
    }
}

/// Who brings the engine's answers.
protocol EngineCalls {
    /// The version that the engine agreed to; nil before the first call, or if it was left to the engine.
    var version: DockerVersion? { get }
    func get(_ call: DockerCall) throws(DockerError) -> [UInt8]
}

extension DockerClient: EngineCalls {}

struct DockerLister {
    private let client: any EngineCalls
    private let labelPrefix: String
    let ownCandidates: [String]
    private let note: @Sendable (DockerNote) -> Void

    private(set) var info = EngineInfo()
    private(set) var world = World()
    private(set) var versions = VersionGuard()
    private var infoAtNs: UInt64?
    private var unsettledSinceNs: UInt64?
    private var wasManager = false
    // Lists that a proxy in front of the engine forbids, and so are taken as empty.
    private var forbidden: Set<String> = []
    private var permitted: Set<String> = []

    /// The last good lists.
    struct World: Hashable, Sendable {
        var services: [SwarmService] = []
        var tasks: [ListedTask] = []
        var nodes: [SwarmNode] = []
        var networks: [Network] = []
        var containers: [Container] = []
        var configs: [ServicesConfig] = []
        var pinParts: [PinPart] = []
        /// Out of the parts: whole and readable, the newest first.
        var pins: [Pin] = []
        var pinProblems: [Diagnostic] = []
        var problems: [String: [Diagnostic]] = [:]
        var listedAtNs: UInt64 = 0

        /// Whether anything but the time differs.
        func differs(from other: World) -> Bool {
            var other = other
            other.listedAtNs = listedAtNs
            return self != other
        }
    }

    private static let infoIntervalNs: UInt64 = 30_000_000_000
    private static let unsettledPatienceNs: UInt64 = 10_000_000_000

    init(
        client: any EngineCalls, labelPrefix: String, ownCandidates: [String],
        note: @escaping @Sendable (DockerNote) -> Void
    ) {
        self.client = client
        self.labelPrefix = labelPrefix
        self.ownCandidates = ownCandidates
        self.note = note
    }

    var apiVersion: String { client.version?.description ?? "" }
    var isManager: Bool { info.isManager }

    /// The engine must say again what it belongs to.
    mutating func forgetInfo() { infoAtNs = nil }

    // MARK: Lists

    /// Lists everything.
    mutating func listAll(nowNs: UInt64) throws(ListFailure) {
        var next = World()
        next.listedAtNs = Clock.realtimeNs()
        try refreshInfo(nowNs)
        var seen: [String: UInt64] = [:]
        if info.isManager {
            try listSwarm(into: &next, versions: &seen)
        }
        next.networks = try list(.networks, "networks", &next, isRequired: false) { (reader) throws(JSONError) in
            try reader.network()
        }
        next.containers = try list(.containers, "containers", &next, isRequired: !info.isManager) {
            (reader) throws(JSONError) in try reader.container()
        }
        if info.isManager { try judge(seen, isWhole: true, nowNs) }
        // The engine's order means nothing and is not always the same.
        next.services.sort { $0.id < $1.id }
        next.nodes.sort { $0.id < $1.id }
        next.networks.sort { $0.id < $1.id }
        next.containers.sort { $0.id < $1.id }
        next.configs.sort { $0.name < $1.name }
        world = next
    }

    private mutating func listSwarm(
        into next: inout World, versions: inout [String: UInt64]
    ) throws(ListFailure) {
        next.services = try list(.services, "services", &next, isRequired: true) { (reader) throws(JSONError) in
            try reader.swarmService()
        }
        next.tasks = try listTasks(&next)
        let nodes = try list(.nodes, "nodes", &next, isRequired: false) { (reader) throws(JSONError) in
            try reader.swarmNode()
        }
        next.nodes = nodes.map(\.node)
        try listConfigs(into: &next)
        for service in next.services { versions[service.id] = service.version }
        for listed in next.tasks { versions[listed.task.id] = listed.task.version }
        for node in nodes { versions[node.node.id] = node.version }
        for config in next.configs { versions["config:" + config.name] = config.version }
        for part in next.pinParts { versions["pin:" + part.configID] = part.version }
    }

    /// Services files and pins. A pin may be large, so it is read when it is new only.
    private mutating func listConfigs(into next: inout World) throws(ListFailure) {
        let prefix = labelPrefix
        let configs = try list(.configs, "configs", &next, isRequired: false) { (reader) throws(JSONError) in
            try reader.labelledConfig(prefix: prefix)
        }
        for config in configs {
            switch config {
            case .services(let file): next.configs.append(file)
            case .pinPart(let part): next.pinParts.append(part)
            }
        }
        next.pinParts.sort { $0.configID < $1.configID }
        if next.pinParts == world.pinParts {
            next.pinParts = world.pinParts
            (next.pins, next.pinProblems) = (world.pins, world.pinProblems)
        } else {
            (next.pins, next.pinProblems) = PinParts.joined(next.pinParts)
        }
    }

    /// Lists tasks alone; the rest stays as it is.
    mutating func listTasksOnly(nowNs: UInt64) throws(ListFailure) {
        var next = world
        next.listedAtNs = Clock.realtimeNs()
        next.tasks = try listTasks(&next)
        var seen: [String: UInt64] = [:]
        for listed in next.tasks { seen[listed.task.id] = listed.task.version }
        try judge(seen, isWhole: false, nowNs)
        world = next
    }

    /// Whether a task names a service that was not there at the last full list.
    var hasUnknownServices: Bool {
        let known = Set(world.services.map(\.id))
        return world.tasks.contains { !$0.task.serviceID.isEmpty && !known.contains($0.task.serviceID) }
    }

    /// The wanted tasks, and those that were wanted before and are stopping now. The engine keeps five stopped tasks
    /// for each running one, so it is not asked for all: who left the list is asked for by id.
    private mutating func listTasks(_ next: inout World) throws(ListFailure) -> [ListedTask] {
        var tasks = try list(.tasks, "tasks", &next, isRequired: true) { (reader) throws(JSONError) in
            try reader.swarmTask()
        }
        let listed = Set(tasks.map(\.task.id))
        let gone = world.tasks.lazy.map(\.task).filter { !$0.state.isTerminal && !listed.contains($0.id) }.map(\.id)
        var rest = gone.sorted()[...]
        while !rest.isEmpty {
            let ids = Array(rest.prefix(400))
            rest = rest.dropFirst(ids.count)
            let found = try list(.tasksByID(ids), "stopping tasks", &next, isRequired: true) {
                (reader) throws(JSONError) in try reader.swarmTask()
            }
            tasks += found.filter { !$0.task.state.isTerminal && !listed.contains($0.task.id) }
        }
        return tasks.sorted { $0.task.id < $1.task.id }
    }

    /// One list call. Elements that make no sense are left out and told.
    private mutating func list<Element: Sendable>(
        _ call: DockerCall, _ things: String, _ next: inout World, isRequired: Bool,
        _ element: (inout JSONReader) throws(JSONError) -> Element?
    ) throws(ListFailure) -> [Element] {
        do throws(DockerError) {
            let body = try client.get(call)
            permitted.insert(call.path)
            let list: DockerList<Element>
            do throws(JSONError) {
                list = try DockerList(body, of: things, element)
            } catch {
                throw DockerError(
                    kind: .badAnswer, call: call.name,
                    message:
                        "the answer is no valid JSON: \(error.message) at byte \(error.offset) of \(body.count)")
            }
            next.problems[things] = list.problems.isEmpty ? nil : list.problems
            return list.elements
        } catch {
            if case .status(503) = error.kind { forgetInfo() }
            guard !isRequired, case .status(403) = error.kind, !permitted.contains(call.path) else {
                throw .call(error)
            }
            if forbidden.insert(call.path).inserted {
                note(DockerNote(.warning, "the engine's API forbids a list, going on without it", error.description))
            }
            return []
        }
    }

    // MARK: Belief

    private mutating func refreshInfo(_ nowNs: UInt64) throws(ListFailure) {
        if let infoAtNs, nowNs &- infoAtNs < Self.infoIntervalNs { return }
        let fresh = try askInfo()
        try settle(fresh, nowNs)
        infoAtNs = nowNs
        if fresh.isManager != info.isManager || fresh.swarmState != info.swarmState || info.serverVersion.isEmpty {
            tell(fresh)
        }
        info = fresh
        wasManager = wasManager || fresh.isManager
    }

    private mutating func askInfo() throws(ListFailure) -> EngineInfo {
        do throws(DockerError) {
            let body = try client.get(.info)
            var reader = JSONReader(body)
            do throws(JSONError) { return try reader.engineInfo() } catch {
                throw DockerError(
                    kind: .badAnswer, call: DockerCall.info.name,
                    message: "the answer is no valid JSON: \(error.message) at byte \(error.offset) of \(body.count)")
            }
        } catch {
            guard case .status(403) = error.kind else { throw .call(error) }
            return try guessInfo(error)
        }
    }

    /// Where a proxy in front of the engine forbids `/info`: an engine that lists services is a manager.
    private mutating func guessInfo(_ refusal: DockerError) throws(ListFailure) -> EngineInfo {
        if forbidden.insert(DockerCall.info.path).inserted {
            note(
                DockerNote(
                    .warning, "the engine's API forbids /info, finding out by /services what it is",
                    refusal.description))
        }
        var guess = EngineInfo()
        do throws(DockerError) {
            _ = try client.get(.services)
            guess.isManager = true
            guess.swarmState = .active
        } catch {
            switch error.kind {
            case .status(403), .status(406), .status(503): break
            default: throw .call(error)
            }
        }
        return guess
    }

    /// An engine that starts answers before it knows its Swarm again; one that was demoted cannot list any more.
    /// Neither means that the services are gone. One that left its Swarm has none.
    private mutating func settle(_ fresh: EngineInfo, _ nowNs: UInt64) throws(ListFailure) {
        if fresh.isManager || (fresh.swarmState == .active && !wasManager)
            || (fresh.swarmState == .inactive && !wasManager)
        {
            unsettledSinceNs = nil
            return
        }
        let since = unsettledSinceNs ?? nowNs
        unsettledSinceNs = since
        let hasWaited = nowNs &- since >= Self.unsettledPatienceNs
        switch fresh.swarmState {
        case .active:
            throw .unsettled("this engine is no manager any more, so its services cannot be listed; keeping all routes")
        case .inactive:
            guard hasWaited else {
                throw .unsettled("this engine says that it left its Swarm; waiting if that stays so")
            }
            wasManager = false
        case .unsettled:
            guard hasWaited, !wasManager else { throw .unsettled("this engine's Swarm is not up yet") }
        }
    }

    private func tell(_ fresh: EngineInfo) {
        switch (fresh.isManager, fresh.swarmState) {
        case (true, _): note(DockerNote(.info, "watching a Swarm", "cluster \(fresh.clusterID)"))
        case (false, .active):
            note(
                DockerNote(
                    .warning,
                    "this engine is a Swarm worker: only its own containers are seen, and no services; "
                        + "watch a manager instead"))
        case (false, .unsettled):
            note(DockerNote(.warning, "this engine's Swarm is locked or broken: only its own containers are seen"))
        default: note(DockerNote(.info, "watching a plain engine without Swarm: containers only"))
        }
    }

    private mutating func judge(
        _ seen: [String: UInt64], isWhole: Bool, _ nowNs: UInt64
    ) throws(ListFailure) {
        switch versions.judge(clusterID: info.clusterID, versions: seen, isWhole: isWhole, nowNs: nowNs) {
        case .accepted: break
        case .acceptedNewCluster(let previous):
            note(DockerNote(.warning, "another cluster answers than before", "\(previous), now \(info.clusterID)"))
        case .acceptedAfterWaiting:
            note(DockerNote(.warning, "taking a list older than what was seen, since it stays so"))
        case .stale(let id, let seen, let listed):
            throw .stale("the list is older than what was seen: \(id) is at \(listed) and was at \(seen); dropped")
        }
    }
}
