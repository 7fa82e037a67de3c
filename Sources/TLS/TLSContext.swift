// The part of TLS that is read from files once and shared by many connections: versions, authorities, own certificate.
// Immutable once made, so threads may share it. It opens no connection.

internal import COpenSSL
internal import Glibc

/// A certificate chain and its private key, both PEM files; one file may hold both.
public struct TLSCredential: Hashable, Sendable {
    public var certificateFile: String
    public var keyFile: String

    public init(certificateFile: String, keyFile: String) {
        self.certificateFile = certificateFile
        self.keyFile = keyFile
    }
}

/// What all connections of one kind have in common. TLS 1.2 is the least it speaks.
public final class TLSContext: @unchecked Sendable {
    // SSL_CTX is reference-counted and, once configured, safe to share between threads.
    let pointer: OpaquePointer

    /// Takes over the reference.
    init(adopting context: OpaquePointer) { pointer = context }

    /// A context for connecting to servers, which are always verified.
    /// - Parameters:
    ///   - authorityFile: PEM certificates that are trusted; nil trusts the system's.
    ///   - credential: what is shown to a server that asks for a client certificate.
    public init(clientTrusting authorityFile: String?, credential: TLSCredential?) throws(TLSError) {
        guard let context = SSL_CTX_new(TLS_client_method()) else {
            throw .fromQueue(.configuration, "cannot make a TLS context")
        }
        pointer = context
        guard il_ssl_ctx_set_min_tls12(context) == 1 else {
            throw .fromQueue(.configuration, "cannot require TLS 1.2")
        }
        il_ssl_ctx_set_modes(context)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        if let authorityFile {
            try Self.checkReadable(authorityFile, "CA file")
            guard SSL_CTX_load_verify_file(context, authorityFile) == 1 else {
                throw .fromQueue(.configuration, "the CA file \(authorityFile) holds no usable PEM certificate")
            }
        } else {
            guard SSL_CTX_set_default_verify_paths(context) == 1 else {
                throw .fromQueue(.configuration, "cannot load the system's CA certificates")
            }
        }
        if let credential { try Self.load(credential, into: context) }
    }

    deinit { SSL_CTX_free(pointer) }

    private static func load(_ credential: TLSCredential, into context: OpaquePointer) throws(TLSError) {
        try checkReadable(credential.certificateFile, "certificate file")
        try checkReadable(credential.keyFile, "key file")
        guard SSL_CTX_use_certificate_chain_file(context, credential.certificateFile) == 1 else {
            throw .fromQueue(
                .configuration, "the certificate file \(credential.certificateFile) holds no usable PEM certificate")
        }
        // Without this OpenSSL would ask for the passphrase of an encrypted key on the terminal.
        SSL_CTX_set_default_passwd_cb(context, noPassphrase)
        guard SSL_CTX_use_PrivateKey_file(context, credential.keyFile, SSL_FILETYPE_PEM) == 1 else {
            throw .fromQueue(
                .configuration,
                "the key file \(credential.keyFile) holds no usable unencrypted PEM key for "
                    + credential.certificateFile)
        }
        guard SSL_CTX_check_private_key(context) == 1 else {
            throw .fromQueue(
                .configuration,
                "the key in \(credential.keyFile) does not belong to the certificate in \(credential.certificateFile)")
        }
    }

    /// OpenSSL says "system lib" where a person needs the file's name and the reason.
    private static func checkReadable(_ path: String, _ what: String) throws(TLSError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor < 0 else {
            close(descriptor)
            return
        }
        let reason = String(cString: strerror(errno))
        throw TLSError(kind: .configuration, description: "cannot read the \(what) \(path): \(reason)")
    }
}
