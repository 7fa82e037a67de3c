// A service on its way into the snapshot: whatever its source, from here on it is treated like all others.

import Model

/// A service that asks for routes.
struct Candidate {
    /// Where it comes from and what it is called; its options are those of the labels it is routed by.
    var service: Service
    var createdAtNs: Int64
    var labels: LabelReading
    /// What is left of what the labels ask for, after others were heard.
    var claim: Claim
    /// In canonical order.
    var upstreams: [Upstream]
    /// The tasks' port, where labels or what is published tell it.
    var port: UInt16?
    var diagnostics: [Diagnostic]

    init(
        service: Service, createdAtNs: Int64, labels: LabelReading, upstreams: [Upstream],
        diagnostics: [Diagnostic] = []
    ) {
        self.service = service
        self.createdAtNs = createdAtNs
        self.labels = labels
        claim = Claim(labels)
        self.upstreams = upstreams
        port = labels.port
        self.diagnostics = diagnostics
    }

    /// For messages.
    var stackText: String { service.stack.isEmpty ? "no stack" : "stack \(service.stack)" }

    /// The older one decides where two disagree; of equals the smaller id.
    func isOlder(than other: Candidate) -> Bool {
        createdAtNs == other.createdAtNs
            ? service.id.isBefore(other.service.id) : createdAtNs < other.createdAtNs
    }
}

/// Where a candidate wants to be reached.
enum Claim: Hashable {
    /// On the listeners for HTTP and HTTPS; `.any` for the default backend.
    case hosts(Set<HostPattern>)
    /// On an entry port, by the server name of TLS; `.any` for every name and none.
    case serverNames(Set<HostPattern>, port: UInt16)
    /// On an entry port, whatever comes.
    case raw(port: UInt16)
    case nothing

    init(_ labels: LabelReading) {
        if let port = labels.tcpPort {
            if !labels.passesThrough, labels.tls.certificates.isEmpty {
                self = .raw(port: port)
            } else {
                self = .serverNames(labels.hosts.isEmpty ? [.any] : Set(labels.hosts), port: port)
            }
        } else {
            self = .hosts(Set(labels.hosts + (labels.isDefaultBackend ? [.any] : [])))
        }
    }

    var hosts: Set<HostPattern> {
        switch self {
        case .hosts(let hosts), .serverNames(let hosts, _): hosts
        case .raw, .nothing: []
        }
    }

    /// Gives up some hosts; without any left there is no claim.
    mutating func remove(_ refused: Set<HostPattern>) {
        let left = hosts.subtracting(refused)
        switch self {
        case .hosts: self = left.isEmpty ? .nothing : .hosts(left)
        case .serverNames(_, let port): self = left.isEmpty ? .nothing : .serverNames(left, port: port)
        case .raw, .nothing: break
        }
    }
}

/// What became of one labelled thing.
enum Verdict {
    case routed(Candidate)
    /// Not routed, and why.
    /// `claimant` is what it would have been, as far as that can be told: hosts stay its own while it is out.
    case leftOut([Diagnostic], claimant: Candidate? = nil)
    /// Not for this proxy.
    case ignored

    /// Of what has no earlier labels to go by: if it is left out and tells where it would be found, that stays its
    /// stack's.
    func keepingPlace(of candidate: Candidate, _ settings: MappingSettings) -> Verdict {
        guard settings.hostOwnership == .stack, case .leftOut(let diagnostics, _) = self,
            candidate.labels.tellsItsPlace
        else { return self }
        return .leftOut(diagnostics, claimant: candidate)
    }
}

/// The names that diagnostics speak of.
struct Subject {
    var name: String

    func error(_ label: String = "", _ value: String = "", _ message: String) -> Diagnostic {
        Diagnostic(severity: .error, service: name, label: label, value: value, message: message)
    }

    func warning(_ label: String = "", _ value: String = "", _ message: String) -> Diagnostic {
        Diagnostic(severity: .warning, service: name, label: label, value: value, message: message)
    }

    func unpublished() -> Diagnostic {
        error("hosts", "", "is missing: name the hosts, or set default_backend=true, or tcp_port for a TCP service")
    }

    func diagnostics(of problems: [LabelProblem]) -> [Diagnostic] {
        problems.map { problem in
            problem.kind == .doubtful
                ? warning(problem.label, problem.value, problem.message)
                : error(problem.label, problem.value, problem.message)
        }
    }
}

extension Sequence<Upstream> {
    /// By id; of two with the same id the first in order of address.
    func canonical() -> [Upstream] {
        var seen: Set<String> = []
        return sorted { $0.id == $1.id ? $0.endpoint < $1.endpoint : $0.id.isBefore($1.id) }
            .filter { seen.insert($0.id).inserted }
    }
}
