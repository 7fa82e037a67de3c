// What a snapshot means, before any target's words for it: which routes a path is asked of and in what order, which
// servers take a route's requests and in what shares, what TLS shows. All renderers write from this, so that they
// cannot disagree about it. What no target is to serve (a secret is missing, say) is decided here and told.

import Model

struct RenderPlan {
    /// In canonical order of host patterns.
    private(set) var hosts: [PlannedHost] = []
    /// In order of ports.
    private(set) var streams: [PlannedStream] = []
    /// What hosts without a certificate of their own show, and clients that name no host; nil: they are refused.
    private(set) var standardCertificate: PlannedCertificate?
    private(set) var diagnostics: [Diagnostic] = []

    private let input: RenderInput
    private var secrets: PlannedSecrets

    init(_ input: RenderInput) {
        self.input = input
        secrets = PlannedSecrets(input)
        standardCertificate = secrets.standard
        planHosts()
        for stream in configuration.streams { planStream(stream) }
        diagnostics += secrets.diagnostics
    }

    private var configuration: Configuration { input.snapshot.configuration }

    // MARK: Hosts

    private mutating func planHosts() {
        var routes: [HostPattern: [Route]] = [:]
        for route in configuration.routes { routes[route.host, default: []].append(route) }
        var options: [HostPattern: HostOptions] = [:]
        for host in configuration.hosts { options[host.host] = host }
        for host in Set(routes.keys).union(options.keys).sorted() {
            planHost(host, routes[host] ?? [], options[host] ?? HostOptions(host: host))
        }
    }

    private mutating func planHost(_ host: HostPattern, _ routes: [Route], _ options: HostOptions) {
        var planned = PlannedHost(host: host)
        planned.services = Set(routes.flatMap(\.services)).union(options.passthrough).sorted().map {
            configuration.services[$0]
        }
        for redirect in options.redirects { planned.redirects[redirect.scheme] = redirect.target }
        if !options.passthrough.isEmpty {
            planned.passthrough = pool(options.passthrough, options.balancing)
        } else {
            planned.tls = secrets.tls(options.tls, host: host, services: planned.services)
        }
        let byPath = Dictionary(grouping: routes, by: \.pathPrefix)
        // The longest first: a shorter prefix of a path is never longer than its text.
        let paths = byPath.keys.sorted {
            $0.utf8.count == $1.utf8.count ? $0.isBefore($1) : $0.utf8.count > $1.utf8.count
        }
        planned.locations = paths.map { path in
            PlannedLocation(path: path, routes: asked(path, byPath).map { planRoute($0) })
        }
        hosts.append(planned)
    }

    /// The routes that a request of a path is asked of: those of the path, then of the next shorter prefixes, until
    /// one takes any request.
    private func asked(_ path: String, _ byPath: [String: [Route]]) -> [Route] {
        var found: [Route] = []
        var rest = path
        while true {
            for route in byPath[rest] ?? [] {
                found.append(route)
                if route.conditions.isEmpty { return found }
            }
            guard rest != "/", let slash = rest.utf8.lastIndex(of: UInt8(ascii: "/")) else { return found }
            rest = slash == rest.startIndex ? "/" : String(rest[..<slash])
        }
    }

    private func planRoute(_ route: Route) -> PlannedRoute {
        var route = route
        if input.settings.isSSLOnly { route.requiresTLS = true }
        return PlannedRoute(route: route, pool: pool(route.services, route.balancing))
    }

    // MARK: Pools

    private func pool(_ services: [Int], _ balancing: Balancing) -> PlannedPool {
        var pool = PlannedPool(
            services: services.map { configuration.services[$0] }, servers: [], balancing: balancing)
        let isWeighted = pool.services.contains { $0.options.weight != nil }
        for (position, service) in services.enumerated() {
            let weight = isWeighted ? configuration.services[service].options.weight ?? 100 : nil
            let ready = input.snapshot.endpoints[service].filter { $0.state == .ready }
            guard weight != 0 else { continue }
            for upstream in ready {
                pool.servers.append(
                    PlannedServer(
                        id: upstream.id, endpoint: upstream.endpoint, service: position, weight: weight ?? 1,
                        divisor: weight == nil ? 1 : ready.count))
            }
        }
        return pool
    }

    // MARK: Entry ports

    private mutating func planStream(_ stream: StreamPort) {
        var planned = PlannedStream(port: stream.port)
        if stream.hosts.isEmpty {
            planned.raw = pool(stream.services, stream.balancing)
        }
        for host in stream.hosts {
            let services = host.services.map { configuration.services[$0] }
            var tls: PlannedTLS?
            if let options = host.tls { tls = secrets.tls(options, host: host.host, services: services) }
            planned.hosts.append(
                PlannedStreamHost(host: host.host, pool: pool(host.services, host.balancing), tls: tls))
        }
        streams.append(planned)
    }

    /// The authorities that a service's tasks are verified by.
    func backendAuthorities(_ backend: BackendTLS) -> PlannedAuthorities {
        guard backend.verifies else { return .none }
        guard let reference = backend.authorities else { return .system }
        guard let found = input.secrets.find(reference), input.reading.authorities(found.bytes) == nil else {
            return .missing(reference.names.first ?? "")
        }
        return .file(found.bytes)
    }
}

/// Who must have signed a task's certificate.
enum PlannedAuthorities: Hashable {
    /// Nobody: it is not verified.
    case none
    case system
    /// PEM.
    case file([UInt8])
    /// The secret of this name is not there, or holds none: nothing may be sent.
    case missing(String)
}

struct PlannedHost {
    var host: HostPattern
    /// All that answer there, in canonical order.
    var services: [Service] = []
    /// The longest path first.
    var locations: [PlannedLocation] = []
    /// Not nil: TLS is passed on to it, plain HTTP is redirected to https.
    var passthrough: PlannedPool?
    /// Where a scheme is redirected to; the request's target is appended.
    var redirects: [HostRedirect.Scheme: String] = [:]
    var tls = PlannedTLS()

    init(host: HostPattern) { self.host = host }
}

struct PlannedLocation {
    /// A path prefix, matched by whole segments.
    var path: String
    /// In the order in which they are asked; each but the last has conditions. Routes of shorter paths may be among
    /// them: what they strip is their own prefix.
    var routes: [PlannedRoute]

    /// Whether some requests find no route.
    var hasGap: Bool { routes.last.map { !$0.route.conditions.isEmpty } ?? true }
}

struct PlannedRoute {
    var route: Route
    var pool: PlannedPool
}

struct PlannedPool {
    /// In canonical order; not empty. Where only one can decide, the first does.
    var services: [Service]
    /// Ready, with a share; in canonical order.
    var servers: [PlannedServer]
    var balancing: Balancing

    var lead: Service { services[0] }
    var leadOptions: ServiceOptions { lead.options }
}

struct PlannedServer {
    /// The upstream's.
    var id: String
    var endpoint: Endpoint
    /// A position in the pool's services.
    var service: Int
    /// Its share is `weight / divisor`, among all shares of the pool.
    var weight: Int
    var divisor: Int
}

extension PlannedPool {
    /// The servers' shares as whole numbers, as small as they can be and none above `limit`.
    /// - Returns: and whether they are exact.
    func weights(limit: Int) -> (weights: [Int], isExact: Bool) {
        var common = 1
        for server in servers {
            let (product, overflowed) = (common / Self.divisor(common, server.divisor))
                .multipliedReportingOverflow(by: server.divisor)
            if overflowed || product > 1 << 40 { return rounded(limit: limit) }
            common = product
        }
        var weights = servers.map { $0.weight * (common / $0.divisor) }
        let shared = weights.reduce(0, Self.divisor)
        if shared > 1 { weights = weights.map { $0 / shared } }
        return (weights.max() ?? 0) <= limit ? (weights, true) : rounded(limit: limit)
    }

    private func rounded(limit: Int) -> (weights: [Int], isExact: Bool) {
        let shares = servers.map { Double($0.weight) / Double($0.divisor) }
        let largest = shares.max() ?? 1
        return (shares.map { max(1, Int(($0 / largest * Double(limit)).rounded())) }, false)
    }

    private static func divisor(_ first: Int, _ second: Int) -> Int {
        second == 0 ? first : divisor(second, first % second)
    }
}

struct PlannedStream {
    var port: UInt16
    /// Not nil: everything goes there.
    var raw: PlannedPool?
    /// In canonical order; `.any` takes every server name that no other claims, and none.
    var hosts: [PlannedStreamHost] = []

    init(port: UInt16) { self.port = port }
}

struct PlannedStreamHost {
    var host: HostPattern
    var pool: PlannedPool
    /// nil: the bytes are passed on as they are.
    var tls: PlannedTLS?
}
