// The bytes that names of secrets stand for, as of one look at the directories. Keys are in here: a value of this type
// is never written to a log, a snapshot or an answer, and says nothing about its contents when it is printed.
// It travels in pieces of its own: a new field has to be added to SnapshotCodec.swift and SnapshotReader.swift.

/// Secrets and certificates, read from disk or received from a controller.
public struct SecretFiles: Sendable, Equatable {
    /// Secrets that the configuration refers to, by file name.
    /// With the OCSP answers beside them (`staple(ofSecret:)`).
    public var secrets: [String: [UInt8]]
    /// PEM and OCSP files of the certificates directory, by file name (`certificatePairs` says what goes with what).
    public var certificates: [String: [UInt8]]
    /// The certificate for server names without one of their own: chain and, if it is in a file of its own, the key.
    public var defaultCertificate: [UInt8]?
    public var defaultKey: [UInt8]?
    /// An OCSP answer for the default certificate, DER.
    public var defaultStaple: [UInt8]?
    /// The secret that ticket keys are derived from; the same on all nodes that should resume each other's sessions.
    public var ticketKey: [UInt8]?
    /// Names that could not be read, with the reason, for diagnostics.
    public var failures: [String: String]

    public init(
        secrets: [String: [UInt8]] = [:], certificates: [String: [UInt8]] = [:], defaultCertificate: [UInt8]? = nil,
        defaultKey: [UInt8]? = nil, defaultStaple: [UInt8]? = nil, ticketKey: [UInt8]? = nil,
        failures: [String: String] = [:]
    ) {
        self.secrets = secrets
        self.certificates = certificates
        self.defaultCertificate = defaultCertificate
        self.defaultKey = defaultKey
        self.defaultStaple = defaultStaple
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

// What is here and what comes from elsewhere.
extension SecretFiles {
    /// With what others have and this lacks. What is here goes first, each thing as a whole: a default certificate is
    /// never joined to another one's key.
    public func completed(by others: SecretFiles) -> SecretFiles {
        var files = self
        files.secrets.merge(others.secrets) { own, _ in own }
        files.certificates.merge(others.certificates) { own, _ in own }
        if files.defaultCertificate == nil {
            files.defaultCertificate = others.defaultCertificate
            files.defaultKey = others.defaultKey
            files.defaultStaple = others.defaultStaple
        }
        if files.ticketKey == nil { files.ticketKey = others.ticketKey }
        files.failures = failures.filter { files.secrets[$0.key] == nil }
        // Who holds a thing knows better why it cannot be had than who never had it.
        for (name, reason) in others.failures where files.secrets[name] == nil { files.failures[name] = reason }
        return files
    }

    /// What a configuration refers to, and what belongs to all of them.
    public func restricted(to names: Set<String>) -> SecretFiles {
        var files = self
        let staples = Set(names.flatMap { Self.stapleNames(of: $0) })
        files.secrets = secrets.filter { names.contains($0.key) || staples.contains($0.key) }
        files.failures = failures.filter { names.contains($0.key) }
        return files
    }
}

// Which files belong together.
extension SecretFiles {
    /// A certificate of the certificates directory with what lies beside it.
    public struct CertificatePair: Sendable, CustomReflectable {
        /// The certificate's file, in its directory if it has one of its own: `example.com/fullchain.pem`.
        public var name: String
        public var chain: [UInt8]
        /// nil: the certificate's file holds the key too.
        public var key: [UInt8]?
        /// DER.
        public var staple: [UInt8]?

        public var customMirror: Mirror { Mirror(self, children: []) }
    }

    /// What certbot writes for a name, into a directory of that name.
    public static let certbotChain = "fullchain.pem"
    public static let certbotFiles = [certbotChain, "privkey.pem", "fullchain.pem.ocsp", "fullchain.ocsp"]

    /// Whether a file of the certificates directory is read: certificates, keys, OCSP answers.
    public static func isCertificateFile(_ name: String) -> Bool {
        [".pem", ".crt", ".key", ".ocsp"].contains { name.hasSuffix($0) }
    }

    /// Where the OCSP answer of a certificate may be: `x.crt.ocsp`, or `x.ocsp`.
    public static func stapleNames(of name: String) -> [String] {
        ["\(name).ocsp"] + (stem(name).map { ["\($0).ocsp"] } ?? [])
    }

    /// The OCSP answer beside a secret.
    public func staple(ofSecret name: String) -> [UInt8]? {
        Self.stapleNames(of: name).lazy.compactMap { secrets[$0] }.first
    }

    /// The certificates directory's certificates in order of their names. The key of `x.crt` or `x.pem` is in `x.key`,
    /// `x.crt.key` or `x-key.pem`, that of certbot's `fullchain.pem` in `privkey.pem`, or in the certificate's file.
    public var certificatePairs: [CertificatePair] {
        certificates.keys.sorted().compactMap { name in
            guard let stem = Self.stem(name), !name.hasSuffix("-key.pem"), !name.hasSuffix("/privkey.pem"),
                let chain = certificates[name]
            else { return nil }
            var keys = ["\(stem).key", "\(name).key", "\(stem)-key.pem"]
            if name.hasSuffix("/" + Self.certbotChain) { keys.append(name.dropLast(13) + "privkey.pem") }
            return CertificatePair(
                name: name, chain: chain, key: keys.lazy.compactMap { certificates[$0] }.first,
                staple: Self.stapleNames(of: name).lazy.compactMap { certificates[$0] }.first)
        }
    }

    /// `x` of `x.pem` and `x.crt`; nil for other names.
    private static func stem(_ name: String) -> String? {
        name.hasSuffix(".pem") || name.hasSuffix(".crt") ? String(name.dropLast(4)) : nil
    }
}

extension SecretFiles: CustomStringConvertible, CustomReflectable {
    public var description: String { "\(secrets.count) secrets, \(certificates.count) certificate files" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension Configuration {
    /// The file names of all secrets that anything in here refers to.
    public var secretNames: Set<String> { Set(secretReferences.lazy.flatMap(\.names)) }

    /// All secrets that anything in here refers to, each with the names that it may have.
    public var secretReferences: Set<SecretReference> {
        var references: Set<SecretReference> = []
        func add(_ reference: SecretReference?) { if let reference { references.insert(reference) } }
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
        return references
    }
}
