// When two snapshots ask for the same thing. The order (when it was seen) and the diagnostics (what people are told)
// change without any route changing; they decide nothing about publishing.

extension Snapshot {
    /// Whether both ask for the same services, routes and upstreams.
    public func hasSameContent(as other: Snapshot) -> Bool {
        configuration == other.configuration && endpoints == other.endpoints
    }

    /// A hash of the content that is the same in every process and on every machine, for comparing at a glance.
    public var contentHash: UInt64 {
        var hash = StableHash()
        for service in configuration.services { hash.add(service) }
        for route in configuration.routes { hash.add(route) }
        for host in configuration.hosts { hash.add(host) }
        for port in configuration.streams { hash.add(port) }
        for upstreams in endpoints {
            hash.add(upstreams.count)
            for upstream in upstreams {
                hash.add(upstream.id)
                hash.add(upstream.endpoint.description)
                hash.add(upstream.state.rawValue)
            }
        }
        return hash.value
    }
}

/// FNV-1a with 64 bits over length-prefixed fields: no cryptography, only the same everywhere.
struct StableHash {
    private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    /// With every bit depending on all of them: the low ones of `value` depend on the low ones of the bytes alone.
    var mixed: UInt64 {
        var mixed = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }

    mutating func add(_ text: String) {
        add(text.utf8.count)
        for byte in text.utf8 { value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    }

    mutating func add(_ number: Int?) {
        var word = UInt64(bitPattern: Int64(number ?? .min))
        for _ in 0..<8 {
            value = (value ^ (word & 0xFF)) &* 0x0000_0100_0000_01B3
            word >>= 8
        }
    }

    mutating func add(_ service: Service) {
        for text in [service.id, service.name, service.stack, service.cluster, service.source.rawValue] { add(text) }
        add(service.backendMode.rawValue)
        add(service.desiredTaskCount)
        let options = service.options
        add(options.connectTimeoutMs)
        add(options.responseTimeoutMs)
        add(options.idleTimeoutMs)
        add(options.tunnelTimeoutMs)
        add(options.retries)
        add(options.retryStatuses.count)
        for status in options.retryStatuses { add(status) }
        add(options.maxBodySize.map { Int(clamping: $0) })
        add(options.proxyProtocol?.rawValue ?? "")
        add(options.backendTLS == nil ? 0 : 1)
        if let backend = options.backendTLS {
            add(backend.verifies ? 1 : 0)
            add(backend.authorities)
            add(backend.serverName)
        }
        for number in [
            options.weight, options.slowStartMs, options.maxFails, options.failTimeoutMs, options.holdMs,
            options.maxConnections, options.queueTimeoutMs,
        ] { add(number) }
        add(options.health)
    }

    private mutating func add(_ check: HealthCheck?) {
        guard let check else { return add(-1) }
        add(check.mode.rawValue)
        add(check.path)
        for number in [check.intervalMs, check.timeoutMs, check.rise, check.fall] { add(number) }
        add(check.port.map { Int($0) })
        add(check.statuses.count)
        for range in check.statuses {
            add(range.lowerBound)
            add(range.upperBound)
        }
    }

    mutating func add(_ route: Route) {
        add(route.host.description)
        add(route.pathPrefix)
        add(route.rewritesPrefix ? 1 : 0)
        add(route.pathPolicy.rawValue)
        add(route.requiresTLS ? 1 : 0)
        add(route.hsts)
        add(route.conditions.headers.count)
        for header in route.conditions.headers {
            add(header.name)
            add(header.value)
        }
        add(route.conditions.methods.count)
        for method in route.conditions.methods { add(method) }
        add(route.balancing)
        add(route.services)
    }

    mutating func add(_ host: HostOptions) {
        add(host.host.description)
        add(host.passthrough)
        add(host.balancing)
        add(host.tls)
        add(host.redirects.count)
        for redirect in host.redirects {
            add(redirect.scheme.rawValue)
            add(redirect.target)
        }
    }

    mutating func add(_ port: StreamPort) {
        add(Int(port.port))
        add(port.services)
        add(port.balancing)
        add(port.hosts.count)
        for host in port.hosts {
            add(host.host.description)
            add(host.services)
            add(host.balancing)
            add(host.tls == nil ? 0 : 1)
            if let tls = host.tls { add(tls) }
        }
    }

    private mutating func add(_ balancing: Balancing) {
        add(balancing.method.rawValue)
        switch balancing.key {
        case nil: add(0)
        case .clientAddress: add(1)
        case .cookie(let name):
            add(2)
            add(name)
        case .header(let name):
            add(3)
            add(name)
        }
    }

    private mutating func add(_ services: [Int]) {
        add(services.count)
        for service in services { add(service) }
    }

    private mutating func add(_ tls: TLSOptions) {
        add(tls.certificates.count)
        for certificate in tls.certificates {
            add(certificate.certificate)
            add(certificate.key)
        }
        add(tls.minimumVersion?.rawValue)
        add(tls.clientAuthentication?.demand.rawValue)
        add(tls.clientAuthentication?.authorities)
    }

    private mutating func add(_ reference: SecretReference?) {
        add(reference.map { $0.names.count } ?? -1)
        for name in reference?.names ?? [] { add(name) }
    }

    /// Without a text, the count of one says so.
    private mutating func add(_ text: String?) {
        if let text { add(text) } else { add(-1) }
    }
}
