// What a controller would make of one look at an engine, and what people have to do by hand for it: the commands that
// attach secrets and networks where nothing manages services. Pure.

public import Discovery
public import Docker
import Model

public struct DockerReport: Sendable {
    /// Of all groups, by name.
    public var snapshots: [ClusterSnapshot]
    /// Docker commands, in the order in which they are run; a line that begins with `#` says what none can do.
    public var commands: [String] = []
    /// Pinned configurations, the newest first: by them services are routed, and not by what is reported here.
    public var pins: [Pin]

    /// - Parameters:
    ///   - secrets: the Swarm's; nil: they could not be listed.
    ///   - attached: the files that secrets have in a service; nil: it could not be read, and every command is shown.
    public init(
        _ observation: DockerObservation, file: ServicesFileObservation? = nil, settings: ControllerSettings,
        secrets: [SwarmSecret]?, attached: (_ service: String) -> Set<String>?
    ) {
        let clusters: [String]? = if case .only(let name) = settings.clusters { [name] } else { nil }
        pins = observation.pins.filter { $0.configuration.covers(anyOf: clusters) }
        var pass = MappingPass(settings: settings)
        let outcome = pass.take(docker: observation, file: file)
        snapshots = (outcome?.changed ?? []).sorted { $0.cluster.utf8.lexicographicallyPrecedes($1.cluster.utf8) }
        var asked = settings
        // Nothing is managed, but what would be is what is missing.
        asked.management = .secretsAndNetworks
        var places = ProxyPlaces(settings)
        let needs = ReconcileNeeds(
            of: ReconcileWorld(docker: observation, file: file, published: []), settings: asked, places: &places)
        let isSwarm = !observation.inventory.order.clusterID.isEmpty || !observation.inventory.services.isEmpty
        guard isSwarm else { return }
        let controller = settings.controllerService ?? observation.ownService ?? ""
        commands += Advice.commands(
            secrets: needs.secrets, files: attached(controller) ?? [], existing: secrets, service: controller)
        for (service, networks) in needs.unshared where !networks.isEmpty {
            commands += Advice.commands(networks: networks, service: service)
        }
    }
}
