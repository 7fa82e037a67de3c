// What a process is and whom it trusts in the feed, as one PEM file: its certificate, its private key, and the
// certificate of the feed's CA; two of those while one CA takes over from another. No description holds a key.

internal import COpenSSL
internal import Glibc

/// A credential for the feed. Immutable once made, so threads share it.
public final class FeedCredential: @unchecked Sendable {
    // X509 and EVP_PKEY are counted by atomics and not changed after parsing.
    let certificate: OpaquePointer
    let key: OpaquePointer
    let authorities: [OpaquePointer]
    public let identity: FeedIdentity
    private let secret: [UInt8]

    private static let what = "feed credential"
    /// The new CA and the one before it.
    static let authorityLimit = 2

    /// Reads the file that `interlock feed-init` has made.
    /// - Parameter acceptsExpired: what is sealed with its key can still be opened; peers refuse it all the same.
    public init(pem: [UInt8], acceptsExpired: Bool = false) throws(TLSError) {
        var contents = try CertificateReader.read(pem, what: Self.what)
        guard let leaf = contents.certificates.first else {
            throw Self.wrong("holds no PEM certificate: give the file that interlock feed-init made for this role")
        }
        do throws(FeedCertificate.Objection) {
            identity = try FeedCertificate.identity(leaf)
        } catch {
            throw Self.wrong("cannot be used: of its first certificate, \(error.text)")
        }
        let others = contents.certificates.dropFirst()
        guard !others.isEmpty else {
            throw Self.wrong("lacks the certificate of the feed's CA: give the whole file that feed-init made")
        }
        guard others.count <= Self.authorityLimit else {
            throw Self.wrong(
                "holds \(others.count) certificates beside its own: only the feed's CA, at most two of them")
        }
        for (index, authority) in others.enumerated() where !FeedCertificate.isAuthority(authority) {
            throw Self.wrong("holds as certificate \(index + 2) one that is not of a feed's CA")
        }
        guard others.contains(where: { Self.isSigned(leaf, by: $0) }) else {
            throw Self.wrong("is not signed by the CA that is in it: parts of two files were put together")
        }
        if !acceptsExpired { try Self.checkTime(leaf) }
        let found = try CertificateReader.privateKey(contents, for: leaf, what: Self.what)
        guard let secret = Self.encoded(found) else {
            EVP_PKEY_free(found)
            throw .fromQueue(.configuration, "cannot use the key of the \(Self.what)")
        }
        self.secret = secret
        key = found
        certificate = leaf
        authorities = Array(others)
        contents.certificates = []
        // OpenSSL computes these when first asked, under a lock.
        ([certificate] + authorities).forEach { _ = X509_check_purpose($0, -1, 0) }
        ERR_clear_error()
    }

    deinit {
        authorities.forEach { X509_free($0) }
        X509_free(certificate)
        EVP_PKEY_free(key)
    }

    /// A key of 32 bytes that only this credential's private key gives, for the purpose that `info` names.
    public func derivedKey(info: String) -> [UInt8] {
        Sealing.key(from: secret, salt: Array("interlock feed credential".utf8), info: info)
    }

    /// The CA that it names first has signed it.
    var isSignedByFirst: Bool { Self.isSigned(certificate, by: authorities[0]) }

    /// Whether the bytes have to do with a feed: a credential, its certificate, its key or its CA. A secret that is one
    /// must not travel in the feed. Rather once too often than once too seldom.
    public static func isCredential(_ bytes: [UInt8]) -> Bool {
        if contains(bytes, Array(FeedAuthority.keyRemark.utf8)) { return true }
        return CertificateReader.contains(bytes) { FeedCertificate.isRelated($0) }
    }

    private static func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
        var rest = bytes[...]
        while rest.count >= part.count, let start = rest.firstIndex(of: part[0]) {
            rest = rest[start...]
            if rest.starts(with: part) { return true }
            rest = rest.dropFirst()
        }
        return false
    }

    private static func isSigned(_ leaf: OpaquePointer, by authority: OpaquePointer) -> Bool {
        defer { ERR_clear_error() }
        return X509_verify(leaf, X509_get0_pubkey(authority)) == 1
    }

    private static func checkTime(_ leaf: OpaquePointer) throws(TLSError) {
        let now = Int64(time(nil))
        let begin = CertificateNames.seconds(X509_get0_notBefore(leaf))
        let end = CertificateNames.seconds(X509_get0_notAfter(leaf))
        guard end >= now else {
            throw wrong("expired on \(FeedDate.text(end)): make a new one with interlock feed-init --renew")
        }
        guard begin <= now else {
            throw wrong("is valid from \(FeedDate.text(begin)) only: this machine's clock is behind")
        }
    }

    /// The private key as bytes, the same each time it is read.
    private static func encoded(_ key: OpaquePointer) -> [UInt8]? {
        var bytes: UnsafeMutablePointer<UInt8>?
        let count = i2d_PrivateKey(key, &bytes)
        guard count > 0, let bytes else { return nil }
        defer { il_clear_free(bytes, Int(count)) }
        return Array(UnsafeBufferPointer(start: bytes, count: Int(count)))
    }

    private static func wrong(_ text: String) -> TLSError { CertificateReader.wrong("the \(what) \(text)") }
}

/// A day in messages.
enum FeedDate {
    /// As in `2026-11-29`, in UTC.
    static func text(_ seconds: Int64) -> String {
        var time = time_t(seconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        func padded(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(parts.tm_year + 1900)-\(padded(parts.tm_mon + 1))-\(padded(parts.tm_mday))"
    }
}
