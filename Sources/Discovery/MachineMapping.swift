// What is not Swarm's: containers of this machine's engine, and services written by hand in files.

import Model

/// Maps the plain containers of one inventory.
struct ContainerMapping {
    let settings: MappingSettings
    let networks: NetworkIndex

    func verdict(on container: Container) -> Verdict {
        let prefix = settings.labelPrefix
        guard container.labels[Labels.swarmTaskLabel] == nil,
            LabelReading.concerns(container.labels, prefix: prefix),
            LabelReading.cluster(of: container.labels, prefix: prefix) == settings.serviceCluster,
            let state = state(of: container)
        else { return .ignored }
        let stack = container.labels[Labels.stackLabel] ?? container.labels[Labels.composeProjectLabel] ?? ""
        let labels = LabelReading(container.labels, settings: settings, stack: stack)
        let candidate = candidate(container, labels, stack: stack)
        return verdict(on: container, labels, state, candidate).keepingPlace(of: candidate, settings)
    }

    private func verdict(
        on container: Container, _ labels: LabelReading, _ state: UpstreamState, _ candidate: Candidate
    ) -> Verdict {
        let subject = Subject(name: container.name)
        var findings = subject.diagnostics(of: labels.problems)
        if labels.isRefused || labels.hasBadValue { return .leftOut(findings) }
        guard labels.isPublished else {
            findings.append(subject.unpublished())
            return .leftOut(findings)
        }
        guard let port = labels.port ?? Self.singlePort(of: container) else {
            let message = "is missing, and the container does not expose exactly one: name the container's port"
            return .leftOut(findings + [subject.error("port", "", message)])
        }
        // Without a network of its own the proxy runs on the machine itself, where all bridges can be reached.
        let proxyNetworks = settings.proxyNetworks.flatMap { $0.isEmpty ? nil : $0 }
        let usable = NetworkIndex.usable(
            container.networks.filter { !$0.addresses.isEmpty }.map { NetworkCandidate(id: $0.id, name: $0.name) })
        let stack = candidate.service.stack
        switch networks.choose(from: usable, label: labels.network, stack: stack, proxyNetworks: proxyNetworks) {
        case .badLabel(let message):
            return .leftOut(findings + [subject.error("network", labels.network ?? "", message)])
        case .none(let message):
            return .leftOut(findings + [subject.error("network", "", message)])
        case .network(let network, let warning):
            if !warning.isEmpty { findings.append(subject.warning("network", labels.network ?? "", warning)) }
            if labels.backendMode == .vip {
                findings.append(subject.warning("backend_mode", "vip", "means nothing for a container"))
            }
            let address = container.networks.filter { $0.id == network.id }.flatMap(\.addresses).min()
            var candidate = candidate
            candidate.diagnostics = findings
            if let address {
                let endpoint = Endpoint(address: address, port: port)
                candidate.upstreams = [Upstream(id: candidate.service.id, endpoint: endpoint, state: state)]
            }
            candidate.port = port
            return .routed(candidate)
        }
    }

    private func candidate(_ container: Container, _ labels: LabelReading, stack: String) -> Candidate {
        let service = Service(
            id: "container:\(container.id)", name: container.name, stack: stack, cluster: labels.cluster,
            source: .container, desiredTaskCount: 1, options: labels.options)
        return Candidate(service: service, createdAtNs: container.createdAtNs, labels: labels, upstreams: [])
    }

    /// nil if the container is over.
    private func state(of container: Container) -> UpstreamState? {
        switch container.state {
        case .exited, .dead, .removing: nil
        case .created, .paused, .restarting: .pending
        case .running: container.health == .none || container.health == .healthy ? .ready : .pending
        }
    }

    /// The one port that the container has.
    static func singlePort(of container: Container) -> UInt16? {
        let published = container.publishedPorts.filter(\.isTCP).map(\.targetPort)
        let ports = Set(container.exposedPorts + published)
        return ports.count == 1 ? ports.first : nil
    }
}

/// Maps the services of files and configs.
struct FileMapping {
    let settings: MappingSettings

    /// The services to use: of two with the same name in different files the one in the younger file; a file on disk
    /// counts as the youngest. What was passed over is reported.
    func services(
        of files: [ServicesFile]
    ) -> (used: [(FileService, ServicesFile)], passedOver: [(FileService, Diagnostic)]) {
        let ordered = files.sorted { left, right in
            if left.origin != right.origin { return left.origin == .file }
            if left.createdAtNs != right.createdAtNs { return left.createdAtNs > right.createdAtNs }
            return left.name.isBefore(right.name)
        }
        var used: [(FileService, ServicesFile)] = []
        var owner: [String: String] = [:]
        var passedOver: [(FileService, Diagnostic)] = []
        for file in ordered {
            for service in file.services {
                if let other = owner[service.name] {
                    let message = "is in \(other) already, which is used; \(file.name) is passed over for it"
                    passedOver.append((service, Subject(name: service.name).error("", "", message)))
                } else {
                    owner[service.name] = file.name
                    used.append((service, file))
                }
            }
        }
        return (used, passedOver)
    }

    func verdict(on service: FileService, in file: ServicesFile) -> Verdict {
        let prefix = settings.labelPrefix
        guard !service.name.isEmpty else {
            return .leftOut([Subject(name: file.name).error("", "", "holds a service without a name")])
        }
        guard LabelReading.cluster(of: service.labels, prefix: prefix) == settings.serviceCluster else {
            return .ignored
        }
        let stack = service.labels[Labels.stackLabel] ?? ""
        let labels = LabelReading(service.labels, settings: settings, stack: stack)
        let candidate = candidate(service, in: file, labels, stack: stack)
        return verdict(on: service, labels, candidate).keepingPlace(of: candidate, settings)
    }

    private func verdict(on service: FileService, _ labels: LabelReading, _ candidate: Candidate) -> Verdict {
        let subject = Subject(name: service.name)
        var findings = subject.diagnostics(of: labels.problems)
        if labels.isRefused || labels.hasBadValue { return .leftOut(findings) }
        guard labels.isPublished else {
            findings.append(subject.unpublished())
            return .leftOut(findings)
        }
        if labels.backendMode == .vip {
            findings.append(subject.warning("backend_mode", "vip", "means nothing for fixed endpoints"))
        }
        let id = candidate.service.id
        var upstreams: [Upstream] = []
        for text in service.endpoints {
            if let endpoint = endpoint(text.trimmed, port: labels.port) {
                upstreams.append(Upstream(id: "\(id)/\(endpoint)", endpoint: endpoint))
            } else {
                let message = "endpoint \"\(text.shortened)\" is passed over: write address:port, with an IP address"
                findings.append(subject.error("", text.shortened, message))
            }
        }
        if upstreams.isEmpty, !service.endpoints.isEmpty { return .leftOut(findings) }
        if service.endpoints.isEmpty { findings.append(subject.warning("", "", "has no endpoints")) }
        var candidate = candidate
        candidate.upstreams = upstreams.canonical()
        candidate.diagnostics = findings
        return .routed(candidate)
    }

    private func candidate(
        _ service: FileService, in file: ServicesFile, _ labels: LabelReading, stack: String
    ) -> Candidate {
        let model = Service(
            id: "file:\(service.name)", name: service.name, stack: stack, cluster: labels.cluster,
            source: file.origin == .file ? .file : .config, options: labels.options)
        return Candidate(service: model, createdAtNs: file.createdAtNs, labels: labels, upstreams: [])
    }

    /// An address without a port takes the `port` label's.
    private func endpoint(_ text: String, port: UInt16?) -> Endpoint? {
        let text = text.hasPrefix("localhost:") ? "127.0.0.1:" + text.dropFirst(10) : text
        if let endpoint = Endpoint(text) { return endpoint }
        let bare = text.hasPrefix("[") && text.hasSuffix("]") ? String(text.dropFirst().dropLast()) : text
        guard let port, let address = IPAddress(bare) else { return nil }
        return Endpoint(address: address, port: port)
    }
}
