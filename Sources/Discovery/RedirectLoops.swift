// Redirects that lead back to where they began are dropped, the younger pair of those that close a circle. Where a
// destination leads is decided by the hosts of the table; ports are not told apart, since nobody here knows under which
// ports the proxy is reached from outside.

import Model

/// A redirect that its host's oldest service asks for.
struct ProposedRedirect {
    var source: RedirectSource
    var pair: RedirectPair
    /// A position among the candidates.
    var service: Int
}

struct RedirectLoops {
    /// Who follows more redirects in a row than browsers do is in a circle, or as good as.
    static let stepLimit = 20

    private let candidates: [Candidate]
    private let hosts: Set<HostPattern>
    /// Plain HTTP of these is redirected to https, by `ssl_only` or because TLS is passed through.
    private let httpsOnly: Set<HostPattern>
    private let isSSLOnly: Bool
    private var targets: [RedirectSource: RedirectPair] = [:]
    private(set) var diagnostics: [Diagnostic] = []

    init(_ candidates: [Candidate], hosts: Set<HostPattern>, httpsOnly: Set<HostPattern>, isSSLOnly: Bool) {
        self.candidates = candidates
        self.hosts = hosts
        self.httpsOnly = httpsOnly
        self.isSSLOnly = isSSLOnly
    }

    /// What can be kept, by host; of each host plain HTTP first.
    mutating func settle(_ proposals: [ProposedRedirect]) -> [HostPattern: [HostRedirect]] {
        let ordered = proposals.sorted { left, right in
            if left.service != right.service {
                return candidates[left.service].isOlder(than: candidates[right.service])
            }
            if left.source.host != right.source.host { return left.source.host < right.source.host }
            return left.source.scheme.rawValue.isBefore(right.source.scheme.rawValue)
        }
        var kept: [HostPattern: [HostRedirect]] = [:]
        for proposal in ordered {
            let source = proposal.source
            if let circle = circle(through: proposal) {
                let message =
                    "\(source.scheme)://\(source.host) would lead back to itself\(circle); it is not redirected"
                let subject = Subject(name: candidates[proposal.service].service.name)
                diagnostics.append(subject.warning("redirects", proposal.pair.destination, message))
                continue
            }
            targets[source] = proposal.pair
            kept[source.host, default: []].append(
                HostRedirect(scheme: source.scheme, target: proposal.pair.destination))
        }
        return kept.mapValues { $0.sorted { $0.scheme.rawValue.isBefore($1.scheme.rawValue) } }
    }

    /// By which way a redirect leads back to its source, or "" at once; nil if it does not.
    private func circle(through proposal: ProposedRedirect) -> String? {
        var open = [(node: node(of: proposal.pair), by: "")]
        var seen: Set<RedirectSource> = []
        while let (node, by) = open.popLast() {
            guard let node else { continue }
            if node == proposal.source { return by }
            guard seen.insert(node).inserted else { continue }
            if seen.count > Self.stepLimit { return " after more than \(Self.stepLimit) steps" }
            if let next = targets[node] { open.append((self.node(of: next), " by way of \(next.destination)")) }
            if node.scheme == .http, isSSLOnly || httpsOnly.contains(node.host) {
                open.append((RedirectSource(host: node.host, scheme: .https), " since http is redirected to https"))
            }
        }
        return nil
    }

    /// Which host of the table a destination is; nil: none of ours.
    private func node(of pair: RedirectPair) -> RedirectSource? {
        let name = pair.destinationHost
        if hosts.contains(.exact(name)) { return RedirectSource(host: .exact(name), scheme: pair.destinationScheme) }
        var rest = name[...]
        while let dot = rest.firstIndex(of: ".") {
            rest = rest[rest.index(after: dot)...]
            let wildcard = HostPattern.wildcard(String(rest))
            if hosts.contains(wildcard) { return RedirectSource(host: wildcard, scheme: pair.destinationScheme) }
        }
        guard hosts.contains(.any) else { return nil }
        return RedirectSource(host: .any, scheme: pair.destinationScheme)
    }
}
