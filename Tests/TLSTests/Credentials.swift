// Certificates of a test, made by the openssl command, as bytes.

import COpenSSL
import Support
import Testing

@testable import TLS

/// What one authority has issued.
struct Credentials {
    struct Failure: Error { let command: [String] }

    let authority: TestAuthority

    /// Made once: issuing takes time.
    static let shared = Result { () throws in
        let credentials = Credentials(authority: try TestAuthority())
        try credentials.authority.issue("server", names: "DNS:localhost,DNS:*.Wild.test,IP:127.0.0.1")
        try credentials.authority.issue("elsewhere", names: "DNS:elsewhere.test")
        try credentials.authority.issue("expired", names: "DNS:localhost", days: -1)
        try credentials.authority.issue("client", names: "DNS:client")
        try credentials.issue("rsa", key: ["rsa:2048"], extensions: "subjectAltName=DNS:localhost\n")
        return credentials
    }

    static let stranger = Result { () throws in
        let credentials = Credentials(authority: try TestAuthority())
        try credentials.authority.issue("client", names: "DNS:stranger")
        return credentials
    }

    var folder: String { authority.folder }

    func run(_ arguments: [String]) throws {
        guard runProgram(arguments) == 0 else { throw Failure(command: arguments) }
    }

    /// Issues a certificate with any kind of key, subject and extensions.
    func issue(_ name: String, key: [String], subject: String? = nil, extensions: String) throws {
        let base = "\(folder)/\(name)"
        try writeFile("\(base).ext", extensions)
        try run(
            ["openssl", "req", "-newkey"] + key
                + ["-nodes", "-subj", subject ?? "/CN=\(name)", "-keyout", "\(base).key", "-out", "\(base).csr"])
        try run([
            "openssl", "x509", "-req", "-in", "\(base).csr", "-CA", "\(folder)/ca.pem", "-CAkey", "\(folder)/ca.key",
            "-set_serial", TestAuthority.serial(), "-days", "2", "-extfile", "\(base).ext", "-out", "\(base).pem",
        ])
    }

    func bytes(_ file: String) throws -> [UInt8] { try readFile("\(folder)/\(file)") }

    func certificate(_ name: String, staple: [UInt8]? = nil) throws -> TLSCertificate {
        try TLSCertificate(chainPEM: bytes("\(name).pem"), keyPEM: bytes("\(name).key"), stapleDER: staple)
    }

    var authorities: [UInt8] { get throws { try bytes("ca.pem") } }
}

extension TLSClientPolicy {
    /// A client that tests bend to their needs.
    static func lenient(version: Int32? = nil, protocols: [String] = []) throws -> TLSClientPolicy {
        let policy = try TLSClientPolicy(TLSClientSettings(verifies: false, applicationProtocols: protocols))
        if let version {
            #expect(SSL_CTX_ctrl(policy.context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(version), nil) == 1)
        }
        return policy
    }

    func show(_ certificate: TLSCertificate) {
        #expect(SSL_CTX_use_cert_and_key(context, certificate.leaf, certificate.key, certificate.chain, 1) == 1)
    }
}
