// From an inventory to the snapshot it asks for: a pure function, the same for every controller that sees the same.
// One bad service never harms another: each is judged alone, and only good ones meet in `RouteMerging`.

public import Model

public enum ServiceMapping {
    /// The snapshot that this inventory asks for, in canonical order whatever the order of the input.
    public static func snapshot(of inventory: Inventory, settings: MappingSettings) -> Snapshot {
        mapped(inventory, settings: settings).snapshot
    }

    /// The snapshot, and what the services said that had a part in it: with that the same configuration can be had
    /// again.
    /// - Parameter claimantsOnly: keys of services that are not routed and keep their hosts (see `PinnedService.key`).
    public static func mapped(
        _ inventory: Inventory, settings: MappingSettings, claimantsOnly: Set<String> = []
    ) -> (snapshot: Snapshot, said: [SaidService]) {
        var candidates: [Candidate] = []
        var claimants: [Candidate] = []
        var findings: [Diagnostic] = []
        func take(_ verdict: Verdict) {
            switch verdict {
            case .routed(let candidate):
                if claimantsOnly.contains(SaidService.key(of: candidate)) {
                    claimants.append(candidate)
                } else {
                    candidates.append(candidate)
                }
            case .leftOut(let diagnostics, let claimant):
                findings += diagnostics
                if let claimant { claimants.append(claimant) }
            case .ignored: break
            }
        }
        let swarm = SwarmMapping(inventory, settings: settings)
        for service in newest(inventory.services) { take(swarm.verdict(on: service)) }
        let machine = ContainerMapping(
            settings: settings, networks: NetworkIndex(inventory.networks, proxyService: settings.proxyService))
        for container in inventory.containers { take(machine.verdict(on: container)) }
        let files = FileMapping(settings: settings)
        let (used, passedOver) = files.services(of: inventory.files)
        findings += passedOver.map(\.1)
        for (service, file) in used { take(files.verdict(on: service, in: file)) }
        var merging = RouteMerging(settings: settings)
        let snapshot = merging.snapshot(
            of: candidates, claimants: claimants, findings: findings, order: inventory.order)
        let said =
            candidates.map { SaidService($0, isRouted: true) }
            + claimants.map { SaidService($0, isRouted: false) }
        return (snapshot, said.sorted { $0.key.isBefore($1.key) })
    }

    /// One service for each id: of two, the one with the higher version.
    private static func newest(_ services: [SwarmService]) -> [SwarmService] {
        Array(Dictionary(services.map { ($0.id, $0) }) { $0.version >= $1.version ? $0 : $1 }.values)
    }
}
