import COpenSSL
import Support
import Testing

@testable import TLS

@Suite struct PolicyTests {
    let credentials: Credentials

    init() throws { credentials = try Credentials.shared.get() }

    private func shake(
        _ client: TLSClientPolicy, _ settings: TLSPolicySettings = TLSPolicySettings(),
        certificates: [String] = ["server"]
    ) throws -> MemoryPair {
        try MemoryPair(
            client: client, server: TLSServerPolicy(settings, tickets: nil),
            certificates: certificates.map { try credentials.certificate($0) }
        ).shakeHands()
    }

    // MARK: Versions and algorithms

    @Test(arguments: [
        (TLS1_1_VERSION, TLSPolicySettings.Version.tls12, false), (TLS1_2_VERSION, .tls12, true),
        (TLS1_2_VERSION, .tls13, false), (TLS1_3_VERSION, .tls13, true),
    ])
    func speaksNoOlderVersion(newest: Int32, minimum: TLSPolicySettings.Version, isGood: Bool) throws {
        let client = try TLSClientPolicy.lenient(version: newest)
        if newest < TLS1_2_VERSION {
            #expect(SSL_CTX_ctrl(client.context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(newest), nil) == 1)
            #expect(SSL_CTX_set_cipher_list(client.context, "ALL:@SECLEVEL=0") == 1)
        }
        let pair = try shake(client, TLSPolicySettings(minimumVersion: minimum))
        #expect(pair.isDone == isGood)
        if !isGood {
            #expect(pair.serverResult == .failed(.version))
            #expect(pair.clientResult == .failed(.version), "the alert has come")
        }
    }

    @Test func sharesNoWeakCipher() throws {
        for cipher in ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"] {
            let client = try TLSClientPolicy.lenient(version: TLS1_2_VERSION)
            #expect(SSL_CTX_set_cipher_list(client.context, cipher) == 1)
            let pair = try shake(client, certificates: ["server", "rsa"])
            #expect(pair.serverResult == .failed(.noSharedCipher), "\(cipher)")
        }
    }

    @Test func sharesNoGroupThatIsNotNamed() throws {
        let client = try TLSClientPolicy.lenient(version: TLS1_3_VERSION)
        #expect(il_ssl_ctx_set_groups(client.context, "P-521") == 1)
        #expect(try shake(client).serverResult == .failed(.noSharedCipher))
    }

    /// The server's order counts, except that who puts ChaCha20 first (it has no AES in hardware) is given that.
    @Test(arguments: [
        ("TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        ("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ])
    func choosesTheCipher(offered: String, chosen: String) throws {
        let client = try TLSClientPolicy.lenient()
        #expect(SSL_CTX_set_ciphersuites(client.context, offered) == 1)
        let pair = try shake(client)
        #expect(String(cString: try #require(pair.server.cipherName)) == chosen)
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func choosesTheCertificateThatTheClientCanUse(version: Int32) throws {
        for (algorithms, name) in [("RSA-PSS+SHA256", "rsa"), ("ECDSA+SHA256", "server")] {
            for order in [["server", "rsa"], ["rsa", "server"]] {
                let client = try TLSClientPolicy.lenient(version: version)
                #expect(SSL_CTX_ctrl(client.context, SSL_CTRL_SET_SIGALGS_LIST, 0, strdup(algorithms)) == 1)
                let pair = try shake(client, certificates: order)
                #expect(pair.isDone)
                let leaf = try CertificateReader.certificates(credentials.bytes("\(name).pem"), what: "certificate")
                defer { leaf.forEach { X509_free($0) } }
                #expect(X509_cmp(SSL_get0_peer_certificate(pair.client.ssl), leaf[0]) == 0)
            }
        }
    }

    @Test func theFirstOfAKindIsServed() throws {
        for order in [["server", "elsewhere", "rsa"], ["elsewhere", "rsa", "server"]] {
            let pair = try shake(.lenient(), certificates: order)
            let leaf = try CertificateReader.certificates(credentials.bytes("\(order[0]).pem"), what: "certificate")
            defer { leaf.forEach { X509_free($0) } }
            #expect(X509_cmp(SSL_get0_peer_certificate(pair.client.ssl), leaf[0]) == 0)
        }
    }

    @Test func refusesWhatCannotBeUsed() {
        let wrong: [(TLSPolicySettings, String)] = [
            (TLSPolicySettings(ciphers: "NOPE"), "TLS 1.2 cipher list \"NOPE\""),
            (TLSPolicySettings(cipherSuites: "NOPE"), "TLS 1.3 cipher suites \"NOPE\""),
            (TLSPolicySettings(groups: "X25519:NOPE"), "TLS groups \"X25519:NOPE\""),
            (TLSPolicySettings(applicationProtocols: [""]), "application protocol"),
            (TLSPolicySettings(clientDemand: .required), "CA file is empty"),
            (TLSPolicySettings(clientDemand: .optional), "CA file is empty"),
            (TLSPolicySettings(clientDemand: .required, clientAuthorities: Array("junk".utf8)), "no PEM certificate"),
            (
                TLSPolicySettings(
                    clientDemand: .required,
                    clientAuthorities: Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8)),
                "certificate 1 of the CA file is damaged"
            ),
        ]
        for (settings, words) in wrong {
            let error = #expect(throws: TLSError.self) { _ = try TLSServerPolicy(settings, tickets: nil) }
            #expect(error?.description.contains(words) == true, "\(error?.description ?? "") lacks \(words)")
            #expect(ERR_peek_error() == 0)
        }
    }

    @Test func theIdentityIsThatOfTheSettings() throws {
        let base = TLSPolicySettings(clientDemand: .required, clientAuthorities: try credentials.authorities)
        var others = [TLSPolicySettings](repeating: base, count: 8)
        others[0].minimumVersion = .tls13
        others[1].ciphers = "ECDHE-RSA-AES128-GCM-SHA256"
        others[2].cipherSuites = "TLS_AES_128_GCM_SHA256"
        others[3].groups = "X25519"
        others[4].applicationProtocols = []
        others[5].clientDemand = .optional
        others[6].clientAuthorities = try Credentials.stranger.get().authorities
        others[7].sessionContext = "x"
        let identities = try ([base] + others).map { try TLSServerPolicy($0, tickets: nil).identity }
        #expect(Set(identities).count == 9)
        #expect(try TLSServerPolicy(base, tickets: TLSTickets()).identity == identities[0])
    }

    // MARK: Application protocols

    @Test(arguments: [
        (["http/1.1"], ["h2", "http/1.1"], "http/1.1"), (["h2", "http/1.1"], ["http/1.1", "h2"], "h2"),
        (["http/1.1"], [], ""), ([], ["mqtt"], ""), (["http/1.1"], ["h2", "mqtt"], nil),
    ])
    func agreesOnAProtocol(served: [String], offered: [String], agreed: String?) throws {
        for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
            let pair = try shake(
                .lenient(version: version, protocols: offered), TLSPolicySettings(applicationProtocols: served))
            guard let agreed else {
                #expect(pair.serverResult == .failed(.applicationProtocol))
                #expect(pair.clientResult == .failed(.applicationProtocol))
                continue
            }
            #expect(pair.isDone)
            #expect(String(decoding: pair.server.applicationProtocol, as: UTF8.self) == agreed)
        }
    }
}

@Suite struct TicketTests {
    let credentials: Credentials
    let settings = TLSPolicySettings()

    init() throws { credentials = try Credentials.shared.get() }

    /// Connects with `session`; returns the newest session and whether the given one was taken.
    private func connect(
        _ policy: TLSServerPolicy, _ client: TLSClientPolicy, _ session: TLSResumption? = nil
    ) throws -> (session: TLSResumption?, isResumed: Bool) {
        let name = Array("localhost".utf8)
        // OpenSSL's client marks a TLS 1.3 session as used: a copy may be shown again.
        let copy = session.flatMap { SSL_SESSION_dup($0.session) }.map { TLSResumption($0, name: name) }
        let pair = try MemoryPair(
            client: client, session: copy, server: policy, certificates: [credentials.certificate("server")]
        ).shakeHands()
        #expect(pair.isDone)
        let down = pair.sendDown([1])
        #expect(down.bytes == [1])
        #expect(pair.server.isResumed == pair.client.isResumed)
        // It does not announce a ticket that replaces another in TLS 1.2.
        let newest =
            pair.client.takeSession() ?? SSL_get1_session(pair.client.ssl).map { TLSResumption($0, name: name) }
        return (newest, pair.server.isResumed)
    }

    /// Threads have a workspace each, nodes a secret in common.
    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func oneSecretIsOneSecretEverywhere(version: Int32) throws {
        let client = try TLSClientPolicy.lenient(version: version)
        let secret = Array("a secret of the cluster".utf8)
        let here = try TLSServerPolicy(settings, tickets: TLSTickets(secret: secret))
        let there = try TLSServerPolicy(settings, tickets: TLSTickets(secret: secret))
        let elsewhere = try TLSServerPolicy(settings, tickets: TLSTickets(secret: secret + [0]))
        let session = try connect(here, client).session
        #expect(try connect(here, client, session).isResumed)
        #expect(try connect(there, client, session).isResumed)
        #expect(try !connect(elsewhere, client, session).isResumed)
        #expect(try !connect(TLSServerPolicy(settings, tickets: TLSTickets()), client, session).isResumed)
        #expect(try !connect(TLSServerPolicy(settings, tickets: nil), client, session).isResumed)
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func aTicketIsGoodForItsPolicyOnly(version: Int32) throws {
        let client = try TLSClientPolicy.lenient(version: version)
        let tickets = try TLSTickets()
        let session = try connect(TLSServerPolicy(settings, tickets: tickets), client).session
        var others = [settings, settings, settings, settings]
        others[0].minimumVersion = version == TLS1_2_VERSION ? .tls12 : .tls13
        others[0].groups = "P-256:X25519"
        others[1].clientDemand = .optional
        others[1].clientAuthorities = try credentials.authorities
        others[2].sessionContext = "x"
        others[3].applicationProtocols = ["h2"]
        for other in others {
            #expect(try !connect(TLSServerPolicy(other, tickets: tickets), client, session).isResumed)
        }
        #expect(try connect(TLSServerPolicy(settings, tickets: tickets), client, session).isResumed)
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func keysChangeWithTime(version: Int32) throws {
        let client = try TLSClientPolicy.lenient(version: version)
        let tickets = try TLSTickets(secret: [1, 2, 3], periodSeconds: 3600)
        let policy = try TLSServerPolicy(settings, tickets: tickets)
        let first = try connect(policy, client).session
        tickets.shiftClock(by: 3600)
        let second = try connect(policy, client, first)
        #expect(second.isResumed, "the last period's key is good")
        tickets.shiftClock(by: 7200)
        #expect(try !connect(policy, client, first).isResumed, "an older one is not")
        let renewed = try #require(second.session, "who shows an old ticket is given a new one")
        #expect(try connect(policy, client, renewed).isResumed)
        // The other node's clock is behind by up to one period.
        tickets.shiftClock(by: 0)
        #expect(try connect(policy, client, renewed).isResumed)
        tickets.shiftClock(by: -3600)
        #expect(try !connect(policy, client, renewed).isResumed)
    }

    @Test func aTicketThatWasChangedIsNoTicket() throws {
        let client = try TLSClientPolicy.lenient(version: TLS1_2_VERSION)
        let policy = try TLSServerPolicy(settings, tickets: TLSTickets())
        let session = try #require(try connect(policy, client).session)
        var ticket: UnsafePointer<UInt8>?
        var count = 0
        SSL_SESSION_get0_ticket(session.session, &ticket, &count)
        let bytes = UnsafeMutablePointer(mutating: try #require(ticket))
        for place in [0, 20, 40, count - 1] {
            bytes[place] ^= 0x55
            #expect(try !connect(policy, client, session).isResumed)
            bytes[place] ^= 0x55
        }
        #expect(try connect(policy, client, session).isResumed)
    }
}
