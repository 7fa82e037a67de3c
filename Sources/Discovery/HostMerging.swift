// What holds for a host as a whole, once it is known whose it is: certificates, client certificates, passthrough,
// redirects. The oldest service that has something to say decides; the others are told.

import Model

/// The services of one host, or of one server name of an entry port, that are left after they agreed.
struct HostMembers {
    let candidates: [Candidate]
    /// Positions in `candidates`, ascending.
    let members: [Int]
    /// For messages.
    let place: String
    private(set) var diagnostics: [Diagnostic] = []
    /// Oldest first.
    private let byAge: [Int]

    init(_ candidates: [Candidate], _ members: [Int], place: String) {
        self.candidates = candidates
        self.members = members
        self.place = place
        byAge =
            members.count == 1 ? members : members.sorted { candidates[$0].isOlder(than: candidates[$1]) }
    }

    private var oldest: Candidate { candidates[byAge[0]] }

    var passesThrough: Bool { oldest.labels.passesThrough }

    /// One answer for the host: whoever names no certificate uses the host's.
    mutating func tlsOptions() -> TLSOptions {
        var options = oldest.labels.tls
        guard members.count > 1 else { return options }
        let naming = byAge.filter { !candidates[$0].labels.tls.certificates.isEmpty }
        guard let first = naming.first else { return options }
        let decisive = candidates[first]
        options.certificates = decisive.labels.tls.certificates
        for index in naming.dropFirst() where candidates[index].labels.tls.certificates != options.certificates {
            let message = "differs from \(decisive.service.name) on \(place); the older service's is used"
            warn(candidates[index], "ssl_cert", candidates[index].certificateNames, message)
        }
        if oldest.labels.tls.certificates.isEmpty, oldest.service.stack != decisive.service.stack {
            let message = "is used on \(place) for \(oldest.service.name) of \(oldest.stackText) too"
            warn(decisive, "ssl_cert", decisive.certificateNames, message)
        }
        return options
    }

    /// Those of the oldest service: a redirect takes the whole host.
    mutating func redirects(of host: HostPattern) -> [ProposedRedirect] {
        let decisive = oldest
        let own = decisive.labels.redirects(of: host)
        for index in byAge.dropFirst() {
            for (source, pair) in candidates[index].labels.redirects(of: host)
            where own[source]?.destination != pair.destination {
                let message =
                    "\(source.scheme)://\(host) belongs to \(decisive.service.name), which is older and "
                    + "\(own[source] == nil ? "does not redirect it" : "redirects it elsewhere")"
                warn(candidates[index], "redirects", pair.destination, message)
            }
        }
        return own.map { ProposedRedirect(source: $0.key, pair: $0.value, service: byAge[0]) }
    }

    private mutating func warn(_ candidate: Candidate, _ label: String, _ value: String, _ message: String) {
        diagnostics.append(Subject(name: candidate.service.name).warning(label, value, message))
    }
}

extension Candidate {
    /// As the label names them.
    fileprivate var certificateNames: String {
        labels.tls.certificates.compactMap(\.certificate.names.first).joined(separator: ",")
    }
}

extension LabelReading {
    fileprivate func redirects(of host: HostPattern) -> [RedirectSource: RedirectPair] {
        guard !redirects.isEmpty else { return [:] }
        var found: [RedirectSource: RedirectPair] = [:]
        for scheme in [HostRedirect.Scheme.http, .https] {
            let source = RedirectSource(host: host, scheme: scheme)
            found[source] = redirects[source]
        }
        return found
    }
}
