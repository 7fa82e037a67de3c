// With `INTERLOCK_HOST_OWNERSHIP=stack` a host belongs to the stack of the oldest service that claims it, and so do the
// default backend and an entry port as a whole. What other stacks claim of it falls away, and they are told.

import Model

struct HostOwnership {
    private(set) var diagnostics: [Diagnostic] = []
    private var owners: [Property: Int] = [:]

    /// What can belong to a stack. A name is one property, whatever protocol it is claimed for.
    private enum Property: Hashable {
        case host(HostPattern)
        /// The entry port for whatever no server name claims.
        case port(UInt16)
    }

    /// Takes from each candidate what belongs to another stack. `claimants` are not routed themselves: a mistake in a
    /// label of theirs must not give their hosts to whoever waits for it.
    mutating func apply(to candidates: inout [Candidate], claimants: [Candidate]) {
        let all = candidates + claimants
        for (index, candidate) in all.enumerated() {
            for property in Self.properties(of: candidate.claim) {
                if let owner = owners[property], !candidate.isOlder(than: all[owner]) { continue }
                owners[property] = index
            }
        }
        for index in candidates.indices {
            let candidate = candidates[index]
            for property in Self.properties(of: candidate.claim) {
                guard let owner = owners[property] else { continue }
                let other = all[owner]
                if other.service.stack == candidate.service.stack { continue }
                refuse(property, of: &candidates[index], stackText: other.stackText)
            }
        }
    }

    private mutating func refuse(_ property: Property, of candidate: inout Candidate, stackText: String) {
        let subject = Subject(name: candidate.service.name)
        switch property {
        case .host(.any):
            let message = "belongs to \(stackText), which claimed it first"
            diagnostics.append(subject.error("default_backend", "true", message))
            candidate.claim.remove([.any])
        case .host(let host):
            let message = "\(host) belongs to \(stackText), which claimed it first"
            diagnostics.append(subject.error("hosts", "\(host)", message))
            candidate.claim.remove([host])
        case .port(let port):
            let message = "port \(port) belongs to \(stackText), which claimed it first"
            diagnostics.append(subject.error("tcp_port", "\(port)", message))
            if case .raw = candidate.claim { candidate.claim = .nothing } else { candidate.claim.remove([.any]) }
        }
    }

    private static func properties(of claim: Claim) -> [Property] {
        switch claim {
        case .hosts(let hosts): hosts.map { .host($0) }
        case .serverNames(let hosts, let port): hosts.map { $0 == .any ? .port(port) : .host($0) }
        case .raw(let port): [.port(port)]
        case .nothing: []
        }
    }
}
