// From candidates to routes: who shares a host and path becomes one pool; who disagrees is told so.

import Model

/// Puts the candidates of all sources together.
struct RouteMerging {
    let settings: MappingSettings
    private var candidates: [Candidate] = []
    private var diagnostics: [Diagnostic] = []
    private var routes: [Route] = []
    private var hosts: [HostOptions] = []
    private var redirects: [ProposedRedirect] = []
    /// Hosts of which some path is not served by plain HTTP.
    private var httpsOnly: Set<HostPattern> = []

    init(settings: MappingSettings) { self.settings = settings }

    /// The snapshot of the candidates; `findings` are the diagnostics of those that were left out, `claimants` what
    /// these still own.
    mutating func snapshot(
        of candidates: [Candidate], claimants: [Candidate], findings: [Diagnostic], order: SnapshotOrder
    ) -> Snapshot {
        diagnostics = findings
        self.candidates = settled(
            uniqueByID(candidates.sorted { $0.service.precedes($1.service) }), claimants)
        var claims: [HostPattern: [Int]] = [:]
        var ports: [UInt16: [Int]] = [:]
        claims.reserveCapacity(self.candidates.count)
        for (index, candidate) in self.candidates.enumerated() {
            diagnostics += candidate.diagnostics
            switch candidate.claim {
            case .hosts(let claimed): for host in claimed { claims[host, default: []].append(index) }
            case .raw(let port), .serverNames(_, let port): ports[port, default: []].append(index)
            case .nothing: break
            }
        }
        routes.reserveCapacity(claims.count)
        for (host, members) in claims { merge(host, members) }
        addRedirects(of: Set(claims.keys))
        routes.sort { $0.precedes($1) }
        hosts.sort { $0.host < $1.host }
        let streams = ports.sorted { $0.key < $1.key }.map { stream($0.key, $0.value) }
        let configuration = Configuration(
            services: self.candidates.map(\.service), routes: routes, hosts: hosts, streams: streams)
        return Snapshot(
            order: order, configuration: configuration, endpoints: self.candidates.map(\.upstreams),
            diagnostics: sortedDiagnostics())
    }

    /// An engine never lists an id twice; if it does, the first in canonical order is taken.
    private func uniqueByID(_ candidates: [Candidate]) -> [Candidate] {
        var seen: Set<String> = []
        return candidates.filter { seen.insert($0.service.id).inserted }
    }

    /// Without those who have to give up everything they ask for.
    private mutating func settled(_ candidates: [Candidate], _ claimants: [Candidate]) -> [Candidate] {
        var candidates = candidates
        if settings.hostOwnership == .stack {
            var ownership = HostOwnership()
            ownership.apply(to: &candidates, claimants: claimants)
            diagnostics += ownership.diagnostics
        }
        diagnostics += HostAgreement.apply(to: &candidates, isSSLOnly: settings.isSSLOnly)
        return candidates.filter { candidate in
            if candidate.claim != .nothing { return true }
            diagnostics += candidate.diagnostics
            return false
        }
    }

    // MARK: HTTP

    private mutating func merge(_ host: HostPattern, _ members: [Int]) {
        var merged = HostMembers(candidates, members, place: "\(host)")
        var options = HostOptions(host: host)
        if merged.passesThrough {
            options.passthrough = members
            options.balancing = balancing(of: members, place: "\(host)")
            reportNoWeight(members, place: "\(host)")
            httpsOnly.insert(host)
            reportStacks(members, "hosts", "\(host)", place: "\(host)")
        } else {
            options.tls = merged.tlsOptions()
            redirects += merged.redirects(of: host)
            if options.tls.certificates.isEmpty, !settings.hasSharedCertificates { reportNoCertificate(members, host) }
            if members.count == 1 {
                routes.append(route(host, candidates[members[0]].labels.contextRoot, members))
            } else {
                let paths = Dictionary(grouping: members) { candidates[$0].labels.contextRoot }
                for (path, services) in paths { merge(host, path, services) }
            }
        }
        diagnostics += merged.diagnostics
        if !options.passthrough.isEmpty || options.tls != TLSOptions() { hosts.append(options) }
    }

    /// Only who asks for the same of a request shares a route; the path is shared by all of them.
    private mutating func merge(_ host: HostPattern, _ path: String, _ services: [Int]) {
        let conditions = Dictionary(grouping: services) { candidates[$0].labels.conditions }
        for (_, alike) in conditions { routes.append(route(host, path, alike)) }
        if host == .any {
            reportStacks(services, "default_backend", "true", place: "the default backend")
        } else {
            reportStacks(services, "hosts", "\(host)", place: Self.place(host, path))
        }
    }

    private static func place(_ host: HostPattern, _ path: String) -> String { "\(host)\(path == "/" ? "" : path)" }

    private mutating func route(_ host: HostPattern, _ path: String, _ services: [Int]) -> Route {
        let oldest =
            services.count == 1
            ? services[0] : services.min { candidates[$0].isOlder(than: candidates[$1]) } ?? services[0]
        let labels = candidates[oldest].labels
        let rewrites = labels.rewritesContextRoot && path != "/"
        if services.count > 1 { reportDifferences(services, host, path, oldest: oldest) }
        reportNoWeight(services, place: Self.place(host, path))
        // They agree, unless the proxy's own setting makes them.
        let requiresTLS = services.contains {
            // Plain HTTP shows no client certificate, and would be a way around.
            let labels = candidates[$0].labels
            return labels.requiresTLS || labels.tls.clientAuthentication?.demand == .required
        }
        if requiresTLS { httpsOnly.insert(host) }
        return Route(
            host: host, pathPrefix: path, rewritesPrefix: rewrites, pathPolicy: labels.pathPolicy,
            requiresTLS: requiresTLS, hsts: labels.hsts, conditions: labels.conditions,
            balancing: balancing(of: services, place: Self.place(host, path)), services: services)
    }

    private mutating func reportDifferences(_ services: [Int], _ host: HostPattern, _ path: String, oldest: Int) {
        let decisive = candidates[oldest]
        let place = Self.place(host, path)
        let message = "differs from \(decisive.service.name) on \(place); the older service's is used"
        for index in services where index != oldest {
            let other = candidates[index]
            let subject = Subject(name: other.service.name)
            if other.labels.rewritesContextRoot != decisive.labels.rewritesContextRoot, path != "/" {
                diagnostics.append(subject.warning("context_root_rewrite", "", message))
            }
            if other.labels.pathPolicy != decisive.labels.pathPolicy {
                diagnostics.append(subject.warning("path_policy", other.labels.pathPolicy.rawValue, message))
            }
            if let hsts = other.labels.hsts, hsts != decisive.labels.hsts {
                diagnostics.append(subject.warning("hsts", hsts, message))
            }
        }
    }

    /// The oldest service's.
    private mutating func balancing(of services: [Int], place: String) -> Balancing {
        let oldest = services.min { candidates[$0].isOlder(than: candidates[$1]) } ?? services[0]
        let decisive = candidates[oldest]
        for index in services where index != oldest {
            let other = candidates[index]
            let message = "differs from \(decisive.service.name) on \(place); the older service's is used"
            for (label, value) in other.labels.balancing.differences(from: decisive.labels.balancing) {
                diagnostics.append(Subject(name: other.service.name).warning(label, value, message))
            }
        }
        return decisive.labels.balancing
    }

    /// All of them stay warm, and nobody answers.
    private mutating func reportNoWeight(_ services: [Int], place: String) {
        guard services.allSatisfy({ candidates[$0].service.options.weight == 0 }) else { return }
        let message = "\(place) is answered by nobody: every service there has weight 0"
        for index in services {
            diagnostics.append(Subject(name: candidates[index].service.name).warning("weight", "0", message))
        }
    }

    /// Services of different stacks behind one place.
    private mutating func reportStacks(_ services: [Int], _ label: String, _ value: String, place: String) {
        guard services.count > 1, let oldest = services.min(by: { candidates[$0].isOlder(than: candidates[$1]) }) else {
            return
        }
        let decisive = candidates[oldest]
        for index in services where candidates[index].service.stack != decisive.service.stack {
            let message =
                "shares \(place) with \(decisive.service.name) of \(decisive.stackText): both answer for it"
            let subject = Subject(name: candidates[index].service.name)
            diagnostics.append(subject.warning(label, value, message))
        }
    }

    /// Labels that mean nothing as long as the host speaks plain HTTP alone.
    private mutating func reportNoCertificate(_ members: [Int], _ host: HostPattern) {
        for index in members {
            let labels = candidates[index].labels
            let subject = Subject(name: candidates[index].service.name)
            let why = "without a certificate for \(host): name one in ssl_cert"
            if labels.requiresTLS {
                diagnostics.append(subject.warning("ssl_only", "true", "redirects to https in vain, \(why)"))
            }
            if let hsts = labels.hsts {
                diagnostics.append(subject.warning("hsts", hsts, "has no effect \(why)"))
            }
        }
    }

    private mutating func addRedirects(of claimed: Set<HostPattern>) {
        guard !redirects.isEmpty else { return }
        var loops = RedirectLoops(
            candidates, hosts: claimed, httpsOnly: httpsOnly, isSSLOnly: settings.isSSLOnly)
        var kept = loops.settle(redirects)
        diagnostics += loops.diagnostics
        for index in hosts.indices {
            hosts[index].redirects = kept.removeValue(forKey: hosts[index].host) ?? []
        }
        for (host, redirects) in kept { hosts.append(HostOptions(host: host, redirects: redirects)) }
    }

    // MARK: Entry ports

    /// All of them want it raw, or all by server name.
    private mutating func stream(_ port: UInt16, _ members: [Int]) -> StreamPort {
        var names: [HostPattern: [Int]] = [:]
        for index in members {
            for host in candidates[index].claim.hosts { names[host, default: []].append(index) }
        }
        if names.isEmpty {
            reportStacks(members, "tcp_port", "\(port)", place: "port \(port)")
            reportNoWeight(members, place: "port \(port)")
            return StreamPort(port: port, services: members, balancing: balancing(of: members, place: "port \(port)"))
        }
        let hosts = names.sorted { $0.key < $1.key }.map { host, members in
            var merged = HostMembers(candidates, members, place: "\(host):\(port)")
            let tls = merged.passesThrough ? nil : merged.tlsOptions()
            diagnostics += merged.diagnostics
            reportStacks(members, "tcp_port", "\(port)", place: "\(host):\(port)")
            reportNoWeight(members, place: "\(host):\(port)")
            let balancing = balancing(of: members, place: "\(host):\(port)")
            return StreamHost(host: host, services: members, balancing: balancing, tls: tls)
        }
        return StreamPort(port: port, hosts: hosts)
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

extension Balancing {
    /// The labels that say something else than the other service does. Who says nothing disagrees with nobody.
    fileprivate func differences(from other: Balancing) -> [(label: String, value: String)] {
        var found: [(String, String)] = []
        if method != other.method, method != .roundRobin { found.append(("lb", method.rawValue)) }
        if let key, key != other.key {
            switch key {
            case .cookie(let name): found.append(("sticky_session_cookie", name))
            case .clientAddress: found.append(("ip_hash", "true"))
            case .header(let name): found.append(("lb", "hash:header:\(name)"))
            }
        }
        return found
    }
}
