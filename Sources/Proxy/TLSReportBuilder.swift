// Finds out what is wrong with certificates and policies, in the words of whoever has to repair it: which host or
// service, which file, and what to do. It looks at everything once for each table; nothing here decides what is served.

internal import Model
internal import Routing
internal import TLS
internal import Wire

struct TLSReportBuilder {
    private(set) var report = TLSReport()
    private let table: RouteTable
    /// Hosts by position of `RouteTable.tlsOptions`, those of entry ports included.
    private let hosts: [[TLSHost]]

    init(_ table: RouteTable) {
        self.table = table
        var positions: [TLSOptions: Int] = [:]
        for (position, options) in table.tlsOptions.enumerated() { positions[options] = position }
        var hosts: [[TLSHost]] = Array(repeating: [], count: table.tlsOptions.count)
        for (host, options) in TLSHost.all(of: table.snapshot.configuration) {
            if let position = positions[options] { hosts[position].append(host) }
        }
        self.hosts = hosts
    }

    mutating func add(
        _ fault: TLSReport.Fault, isRefused: Bool = false, subject: String = "", file: String = "",
        explanation: String
    ) {
        report.standing.append(
            TLSReport.Problem(
                fault: fault, isRefused: isRefused, subject: subject, file: file, explanation: explanation))
    }

    private func subject(_ position: Int) -> String { Self.list(hosts[position]) }

    private static func list(_ hosts: [TLSHost]) -> String {
        let names = hosts.map { "\($0.pattern)" }
        let more = names.count > 4 ? " and \(names.count - 4) more" : ""
        return names.prefix(4).joined(separator: ",") + more
    }

    // MARK: Policies

    mutating func addClientCA(_ options: TLSOptions, at position: Int, reason: String) {
        add(
            .clientCA, isRefused: true, subject: subject(position),
            file: options.clientAuthentication?.authorities.names.first ?? "",
            explanation: "Clients cannot be verified, so none is let in: \(reason).")
    }

    mutating func addBackendCA(_ options: BackendTLS, reason: String) {
        let services = table.services.filter { $0.options.backendTLS == options }.map(\.name)
        add(
            .backendCA, isRefused: true, subject: services.prefix(4).joined(separator: ","),
            file: options.authorities?.names.first ?? "",
            explanation: "Tasks cannot be verified, so nothing is sent to them: \(reason).")
    }

    // MARK: Certificates

    mutating func addCertificates(
        named: [CertificateReference: RememberedCertificate], directory: [String: RememberedCertificate],
        standard: RememberedCertificate?, kept: KeptCertificates
    ) {
        for (position, options) in table.tlsOptions.enumerated() {
            let isLost = options.certificates.allSatisfy { named[$0]?.certificate == nil }
            let keeping = isLost ? hosts[position].filter { kept.cover($0) } : []
            let others = isLost ? hosts[position].filter { !kept.cover($0) } : hosts[position]
            for reference in options.certificates {
                guard let remembered = named[reference] else { continue }
                let file = reference.certificate.names.first ?? ""
                if let fault = remembered.fault {
                    let kind = remembered.isMissing ? TLSReport.Fault.missing : .unusable
                    if !others.isEmpty || keeping.isEmpty {
                        add(
                            kind, isRefused: isLost, subject: Self.list(others), file: file,
                            explanation: Self.explain(fault, remembered, isRefused: isLost))
                    }
                    if !keeping.isEmpty {
                        add(
                            kind, subject: Self.list(keeping), file: file,
                            explanation: "The certificate cannot be used: \(fault)."
                                + " What was served before it was named stays in use.")
                    }
                }
                if let certificate = remembered.certificate { judge(certificate, file: file, position: position) }
            }
        }
        for reference in named.keys.sorted(by: { $0.certificate.names.first ?? "" < $1.certificate.names.first ?? "" })
        {
            list(named[reference], file: reference.certificate.names.first ?? "", .secret)
        }
        for file in directory.keys.sorted() {
            guard let remembered = directory[file] else { continue }
            if let fault = remembered.fault {
                add(.unusable, file: file, explanation: Self.explain(fault, remembered, isRefused: false))
            }
            list(remembered, file: file, .directory)
        }
        guard let standard else { return }
        if let fault = standard.fault {
            add(.unusable, file: "default", explanation: Self.explain(fault, standard, isRefused: false))
        }
        list(standard, file: "default", .standard)
    }

    private static func explain(_ fault: String, _ remembered: RememberedCertificate, isRefused: Bool) -> String {
        if remembered.isLastGood { return "The certificate cannot be used: \(fault). The last good one stays in use." }
        return isRefused
            ? "The certificate cannot be used: \(fault). TLS is refused until it can."
            : "The certificate cannot be used: \(fault)."
    }

    private mutating func list(_ remembered: RememberedCertificate?, file: String, _ origin: TLSReport.Origin) {
        guard let remembered, let certificate = remembered.certificate else { return }
        let key =
            switch certificate.keyKind {
            case .rsa: "rsa"
            case .ecdsa: "ecdsa"
            case .ed25519: "ed25519"
            case .other: "other"
            }
        report.certificates.append(
            TLSReport.Certificate(
                file: file, origin: origin, names: certificate.names, notBefore: certificate.notBefore,
                notAfter: certificate.notAfter, key: key, isLastGood: remembered.isLastGood))
    }

    /// What is served although clients will not like it.
    private mutating func judge(_ certificate: TLSCertificate, file: String, position: Int) {
        if certificate.isCommonNameOnly {
            add(
                .commonNameOnly, subject: subject(position), file: file,
                explanation: "The certificate names its host in the common name only, which clients ignore:"
                    + " have it issued with a subject alternative name.")
        }
        let wrong = hosts[position].map(\.pattern).filter { !Self.covers(certificate, $0) }
        guard !wrong.isEmpty else { return }
        let names = wrong.prefix(4).map { "\($0)" }.joined(separator: ",")
        add(
            .wrongName, subject: names, file: file,
            explanation: "The certificate is for \(certificate.names.prefix(4).joined(separator: ", "));"
                + " it is served for \(names) nevertheless, and clients refuse it.")
    }

    private static func covers(_ certificate: TLSCertificate, _ pattern: HostPattern) -> Bool {
        switch pattern {
        case .any: true
        case .exact(let name): certificate.covers(host: name)
        case .wildcard(let suffix): certificate.names.contains("*.\(suffix)")
        }
    }

    // MARK: Hosts

    /// Hosts whose TLS goes wrong whatever each certificate is like.
    mutating func addHosts(_ made: TLSTable) {
        addPassthrough()
        addHostsWithoutCertificate(made)
    }

    private mutating func addPassthrough() {
        let patterns = table.snapshot.configuration.hosts.filter { !$0.passthrough.isEmpty }.map(\.host)
        guard !patterns.isEmpty else { return }
        var files: [String: String] = [:]
        for certificate in report.certificates where certificate.origin != .standard {
            for name in certificate.names where files[name] == nil { files[name] = certificate.file }
        }
        for pattern in patterns {
            let covering: String?
            switch pattern {
            case .any: covering = nil
            case .wildcard(let suffix): covering = files["*.\(suffix)"]
            case .exact(let name):
                let parent = name.firstIndex(of: ".").map { "*" + name[$0...] }
                covering = files[name] ?? parent.flatMap { files[$0] }
            }
            guard let covering else { continue }
            add(
                .coversPassthrough, subject: "\(pattern)", file: covering,
                explanation: "TLS of \(pattern) is passed on, but the certificate in \(covering), which is served here,"
                    + " names it too: a browser may send its requests on a connection to another host, and is answered"
                    + " 421. Use a certificate without that name.")
        }
    }

    /// Hosts that are redirected to https where nobody can be reached.
    private mutating func addHostsWithoutCertificate(_ made: TLSTable) {
        var seen: Set<HostPattern> = []
        for route in table.snapshot.configuration.routes where route.requiresTLS {
            guard case .exact(let name) = route.host, seen.insert(route.host).inserted else { continue }
            let isThere = Array(name.utf8).withUnsafeBytes { bytes in
                let host = table.host(bytes)
                let options = host < 0 ? 0 : table.hostRules(host).tlsOptions
                if case .refuse(.unrecognizedName) = made.choose(
                    options: options, serverName: Bytes(bytes), port: nil)
                {
                    return false
                }
                return true
            }
            guard !isThere else { continue }
            add(
                .noCertificate, isRefused: true, subject: name,
                explanation: "\(name) is redirected to https, but no certificate can be found for it: give the service"
                    + " ssl_cert and ssl_key, or the proxy a default certificate.")
        }
    }
}
