// A controller and a client of the feed that shake hands in memory.

import COpenSSL
import Testing

@testable import TLS

/// An authority of a feed and what it issues.
struct FeedHouse {
    let certificate: String
    let key: String

    init(days: Int = 30) throws {
        (certificate, key) = try FeedAuthority.makeAuthority(name: "feed of a test", days: days)
    }

    func pem(
        _ role: FeedIdentity.Role, cluster: String = "", days: Int = 10, alsoTrusted: String = ""
    ) throws -> String {
        try FeedAuthority.issue(
            role: role, cluster: cluster, commonName: "\(role.rawValue) of a test", days: days,
            authorityCertificatePEM: certificate, authorityKeyPEM: key, alsoTrusted: alsoTrusted)
    }

    func credential(
        _ role: FeedIdentity.Role, cluster: String = "", days: Int = 10, alsoTrusted: String = ""
    ) throws -> FeedCredential {
        try FeedCredential(
            pem: Array(pem(role, cluster: cluster, days: days, alsoTrusted: alsoTrusted).utf8), acceptsExpired: true)
    }
}

extension FeedHouse {
    /// A certificate that says anything, to be freed. Its key is lost.
    func certificate(uri: String, name: String, usage: String?) throws -> OpaquePointer {
        let (certificate, key) = try leaf(uri: uri, name: name, usage: usage)
        EVP_PKEY_free(key)
        return certificate
    }

    /// A certificate that says anything, with its key; both to be freed.
    func leaf(
        uri: String, name: String = "test", usage: String?, from begin: Int64 = 0, until end: Int64 = 4_000_000_000
    ) throws -> (certificate: OpaquePointer, key: OpaquePointer) {
        let issuer = try #require(CertificateReader.certificates(Array(certificate.utf8), what: "test").first)
        defer { X509_free(issuer) }
        let keyContents = try CertificateReader.read(Array(key.utf8), what: "test")
        let issuerKey = try CertificateReader.privateKey(keyContents, for: issuer, what: "test")
        defer { EVP_PKEY_free(issuerKey) }
        let made = try #require(il_p256_key())
        let leaf = il_certificate_issue("Test", name, uri, begin, end, usage, made, issuer, issuerKey)
        return (try #require(leaf), made)
    }

    func der(_ certificate: OpaquePointer) throws -> [UInt8] {
        var bytes: UnsafeMutablePointer<UInt8>?
        let count = i2d_X509(certificate, &bytes)
        let start = try #require(bytes)
        defer { il_clear_free(start, 0) }
        return Array(UnsafeBufferPointer(start: start, count: Int(count)))
    }
}

/// Two sessions that talk in memory.
final class FeedPair {
    let client: TLSSession
    let server: TLSSession
    private(set) var clientError: TLSError?
    private(set) var serverError: TLSError?

    init(client: TLSSession, server: TLSSession) {
        self.client = client
        self.server = server
        shakeHands()
    }

    convenience init(client: TLSContext, server: TLSContext) throws {
        self.init(
            client: try TLSSession(feedClient: client, peerName: "10.0.0.1:9190"),
            server: try TLSSession(server: server, peerName: "10.0.0.2:40000"))
    }

    convenience init(client: FeedCredential, server: FeedCredential) throws {
        try self.init(
            client: TLSContext(feed: client, asServer: false), server: TLSContext(feed: server, asServer: true))
    }

    var isDone: Bool { client.isEstablished && server.isEstablished && clientError == nil && serverError == nil }

    /// Both sides as far as they come; what one side still says after it has failed reaches the other.
    private func shakeHands() {
        for _ in 0..<6 {
            step(client, &clientError)
            Self.carry(client, to: server)
            step(server, &serverError)
            Self.carry(server, to: client)
        }
        // Who thinks that it is done reads.
        if clientError == nil, client.isEstablished { _ = Self.read(client, &clientError) }
        if serverError == nil, server.isEstablished { _ = Self.read(server, &serverError) }
    }

    private func step(_ session: TLSSession, _ error: inout TLSError?) {
        guard error == nil, !session.isEstablished else { return }
        do throws(TLSError) { _ = try session.handshake() } catch let failure { error = failure }
    }

    static func carry(_ from: TLSSession, to: TLSSession) {
        from.takeOutput().withUnsafeBytes { to.receive($0) }
    }

    static func read(_ session: TLSSession, _ error: inout TLSError?) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        do {
            while case .bytes(let count) = try buffer.withUnsafeMutableBytes({ try session.read(into: $0) }) {
                bytes += buffer[..<count]
            }
        } catch let failure { error = failure as? TLSError }
        return bytes
    }
}
