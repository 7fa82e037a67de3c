// One TLS connection without a socket: ciphertext goes in and comes out as bytes, and so does plaintext.
// Whoever owns the socket moves the bytes, so blocking and event-driven callers use the same session.
// OpenSSL's WANT_READ and WANT_WRITE end here: a caller only sees whether more input is needed.

internal import COpenSSL

/// A TLS connection's state. One thread uses it at a time.
public final class TLSSession {
    /// What a read of plaintext came to.
    public enum ReadResult: Equatable {
        /// This many bytes were written to the buffer.
        case bytes(Int)
        /// Feed `receive` first.
        case needsInput
        /// The peer ended the stream with close_notify: nothing was cut off.
        case ended
    }

    let ssl: OpaquePointer
    // Owned by `ssl`.
    private let input: OpaquePointer
    private let output: OpaquePointer
    // The peer's name for messages.
    let peerName: String
    /// Of a session of the feed. `ssl` refers to it.
    let judge: FeedJudge?
    public private(set) var isEstablished = false

    /// A session that will connect to the server called `serverName` (a DNS name or an IP address), which its
    /// certificate must carry.
    public init(client context: TLSContext, serverName: String, isAddress: Bool) throws(TLSError) {
        (ssl, input, output) = try Self.make(context)
        SSL_set_connect_state(ssl)
        judge = nil
        peerName = serverName
        let isSet: Int32
        if isAddress {
            isSet = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), serverName)
        } else {
            SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
            isSet = SSL_set1_host(ssl, serverName) == 1 && il_ssl_set_server_name(ssl, serverName) == 1 ? 1 : 0
        }
        guard isSet == 1 else {
            throw .fromQueue(.configuration, "\"\(serverName)\" is no name that a certificate can carry")
        }
    }

    /// A session of the feed: its peer's certificate is accepted by `judge`, which the context asks.
    init(feed context: TLSContext, peerName: String, judge: FeedJudge) throws(TLSError) {
        (ssl, input, output) = try Self.make(context)
        self.judge = judge
        self.peerName = peerName
        if judge.isServer { SSL_set_accept_state(ssl) } else { SSL_set_connect_state(ssl) }
        guard SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(judge).toOpaque()) == 1 else {
            throw .fromQueue(.connection, "cannot make a TLS session")
        }
    }

    /// An SSL that reads from and writes to memory, which it owns.
    private static func make(
        _ context: TLSContext
    ) throws(TLSError) -> (ssl: OpaquePointer, input: OpaquePointer, output: OpaquePointer) {
        guard let ssl = SSL_new(context.pointer) else { throw .fromQueue(.connection, "cannot make a TLS session") }
        guard let input = BIO_new(BIO_s_mem()), let output = BIO_new(BIO_s_mem()) else {
            SSL_free(ssl)
            throw .fromQueue(.connection, "cannot make a TLS buffer")
        }
        il_bio_wait_when_empty(input)
        il_bio_wait_when_empty(output)
        SSL_set_bio(ssl, input, output)
        return (ssl, input, output)
    }

    deinit { SSL_free(ssl) }

    /// Takes in bytes that the peer sent.
    public func receive(_ bytes: UnsafeRawBufferPointer) {
        var offset = 0
        while offset < bytes.count, let base = bytes.baseAddress {
            let taken = BIO_write(input, base + offset, Int32(clamping: bytes.count - offset))
            // A memory BIO takes everything or is out of memory.
            precondition(taken > 0, "a TLS buffer could not grow")
            offset += Int(taken)
        }
    }

    /// Takes out the bytes that must be sent to the peer now; ask after every other call.
    public func takeOutput() -> [UInt8] {
        let pending = il_bio_pending(output)
        guard pending > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: pending) { buffer, count in
            count = max(0, Int(BIO_read(output, buffer.baseAddress, Int32(clamping: pending))))
        }
    }

    /// Goes on with the handshake.
    /// - Returns: true once it is done; false while more input is needed.
    public func handshake() throws(TLSError) -> Bool {
        ERR_clear_error()
        let status = SSL_do_handshake(ssl)
        if status == 1 {
            // No way leads here without an accepted certificate; if one did, this is where it ends.
            if let judge, judge.identity == nil { throw feedFailure(judge, "TLS handshake with") }
            isEstablished = true
            return true
        }
        if needsMore(status) { return false }
        if let judge { throw feedFailure(judge, "TLS handshake with") }
        let verdict = SSL_get_verify_result(ssl)
        if verdict != Int(X509_V_OK) {
            let reason = X509_verify_cert_error_string(verdict).map { String(cString: $0) } ?? "code \(verdict)"
            ERR_clear_error()
            throw TLSError(
                kind: .verification, description: "the certificate of \(peerName) is not accepted: \(reason)")
        }
        throw .fromQueue(.connection, "TLS handshake with \(peerName)")
    }

    /// Encrypts all of `bytes`; the handshake must be done.
    public func write(_ bytes: UnsafeRawBufferPointer) throws(TLSError) {
        var offset = 0
        while offset < bytes.count, let base = bytes.baseAddress {
            ERR_clear_error()
            let taken = SSL_write(ssl, base + offset, Int32(clamping: bytes.count - offset))
            guard taken > 0 else { throw failure("TLS write to") }
            offset += Int(taken)
        }
    }

    /// Decrypts what has come in, at most as much as the buffer holds.
    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(TLSError) -> ReadResult {
        ERR_clear_error()
        let count = SSL_read(ssl, buffer.baseAddress, Int32(clamping: buffer.count))
        if count > 0 { return .bytes(Int(count)) }
        if needsMore(count) { return .needsInput }
        if SSL_get_error(ssl, count) == SSL_ERROR_ZERO_RETURN { return .ended }
        throw failure("TLS read from")
    }

    private func failure(_ operation: String) -> TLSError {
        if let judge { return feedFailure(judge, operation) }
        return .fromQueue(.connection, "\(operation) \(peerName)")
    }

    /// Says close_notify; take the output once more afterwards.
    public func close() {
        ERR_clear_error()
        if isEstablished { _ = SSL_shutdown(ssl) }
        ERR_clear_error()
    }

    private func needsMore(_ status: Int32) -> Bool {
        let error = SSL_get_error(ssl, status)
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE
    }
}
