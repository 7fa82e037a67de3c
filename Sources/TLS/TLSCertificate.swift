// A certificate chain with its private key, parsed once and shared by all connections of all threads that show it.
// Nothing here prints a key.

internal import COpenSSL

/// A certificate that can be served. Immutable once made.
public final class TLSCertificate: @unchecked Sendable {
    public enum KeyKind: UInt8, Sendable { case rsa, ecdsa, ed25519, other }

    // X509 and EVP_PKEY are counted by atomics and not changed after parsing.
    let leaf: OpaquePointer
    let key: OpaquePointer
    let chain: OpaquePointer
    /// DNS names in lower case, wildcards as `*.example.com`; without any, the common name.
    public let names: [String]
    /// Clients ignore the common name: they will not accept this certificate for any host.
    public let isCommonNameOnly: Bool
    /// Unix seconds.
    public let notBefore: Int64
    public let notAfter: Int64
    public let keyKind: KeyKind
    /// Until when the OCSP response is sent; nil: none was given, or it cannot be used.
    public let stapleNotAfter: Int64?
    /// SHA-256 of chain, key and staple: equal for equal contents.
    public let contentHash: [UInt8]

    /// - Parameters:
    ///   - chainPEM: the certificate, then its issuers; the key may follow or come before.
    ///   - keyPEM: nil: the key is in `chainPEM`.
    ///   - stapleDER: an OCSP response for the certificate.
    public init(chainPEM: [UInt8], keyPEM: [UInt8]? = nil, stapleDER: [UInt8]? = nil) throws(TLSError) {
        var contents = try CertificateReader.read(chainPEM, what: "certificate")
        guard let leaf = contents.certificates.first else {
            throw CertificateReader.wrong(
                "the certificate file holds no PEM certificate: it must begin with -----BEGIN CERTIFICATE-----")
        }
        guard contents.certificates.count <= CertificateReader.chainLimit else {
            throw CertificateReader.wrong(
                "the certificate file holds \(contents.certificates.count) certificates: give the chain, not a bundle")
        }
        let key: OpaquePointer
        if let keyPEM {
            let keyContents = try CertificateReader.read(keyPEM, what: "key")
            key = try CertificateReader.privateKey(keyContents, for: leaf, what: "key")
        } else {
            key = try CertificateReader.privateKey(contents, for: leaf, what: "certificate")
        }
        guard let chain = Self.stack(of: contents.certificates.dropFirst()) else {
            EVP_PKEY_free(key)
            throw .fromQueue(.configuration, "cannot keep the chain")
        }
        if let objection = CertificateReader.objection(to: leaf, key, chain) {
            EVP_PKEY_free(key)
            OPENSSL_sk_free(chain)
            throw CertificateReader.wrong(
                "OpenSSL does not serve this certificate: \(objection) (RSA needs 2048 bits, signatures SHA-256)")
        }
        self.leaf = leaf
        self.key = key
        self.chain = chain
        contents.certificates = []
        (names, isCommonNameOnly) = CertificateNames.read(leaf)
        notBefore = CertificateNames.seconds(X509_get0_notBefore(leaf))
        notAfter = CertificateNames.seconds(X509_get0_notAfter(leaf))
        switch EVP_PKEY_get_base_id(key) {
        case EVP_PKEY_RSA: keyKind = .rsa
        case EVP_PKEY_EC: keyKind = .ecdsa
        case EVP_PKEY_ED25519: keyKind = .ed25519
        default: keyKind = .other
        }
        contentHash = Self.hash(chainPEM: chainPEM, keyPEM: keyPEM, stapleDER: stapleDER)
        // OpenSSL computes these when first asked, under a lock: workers should find them there.
        _ = X509_check_purpose(leaf, -1, 0)
        stapleNotAfter = stapleDER.flatMap { Staple.attach($0, to: leaf) }
        // A time or a name that cannot be read makes it doubtful; whoever looks next must not take that for his error.
        ERR_clear_error()
    }

    /// A stack that holds the references; nil without memory.
    private static func stack(of certificates: ArraySlice<OpaquePointer>) -> OpaquePointer? {
        guard let stack = OPENSSL_sk_new_null() else { return nil }
        for certificate in certificates {
            guard OPENSSL_sk_push(stack, UnsafeRawPointer(certificate)) > 0 else {
                OPENSSL_sk_free(stack)
                return nil
            }
        }
        return stack
    }

    deinit {
        while let issuer = OPENSSL_sk_pop(chain) { X509_free(OpaquePointer(issuer)) }
        OPENSSL_sk_free(chain)
        X509_free(leaf)
        EVP_PKEY_free(key)
    }

    /// The hash that a certificate of these bytes has, without parsing them.
    public static func hash(chainPEM: [UInt8], keyPEM: [UInt8]?, stapleDER: [UInt8]?) -> [UInt8] {
        TLSDigest.of([chainPEM, keyPEM ?? [], stapleDER ?? []])
    }

    /// Whether one of the names is `host` or a wildcard for it. `host` is normalised: lower case, no trailing dot.
    public func covers(host: String) -> Bool {
        names.contains { name in
            if name == host { return true }
            guard name.hasPrefix("*."), let dot = host.utf8.firstIndex(of: UInt8(ascii: ".")) else { return false }
            return dot > host.startIndex && host[dot...].utf8.elementsEqual(name.utf8.dropFirst())
        }
    }
}

extension TLSCertificate: CustomStringConvertible, CustomReflectable {
    public var description: String { "certificate for \(names.joined(separator: ", "))" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}
