// On which networks the proxies of each group sit, as far as it can be told: what the operator said, or the networks
// of the service that they run in, or those of this very container. Pure but for what it remembers.

import Discovery
import Docker
import Model

struct ProxyPlaces {
    private let settings: ControllerSettings
    /// The networks of services that were seen, by group: a service that is away for a moment moves no route.
    private var known: [String: [String]] = [:]

    /// Where the proxies of one group are.
    struct Place: Hashable {
        /// See `MappingSettings.proxyNetworks`.
        var networks: [String]?
        /// See `MappingSettings.proxyService`.
        var service: String
        var problem: Diagnostic?
    }

    init(_ settings: ControllerSettings) { self.settings = settings }

    /// - Parameter docker: nil until an engine was heard.
    mutating func place(of cluster: String, _ docker: DockerObservation?) -> Place {
        let isOwn = settings.clusters == .only(cluster)
        let named = settings.proxyServices[cluster]
        var place = Place(
            networks: settings.mapping.proxyNetworks, service: named ?? (isOwn ? docker?.ownService : nil) ?? "")
        guard place.networks == nil, let docker else { return place }
        guard let named else {
            place.networks = isOwn ? docker.ownNetworks : nil
            return place
        }
        if let service = docker.inventory.services.first(where: { $0.name == named }) {
            known[cluster] = Self.networks(of: service, among: docker.inventory.networks)
        } else {
            let kept = known[cluster] == nil ? "not known" : "taken to be what they were"
            place.problem = Diagnostic(
                severity: .warning, service: named,
                message: "is no service of this Swarm, so the networks of the proxies are \(kept)"
                    + " (INTERLOCK_PROXY_SERVICE names it)")
        }
        place.networks = known[cluster]
        return place
    }

    /// What the service's tasks will sit on: none if they use their host's network.
    private static func networks(of service: SwarmService, among networks: [Network]) -> [String] {
        let byID = Dictionary(networks.map { ($0.id, $0) }) { first, _ in first }
        let byName = Dictionary(networks.map { ($0.name, $0) }) { first, _ in first }
        var ids: Set<String> = []
        for target in service.networks {
            let network = byID[target] ?? byName[target]
            if (network?.name ?? target) == "host" { return [] }
            if network?.isIngress != true { ids.insert(network?.id ?? target) }
        }
        return ids.sorted()
    }
}
