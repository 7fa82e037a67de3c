// Sessions of the feed. The peer's certificate is judged in the middle of the handshake, by chain, form and role, so
// that a peer which is refused is told by an alert; and both sides say in words what an alert only hints at.
//
//   client                                server
//   handshake -> done  ----------------->  judges the client's certificate
//   first read: data, or the refusal  <--  handshake -> done, or throws (its alert is in the output)
//
// A client that judges the server's certificate refuses within its handshake, and the server's handshake throws.

internal import COpenSSL

/// What one session of the feed asks of its peer's certificate, and what it found.
final class FeedJudge {
    let isServer: Bool
    /// Set once the peer's certificate was accepted.
    var identity: FeedIdentity?
    /// Why it was not.
    var refusal: String?

    init(isServer: Bool) { self.isServer = isServer }

    /// OpenSSL shows each certificate of a chain that it has built, from the CA to the peer's, or the first error.
    func judge(_ isGood: Bool, _ store: OpaquePointer) -> Bool {
        guard isGood else {
            refuse(store, reason(X509_STORE_CTX_get_error(store)))
            return false
        }
        guard X509_STORE_CTX_get_error_depth(store) == 0 else { return true }
        guard let certificate = X509_STORE_CTX_get_current_cert(store) else { return false }
        do throws(FeedCertificate.Objection) {
            let found = try FeedCertificate.identity(certificate)
            if isServer == (found.role != .controller) {
                identity = found
                return true
            }
            refuse(store, isServer ? "controllers are not served" : "it is not a controller's")
        } catch {
            refuse(store, error.text)
        }
        // The alert that OpenSSL makes of this: unsupported certificate.
        X509_STORE_CTX_set_error(store, X509_V_ERR_INVALID_PURPOSE)
        return false
    }

    private func refuse(_ store: OpaquePointer, _ reason: String) {
        identity = nil
        let certificate = X509_STORE_CTX_get0_cert(store)
        let claim = certificate.flatMap { try? FeedCertificate.identity($0) }.map { ", which says \($0.text)," } ?? ""
        refusal = "its credential\(claim) is not accepted: \(reason)"
    }

    private func reason(_ error: Int32) -> String {
        let text = X509_verify_cert_error_string(Int(error)).map { String(cString: $0) } ?? "code \(error)"
        return switch error {
        case X509_V_ERR_CERT_HAS_EXPIRED: "expired; make a new one with interlock feed-init --renew"
        case X509_V_ERR_CERT_NOT_YET_VALID: "not valid yet; compare the clocks"
        // Ours are signed by the CA itself: what comes with more between is built on another one.
        case X509_V_ERR_CERT_CHAIN_TOO_LONG:
            "it is signed by another CA; all credentials of a feed come from one feed-ca.pem"
        case X509_V_ERR_INVALID_PURPOSE: "it is not of the role that it is used for"
        default:
            TLSFailure.verification(Int(error)) == .unknownAuthority
                ? "it is signed by another CA (\(text)); all credentials of a feed come from one feed-ca.pem" : text
        }
    }
}

/// OpenSSL calls it within a handshake.
func judgeFeedPeer(_ isGood: Int32, _ store: OpaquePointer?) -> Int32 {
    guard let store, let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()),
        let judge = SSL_get_ex_data(OpaquePointer(ssl), 0)
    else { return 0 }
    return Unmanaged<FeedJudge>.fromOpaque(judge).takeUnretainedValue().judge(isGood == 1, store) ? 1 : 0
}

extension TLSSession {
    /// The controller's side of a connection of the feed. `peerName` is the peer's address, for messages.
    public convenience init(server context: TLSContext, peerName: String) throws(TLSError) {
        try self.init(feed: context, peerName: peerName, judge: FeedJudge(isServer: true))
    }

    /// The side of a proxy or an extension. `peerName` is the controller's address, for messages: what is verified is
    /// that the peer is a controller of this feed, not a DNS name.
    public convenience init(feedClient context: TLSContext, peerName: String) throws(TLSError) {
        try self.init(feed: context, peerName: peerName, judge: FeedJudge(isServer: false))
    }

    /// Who the peer is; nil before the handshake is done. A certificate alone proves nothing: its key is asked for
    /// after it was accepted.
    public var peerIdentity: FeedIdentity? { isEstablished ? judge?.identity : nil }

    /// What failed on a session of the feed, in words. Empties the queue.
    func feedFailure(_ judge: FeedJudge, _ operation: String) -> TLSError {
        let code = ERR_peek_error()
        let reason = il_error_library(code) == ERR_LIB_SSL ? il_error_reason(code) : 0
        if let refusal = judge.refusal {
            ERR_clear_error()
            return TLSError(kind: .verification, description: "\(peerName) is refused: \(refusal)")
        }
        if let text = Self.alertText(reason, isServer: judge.isServer) {
            ERR_clear_error()
            let peer = judge.isServer ? "the feed client" : "the controller"
            let isVersion = reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION
            return TLSError(
                kind: isVersion ? .connection : .verification, description: "\(peer) \(peerName) \(text)")
        }
        if let text = Self.peerText(reason) {
            ERR_clear_error()
            // It stays so with the next try: somebody has to hear of it.
            return TLSError(kind: .verification, description: "\(peerName) is refused: \(text)")
        }
        return .fromQueue(.connection, "\(operation) \(peerName)")
    }

    /// What a peer means by its alert.
    private static func alertText(_ reason: Int32, isServer: Bool) -> String? {
        let refused = "refused this credential: "
        return switch reason {
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
            refused + "certificate expired; make a new one with interlock feed-init --renew, or set the clocks"
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
            refused + "certificate not valid, perhaps not yet: compare the clocks"
        case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
            refused
                + (isServer
                    ? "it is not a controller's"
                    : "it is not one of a proxy or an extension, as interlock feed-init makes")
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA, SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
            refused + "signed by another CA; all credentials of a feed come from one feed-ca.pem"
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: "demands a credential, and none was shown"
        case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
            SSL_R_TLSV1_ALERT_ACCESS_DENIED:
            refused + "its log says why"
        case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE: "does not speak the TLS of a feed"
        default: nil
        }
    }

    /// What is wrong with a peer that is none of ours.
    private static func peerText(_ reason: Int32) -> String? {
        switch reason {
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: "it shows no certificate; the feed is for proxies and extensions"
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_WRONG_SSL_VERSION, SSL_R_NO_PROTOCOLS_AVAILABLE:
            "it does not speak TLS 1.3"
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST, SSL_R_WRONG_VERSION_NUMBER:
            "it does not speak TLS"
        case SSL_R_EXCESSIVE_MESSAGE_SIZE: "its certificates are too long"
        default: nil
        }
    }
}
