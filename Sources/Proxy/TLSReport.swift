// What people want to know about the certificates in use: which, until when, and what is wrong with them. Plain values
// for the log, the status page and the metrics. Names and dates only: no key and no certificate is in here.

public struct TLSReport: Sendable, Hashable {
    /// Where a certificate comes from.
    public enum Origin: String, Sendable, Hashable { case secret, directory, standard }

    /// One certificate in use.
    public struct Certificate: Sendable, Hashable {
        /// The name of its secret, or of its file in the certificates directory; "default" for the default one.
        public var file: String
        public var origin: Origin
        /// What it was issued for.
        public var names: [String]
        /// Unix seconds.
        public var notBefore: Int64
        public var notAfter: Int64
        /// `rsa`, `ecdsa`, `ed25519` or `other`.
        public var key: String
        /// What is in its file now cannot be used: this is the last one that could.
        public var isLastGood: Bool
    }

    public enum Fault: String, Sendable, Hashable, CaseIterable {
        /// A secret or file is not there.
        case missing
        /// What is there cannot be used.
        case unusable
        case expired
        case notYetValid = "not_yet_valid"
        /// Issued for other names than the host it is served for.
        case wrongName = "wrong_name"
        case commonNameOnly = "common_name_only"
        /// TLS is demanded or offered for a host that no certificate can be found for.
        case noCertificate = "no_certificate"
        case clientCA = "client_ca"
        case backendCA = "backend_ca"
        /// A certificate served here names a host whose TLS is passed on.
        case coversPassthrough = "covers_passthrough"
        case ticketKey = "ticket_key"
    }

    /// One thing that is wrong, and what to do about it.
    public struct Problem: Sendable, Hashable {
        public var fault: Fault
        /// Handshakes are refused because of it.
        public var isRefused: Bool
        /// The host patterns or the service it concerns; "" if it concerns none in particular.
        public var subject: String
        /// The name of the secret or file; "" if there is none.
        public var file: String
        /// One sentence for people.
        public var explanation: String
    }

    /// In order of origin and name.
    public var certificates: [Certificate] = []
    /// Problems that time does not change, in a stable order.
    public var standing: [Problem] = []

    public init() {}

    /// All problems at a time (Unix seconds), those of expiry included.
    public func problems(atSeconds now: Int64) -> [Problem] {
        standing
            + certificates.compactMap { certificate in
                guard now > certificate.notAfter || now < certificate.notBefore else { return nil }
                let isExpired = now > certificate.notAfter
                return Problem(
                    fault: isExpired ? .expired : .notYetValid, isRefused: false,
                    subject: certificate.names.prefix(4).joined(separator: ","), file: certificate.file,
                    explanation: isExpired
                        ? "The certificate has expired; it is served, and clients refuse it: renew it."
                        : "The certificate is not valid yet; it is served, and clients refuse it: look at the clock.")
            }
    }
}
