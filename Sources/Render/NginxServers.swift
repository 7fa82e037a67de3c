// One server of nginx for each host and scheme. What no host claims is the default server's: 503, or the default
// backend. TLS is refused there, unless there is a default certificate.

import Model

/// Where a request is, for whatever is written about it.
struct NginxServer {
    var isTLS: Bool
    var host: PlannedHost?
    /// What clients must fulfil; nil where TLS is not ended.
    var tls: PlannedTLS?
    /// Named locations that were asked for, to be written at the server's end.
    var named: [(name: NginxName, body: (inout NginxBuilder, inout NginxServer, inout NginxWriter) -> Void)] = []
    private(set) var knownNames: [String: NginxName] = [:]

    init(isTLS: Bool, host: PlannedHost?) {
        self.isTLS = isTLS
        self.host = host
        tls = isTLS ? host?.tls : nil
    }

    var asksForCertificate: Bool { tls?.client != nil }

    /// The name of a location of this server; what is the same is written once.
    mutating func location(
        _ key: String, _ body: @escaping (inout NginxBuilder, inout NginxServer, inout NginxWriter) -> Void
    ) -> NginxName {
        if let known = knownNames[key] { return known }
        let name = NginxName("at", knownNames.count + 1)
        knownNames[key] = name
        named.append((name, body))
        return name
    }
}

extension NginxBuilder {
    mutating func writeServers(to writer: inout NginxWriter) {
        let isDefaultClaimed = plan.hosts.contains { $0.host == .any }
        if !settings.httpListen.isEmpty {
            if !isDefaultClaimed { writeDefault(isTLS: false, to: &writer) }
            for host in plan.hosts { write(host, isTLS: false, to: &writer) }
        }
        if !settings.httpsListen.isEmpty {
            if !isDefaultClaimed { writeDefault(isTLS: true, to: &writer) }
            for host in plan.hosts { write(host, isTLS: true, to: &writer) }
        }
    }

    /// For hosts that nobody claims.
    private mutating func writeDefault(isTLS: Bool, to writer: inout NginxWriter) {
        var server = NginxServer(isTLS: isTLS, host: nil)
        if isTLS {
            var tls = PlannedTLS(minimumVersion: settings.defaults.minimumVersion)
            if let standard = plan.standardCertificate { tls.certificates = [standard] }
            tls.isStandard = true
            server.tls = tls
        }
        writer.block("server") { writer in
            writeListen(isTLS: isTLS, isDefault: true, to: &writer)
            writer.line("server_name", .own("_"))
            if isTLS { writeTLS(server, to: &writer) }
            writer.line("return", .number(503))
        }
    }

    private mutating func write(_ host: PlannedHost, isTLS: Bool, to writer: inout NginxWriter) {
        var unit = writer.sibling
        var server = NginxServer(isTLS: isTLS, host: host)
        write(&server, host, to: &unit)
        if unit.isSpoilt {
            for service in host.services {
                report(
                    .error, service, "", "",
                    "a value for \(host.host) has bytes that nginx cannot read; it gets no requests")
            }
            unit = writer.sibling
            unit.block("server") { writer in
                writeListen(isTLS: isTLS, isDefault: host.host == .any, to: &writer)
                writer.line("server_name", Self.name(of: host.host))
                if isTLS { writer.line("ssl_reject_handshake", .own("on")) }
                writer.line("return", .number(503))
            }
        }
        writer.append(unit)
    }

    private mutating func write(_ server: inout NginxServer, _ host: PlannedHost, to writer: inout NginxWriter) {
        writer.block("server") { writer in
            writeListen(isTLS: server.isTLS, isDefault: host.host == .any, to: &writer)
            writer.line("server_name", Self.name(of: host.host))
            if server.isTLS {
                if host.passthrough != nil {
                    // Its own handshakes are passed on before they get here.
                    writer.line("ssl_reject_handshake", .own("on"))
                    writer.line("return", .number(421))
                    return
                }
                writeTLS(server, to: &writer)
                guard isReachable(server) else { return writer.line("return", .number(421)) }
            } else if host.passthrough != nil {
                writeRedirectToHTTPS(exceptChallenges: false, to: &writer)
                return
            }
            if server.asksForCertificate || server.isTLS && isFronted { writeHeaders(for: server, to: &writer) }
            if host.locations.count > 1, host.locations.contains(where: { $0.isSafe }) {
                writer.when(.own("$il_odd_path"), "=", .own("1"), return: .number(400))
            }
            if !server.isTLS, let target = host.redirects[.http] {
                writer.when(
                    .own("$il_challenge"), "=", .own("0"), return: .number(302),
                    .joined(.literal(target), .own("$request_uri")))
            }
            writeLocations(of: host, &server, to: &writer)
            var written = 0
            // One may ask for another.
            while written < server.named.count {
                let (name, body) = server.named[written]
                writer.block("location", .joined(.own("@"), .name(name))) { body(&self, &server, &$0) }
                written += 1
            }
        }
    }

    private func writeListen(isTLS: Bool, isDefault: Bool, to writer: inout NginxWriter) {
        if isTLS, isFronted {
            writer.line(
                "listen",
                [socketWord("https"), .own("ssl"), .own("proxy_protocol")] + (isDefault ? [.own("default_server")] : [])
            )
            writer.line("set_real_ip_from", .own("unix:"))
            writer.line("real_ip_header", .own("proxy_protocol"))
            return
        }
        for address in isTLS ? settings.httpsListen : settings.httpListen {
            var words = [NginxWord.plain(address)]
            if isTLS { words.append(.own("ssl")) }
            if isDefault { words.append(.own("default_server")) }
            writer.line("listen", words)
        }
    }

    static func name(of host: HostPattern) -> NginxWord {
        // That of the default server never matters.
        host == .any ? .own("_") : .plain(host.description)
    }

    // MARK: TLS

    private mutating func writeTLS(_ server: NginxServer, to writer: inout NginxWriter) {
        guard let tls = server.tls else { return }
        if tls.certificates.isEmpty {
            writer.line("ssl_reject_handshake", .own("on"))
        } else {
            writeCertificates(tls, to: &writer)
        }
        if tls.minimumVersion == .tls13 {
            writer.line("ssl_protocols", .own("TLSv1.3"))
            // The version is agreed on before the server name is known to nginx.
            writer.when(.own("$ssl_protocol"), "!=", .own("TLSv1.3"), return: .number(421))
        }
        writer.when(.own("$il_shown"), "!~", terms(accepted(by: server, tls), tls), return: .number(421))
    }

    mutating func writeCertificates(_ tls: PlannedTLS, to writer: inout NginxWriter) {
        for certificate in tls.certificates {
            writer.line("ssl_certificate", secretFile(certificate.chain))
            writer.line("ssl_certificate_key", secretFile(certificate.key ?? certificate.chain))
        }
        guard let client = tls.client else { return }
        writer.line("ssl_client_certificate", authoritiesFile(client.authorities))
        writer.line("ssl_verify_client", client.isRequired ? .own("on") : .own("optional"))
        writer.line("ssl_verify_depth", .number(4))
    }

    /// What a handshake has shown, as one word: its policy and its certificates.
    private mutating func shown(_ tls: PlannedTLS) -> NginxWord {
        let policy = number(of: NginxPolicy(tls))
        return tls.isStandard ? .plain("p\(policy):d") : .plain("p\(policy):c\(number(of: tls.certificates))")
    }

    /// Which handshakes a host's requests may come by: of its own policy, with certificates for it, or the default one.
    private mutating func accepted(by server: NginxServer, _ tls: PlannedTLS) -> [Int] {
        var numbers: Set<Int> = []
        if !tls.isStandard, !tls.certificates.isEmpty { numbers.insert(number(of: tls.certificates)) }
        guard case .exact(let name) = server.host?.host else { return numbers.sorted() }
        let parent = name.utf8.firstIndex(of: UInt8(ascii: ".")).map { "*" + name[$0...] }
        for candidate in [name] + (parent.map { [$0] } ?? []) {
            for certificates in certificatesByName[candidate] ?? [] { numbers.insert(number(of: certificates)) }
        }
        return numbers.sorted()
    }

    /// Whether any handshake leads to a host's requests over TLS.
    private mutating func isReachable(_ server: NginxServer) -> Bool {
        guard let tls = server.tls, tls.certificates.isEmpty else { return true }
        return plan.standardCertificate != nil || !accepted(by: server, tls).isEmpty
    }

    private mutating func terms(_ numbers: [Int], _ tls: PlannedTLS) -> NginxWord {
        let policy = number(of: NginxPolicy(tls))
        let choices = (["d"] + numbers.map { "c\($0)" }).joined(separator: "|")
        return .joined(.own("^"), .plain("p\(policy):(?:\(choices))"), .own("$"))
    }

    /// The map from server names to what their handshakes show.
    mutating func writeShown(to writer: inout NginxWriter) {
        writer.block("map", .own("$ssl_server_name"), .own("$il_shown")) { writer in
            writer.line("hostnames")
            var standard = PlannedTLS(minimumVersion: settings.defaults.minimumVersion)
            standard.isStandard = true
            let other = plan.hosts.first { $0.host == .any }?.tls ?? standard
            writer.line("default", other.certificates.isEmpty && !other.isStandard ? .own("none") : shown(other))
            for host in plan.hosts where host.host != .any && !host.tls.certificates.isEmpty {
                // The stroke keeps a host from being one of nginx's own words.
                writer.entry(.joined(.own("\\"), .plain(host.host.description)), shown(host.tls))
            }
        }
    }

    // MARK: Redirects

    func writeRedirectToHTTPS(exceptChallenges: Bool, to writer: inout NginxWriter) {
        let port = settings.publicHTTPSPort == 443 ? "" : ":\(settings.publicHTTPSPort)"
        let target = NginxWord.joined(.own("https://$host"), .plain(port), .own("$request_uri"))
        if exceptChallenges {
            writer.when(.own("$il_insecure"), "=", .own("301"), return: .number(301), target)
            writer.when(.own("$il_insecure"), "=", .own("308"), return: .number(308), target)
        } else {
            writer.when(.own("$request_method"), "!~", .own("^(?:GET|HEAD)$"), return: .number(308), target)
            writer.line("return", .number(301), target)
        }
    }
}

extension PlannedLocation {
    /// Paths that may be read in several ways are refused.
    var isSafe: Bool { routes.first?.route.pathPolicy != .raw }
}
