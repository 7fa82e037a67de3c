// Owns the backends: one for each pool that requests are shared out in, whatever the number of routes to it, so that
// what haproxy counts by server (connections, failures) is counted once. Names say which service it is and stay the
// same from one rendering to the next.

import Model

/// What a backend carries.
enum HAProxyTraffic: String, Hashable, Sendable {
    case requests
    /// Connections through an entry port.
    case connections
    /// TLS that is passed on unopened: whatever a service says of TLS to its tasks does not count.
    case passedOn
}

struct HAProxyBackends {
    private struct Key: Hashable {
        var services: [String]
        var balancing: Balancing
        var traffic: HAProxyTraffic
    }

    /// haproxy probes whom it watches. More servers than this are not watched for the default's sake: those probes
    /// would be thousands in a second, and each takes a descriptor.
    static let watchedByDefault = 4_096

    private(set) var writer = HAProxyWriter()
    private(set) var notes = HAProxyNotes()
    private let plan: RenderPlan
    private var settings: RenderSettings
    private let directory: HAProxyPath
    /// The host that a service's probes ask for.
    private let probeHosts: [String: HAProxyName]
    private var names: [Key: HAProxyName?] = [:]
    private var taken: Set<HAProxyName> = []
    private(set) var authorities: [HAProxyPath: RenderedFile] = [:]
    private var useCounts: [String: Int] = [:]

    /// - Parameter serverCount: of all services.
    init(_ plan: RenderPlan, _ settings: RenderSettings, _ directory: HAProxyPath, serverCount: Int) {
        self.plan = plan
        self.settings = settings
        self.directory = directory
        probeHosts = Self.probeHosts(plan)
        guard serverCount > Self.watchedByDefault, settings.defaults.maxFails > 0 else { return }
        self.settings.defaults.maxFails = 0
        notes.add(
            .warning, "haproxy", "max_fails",
            "with more than \(Self.watchedByDefault) tasks, haproxy watches those of services with this label alone")
    }

    /// The backend of a pool; nil: none of its servers can be used now.
    mutating func name(of pool: PlannedPool, _ traffic: HAProxyTraffic) -> HAProxyName? {
        let key = Key(services: pool.services.map(\.id), balancing: pool.balancing, traffic: traffic)
        if let known = names[key] { return known }
        let name = make(pool, traffic, key)
        names[key] = .some(name)
        return name
    }

    private mutating func make(_ pool: PlannedPool, _ traffic: HAProxyTraffic, _ key: Key) -> HAProxyName? {
        var pool = pool
        var transports: [HAProxyTransport?] = []
        for service in pool.services { transports.append(transport(to: service, traffic)) }
        pool.servers.removeAll { transports[$0.service] == nil }
        guard !pool.servers.isEmpty else { return nil }
        for service in Set(pool.servers.map(\.service)) where pool.services[service].options.maxConnections != nil {
            useCounts[pool.services[service].name, default: 0] += 1
        }
        let text = ([key.traffic.rawValue, "\(key.balancing)"] + key.services).joined(separator: "\n")
        let digest = ContentName.of(Array(text.utf8))
        var name = HAProxyName(resembling: pool.lead.name, suffix: "-\(digest.prefix(8))")
        if taken.contains(name) { name = HAProxyName(resembling: pool.lead.name, suffix: "-\(digest)") }
        taken.insert(name)
        notes.note(pool, traffic)
        var section = HAProxyBackend(
            pool: pool, traffic: traffic, transports: transports.map { $0 ?? HAProxyTransport() },
            defaults: settings.defaults, probeHosts: pool.services.map { probeHosts[$0.id] })
        section.write(name, into: &writer)
        if !section.isExact {
            notes.warn(pool.lead, "weight", "haproxy shares out by 256ths of the largest share: these are rounded")
        }
        return name
    }

    /// haproxy counts the connections of a server within its backend.
    mutating func noteSharedLimits() {
        for (service, count) in useCounts where count > 1 {
            notes.add(
                .warning, service, "max_connections",
                "holds for each of the \(count) pools that haproxy has the service in, and not for all together")
        }
    }

    // MARK: How tasks are spoken to

    /// nil: nothing may be sent to its tasks.
    private mutating func transport(to service: Service, _ traffic: HAProxyTraffic) -> HAProxyTransport? {
        var transport = HAProxyTransport(proxyProtocol: service.options.proxyProtocol)
        guard traffic != .passedOn, let backend = service.options.backendTLS else { return transport }
        transport.isTLS = true
        if let name = backend.serverName {
            guard let plain = HAProxyName(name) else {
                notes.add(.error, service.name, "ssl_backend_name", "haproxy cannot be given this name", value: name)
                return nil
            }
            transport.serverName = plain
        }
        switch plan.backendAuthorities(backend) {
        case .none: return transport
        case .system:
            let path =
                settings.systemAuthorities == RenderSettings().systemAuthorities
                ? nil : HAProxyPath(settings.systemAuthorities)
            transport.verification = path.map { .file($0) } ?? .system
        case .file(let pem):
            let name = "authorities/\(ContentName.of(pem)).pem"
            guard let path = directory.file(name) else { return nil }
            authorities[path] = RenderedFile(path: name, bytes: pem, isSecret: true)
            transport.verification = .file(path)
        case .missing(let name):
            notes.add(
                .error, service.name, "ssl_backend_ca", "the secret is not there or holds none: nothing is sent",
                value: name)
            return nil
        }
        // Nothing but the chain would be verified.
        if traffic == .connections, transport.serverName == nil {
            notes.add(
                .error, service.name, "ssl_backend_tls_verify", "needs ssl_backend_name on an entry port",
                value: "required")
            return nil
        }
        return transport
    }

    private static func probeHosts(_ plan: RenderPlan) -> [String: HAProxyName] {
        var found: [String: (name: HAProxyName, isExact: Bool)] = [:]
        for host in plan.hosts {
            let name: String
            let isExact: Bool
            switch host.host {
            case .exact(let exact): (name, isExact) = (exact, true)
            case .wildcard(let suffix): (name, isExact) = ("www.\(suffix)", false)
            case .any: continue
            }
            guard let plain = HAProxyName(name) else { continue }
            for service in host.services where found[service.id].map({ isExact && !$0.isExact }) ?? true {
                found[service.id] = (plain, isExact)
            }
        }
        return found.mapValues(\.name)
    }
}

/// How connections to a service's tasks begin.
struct HAProxyTransport {
    enum Verification { case none, system, file(HAProxyPath) }

    var proxyProtocol: ProxyProtocolVersion?
    var isTLS = false
    var serverName: HAProxyName?
    var verification = Verification.none

    var verifies: Bool {
        if case .none = verification { return false }
        return true
    }

    init(proxyProtocol: ProxyProtocolVersion? = nil) { self.proxyProtocol = proxyProtocol }

    /// Words of a `server` line.
    func words(_ traffic: HAProxyTraffic) -> [HAProxyWord] {
        var words: [HAProxyWord] = []
        switch proxyProtocol {
        case .v1: words.append("send-proxy")
        case .v2: words.append("send-proxy-v2")
        case nil: break
        }
        guard isTLS else { return words }
        switch verification {
        case .none: words.append("ssl verify none")
        case .system: words.append("ssl verify required ca-file @system-ca")
        case .file(let path): words += ["ssl verify required ca-file", .path(path)]
        }
        if let serverName {
            words += [.joined("sni str(", .name(serverName), ")")]
            if verifies { words += ["verifyhost", .name(serverName)] }
        } else {
            words.append("sni var(txn.host)")
        }
        return words
    }

    /// Words for a probe on a port of its own, where haproxy takes over nothing from the connections it makes else.
    func probeWords(hasOwnPort: Bool, host: HAProxyName?) -> [HAProxyWord] {
        var words: [HAProxyWord] = []
        if proxyProtocol != nil { words.append("check-send-proxy") }
        guard isTLS else { return words }
        if hasOwnPort { words.append("check-ssl") }
        if let name = serverName ?? host { words += ["check-sni", .name(name)] }
        return words
    }
}
