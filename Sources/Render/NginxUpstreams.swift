// From pools to nginx's groups of servers: shares, what a request is hashed by, when a server is out.

import Model

extension NginxBuilder {
    /// The services of a pool that nginx can serve together over HTTP; nil: none of them.
    mutating func usable(_ pool: PlannedPool) -> PlannedPool? {
        var pool = pool
        var kept: [Int] = []
        for (position, service) in pool.services.enumerated() {
            if let version = service.options.proxyProtocol {
                report(
                    .error, service, "proxy_protocol", version.rawValue,
                    "nginx cannot send PROXY protocol before requests, so the service gets none")
                continue
            }
            if let first = kept.first, pool.services[first].options.backendTLS != service.options.backendTLS {
                report(
                    .error, service, "ssl_backend", "\(service.options.backendTLS != nil)",
                    "nginx speaks TLS to all tasks of a route in the same way: "
                        + "\(pool.services[first].name) decides, and this service gets no requests there")
                continue
            }
            kept.append(position)
        }
        guard !kept.isEmpty else { return nil }
        pool.servers = pool.servers.compactMap { server in
            guard let position = kept.firstIndex(of: server.service) else { return nil }
            var server = server
            server.service = position
            return server
        }
        pool.services = kept.map { pool.services[$0] }
        return pool
    }

    /// The group of a pool's servers.
    /// - Parameters:
    ///   - serverName: what connections are verified for: they are kept for nobody else.
    ///   - isKept: connections are kept for the next request.
    mutating func upstream(
        _ pool: PlannedPool, serverName: String? = nil, isKept: Bool = true, isStream: Bool = false
    ) -> NginxName {
        let key = NginxPoolKey(
            services: pool.services.map(\.id), balancing: pool.balancing, serverName: serverName, isKept: isKept,
            isStream: isStream)
        return self.pool(key) { builder, name in
            var writer = NginxWriter(depth: 1)
            writer.comment(pool.services.map(\.name).joined(separator: " and "))
            let method = builder.method(of: pool, isStream: isStream)
            writer.block("upstream", .name(name)) { writer in
                builder.write(pool, named: name, method: method, isStream: isStream, to: &writer)
                if isKept, !isStream {
                    writer.line("keepalive", .number(64))
                    let idle = builder.settings.defaults.upstreamIdleTimeoutMs
                    writer.line("keepalive_timeout", .milliseconds(max(1, idle)))
                }
            }
            if isStream { builder.streamUpstreams.append(writer) } else { builder.upstreams.append(writer) }
        }
    }

    /// How a server is picked, as nginx says it.
    private enum Method {
        case inTurn, leastConnections, random
        case hash(NginxWord)

        /// Whether there can be servers for the case that all others are out.
        var hasReserve: Bool {
            switch self {
            case .inTurn, .leastConnections: true
            case .random, .hash: false
            }
        }
    }

    private mutating func method(of pool: PlannedPool, isStream: Bool) -> Method {
        if pool.balancing.key != nil, pool.balancing.method != .roundRobin {
            for service in pool.services {
                report(
                    .warning, service, "lb", pool.balancing.method.rawValue,
                    "nginx spreads requests without the key at random")
            }
        }
        switch pool.balancing.key {
        case .clientAddress: return .hash(.own("$remote_addr"))
        case .cookie(let cookie) where !isStream: return .hash(.variable(cookieKey(cookie)))
        case .header(let header) where !isStream:
            if let key = headerKey(header) { return .hash(.variable(key)) }
            for service in pool.services {
                report(
                    .warning, service, "lb", "hash:header:\(header)",
                    "nginx cannot read a header of this name, so requests are sent in turn")
            }
            return .inTurn
        case .cookie, .header, nil: break
        }
        switch pool.balancing.method {
        case .roundRobin: return .inTurn
        case .leastConnections: return .leastConnections
        case .random: return .random
        }
    }

    private func write(
        _ pool: PlannedPool, named name: NginxName, method: Method, isStream: Bool, to writer: inout NginxWriter
    ) {
        // Limits are counted by all workers together.
        if pool.services.contains(where: { $0.options.maxConnections != nil }) {
            writer.line("zone", .name(name), .own("128k"))
        }
        // A consistent hash has a table with 160 places for each unit of weight.
        var limit = 1_000_000
        switch method {
        case .inTurn: break
        case .leastConnections: writer.line("least_conn")
        case .random: writer.line("random", .own("two"), .own("least_conn"))
        case .hash(let key):
            writer.line("hash", key, .own("consistent"))
            limit = 100
        }
        let weights = pool.weights(limit: limit).weights
        for (server, weight) in zip(pool.servers, weights) {
            var words = [NginxWord.plain(server.endpoint.description)]
            if weight != 1 { words.append(.plain("weight=\(weight)")) }
            let options = pool.services[server.service].options
            let failTimeoutMs = options.failTimeoutMs ?? settings.defaults.failTimeoutMs
            let maxFails = failTimeoutMs == 0 ? 0 : options.maxFails ?? settings.defaults.maxFails
            words.append(.plain("max_fails=\(maxFails)"))
            if maxFails > 0 { words.append(.plain("fail_timeout=\((failTimeoutMs + 999) / 1000)s")) }
            if let count = options.maxConnections { words.append(.plain("max_conns=\(count)")) }
            writer.line("server", words)
        }
        // With nobody left, all are asked again: the last one is never out.
        guard method.hasReserve, pool.servers.count > 1 else { return }
        for server in pool.servers {
            writer.line("server", .plain(server.endpoint.description), .own("max_fails=0"), .own("backup"))
        }
    }

    // MARK: Keys

    /// A cookie's value; requests without it are spread at random.
    private mutating func cookieKey(_ cookie: String) -> NginxName {
        name("key", "cookie \(cookie)") { builder, name in
            builder.maps.block("map", .own("$http_cookie"), .variable(name)) { writer in
                writer.line("default", .own("$request_id"))
                // The name before the second part of the key is that of the capture.
                writer.entry(
                    .joined(
                        .own("~(?:^|;)[ ]*"), .pattern(cookie), .own("[ ]*=[ ]*(?<"), .name(name),
                        .own("_value>[^; ](?:[^;]*[^; ])?)[ ]*(?:;|$)")),
                    .joined(.variable(name), .own("_value")))
            }
        }
    }

    /// nil: nginx has no variable for it.
    private mutating func headerKey(_ header: String) -> NginxName? {
        guard let variable = Self.headerVariable(header) else { return nil }
        return name("key", "header \(header)") { builder, name in
            builder.maps.block("map", variable, .variable(name)) { writer in
                writer.line("default", variable)
                writer.entry(.own(""), .own("$request_id"))
            }
        }
    }

    /// The variable that holds a request's header; nil: there is none, or it may be another header's.
    static func headerVariable(_ header: String) -> NginxWord? {
        if header == "host" { return .own("$il_authority") }
        let isKnown = header.utf8.allSatisfy {
            (97...122).contains($0) || (48...57).contains($0) || $0 == UInt8(ascii: "-")
        }
        guard isKnown, !header.isEmpty, !isIdentity(header) else { return nil }
        return .plain("$http_" + String(header.map { $0 == "-" ? "_" : $0 }))
    }

    /// What a proxy says about a client, and nobody else.
    private static func isIdentity(_ header: String) -> Bool {
        ["forwarded", "x-real-ip", "x-request-id", "client-cert", "client-cert-chain", "proxy"].contains(header)
            || header.hasPrefix("x-forwarded-") || header.hasPrefix("x-ssl-client")
    }
}
