// TLS of the feed: version 1.3 and nothing else, both sides show a certificate of the feed's CA and judge the other's.
// Nothing is resumed, nothing is sent before the handshake is over.

internal import COpenSSL

extension TLSContext {
    /// What a peer may send us as certificates before we know who it is: one or two of a kilobyte.
    private static let certificateLimit = 16384

    /// For the feed's server, a controller, or for its clients. The credential must be one of that side.
    public convenience init(feed credential: FeedCredential, asServer isServer: Bool) throws(TLSError) {
        let role = credential.identity.role
        guard isServer == (role == .controller) else {
            throw CertificateReader.wrong(
                isServer
                    ? "a controller needs the feed credential of a controller; this one is that of \(role.article)"
                    : "this feed credential is a controller's; proxies and extensions have their own")
        }
        guard let context = SSL_CTX_new(isServer ? TLS_server_method() : TLS_client_method()) else {
            throw .fromQueue(.configuration, "cannot make a TLS context")
        }
        self.init(adopting: context)
        il_ssl_ctx_set_modes(context)
        guard il_ssl_ctx_set_feed_modes(context, Self.certificateLimit) == 1 else {
            throw .fromQueue(.configuration, "cannot require TLS 1.3")
        }
        guard SSL_CTX_use_cert_and_key(context, credential.certificate, credential.key, nil, 1) == 1 else {
            throw .fromQueue(.configuration, "OpenSSL does not use this feed credential")
        }
        guard let store = SSL_CTX_get_cert_store(context), let parameters = SSL_CTX_get0_param(context),
            X509_VERIFY_PARAM_set_flags(parameters, UInt(X509_V_FLAG_X509_STRICT)) == 1,
            credential.authorities.allSatisfy({ X509_STORE_add_cert(store, $0) == 1 })
        else { throw .fromQueue(.configuration, "cannot use the feed's CA") }
        // The CA signs all certificates itself.
        SSL_CTX_set_verify_depth(context, 0)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, judgeFeedPeer)
    }
}
