// A certificate chain with its private key, parsed once and shared by all connections of all threads that show it.
// Nothing here prints a key.

internal import COpenSSL

/// A certificate that can be served. Immutable once made.
public final class TLSCertificate: @unchecked Sendable {
    public enum KeyKind: Sendable { case rsa, ecdsa, ed25519, other }

    // X509 and EVP_PKEY are counted by atomics and not changed after parsing.
    let leaf: OpaquePointer
    let key: OpaquePointer
    let chain: OpaquePointer?
    /// DNS names in lower case, wildcards as `*.example.com`; without any, the common name.
    public let names: [String]
    /// Clients ignore the common name: they will not accept this certificate for any host.
    public let isCommonNameOnly: Bool
    /// Unix seconds.
    public let notBefore: Int64
    public let notAfter: Int64
    public let keyKind: KeyKind
    /// SHA-256 of chain, key and staple: equal for equal contents.
    public let contentHash: [UInt8]

    /// - Parameters:
    ///   - chainPEM: the certificate, then its issuers; the key may follow or come before.
    ///   - keyPEM: nil: the key is in `chainPEM`.
    ///   - stapleDER: an OCSP response for the certificate.
    public init(chainPEM: [UInt8], keyPEM: [UInt8]? = nil, stapleDER: [UInt8]? = nil) throws(TLSError) {
        let certificates = try CertificateReader.certificates(chainPEM, what: "certificate")
        var isTaken = false
        defer { if !isTaken { certificates.forEach { X509_free($0) } } }
        let key = try CertificateReader.privateKey(keyPEM ?? chainPEM)
        defer { if !isTaken { EVP_PKEY_free(key) } }
        guard X509_check_private_key(certificates[0], key) == 1 else {
            ERR_clear_error()
            throw TLSError(
                kind: .configuration,
                description: "the key does not belong to the certificate; give the key it was made with")
        }
        guard let chain = OPENSSL_sk_new_null() else { throw .fromQueue(.configuration, "cannot keep the chain") }
        for issuer in certificates.dropFirst() {
            guard OPENSSL_sk_push(chain, UnsafeRawPointer(issuer)) > 0 else {
                OPENSSL_sk_free(chain)
                throw .fromQueue(.configuration, "cannot keep the chain")
            }
        }
        leaf = certificates[0]
        self.key = key
        self.chain = chain
        (names, isCommonNameOnly) = CertificateNames.read(certificates[0])
        notBefore = CertificateNames.seconds(X509_get0_notBefore(certificates[0]))
        notAfter = CertificateNames.seconds(X509_get0_notAfter(certificates[0]))
        switch EVP_PKEY_get_base_id(key) {
        case EVP_PKEY_RSA: keyKind = .rsa
        case EVP_PKEY_EC: keyKind = .ecdsa
        case EVP_PKEY_ED25519: keyKind = .ed25519
        default: keyKind = .other
        }
        contentHash = Self.hash(chainPEM: chainPEM, keyPEM: keyPEM, stapleDER: stapleDER)
        isTaken = true
    }

    deinit {
        while let issuer = OPENSSL_sk_pop(chain) { X509_free(OpaquePointer(issuer)) }
        OPENSSL_sk_free(chain)
        X509_free(leaf)
        EVP_PKEY_free(key)
    }

    /// The hash that a certificate of these bytes has, without parsing them.
    public static func hash(chainPEM: [UInt8], keyPEM: [UInt8]?, stapleDER: [UInt8]?) -> [UInt8] {
        var text: [UInt8] = []
        for part in [chainPEM, keyPEM ?? [], stapleDER ?? []] {
            withUnsafeBytes(of: UInt64(part.count).bigEndian) { text += $0 }
            text += part
        }
        var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        _ = SHA256(text, text.count, &digest)
        return digest
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

/// Reads what a certificate says about itself.
enum CertificateNames {
    /// DNS names; if there are none, the common name.
    static func read(_ certificate: OpaquePointer) -> (names: [String], isCommonNameOnly: Bool) {
        let found = alternativeNames(certificate)
        if !found.isEmpty { return (found, false) }
        return (commonName(certificate).map { [$0] } ?? [], true)
    }

    private static func alternativeNames(_ certificate: OpaquePointer) -> [String] {
        guard let list = X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else { return [] }
        let stack = OpaquePointer(list)
        defer { GENERAL_NAMES_free(stack) }
        var names: [String] = []
        for index in 0..<OPENSSL_sk_num(stack) {
            guard let item = OPENSSL_sk_value(stack, index) else { continue }
            let name = item.assumingMemoryBound(to: GENERAL_NAME.self)
            guard name.pointee.type == GEN_DNS, let text = text(name.pointee.d.dNSName) else { continue }
            names.append(text)
        }
        return names
    }

    private static func commonName(_ certificate: OpaquePointer) -> String? {
        let subject = X509_get_subject_name(certificate)
        let index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
        guard index >= 0, let entry = X509_NAME_get_entry(subject, index) else { return nil }
        return text(X509_NAME_ENTRY_get_data(entry))
    }

    /// A name in lower case; nil if it holds what no host name does (a NUL above all: it would end a C string early).
    private static func text(_ string: UnsafeMutablePointer<ASN1_STRING>?) -> String? {
        guard let string, let data = ASN1_STRING_get0_data(string) else { return nil }
        let bytes = UnsafeBufferPointer(start: data, count: Int(ASN1_STRING_length(string)))
        guard !bytes.isEmpty, bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        return String(decoding: bytes, as: UTF8.self).lowercased()
    }

    static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
        var days: Int32 = 0
        var seconds: Int32 = 0
        guard let epoch = ASN1_TIME_set(nil, 0) else { return 0 }
        defer { ASN1_TIME_free(epoch) }
        guard ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return 0 }
        return Int64(days) * 86400 + Int64(seconds)
    }
}
