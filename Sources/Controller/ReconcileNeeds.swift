// What the managed services have to have, as of one look: the needs of all groups' labels, by the service that must
// meet them. Pure but for what it remembers of places.

import Discovery
import Docker
import Model

/// One look, as the controller's thread hands it over.
struct ReconcileWorld: Sendable {
    var docker: DockerObservation
    var file: ServicesFileObservation?
    /// What the published configurations refer to: under a rollback that is not what labels say now.
    var published: Set<SecretReference>
}

struct ReconcileNeeds {
    /// By name of the service.
    var wants: [String: ServiceWants] = [:]
    /// Ids of services by name.
    var ids: [String: String] = [:]
    var networks: [Network] = []
    /// Of all groups, in canonical order.
    var secrets: [SecretNeed] = []
    private var secretsNamed: Set<String> = []
    /// Networks that the proxies of a group are known not to sit on, with their service or "", by group.
    var unshared: [(service: String, networks: [NetworkNeed])] = []
    var problems: [Diagnostic] = []

    init() {}

    init(of world: ReconcileWorld, settings: ControllerSettings, places: inout ProxyPlaces) {
        var inventory = world.docker.inventory
        if let file = world.file { inventory.files.append(file.file) }
        networks = inventory.networks
        ids = Dictionary(inventory.services.map { ($0.name, $0.id) }) { first, _ in first }
        var secrets: [SecretReference: SecretNeed] = [:]
        for (cluster, part) in Self.parts(of: inventory, settings) {
            let place = places.place(of: cluster, world.docker)
            let needs = LabelNeeds(of: part, settings: settings.mapping(of: cluster, at: place))
            for need in needs.secrets { secrets[need.reference] = secrets[need.reference] ?? need }
            secretsNamed.formUnion(needs.secretsNamed)
            addNetworks(needs, place, settings)
            if place.networks != nil {
                unshared.append((place.service, needs.networks.filter { !$0.isShared }))
            }
        }
        for reference in world.published where secrets[reference] == nil {
            secrets[reference] = SecretNeed(reference: reference, service: "the published configuration")
        }
        self.secrets = secrets.values.sorted {
            $0.reference.names.lexicographicallyPrecedes($1.reference.names)
        }
        addSecrets(to: settings.controllerService ?? world.docker.ownService)
    }

    private static func parts(of inventory: Inventory, _ settings: ControllerSettings) -> [(String, Inventory)] {
        switch settings.clusters {
        case .only(let cluster): [(cluster, inventory)]
        case .all:
            ClusterDivision(inventory, settings: settings.mapping).parts.sorted { $0.key < $1.key }
                .map { ($0.key, $0.value) }
        }
    }

    /// Where the operator named the networks of the proxies, they are not ours to change.
    private mutating func addNetworks(_ needs: LabelNeeds, _ place: ProxyPlaces.Place, _ settings: ControllerSettings) {
        guard settings.management == .secretsAndNetworks, settings.mapping.proxyNetworks == nil, !place.service.isEmpty
        else { return }
        // Groups may share a service.
        wants[place.service, default: ServiceWants()].networks =
            (wants[place.service]?.networks ?? []) + needs.networks
        wants[place.service]?.networksInUse.formUnion(needs.networksInUse)
    }

    private mutating func addSecrets(to service: String?) {
        guard let service else {
            problems.append(
                Diagnostic(
                    severity: .warning, service: "INTERLOCK_MANAGE_SERVICES",
                    message: "is on, and nobody knows which service the controller is a task of: set "
                        + "INTERLOCK_CONTROLLER_SERVICE"))
            return
        }
        wants[service, default: ServiceWants()].secrets = secrets
        wants[service]?.referencedSecrets = secretsNamed.union(secrets.flatMap(\.reference.names))
    }
}
