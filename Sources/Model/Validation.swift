// What must hold within a snapshot before anybody builds on it: canonical order, no duplicates, indices in range,
// normal forms. It only looks and reports; what to do about a bad snapshot is the caller's decision.

extension Snapshot {
    /// What is wrong with the relations inside of this snapshot, one sentence each; empty if it is sound.
    /// At most 100 problems are listed.
    public func problems() -> [String] {
        var problems = ProblemList()
        checkServices(&problems)
        checkEndpoints(&problems)
        for (index, route) in configuration.routes.enumerated() {
            check(route, &problems)
            guard index > 0 else { continue }
            let previous = configuration.routes[index - 1]
            if previous.host == route.host, previous.pathPrefix == route.pathPrefix,
                previous.conditions == route.conditions
            {
                problems.add("route \(route.host) \(route.pathPrefix) is there twice")
            } else if !previous.precedes(route) {
                problems.add("route \(route.host) \(route.pathPrefix) is out of order")
            }
        }
        checkHosts(&problems)
        checkStreams(&problems)
        return problems.list
    }

    private func checkServices(_ problems: inout ProblemList) {
        var seen: Set<String> = []
        seen.reserveCapacity(configuration.services.count)
        for (index, service) in configuration.services.enumerated() {
            if service.id.isEmpty { problems.add("service \(service.name) has an empty id") }
            if service.name.isEmpty { problems.add("service \(service.id) has an empty name") }
            if !seen.insert(service.id).inserted { problems.add("service id \(service.id) is there twice") }
            if index > 0, !configuration.services[index - 1].precedes(service) {
                problems.add("service \(service.name) is out of order")
            }
            check(service, &problems)
        }
    }

    private func check(_ service: Service, _ problems: inout ProblemList) {
        let options = service.options
        let durations = [
            options.connectTimeoutMs, options.responseTimeoutMs, options.idleTimeoutMs, options.tunnelTimeoutMs,
        ]
        if durations.contains(where: { ($0 ?? 0) < 0 }) || (options.retries ?? 0) < 0 {
            problems.add("service \(service.name) has a negative option")
        }
        options.checkTraffic("service \(service.name)", &problems)
        if options.retryStatuses.contains(where: { ![500, 502, 503, 504].contains($0) }) {
            problems.add("service \(service.name) retries on a status that cannot be retried")
        }
        if let backend = options.backendTLS {
            let isName = backend.serverName.map { HostPattern.exact($0).isNormal } ?? true
            if backend.authorities?.isNormal == false || !isName {
                problems.add("service \(service.name) names its tasks' TLS in a form that is not normal")
            }
        }
    }

    private func checkEndpoints(_ problems: inout ProblemList) {
        if endpoints.count != configuration.services.count {
            problems.add("\(endpoints.count) endpoint lists for \(configuration.services.count) services")
        }
        var seen: Set<String> = []
        seen.reserveCapacity(endpoints.count)
        for upstreams in endpoints {
            for (index, upstream) in upstreams.enumerated() {
                if upstream.id.isEmpty { problems.add("upstream \(upstream.endpoint) has an empty id") }
                if upstream.endpoint.port == 0 { problems.add("upstream \(upstream.id) has port 0") }
                if !seen.insert(upstream.id).inserted { problems.add("upstream \(upstream.id) is there twice") }
                if index > 0, !upstreams[index - 1].id.isBefore(upstream.id), upstreams[index - 1].id != upstream.id {
                    problems.add("upstream \(upstream.id) is out of order")
                }
            }
        }
    }

    private func check(_ route: Route, _ problems: inout ProblemList) {
        if !route.host.isNormal {
            problems.add("route \(route.host) \(route.pathPrefix): the host is not in its normal form")
        }
        if !Route.isNormalPrefix(route.pathPrefix) {
            problems.add("route \(route.host) \(route.pathPrefix): the prefix is not in its normal form")
        }
        if route.services.isEmpty { problems.add("route \(route.host) \(route.pathPrefix) has no service") }
        route.conditions.check("route \(route.host) \(route.pathPrefix)", &problems)
        route.balancing.check("route \(route.host) \(route.pathPrefix)", &problems)
        check(services: route.services, "route \(route.host) \(route.pathPrefix)", &problems)
        if let hsts = route.hsts, hsts.isEmpty || !hsts.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) {
            problems.add("route \(route.host) \(route.pathPrefix): what is said of HSTS cannot go into a header")
        }
    }
}

/// What was found so far.
struct ProblemList {
    private(set) var list: [String] = []

    mutating func add(_ problem: @autoclosure () -> String) {
        if list.count < 100 { list.append(problem()) }
    }
}

extension Service {
    /// Canonical order: by name, then id.
    public func precedes(_ other: Service) -> Bool {
        name == other.name ? id.isBefore(other.id) : name.isBefore(other.name)
    }
}

extension Route {
    /// Canonical order: by host pattern, then path prefix, then conditions: in this order they are asked.
    public func precedes(_ other: Route) -> Bool {
        guard host == other.host else { return host < other.host }
        guard pathPrefix == other.pathPrefix else { return pathPrefix.isBefore(other.pathPrefix) }
        return conditions.precedes(other.conditions)
    }

    /// Whether a path prefix is one that a request's raw path can be compared with: `/`, or segments of visible ASCII
    /// that begin with `/` and do not end with it, none of them empty, `.` or `..`, without `?`, `#` and backslash,
    /// at most 1,024 bytes; percent signs only in escapes that cannot be written plainly.
    public static func isNormalPrefix(_ prefix: String) -> Bool {
        guard prefix != "/" else { return true }
        guard prefix.utf8.first == UInt8(ascii: "/"), prefix.utf8.count <= 1024 else { return false }
        var hasEscapes = false
        var segmentCount = 0
        var dotCount = 0
        for byte in prefix.utf8.dropFirst() {
            switch byte {
            case UInt8(ascii: "/"):
                if segmentCount == 0 || segmentCount == dotCount && dotCount <= 2 { return false }
                (segmentCount, dotCount) = (0, 0)
                continue
            case UInt8(ascii: "."): dotCount += 1
            case UInt8(ascii: "%"): hasEscapes = true
            case UInt8(ascii: "?"), UInt8(ascii: "#"), UInt8(ascii: "\\"): return false
            case 0x21...0x7E: break
            default: return false
            }
            segmentCount += 1
        }
        if segmentCount == 0 || segmentCount == dotCount && dotCount <= 2 { return false }
        return !hasEscapes || hasOnlyNeededEscapes(Array(prefix.utf8))
    }

    /// Escapes are `%` and two upper-case hex digits of a byte that is neither unreserved nor a kind of slash.
    private static func hasOnlyNeededEscapes(_ path: [UInt8]) -> Bool {
        var rest = path[...]
        while let percent = rest.firstIndex(of: UInt8(ascii: "%")) {
            let digits = rest[(percent + 1)...].prefix(2)
            guard digits.count == 2, digits.allSatisfy({ (48...57).contains($0) || (65...70).contains($0) }),
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else { return false }
            let isUnreserved =
                (48...57).contains(value) || (65...90).contains(value) || (97...122).contains(value)
                || [45, 46, 95, 126].contains(value)
            guard !isUnreserved, value > 0x20, value != 0x2F, value != 0x5C, value != 0x7F else { return false }
            rest = rest[(percent + 3)...]
        }
        return true
    }
}
