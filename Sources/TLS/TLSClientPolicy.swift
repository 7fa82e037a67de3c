// How TLS to tasks is spoken: whether their certificates are verified, and by whose signature. One OpenSSL context,
// shared by all threads. It keeps no sessions: who owns a connection takes its newest session and gives it to the next.

internal import COpenSSL

/// Everything that makes one way of connecting to tasks differ from another.
public struct TLSClientSettings: Hashable, Sendable {
    /// The certificate must be signed by an authority and carry the server's name.
    public var verifies: Bool
    /// PEM certificates; nil: the system's.
    public var authorities: [UInt8]?
    /// ALPN names that are offered; empty: none.
    public var applicationProtocols: [String]

    public init(verifies: Bool, authorities: [UInt8]? = nil, applicationProtocols: [String] = []) {
        self.verifies = verifies
        self.authorities = authorities
        self.applicationProtocols = applicationProtocols
    }

    var digest: [UInt8] {
        TLSDigest.of([
            [verifies ? 1 : 0, authorities == nil ? 0 : 1], authorities ?? [],
            Array(applicationProtocols.joined(separator: "\0").utf8),
        ])
    }
}

/// A way of connecting to tasks, ready for use. Immutable once made, so threads share it.
public final class TLSClientPolicy: @unchecked Sendable {
    let context: OpaquePointer
    public let settings: TLSClientSettings
    let digest: [UInt8]

    public init(_ settings: TLSClientSettings) throws(TLSError) {
        guard let context = SSL_CTX_new(TLS_client_method()) else {
            throw .fromQueue(.configuration, "cannot make a TLS policy")
        }
        self.context = context
        self.settings = settings
        digest = settings.digest
        guard il_ssl_ctx_set_min_tls12(context) == 1 else {
            throw .fromQueue(.configuration, "cannot require TLS 1.2")
        }
        il_ssl_ctx_set_memory_modes(context)
        // Each session carries it, and OpenSSL refuses to use one under another.
        guard SSL_CTX_set_session_id_context(context, digest, UInt32(digest.count)) == 1 else {
            throw .fromQueue(.configuration, "cannot make a TLS policy")
        }
        il_policy_collect_sessions(context)
        il_stream_watch(context, 0)
        let protocols = try TLSServerPolicy.wireFormat(settings.applicationProtocols)
        // This one call says 0 when it worked.
        guard protocols.isEmpty || SSL_CTX_set_alpn_protos(context, protocols, UInt32(protocols.count)) == 0 else {
            throw .fromQueue(.configuration, "cannot offer application protocols")
        }
        if settings.verifies {
            try trust()
        } else {
            // Who is not asked for a name is not asked for the length of its key either: old services have short ones.
            SSL_CTX_set_security_level(context, 1)
        }
    }

    deinit { SSL_CTX_free(context) }

    private func trust() throws(TLSError) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        guard let bytes = settings.authorities else {
            guard SSL_CTX_set_default_verify_paths(context) == 1 else {
                throw .fromQueue(.configuration, "cannot load the system's CA certificates")
            }
            return
        }
        let authorities = try CertificateReader.certificates(bytes, what: "CA")
        defer { authorities.forEach { X509_free($0) } }
        guard CertificateReader.trust(authorities, in: context) else {
            throw .fromQueue(.configuration, "cannot use the CA")
        }
    }
}

/// What a server offered so that the next connection to it needs no full handshake. It is of use only to connections
/// of the same policy that ask for the same name, and as long as what the server has shown is valid: else it would be a
/// way around verification.
public final class TLSResumption {
    let session: OpaquePointer
    private let name: [UInt8]

    /// Takes over the reference.
    init(_ session: OpaquePointer, name: [UInt8]) {
        self.session = session
        self.name = name
    }

    deinit { SSL_SESSION_free(session) }

    /// A TLS 1.3 session: who has used it must forget it (RFC 8446 section C.4).
    public var isSingleUse: Bool { SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION }

    func isFor(_ policy: TLSClientPolicy, name: String?) -> Bool {
        var count: UInt32 = 0
        let context = UnsafeBufferPointer(start: SSL_SESSION_get0_id_context(session, &count), count: Int(count))
        guard context.elementsEqual(policy.digest), self.name.elementsEqual((name ?? "").utf8) else { return false }
        // Who is not verified may show what he likes.
        return !policy.settings.verifies || il_session_is_in_time(session) == 1
    }
}
