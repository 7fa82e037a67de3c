import COpenSSL
import Support
import Testing

@testable import TLS

@Suite("identities of the feed") struct FeedIdentityTests {
    @Test(arguments: [
        (FeedIdentity.Role.controller, "", "interlock:controller:"),
        (.proxy, "", "interlock:proxy:"),
        (.extension_, "blue", "interlock:extension:blue"),
        (.proxy, "a:b/c%2F", "interlock:proxy:a%3Ab%2Fc%252F"),
        (.proxy, "~._-09azAZ", "interlock:proxy:~._-09azAZ"),
        (.proxy, String(repeating: "x", count: 255), "interlock:proxy:" + String(repeating: "x", count: 255)),
    ])
    func haveOneSpelling(_ role: FeedIdentity.Role, _ cluster: String, _ uri: String) throws {
        #expect(FeedName.uri(role, cluster: cluster) == uri)
        let found = try #require(FeedName.parse(Array(uri.utf8)))
        #expect(found == (role, cluster))
    }

    @Test(arguments: [
        "", "interlock:", "interlock:proxy", "interlock:Proxy:", "INTERLOCK:proxy:", "interlock:admin:",
        "interlock:authority", "interlock:authority:", "interlock:proxy:blue:x", "interlock:proxy:b%6Cue",
        "interlock:proxy:a%2fb", "interlock:proxy:a%2", "interlock:proxy:a%", "interlock:proxy:a%zz",
        "interlock:proxy:a/b", "interlock:proxy:a b", "interlock:proxy:a%20b", "interlock:proxy:a%00b",
        "interlock:proxy:%C3%A4", "interlock:proxy:ä", " interlock:proxy:", "interlock:proxy:\n", "interlock:proxy:\0",
        "https://interlock:proxy:", "interlock:proxy:" + String(repeating: "x", count: 256),
        "interlock:proxy:" + String(repeating: "%3A", count: 256),
    ])
    func areReadStrictly(_ uri: String) {
        #expect(FeedName.parse(Array(uri.utf8)) == nil)
    }

    @Test(arguments: ["a b", "ä", "a\0b", "\n", String(repeating: "x", count: 256)])
    func impossibleClustersAreNotIssued(_ cluster: String) throws {
        let house = try FeedHouse()
        #expect(throws: TLSError.self) { try house.pem(.proxy, cluster: cluster) }
    }

    private func objection(_ certificate: OpaquePointer) -> String {
        do throws(FeedCertificate.Objection) {
            return "none: \(try FeedCertificate.identity(certificate))"
        } catch {
            return error.text
        }
    }

    @Test func certificatesThatSayOtherThings() throws {
        let house = try FeedHouse()
        let rows: [(uri: String, name: String, usage: String?, words: String)] = [
            ("interlock:proxy:blue", "n", "clientAuth", "none"),
            ("interlock:proxy:blue", "n", "serverAuth", "its key usage is not that of a proxy"),
            ("interlock:proxy:blue", "n", "clientAuth,serverAuth", "its key usage is not that of a proxy"),
            ("interlock:controller:", "n", "clientAuth", "its key usage is not that of a controller"),
            ("interlock:proxy:blue", "n", "emailProtection", "its key usage is not that of a proxy"),
            ("interlock:admin:", "n", "clientAuth", "it is no certificate of a feed"),
            ("https://proxy", "n", "clientAuth", "it is no certificate of a feed"),
            ("interlock:authority", "n", "clientAuth", "which only signs others"),
            ("interlock:proxy:blue", "näme", "clientAuth", "no common name, or a strange one"),
            ("interlock:proxy:blue", "a\nb", "clientAuth", "no common name, or a strange one"),
        ]
        for row in rows {
            let certificate = try house.certificate(uri: row.uri, name: row.name, usage: row.usage)
            #expect(objection(certificate).contains(row.words), "\(row): \(objection(certificate))")
            X509_free(certificate)
        }
    }

    @Test func aCAIsNobody() throws {
        let house = try FeedHouse()
        let authority = try #require(
            CertificateReader.certificates(Array(house.certificate.utf8), what: "test").first)
        defer { X509_free(authority) }
        #expect(objection(authority).contains("which only signs others"))
        #expect(FeedCertificate.isAuthority(authority))
    }

    @Test func certificatesMadeElsewhere() throws {
        let house = Credentials(authority: try TestAuthority())
        let rows = [
            ("subjectAltName=URI:interlock:proxy:blue", "none"),
            ("subjectAltName=URI:interlock:proxy:blue,URI:interlock:proxy:green", "no certificate of a feed"),
            ("subjectAltName=URI:interlock:proxy:blue,URI:interlock:proxy:blue", "no certificate of a feed"),
            ("subjectAltName=URI:interlock:proxy:blue,DNS:proxy", "no certificate of a feed"),
            ("subjectAltName=DNS:interlock:proxy:blue", "no certificate of a feed"),
            ("subjectAltName=email:interlock:proxy:blue", "no certificate of a feed"),
            ("subjectKeyIdentifier=hash", "no certificate of a feed"),
            ("basicConstraints=critical,CA:TRUE\nsubjectAltName=URI:interlock:proxy:blue", "certificate of a CA"),
        ]
        for (index, (extensions, words)) in rows.enumerated() {
            try house.issue(
                "feed-\(index)", key: ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
                extensions: "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n\(extensions)\n")
            let found = try CertificateReader.certificates(house.bytes("feed-\(index).pem"), what: "test")
            defer { found.forEach { X509_free($0) } }
            #expect(objection(found[0]).contains(words), "\(extensions): \(objection(found[0]))")
        }
    }

    /// A C string would end there, and the certificate be another cluster's.
    @Test func aNULIsSeen() throws {
        let house = try FeedHouse()
        let certificate = try house.certificate(uri: "interlock:proxy:blueXgreen", name: "n", usage: "clientAuth")
        defer { X509_free(certificate) }
        var bytes = try house.der(certificate)
        let mark = Array("blueXgreen".utf8)
        let start = try #require(bytes.indices.first { bytes[$0...].starts(with: mark) })
        bytes[start + 4] = 0
        let changed = try #require(
            bytes.withUnsafeBufferPointer { buffer in
                var position = buffer.baseAddress
                return d2i_X509(nil, &position, buffer.count)
            })
        defer { X509_free(changed) }
        #expect(objection(changed).contains("no certificate of a feed"))
    }
}

@Suite("credentials of the feed") struct FeedCredentialTests {
    private func failure(_ pem: String) -> String {
        do throws(TLSError) {
            _ = try FeedCredential(pem: Array(pem.utf8))
            return "none"
        } catch {
            #expect(error.kind == .configuration)
            return error.description
        }
    }

    @Test func holdWhatWasIssued() throws {
        let house = try FeedHouse()
        for role in FeedIdentity.Role.allCases {
            let identity = try house.credential(role, cluster: "blue").identity
            #expect(identity.role == role)
            #expect(identity.cluster == "blue")
            #expect(identity.commonName == "\(role.rawValue) of a test")
            #expect(identity.notAfterSeconds > 1_700_000_000)
        }
    }

    @Test func sayWhatIsWrong() throws {
        let house = try FeedHouse()
        let other = try FeedHouse()
        let good = Parts(try house.pem(.proxy))
        let foreign = Parts(try other.pem(.proxy))
        let ordinary = String(
            decoding: try Credentials.shared.get().bytes("client.pem"), as: UTF8.self)
        let rows: [(String, String)] = [
            (good.text, "none"),
            (good.certificate + good.authority + good.key, "none"),
            ("", "the feed credential file is empty"),
            ("hello", "holds no PEM certificate"),
            (good.key, "holds no PEM certificate"),
            (good.certificate + good.authority, "holds no private key"),
            (good.certificate + good.key, "lacks the certificate of the feed's CA"),
            (good.certificate + foreign.key + good.authority, "the key does not belong to the certificate"),
            (good.certificate + good.key + foreign.authority, "is not signed by the CA that is in it"),
            (good.certificate + good.key + good.certificate, "holds as certificate 2 one that is not of a feed's CA"),
            (good.text + ordinary, "holds as certificate 3 one that is not of a feed's CA"),
            (good.text + foreign.authority, "none"),
            (good.text + foreign.authority + foreign.authority, "at most two"),
            (house.certificate + house.key, "which only signs others"),
            (ordinary + good.key, "it is no certificate of a feed"),
            (try house.pem(.proxy, days: -1), "make a new one with interlock feed-init --renew"),
            (good.certificate.replacing("MII", with: "MJJ") + good.key, "is damaged"),
        ]
        for (pem, words) in rows {
            #expect(failure(pem).contains(words), "\(failure(pem)) lacks: \(words)")
        }
    }

    @Test func expiredOnesStillOpenWhatTheySealed() throws {
        let pem = Array(try FeedHouse().pem(.proxy, days: -1).utf8)
        let key = try FeedCredential(pem: pem, acceptsExpired: true).derivedKey(info: "state")
        #expect(try FeedCredential(pem: pem, acceptsExpired: true).derivedKey(info: "state") == key)
    }

    @Test func derivedKeysAreTheKeysOwn() throws {
        let house = try FeedHouse()
        let credential = try house.credential(.proxy)
        let keys: Set<[UInt8]> = [
            credential.derivedKey(info: "a"), credential.derivedKey(info: "b"),
            try house.credential(.proxy).derivedKey(info: "a"),
        ]
        #expect(keys.count == 3)
        #expect(keys.allSatisfy { $0.count == 32 })
    }

    @Test func noDescriptionHoldsAKey() throws {
        let credential = try FeedHouse().credential(.proxy)
        #expect(!"\(credential)".contains("secret") && !"\(credential.identity)".contains("BEGIN"))
    }

    @Test func areRecognised() throws {
        let house = try FeedHouse()
        let parts = Parts(try house.pem(.extension_, cluster: "blue"))
        let ordinary = String(decoding: try Credentials.shared.get().bytes("server.pem"), as: UTF8.self)
        let ordinaryKey = String(decoding: try Credentials.shared.get().bytes("server.key"), as: UTF8.self)
        let damaged = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
        for text in [
            parts.text, parts.certificate, parts.key, parts.authority, house.certificate, house.key,
            try house.pem(.proxy, days: -1), ordinary + parts.authority, parts.certificate + ordinary,
            damaged + parts.authority, damaged + "-----BEGIN\n" + parts.certificate, "text\n" + parts.certificate,
            parts.certificate.replacing("\n", with: "\r\n"), try FeedAuthorityFile().pem,
        ] {
            #expect(FeedCredential.isCredential(Array(text.utf8)), "not recognised: \(text)")
        }
        for text in [ordinary, ordinaryKey, ordinary + ordinaryKey, damaged, "", "# interlock", "\0\0\0"] {
            #expect(!FeedCredential.isCredential(Array(text.utf8)), "taken for one: \(text)")
        }
    }

    @Test func areRecognisedAsDER() throws {
        let house = try FeedHouse()
        let found = try CertificateReader.certificates(Array(house.pem(.proxy).utf8), what: "test")
        defer { found.forEach { X509_free($0) } }
        for certificate in found { #expect(FeedCredential.isCredential(try house.der(certificate))) }
    }

    @Test func endWithTheirCA() throws {
        let house = try FeedHouse(days: 5)
        let identity = try house.credential(.proxy, days: 100).identity
        let authority = try #require(
            CertificateReader.certificates(Array(house.certificate.utf8), what: "test").first)
        defer { X509_free(authority) }
        #expect(identity.notAfterSeconds == CertificateNames.seconds(X509_get0_notAfter(authority)))
    }
}

/// A credential taken apart.
struct Parts {
    let text: String
    let certificate: String
    let key: String
    let authority: String

    init(_ pem: String) {
        text = pem
        var blocks: [String] = []
        var block = ""
        for line in pem.split(separator: "\n") {
            block += line + "\n"
            if line.hasPrefix("-----END") {
                blocks.append(block)
                block = ""
            }
        }
        certificate = blocks[0]
        key = blocks[1]
        authority = blocks[2]
    }
}
