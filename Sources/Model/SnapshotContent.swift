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
private struct StableHash {
    private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

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
    }

    mutating func add(_ route: Route) {
        add(route.host.description)
        add(route.pathPrefix)
        add(route.rewritesPrefix ? 1 : 0)
        add(route.pathPolicy.rawValue)
        add(route.services.count)
        for service in route.services { add(service) }
    }
}
