// From names of secrets to what TLS shows and asks for. What cannot be used harms its own hosts only: they are refused,
// and never shown another host's certificate. A client authority that cannot be used lets nobody in.

import Model

/// What TLS of one host shows and asks for.
struct PlannedTLS: Hashable {
    /// One for each kind of key at most; empty: handshakes are refused.
    var certificates: [PlannedCertificate] = []
    /// They are served for lack of better ones.
    var isStandard = false
    var minimumVersion = TLSVersion.tls12
    var client: PlannedClientAuthentication?
}

struct PlannedCertificate: Hashable {
    /// PEM.
    var chain: [UInt8]
    /// PEM; nil: in the chain's file.
    var key: [UInt8]?
    var facts: CertificateFacts
}

struct PlannedClientAuthentication: Hashable {
    var isRequired: Bool
    /// PEM.
    var authorities: [UInt8]
}

struct PlannedSecrets {
    private let input: RenderInput
    private(set) var diagnostics: [Diagnostic] = []
    private(set) var standard: PlannedCertificate?
    /// Of the certificates directory, in order of file names.
    private var directory: [PlannedCertificate] = []
    private var readings: [CertificateReference: Result<PlannedCertificate, CertificateFault>] = [:]

    init(_ input: RenderInput) {
        self.input = input
        if let chain = input.secrets.defaultCertificate {
            switch read(chain, input.secrets.defaultKey) {
            case .success(let certificate): standard = certificate
            case .failure(let fault): complain("the default certificate", fault.reason)
            }
        }
        for pair in input.secrets.certificatePairs {
            switch read(pair.chain, pair.key) {
            case .success(let certificate): directory.append(certificate)
            case .failure(let fault): complain(pair.name, fault.reason)
            }
        }
    }

    private func read(_ chain: [UInt8], _ key: [UInt8]?) -> Result<PlannedCertificate, CertificateFault> {
        input.reading.pair(chain, key).map { PlannedCertificate(chain: chain, key: key, facts: $0) }
    }

    private mutating func complain(_ name: String, _ reason: String) {
        diagnostics.append(
            Diagnostic(severity: .warning, service: name, message: "\(reason); it is not used"))
    }

    mutating func tls(_ options: TLSOptions, host: HostPattern, services: [Service]) -> PlannedTLS {
        var planned = PlannedTLS(minimumVersion: input.settings.defaults.minimumVersion)
        if let minimum = options.minimumVersion { planned.minimumVersion = max(minimum, planned.minimumVersion) }
        if let client = options.clientAuthentication {
            let found = input.secrets.find(client.authorities)
            guard let found, input.reading.authorities(found.bytes) == nil else {
                let name = client.authorities.names.first ?? ""
                let reason = found == nil ? "is not there" : "holds no authority's certificate"
                report(services, "ssl_client_ca", name, "the secret \(reason), so nobody is let in to \(host) by TLS")
                return planned
            }
            planned.client = PlannedClientAuthentication(
                isRequired: client.demand == .required, authorities: found.bytes)
        }
        if options.certificates.isEmpty {
            planned.certificates = shared(host)
            if planned.certificates.isEmpty, let standard {
                planned.certificates = [standard]
                planned.isStandard = true
            }
        } else {
            planned.certificates = named(options.certificates, host, services)
        }
        return planned
    }

    /// The first of each kind of key.
    private mutating func named(
        _ references: [CertificateReference], _ host: HostPattern, _ services: [Service]
    ) -> [PlannedCertificate] {
        var chosen: [PlannedCertificate] = []
        for reference in references {
            switch certificate(reference) {
            case .success(let certificate):
                if !chosen.contains(where: { $0.facts.keyKind == certificate.facts.keyKind }) {
                    chosen.append(certificate)
                }
            case .failure(let fault):
                let name = reference.certificate.names.first ?? ""
                report(services, "ssl_cert", name, "\(fault.reason); \(host) is not served with it")
            }
        }
        return chosen
    }

    private mutating func certificate(_ reference: CertificateReference) -> Result<
        PlannedCertificate, CertificateFault
    > {
        if let known = readings[reference] { return known }
        let result = find(reference)
        readings[reference] = result
        return result
    }

    private func find(_ reference: CertificateReference) -> Result<PlannedCertificate, CertificateFault> {
        guard let chain = input.secrets.find(reference.certificate) else {
            return .failure(CertificateFault("the secret is not there"))
        }
        guard let keyReference = reference.key else { return read(chain.bytes, nil) }
        guard let key = input.secrets.find(keyReference) else {
            return .failure(CertificateFault("the secret of its key is not there"))
        }
        return read(chain.bytes, key.bytes)
    }

    /// Certificates of the directory for a host: the first of each kind of key.
    private func shared(_ host: HostPattern) -> [PlannedCertificate] {
        let names: [String]
        switch host {
        case .exact(let name):
            let parent = name.utf8.firstIndex(of: UInt8(ascii: ".")).map { "*" + name[$0...] }
            names = [name] + (parent.map { [$0] } ?? [])
        case .wildcard(let suffix): names = ["*." + suffix]
        case .any: names = []
        }
        for name in names {
            var chosen: [PlannedCertificate] = []
            for certificate in directory where certificate.facts.names.contains(name) {
                if !chosen.contains(where: { $0.facts.keyKind == certificate.facts.keyKind }) {
                    chosen.append(certificate)
                }
            }
            if !chosen.isEmpty { return chosen }
        }
        return []
    }

    private mutating func report(_ services: [Service], _ label: String, _ value: String, _ message: String) {
        for service in services {
            diagnostics.append(
                Diagnostic(severity: .error, service: service.name, label: label, value: value, message: message))
        }
    }
}
