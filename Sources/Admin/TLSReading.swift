// What the pages know about certificates: whom they are made out to, until when they hold, what is wrong with them.
// Plain values that the executable supplies; there is no place for a key in here.

/// The certificates in use, and what is wrong.
public struct TLSReading: Sendable {
    /// In the order of their names.
    public var certificates: [CertificateReading]
    public var problems: [CertificateProblem]

    public init(certificates: [CertificateReading] = [], problems: [CertificateProblem] = []) {
        self.certificates = certificates
        self.problems = problems
    }
}

public struct CertificateReading: Sendable, Hashable {
    /// The secret or the file that it is in.
    public var name: String
    /// The host names that it is made out to.
    public var hosts: [String]
    /// Seconds since 1970.
    public var notBefore: Int64
    public var notAfter: Int64
    /// `rsa`, `ecdsa` and so on; "" if nobody knows.
    public var keyType: String
    public var isDefault: Bool
    /// What is in its file now cannot be used, so the last one that could stays.
    public var isLastGood: Bool

    public init(
        name: String, hosts: [String], notBefore: Int64, notAfter: Int64, keyType: String = "",
        isDefault: Bool = false, isLastGood: Bool = false
    ) {
        self.name = name
        self.hosts = hosts
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.keyType = keyType
        self.isDefault = isDefault
        self.isLastGood = isLastGood
    }
}

public struct CertificateProblem: Sendable, Hashable {
    /// The secret or the file, as far as it is known.
    public var certificate: String
    /// One of a closed set of words: `expired`, `missing`, ...
    public var code: String
    /// The hosts or the service that it harms; "" for nobody in particular.
    public var host: String
    /// Handshakes are refused because of it.
    public var isRefused: Bool
    /// In a sentence.
    public var message: String

    public init(certificate: String, code: String, host: String = "", isRefused: Bool = false, message: String) {
        self.certificate = certificate
        self.code = code
        self.host = host
        self.isRefused = isRefused
        self.message = message
    }
}
