// What a service's labels say about TLS, redirects and entry ports, and whether it can hold together. Labels that
// contradict each other are settled here for one service; services that contradict each other meet in `HostAgreement`.
// Whatever asks for protection that its other labels take away routes nothing: it is never quietly left out.

import Model

/// These labels as they were written, before it is known what of them can hold together.
struct TransportLabels {
    var certificates: [String] = []
    var keys: [String] = []
    var minimumVersion: TLSVersion?
    var clientDemand: ClientAuthentication.Demand?
    var clientAuthorities: String?
    var usesBackendTLS = false
    var verifiesBackend: Bool?
    var backendAuthorities: String?
    var backendName: String?
    var redirects: [RedirectPair] = []

    mutating func apply(_ name: String, _ value: LabelValue) {
        switch (name, value) {
        case ("ssl_cert", .list(let names)): certificates = names
        case ("ssl_key", .list(let names)): keys = names
        // The proxy's own setting is the floor, and no floor is lower than 1.2.
        case ("ssl_min_version", .text(let text)): minimumVersion = text == "1.3" ? .tls13 : nil
        case ("ssl_client_auth", .text(let text)): clientDemand = .init(rawValue: text)
        case ("ssl_client_ca", .text(let text)): clientAuthorities = text
        case ("ssl_backend", .boolean(let isOn)): usesBackendTLS = isOn
        case ("ssl_backend_tls_verify", .text(let text)): verifiesBackend = text == "required"
        case ("ssl_backend_ca", .text(let text)): backendAuthorities = text
        case ("ssl_backend_name", .text(let text)): backendName = text
        case ("redirects", .redirects(let pairs)): redirects = pairs
        default: break
        }
    }
}

extension LabelReading {
    /// Settles what the labels mean together. Nothing is said about labels of which one could not be read.
    mutating func combine(_ written: TransportLabels, settings: MappingSettings, stack: String) {
        guard !hasBadValue, !isRefused else { return }
        let stack = LabelKind.isSecretName(stack) ? stack : ""
        checkEntryPort(settings)
        combineCertificates(written, stack: stack)
        combineClientAuthentication(written, stack: stack)
        combineBackend(written, stack: stack)
        if tcpPort != nil {
            checkStream(written)
        } else if passesThrough {
            checkPassthrough(written)
        } else {
            combineRedirects(written)
        }
    }

    private mutating func checkEntryPort(_ settings: MappingSettings) {
        guard let port = tcpPort else { return }
        if settings.ownPorts.contains(port) {
            add(.badValue, "tcp_port", "\(port)", "is a port that the proxy itself listens on; choose another one")
        } else if !settings.tcpPorts.contains(where: { $0.contains(port) }) {
            let listed = settings.tcpPorts.map {
                $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)"
            }
            let value = (listed + ["\(port)"]).joined(separator: ",")
            let message = "is not an entry port of the proxy; its operator opens it with INTERLOCK_TCP_PORTS=\(value)"
            add(.badValue, "tcp_port", "\(port)", message)
        }
    }

    private mutating func combineCertificates(_ written: TransportLabels, stack: String) {
        let names = written.certificates
        let keys = written.keys
        tls.minimumVersion = written.minimumVersion
        if names.isEmpty {
            guard !keys.isEmpty else { return }
            return add(.doubtful, "ssl_key", keys.joined(separator: ","), "has no effect without ssl_cert")
        }
        guard keys.isEmpty || keys.count == names.count else {
            let message =
                "names \(keys.count) keys for \(names.count) certificates; name one for each, in the same order, or "
                + "none if each certificate's secret holds its key too"
            return add(.badValue, "ssl_key", keys.joined(separator: ","), message)
        }
        let references = names.indices.map { index in
            CertificateReference(
                certificate: SecretReference(names[index], stack: stack),
                key: keys.isEmpty ? nil : SecretReference(keys[index], stack: stack))
        }
        tls.certificates = Set(references).sorted { $0.precedes($1) }
    }

    private mutating func combineClientAuthentication(_ written: TransportLabels, stack: String) {
        guard let authorities = written.clientAuthorities else {
            guard let demand = written.clientDemand else { return }
            let message = "cannot be enforced without ssl_client_ca: name the secret that holds the authorities"
            return add(.refused, "ssl_client_auth", demand.rawValue, message)
        }
        tls.clientAuthentication = ClientAuthentication(
            demand: written.clientDemand ?? .required, authorities: SecretReference(authorities, stack: stack))
    }

    private mutating func combineBackend(_ written: TransportLabels, stack: String) {
        guard written.usesBackendTLS else {
            if written.verifiesBackend == true {
                add(.refused, "ssl_backend_tls_verify", "required", "cannot be enforced without ssl_backend=true")
            }
            if let name = written.backendAuthorities {
                add(.refused, "ssl_backend_ca", name, "cannot be enforced without ssl_backend=true")
            }
            if let name = written.backendName {
                add(.doubtful, "ssl_backend_name", name, "has no effect without ssl_backend=true")
            }
            return
        }
        if written.verifiesBackend == false, let name = written.backendAuthorities {
            add(.doubtful, "ssl_backend_ca", name, "has no effect with ssl_backend_tls_verify=none")
        }
        let verifies = written.verifiesBackend ?? (written.backendAuthorities != nil)
        options.backendTLS = BackendTLS(
            verifies: verifies,
            authorities: verifies ? written.backendAuthorities.map { SecretReference($0, stack: stack) } : nil,
            serverName: written.backendName)
    }

    // MARK: TLS that does not end here

    private mutating func checkPassthrough(_ written: TransportLabels) {
        let why = "has no effect with ssl_passthrough: TLS ends at the tasks"
        refuseUnenforceable(written, "cannot be enforced with ssl_passthrough: TLS ends at the tasks")
        if !tls.certificates.isEmpty {
            add(.doubtful, "ssl_cert", written.certificates.joined(separator: ","), why)
        }
        if options.backendTLS != nil { add(.doubtful, "ssl_backend", "true", why) }
        warnOfRequestLabels(written, why)
        if contextRoot != "/" { add(.doubtful, "context_root", contextRoot, why) }
        tls = TLSOptions()
        options.backendTLS = nil
    }

    /// An entry port for TCP: terminated with a certificate, else passed on by server name, else raw.
    private mutating func checkStream(_ written: TransportLabels) {
        if passesThrough, !tls.certificates.isEmpty {
            let names = written.certificates.joined(separator: ",")
            add(.doubtful, "ssl_cert", names, "has no effect with ssl_passthrough: TLS ends at the tasks")
            tls.certificates = []
        }
        if tls.certificates.isEmpty {
            refuseUnenforceable(written, "cannot be enforced on a TCP service without ssl_cert")
            tls = TLSOptions()
            if !hosts.isEmpty { passesThrough = true }
            if requiresTLS, !passesThrough {
                let message = "cannot be enforced on a TCP service without ssl_cert or ssl_passthrough"
                add(.refused, "ssl_only", "true", message)
            }
            if passesThrough, options.backendTLS != nil {
                add(.doubtful, "ssl_backend", "true", "has no effect where TLS is passed through to the tasks")
                options.backendTLS = nil
            }
        }
        if let backend = options.backendTLS, backend.verifies, backend.serverName == nil {
            let message = "cannot be enforced on a TCP service without ssl_backend_name: no request names a host"
            add(.refused, "ssl_backend_tls_verify", "required", message)
        }
        let why = "has no effect on a TCP service"
        warnOfRequestLabels(written, why)
        if contextRoot != "/" { add(.doubtful, "context_root", contextRoot, why) }
        if isDefaultBackend { add(.doubtful, "default_backend", "true", why) }
        isDefaultBackend = false
    }

    private mutating func refuseUnenforceable(_ written: TransportLabels, _ why: String) {
        if let name = written.clientAuthorities { add(.refused, "ssl_client_ca", name, why) }
        if written.minimumVersion != nil { add(.refused, "ssl_min_version", "1.3", why) }
    }

    /// Labels that change requests or answers, where none are seen.
    private mutating func warnOfRequestLabels(_ written: TransportLabels, _ why: String) {
        if let hsts { add(.doubtful, "hsts", hsts, why) }
        if let pair = written.redirects.first { add(.doubtful, "redirects", pair.destination, why) }
        if rewritesContextRoot { add(.doubtful, "context_root_rewrite", "true", why) }
        if pathPolicy != .safe { add(.doubtful, "path_policy", pathPolicy.rawValue, why) }
        if let size = options.maxBodySize { add(.doubtful, "max_body_size", "\(size)", why) }
        if !options.retryStatuses.isEmpty { add(.doubtful, "retry_on", "", why) }
        if options.responseTimeoutMs != nil { add(.doubtful, "response_timeout", "", why) }
        if options.idleTimeoutMs != nil { add(.doubtful, "idle_timeout", "", why) }
        hsts = nil
    }

    /// A redirect takes all of a host, so it is for those who own the host to ask for, once.
    private mutating func combineRedirects(_ written: TransportLabels) {
        guard !written.redirects.isEmpty else { return }
        let own = Set(hosts)
        var foreign: Set<HostPattern> = []
        for pair in written.redirects {
            guard own.contains(pair.source) else {
                if foreign.insert(pair.source).inserted, foreign.count <= Self.unknownNameLimit {
                    let message = "\(pair.source) is not among this service's hosts: name it there too"
                    add(.doubtful, "redirects", pair.source.description, message)
                }
                continue
            }
            for scheme in pair.schemes {
                let source = RedirectSource(host: pair.source, scheme: scheme)
                guard let other = redirects[source] else {
                    redirects[source] = pair
                    continue
                }
                guard other.destination != pair.destination else { continue }
                let message = "\(scheme)://\(pair.source) has another destination before this one, which is used"
                add(.doubtful, "redirects", pair.destination, message)
            }
        }
    }
}

/// What a redirect is found by.
struct RedirectSource: Hashable {
    var host: HostPattern
    var scheme: HostRedirect.Scheme
}
