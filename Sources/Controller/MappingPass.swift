// One step of the controller, without threads: joins the sources' last words into one inventory, maps it for each
// proxy group, and says what is new since the step before. Pure but for what it remembers.

import Discovery
import Docker
import Model

struct MappingPass {
    let settings: ControllerSettings
    private var places: ProxyPlaces
    private var lastInput: Input?
    private var clusters: [String: Cluster] = [:]

    /// What the mapping reads; equal input gives equal snapshots, so it need not be mapped again.
    private struct Input: Equatable {
        var inventory: Inventory
        var problems: [Diagnostic]
        var ownNetworks: [String]?
        var ownService: String?
        var wanted: Set<String>
        /// Those in force.
        var pins: [Pin]
    }

    /// One proxy group: what was mapped last, and what it came to.
    private struct Cluster {
        var part: Part
        var snapshot: Snapshot
        var said: [SaidService]
    }

    private struct Part: Equatable {
        var inventory: Inventory
        var problems: [Diagnostic]
        var place: ProxyPlaces.Place
        var claimantsOnly: Set<String>
    }

    /// The pins in force, the newest first; empty if what people say now counts.
    var pins: [Pin] { lastInput?.pins ?? [] }
    /// Names of services that a pin keeps from what they say now.
    private(set) var heldBack: [String] = []

    /// What is in force, for the history: by group.
    var parts: [History.Part] {
        clusters.sorted { $0.key < $1.key }.map { name, cluster in
            History.Part(
                cluster: name, configuration: cluster.snapshot.configuration, said: cluster.said)
        }
    }

    struct Outcome {
        /// The groups that have something new.
        var changed: [ClusterSnapshot] = []
        var appeared: [Diagnostic]
        var vanished: [Diagnostic]
    }

    init(settings: ControllerSettings) {
        self.settings = settings
        places = ProxyPlaces(settings)
    }

    /// Of all groups, in the order of their names.
    var diagnostics: [Diagnostic] {
        clusters.sorted { $0.key < $1.key }.flatMap(\.value.snapshot.diagnostics)
    }

    /// Of all groups, as of their last snapshots.
    var secretReferences: Set<SecretReference> {
        clusters.values.reduce(into: []) { $0.formUnion($1.snapshot.configuration.secretReferences) }
    }

    /// - Parameters:
    ///   - wanted: groups that somebody asked for, whether or not a label names them.
    ///   - pins: those in force, the newest first.
    /// - Returns: nil if the world is as it was.
    mutating func take(
        docker: DockerObservation?, file: ServicesFileObservation?, wanted: Set<String> = [], pins: [Pin] = [],
        pinProblems: [Diagnostic] = []
    ) -> Outcome? {
        // Proxies that had the services of a Swarm would take the file's alone for a loss of all others.
        if settings.clusters == .all, settings.docker != nil, docker == nil { return nil }
        var inventory = docker?.inventory ?? Inventory()
        let order = inventory.order
        // The order changes with each look; it says nothing about what there is.
        inventory.order = SnapshotOrder()
        if let file { inventory.files.append(file.file) }
        let input = Input(
            inventory: inventory, problems: (docker?.problems ?? []) + (file?.problems ?? []) + pinProblems,
            ownNetworks: docker?.ownNetworks, ownService: docker?.ownService, wanted: wanted, pins: pins)
        guard input != lastInput else { return nil }
        lastInput = input

        let before = diagnostics
        var parts = parts(of: pinned(input, docker))
        var changed: [ClusterSnapshot] = []
        // A group that lost its last service, and that nobody asks for, is told so once.
        for name in clusters.keys where parts[name] == nil {
            clusters[name] = nil
            changed.append(ClusterSnapshot(cluster: name, snapshot: Snapshot(order: order)))
        }
        for name in parts.keys.sorted() {
            guard var part = parts.removeValue(forKey: name) else { continue }
            part.place = places.place(of: name, docker)
            if let new = map(part, name, order) { changed.append(new) }
        }
        let after = diagnostics
        let (old, new) = (Set(before), Set(after))
        return Outcome(
            changed: changed, appeared: after.filter { !old.contains($0) },
            vanished: before.filter { !new.contains($0) })
    }

    private typealias Ground = (input: Input, findings: [String: [Diagnostic]], claimantsOnly: Set<String>)

    /// The world with the pins laid over it.
    private mutating func pinned(_ input: Input, _ docker: DockerObservation?) -> Ground {
        guard !input.pins.isEmpty else {
            heldBack = []
            return (input, [:], [])
        }
        let laid = PinnedLabels(
            input.inventory, by: input.pins, nodeID: docker?.nodeID ?? "", labelPrefix: settings.mapping.labelPrefix)
        heldBack = laid.heldBack
        var input = input
        input.inventory = laid.inventory
        return (input, laid.findings, laid.claimantsOnly)
    }

    /// What concerns no single group is told by the first.
    private func parts(of ground: Ground) -> [String: Part] {
        let input = ground.input
        let blank = Part(
            inventory: Inventory(), problems: [], place: ProxyPlaces.Place(networks: nil, service: ""),
            claimantsOnly: ground.claimantsOnly)
        func part(_ inventory: Inventory, _ problems: [Diagnostic]) -> Part {
            var part = blank
            (part.inventory, part.problems) = (inventory, problems)
            return part
        }
        if case .only(let name) = settings.clusters {
            return [name: part(input.inventory, input.problems + (ground.findings[name] ?? []))]
        }
        let division = ClusterDivision(input.inventory, settings: settings.mapping)
        var parts = division.parts.mapValues { part($0, []) }
        for (name, findings) in division.findings.merging(ground.findings, uniquingKeysWith: +) {
            parts[name, default: blank].problems += findings
        }
        parts[""]?.problems += input.problems
        for name in input.wanted.union(settings.proxyServices.keys) where parts[name] == nil { parts[name] = blank }
        return parts
    }

    /// Diagnostics count as news: a service that is refused changes no route, and people must see it all the same.
    private mutating func map(_ part: Part, _ name: String, _ order: SnapshotOrder) -> ClusterSnapshot? {
        let last = clusters[name]
        if let last, last.part == part { return nil }
        var inventory = part.inventory
        inventory.order = order
        var (snapshot, said) = ServiceMapping.mapped(
            inventory, settings: settings.mapping(of: name, at: part.place), claimantsOnly: part.claimantsOnly)
        snapshot.diagnostics += part.problems
        if let problem = part.place.problem { snapshot.diagnostics.append(problem) }
        let isNews =
            last == nil || last?.snapshot.configuration != snapshot.configuration
            || last?.snapshot.endpoints != snapshot.endpoints || last?.snapshot.diagnostics != snapshot.diagnostics
        clusters[name] = Cluster(part: part, snapshot: snapshot, said: said)
        return isNews ? ClusterSnapshot(cluster: name, snapshot: snapshot) : nil
    }
}
