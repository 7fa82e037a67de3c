// Where secrets are looked for, as the operator's settings say it, and how a setting names a single file: by its name
// in the secrets directory, or by its path.

/// Where secrets are found. What is nil is not looked at.
public struct SecretPlaces: Sendable, Equatable {
    /// `INTERLOCK_SECRETS_DIR`.
    public var secretsDirectory: String?
    /// `INTERLOCK_CERTS_DIR`.
    public var certificatesDirectory: String?
    /// The name of a file in the secrets directory, or an absolute path; likewise the next two.
    public var defaultCertificate: String?
    /// nil: the certificate's file holds the key too.
    public var defaultKey: String?
    public var ticketKey: String?

    public init(
        secretsDirectory: String? = nil, certificatesDirectory: String? = nil, defaultCertificate: String? = nil,
        defaultKey: String? = nil, ticketKey: String? = nil
    ) {
        self.secretsDirectory = secretsDirectory
        self.certificatesDirectory = certificatesDirectory
        self.defaultCertificate = defaultCertificate
        self.defaultKey = defaultKey
        self.ticketKey = ticketKey
    }

    /// Whether a text is the name of a file and nothing else: it leads out of no directory, and no orchestrator's
    /// bookkeeping (`..data`) is meant by it.
    public static func isPlainName(_ name: String) -> Bool {
        let bytes = name.utf8
        return (1...255).contains(bytes.count) && bytes.first != UInt8(ascii: ".")
            && bytes.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: "/") && $0 != 0x7F }
    }

    /// Whether a setting may say this: a plain name, or an absolute path.
    public static func isReference(_ text: String) -> Bool {
        text.hasPrefix("/") ? text.utf8.count < 4096 && text.utf8.allSatisfy { $0 >= 0x20 } : isPlainName(text)
    }

    /// The path of a file that a setting names; nil: there is no such path.
    public func path(of reference: String) -> String? {
        if reference.hasPrefix("/") { return reference }
        guard Self.isPlainName(reference), let secretsDirectory else { return nil }
        return secretsDirectory + "/" + reference
    }
}
