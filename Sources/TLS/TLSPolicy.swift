// How TLS of clients is spoken: a set of plain values, and the OpenSSL context made from them, which all threads share.
// A policy never names a certificate: those belong to the host and are given to each connection.

internal import COpenSSL

/// Everything that makes one TLS policy differ from another. Equal settings are one policy.
public struct TLSPolicySettings: Hashable, Sendable {
    public enum Version: UInt8, Hashable, Sendable { case tls12 = 12, tls13 = 13 }
    /// Whether clients are asked for a certificate.
    public enum ClientDemand: UInt8, Hashable, Sendable { case none, optional, required }

    /// Mozilla's "intermediate" recommendation, in order of preference; without finite-field Diffie-Hellman, which no
    /// client of the last ten years needs and which makes the server work hardest.
    public static let defaultCiphers =
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    public static let defaultCipherSuites =
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    public static let defaultGroups = "X25519:P-256:P-384"

    public var minimumVersion: Version
    /// For TLS 1.2, in OpenSSL's notation.
    public var ciphers: String
    /// For TLS 1.3.
    public var cipherSuites: String
    public var groups: String
    /// ALPN names, the preferred one first; empty: what clients offer is ignored.
    public var applicationProtocols: [String]
    public var clientDemand: ClientDemand
    /// PEM certificates of the authorities that sign clients' certificates.
    public var clientAuthorities: [UInt8]
    /// Keeps sessions of policies apart that are otherwise equal.
    public var sessionContext: String

    public init(
        minimumVersion: Version = .tls12, ciphers: String = defaultCiphers,
        cipherSuites: String = defaultCipherSuites, groups: String = defaultGroups,
        applicationProtocols: [String] = ["http/1.1"], clientDemand: ClientDemand = .none,
        clientAuthorities: [UInt8] = [], sessionContext: String = ""
    ) {
        self.minimumVersion = minimumVersion
        self.ciphers = ciphers
        self.cipherSuites = cipherSuites
        self.groups = groups
        self.applicationProtocols = applicationProtocols
        self.clientDemand = clientDemand
        self.clientAuthorities = clientAuthorities
        self.sessionContext = sessionContext
    }

    /// SHA-256 of all settings: the same on all threads and nodes, different for different settings.
    var digest: [UInt8] {
        let names = [ciphers, cipherSuites, groups, sessionContext, applicationProtocols.joined(separator: "\0")]
        return TLSDigest.of(
            [[minimumVersion.rawValue, clientDemand.rawValue]] + names.map { Array($0.utf8) } + [clientAuthorities])
    }
}

/// SHA-256 of several values that cannot run into each other.
enum TLSDigest {
    static func of(_ parts: [[UInt8]]) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity(parts.reduce(0) { $0 + $1.count + 8 })
        for part in parts {
            withUnsafeBytes(of: UInt64(part.count).bigEndian) { text += $0 }
            text += part
        }
        var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        _ = SHA256(text, text.count, &digest)
        return digest
    }

    static func identity(of digest: [UInt8]) -> UInt64 { digest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }
}

/// A TLS policy ready for use. Immutable once made, so threads share it.
public final class TLSServerPolicy: @unchecked Sendable {
    // SSL_CTX is reference-counted and, once configured, safe to share.
    let context: OpaquePointer
    public let settings: TLSPolicySettings
    /// Equal for equal settings and, for practical purposes, only for those.
    public let identity: UInt64

    /// - Parameter tickets: nil: sessions are never resumed.
    public init(_ settings: TLSPolicySettings, tickets: TLSTickets?) throws(TLSError) {
        guard let context = SSL_CTX_new(TLS_server_method()) else {
            throw .fromQueue(.configuration, "cannot make a TLS policy")
        }
        self.context = context
        self.settings = settings
        let digest = settings.digest
        identity = TLSDigest.identity(of: digest)
        try setAlgorithms()
        il_ssl_ctx_set_memory_modes(context)
        il_ssl_ctx_prefer_server_ciphers(context)
        il_ssl_ctx_disable_cache(context)
        let protocols = try Self.wireFormat(settings.applicationProtocols)
        guard
            il_policy_attach(context, digest, tickets?.pointer, protocols, protocols.count) == 1,
            SSL_CTX_set_num_tickets(context, tickets == nil ? 0 : 1) == 1,
            SSL_CTX_set_max_early_data(context, 0) == 1, SSL_CTX_set_recv_max_early_data(context, 0) == 1
        else { throw .fromQueue(.configuration, "cannot make a TLS policy") }
        if let tickets {
            SSL_CTX_set_timeout(context, Int(clamping: tickets.periodSeconds))
        } else {
            il_ssl_ctx_disable_tickets(context)
        }
        il_stream_watch(context, 1)
        try demandCertificates()
    }

    deinit { SSL_CTX_free(context) }

    private func setAlgorithms() throws(TLSError) {
        let isSet =
            settings.minimumVersion == .tls13
            ? il_ssl_ctx_set_min_tls13(context) : il_ssl_ctx_set_min_tls12(context)
        guard isSet == 1 else { throw .fromQueue(.configuration, "cannot set the TLS version") }
        guard SSL_CTX_set_cipher_list(context, settings.ciphers) == 1 else {
            throw .fromQueue(.configuration, "the TLS 1.2 cipher list \"\(settings.ciphers)\" cannot be used")
        }
        guard SSL_CTX_set_ciphersuites(context, settings.cipherSuites) == 1 else {
            throw .fromQueue(.configuration, "the TLS 1.3 cipher suites \"\(settings.cipherSuites)\" cannot be used")
        }
        guard il_ssl_ctx_set_groups(context, settings.groups) == 1 else {
            throw .fromQueue(.configuration, "the TLS groups \"\(settings.groups)\" cannot be used")
        }
    }

    private func demandCertificates() throws(TLSError) {
        guard settings.clientDemand != .none else { return }
        let authorities = try CertificateReader.certificates(settings.clientAuthorities, what: "CA")
        defer { authorities.forEach { X509_free($0) } }
        guard CertificateReader.trust(authorities, in: context), announce(authorities) else {
            throw .fromQueue(.configuration, "cannot use the CA")
        }
        if settings.clientDemand == .required {
            SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        } else {
            il_policy_verify_leniently(context)
        }
    }

    /// Tells clients whose certificates are accepted: each name once. A list may be left out (RFC 8446 section 4.2.4)
    /// and has room for 64 KiB: with a longer one no handshake would succeed, and programs that have several
    /// certificates to choose from know few authorities.
    private func announce(_ authorities: [OpaquePointer]) -> Bool {
        var names: Set<[UInt8]> = []
        let distinct = authorities.filter { authority in
            guard let name = X509_get_subject_name(authority) else { return false }
            let count = Int(i2d_X509_NAME(name, nil))
            guard count > 0 else { return false }
            let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
                var end = buffer.baseAddress
                initialized = max(0, Int(i2d_X509_NAME(name, &end)))
            }
            return names.insert(bytes).inserted
        }
        guard names.reduce(0, { $0 + $1.count + 2 }) <= 32768 else { return true }
        return distinct.allSatisfy { SSL_CTX_add_client_CA(context, $0) == 1 }
    }

    /// RFC 7301 section 3.1: each name with its length before it.
    static func wireFormat(_ names: [String]) throws(TLSError) -> [UInt8] {
        var bytes: [UInt8] = []
        for name in names {
            guard let count = UInt8(exactly: name.utf8.count), count > 0 else {
                throw TLSError(kind: .configuration, description: "\"\(name)\" is no application protocol")
            }
            bytes.append(count)
            bytes += name.utf8
        }
        return bytes
    }
}
