// Reads certificates and keys from PEM bytes in memory. Errors say which part is wrong and what to do about it; no
// error and no description ever holds a byte of a key.

internal import COpenSSL

enum CertificateReader {
    /// All certificates in `pem`, in their order; each is to be freed.
    static func certificates(_ pem: [UInt8], what: String) throws(TLSError) -> [OpaquePointer] {
        guard !pem.isEmpty else { throw TLSError(kind: .configuration, description: "the \(what) file is empty") }
        guard let input = BIO_new_mem_buf(pem, Int32(clamping: pem.count)) else {
            throw .fromQueue(.configuration, "cannot read the \(what) file")
        }
        defer { BIO_free(input) }
        ERR_clear_error()
        var found: [OpaquePointer] = []
        while let certificate = PEM_read_bio_X509(input, nil, noPassphrase, nil) { found.append(certificate) }
        let error = ERR_peek_last_error()
        ERR_clear_error()
        let isAtEnd = il_error_library(error) == ERR_LIB_PEM && il_error_reason(error) == PEM_R_NO_START_LINE
        if found.isEmpty, isAtEnd {
            throw TLSError(kind: .configuration, description: "the \(what) file holds no PEM certificate")
        }
        guard isAtEnd else {
            found.forEach { X509_free($0) }
            throw TLSError(
                kind: .configuration,
                description: "certificate \(found.count + 1) of the \(what) file is damaged; export it again as PEM")
        }
        return found
    }

    /// The first private key in `pem`, to be freed.
    static func privateKey(_ pem: [UInt8]) throws(TLSError) -> OpaquePointer {
        guard !pem.isEmpty else { throw TLSError(kind: .configuration, description: "the key file is empty") }
        guard let input = BIO_new_mem_buf(pem, Int32(clamping: pem.count)) else {
            throw .fromQueue(.configuration, "cannot read the key file")
        }
        defer { BIO_free(input) }
        ERR_clear_error()
        defer { ERR_clear_error() }
        guard let key = PEM_read_bio_PrivateKey(input, nil, noPassphrase, nil) else {
            throw TLSError(kind: .configuration, description: "the key file holds no usable unencrypted PEM key")
        }
        return key
    }
}

func noPassphrase(
    _ buffer: UnsafeMutablePointer<CChar>?, _ size: Int32, _ isWriting: Int32, _ context: UnsafeMutableRawPointer?
) -> Int32 { 0 }
