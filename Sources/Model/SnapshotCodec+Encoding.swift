// The records of a snapshot, field by field. SnapshotCodec+Decoding.swift reads them in the same order: a change here
// is a change there, and another `SnapshotCodec.format`.

extension ByteEncoder {
    mutating func add(_ service: Service) {
        add(text: service.id)
        add(text: service.name)
        add(text: service.stack)
        add(text: service.cluster)
        add(code: service.source)
        add(code: service.backendMode)
        add(integer: service.desiredTaskCount)
        add(service.options)
    }

    private mutating func add(_ options: ServiceOptions) {
        add(integer: options.connectTimeoutMs)
        add(integer: options.responseTimeoutMs)
        add(integer: options.idleTimeoutMs)
        add(integer: options.tunnelTimeoutMs)
        add(integer: options.retries)
        add(list: options.retryStatuses) { $0.add(integer: $1) }
        add(optional: options.maxBodySize) { $0.add(number: $1) }
        add(optional: options.proxyProtocol) { $0.add(code: $1) }
        add(optional: options.backendTLS) { $0.add($1) }
        add(integer: options.weight)
        add(integer: options.slowStartMs)
        add(integer: options.maxFails)
        add(integer: options.failTimeoutMs)
        add(optional: options.health) { $0.add($1) }
        add(integer: options.holdMs)
        add(integer: options.maxConnections)
        add(integer: options.queueTimeoutMs)
    }

    private mutating func add(_ backend: BackendTLS) {
        add(flag: backend.verifies)
        add(optional: backend.authorities) { $0.add(texts: $1.names) }
        add(text: backend.serverName)
    }

    private mutating func add(_ check: HealthCheck) {
        add(code: check.mode)
        add(text: check.path)
        add(integer: check.intervalMs)
        add(integer: check.timeoutMs)
        add(list: check.statuses) { encoder, range in
            encoder.add(integer: range.lowerBound)
            encoder.add(integer: range.upperBound)
        }
        add(optional: check.port) { $0.add(number: UInt64($1)) }
        add(integer: check.rise)
        add(integer: check.fall)
    }

    /// - Parameter ids: of all services, by position.
    mutating func add(_ route: Route, _ ids: [String]) {
        add(route.host)
        add(text: route.pathPrefix)
        add(list: route.conditions.headers) { encoder, header in
            encoder.add(text: header.name)
            encoder.add(text: header.value)
        }
        add(texts: route.conditions.methods)
        add(route.balancing)
        add(flag: route.rewritesPrefix)
        add(code: route.pathPolicy)
        add(flag: route.requiresTLS)
        add(text: route.hsts)
        add(services: route.services, ids)
    }

    mutating func add(_ host: HostOptions, _ ids: [String]) {
        add(host.host)
        add(services: host.passthrough, ids)
        add(host.balancing)
        add(host.tls)
        add(list: host.redirects) { encoder, redirect in
            encoder.add(code: redirect.scheme)
            encoder.add(text: redirect.target)
        }
    }

    /// Its hosts are records of their own.
    mutating func add(_ stream: StreamPort, _ ids: [String]) {
        add(number: UInt64(stream.port))
        add(services: stream.services, ids)
        add(stream.balancing)
    }

    mutating func add(_ host: StreamHost, port: UInt16, _ ids: [String]) {
        add(number: UInt64(port))
        add(host.host)
        add(services: host.services, ids)
        add(host.balancing)
        add(optional: host.tls) { $0.add($1) }
    }

    mutating func add(_ upstream: Upstream) {
        add(text: upstream.id)
        let address = upstream.endpoint.address
        add(flag: address.isIPv4)
        if !address.isIPv4 { add(word: address.high) }
        add(number: address.low)
        add(number: UInt64(upstream.endpoint.port))
        add(code: upstream.state)
    }

    mutating func add(_ diagnostic: Diagnostic) {
        add(code: diagnostic.severity)
        add(text: diagnostic.service)
        add(text: diagnostic.label)
        add(text: diagnostic.value)
        add(text: diagnostic.message)
    }

    // MARK: What several of them have

    private mutating func add(_ host: HostPattern) {
        switch host {
        case .exact(let name):
            add(byte: 1)
            add(text: name)
        case .wildcard(let suffix):
            add(byte: 2)
            add(text: suffix)
        case .any: add(byte: 3)
        }
    }

    private mutating func add(_ balancing: Balancing) {
        add(code: balancing.method)
        switch balancing.key {
        case nil: add(byte: 0)
        case .clientAddress: add(byte: 1)
        case .cookie(let name):
            add(byte: 2)
            add(text: name)
        case .header(let name):
            add(byte: 3)
            add(text: name)
        }
    }

    private mutating func add(_ tls: TLSOptions) {
        add(list: tls.certificates) { encoder, certificate in
            encoder.add(texts: certificate.certificate.names)
            encoder.add(optional: certificate.key) { $0.add(texts: $1.names) }
        }
        add(optional: tls.minimumVersion) { $0.add(code: $1) }
        add(optional: tls.clientAuthentication) { encoder, authentication in
            encoder.add(code: authentication.demand)
            encoder.add(texts: authentication.authorities.names)
        }
    }

    private mutating func add(services: [Int], _ ids: [String]) {
        add(list: services.allSatisfy(ids.indices.contains) ? services : services.filter(ids.indices.contains)) {
            $0.add(text: ids[$1])
        }
    }

    private mutating func add(code value: some SnapshotCode) { add(byte: value.code) }
}
