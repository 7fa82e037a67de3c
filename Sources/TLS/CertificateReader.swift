// Reads certificates and keys from PEM bytes in memory, in one pass. Errors say which part is wrong and what to do
// about it; no error and no description ever holds a byte of a key.

internal import COpenSSL
internal import Glibc

/// What a PEM file holds. Its owner takes what it wants to keep; the rest is freed.
struct PEMContents: ~Copyable {
    /// DER of private keys, wiped when freed.
    struct Key {
        var bytes: UnsafeMutablePointer<UInt8>
        var count: Int
        var isPKCS8: Bool
    }

    var certificates: [OpaquePointer] = []
    /// The first private key.
    var key: Key?
    var hasEncryptedKey = false

    deinit {
        certificates.forEach { X509_free($0) }
        if let key { il_clear_free(key.bytes, key.count) }
    }
}

enum CertificateReader {
    /// Who sends more has put a bundle of authorities where a chain belongs.
    static let chainLimit = 16

    /// Reads all blocks of `pem`. `what` names the file's purpose in errors, as in "certificate".
    static func read(_ pem: [UInt8], what: String) throws(TLSError) -> PEMContents {
        guard !pem.isEmpty else { throw wrong("the \(what) file is empty") }
        guard let size = Int32(exactly: pem.count), let input = BIO_new_mem_buf(pem, size) else {
            throw .fromQueue(.configuration, "cannot read the \(what) file")
        }
        defer { BIO_free(input) }
        ERR_clear_error()
        defer { ERR_clear_error() }
        var contents = PEMContents()
        var name: UnsafeMutablePointer<CChar>?
        var header: UnsafeMutablePointer<CChar>?
        var bytes: UnsafeMutablePointer<UInt8>?
        var count = 0
        while PEM_read_bio(input, &name, &header, &bytes, &count) == 1 {
            let kind = name.map { String(cString: $0) } ?? ""
            let isEncrypted = header.map { strstr($0, "ENCRYPTED") != nil } ?? false
            il_clear_free(name, 0)
            il_clear_free(header, 0)
            guard let block = bytes else { continue }
            try take(block, count, kind, isEncrypted: isEncrypted, what: what, &contents)
        }
        let error = ERR_peek_last_error()
        guard il_error_library(error) == ERR_LIB_PEM, il_error_reason(error) == PEM_R_NO_START_LINE else {
            throw wrong(
                "the \(what) file is damaged after \(contents.certificates.count) certificates: export it again as PEM")
        }
        return contents
    }

    /// Puts one block where it belongs, or frees it.
    private static func take(
        _ bytes: UnsafeMutablePointer<UInt8>, _ count: Int, _ kind: String, isEncrypted: Bool, what: String,
        _ contents: inout PEMContents
    ) throws(TLSError) {
        switch kind {
        case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
            defer { il_clear_free(bytes, count) }
            var position: UnsafePointer<UInt8>? = UnsafePointer(bytes)
            // What "TRUSTED" adds comes after the certificate and is not used.
            guard let certificate = d2i_X509(nil, &position, count) else {
                throw wrong(
                    "certificate \(contents.certificates.count + 1) of the \(what) file is damaged: "
                        + "export it again as PEM")
            }
            contents.certificates.append(certificate)
        case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
            if isEncrypted { contents.hasEncryptedKey = true }
            guard !isEncrypted, contents.key == nil else {
                il_clear_free(bytes, count)
                return
            }
            contents.key = PEMContents.Key(bytes: bytes, count: count, isPKCS8: kind == "PRIVATE KEY")
        default:
            if kind == "ENCRYPTED PRIVATE KEY" { contents.hasEncryptedKey = true }
            il_clear_free(bytes, count)
        }
    }

    /// All certificates in `pem`, in their order; each is to be freed.
    static func certificates(_ pem: [UInt8], what: String) throws(TLSError) -> [OpaquePointer] {
        var contents = try read(pem, what: what)
        guard !contents.certificates.isEmpty else {
            throw wrong("the \(what) file holds no PEM certificate: it must begin with -----BEGIN CERTIFICATE-----")
        }
        let found = contents.certificates
        contents.certificates = []
        return found
    }

    /// Whether one of the certificates that can be read, as PEM or the whole as DER, is such a one. What is damaged is
    /// passed over.
    static func contains(_ bytes: [UInt8], _ isSought: (OpaquePointer) -> Bool) -> Bool {
        guard let size = Int32(exactly: bytes.count), size > 0, let input = BIO_new_mem_buf(bytes, size) else {
            return false
        }
        defer { BIO_free(input) }
        defer { ERR_clear_error() }
        if let certificate = d2i_X509_bio(input, nil) {
            defer { X509_free(certificate) }
            return isSought(certificate)
        }
        _ = BIO_ctrl(input, BIO_CTRL_RESET, 0, nil)
        // Each turn leaves at least one line behind.
        while il_bio_pending(input) > 0 {
            guard let certificate = PEM_read_bio_X509(input, nil, noPassphrase, nil) else { continue }
            defer { X509_free(certificate) }
            if isSought(certificate) { return true }
        }
        return false
    }

    /// The private key that belongs to `certificate`, to be freed.
    static func privateKey(_ contents: borrowing PEMContents, for certificate: OpaquePointer, what: String)
        throws(TLSError) -> OpaquePointer
    {
        guard let der = contents.key else {
            if contents.hasEncryptedKey {
                throw wrong(
                    "the key in the \(what) file is encrypted: remove its passphrase (openssl pkey -in KEY -out NEW)")
            }
            throw wrong("the \(what) file holds no private key in PEM")
        }
        guard let publicKey = X509_get0_pubkey(certificate) else {
            ERR_clear_error()
            throw wrong("the certificate's public key cannot be read: have it issued for an RSA or P-256 key")
        }
        let kind = EVP_PKEY_get_base_id(publicKey)
        guard let key = il_private_key(der.bytes, der.count, der.isPKCS8 ? 1 : 0, kind) else {
            throw wrong("the key in the \(what) file is damaged or of an unknown kind: export it again as PEM")
        }
        guard X509_check_private_key(certificate, key) == 1 else {
            EVP_PKEY_free(key)
            ERR_clear_error()
            throw wrong("the key does not belong to the certificate: give the key that it was issued for")
        }
        return key
    }

    /// Makes each of `authorities` an anchor of trust: one that was signed by another needs no more than itself.
    static func trust(_ authorities: [OpaquePointer], in context: OpaquePointer) -> Bool {
        guard let store = SSL_CTX_get_cert_store(context), let parameters = SSL_CTX_get0_param(context),
            X509_VERIFY_PARAM_set_flags(parameters, UInt(X509_V_FLAG_PARTIAL_CHAIN)) == 1
        else { return false }
        return authorities.allSatisfy { X509_STORE_add_cert(store, $0) == 1 }
    }

    /// What OpenSSL would hold against a certificate on each connection that shows it; nil: nothing.
    static func objection(to leaf: OpaquePointer, _ key: OpaquePointer, _ chain: OpaquePointer) -> String? {
        guard let context = probe, let ssl = SSL_new(context.pointer) else { return nil }
        defer { SSL_free(ssl) }
        if SSL_use_cert_and_key(ssl, leaf, key, chain, 1) == 1 { return nil }
        return TLSError.takeQueue() ?? "for no reason that it tells"
    }

    private static let probe = SSL_CTX_new(TLS_server_method()).map { Probe(pointer: $0) }

    /// A context that lives as long as the process.
    private struct Probe: @unchecked Sendable {
        // Configured by nobody: only connections are made from it.
        let pointer: OpaquePointer
    }

    static func wrong(_ description: String) -> TLSError {
        TLSError(kind: .configuration, description: description)
    }
}

func noPassphrase(
    _ buffer: UnsafeMutablePointer<CChar>?, _ size: Int32, _ isWriting: Int32, _ context: UnsafeMutableRawPointer?
) -> Int32 { 0 }
