// What people ask of TLS, as plain values: which certificates, which versions, whose client certificates. Certificates
// and keys are named here and never held: their bytes travel in `SecretFiles`.
// Part of a snapshot: where a new field has to be added is said in Snapshot.swift.

/// A secret as a label names it: the file names that may hold it, the preferred one first (`name`, `<stack>_<name>`).
public struct SecretReference: Hashable, Sendable {
    public var names: [String]

    public init(names: [String]) { self.names = names }

    /// - Parameter stack: the stack of the service whose label names the secret, or "".
    public init(_ name: String, stack: String = "") {
        names = stack.isEmpty ? [name] : [name, "\(stack)_\(name)"]
    }
}

/// A certificate chain and its private key.
public struct CertificateReference: Hashable, Sendable {
    public var certificate: SecretReference
    /// nil: the certificate's file holds the key too.
    public var key: SecretReference?

    public init(certificate: SecretReference, key: SecretReference? = nil) {
        self.certificate = certificate
        self.key = key
    }
}

extension CertificateReference {
    /// Canonical order: by the certificate's names, then the key's; the same on every machine.
    public func precedes(_ other: CertificateReference) -> Bool {
        certificate == other.certificate
            ? (key?.names ?? []).precedes(other.key?.names ?? [])
            : certificate.names.precedes(other.certificate.names)
    }
}

extension [String] {
    fileprivate func precedes(_ other: [String]) -> Bool {
        lexicographicallyPrecedes(other) { $0.isBefore($1) }
    }
}

public enum TLSVersion: String, Hashable, Sendable, Comparable, CaseIterable {
    case tls12 = "1.2"
    case tls13 = "1.3"

    public static func < (left: TLSVersion, right: TLSVersion) -> Bool { left == .tls12 && right == .tls13 }
}

/// Whether clients must show a certificate, and who must have signed it.
public struct ClientAuthentication: Hashable, Sendable {
    public enum Demand: String, Hashable, Sendable, CaseIterable { case required, optional }

    public var demand: Demand
    public var authorities: SecretReference

    public init(demand: Demand, authorities: SecretReference) {
        self.demand = demand
        self.authorities = authorities
    }
}

/// What holds for TLS that ends here, for one host over all its paths.
public struct TLSOptions: Hashable, Sendable {
    /// In canonical order; empty: a certificate of the certificates directory that names the host, else the default.
    public var certificates: [CertificateReference]
    /// nil: the proxy's setting.
    public var minimumVersion: TLSVersion?
    /// nil: clients are not asked for a certificate.
    public var clientAuthentication: ClientAuthentication?

    public init(
        certificates: [CertificateReference] = [], minimumVersion: TLSVersion? = nil,
        clientAuthentication: ClientAuthentication? = nil
    ) {
        self.certificates = certificates
        self.minimumVersion = minimumVersion
        self.clientAuthentication = clientAuthentication
    }
}

extension TLSOptions {
    /// For people: what TLS that ends here is to be like; secrets by name.
    public var terms: String {
        let names = certificates.compactMap { $0.certificate.names.first }
        var terms = [names.isEmpty ? "the directory's or the default certificate" : names.joined(separator: ", ")]
        if let minimumVersion { terms.append("TLS \(minimumVersion.rawValue) at least") }
        if let clients = clientAuthentication {
            let authorities = clients.authorities.names.first ?? "nobody"
            terms.append("client certificates \(clients.demand.rawValue), signed by \(authorities)")
        }
        return terms.joined(separator: "; ")
    }
}

/// TLS from the proxy to a service's tasks.
public struct BackendTLS: Hashable, Sendable {
    /// The task's certificate must be signed by `authorities` and carry the name.
    public var verifies: Bool
    /// nil: the system's.
    public var authorities: SecretReference?
    /// The name for SNI and verification; nil: the route's host.
    public var serverName: String?

    public init(verifies: Bool = false, authorities: SecretReference? = nil, serverName: String? = nil) {
        self.verifies = verifies
        self.authorities = authorities
        self.serverName = serverName
    }
}
