// What nginx does with a request once its route is known: redirect, refuse, or send on; and what it tells tasks and
// clients beside.

import Model

extension NginxBuilder {
    /// The rest of a location.
    mutating func writeRoute(
        _ planned: PlannedRoute, isBare: Bool, _ server: inout NginxServer, to writer: inout NginxWriter
    ) {
        let route = planned.route
        let hsts = server.isTLS ? route.hsts : nil
        if server.isTLS, let target = server.host?.redirects[.https] {
            writeAnswerHeaders(hsts: hsts, to: &writer)
            writer.line("return", .number(302), .joined(.literal(target), .own("$request_uri")))
            return
        }
        if !server.isTLS, route.requiresTLS { writeRedirectToHTTPS(exceptChallenges: true, to: &writer) }
        if isBare, route.rewritesPrefix {
            writeAnswerHeaders(hsts: hsts, to: &writer)
            let target = NginxWord.joined(.literal(route.pathPrefix), .own("/$is_args$args"))
            writer.when(.own("$request_method"), "!~", .own("^(?:GET|HEAD)$"), return: .number(308), target)
            writer.line("return", .number(301), target)
            return
        }
        guard let pool = usable(planned.pool), !pool.servers.isEmpty else {
            writeAnswerHeaders(hsts: hsts, isUnavailable: true, to: &writer)
            writer.line("return", .number(503))
            return
        }
        let lead = pool.leadOptions
        let responseMs = lead.responseTimeoutMs ?? settings.defaults.responseTimeoutMs
        let tunnelMs = lead.tunnelTimeoutMs ?? settings.defaults.tunnelTimeoutMs
        if responseMs != tunnelMs {
            let key = "tunnel \(route.pathPrefix) \(route.conditions)"
            let name = server.location(key) { builder, server, writer in
                builder.writeProxying(route, pool, timeoutMs: tunnelMs, server, to: &writer)
            }
            writer.line("error_page", .number(599), .own("="), .joined(.own("@"), .name(name)))
            writer.when(.own("$il_upgrades"), "=", .own("1"), return: .number(599))
        }
        writeProxying(route, pool, timeoutMs: responseMs, server, to: &writer)
    }

    private mutating func writeProxying(
        _ route: Route, _ pool: PlannedPool, timeoutMs: Int, _ server: NginxServer, to writer: inout NginxWriter
    ) {
        if server.isTLS, let hsts = route.hsts {
            writeAnswerHeaders(hsts: hsts, to: &writer)
            writer.line("proxy_hide_header", .own("Strict-Transport-Security"))
        }
        if route.rewritesPrefix { writeHeaders(for: server, prefix: route.pathPrefix, to: &writer) }
        let options = pool.leadOptions
        reportDifferences(pool)
        writeTimes(options, timeoutMs: timeoutMs, to: &writer)
        writeRetries(options, to: &writer)
        let upstream: NginxName
        if let backend = options.backendTLS {
            guard let name = writeBackendTLS(backend, pool, server, to: &writer) else {
                writer.line("return", .number(502))
                return
            }
            upstream = name
        } else {
            upstream = self.upstream(pool)
        }
        let scheme = options.backendTLS == nil ? NginxWord.own("http://") : .own("https://")
        if route.rewritesPrefix {
            writer.line("proxy_pass", .joined(scheme, .name(upstream), .variable(rest(behind: route.pathPrefix))))
        } else {
            writer.line("proxy_pass", .joined(scheme, .name(upstream)))
        }
    }

    /// What is as everywhere is not said again.
    private func writeTimes(_ options: ServiceOptions, timeoutMs: Int, to writer: inout NginxWriter) {
        if let time = options.connectTimeoutMs { writer.line("proxy_connect_timeout", .milliseconds(time)) }
        if timeoutMs != settings.defaults.responseTimeoutMs {
            writer.line("proxy_read_timeout", .milliseconds(timeoutMs))
        }
        if let time = options.idleTimeoutMs { writeIdleTimeout(time, to: &writer) }
        if let size = options.maxBodySize { writer.line("client_max_body_size", .number(size)) }
    }

    /// 0 is off, which nginx has no word for: a day is long enough.
    func writeIdleTimeout(_ milliseconds: Int, to writer: inout NginxWriter) {
        let time = NginxWord.milliseconds(milliseconds == 0 ? 86_400_000 : milliseconds)
        writer.line("client_body_timeout", time)
        writer.line("send_timeout", time)
    }

    private func writeRetries(_ options: ServiceOptions, to writer: inout NginxWriter) {
        let isOff = settings.defaults.retries == 0
        if let retries = options.retries, retries > 0 || !isOff { writeTries(retries, to: &writer) }
        let isWanted = options.retries.map { $0 > 0 } ?? !isOff
        guard isWanted, isOff || !options.retryStatuses.isEmpty else { return }
        writer.line(
            "proxy_next_upstream",
            [.own("error"), .own("timeout")] + options.retryStatuses.map { .plain("http_\($0)") })
    }

    func writeTries(_ retries: Int, to writer: inout NginxWriter) {
        if retries == 0 {
            writer.line("proxy_next_upstream", .own("off"))
        } else {
            writer.line("proxy_next_upstream_tries", .number(retries + 1))
        }
    }

    /// nil: nothing may be sent.
    private mutating func writeBackendTLS(
        _ backend: BackendTLS, _ pool: PlannedPool, _ server: NginxServer, to writer: inout NginxWriter
    ) -> NginxName? {
        // The host of the request, where the pattern does not say it.
        var fixedName = backend.serverName
        if fixedName == nil, case .exact(let host)? = server.host?.host { fixedName = host }
        writer.line("proxy_ssl_server_name", .own("on"))
        writer.line("proxy_ssl_name", fixedName.map { .literal($0) } ?? .own("$host"))
        switch plan.backendAuthorities(backend) {
        case .none: break
        case .system:
            writer.line("proxy_ssl_verify", .own("on"))
            writer.line("proxy_ssl_trusted_certificate", .plain(settings.systemAuthorities))
        case .file(let pem):
            writer.line("proxy_ssl_verify", .own("on"))
            writer.line("proxy_ssl_trusted_certificate", authoritiesFile(pem))
        case .missing(let name):
            for service in pool.services {
                report(
                    .error, service, "ssl_backend_ca", name,
                    "the secret is not there or holds no certificate, so nothing is sent to the tasks")
            }
            return nil
        }
        return upstream(pool, serverName: fixedName ?? "*", isKept: fixedName != nil)
    }

    /// The path and query behind a prefix, as they came.
    private mutating func rest(behind prefix: String) -> NginxName {
        name("rest", "rest \(prefix)") { builder, name in
            builder.maps.block("map", .own("$request_uri"), .variable(name)) { writer in
                writer.line("default", .own("/"))
                writer.entry(
                    .joined(.own("~^"), .pattern(prefix), .own("(?<"), .name(name), .own("_value>/.*)$")),
                    .joined(.variable(name), .own("_value")))
            }
        }
    }

    // MARK: Headers

    /// All that tasks are told about a request; one more line in a place means all of them there.
    func writeHeaders(for server: NginxServer, prefix: String? = nil, to writer: inout NginxWriter) {
        func set(_ name: StaticString, _ value: NginxWord) { writer.line("proxy_set_header", .own(name), value) }
        set("Host", .own("$il_authority"))
        set("Connection", .own("$il_connection"))
        set("Upgrade", .own("$il_upgrade"))
        set("X-Real-IP", .own("$remote_addr"))
        set("X-Forwarded-For", .own("$remote_addr"))
        set("X-Forwarded-Proto", .own("$scheme"))
        set("X-Forwarded-Host", .own("$il_authority"))
        set("X-Forwarded-Port", server.isTLS && isFronted ? .own("$proxy_protocol_server_port") : .own("$server_port"))
        set("X-Forwarded-Prefix", prefix.map { .literal($0) } ?? .own(""))
        set("x-request-id", .own("$request_id"))
        if settings.defaults.viaName != nil { set("Via", .own("$il_via")) }
        set("Client-Cert", server.asksForCertificate ? .own("$il_client_cert") : .own(""))
        set("X-SSL-Client-Verify", server.asksForCertificate ? .own("$ssl_client_verify") : .own(""))
        set("X-SSL-Client-S-DN", server.asksForCertificate ? .own("$ssl_client_s_dn") : .own(""))
        for name in Self.removedHeaders { set(name, .own("")) }
    }

    /// What a client may not say about itself, beside what is set.
    private static let removedHeaders: [StaticString] = [
        "Forwarded", "Proxy", "Client-Cert-Chain", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-Method",
        "X-Forwarded-Scheme", "X-Forwarded-Protocol", "X-Forwarded-Ssl", "X-Forwarded-User", "X-Forwarded-By",
        "X-Forwarded-Path", "X-Forwarded-Client-Cert", "X-SSL-Client", "X-SSL-Client-Cert", "X-SSL-Client-CN",
        "X-SSL-Client-DN", "X-SSL-Client-I-DN", "X-SSL-Client-Serial", "X-SSL-Client-SHA1",
        "X-SSL-Client-Fingerprint", "X-SSL-Client-NotBefore", "X-SSL-Client-NotAfter",
    ]

    /// What clients are told; one more line in a place means all of them there.
    func writeAnswerHeaders(hsts: String? = nil, isUnavailable: Bool = false, to writer: inout NginxWriter) {
        func add(_ name: StaticString, _ value: NginxWord) {
            writer.line("add_header", .own(name), value, .own("always"))
        }
        add("x-request-id", .own("$request_id"))
        if let name = settings.defaults.viaName { add("Via", .joined(.own("1.1 "), .literal(name))) }
        if let hsts { add("Strict-Transport-Security", .literal(hsts)) }
        if isUnavailable { add("Retry-After", .own("1")) }
    }
}
