import COpenSSL
import Glibc
import Testing

@testable import TLS

extension TLSContext {
    /// Shows another certificate than the credential's.
    fileprivate func show(_ leaf: (certificate: OpaquePointer, key: OpaquePointer), chain: [OpaquePointer] = []) {
        #expect(SSL_CTX_use_cert_and_key(pointer, leaf.certificate, leaf.key, nil, 1) == 1)
        for certificate in chain {
            #expect(SSL_CTX_ctrl(pointer, SSL_CTRL_CHAIN_CERT, 1, UnsafeMutableRawPointer(certificate)) == 1)
        }
        X509_free(leaf.certificate)
        EVP_PKEY_free(leaf.key)
    }

    /// A peer that is not of ours: it verifies nobody.
    fileprivate static func stranger(
        asServer isServer: Bool, version: Int32? = nil, showing credential: FeedCredential? = nil
    ) throws -> TLSContext {
        let context = TLSContext(
            adopting: try #require(SSL_CTX_new(isServer ? TLS_server_method() : TLS_client_method())))
        if let version {
            #expect(SSL_CTX_ctrl(context.pointer, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(version), nil) == 1)
        }
        if let credential {
            #expect(SSL_CTX_use_cert_and_key(context.pointer, credential.certificate, credential.key, nil, 1) == 1)
        }
        return context
    }
}

@Suite("handshakes of the feed") struct FeedHandshakeTests {
    private let house: FeedHouse
    private let now = Int64(time(nil))

    init() throws { house = try FeedHouse() }

    /// A handshake that fails; `client` and `server` are words of what each side says.
    private func expectRefusal(
        _ what: String, _ pair: FeedPair, client: String, server: String
    ) {
        let clientText = pair.clientError?.description ?? "nothing"
        let serverText = pair.serverError?.description ?? "nothing"
        #expect(clientText.contains(client), "\(what): the client says: \(clientText)")
        #expect(serverText.contains(server), "\(what): the server says: \(serverText)")
        #expect(pair.server.peerIdentity == nil || pair.clientError != nil, "\(what)")
        #expect(ERR_peek_error() == 0, "\(what) leaves errors")
    }

    private func clientContext() throws -> TLSContext {
        try TLSContext(feed: house.credential(.proxy), asServer: false)
    }
    private func serverContext() throws -> TLSContext {
        try TLSContext(feed: house.credential(.controller), asServer: true)
    }

    private func client(showing leaf: (OpaquePointer, OpaquePointer), chain: [OpaquePointer] = []) throws -> FeedPair {
        let context = try clientContext()
        context.show(leaf, chain: chain)
        return try FeedPair(client: context, server: serverContext())
    }

    private func server(showing leaf: (OpaquePointer, OpaquePointer)) throws -> FeedPair {
        let context = try serverContext()
        context.show(leaf)
        return try FeedPair(client: clientContext(), server: context)
    }

    @Test(arguments: [
        (FeedIdentity.Role.proxy, ""), (.proxy, "blue"), (.extension_, ""), (.extension_, "a/b:c"),
    ])
    func goodOnesKnowEachOther(_ role: FeedIdentity.Role, _ cluster: String) throws {
        let credential = try house.credential(role, cluster: cluster)
        let pair = try FeedPair(client: credential, server: house.credential(.controller))
        #expect(pair.isDone, "\(pair.clientError?.description ?? "") \(pair.serverError?.description ?? "")")
        #expect(pair.server.peerIdentity == credential.identity)
        #expect(pair.client.peerIdentity?.role == .controller)
    }

    /// The certificate comes before the proof that its key is there: nobody is known until both have been seen.
    @Test func nobodyIsKnownTooEarly() throws {
        let client = try TLSSession(feedClient: clientContext(), peerName: "controller")
        let server = try TLSSession(server: serverContext(), peerName: "proxy")
        _ = try client.handshake()
        var turns = 0
        while !(client.isEstablished && server.isEstablished), turns < 6 {
            turns += 1
            for (from, to) in [(client, server), (server, client)] {
                for byte in from.takeOutput() {
                    withUnsafeBytes(of: byte) { to.receive($0) }
                    if !to.isEstablished { _ = try to.handshake() }
                    #expect((to.peerIdentity != nil) == to.isEstablished)
                }
            }
        }
        #expect(client.peerIdentity?.role == .controller && server.peerIdentity?.role == .proxy)
    }

    @Test func nothingIsResumed() throws {
        let pair = try FeedPair(client: clientContext(), server: serverContext())
        #expect(pair.isDone)
        // A ticket would be sent after the handshake.
        #expect(pair.server.takeOutput().isEmpty)
        #expect(SSL_session_reused(pair.client.ssl) == 0)
        #expect(SSL_SESSION_is_resumable(SSL_get_session(pair.client.ssl)) == 0)
    }

    @Test func bytesGoBothWays() throws {
        let pair = try FeedPair(client: clientContext(), server: serverContext())
        let text = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        for (from, to) in [(pair.client, pair.server), (pair.server, pair.client)] {
            try text.withUnsafeBytes { try from.write($0) }
            FeedPair.carry(from, to: to)
            var error: TLSError?
            #expect(FeedPair.read(to, &error) == text)
            #expect(error == nil)
        }
    }

    @Test func eachSideNeedsItsOwnCredential() throws {
        #expect(throws: TLSError.self) { try TLSContext(feed: house.credential(.proxy), asServer: true) }
        #expect(throws: TLSError.self) { try TLSContext(feed: house.credential(.controller), asServer: false) }
    }

    @Test func expiredAndForeign() throws {
        let other = try FeedHouse()
        let rows: [(String, FeedCredential, FeedCredential, client: String, server: String)] = [
            (
                "expired proxy", try house.credential(.proxy, cluster: "blue", days: -1),
                try house.credential(.controller),
                "the controller 10.0.0.1:9190 refused this credential: certificate expired",
                "which says proxy of cluster blue (\"proxy of a test\"), is not accepted: expired"
            ),
            (
                "expired controller", try house.credential(.proxy), try house.credential(.controller, days: -1),
                "10.0.0.1:9190 is refused: its credential, which says controller",
                "the feed client 10.0.0.2:40000 refused this credential: certificate expired"
            ),
            (
                "foreign proxy", try other.credential(.proxy), try house.credential(.controller),
                "is signed by another CA", "refused this credential: signed by another CA"
            ),
            (
                "foreign controller", try house.credential(.proxy), try other.credential(.controller),
                "is signed by another CA", "refused this credential: signed by another CA"
            ),
        ]
        for row in rows {
            let pair = try FeedPair(client: row.1, server: row.2)
            expectRefusal(row.0, pair, client: row.client, server: row.server)
            #expect(pair.clientError?.kind == .verification && pair.serverError?.kind == .verification)
        }
    }

    /// A client that trusts the server, and is not trusted.
    @Test func foreignProxy() throws {
        let other = try FeedHouse()
        let context = try clientContext()
        context.show(try other.leaf(uri: "interlock:proxy:", usage: "clientAuth"))
        let pair = try FeedPair(client: context, server: serverContext())
        expectRefusal(
            "foreign", pair, client: "the controller 10.0.0.1:9190 refused this credential: signed by another CA",
            server: "is not accepted: it is signed by another CA")
        #expect(pair.server.peerIdentity == nil)
    }

    @Test func clientsThatAreNone() throws {
        let unsuited = "refused this credential: it is not one of a proxy or an extension"
        let rows: [(uri: String, usage: String, server: String)] = [
            ("interlock:controller:", "serverAuth", "not of the role that it is used for"),
            ("interlock:controller:", "serverAuth,clientAuth", "its key usage is not that of a controller"),
            ("interlock:controller:", "clientAuth", "its key usage is not that of a controller"),
            ("interlock:proxy:", "serverAuth", "not of the role that it is used for"),
            ("interlock:proxy:", "serverAuth,clientAuth", "its key usage is not that of a proxy"),
            ("interlock:authority", "clientAuth", "which only signs others"),
            ("interlock:admin:", "clientAuth", "no certificate of a feed"),
            ("https://proxy", "clientAuth", "no certificate of a feed"),
        ]
        for row in rows {
            let pair = try client(showing: house.leaf(uri: row.uri, usage: row.usage))
            expectRefusal("\(row)", pair, client: unsuited, server: row.server)
            #expect(pair.server.peerIdentity == nil)
        }
    }

    @Test func controllersThatAreNone() throws {
        let unsuited = "refused this credential: it is not a controller's"
        let rows: [(uri: String, usage: String, client: String)] = [
            ("interlock:proxy:", "clientAuth", "not of the role that it is used for"),
            ("interlock:proxy:", "serverAuth", "its key usage is not that of a proxy"),
            ("interlock:extension:", "clientAuth,serverAuth", "its key usage is not that of an extension"),
            ("interlock:controller:", "clientAuth", "not of the role that it is used for"),
            ("https://controller", "serverAuth", "no certificate of a feed"),
        ]
        for row in rows {
            let pair = try server(showing: house.leaf(uri: row.uri, usage: row.usage))
            expectRefusal("\(row)", pair, client: row.client, server: unsuited)
            #expect(pair.client.peerIdentity == nil)
        }
    }

    private func authorityAsLeaf() throws -> (OpaquePointer, OpaquePointer) {
        let bytes = Array(house.certificate.utf8)
        let certificate = try #require(CertificateReader.certificates(bytes, what: "test").first)
        let contents = try CertificateReader.read(Array(house.key.utf8), what: "test")
        return (certificate, try CertificateReader.privateKey(contents, for: certificate, what: "test"))
    }

    @Test func aCAIsNoPeer() throws {
        expectRefusal(
            "as a client", try client(showing: authorityAsLeaf()), client: "refused this credential",
            server: "its credential is not accepted")
        expectRefusal(
            "as a server", try server(showing: authorityAsLeaf()), client: "its credential is not accepted",
            server: "refused this credential")
    }

    @Test func aPeerIsNoCA() throws {
        // A proxy that issues a controller with its own key.
        let proxy = try house.leaf(uri: "interlock:proxy:", usage: "clientAuth")
        let key = try #require(il_p256_key())
        let forged = il_certificate_issue(
            "Test", "forged", "interlock:proxy:green", 0, 4_000_000_000, "clientAuth", key, proxy.certificate, proxy.key
        )
        let pair = try client(showing: (try #require(forged), key), chain: [proxy.certificate])
        X509_free(proxy.certificate)
        EVP_PKEY_free(proxy.key)
        expectRefusal("forged", pair, client: "refused this credential", server: "is not accepted")
        #expect(pair.server.peerIdentity == nil)
    }

    @Test func aCertificateOfTomorrow() throws {
        let leaf = try house.leaf(uri: "interlock:proxy:", usage: "clientAuth", from: now + 86400)
        expectRefusal(
            "tomorrow", try client(showing: leaf), client: "perhaps not yet: compare the clocks",
            server: "not valid yet; compare the clocks")
    }

    @Test func tooManyCertificates() throws {
        let other = try house.certificate(uri: "interlock:proxy:", name: "other", usage: "clientAuth")
        defer { X509_free(other) }
        let chain = [OpaquePointer](repeating: other, count: 60)
        let pair = try client(showing: house.leaf(uri: "interlock:proxy:", usage: "clientAuth"), chain: chain)
        #expect(pair.serverError?.description.contains("its certificates are too long") == true)
        #expect(pair.clientError != nil)
    }

    @Test func strangers() throws {
        func strangeClient(_ context: TLSContext) throws -> TLSSession {
            try TLSSession(client: context, serverName: "controller", isAddress: false)
        }
        let good = try house.credential(.proxy)
        let pairs = [
            (
                "no certificate", try strangeClient(.stranger(asServer: false)),
                "it shows no certificate; the feed is for proxies and extensions"
            ),
            (
                "TLS 1.2", try strangeClient(.stranger(asServer: false, version: TLS1_2_VERSION, showing: good)),
                "it does not speak TLS 1.3"
            ),
        ]
        for (what, client, words) in pairs {
            let pair = FeedPair(
                client: client, server: try TLSSession(server: serverContext(), peerName: "10.0.0.2:40000"))
            #expect(pair.serverError?.description == "10.0.0.2:40000 is refused: \(words)", "\(what)")
            #expect(pair.clientError != nil, "\(what)")
        }
    }

    @Test func ourClientAtAnOldServer() throws {
        let good = try house.credential(.controller)
        let old = try TLSContext.stranger(asServer: true, version: TLS1_2_VERSION, showing: good)
        let pair = try FeedPair(client: clientContext(), server: old)
        #expect(pair.clientError?.description.contains("does not speak") == true)
        #expect(!pair.client.isEstablished && pair.client.peerIdentity == nil)
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\u{16}\u{3}\u{1}", "INTERLOCK", String(repeating: "\0", count: 99),
    ])
    func garbage(_ text: String) throws {
        for session in [
            try TLSSession(server: serverContext(), peerName: "10.0.0.2:1"),
            try TLSSession(feedClient: clientContext(), peerName: "10.0.0.1:1"),
        ] {
            _ = try? session.handshake()
            Array(text.utf8).withUnsafeBytes { session.receive($0) }
            #expect((try? session.handshake()) != true)
            #expect(!session.isEstablished && session.peerIdentity == nil)
        }
    }
}
