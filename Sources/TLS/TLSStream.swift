// One TLS connection over a workspace: OpenSSL's WANT_READ and WANT_WRITE end here. Writing never waits, because the
// workspace takes everything; reading takes in all that was received, and what is part of a record stays inside.
//
//   handshake  -> needsInput (again, after setInput) | done | failed
//   read       -> bytes (again) | needsInput | ended (close_notify: nothing was cut off) | failed
//   write, closeNotify: only once the handshake is done
//   after each call: send workspace.output, drop it. A failed connection is to be freed after that.
//
// The socket belongs to the caller, so does its end: an end of file before `ended` means that the stream may have been
// cut off. Bodies that last until the end and tunnels must be told apart by it (OpenSSL's SSL_OP_IGNORE_UNEXPECTED_EOF,
// which hides it, is not used).

internal import COpenSSL

/// A TLS connection. A plain handle: who made it frees it, once, and uses it on one thread at a time.
public struct TLSStream {
    public enum Handshake: Equatable {
        case done
        case needsInput
        case failed(TLSFailure)
    }

    public enum Read: Equatable {
        /// So many bytes were written to the buffer; there may be more.
        case bytes(Int)
        /// All input is consumed.
        case needsInput
        /// The peer has said close_notify.
        case ended
        case failed(TLSFailure)
    }

    public enum Version: UInt8, Sendable { case tls12 = 12, tls13 = 13 }

    let ssl: OpaquePointer
    let state: UnsafeMutablePointer<il_tls_state>

    /// The server's side of a new connection.
    /// - Parameters:
    ///   - certificates: to choose from by what the client can; of each kind of key the first is used.
    ///   - serverName: what the ClientHello names, without a trailing dot; empty: nothing. OpenSSL must read the same.
    public init?(
        server policy: TLSServerPolicy, certificates: [TLSCertificate], serverName: UnsafeRawBufferPointer,
        workspace: TLSWorkspace
    ) {
        var made: UnsafeMutablePointer<il_tls_state>?
        guard
            let ssl = il_stream_new(
                policy.context, workspace.memory, 1, serverName.baseAddress?.assumingMemoryBound(to: CChar.self),
                serverName.count, &made), let state = made
        else {
            ERR_clear_error()
            return nil
        }
        var kinds: UInt8 = 0
        for certificate in certificates where kinds & 1 << certificate.keyKind.rawValue == 0 {
            kinds |= 1 << certificate.keyKind.rawValue
            guard SSL_use_cert_and_key(ssl, certificate.leaf, certificate.key, certificate.chain, 1) == 1 else {
                ERR_clear_error()
                SSL_free(ssl)
                return nil
            }
        }
        self.ssl = ssl
        self.state = state
    }

    /// The client's side of a new connection.
    /// - Parameters:
    ///   - serverName: for SNI and, if the policy verifies, for verification; nil: neither.
    ///   - isAddress: the name is an IP address, which is verified but not sent.
    ///   - session: of an earlier connection; passed over if it is of another policy or name.
    public init?(
        client policy: TLSClientPolicy, serverName: String?, isAddress: Bool = false, session: TLSResumption? = nil,
        workspace: TLSWorkspace
    ) {
        var made: UnsafeMutablePointer<il_tls_state>?
        let name = serverName ?? ""
        guard let ssl = il_stream_new(policy.context, workspace.memory, 0, name, name.utf8.count, &made),
            let state = made
        else {
            ERR_clear_error()
            return nil
        }
        self.ssl = ssl
        self.state = state
        let earlier = session.flatMap { $0.isFor(policy, name: serverName) ? $0.session : nil }
        guard Self.setName(ssl, serverName, isAddress, verifies: policy.settings.verifies),
            earlier == nil || SSL_set_session(ssl, earlier) == 1
        else {
            ERR_clear_error()
            SSL_free(ssl)
            return nil
        }
    }

    private static func setName(_ ssl: OpaquePointer, _ name: String?, _ isAddress: Bool, verifies: Bool) -> Bool {
        // To verify a certificate and not its name would accept every certificate of the authority.
        guard let name else { return !verifies }
        if isAddress { return !verifies || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1 }
        if verifies {
            SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
            guard SSL_set1_host(ssl, name) == 1 else { return false }
        }
        return il_ssl_set_server_name(ssl, name) == 1
    }

    /// Ends the handle. The workspace's output is not touched.
    public func free() {
        // Without these flags OpenSSL takes a lock of the context and marks the session as not to be resumed, which
        // dates from the days when a missing close_notify said something about it.
        SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        SSL_free(ssl)
    }

    /// Goes on with the handshake.
    public func handshake() -> Handshake {
        assertNoErrors()
        let status = SSL_do_handshake(ssl)
        if status == 1 {
            state.pointee.is_established = 1
            // A handshake that went well may have left what it tried first.
            ERR_clear_error()
            return .done
        }
        switch SSL_get_error(ssl, status) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE:
            ERR_clear_error()
            return .needsInput
        default: return .failed(.take(ssl, state))
        }
    }

    /// Decrypts what was received, at most `capacity` bytes at a time (one record holds up to 16 KiB).
    public func read(into buffer: UnsafeMutableRawPointer, capacity: Int) -> Read {
        // To find nothing would cost OpenSSL a buffer of 16 KiB.
        if state.pointee.memory.pointee.input_count == 0, SSL_has_pending(ssl) == 0 { return .needsInput }
        assertNoErrors()
        let count = SSL_read(ssl, buffer, Int32(clamping: capacity))
        if state.pointee.failure != 0 { return .failed(.take(ssl, state)) }
        if count > 0 {
            if state.pointee.idle_cost != 0 {
                state.pointee.idle_cost -= 1
                ERR_clear_error()
            }
            return .bytes(Int(count))
        }
        switch SSL_get_error(ssl, count) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE:
            ERR_clear_error()
            return .needsInput
        case SSL_ERROR_ZERO_RETURN: return .ended
        default: return .failed(.take(ssl, state))
        }
    }

    /// Encrypts all of `count` bytes.
    /// - Returns: nil if it is done.
    public func write(_ bytes: UnsafeRawPointer, count: Int) -> TLSFailure? {
        var offset = 0
        while offset < count {
            assertNoErrors()
            let taken = SSL_write(ssl, bytes + offset, Int32(clamping: count - offset))
            guard taken > 0 else { return .take(ssl, state) }
            offset += Int(taken)
        }
        return nil
    }

    /// Says close_notify. Reading may go on.
    public func closeNotify() {
        assertNoErrors()
        if state.pointee.is_established != 0 { _ = SSL_shutdown(ssl) }
        ERR_clear_error()
    }

    /// OpenSSL's verdict on a call depends on this thread's error queue, and to look at it each time would cost as much
    /// as a small record. So whatever may fill it empties it: every failure, every handshake, every file that is read.
    @inline(__always)
    private func assertNoErrors() { assert(ERR_peek_error() == 0, "an earlier call left its errors") }
}
