// What a publication knows about TLS: for every position of the route table's TLS options a policy and certificates,
// ready for use, or the fact that there are none. A handshake asks here once. Nothing here parses anything, and nothing
// ever falls back: who named a certificate that cannot be used gets the one that was its own before, or none.

internal import Model
internal import Routing
internal import TLS
internal import Wire

/// Certificates that are served together: at most one of each kind of key, and all of them for the same hosts.
final class ServedCertificates: Sendable {
    let certificates: [TLSCertificate]
    /// Served for lack of a better one; that it names other hosts is known and accepted.
    let isDefault: Bool
    /// Names that all of them carry.
    private let names: NameIndex

    init(_ certificates: [TLSCertificate], isDefault: Bool = false) {
        self.certificates = certificates
        self.isDefault = isDefault
        var common = Set(certificates.first?.names ?? [])
        for certificate in certificates.dropFirst() { common.formIntersection(certificate.names) }
        names = NameIndex(Dictionary(uniqueKeysWithValues: common.map { ($0, 0) }))
    }

    /// Whether whichever of them a client was shown is one for this host.
    func cover(_ host: Bytes) -> Bool { names.find(host) >= 0 }
}

final class TLSTable: Sendable {
    /// What the certificates of one position come from.
    enum Source: Sendable {
        /// None was named: the server name decides.
        case serverName
        case named(ServedCertificates)
        /// Some were named, and none of them can be used. A host that had others before keeps those.
        case unusable
    }

    /// One position of `RouteTable.tlsOptions`.
    struct Terms: Sendable {
        /// nil: it cannot be made (a client CA is missing). Nobody is let in.
        var policy: TLSServerPolicy?
        /// The same for entry ports, where no HTTP is agreed on.
        var streamPolicy: TLSServerPolicy?
        var source: Source
    }

    enum Choice {
        case serve(TLSServerPolicy, ServedCertificates)
        case refuse(TLSAlert)
    }

    private let terms: [Terms]
    private let kept: [TLSHost: ServedCertificates?]
    /// By position; 0: no policy.
    private let identities: [UInt64]
    private let directory: NameIndex
    private let directorySets: [ServedCertificates]
    private let standard: ServedCertificates?
    private let backends: [TLSClientPolicy?]

    /// - Parameters:
    ///   - kept: every host whose certificates cannot be used, with those that it had before.
    ///   - directory: from names to positions in `directorySets`.
    ///   - standard: for server names that no certificate covers, and for clients that name none.
    ///   - backends: by position of `RouteTable.backendTLS`; nil: it cannot be made, nothing is sent.
    init(
        terms: [Terms] = [], kept: [TLSHost: ServedCertificates?] = [:], directory: NameIndex = NameIndex(),
        directorySets: [ServedCertificates] = [], standard: ServedCertificates? = nil, backends: [TLSClientPolicy?] = []
    ) {
        self.terms = terms
        self.kept = kept
        identities = terms.map { $0.policy?.identity ?? 0 }
        self.directory = directory
        self.directorySets = directorySets
        self.standard = standard
        self.backends = backends
    }

    /// What a client gets that names this server; empty: it names none.
    /// - Parameter port: the entry port it came to; nil: https.
    func choose(options: Int32, serverName: Bytes, port: UInt16?) -> Choice {
        guard terms.indices.contains(Int(options)) else { return .refuse(.internalError) }
        let terms = terms[Int(options)]
        guard let policy = port == nil ? terms.policy : terms.streamPolicy else { return .refuse(.handshakeFailure) }
        switch terms.source {
        case .named(let certificates): return .serve(policy, certificates)
        case .unusable:
            guard let certificates = keptCertificates(serverName, port) else {
                return .refuse(.handshakeFailure)
            }
            return .serve(policy, certificates)
        case .serverName:
            let found = directory.find(serverName)
            if found >= 0 { return .serve(policy, directorySets[Int(found)]) }
            if let standard { return .serve(policy, standard) }
            return .refuse(serverName.isEmpty ? .missingExtension : .unrecognizedName)
        }
    }

    /// What the host that this name belongs to had before. The most specific one decides, as it does for routes: one
    /// that had nothing gets nothing. Rare, so it may allocate.
    private func keptCertificates(_ serverName: Bytes, _ port: UInt16?) -> ServedCertificates? {
        guard !kept.isEmpty else { return nil }
        let name = String(decoding: serverName.raw, as: UTF8.self).lowercased()
        if let known = kept[TLSHost(pattern: .exact(name), port: port)] { return known }
        var rest = name[...]
        while let dot = rest.firstIndex(of: ".") {
            rest = rest[rest.index(after: dot)...]
            if let known = kept[TLSHost(pattern: .wildcard(String(rest)), port: port)] { return known }
        }
        return kept[TLSHost(pattern: .any, port: port)] ?? nil
    }

    /// The identity of the policy that HTTPS of a host needs; 0: none can be had.
    func identity(options: Int32) -> UInt64 {
        identities.indices.contains(Int(options)) ? identities[Int(options)] : 0
    }

    func streamIdentity(options: Int32) -> UInt64 {
        terms.indices.contains(Int(options)) ? terms[Int(options)].streamPolicy?.identity ?? 0 : 0
    }

    /// How tasks are connected to; nil: the policy cannot be made, and nothing may be sent without it.
    func backendPolicy(_ position: Int32) -> TLSClientPolicy? {
        backends.indices.contains(Int(position)) ? backends[Int(position)] : nil
    }
}
