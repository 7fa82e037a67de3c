// Which services of an inventory belong to which proxy group: one inventory for each, so that a group's snapshot is
// mapped from its own services alone, and a change of one group costs the others nothing. Nothing is judged here.

public import Model

/// An inventory, split by the label `service_cluster`.
public struct ClusterDivision: Sendable {
    /// By name of the group; "" is always there. Nodes and networks are the same in all of them.
    public private(set) var parts: [String: Inventory]
    /// Of services in files: what is passed over, by the group that would have served it.
    public private(set) var findings: [String: [Diagnostic]] = [:]

    private let prefix: String
    /// A group that has nothing yet.
    private let blank: Inventory

    /// - Parameter settings: `serviceCluster` is not looked at.
    public init(_ inventory: Inventory, settings: MappingSettings) {
        prefix = settings.labelPrefix
        blank = Inventory(order: inventory.order, nodes: inventory.nodes, networks: inventory.networks)
        parts = ["": blank]
        divide(services: inventory.services, tasks: inventory.tasks)
        divide(inventory.containers)
        // Of two services with one name the younger file's is used, whatever groups they ask for.
        let (used, passedOver) = FileMapping(settings: settings).services(of: inventory.files)
        for (service, file) in used { add(service, of: file) }
        for (service, finding) in passedOver { findings[cluster(service.labels), default: []].append(finding) }
    }

    private func cluster(_ labels: [String: String]) -> String { LabelReading.cluster(of: labels, prefix: prefix) }

    /// Most clusters have one group only: then nothing is copied.
    private mutating func divide(services: [SwarmService], tasks: [SwarmTask]) {
        var clusterOf: [String: String] = [:]
        for service in services {
            let cluster = cluster(service.labels)
            if !cluster.isEmpty { clusterOf[service.id] = cluster }
        }
        guard !clusterOf.isEmpty else {
            parts[""]?.services = services
            parts[""]?.tasks = tasks
            return
        }
        for service in services { parts[clusterOf[service.id] ?? "", default: blank].services.append(service) }
        for task in tasks { parts[clusterOf[task.serviceID] ?? "", default: blank].tasks.append(task) }
    }

    private mutating func divide(_ containers: [Container]) {
        for container in containers {
            let isSwarms = container.labels[Labels.swarmTaskLabel] != nil
            parts[isSwarms ? "" : cluster(container.labels), default: blank].containers.append(container)
        }
    }

    private mutating func add(_ service: FileService, of file: ServicesFile) {
        parts[cluster(service.labels), default: blank].files.add(service, of: file)
    }
}

extension [ServicesFile] {
    /// In place: a copy of the list for each service would make many services take a time of their square.
    fileprivate mutating func add(_ service: FileService, of file: ServicesFile) {
        // The services of one file come one after the other.
        if let last = indices.last, self[last].name == file.name, self[last].origin == file.origin {
            self[last].services.append(service)
        } else {
            var piece = file
            piece.services = [service]
            append(piece)
        }
    }
}
