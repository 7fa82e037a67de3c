// Over which network a service is reached. Only names and ids are compared here; addresses come later.

import Model

/// A network that a service or container is on.
struct NetworkCandidate: Hashable {
    var id: String
    var name: String
    var isIngress = false
}

/// What was chosen, and what there is to say about it.
enum NetworkChoice: Equatable {
    /// Reached by its addresses on this network; `warning` is "" or a sentence.
    case network(NetworkCandidate, warning: String)
    /// The `network` label names none of the service's networks.
    case badLabel(String)
    /// There is no network in common.
    case none(String)
}

/// The networks of the cluster, by id and name.
struct NetworkIndex {
    private let byID: [String: Network]
    private let byName: [String: Network]
    private let proxyService: String

    /// - Parameter proxyService: see `MappingSettings.proxyService`.
    init(_ networks: [Network], proxyService: String = "") {
        self.proxyService = proxyService.isEmpty ? "<proxy service>" : proxyService
        let sorted = networks.sorted { $0.id.isBefore($1.id) }
        byID = Dictionary(sorted.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        byName = Dictionary(sorted.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// From an id or a name; a network that is not listed is known by what it was called.
    func candidate(_ reference: String) -> NetworkCandidate {
        guard let network = byID[reference] ?? byName[reference] else {
            return NetworkCandidate(id: reference, name: reference)
        }
        return NetworkCandidate(id: network.id, name: network.name, isIngress: network.isIngress)
    }

    /// Networks of the engine itself, on which tasks have no address of their own.
    static func isPredefined(_ name: String) -> Bool { ["host", "none", "bridge", "null"].contains(name) }

    /// The candidates without duplicates and without the ingress network, by name.
    static func usable(_ candidates: some Sequence<NetworkCandidate>) -> [NetworkCandidate] {
        Set(candidates.filter { !$0.isIngress })
            .sorted { $0.name == $1.name ? $0.id.isBefore($1.id) : $0.name.isBefore($1.name) }
    }

    /// - Parameters:
    ///   - candidates: the service's networks, by name, without the ingress network.
    ///   - label: the `network` label.
    ///   - stack: the service's stack, for `<stack>_<name>`.
    ///   - proxyNetworks: see `MappingSettings.proxyNetworks`.
    func choose(
        from candidates: [NetworkCandidate], label: String?, stack: String, proxyNetworks: [String]?
    ) -> NetworkChoice {
        let shared = proxyNetworks.map { references in
            candidates.filter { isShared($0, proxyNetworks: references) }
        }
        if let label {
            let found =
                candidates.first { $0.name == label } ?? candidates.first { $0.name == "\(stack)_\(label)" }
                ?? candidates.first { $0.id == label }
            guard let found else { return .badLabel(badLabel(label, candidates)) }
            let isShared = shared?.contains(found) ?? true
            return .network(found, warning: isShared ? "" : notShared(found.name))
        }
        let usable = shared ?? candidates
        guard let first = usable.first else {
            guard let other = candidates.first else { return .none("is on no network that can be used") }
            return .none("shares no network with the proxy; " + attach(other.name))
        }
        let names = usable.map(\.name).joined(separator: ", ")
        let warning =
            usable.count > 1 ? "several networks could be used (\(names)): \(first.name) is; choose with network" : ""
        return .network(first, warning: warning)
    }

    /// Whether the proxies sit on that network; true if nobody knows.
    func isShared(_ network: NetworkCandidate, proxyNetworks: [String]?) -> Bool {
        guard let proxyNetworks else { return true }
        return proxyNetworks.contains { candidate($0) == network || $0 == network.name }
    }

    private func badLabel(_ label: String, _ candidates: [NetworkCandidate]) -> String {
        if candidate(label).isIngress { return "is the ingress network, over which tasks cannot be reached" }
        if candidates.isEmpty { return "is not a network of this service, which is on none" }
        return "is not a network of this service; it is on " + candidates.map(\.name).joined(separator: ", ")
    }

    private func notShared(_ name: String) -> String { "is not a network of the proxy; " + attach(name) }

    private func attach(_ name: String) -> String {
        "attach it: docker service update --network-add \(name) \(proxyService)"
    }
}
