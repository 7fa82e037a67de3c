// A service on its way into the snapshot: whatever its source, from here on it is treated like all others.

import Model

/// A service that asks for routes.
struct Candidate {
    /// Where it comes from and what it is called; its options are those of the labels it is routed by.
    var service: Service
    var createdAtNs: Int64
    var labels: LabelReading
    /// In canonical order.
    var upstreams: [Upstream]
    var diagnostics: [Diagnostic] = []

    /// The older one decides where two disagree; of equals the smaller id.
    func isOlder(than other: Candidate) -> Bool {
        createdAtNs == other.createdAtNs
            ? service.id.isBefore(other.service.id) : createdAtNs < other.createdAtNs
    }
}

/// What became of one labelled thing.
enum Verdict {
    case routed(Candidate)
    /// Not routed; why.
    case leftOut([Diagnostic])
    /// Not for this proxy.
    case ignored
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
