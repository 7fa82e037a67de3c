// One step of the controller, without threads: joins the sources' last words into one inventory, maps it, and says
// what is new since the step before. Pure but for what it remembers.

import Discovery
import Docker
import Model

struct MappingPass {
    let mapping: MappingSettings
    private var lastInput: Input?
    private var lastSnapshot: Snapshot?

    /// What the mapping reads; equal input gives an equal snapshot, so it need not be mapped again.
    private struct Input: Equatable {
        var inventory: Inventory
        var problems: [Diagnostic]
        var networks: [String]?
    }

    struct Outcome {
        /// nil: nothing new.
        var snapshot: Snapshot?
        var appeared: [Diagnostic]
        var vanished: [Diagnostic]
    }

    init(mapping: MappingSettings) { self.mapping = mapping }

    var diagnostics: [Diagnostic] { lastSnapshot?.diagnostics ?? [] }

    /// - Returns: nil if the world is as it was.
    mutating func take(docker: DockerObservation?, file: ServicesFileObservation?) -> Outcome? {
        var inventory = docker?.inventory ?? Inventory()
        let order = inventory.order
        // The order changes with each look; it says nothing about what there is.
        inventory.order = SnapshotOrder()
        if let file { inventory.files.append(file.file) }
        let input = Input(
            inventory: inventory, problems: (docker?.problems ?? []) + (file?.problems ?? []),
            networks: mapping.proxyNetworks ?? docker?.ownNetworks)
        guard input != lastInput else { return nil }
        lastInput = input

        var settings = mapping
        settings.proxyNetworks = input.networks
        inventory.order = order
        var snapshot = ServiceMapping.snapshot(of: inventory, settings: settings)
        snapshot.diagnostics += input.problems
        return compare(snapshot)
    }

    /// Diagnostics count as news: a service that is refused changes no route, and people must see it all the same.
    private mutating func compare(_ snapshot: Snapshot) -> Outcome {
        let last = lastSnapshot
        let old = Set(last?.diagnostics ?? [])
        let new = Set(snapshot.diagnostics)
        let isNews =
            last == nil || last?.configuration != snapshot.configuration || last?.endpoints != snapshot.endpoints
            || last?.diagnostics != snapshot.diagnostics
        lastSnapshot = snapshot
        return Outcome(
            snapshot: isNews ? snapshot : nil, appeared: snapshot.diagnostics.filter { !old.contains($0) },
            vanished: (last?.diagnostics ?? []).filter { !new.contains($0) })
    }
}
