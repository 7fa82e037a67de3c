// The file that whoever makes credentials keeps (feed-ca.pem): the feed's CA with its key, and during a rotation a
// second one. It opens no file itself.
//
// A new CA takes over in three steps, each followed by new credentials for every role and node, so that at any time
// each peer trusts the CA of every other:
//
//   stage       the file holds                    credentials are signed by   and trust
//   settled     old + key                         old                         old
//   announced   old + key, new + key              old                         old, new
//   taken over  new + key, old                    new                         new, old
//   settled     new + key                         new                         new
//
// The first certificate signs. The old key is dropped as soon as it signs nothing more.

internal import COpenSSL
internal import Glibc

/// The CA of a feed, with its key.
public struct FeedAuthorityFile: Sendable {
    public enum Stage: String, Sendable { case settled, announced, takenOver }

    private struct Member: Sendable {
        var certificate: String
        var key: String?
    }

    private var signer: Member
    private var other: Member?

    /// For people, who see it when OpenSSL complains.
    private static var name: String { "Interlock feed CA of \(FeedDate.text(Int64(time(nil))))" }

    /// A new CA.
    public init(days: Int = FeedAuthority.defaultAuthorityDays) throws(TLSError) {
        signer = try Self.make(days)
    }

    /// What `pem` holds.
    public init(pem: [UInt8]) throws(TLSError) {
        let (certificates, keys) = try Self.blocks(pem)
        guard let first = certificates.first, let firstKey = keys.first else {
            throw Self.wrong("must hold the certificate of the feed's CA and its key")
        }
        guard certificates.count <= FeedCredential.authorityLimit, keys.count <= certificates.count else {
            throw Self.wrong("holds \(certificates.count) certificates and \(keys.count) keys: it is not one of ours")
        }
        for certificate in certificates { _ = try Self.notAfter(certificate) }
        signer = Member(certificate: first, key: firstKey)
        if certificates.count > 1 {
            other = Member(certificate: certificates[1], key: keys.count > 1 ? keys[1] : nil)
        }
        for case (let member?) in [signer, other] where member.key != nil { try Self.checkKey(member) }
    }

    /// The file's content.
    public var pem: String {
        let remark = "# The CA of an Interlock feed. Who has it can make himself a controller: keep it off the nodes.\n"
        let members = [signer, other].compactMap { $0 }
        return remark + members.map { $0.certificate + ($0.key ?? "") }.joined()
    }

    public var stage: Stage {
        guard let other else { return .settled }
        return other.key == nil ? .takenOver : .announced
    }

    /// The last day of the CA that signs, as in `2036-11-26`.
    public var lastDay: String { FeedDate.text((try? Self.notAfter(signer.certificate)) ?? 0) }

    /// Goes one step on.
    public mutating func rotate(days: Int = FeedAuthority.defaultAuthorityDays) throws(TLSError) {
        guard let next = other else {
            other = try Self.make(days)
            return
        }
        guard next.key != nil else {
            other = nil
            return
        }
        other = Member(certificate: signer.certificate, key: nil)
        signer = next
    }

    /// A new credential as PEM. It trusts all CAs of this file.
    public func issue(
        role: FeedIdentity.Role, cluster: String, commonName: String, days: Int = FeedAuthority.defaultCredentialDays
    ) throws(TLSError) -> String {
        try FeedAuthority.issue(
            role: role, cluster: cluster, commonName: commonName, days: days,
            authorityCertificatePEM: signer.certificate, authorityKeyPEM: signer.key ?? "",
            alsoTrusted: other?.certificate ?? "")
    }

    /// Whether the credential is as one that would be made now: signed by the CA that signs, with trust in the same.
    public func isUpToDate(_ credential: FeedCredential) -> Bool {
        let own = [signer, other].compactMap { $0?.certificate }
        let trusted = credential.authorities.map { try? FeedAuthority.text(certificate: $0) }
        return own.map { $0 } == trusted && credential.isSignedByFirst
    }

    private static func make(_ days: Int) throws(TLSError) -> Member {
        let made = try FeedAuthority.makeAuthority(name: name, days: days)
        return Member(certificate: made.certificatePEM, key: made.keyPEM)
    }

    /// Certificates and keys in their order, each as OpenSSL writes it.
    private static func blocks(_ pem: [UInt8]) throws(TLSError) -> (certificates: [String], keys: [String]) {
        var certificates: [String] = []
        var keys: [String] = []
        var block = ""
        for line in String(decoding: pem, as: UTF8.self).split(whereSeparator: \.isNewline) {
            if line.hasPrefix("-----BEGIN ") { block = "" }
            block += line + "\n"
            switch line {
            case "-----END CERTIFICATE-----": certificates.append(block)
            case "-----END PRIVATE KEY-----": keys.append(FeedAuthority.keyRemark + "\n" + block)
            case _ where line.hasPrefix("-----END "):
                throw wrong("holds \(line.dropFirst(9)), which is not one of ours")
            default: break
            }
        }
        return (certificates, keys)
    }

    private static func notAfter(_ pem: String) throws(TLSError) -> Int64 {
        let found = try CertificateReader.certificates(Array(pem.utf8), what: "CA")
        defer { found.forEach { X509_free($0) } }
        guard FeedCertificate.isAuthority(found[0]) else { throw wrong("holds a certificate that is no feed's CA") }
        return CertificateNames.seconds(X509_get0_notAfter(found[0]))
    }

    private static func checkKey(_ member: Member) throws(TLSError) {
        let contents = try CertificateReader.read(Array((member.certificate + (member.key ?? "")).utf8), what: "CA")
        let key = try CertificateReader.privateKey(contents, for: contents.certificates[0], what: "CA")
        EVP_PKEY_free(key)
    }

    private static func wrong(_ text: String) -> TLSError { CertificateReader.wrong("the CA file \(text)") }
}
