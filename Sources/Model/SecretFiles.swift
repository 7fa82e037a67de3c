// The bytes that names of secrets stand for, as of one look at the directories. Keys are in here: a value of this type
// is never written to a log, a snapshot or an answer, and says nothing about its contents when it is printed.

/// Secrets and certificates read from disk (or, one day, received from a controller).
public struct SecretFiles: Sendable, Equatable {
    /// Secrets that the configuration refers to, by file name.
    public var secrets: [String: [UInt8]]
    /// PEM files of the certificates directory, by file name. `x.crt` or `x.pem` goes with `x.key` if that is there.
    public var certificates: [String: [UInt8]]
    /// The certificate for server names without one of their own: chain and, if it is in a file of its own, the key.
    public var defaultCertificate: [UInt8]?
    public var defaultKey: [UInt8]?
    /// The secret that ticket keys are derived from; the same on all nodes that should resume each other's sessions.
    public var ticketKey: [UInt8]?
    /// Names that could not be read, with the reason, for diagnostics.
    public var failures: [String: String]

    public init(
        secrets: [String: [UInt8]] = [:], certificates: [String: [UInt8]] = [:], defaultCertificate: [UInt8]? = nil,
        defaultKey: [UInt8]? = nil, ticketKey: [UInt8]? = nil, failures: [String: String] = [:]
    ) {
        self.secrets = secrets
        self.certificates = certificates
        self.defaultCertificate = defaultCertificate
        self.defaultKey = defaultKey
        self.ticketKey = ticketKey
        self.failures = failures
    }

    /// The first of the names that is there.
    public func find(_ reference: SecretReference) -> (name: String, bytes: [UInt8])? {
        for name in reference.names {
            if let bytes = secrets[name] { return (name, bytes) }
        }
        return nil
    }
}

extension SecretFiles: CustomStringConvertible, CustomReflectable {
    public var description: String { "\(secrets.count) secrets, \(certificates.count) certificate files" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension Configuration {
    /// The file names of all secrets that anything in here refers to.
    public var secretNames: Set<String> {
        var names: Set<String> = []
        func add(_ reference: SecretReference?) { names.formUnion(reference?.names ?? []) }
        func add(_ options: TLSOptions) {
            for certificate in options.certificates {
                add(certificate.certificate)
                add(certificate.key)
            }
            add(options.clientAuthentication?.authorities)
        }
        for host in hosts { add(host.tls) }
        for port in streams { for host in port.hosts { if let tls = host.tls { add(tls) } } }
        for service in services { add(service.options.backendTLS?.authorities) }
        return names
    }
}
