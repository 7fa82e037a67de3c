// The feed's own certificate authority: makes itself and the credentials of controllers, proxies and extensions, all
// with ECDSA on P-256. It reads and writes no file.

internal import COpenSSL
internal import Glibc

/// Makes the feed's certificates.
public enum FeedAuthority {
    /// Stands before each key that is made here, so that a key alone can be told to be the feed's.
    static let keyRemark = "# interlock feed key"
    /// Clocks of nodes differ: a certificate is valid since the day before.
    private static let backdateSeconds: Int64 = 86400

    public static let defaultAuthorityDays = 3650
    public static let defaultCredentialDays = 730

    /// A new authority.
    /// - Parameter days: how long it is valid; negative: it has expired.
    public static func makeAuthority(
        name: String, days: Int = defaultAuthorityDays
    ) throws(TLSError) -> (certificatePEM: String, keyPEM: String) {
        try checkCommonName(name)
        let key = try makeKey()
        defer { EVP_PKEY_free(key) }
        let (begin, end) = validity(days: days)
        guard
            let certificate = il_certificate_issue(
                FeedName.organization, name, FeedName.authority, begin, end, nil, key, nil, nil)
        else { throw .fromQueue(.configuration, "cannot make the feed's CA") }
        defer { X509_free(certificate) }
        return (try text(certificate: certificate), try text(key: key))
    }

    /// A new credential: certificate, private key, and the certificate of the authority, as one PEM text.
    /// - Parameters:
    ///   - cluster: the service cluster of a proxy or an extension; empty: the default group.
    ///   - commonName: for people; printable ASCII, at most 64 characters.
    ///   - days: how long it is valid, at most as long as the authority; negative: it has expired.
    ///   - alsoTrusted: the certificate of a second authority, while one takes over from another.
    public static func issue(
        role: FeedIdentity.Role, cluster: String, commonName: String, days: Int = defaultCredentialDays,
        authorityCertificatePEM: String, authorityKeyPEM: String, alsoTrusted: String = ""
    ) throws(TLSError) -> String {
        try checkCommonName(commonName)
        guard let uri = FeedName.uri(role, cluster: cluster) else {
            throw CertificateReader.wrong(
                "a cluster cannot be called \"\(cluster)\": at most \(FeedName.clusterLimit) printable ASCII "
                    + "characters without spaces")
        }
        let authority = try CertificateReader.read(Array(authorityCertificatePEM.utf8), what: "CA")
        guard let issuer = authority.certificates.first, FeedCertificate.isAuthority(issuer) else {
            throw CertificateReader.wrong("the CA file holds no certificate of a feed's CA")
        }
        let keyContents = try CertificateReader.read(Array(authorityKeyPEM.utf8), what: "CA key")
        let issuerKey = try CertificateReader.privateKey(keyContents, for: issuer, what: "CA key")
        defer { EVP_PKEY_free(issuerKey) }
        let key = try makeKey()
        defer { EVP_PKEY_free(key) }
        var (begin, end) = validity(days: days)
        end = min(end, CertificateNames.seconds(X509_get0_notAfter(issuer)))
        begin = min(begin, end)
        let usage = role == .controller ? "serverAuth" : "clientAuth"
        guard
            let certificate = il_certificate_issue(
                FeedName.organization, commonName, uri, begin, end, usage, key, issuer, issuerKey)
        else { throw .fromQueue(.configuration, "cannot make the certificate") }
        defer { X509_free(certificate) }
        let trusted = try text(certificate: issuer)
        return try text(certificate: certificate) + text(key: key) + trusted + alsoTrusted
    }

    /// The name of a file for a credential, as in `feed-proxy.pem` and `feed-proxy-blue.pem`.
    public static func fileName(role: FeedIdentity.Role, cluster: String) -> String {
        let suffix = cluster.isEmpty || role == .controller ? "" : "-" + FeedName.encoded(cluster.utf8)
        return "feed-\(role.rawValue)\(suffix).pem"
    }

    private static func checkCommonName(_ name: String) throws(TLSError) {
        guard FeedCertificate.isCommonName(name.utf8) else {
            throw CertificateReader.wrong("the name \"\(name)\" must be 1 to 64 printable ASCII characters")
        }
    }

    private static func validity(days: Int) -> (begin: Int64, end: Int64) {
        let now = Int64(time(nil))
        let end = now + Int64(days) * 86400
        return (min(now, end) - backdateSeconds, end)
    }

    private static func makeKey() throws(TLSError) -> OpaquePointer {
        guard let key = il_p256_key() else { throw .fromQueue(.configuration, "cannot make a key") }
        return key
    }

    static func text(certificate: OpaquePointer) throws(TLSError) -> String {
        try written { PEM_write_bio_X509($0, certificate) }
    }

    private static func text(key: OpaquePointer) throws(TLSError) -> String {
        keyRemark + "\n" + (try written { PEM_write_bio_PKCS8PrivateKey($0, key, nil, nil, 0, nil, nil) })
    }

    private static func written(_ write: (OpaquePointer) -> Int32) throws(TLSError) -> String {
        guard let output = BIO_new(BIO_s_secmem() ?? BIO_s_mem()) else {
            throw .fromQueue(.configuration, "cannot write PEM")
        }
        defer { BIO_free(output) }
        guard write(output) == 1 else { throw .fromQueue(.configuration, "cannot write PEM") }
        let count = il_bio_pending(output)
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            initialized = max(0, Int(BIO_read(output, buffer.baseAddress, Int32(clamping: count))))
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
