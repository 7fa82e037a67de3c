// The directories that certificates, keys and other secrets are read from: the secrets directory (files that the
// configuration names), the certificates directory (every PEM file in it), and single files that settings name.
// Nothing that nobody refers to is read.

internal import Model

/// Where secrets are found. Paths that are nil are not looked at.
public struct SecretPlaces: Sendable, Equatable {
    /// `INTERLOCK_SECRETS_DIR`.
    public var secretsDirectory: String?
    /// `INTERLOCK_CERTS_DIR`.
    public var certificatesDirectory: String?
    /// Paths of single files.
    public var defaultCertificate: String?
    public var defaultKey: String?
    public var ticketKey: String?

    public init() {}
}
