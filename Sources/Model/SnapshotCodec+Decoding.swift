// The records of a snapshot, field by field, as SnapshotCodec+Encoding.swift writes them. Nothing here believes what it
// reads: sizes, numbers, codes and ids are checked before they become values.

extension ByteDecoder {
    mutating func service() throws(ByteDecodingError) -> Service {
        let id = try text()
        guard !id.isEmpty else { throw error("has a service without an id") }
        return Service(
            id: id, name: try text(), stack: try text(), cluster: try text(), source: try code(),
            backendMode: try code(), desiredTaskCount: try flag() ? try quantity(upTo: .max) : nil,
            options: try serviceOptions())
    }

    private mutating func serviceOptions() throws(ByteDecodingError) -> ServiceOptions {
        var options = ServiceOptions()
        options.connectTimeoutMs = try optionalQuantity()
        options.responseTimeoutMs = try optionalQuantity()
        options.idleTimeoutMs = try optionalQuantity()
        options.tunnelTimeoutMs = try optionalQuantity()
        options.retries = try optionalQuantity()
        options.retryStatuses = try list { (decoder) throws(ByteDecodingError) in try decoder.quantity(upTo: 999) }
        options.maxBodySize = try flag() ? try number() : nil
        options.proxyProtocol = try flag() ? try code() : nil
        options.backendTLS = try flag() ? try backendTLS() : nil
        options.weight = try optionalQuantity()
        options.slowStartMs = try optionalQuantity()
        options.maxFails = try optionalQuantity()
        options.failTimeoutMs = try optionalQuantity()
        options.health = try flag() ? try healthCheck() : nil
        options.holdMs = try optionalQuantity()
        options.maxConnections = try optionalQuantity()
        options.queueTimeoutMs = try optionalQuantity()
        return options
    }

    private mutating func backendTLS() throws(ByteDecodingError) -> BackendTLS {
        BackendTLS(verifies: try flag(), authorities: try optionalReference(), serverName: try optionalText())
    }

    private mutating func healthCheck() throws(ByteDecodingError) -> HealthCheck {
        HealthCheck(
            mode: try code(), path: try text(), intervalMs: try quantity(), timeoutMs: try quantity(),
            statuses: try list(ofSize: 2) { (decoder) throws(ByteDecodingError) in try decoder.range() },
            port: try flag() ? try narrow(UInt16.self) : nil, rise: try quantity(), fall: try quantity())
    }

    private mutating func range() throws(ByteDecodingError) -> ClosedRange<Int> {
        let (lower, upper) = (try quantity(upTo: 999), try quantity(upTo: 999))
        guard lower <= upper else { throw error("has a range that ends before it begins") }
        return lower...upper
    }

    /// - Parameter positions: of the services, by id.
    mutating func route(_ positions: [String: Int]) throws(ByteDecodingError) -> Route {
        let host = try hostPattern()
        let path = try text()
        let headers = try list(ofSize: 2) { (decoder) throws(ByteDecodingError) in
            RouteConditions.Header(name: try decoder.text(), value: try decoder.optionalText())
        }
        let conditions = RouteConditions(headers: headers, methods: try texts())
        let balancing = try balancing()
        return Route(
            host: host, pathPrefix: path, rewritesPrefix: try flag(), pathPolicy: try code(), requiresTLS: try flag(),
            hsts: try optionalText(), conditions: conditions, balancing: balancing, services: try services(positions))
    }

    mutating func hostOptions(_ positions: [String: Int]) throws(ByteDecodingError) -> HostOptions {
        HostOptions(
            host: try hostPattern(), passthrough: try services(positions), balancing: try balancing(),
            tls: try tlsOptions(),
            redirects: try list(ofSize: 2) { (decoder) throws(ByteDecodingError) in
                HostRedirect(scheme: try decoder.code(), target: try decoder.text())
            })
    }

    mutating func streamPort(_ positions: [String: Int]) throws(ByteDecodingError) -> StreamPort {
        StreamPort(port: try narrow(UInt16.self), services: try services(positions), balancing: try balancing())
    }

    /// Behind its port.
    mutating func streamHost(_ positions: [String: Int]) throws(ByteDecodingError) -> StreamHost {
        StreamHost(
            host: try hostPattern(), services: try services(positions), balancing: try balancing(),
            tls: try flag() ? try tlsOptions() : nil)
    }

    mutating func upstream() throws(ByteDecodingError) -> Upstream {
        let id = try text()
        guard !id.isEmpty else { throw error("has an upstream without an id") }
        let address = try address()
        return Upstream(
            id: id, endpoint: Endpoint(address: address, port: try narrow(UInt16.self)), state: try code())
    }

    private mutating func address() throws(ByteDecodingError) -> IPAddress {
        if try flag() { return IPAddress(v4: try narrow(UInt32.self)) }
        let address = IPAddress(v6High: try word(), low: try number())
        guard !address.isIPv4 else { throw error("has an IPv4 address in the form of IPv6") }
        return address
    }

    mutating func diagnostic() throws(ByteDecodingError) -> Diagnostic {
        var diagnostic = Diagnostic(severity: try code(), service: try text(), label: try text(), message: "")
        // As it was shortened by whoever made it.
        diagnostic.value = try text()
        diagnostic.message = try text()
        return diagnostic
    }

    // MARK: What several of them have

    private mutating func hostPattern() throws(ByteDecodingError) -> HostPattern {
        switch try byte() {
        case 1: return .exact(try text())
        case 2: return .wildcard(try text())
        case 3: return .any
        case let code: throw error("has a host of the unknown kind \(code)")
        }
    }

    private mutating func balancing() throws(ByteDecodingError) -> Balancing {
        Balancing(method: try code(), key: try balancingKey())
    }

    private mutating func balancingKey() throws(ByteDecodingError) -> Balancing.Key? {
        switch try byte() {
        case 0: return nil
        case 1: return .clientAddress
        case 2: return .cookie(try text())
        case 3: return .header(try text())
        case let code: throw error("has a key of the unknown kind \(code)")
        }
    }

    private mutating func tlsOptions() throws(ByteDecodingError) -> TLSOptions {
        TLSOptions(
            certificates: try list(ofSize: 2) { (decoder) throws(ByteDecodingError) in
                CertificateReference(
                    certificate: SecretReference(names: try decoder.texts()), key: try decoder.optionalReference())
            },
            minimumVersion: try flag() ? try code() : nil,
            clientAuthentication: try flag() ? try clientAuthentication() : nil)
    }

    private mutating func clientAuthentication() throws(ByteDecodingError) -> ClientAuthentication {
        ClientAuthentication(demand: try code(), authorities: SecretReference(names: try texts()))
    }

    private mutating func optionalReference() throws(ByteDecodingError) -> SecretReference? {
        try flag() ? SecretReference(names: try texts()) : nil
    }

    /// Positions, which ascend.
    private mutating func services(_ positions: [String: Int]) throws(ByteDecodingError) -> [Int] {
        var last = -1
        return try list { (decoder) throws(ByteDecodingError) in
            let id = try decoder.text()
            guard let position = positions[id] else {
                throw decoder.error("names the service \(id), which is not there")
            }
            guard position > last else { throw decoder.error("names the service \(id) out of order or twice") }
            last = position
            return position
        }
    }

    private mutating func optionalQuantity() throws(ByteDecodingError) -> Int? { try flag() ? try quantity() : nil }

    /// A duration or a number of things. Who computes with it must not overflow, whoever sent it: no label says more
    /// than a month, and this is 35 years of milliseconds.
    private mutating func quantity(upTo limit: Int = 1 << 40) throws(ByteDecodingError) -> Int {
        let value = try integer()
        guard (0...limit).contains(value) else { throw error("has \(value), which is out of bounds here") }
        return value
    }

    private mutating func code<Value: SnapshotCode>() throws(ByteDecodingError) -> Value {
        let code = try byte()
        guard let value = Value(code: code) else { throw error("has the unknown code \(code) for \(Value.self)") }
        return value
    }
}
