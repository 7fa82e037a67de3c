// Swarm services: which labels they are routed by, over which network, and which of their tasks answer.

import Model

/// Maps the Swarm services of one inventory.
struct SwarmMapping {
    let settings: MappingSettings
    let networks: NetworkIndex
    private let nodes: [String: SwarmNode]
    let tasks: [String: [SwarmTask]]

    init(_ inventory: Inventory, settings: MappingSettings) {
        self.settings = settings
        networks = NetworkIndex(inventory.networks, proxyService: settings.proxyService)
        nodes = Dictionary(inventory.nodes.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        tasks = Dictionary(grouping: inventory.tasks, by: \.serviceID)
    }

    func verdict(on service: SwarmService) -> Verdict {
        let subject = Subject(name: service.name)
        let prefix = settings.labelPrefix
        let misplaced = misplacedLabels(of: service, subject)
        guard LabelReading.concerns(service.labels, prefix: prefix) else {
            return misplaced.isEmpty ? .ignored : .leftOut(misplaced)
        }
        guard LabelReading.cluster(of: service.labels, prefix: prefix) == settings.serviceCluster else {
            return .ignored
        }
        let reading = LabelReading(
            service.labels, settings: settings, stack: service.labels[Labels.stackLabel] ?? "")
        let findings = misplaced + subject.diagnostics(of: reading.problems)
        let verdict = verdict(on: service, reading, subject, findings)
        guard settings.hostOwnership == .stack, case .leftOut(let diagnostics, _) = verdict else { return verdict }
        return .leftOut(diagnostics, claimant: claimant(service, reading))
    }

    private func verdict(
        on service: SwarmService, _ reading: LabelReading, _ subject: Subject, _ findings: [Diagnostic]
    ) -> Verdict {
        if reading.isRefused { return .leftOut(findings) }
        switch reading.hasBadValue ? .badValue(findings) : plan(service, reading, subject) {
        case .routed(var candidate):
            candidate.diagnostics = findings + candidate.diagnostics
            return .routed(candidate)
        case .leftOut(let diagnostics):
            return .leftOut(findings + diagnostics)
        case .badValue(let diagnostics):
            let all = reading.hasBadValue ? diagnostics : findings + diagnostics
            return fallBack(service, reading, subject, all)
        }
    }

    private enum Plan {
        case routed(Candidate)
        case leftOut([Diagnostic])
        /// A label's value is wrong in a way that only the cluster's state shows.
        case badValue([Diagnostic])
    }

    /// Swarm keeps the spec before the last update: if its labels were good, they still hold; unless the update asked
    /// for protection that they do not give.
    private func fallBack(
        _ service: SwarmService, _ wanted: LabelReading, _ subject: Subject, _ findings: [Diagnostic]
    ) -> Verdict {
        if let previous = service.previousLabels, LabelReading.concerns(previous, prefix: settings.labelPrefix),
            LabelReading.cluster(of: previous, prefix: settings.labelPrefix) == settings.serviceCluster
        {
            let stack = previous[Labels.stackLabel] ?? service.labels[Labels.stackLabel] ?? ""
            let reading = LabelReading(previous, settings: settings, stack: stack)
            guard reading.protects(asMuchAs: wanted) else {
                let message = "is not routed by the labels it had before its last update: they protect it less"
                return .leftOut(findings + [subject.error("", "", message)])
            }
            if !reading.hasBadValue, !reading.isRefused, reading.isPublished,
                case .routed(var candidate) = plan(service, reading, subject)
            {
                let note = subject.error("", "", "is routed by the labels it had before its last update")
                candidate.diagnostics = findings + candidate.diagnostics + [note]
                return .routed(candidate)
            }
        }
        return .leftOut(findings)
    }

    /// What a service that is left out asks for: by its labels, or by those before its last update if it cannot be
    /// told.
    private func claimant(_ service: SwarmService, _ reading: LabelReading) -> Candidate? {
        let stack = service.labels[Labels.stackLabel] ?? ""
        if reading.tellsItsPlace { return candidate(service, reading, stack: stack) }
        guard reading.hasUnreadablePlace, let previous = service.previousLabels,
            LabelReading.cluster(of: previous, prefix: settings.labelPrefix) == settings.serviceCluster
        else { return nil }
        let before = LabelReading(previous, settings: settings, stack: stack)
        return before.isPublished ? candidate(service, before, stack: stack) : nil
    }

    private func misplacedLabels(of service: SwarmService, _ subject: Subject) -> [Diagnostic] {
        let names = service.containerLabels.keys
            .filter { $0.hasPrefix(settings.labelPrefix) && service.labels[$0] == nil }
            .sorted { $0.isBefore($1) }
        guard let first = names.first else { return [] }
        let message =
            "is on the container and has no effect there; put it on the service (deploy.labels in a stack file)"
        let others = names.count > 1 ? "; so are \(names.count - 1) other labels" : ""
        return [
            subject.warning(
                String(first.dropFirst(settings.labelPrefix.count)), service.containerLabels[first] ?? "",
                message + others)
        ]
    }

    private func plan(_ service: SwarmService, _ labels: LabelReading, _ subject: Subject) -> Plan {
        guard labels.isPublished else {
            return .leftOut([subject.unpublished()])
        }
        guard let port = labels.port ?? Self.singleTargetPort(of: service) else {
            let count = Set(service.ports.filter(\.isTCP).map(\.targetPort)).count
            let why = count == 0 ? "the service publishes none" : "the service publishes \(count)"
            return .leftOut([subject.error("port", "", "is missing, and \(why): name the tasks' port")])
        }
        let tasks = tasks[service.id] ?? []
        let candidates = candidateNetworks(of: service, tasks)
        let stack = service.labels[Labels.stackLabel] ?? ""
        let choice = networks.choose(
            from: candidates, label: labels.network, stack: stack, proxyNetworks: settings.proxyNetworks)
        var result = candidate(service, labels, stack: stack)
        result.port = port
        switch choice {
        case .badLabel(let message):
            return .badValue([subject.error("network", labels.network ?? "", message)])
        case .network(let network, let warning):
            if !warning.isEmpty {
                if labels.network != nil, publishesOnHost(service, tasks, port: port) {
                    return overHostPorts(service, tasks, port: port, result, subject)
                }
                result.diagnostics.append(subject.warning("network", labels.network ?? "", warning))
            }
            return labels.backendMode == .vip
                ? overVirtualIP(service, tasks, port: port, network, result, subject)
                : overNetwork(service, tasks, port: port, network, result, subject)
        case .none(let message):
            if labels.backendMode == .task, publishesOnHost(service, tasks, port: port) {
                return overHostPorts(service, tasks, port: port, result, subject)
            }
            return .leftOut([subject.error("network", "", message)])
        }
    }

    private func candidate(_ service: SwarmService, _ labels: LabelReading, stack: String) -> Candidate {
        var desired = service.desiredTaskCount
        if desired == nil, case .replicated(let count) = service.mode { desired = count }
        // Scaling changes nothing for a VIP: all that matters is whether any task is wanted.
        if labels.backendMode == .vip { desired = desired.map { min($0, 1) } }
        let model = Service(
            id: service.id, name: service.name, stack: stack, cluster: labels.cluster, source: .swarm,
            backendMode: labels.backendMode, desiredTaskCount: desired, options: labels.options)
        return Candidate(service: model, createdAtNs: service.createdAtNs, labels: labels, upstreams: [])
    }

    /// The one port that the service publishes.
    static func singleTargetPort(of service: SwarmService) -> UInt16? {
        let ports = Set(service.ports.filter(\.isTCP).map(\.targetPort))
        return ports.count == 1 ? ports.first : nil
    }

    /// What the spec asks for, what VIPs were given, and where tasks really are: any of them may lag behind.
    func candidateNetworks(of service: SwarmService, _ tasks: [SwarmTask]) -> [NetworkCandidate] {
        let references =
            service.networks + service.virtualIPs.map(\.networkID) + tasks.flatMap { $0.addresses.map(\.networkID) }
        return NetworkIndex.usable(Set(references).map { networks.candidate($0) })
            .filter { !NetworkIndex.isPredefined($0.name) }
    }

    /// Whether the service is on the network that a label names.
    func hasNetwork(_ label: String, _ service: SwarmService) -> Bool {
        let candidates = candidateNetworks(of: service, tasks[service.id] ?? [])
        let stack = service.labels[Labels.stackLabel] ?? ""
        if case .badLabel = networks.choose(from: candidates, label: label, stack: stack, proxyNetworks: nil) {
            return false
        }
        return true
    }

    // MARK: Tasks

    /// nil if the task is over.
    private func state(of task: SwarmTask, isJob: Bool) -> UpstreamState? {
        guard !task.state.isTerminal else { return nil }
        // A job's tasks are wanted until they are complete.
        let isWanted = task.desiredState <= .running || isJob && task.desiredState == .complete
        guard isWanted else { return .draining }
        let isUp = task.state == .running && task.desiredState >= .running
        return isUp && nodes[task.nodeID]?.state != .down ? .ready : .pending
    }

    private func overNetwork(
        _ service: SwarmService, _ tasks: [SwarmTask], port: UInt16, _ network: NetworkCandidate,
        _ candidate: Candidate, _ subject: Subject
    ) -> Plan {
        var candidate = candidate
        var hasHomeless = false
        for task in tasks {
            guard let state = state(of: task, isJob: service.mode == .job) else { continue }
            let addresses = task.addresses.filter { $0.networkID == network.id }.map(\.address)
            guard let address = addresses.min() else {
                hasHomeless = hasHomeless || state == .ready
                continue
            }
            let endpoint = Endpoint(address: address, port: port)
            candidate.upstreams.append(Upstream(id: task.id, endpoint: endpoint, state: state))
        }
        if hasHomeless, candidate.upstreams.isEmpty {
            let message = "no running task has an address on the network \(network.name)"
            candidate.diagnostics.append(subject.warning("network", "", message))
        }
        candidate.upstreams = candidate.upstreams.canonical()
        return .routed(candidate)
    }

    private func overVirtualIP(
        _ service: SwarmService, _ tasks: [SwarmTask], port: UInt16, _ network: NetworkCandidate,
        _ candidate: Candidate, _ subject: Subject
    ) -> Plan {
        guard let address = service.virtualIPs.filter({ $0.networkID == network.id }).map(\.address).min() else {
            let message =
                service.usesVirtualIP
                ? "the service has no VIP on the network \(network.name)"
                : "the service has no VIP (endpoint mode dnsrr); use backend_mode=task"
            return .leftOut([subject.error("backend_mode", "vip", message)])
        }
        var candidate = candidate
        let isReady = tasks.contains { state(of: $0, isJob: service.mode == .job) == .ready }
        candidate.upstreams = [
            Upstream(
                id: "vip:\(service.id)", endpoint: Endpoint(address: address, port: port),
                state: isReady ? .ready : .pending)
        ]
        return .routed(candidate)
    }

    // MARK: Host-published ports

    func publishesOnHost(_ service: SwarmService, _ tasks: [SwarmTask], port: UInt16) -> Bool {
        func matches(_ published: PublishedPort) -> Bool {
            published.isTCP && published.mode == .host && published.targetPort == port
        }
        return service.ports.contains(where: matches) || tasks.contains { $0.hostPorts.contains(where: matches) }
    }

    private func overHostPorts(
        _ service: SwarmService, _ tasks: [SwarmTask], port: UInt16, _ candidate: Candidate, _ subject: Subject
    ) -> Plan {
        guard candidate.labels.backendMode == .task else {
            let message = "the service is reached by the ports its tasks publish; use backend_mode=task"
            return .leftOut([subject.error("backend_mode", "vip", message)])
        }
        var candidate = candidate
        var lostNodes: Set<String> = []
        for task in tasks {
            guard let state = state(of: task, isJob: service.mode == .job) else { continue }
            let published = task.hostPorts.filter {
                $0.isTCP && $0.mode == .host && $0.targetPort == port && $0.publishedPort > 0
            }
            guard let hostPort = published.map(\.publishedPort).min() else { continue }
            guard let address = address(ofNode: task.nodeID) else {
                lostNodes.insert(task.nodeID)
                continue
            }
            let endpoint = Endpoint(address: address, port: hostPort)
            candidate.upstreams.append(Upstream(id: task.id, endpoint: endpoint, state: state))
        }
        if let node = lostNodes.min() {
            candidate.diagnostics.append(subject.warning("", "", "node \(node) has no address to reach its tasks by"))
        }
        candidate.upstreams = candidate.upstreams.canonical()
        return .routed(candidate)
    }

    /// A node that joined without an advertised address reports one that means itself; managers know a better one.
    private func address(ofNode id: String) -> IPAddress? {
        guard let node = nodes[id] else { return nil }
        if let address = node.address, !address.isUnspecified, !address.isLoopback { return address }
        return node.managerAddress.flatMap { $0.isUnspecified ? nil : $0 }
    }
}
