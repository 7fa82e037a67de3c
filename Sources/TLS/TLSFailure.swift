// Owns the reasons for which a TLS connection ends: one list with codes that logs and metrics use and that never
// change. A failure is a plain value; what OpenSSL's error queue says is judged here once, and the queue left empty.

internal import COpenSSL

/// Why a TLS connection failed.
public enum TLSFailure: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// The peer spoke HTTP to a TLS port.
    case plainHTTP
    /// What came is not TLS, or breaks its rules.
    case garbage
    /// No version that both speak.
    case version
    /// No cipher, group or signature algorithm that both speak.
    case noSharedCipher
    /// The ClientHello that OpenSSL read names another host than the one that was routed by.
    case serverName
    /// No application protocol that both speak.
    case applicationProtocol
    /// The peer's certificate is not accepted.
    case badCertificate
    /// The peer's certificate has expired or is not valid yet.
    case expiredCertificate
    /// The peer's certificate is not signed by an accepted authority.
    case unknownAuthority
    /// The certificate of the server carries another name.
    case wrongName
    /// A certificate is required and the client has shown none.
    case noClientCertificate
    /// The peer does not accept our certificate and said so by an alert.
    case certificateRefused
    /// The peer ended the connection by another alert.
    case alert
    /// A second handshake was asked for within the connection.
    case renegotiation
    /// More handshake messages after the handshake than any use could need.
    case flood
    /// The peer closed without saying so in TLS: the end may be missing.
    case closed
    /// No memory, or a fault of ours.
    case `internal`

    /// The code in logs and metrics.
    public var code: StaticString {
        switch self {
        case .plainHTTP: "tls_plain_http"
        case .garbage: "tls_garbage"
        case .version: "tls_version"
        case .noSharedCipher: "tls_no_shared_cipher"
        case .serverName: "tls_server_name"
        case .applicationProtocol: "tls_no_shared_protocol"
        case .badCertificate: "tls_bad_certificate"
        case .expiredCertificate: "tls_expired_certificate"
        case .unknownAuthority: "tls_unknown_ca"
        case .wrongName: "tls_wrong_name"
        case .noClientCertificate: "tls_no_client_certificate"
        case .certificateRefused: "tls_certificate_refused"
        case .alert: "tls_alert"
        case .renegotiation: "tls_renegotiation"
        case .flood: "tls_flood"
        case .closed: "tls_closed"
        case .internal: "tls_internal"
        }
    }

    /// The peer's certificate was judged and not accepted.
    public var isVerification: Bool {
        switch self {
        case .badCertificate, .expiredCertificate, .unknownAuthority, .wrongName, .noClientCertificate: true
        default: false
        }
    }
}

extension TLSFailure {
    /// What this thread's error queue tells of a call on `ssl` that failed. Empties the queue.
    static func take(_ ssl: OpaquePointer, _ state: UnsafeMutablePointer<il_tls_state>) -> TLSFailure {
        let first = ERR_peek_error()
        let last = ERR_peek_last_error()
        ERR_clear_error()
        switch Int(state.pointee.failure) {
        case IL_FAILURE_SERVER_NAME: return .serverName
        case IL_FAILURE_FLOOD: return .flood
        case IL_FAILURE_RENEGOTIATION: return .renegotiation
        default: break
        }
        guard first != 0 else { return .closed }
        guard il_error_library(first) != ERR_LIB_SSL else { return ofReason(il_error_reason(first), ssl) }
        // A library below TLS could not do what the peer's bytes asked of it. TLS says last what that was about, if it
        // knows more than that it has failed.
        if il_error_is_ours(il_error_reason(first)) == 1 { return .internal }
        guard il_error_library(last) == ERR_LIB_SSL, il_error_is_ours(il_error_reason(last)) == 0 else {
            return .garbage
        }
        return ofReason(il_error_reason(last), ssl)
    }

    private static func ofReason(_ reason: Int32, _ ssl: OpaquePointer) -> TLSFailure {
        reason == SSL_R_CERTIFICATE_VERIFY_FAILED ? verification(SSL_get_verify_result(ssl)) : ofReason(reason)
    }

    private static func ofReason(_ reason: Int32) -> TLSFailure {
        switch reason {
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST: .plainHTTP
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_UNKNOWN_PROTOCOL, SSL_R_WRONG_SSL_VERSION,
            SSL_R_INAPPROPRIATE_FALLBACK, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, SSL_R_NO_PROTOCOLS_AVAILABLE:
            .version
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, SSL_R_NO_SUITABLE_KEY_SHARE,
            SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, SSL_R_NO_SHARED_GROUPS, SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
            .noSharedCipher
        case SSL_R_NO_APPLICATION_PROTOCOL, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: .applicationProtocol
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: .noClientCertificate
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
            SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
            SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, SSL_R_TLSV1_ALERT_UNKNOWN_CA,
            SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
            .certificateRefused
        case SSL_R_NO_RENEGOTIATION: .renegotiation
        case SSL_R_UNEXPECTED_EOF_WHILE_READING, SSL_R_PROTOCOL_IS_SHUTDOWN: .closed
        case _ where il_error_is_ours(reason) == 1: .internal
        case SSL_AD_REASON_OFFSET...(SSL_AD_REASON_OFFSET + 255): .alert
        default: .garbage
        }
    }

    /// What X509_verify_cert found.
    static func verification(_ result: Int) -> TLSFailure {
        switch Int32(truncatingIfNeeded: result) {
        case X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID: .expiredCertificate
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED:
            .unknownAuthority
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH: .wrongName
        default: .badCertificate
        }
    }
}
