// Whether anything is on the move in a cluster, so that looking often pays. A pure function of the last lists.

import Discovery

enum TaskMotion {
    /// Whether a service is being updated, lacks running tasks, or has tasks that start or stop.
    static func isUnderWay(services: [SwarmService], tasks: [SwarmTask], nodes: [SwarmNode]) -> Bool {
        if services.contains(where: { $0.updateState?.isUnderWay == true }) { return true }
        let lostNodes = Set(nodes.lazy.filter { $0.state == .down }.map(\.id))
        var running: [String: Int] = [:]
        for task in tasks {
            if task.desiredState > .running {
                // A lost node never reports the end of its tasks.
                if !task.state.isTerminal, !lostNodes.contains(task.nodeID) { return true }
            } else if task.state != .running {
                return true
            } else {
                running[task.serviceID, default: 0] += 1
            }
        }
        return services.contains { service in
            guard case .replicated(let wanted) = service.mode else { return false }
            return running[service.id, default: 0] < wanted
        }
    }
}
