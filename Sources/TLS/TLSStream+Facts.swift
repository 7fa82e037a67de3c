// What an established connection says about itself and its peer. Nothing here changes it.

internal import COpenSSL

extension TLSStream {
    /// What became of the peer's certificate.
    public enum PeerVerdict: Equatable {
        /// None was shown.
        case none
        case accepted
        /// Shown and not accepted; the connection goes on because a certificate is optional.
        case failed(TLSFailure)
    }

    public var isEstablished: Bool { state.pointee.is_established != 0 }

    /// There are decrypted or received bytes inside that `read` would look at without new input.
    public var hasPending: Bool { SSL_has_pending(ssl) == 1 }

    /// Part of a record has come and the rest has not: if the socket ends here, something was cut off.
    public var isInsideRecord: Bool { il_is_inside_record(ssl) == 1 }

    /// The peer is asked for a certificate.
    public var asksForCertificate: Bool { SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER != 0 }

    /// The handshake used the secrets of an earlier connection.
    public var isResumed: Bool { SSL_session_reused(ssl) == 1 }

    public var version: Version { SSL_version(ssl) == TLS1_3_VERSION ? .tls13 : .tls12 }

    /// OpenSSL's name of the cipher, in memory that stays; nil before the handshake.
    public var cipherName: UnsafePointer<CChar>? { SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)) }

    /// The application protocol that was agreed upon; empty: none. Valid as long as the connection.
    public var applicationProtocol: UnsafeRawBufferPointer {
        var bytes: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &bytes, &count)
        return UnsafeRawBufferPointer(start: bytes, count: Int(count))
    }

    public var peerVerdict: PeerVerdict {
        guard SSL_get0_peer_certificate(ssl) != nil else { return .none }
        let result = SSL_get_verify_result(ssl)
        return result == Int(X509_V_OK) ? .accepted : .failed(.verification(result))
    }

    /// OpenSSL's words for why the peer's certificate was not accepted.
    public var peerVerdictReason: String {
        X509_verify_cert_error_string(SSL_get_verify_result(ssl)).map { String(cString: $0) } ?? ""
    }

    /// The subject of the peer's certificate as RFC 2253 writes it, in ASCII; empty without one.
    public func peerSubject() -> [UInt8] {
        guard let certificate = SSL_get0_peer_certificate(ssl), let output = BIO_new(BIO_s_mem()) else { return [] }
        defer { BIO_free(output) }
        guard il_name_print_rfc2253(output, X509_get_subject_name(certificate)) >= 0 else {
            ERR_clear_error()
            return []
        }
        let count = il_bio_pending(output)
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            initialized = max(0, Int(BIO_read(output, buffer.baseAddress, Int32(clamping: count))))
        }
    }

    /// The peer's certificate; empty without one.
    public func peerCertificateDER() -> [UInt8] {
        guard let certificate = SSL_get0_peer_certificate(ssl) else { return [] }
        let count = Int(i2d_X509(certificate, nil))
        guard count > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            var end = buffer.baseAddress
            initialized = max(0, Int(i2d_X509(certificate, &end)))
        }
    }

    /// Of a client: the newest session that the server offered since this was last asked.
    public func takeSession() -> TLSResumption? {
        guard let session = state.pointee.session else { return nil }
        state.pointee.session = nil
        let name = UnsafeRawBufferPointer(start: il_state_name(state), count: Int(state.pointee.name_count))
        return TLSResumption(session, name: Array(name))
    }
}
