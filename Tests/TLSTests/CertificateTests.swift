import COpenSSL
import Support
import Testing

@testable import TLS

@Suite struct CertificateTests {
    let credentials: Credentials

    init() throws { credentials = try Credentials.shared.get() }

    private func failure(_ chain: [UInt8], _ key: [UInt8]?) -> String? {
        do throws(TLSError) {
            _ = try TLSCertificate(chainPEM: chain, keyPEM: key)
            return nil
        } catch {
            #expect(error.kind == .configuration)
            return error.description
        }
    }

    @Test func readsEveryUsualForm() throws {
        let folder = credentials.folder
        try credentials.run(["openssl", "ec", "-in", "\(folder)/server.key", "-out", "\(folder)/sec1.key"])
        try credentials.run([
            "openssl", "rsa", "-in", "\(folder)/rsa.key", "-traditional", "-out", "\(folder)/pkcs1.key",
        ])
        try credentials.run([
            "openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", "\(folder)/parameters.key",
        ])
        try credentials.issue("ed", key: ["ed25519"], extensions: "subjectAltName=DNS:ed\n")
        let parameters = try credentials.bytes("parameters.key")
        #expect(String(decoding: parameters, as: UTF8.self).contains("EC PARAMETERS"))
        let server = try credentials.bytes("server.pem")
        let serverKey = try credentials.bytes("server.key")
        let authority = try credentials.authorities
        let comment = Array("Bag Attributes\n  friendlyName: x\r\n".utf8)
        let good: [(String, [UInt8], [UInt8]?)] = [
            ("PKCS #8", server, serverKey), ("SEC1", server, try credentials.bytes("sec1.key")),
            ("PKCS #1", try credentials.bytes("rsa.pem"), try credentials.bytes("pkcs1.key")),
            ("RSA", try credentials.bytes("rsa.pem"), try credentials.bytes("rsa.key")),
            ("Ed25519", try credentials.bytes("ed.pem"), try credentials.bytes("ed.key")),
            ("key after chain", server + authority + serverKey, nil), ("key first", serverKey + server, nil),
            ("comments", comment + server + comment + authority, comment + serverKey),
            ("Windows line ends", Self.withCRLF(server), Self.withCRLF(serverKey)),
            ("the key's file holds the certificate too", server, server + serverKey),
        ]
        for (name, chain, key) in good { #expect(failure(chain, key) == nil, "\(name)") }
        #expect(try credentials.certificate("rsa").keyKind == .rsa)
        #expect(try credentials.certificate("server").keyKind == .ecdsa)
        #expect(try credentials.certificate("ed").keyKind == .ed25519)
    }

    private static func withCRLF(_ bytes: [UInt8]) -> [UInt8] { bytes.flatMap { $0 == 10 ? [13, 10] : [$0] } }

    @Test func saysWhatIsWrong() throws {
        let folder = credentials.folder
        for (name, options) in [("locked8", [] as [String]), ("locked1", ["-traditional"])] {
            try credentials.run(
                ["openssl", "pkey", "-in", "\(folder)/rsa.key", "-aes128", "-passout", "pass:secret"] + options
                    + ["-out", "\(folder)/\(name).key"])
        }
        let server = try credentials.bytes("server.pem")
        let key = try credentials.bytes("server.key")
        let rsa = try credentials.bytes("rsa.pem")
        let damaged = Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8)
        let damagedKey = Array("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".utf8)
        let cases: [([UInt8], [UInt8]?, String)] = [
            ([], key, "the certificate file is empty"), (server, [], "the key file is empty"),
            (key, key, "the certificate file holds no PEM certificate"),
            (Array("hello".utf8), key, "the certificate file holds no PEM certificate"),
            (server, nil, "the certificate file holds no private key"),
            (server, server, "the key file holds no private key"),
            (damaged, key, "certificate 1 of the certificate file is damaged"),
            (server + damaged, key, "certificate 2 of the certificate file is damaged"),
            (server.dropLast(40) + [], key, "the certificate file is damaged after 0 certificates"),
            (server, damagedKey, "the key in the key file is damaged"),
            (rsa, try credentials.bytes("locked8.key"), "the key in the key file is encrypted"),
            (rsa, try credentials.bytes("locked1.key"), "the key in the key file is encrypted"),
            (server, try credentials.bytes("client.key"), "the key does not belong to the certificate"),
            (server, try credentials.bytes("rsa.key"), "the key does not belong to the certificate"),
            (rsa, key, "the key does not belong to the certificate"),
            ((0..<17).flatMap { _ in server }, key, "the certificate file holds 17 certificates"),
        ]
        for (chain, key, words) in cases {
            let text = failure(chain, key)
            #expect(text?.contains(words) == true, "\(text ?? "no error") lacks: \(words)")
            #expect(ERR_peek_error() == 0)
        }
        // A decoder that has failed once reads the next key as well as before.
        #expect(failure(server, key) == nil)
        #expect(failure(rsa, try credentials.bytes("rsa.key")) == nil)
    }

    /// OpenSSL would refuse it on each connection: better to hear of it at once.
    @Test func aWeakKeyIsNamed() throws {
        try credentials.issue("weak", key: ["rsa:1024"], extensions: "subjectAltName=DNS:weak\n")
        let text = failure(try credentials.bytes("weak.pem"), try credentials.bytes("weak.key"))
        #expect(text?.contains("OpenSSL does not serve this certificate: ee key too small") == true, "\(text ?? "")")
        #expect(ERR_peek_error() == 0)
    }

    /// A curve that OpenSSL does not know, and a public key that is no point of its curve.
    @Test func aPublicKeyThatCannotBeReadIsNamed() throws {
        // id-ecPublicKey, then prime256v1, then the bit string with an uncompressed point.
        let marker: [UInt8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04]
        for (offset, name) in [(7, "curve"), (20, "point")] {
            let text = failure(try spoilt(behind: marker, at: offset), try credentials.bytes("server.key"))
            #expect(text?.contains("the certificate's public key cannot be read") == true, "\(name): \(text ?? "")")
            #expect(ERR_peek_error() == 0)
        }
    }

    /// What it says about itself may be damaged without the whole being so: it is served, and is doubtful.
    @Test func aTimeOrNamesThatCannotBeReadIsNoErrorOfSomebodyElse() throws {
        let key = try credentials.bytes("server.key")
        // A time of two digits a year, and the object identifier of the names.
        for marker: [UInt8] in [[0x17, 0x0D], [0x06, 0x03, 0x55, 0x1D, 0x11]] {
            for offset in marker.count..<(marker.count + 8) {
                _ = failure(try spoilt(behind: marker, at: offset), key)
                #expect(ERR_peek_error() == 0, "\(marker) \(offset)")
            }
        }
    }

    /// The server's certificate as PEM, one byte changed: that many behind the first place where `marker` begins.
    private func spoilt(behind marker: [UInt8], at offset: Int) throws -> [UInt8] {
        let folder = credentials.folder
        // Files of its own: tests run side by side.
        let name = "spoilt-\(UInt64.random(in: 0...UInt64.max))"
        try credentials.run([
            "openssl", "x509", "-in", "\(folder)/server.pem", "-outform", "DER", "-out", "\(folder)/\(name).der",
        ])
        var der = try credentials.bytes("\(name).der")
        let place = try #require(
            der.indices.dropLast(marker.count).first { Array(der[$0..<$0 + marker.count]) == marker },
            "\(marker)")
        der[place + offset] ^= 0x3F
        try der.withUnsafeBytes { try writeBytes("\(folder)/\(name).der", $0) }
        try credentials.run(["openssl", "base64", "-in", "\(folder)/\(name).der", "-out", "\(folder)/\(name).base64"])
        let body = try credentials.bytes("\(name).base64")
        return Array("-----BEGIN CERTIFICATE-----\n".utf8) + body + Array("-----END CERTIFICATE-----\n".utf8)
    }

    private func writeBytes(_ path: String, _ bytes: UnsafeRawBufferPointer) throws {
        let file = try #require(fopen(path, "w"))
        defer { fclose(file) }
        #expect(fwrite(bytes.baseAddress, 1, bytes.count, file) == bytes.count)
    }

    @Test func knowsItsNames() throws {
        let server = try credentials.certificate("server")
        #expect(server.names == ["localhost", "*.wild.test"])
        #expect(!server.isCommonNameOnly)
        #expect(server.covers(host: "localhost") && server.covers(host: "a.wild.test"))
        for other in ["wild.test", "a.b.wild.test", ".wild.test", "xlocalhost", "", "*.wild.test.x", "awild.test"] {
            #expect(!server.covers(host: other), "\(other)")
        }
        #expect(server.notAfter - server.notBefore == 2 * 86400)
        #expect(abs(server.notBefore - Int64(time(nil))) < 3600)
        try credentials.issue(
            "cn", key: ["ed25519"], subject: "/CN=Only.Test", extensions: "basicConstraints=CA:FALSE\n")
        let common = try credentials.certificate("cn")
        #expect(common.names == ["only.test"] && common.isCommonNameOnly)
        // "a\0b" and "c d" are no host names; the common name does not count beside alternative names.
        try credentials.issue(
            "odd-names", key: ["ed25519"], subject: "/CN=cn.test",
            extensions: "2.5.29.17=DER:30:10:82:03:61:00:62:82:03:63:20:64:82:04:67:6f:6f:64\n")
        let odd = try credentials.certificate("odd-names")
        #expect(odd.names == ["good"] && !odd.isCommonNameOnly)
        try credentials.issue(
            "address", key: ["ed25519"], subject: "/CN=cn.test", extensions: "subjectAltName=IP:127.0.0.1\n")
        let address = try credentials.certificate("address")
        #expect(address.names.isEmpty && !address.isCommonNameOnly)
    }

    @Test func printsNoKey() throws {
        let certificate = try credentials.certificate("server")
        var text = "\(certificate) \(String(reflecting: certificate))"
        dump(certificate, to: &text)
        #expect(text.contains("localhost") && text.utf8.count < 400, "\(text)")
    }

    @Test func theHashIsThatOfTheContents() throws {
        let (chain, key) = (try credentials.bytes("server.pem"), try credentials.bytes("server.key"))
        let hash = try TLSCertificate(chainPEM: chain, keyPEM: key).contentHash
        #expect(hash == TLSCertificate.hash(chainPEM: chain, keyPEM: key, stapleDER: nil))
        #expect(hash != TLSCertificate.hash(chainPEM: chain + key, keyPEM: nil, stapleDER: nil))
        #expect(hash != TLSCertificate.hash(chainPEM: chain, keyPEM: key, stapleDER: [1]))
    }

    // MARK: OCSP responses

    /// The response of the authority for an issued certificate.
    private func response(for name: String) throws -> [UInt8] {
        let base = "\(credentials.folder)/\(name)"
        try writeFile("\(base).index", "")
        try credentials.run([
            "openssl", "ocsp", "-index", "\(base).index", "-CA", "\(credentials.folder)/ca.pem", "-issuer",
            "\(credentials.folder)/ca.pem", "-cert", "\(base).pem", "-rsigner", "\(credentials.folder)/ca.pem", "-rkey",
            "\(credentials.folder)/ca.key", "-ndays", "1", "-respout", "\(base).ocsp",
        ])
        return try credentials.bytes("\(name).ocsp")
    }

    /// What a client that asks for a response is given.
    private func stapled(_ certificates: [TLSCertificate], version: Int32) throws -> [UInt8] {
        let pair = try MemoryPair(
            client: .lenient(version: version), server: TLSServerPolicy(TLSPolicySettings(), tickets: nil),
            certificates: certificates)
        SSL_ctrl(pair.client.ssl, SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE, Int(TLSEXT_STATUSTYPE_ocsp), nil)
        pair.shakeHands()
        #expect(pair.isDone)
        var bytes: UnsafePointer<UInt8>?
        let count = withUnsafeMutablePointer(to: &bytes) {
            SSL_ctrl(pair.client.ssl, SSL_CTRL_GET_TLSEXT_STATUS_REQ_OCSP_RESP, 0, $0)
        }
        return count > 0 ? Array(UnsafeBufferPointer(start: bytes, count: count)) : []
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func responsesGoWithTheirCertificate(version: Int32) throws {
        let staple = try response(for: "server")
        let certificate = try credentials.certificate("server", staple: staple)
        let end = try #require(certificate.stapleNotAfter)
        #expect(abs(end - Int64(time(nil)) - 86400) < 60)
        #expect(try stapled([certificate], version: version) == staple)
        // The client can do ECDSA, so that is the certificate, whatever else there is.
        #expect(try stapled([credentials.certificate("rsa"), certificate], version: version) == staple)
        #expect(try stapled([credentials.certificate("server")], version: version).isEmpty)
        #expect(il_certificate_set_staple(certificate.leaf, staple, staple.count, Int64(time(nil)) - 1) == 1)
        #expect(try stapled([certificate], version: version).isEmpty, "an old one is not sent")
    }

    @Test func whatIsNoResponseIsNotSent() throws {
        let other = try response(for: "rsa")
        for bytes in [other, [], [1, 2, 3], Array(other.dropLast(10))] {
            let certificate = try credentials.certificate("server", staple: bytes)
            #expect(certificate.stapleNotAfter == nil)
            #expect(try stapled([certificate], version: TLS1_3_VERSION).isEmpty)
        }
        #expect(ERR_peek_error() == 0)
    }
}
