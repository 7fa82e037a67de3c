// A pin over the live world: the labels of then in the place of those of now, everything else as it is. So tasks,
// replica counts, addresses and nodes stay live, a rolling update goes on, and every controller that sees the same
// world and the same pin comes to the same snapshot.

public import Model

/// The inventory that is mapped under pins.
public struct PinnedLabels: Hashable, Sendable {
    public private(set) var inventory: Inventory
    /// Keys of services that were left out then: they are not routed, and keep their hosts.
    public private(set) var claimantsOnly: Set<String> = []
    /// What a pin does that people should know, by proxy group.
    public private(set) var findings: [String: [Diagnostic]] = [:]
    /// Names of services that would be routed otherwise without the pin: younger ones, and those with other labels now.
    public private(set) var heldBack: [String] = []

    /// The newest first.
    private var held: [Held]
    private let prefix: String

    private struct Held: Hashable {
        var pin: Pin
        var services: [String: PinnedService]
        var foundCount = 0
    }

    /// Lays pins over an inventory. Where two of them are for the same proxy group, the first one counts.
    /// - Parameters:
    ///   - pins: the newest first.
    ///   - nodeID: of the engine at hand, whose containers a pin that was made with it speaks of.
    public init(_ inventory: Inventory, by pins: [Pin], nodeID: String, labelPrefix: String) {
        self.inventory = inventory
        prefix = labelPrefix
        held = pins.map { pin in
            let services = pin.configuration.services.filter { !$0.isLocal || pin.nodeID == nodeID }
            return Held(pin: pin, services: Dictionary(services.map { ($0.key, $0) }) { first, _ in first })
        }
        layServices()
        layContainers(nodeID)
        layFiles()
        for held in held where held.foundCount == 0 && !held.services.isEmpty {
            let message =
                "of the \(held.services.count) services of configuration \(held.pin.number), which is pinned, none is "
                + "left: nothing is routed until `interlock resume`"
            findings[held.pin.configuration.clusters?.first ?? "", default: []].append(
                Subject(name: Self.subject).warning("", "", message))
        }
        heldBack.sort { $0.isBefore($1) }
    }

    /// What diagnostics about a pin as a whole are about.
    public static let subject = "pin"

    /// Whether a label is a part of a configuration.
    static func isKept(_ name: String, prefix: String) -> Bool {
        name.hasPrefix(prefix) || name == Labels.stackLabel || name == Labels.composeProjectLabel
    }

    // MARK: Sources

    private mutating func layServices() {
        let networkLabel = prefix + "network"
        let hasNetworkLabels = held.contains { $0.services.values.contains { $0.labels[networkLabel] != nil } }
        let networks =
            hasNetworkLabels ? SwarmMapping(inventory, settings: MappingSettings(labelPrefix: prefix)) : nil
        for index in inventory.services.indices {
            let service = inventory.services[index]
            switch verdict(service.id, service.name, service.labels, previous: service.previousLabels) {
            case .live: continue
            case .out: inventory.services[index].labels = [:]
            case .held(let pinned):
                let inferred = SwarmMapping.singleTargetPort(of: service)
                var labels = laid(pinned, over: service.labels, inferredPort: inferred)
                // A service that was moved to another network is reached there: networks are those of now.
                if let label = labels[networkLabel], networks?.hasNetwork(label.trimmed, service) == false {
                    labels[networkLabel] = service.labels[networkLabel]
                }
                inventory.services[index].labels = labels
                inventory.services[index].createdAtNs = pinned.createdAtNs
            }
            // Labels in the wrong place were told when they were new.
            inventory.services[index].containerLabels = [:]
            inventory.services[index].previousLabels = nil
        }
    }

    /// A pin that was made elsewhere says nothing about the containers of this machine.
    private mutating func layContainers(_ nodeID: String) {
        for index in inventory.containers.indices {
            let container = inventory.containers[index]
            guard container.labels[Labels.swarmTaskLabel] == nil else { continue }
            let isSilent: (Pin) -> Bool = { $0.nodeID != nodeID }
            switch verdict("container:\(container.name)", container.name, container.labels, unless: isSilent) {
            case .live: continue
            case .out: inventory.containers[index].labels = [:]
            case .held(let pinned):
                let inferred = ContainerMapping.singlePort(of: container)
                inventory.containers[index].labels = laid(pinned, over: container.labels, inferredPort: inferred)
                inventory.containers[index].createdAtNs = pinned.createdAtNs
            }
        }
    }

    /// Files are told apart by age, and a file that is written anew is young again: each service gets the age of then.
    private mutating func layFiles() {
        let (used, _) = FileMapping(settings: MappingSettings(labelPrefix: prefix)).services(of: inventory.files)
        var files: [FilePlace: [FileService]] = [:]
        for (service, file) in used {
            var service = service
            var place = FilePlace(name: file.name, origin: file.origin, createdAtNs: file.createdAtNs)
            switch verdict("file:\(service.name)", service.name, service.labels) {
            case .live: break
            case .out: continue
            case .held(let pinned):
                service.labels = laid(pinned, over: service.labels, inferredPort: nil)
                place.createdAtNs = pinned.createdAtNs
            }
            files[place, default: []].append(service)
        }
        inventory.files = files.map { place, services in
            ServicesFile(
                name: place.name, origin: place.origin, createdAtNs: place.createdAtNs, services: services)
        }
        // Equal worlds give equal inventories.
        inventory.files.sort { left, right in
            (left.origin.rawValue, left.name, left.createdAtNs)
                < (right.origin.rawValue, right.name, right.createdAtNs)
        }
    }

    private struct FilePlace: Hashable {
        var name: String
        var origin: ServicesFile.Origin
        var createdAtNs: Int64
    }

    // MARK: One service

    private enum Standing {
        /// No pin is for it.
        case live
        /// It was not there, and is not routed.
        case out
        case held(PinnedService)
    }

    private mutating func verdict(
        _ key: String, _ name: String, _ live: [String: String], previous: [String: String]? = nil,
        unless isSilent: (Pin) -> Bool = { _ in false }
    ) -> Standing {
        let cluster = LabelReading.cluster(of: live, prefix: prefix)
        for index in held.indices where !isSilent(held[index].pin) {
            let pin = held[index].pin
            if let pinned = held[index].services[key] {
                held[index].foundCount += 1
                take(pinned, of: pin, live, previous)
                return .held(pinned)
            }
            guard pin.configuration.covers(cluster) else { continue }
            tellYounger(name, live, cluster, pin)
            return .out
        }
        return .live
    }

    private mutating func take(
        _ pinned: PinnedService, of pin: Pin, _ live: [String: String], _ previous: [String: String]?
    ) {
        // Labels that were in force as those before an update may be so still.
        let isUnchanged = says(live, pinned) || (previous.map { says($0, pinned) } ?? false)
        if !isUnchanged { heldBack.append(pinned.name) }
        guard !pinned.isRouted else { return }
        claimantsOnly.insert(pinned.key)
        let cluster = LabelReading.cluster(of: pinned.labels, prefix: prefix)
        findings[cluster, default: []].append(
            Subject(name: pinned.name).error(
                "", "", "is not routed: configuration \(pin.number) is pinned, and it was left out of that one"))
    }

    private func says(_ labels: [String: String], _ pinned: PinnedService) -> Bool {
        var kept = labels.filter { Self.isKept($0.key, prefix: prefix) }
        if kept[Labels.stackLabel] == nil { kept[Labels.stackLabel] = pinned.labels[Labels.stackLabel] }
        return kept == pinned.labels
    }

    /// A service that asks for routes and had none when the configuration was in force.
    private mutating func tellYounger(_ name: String, _ live: [String: String], _ cluster: String, _ pin: Pin) {
        guard LabelReading.concerns(live, prefix: prefix) else { return }
        heldBack.append(name)
        findings[cluster, default: []].append(
            Subject(name: name).error(
                "", "",
                "is not routed: configuration \(pin.number) is pinned, and this service was not in it; "
                    + "`interlock resume` lets go of the pin"))
    }

    /// The labels of then, and what is no business of the proxy's as it is now.
    private func laid(
        _ pinned: PinnedService, over live: [String: String], inferredPort: UInt16?
    ) -> [String: String] {
        var labels = live.filter { !Self.isKept($0.key, prefix: prefix) }
        for (name, value) in pinned.labels where Self.isKept(name, prefix: prefix) { labels[name] = value }
        let label = prefix + "port"
        let isWritten = labels[label].map { !$0.trimmed.isEmpty } ?? false
        if !isWritten, inferredPort == nil, let port = pinned.port { labels[label] = "\(port)" }
        return labels
    }
}
