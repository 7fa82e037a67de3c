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
        return DockerObservation(
            inventory: Inventory(
                order: order, services: world.services, tasks: world.tasks.map(\.task), nodes: world.nodes,
                networks: world.networks, containers: world.containers, files: files),
            problems: problems, ownNetworks: ownNetworks())
    }

    /// The networks of the task or container that this process is.
    private func ownNetworks() -> [String]? {
        for candidate in ownCandidates {
            var found: [String]?
            if let own = world.tasks.first(where: { $0.containerID.hasPrefix(candidate) }) {
                found = own.task.addresses.map(\.networkID)
            } else if let own = world.containers.first(where: { $0.id.hasPrefix(candidate) }) {
                found = own.networks.filter { !$0.addresses.isEmpty }.map(\.id)
            }
            guard let found else { continue }
            let usable = Set(found).filter { id in !world.networks.contains { $0.id == id && $0.isIngress } }
            let names = Dictionary(world.networks.map { ($0.id, $0.name) }) { first, _ in first }
            return usable.sorted { (names[$0] ?? "", $0) < (names[$1] ?? "", $1) }
        }
        return nil
    }
}
