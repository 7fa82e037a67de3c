// What the labels of services need of the services that proxies and controllers run in: secrets by name, and networks
// to share. Labels that cannot be read ask for nothing; but what they name is named all the same, since a mistake in
// one of them is soon mended. Nothing is attached here, and no secret is read.

public import Model

/// A secret that a label names.
public struct SecretNeed: Hashable, Sendable {
    public var reference: SecretReference
    /// Who names it; of several the first by name.
    public var service: String

    public init(reference: SecretReference, service: String) {
        self.reference = reference
        self.service = service
    }
}

/// A network over which the tasks of a service are to be reached.
public struct NetworkNeed: Hashable, Sendable {
    public var service: String
    public var id: String
    public var name: String
    /// The proxies sit on it already, or nobody knows where they sit.
    public var isShared: Bool

    public init(service: String, id: String, name: String, isShared: Bool) {
        self.service = service
        self.id = id
        self.name = name
        self.isShared = isShared
    }
}

/// The needs of one proxy group's services.
public struct LabelNeeds: Hashable, Sendable {
    /// In canonical order.
    public var secrets: [SecretNeed] = []
    /// Every name of a secret in any label, whatever becomes of its service.
    public var secretsNamed: Set<String> = []
    /// In canonical order of services.
    public var networks: [NetworkNeed] = []
    /// Ids of all networks that services of the group are on.
    public var networksInUse: Set<String> = []

    public init() {}

    /// - Parameter settings: of the group.
    public init(of inventory: Inventory, settings: MappingSettings) {
        var namers: [SecretReference: String] = [:]
        func hear(_ labels: [String: String], _ service: String, _ stack: String) {
            // Most services name none, and reading labels costs more than looking at their names.
            let named = Self.secretsNamed(in: labels, prefix: settings.labelPrefix, stack: stack)
            guard !named.isEmpty,
                LabelReading.cluster(of: labels, prefix: settings.labelPrefix) == settings.serviceCluster
            else { return }
            secretsNamed.formUnion(named)
            for reference in Self.secrets(in: labels, settings: settings, stack: stack) {
                namers[reference] = namers[reference].map { $0.isBefore(service) ? $0 : service } ?? service
            }
        }
        let swarm = SwarmMapping(inventory, settings: settings)
        for service in inventory.services.sorted(by: { $0.name == $1.name ? $0.id < $1.id : $0.name < $1.name }) {
            hear(service.labels, service.name, service.labels[Labels.stackLabel] ?? "")
            guard let reach = swarm.reach(of: service) else { continue }
            networksInUse.formUnion(reach.candidates)
            if let need = reach.need { networks.append(need) }
        }
        for container in inventory.containers where container.labels[Labels.swarmTaskLabel] == nil {
            let stack = container.labels[Labels.stackLabel] ?? container.labels[Labels.composeProjectLabel] ?? ""
            hear(container.labels, container.name, stack)
        }
        for file in inventory.files {
            for service in file.services {
                hear(service.labels, service.name, service.labels[Labels.stackLabel] ?? "")
            }
        }
        secrets = namers.map { SecretNeed(reference: $0.key, service: $0.value) }
            .sorted { $0.reference.names.joined(separator: "/").isBefore($1.reference.names.joined(separator: "/")) }
    }

    private static let secretLabels = Labels.table.filter { $0.kind == .secret || $0.kind == .secrets }.map(\.name)

    private static func secretsNamed(in labels: [String: String], prefix: String, stack: String) -> Set<String> {
        var names: Set<String> = []
        for label in secretLabels {
            guard let value = labels[prefix + label], value.utf8.count <= LabelReading.valueSizeLimit else { continue }
            for part in value.split(whereSeparator: { $0 == "," || $0 == ";" }) {
                names.formUnion(SecretReference(part.trimmed, stack: stack).names)
            }
        }
        return names
    }

    private static func secrets(
        in labels: [String: String], settings: MappingSettings, stack: String
    ) -> [SecretReference] {
        let reading = LabelReading(labels, settings: settings, stack: stack)
        let certificates = reading.tls.certificates.flatMap { [$0.certificate, $0.key] }
        let authorities = [
            reading.tls.clientAuthentication?.authorities, reading.options.backendTLS?.authorities,
        ]
        return (certificates + authorities).compactMap { $0 }
    }
}

extension SwarmMapping {
    /// The networks that a service of the group is on, and the one it is to be reached by.
    func reach(of service: SwarmService) -> (need: NetworkNeed?, candidates: [String])? {
        let prefix = settings.labelPrefix
        guard LabelReading.concerns(service.labels, prefix: prefix),
            LabelReading.cluster(of: service.labels, prefix: prefix) == settings.serviceCluster
        else { return nil }
        let tasks = tasks[service.id] ?? []
        let candidates = candidateNetworks(of: service, tasks)
        let ids = candidates.map(\.id)
        let stack = service.labels[Labels.stackLabel] ?? ""
        let labels = LabelReading(service.labels, settings: settings, stack: stack)
        guard labels.isPublished, !labels.isRefused, let port = labels.port ?? Self.singleTargetPort(of: service) else {
            return (nil, ids)
        }
        let choice = networks.choose(
            from: candidates, label: labels.network, stack: stack, proxyNetworks: settings.proxyNetworks)
        let chosen: NetworkCandidate?
        let isShared: Bool
        switch choice {
        case .network(let network, _):
            chosen = network
            isShared = networks.isShared(network, proxyNetworks: settings.proxyNetworks)
        case .none:
            chosen = candidates.first
            isShared = false
        case .badLabel:
            chosen = nil
            isShared = false
        }
        // Tasks that publish their port on their node are reached there.
        guard let chosen, isShared || labels.backendMode == .vip || !publishesOnHost(service, tasks, port: port) else {
            return (nil, ids)
        }
        return (NetworkNeed(service: service.name, id: chosen.id, name: chosen.name, isShared: isShared), ids)
    }
}
