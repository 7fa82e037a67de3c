// From candidates to routes: who shares a host and path becomes one pool; who disagrees is told so.

import Model

/// Puts the candidates of all sources together.
struct RouteMerging {
    let settings: MappingSettings
    private var claims: [RouteKey: [Int]] = [:]
    private var diagnostics: [Diagnostic] = []

    private struct RouteKey: Hashable {
        var host: HostPattern
        var pathPrefix: String
    }

    init(settings: MappingSettings) { self.settings = settings }

    /// The snapshot of the candidates; `findings` are the diagnostics of those that were left out.
    mutating func snapshot(
        of candidates: [Candidate], findings: [Diagnostic], order: SnapshotOrder
    ) -> Snapshot {
        var candidates = uniqueByID(candidates.sorted { $0.service.precedes($1.service) })
        diagnostics = findings
        if settings.hostOwnership == .stack { candidates = withOwnedHosts(candidates) }
        for (index, candidate) in candidates.enumerated() {
            diagnostics += candidate.diagnostics
            let hosts = candidate.labels.hosts + (candidate.labels.isDefaultBackend ? [.any] : [])
            for host in Set(hosts) {
                claims[RouteKey(host: host, pathPrefix: candidate.labels.contextRoot), default: []].append(index)
            }
        }
        var routes: [Route] = []
        routes.reserveCapacity(claims.count)
        for (key, services) in claims { routes.append(route(key, services, candidates)) }
        routes.sort { $0.precedes($1) }
        let configuration = Configuration(services: candidates.map(\.service), routes: routes)
        return Snapshot(
            order: order, configuration: configuration, endpoints: candidates.map(\.upstreams),
            diagnostics: sortedDiagnostics())
    }

    /// An engine never lists an id twice; if it does, the first in canonical order is taken.
    private func uniqueByID(_ candidates: [Candidate]) -> [Candidate] {
        var seen: Set<String> = []
        return candidates.filter { seen.insert($0.service.id).inserted }
    }

    private mutating func route(_ key: RouteKey, _ services: [Int], _ candidates: [Candidate]) -> Route {
        guard services.count > 1 else {
            let labels = candidates[services[0]].labels
            return Route(
                host: key.host, pathPrefix: key.pathPrefix,
                rewritesPrefix: labels.rewritesContextRoot && key.pathPrefix != "/", pathPolicy: labels.pathPolicy,
                services: services)
        }
        let oldest = services.min { candidates[$0].isOlder(than: candidates[$1]) } ?? services[0]
        let decisive = candidates[oldest]
        let rewrites = decisive.labels.rewritesContextRoot && key.pathPrefix != "/"
        for index in services where index != oldest {
            let other = candidates[index]
            let subject = Subject(name: other.service.name)
            let place = "\(key.host)\(key.pathPrefix == "/" ? "" : key.pathPrefix)"
            if (other.labels.rewritesContextRoot && key.pathPrefix != "/") != rewrites {
                let message = "differs from \(decisive.service.name) on \(place); the older service's is used"
                diagnostics.append(subject.warning("context_root_rewrite", "", message))
            }
            if other.labels.pathPolicy != decisive.labels.pathPolicy {
                let message = "differs from \(decisive.service.name) on \(place); the older service's is used"
                diagnostics.append(subject.warning("path_policy", other.labels.pathPolicy.rawValue, message))
            }
            if other.service.stack != decisive.service.stack {
                let message =
                    "shares \(place) with \(decisive.service.name) of \(decisive.stackText): both answer for it"
                diagnostics.append(subject.warning("hosts", "\(key.host)", message))
            }
        }
        return Route(
            host: key.host, pathPrefix: key.pathPrefix, rewritesPrefix: rewrites,
            pathPolicy: decisive.labels.pathPolicy, services: services)
    }

    /// Each host belongs to the stack of the oldest service that claims it; other stacks' claims on it fall away.
    private mutating func withOwnedHosts(_ candidates: [Candidate]) -> [Candidate] {
        var owners: [HostPattern: Int] = [:]
        for (index, candidate) in candidates.enumerated() {
            for host in candidate.labels.hosts + (candidate.labels.isDefaultBackend ? [.any] : []) {
                if let owner = owners[host], !candidate.isOlder(than: candidates[owner]) { continue }
                owners[host] = index
            }
        }
        var result: [Candidate] = []
        for candidate in candidates {
            var candidate = candidate
            func isOwn(_ host: HostPattern) -> Bool {
                owners[host].map { candidates[$0].service.stack == candidate.service.stack } ?? true
            }
            let subject = Subject(name: candidate.service.name)
            let refused = candidate.labels.hosts.filter { !isOwn($0) }
            if candidate.labels.isDefaultBackend, !isOwn(.any), let owner = owners[.any] {
                let message = "belongs to \(candidates[owner].stackText), which claimed it first"
                candidate.labels.isDefaultBackend = false
                candidate.diagnostics.append(subject.error("default_backend", "true", message))
            }
            for host in refused {
                guard let owner = owners[host] else { continue }
                let message = "\(host) belongs to \(candidates[owner].stackText), which claimed it first"
                candidate.diagnostics.append(subject.error("hosts", "\(host)", message))
            }
            candidate.labels.hosts.removeAll { refused.contains($0) }
            if candidate.labels.isPublished {
                result.append(candidate)
            } else {
                diagnostics += candidate.diagnostics
            }
        }
        return result
    }

    /// By service, then what it is about: the same list for everybody who sees the same.
    private func sortedDiagnostics() -> [Diagnostic] {
        Set(diagnostics).sorted { left, right in
            for (first, second) in [
                (left.service, right.service), (left.label, right.label), (left.value, right.value),
                (left.message, right.message), (left.severity.rawValue, right.severity.rawValue),
            ] where first != second {
                return first.isBefore(second)
            }
            return false
        }
    }
}

extension Candidate {
    fileprivate var stackText: String { service.stack.isEmpty ? "no stack" : "stack \(service.stack)" }
}
