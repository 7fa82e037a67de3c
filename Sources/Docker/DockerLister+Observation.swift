// What the last good lists come to: one inventory, with the services files that configs hold and the networks that
// this process sits on. A pure function of the lists.

import Discovery
import Model

extension DockerLister {
    func observation() -> DockerObservation {
        var problems = world.problems.sorted { $0.key < $1.key }.flatMap(\.value)
        var files: [ServicesFile] = []
        for config in world.configs {
            do throws(ServicesFileError) {
                let content = try ServicesFileReader.read(config.content, name: "config \(config.name)")
                problems += content.problems
                files.append(
                    ServicesFile(
                        name: config.name, origin: .config, createdAtNs: config.createdAtNs,
                        services: content.services))
            } catch {
                problems.append(
                    Diagnostic(severity: .error, service: config.name, message: error.description))
            }
        }
        let order = SnapshotOrder(
            clusterID: info.clusterID, version: versions.highest, listedAtNs: world.listedAtNs)
        let own = ownPlace()
        return DockerObservation(
            inventory: Inventory(
                order: order, services: world.services, tasks: world.tasks.map(\.task), nodes: world.nodes,
                networks: world.networks, containers: world.containers, files: files),
            problems: problems, ownNetworks: own?.networks, ownService: own?.service, pins: world.pins,
            pinProblems: world.pinProblems, nodeID: info.nodeID, isManager: info.isManager)
    }

    /// The networks and the service of the task or container that this process is.
    private func ownPlace() -> (networks: [String], service: String?)? {
        for candidate in ownCandidates {
            let container = world.containers.first { $0.id.hasPrefix(candidate) }
            let task = world.tasks.first { $0.containerID.hasPrefix(candidate) }
            let labelled = container?.labels[Labels.swarmServiceLabel]
            if let task {
                let service = world.services.first { $0.id == task.task.serviceID }?.name
                return (usable(task.task.addresses.map(\.networkID)), service ?? labelled)
            }
            if let container {
                return (usable(container.networks.filter { !$0.addresses.isEmpty }.map(\.id)), labelled)
            }
        }
        return nil
    }

    /// By name, without the ingress network.
    private func usable(_ ids: [String]) -> [String] {
        let usable = Set(ids).filter { id in !world.networks.contains { $0.id == id && $0.isIngress } }
        let names = Dictionary(world.networks.map { ($0.id, $0.name) }) { first, _ in first }
        return usable.sorted { (names[$0] ?? "", $0) < (names[$1] ?? "", $1) }
    }
}
