// What is passed on unopened, and entry ports for TCP. nginx tells server names apart before it ends TLS, and only one
// certificate can be at a place where it ends TLS without HTTP: so a first server reads the name and hands the
// connection to one of several others over a unix socket, with the client's address in front of it (PROXY protocol).

import Model

extension NginxBuilder {
    mutating func writeStreams(to writer: inout NginxWriter) {
        if isFronted { writeFront(to: &writer) }
        for stream in plan.streams { write(stream, to: &writer) }
    }

    func writeGeneralStream(to writer: inout NginxWriter) {
        writer.block("geo", .own("$il_dollar")) { $0.line("default", .own("$")) }
        writer.line("map_hash_max_size", .number(Self.hashSize(plan.hosts.count)))
        writer.line("map_hash_bucket_size", .number(512))
        writer.line("proxy_half_close", .own("on"))
        writer.line("preread_timeout", .milliseconds(settings.defaults.headerTimeoutMs))
        writer.line("proxy_ssl_protocols", .own("TLSv1.2"), .own("TLSv1.3"))
        writer.line("proxy_ssl_verify_depth", .number(4))
    }

    // MARK: The port of https

    private mutating func writeFront(to writer: inout NginxWriter) {
        let target = NginxWord.own("$il_https")
        var choices: [(host: HostPattern, target: NginxWord)] = []
        for host in plan.hosts {
            if let pool = host.passthrough {
                let place = "tls-" + ContentName.of(Array("\(host.host)".utf8)).prefix(16)
                choices.append((host.host, passOn(pool, place: place, tls: nil, to: &writer)))
            } else {
                choices.append((host.host, target: socketTarget("https")))
            }
        }
        writeChoice(choices, otherwise: socketTarget("https"), variable: target)
        writer.block("server") { writer in
            for address in settings.httpsListen { writer.line("listen", .plain(address)) }
            writer.line("ssl_preread", .own("on"))
            writer.line("proxy_protocol", .own("on"))
            writer.line("proxy_timeout", .milliseconds(longestTimeoutMs))
            writer.line("proxy_connect_timeout", .milliseconds(settings.defaults.connectTimeoutMs))
            writer.line("proxy_pass", target)
        }
    }

    /// A connection that is silent that long is over wherever it leads.
    private var longestTimeoutMs: Int {
        let services = input.snapshot.configuration.services
        let own = services.flatMap { [$0.options.tunnelTimeoutMs, $0.options.responseTimeoutMs].compactMap { $0 } }
        return (own + [settings.defaults.tunnelTimeoutMs, settings.defaults.responseTimeoutMs]).max() ?? 0
    }

    private static func writeMapLines(
        _ choices: [(host: HostPattern, target: NginxWord)], otherwise: NginxWord, to writer: inout NginxWriter
    ) {
        writer.line("hostnames")
        writer.line("default", choices.first { $0.host == .any }?.target ?? otherwise)
        for (host, target) in choices where host != .any {
            writer.entry(.joined(.own("\\"), .plain(host.description)), target)
        }
    }

    private mutating func writeChoice(
        _ choices: [(host: HostPattern, target: NginxWord)], otherwise: NginxWord, variable: NginxWord
    ) {
        streamMaps.block("map", .own("$ssl_preread_server_name"), variable) {
            Self.writeMapLines(choices, otherwise: otherwise, to: &$0)
        }
    }

    private func socketTarget(_ name: String) -> NginxWord {
        .joined(.own("unix:"), .literal("\(settings.nginx.socketDirectory ?? settings.directory)/\(name).sock"))
    }

    // MARK: Entry ports

    private mutating func write(_ stream: PlannedStream, to writer: inout NginxWriter) {
        if let raw = stream.raw {
            writer.block("server") { writer in
                writeListen(stream.port, to: &writer)
                writePassing(raw, tls: nil, place: nil, to: &writer)
            }
            return
        }
        // Without a choice there is no need for a second server, and the task can be told the client's address.
        if stream.hosts.count == 1, stream.hosts[0].host == .any, let tls = stream.hosts[0].tls {
            writer.block("server") { writer in
                writeListen(stream.port, isTLS: true, to: &writer)
                writePassing(stream.hosts[0].pool, tls: tls, place: nil, to: &writer)
            }
            return
        }
        var choices: [(host: HostPattern, target: NginxWord)] = []
        for host in stream.hosts {
            let place = "tcp-\(stream.port)-" + ContentName.of(Array("\(host.host)".utf8)).prefix(16)
            choices.append((host.host, passOn(host.pool, place: place, tls: host.tls, to: &writer)))
        }
        let variable = NginxName("tcp", Int(stream.port))
        writeChoice(choices, otherwise: socketTarget("refused"), variable: .variable(variable))
        writer.block("server") { writer in
            writeListen(stream.port, to: &writer)
            writer.line("ssl_preread", .own("on"))
            writer.line("proxy_protocol", .own("on"))
            writer.line("proxy_timeout", .milliseconds(longestTimeoutMs))
            writer.line("proxy_connect_timeout", .milliseconds(settings.defaults.connectTimeoutMs))
            writer.line("proxy_pass", .variable(variable))
        }
    }

    /// Server names that nobody claims are refused in TLS's own words, which only the HTTP part of nginx knows.
    var needsRefusal: Bool {
        plan.streams.contains { stream in !stream.hosts.isEmpty && !stream.hosts.contains { $0.host == .any } }
    }

    func writeRefusal(to writer: inout NginxWriter) {
        writer.block("server") { writer in
            writer.line("listen", socketWord("refused"), .own("ssl"), .own("proxy_protocol"), .own("default_server"))
            writer.line("ssl_reject_handshake", .own("on"))
        }
    }

    private func writeListen(_ port: UInt16, isTLS: Bool = false, to writer: inout NginxWriter) {
        for address in settings.tcpAddresses {
            writer.line("listen", [.plain("\(address):\(port)")] + (isTLS ? [.own("ssl")] : []))
        }
    }

    // MARK: Tasks

    /// Where connections for a server name are handed to: the tasks themselves, if they want the client's address in
    /// front, as every connection has it here; else a server of its own that takes it off.
    private mutating func passOn(
        _ pool: PlannedPool, place: String, tls: PlannedTLS?, to writer: inout NginxWriter
    ) -> NginxWord {
        let usable = usableStream(pool, isOpened: tls != nil)
        if tls == nil, !usable.servers.isEmpty, usable.leadOptions.proxyProtocol != nil {
            return .name(upstream(usable, isStream: true))
        }
        writer.block("server") { writer in
            writer.line(
                "listen", [socketWord(place)] + (tls == nil ? [] : [.own("ssl")]) + [.own("proxy_protocol")])
            writer.line("set_real_ip_from", .own("unix:"))
            writePassing(pool, tls: tls, place: place, to: &writer)
        }
        return socketTarget(place)
    }

    /// - Parameter place: connections come from another part of nginx.
    private mutating func writePassing(
        _ pool: PlannedPool, tls: PlannedTLS?, place: String?, to writer: inout NginxWriter
    ) {
        if let tls {
            guard !tls.certificates.isEmpty else { return writer.line("return", .own("")) }
            writeCertificates(tls, to: &writer)
            writer.line(
                "ssl_protocols", tls.minimumVersion == .tls13 ? [.own("TLSv1.3")] : [.own("TLSv1.2"), .own("TLSv1.3")])
        }
        let pool = usableStream(pool, isOpened: tls != nil)
        guard !pool.servers.isEmpty else { return writer.line("return", .own("")) }
        let options = pool.leadOptions
        if options.proxyProtocol != nil {
            guard place == nil else {
                for service in pool.services {
                    report(
                        .error, service, "proxy_protocol", options.proxyProtocol?.rawValue ?? "",
                        "nginx cannot tell tasks the client's address where several server names share a port and TLS "
                            + "is ended; nothing is sent to them")
                }
                return writer.line("return", .own(""))
            }
            writer.line("proxy_protocol", .own("on"))
        }
        writer.line(
            "proxy_connect_timeout", .milliseconds(options.connectTimeoutMs ?? settings.defaults.connectTimeoutMs))
        writer.line("proxy_timeout", .milliseconds(options.tunnelTimeoutMs ?? settings.defaults.tunnelTimeoutMs))
        let retries = options.retries ?? settings.defaults.retries
        if retries > 0 {
            writer.line("proxy_next_upstream_tries", .number(retries + 1))
        } else {
            writer.line("proxy_next_upstream", .own("off"))
        }
        // What is passed on unopened is TLS already.
        let isPassedOn = tls == nil && place != nil
        if let backend = options.backendTLS, !isPassedOn {
            guard writeBackendTLS(backend, pool, to: &writer) else { return writer.line("return", .own("")) }
        }
        writer.line("proxy_pass", .name(upstream(pool, isStream: true)))
    }

    /// - Returns: whether anything may be sent.
    private mutating func writeBackendTLS(
        _ backend: BackendTLS, _ pool: PlannedPool, to writer: inout NginxWriter
    ) -> Bool {
        writer.line("proxy_ssl", .own("on"))
        if let name = backend.serverName {
            writer.line("proxy_ssl_server_name", .own("on"))
            writer.line("proxy_ssl_name", .literal(name))
        }
        switch plan.backendAuthorities(backend) {
        case .none: return true
        case .system: writer.line("proxy_ssl_trusted_certificate", .plain(settings.systemAuthorities))
        case .file(let pem): writer.line("proxy_ssl_trusted_certificate", authoritiesFile(pem))
        case .missing(let name):
            for service in pool.services {
                report(
                    .error, service, "ssl_backend_ca", name,
                    "the secret is not there or holds no certificate, so nothing is sent to the tasks")
            }
            return false
        }
        writer.line("proxy_ssl_verify", .own("on"))
        return true
    }

    /// Services that cannot be served together with the first are left out.
    private mutating func usableStream(_ pool: PlannedPool, isOpened: Bool) -> PlannedPool {
        var pool = pool
        let lead = pool.leadOptions
        for (position, service) in pool.services.enumerated() {
            if service.options.proxyProtocol == .v2 {
                report(.warning, service, "proxy_protocol", "v2", "nginx sends version 1 of the header")
            }
            guard
                service.options.proxyProtocol != lead.proxyProtocol || service.options.backendTLS != lead.backendTLS
            else { continue }
            report(
                .error, service, service.options.backendTLS != lead.backendTLS ? "ssl_backend" : "proxy_protocol", "",
                "nginx speaks to all tasks of a place in the same way: \(pool.lead.name) decides, and this service "
                    + "gets no connections there")
            pool.servers.removeAll { $0.service == position }
        }
        return pool
    }
}
