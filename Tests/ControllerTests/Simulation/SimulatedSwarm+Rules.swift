// What swarmkit does by itself, and what people and hardware do to it.

import Discovery
import Support

extension SimulatedSwarm {
    mutating func perform(_ step: Step) {
        switch step {
        case .order:
            if !isSettling { giveOrder() }
            plan(.order, inNs: random.oneIn(3) ? random.ms(0...60) : random.ms(200...4000))
        case .reconcile(let id): reconcile(id)
        case .begins(let id): begin(id)
        case .ends(let id):
            guard let index = taskIndex(id), !isDown(state.tasks[index].node) else { return }
            end(task: index, as: .shutdown)
        case .isForgotten(let id): forget(id)
        case .nodeReturns(let id): bringBack(id)
        case .leaderSettles:
            for index in state.nodes.indices where state.nodes[index].state == .unknown {
                change(node: index, to: .ready)
            }
            announce()
        case .flap(let count): flap(count)
        }
    }

    private mutating func begin(_ id: String) {
        guard let index = taskIndex(id), state.tasks[index].desired == .running, !isDown(state.tasks[index].node),
            !state.tasks[index].state.isTerminal
        else { return }
        if random.oneIn(12) { return end(task: index, as: .failed) }
        change(task: index) { $0.state = .running }
        reconcile(state.tasks[index].service)
    }

    private mutating func bringBack(_ id: String) {
        guard let node = state.nodes.firstIndex(where: { $0.id == id }) else { return }
        change(node: node, to: .ready)
        announce()
        for index in state.tasks.indices where state.tasks[index].node == id && !state.tasks[index].state.isTerminal {
            let task = state.tasks[index]
            if !task.isWanted {
                plan(.ends(task.id), inNs: random.ms(100...3000))
            } else if task.desired == .running, task.state != .running {
                plan(.begins(task.id), inNs: random.ms(30...900))
            }
        }
    }

    /// A service that comes and goes ten times a second.
    private mutating func flap(_ left: Int) {
        if serviceIndex("flap") == nil {
            createService(id: "flap", host: "flap.test", replicas: 1)
        } else {
            removeService("flap")
        }
        if left > 0 { plan(.flap(left - 1), inNs: 50_000_000) }
    }

    // MARK: The orchestrator

    mutating func reconcile(_ id: String) {
        guard let index = serviceIndex(id) else {
            for task in state.tasks.indices where state.tasks[task].service == id && state.tasks[task].isWanted {
                stop(task: task, desired: .remove)
            }
            return
        }
        let service = state.services[index]
        for task in state.tasks.indices {
            let each = state.tasks[task]
            guard each.service == id, each.isWanted else { continue }
            if each.slot > service.replicas {
                stop(task: task, desired: .remove)
            } else if each.state.isTerminal || isDown(each.node) {
                change(task: task) { $0.desired = .shutdown }
            }
        }
        var isReplacing = false
        var outdated: Int?
        for slot in 0..<service.replicas {
            if settle(service, slot: slot + 1) { isReplacing = true }
            let wanted = state.tasks.indices.filter {
                state.tasks[$0].service == id && state.tasks[$0].slot == slot + 1 && state.tasks[$0].isWanted
            }
            if outdated == nil, wanted.count == 1, state.tasks[wanted[0]].generation < service.generation {
                outdated = wanted[0]
            }
        }
        if isReplacing { return }
        if let outdated {
            replace(outdated, of: service)
        } else if service.isUpdating {
            change(service: index) { $0.isUpdating = false }
            announce()
        }
    }

    /// - Returns: whether the slot is on its way to a new task.
    private mutating func settle(_ service: ModelService, slot: Int) -> Bool {
        let own = state.tasks.indices.filter { state.tasks[$0].service == service.id && state.tasks[$0].slot == slot }
        let wanted = own.filter { state.tasks[$0].isWanted }
        guard let newest = wanted.last else {
            spawn(service, slot: slot, desired: .running)
            return true
        }
        if wanted.count > 1 {
            // Start-first: the old one goes when the new one runs.
            guard state.tasks[newest].state == .running else { return true }
            for task in wanted.dropLast() { stop(task: task, desired: .shutdown) }
            return true
        }
        if state.tasks[newest].desired == .ready {
            let isWaiting = own.contains {
                !state.tasks[$0].isWanted && !state.tasks[$0].state.isTerminal && !isDown(state.tasks[$0].node)
            }
            if isWaiting { return true }
            change(task: newest) {
                $0.desired = .running
                $0.state = .starting
            }
            plan(.begins(state.tasks[newest].id), inNs: random.ms(30...900))
            return true
        }
        return state.tasks[newest].state != .running
    }

    private mutating func replace(_ task: Int, of service: ModelService) {
        let slot = state.tasks[task].slot
        if service.startsFirst {
            spawn(service, slot: slot, desired: .running)
        } else {
            // In one write.
            stop(task: task, desired: .shutdown)
            spawn(service, slot: slot, desired: .ready)
        }
    }

    // MARK: People and hardware

    private mutating func giveOrder() {
        let running = state.tasks.indices.filter {
            state.tasks[$0].state == .running && state.tasks[$0].desired == .running
        }
        guard !state.services.isEmpty else { return createService() }
        let index = random.number(0...state.services.count - 1)
        let id = state.services[index].id
        switch random.number(0...15) {
        case 0...4:  // update --force
            change(service: index) {
                $0.generation += 1
                $0.isUpdating = true
            }
            announce()
            reconcile(id)
        case 5:
            let replicas = random.number(0...4)
            change(service: index) { $0.replicas = replicas }
            announce()
            reconcile(id)
        case 6, 7:  // another host, or labels nobody can read
            let host = random.oneIn(2) ? nil : "h\(random.number(0...3)).test"
            change(service: index) {
                $0.previousHost = $0.host
                $0.host = host
            }
            announce()
        case 8: if state.services.count < 6 { createService() }
        case 9: removeService(id)
        case 10, 11: if !running.isEmpty { end(task: running[random.number(0...running.count - 1)], as: .failed) }
        case 12: loseNode()
        case 13:
            // A new leader knows of no node.
            for node in state.nodes.indices where state.nodes[node].state == .ready {
                change(node: node, to: .unknown)
            }
            announce()
            plan(.leaderSettles, inNs: random.ms(500...4000))
        case 14: if serviceIndex("flap") == nil { plan(.flap(20), inNs: 0) }
        default:  // many at once
            for _ in 0..<3 { giveOrder() }
        }
    }

    /// Its tasks still read running, and nobody ever says that they ended.
    private mutating func loseNode() {
        let up = state.nodes.indices.filter { state.nodes[$0].state == .ready }
        guard up.count > 1 else { return }
        let node = up[random.number(0...up.count - 1)]
        change(node: node, to: .down)
        announce()
        for service in state.services { plan(.reconcile(service.id), inNs: random.ms(0...3000)) }
        plan(.nodeReturns(state.nodes[node].id), inNs: random.ms(1000...20_000))
    }
}
