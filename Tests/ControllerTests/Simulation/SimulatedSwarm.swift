// Owns a model of a Swarm: services, tasks, nodes and addresses that follow the rules of swarmkit under a clock of its
// own. What happens, and when, comes from one seed. It knows nothing of lists, routes or the proxy.

import Discovery
import Support

extension SeededRandom {
    mutating func ms(_ range: ClosedRange<Int>) -> UInt64 { UInt64(number(range)) * 1_000_000 }
}

struct ModelService: Hashable {
    var id: String
    var version: UInt64 = 0
    var createdAt = 0
    /// nil: the labels cannot be read.
    var host: String?
    /// The host of the spec before.
    var previousHost: String?
    var replicas = 1
    var startsFirst = false
    var isUpdating = false
    /// Of its spec: tasks of an older one are replaced.
    var generation = 0
}

struct ModelTask: Hashable {
    var id: String
    var version: UInt64 = 0
    var service: String
    var slot: Int
    var node: String
    var generation: Int
    var desired: TaskState
    var state = TaskState.new
    /// Kept when it is over, though the address may be another's by then; nil: none yet.
    var address: Int?

    var isWanted: Bool { desired <= .running }
}

struct ModelNode: Hashable {
    var id: String
    var version: UInt64 = 0
    var state = SwarmNode.State.ready
}

/// What a manager knows.
struct SwarmState: Hashable {
    var services: [ModelService] = []
    var tasks: [ModelTask] = []
    var nodes: [ModelNode] = []
    var version: UInt64 = 1
}

struct SimulatedSwarm {
    enum Step: Hashable {
        /// Somebody does something to the cluster.
        case order
        case reconcile(String)
        case begins(String)
        case ends(String)
        case isForgotten(String)
        case nodeReturns(String)
        case leaderSettles
        case flap(Int)
    }

    private(set) var nowNs: UInt64 = 0
    private(set) var state = SwarmState()
    /// When an event reaches whoever listens, ascending.
    private(set) var hints: [UInt64] = []
    /// Tasks whose process ended because it was told to, in order.
    private(set) var stopped: [String] = []
    var random: SeededRandom
    /// No order is given any more: what is under way comes to its end.
    var isSettling = false
    /// Events come at once or late, or never.
    let losesEvents: Bool

    private var steps: [(atNs: UInt64, number: Int, step: Step)] = []
    private var stepCount = 0
    private var history: [(atNs: UInt64, state: SwarmState)] = []
    /// The one that was free last is given out first.
    private var freeAddresses = Array((1...8).reversed())
    private var lastAddress = 8
    private var lastName = 0

    init(seed: UInt64, losesEvents: Bool) {
        random = SeededRandom(seed: seed)
        self.losesEvents = losesEvents
        state.nodes = (1...3).map { ModelNode(id: "n\($0)", version: 1) }
        for _ in 0..<3 { createService() }
        plan(.order, inNs: random.ms(500...3000))
        remember()
    }

    // MARK: Time

    mutating func advance(to endNs: UInt64) {
        func isEarlier(_ left: Int, _ right: Int) -> Bool {
            (steps[left].atNs, steps[left].number) < (steps[right].atNs, steps[right].number)
        }
        while let first = steps.indices.min(by: isEarlier), steps[first].atNs <= endNs {
            let next = steps.remove(at: first)
            nowNs = max(nowNs, next.atNs)
            let before = state.version
            perform(next.step)
            if state.version != before { remember() }
        }
        nowNs = max(nowNs, endNs)
    }

    /// What a manager that is behind by `lagNs` knows.
    func state(lagNs: UInt64) -> SwarmState {
        let atNs = nowNs - min(nowNs, lagNs)
        return history.last { $0.atNs <= atNs }?.state ?? history[0].state
    }

    mutating func takeHints() -> Bool {
        let count = hints.count
        hints.removeAll { $0 <= nowNs }
        return hints.count != count
    }

    private mutating func remember() {
        history.append((nowNs, state))
        if history.count > 400 { history.removeFirst(200) }
    }

    mutating func plan(_ step: Step, inNs: UInt64) {
        stepCount += 1
        steps.append((nowNs + inNs, stepCount, step))
    }

    mutating func announce() {
        if losesEvents, random.oneIn(3) { return }
        let isLate = losesEvents && random.oneIn(4)
        hints.append(nowNs + random.ms(isLate ? 500...6000 : 0...150))
        hints.sort()
    }

    // MARK: Objects

    private mutating func write() -> UInt64 {
        state.version += 1
        return state.version
    }

    func serviceIndex(_ id: String) -> Int? { state.services.firstIndex { $0.id == id } }
    func taskIndex(_ id: String) -> Int? { state.tasks.firstIndex { $0.id == id } }
    func isDown(_ node: String) -> Bool { state.nodes.contains { $0.id == node && $0.state == .down } }

    mutating func change(service index: Int, _ body: (inout ModelService) -> Void) {
        body(&state.services[index])
        state.services[index].version = write()
    }

    mutating func change(task index: Int, _ body: (inout ModelTask) -> Void) {
        body(&state.tasks[index])
        state.tasks[index].version = write()
    }

    mutating func change(node index: Int, to newState: SwarmNode.State) {
        state.nodes[index].state = newState
        state.nodes[index].version = write()
    }

    mutating func name(_ kind: String) -> String {
        lastName += 1
        return "\(kind)\(lastName)"
    }

    mutating func createService(id: String? = nil, host: String? = nil, replicas: Int? = nil) {
        let id = id ?? name("s")
        lastName += 1
        var service = ModelService(id: id, createdAt: lastName, host: host ?? "h\(random.number(0...3)).test")
        service.replicas = replicas ?? random.number(1...3)
        service.startsFirst = random.oneIn(2)
        service.version = write()
        state.services.append(service)
        announce()
        reconcile(id)
    }

    mutating func removeService(_ id: String) {
        guard let index = serviceIndex(id) else { return }
        state.services.remove(at: index)
        _ = write()
        announce()
        reconcile(id)
    }

    /// A task on a node that is up, its address the one that was free last.
    mutating func spawn(_ service: ModelService, slot: Int, desired: TaskState) {
        let nodes = state.nodes.filter { $0.state != .down }.map(\.id)
        guard !nodes.isEmpty else { return }
        var task = ModelTask(
            id: name("t"), service: service.id, slot: slot, node: nodes[random.number(0...nodes.count - 1)],
            generation: service.generation, desired: desired)
        task.state = desired == .ready ? .ready : .preparing
        if let address = freeAddresses.popLast() {
            task.address = address
        } else {
            lastAddress += 1
            task.address = lastAddress
        }
        task.version = write()
        state.tasks.append(task)
        if desired == .running { plan(.begins(task.id), inNs: random.ms(30...900)) }
    }

    /// The agent takes it out of DNS, waits two seconds and only then stops it.
    mutating func stop(task index: Int, desired: TaskState) {
        change(task: index) { $0.desired = desired }
        guard !isDown(state.tasks[index].node) else { return }
        plan(.ends(state.tasks[index].id), inNs: 2_000_000_000 + random.ms(100...1000))
    }

    mutating func end(task index: Int, as final: TaskState) {
        let task = state.tasks[index]
        guard !task.state.isTerminal else { return }
        change(task: index) { $0.state = final }
        if let address = task.address { freeAddresses.append(address) }
        if task.desired > .running { stopped.append(task.id) }
        // Of what was removed nothing is kept; of the others the history is.
        plan(.isForgotten(task.id), inNs: task.desired == .remove ? 0 : random.ms(500...8000))
        plan(.reconcile(task.service), inNs: random.ms(0...300))
    }

    mutating func forget(_ id: String) {
        guard let index = taskIndex(id), state.tasks[index].state.isTerminal else { return }
        if state.tasks[index].isWanted { return plan(.isForgotten(id), inNs: 1_000_000_000) }
        state.tasks.remove(at: index)
        _ = write()
    }
}
