import COpenSSL
import Support
import Testing

@testable import TLS

@Suite struct ClientCertificateTests {
    let credentials: Credentials
    let tickets: TLSTickets

    init() throws {
        credentials = try Credentials.shared.get()
        tickets = try TLSTickets()
    }

    private func policy(_ demand: TLSPolicySettings.ClientDemand) throws -> TLSServerPolicy {
        try TLSServerPolicy(
            TLSPolicySettings(clientDemand: demand, clientAuthorities: credentials.authorities), tickets: tickets)
    }

    private func client(_ version: Int32, _ certificate: TLSCertificate?) throws -> TLSClientPolicy {
        let client = try TLSClientPolicy.lenient(version: version)
        if let certificate { client.show(certificate) }
        return client
    }

    private func shake(
        _ client: TLSClientPolicy, _ policy: TLSServerPolicy, _ session: TLSResumption? = nil
    ) throws -> MemoryPair {
        try MemoryPair(
            client: client, session: session, server: policy, certificates: [credentials.certificate("server")]
        ).shakeHands()
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func requiredMeansRequired(version: Int32) throws {
        let policy = try policy(.required)
        let none = try shake(client(version, nil), policy)
        #expect(none.serverResult == .failed(.noClientCertificate))
        #expect(none.serverResult != .done)
        let stranger = try shake(client(version, Credentials.stranger.get().certificate("client")), policy)
        #expect(stranger.serverResult == .failed(.unknownAuthority))
        let expired = try shake(client(version, credentials.certificate("expired")), policy)
        #expect(expired.serverResult == .failed(.expiredCertificate))
        // In TLS 1.3 the client is done before the server has judged: it hears of it when it reads.
        if version == TLS1_3_VERSION {
            #expect(none.readDown().end == .failed(.certificateRefused))
        } else {
            #expect(expired.clientResult == .failed(.certificateRefused))
        }
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func theCertificateIsKnownAlsoWhenResumed(version: Int32) throws {
        let client = try client(version, credentials.certificate("client"))
        let policy = try policy(.required)
        var session: TLSResumption?
        for round in 0..<3 {
            let pair = try shake(client, policy, session)
            #expect(pair.isDone && pair.server.isResumed == (round > 0))
            #expect(pair.server.peerVerdict == .accepted)
            #expect(String(decoding: pair.server.peerSubject(), as: UTF8.self) == "CN=client")
            let der = pair.server.peerCertificateDER()
            let text = try credentials.bytes("client.pem")
            let expected = try CertificateReader.certificates(text, what: "certificate")
            defer { expected.forEach { X509_free($0) } }
            let got = der.withUnsafeBufferPointer { bytes -> OpaquePointer? in
                var position = bytes.baseAddress
                return d2i_X509(nil, &position, bytes.count)
            }
            defer { X509_free(got) }
            #expect(X509_cmp(got, expected[0]) == 0)
            _ = pair.sendDown([1])
            if let newer = pair.client.takeSession() { session = newer }
        }
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func optionalTellsWhatItSaw(version: Int32) throws {
        let policy = try policy(.optional)
        let none = try shake(client(version, nil), policy)
        #expect(none.isDone && none.server.peerVerdict == .none)
        #expect(none.server.peerSubject().isEmpty && none.server.peerCertificateDER().isEmpty)
        let good = try shake(client(version, credentials.certificate("client")), policy)
        #expect(good.isDone && good.server.peerVerdict == .accepted)
        let stranger = try client(version, Credentials.stranger.get().certificate("client"))
        var session: TLSResumption?
        for round in 0..<2 {
            let bad = try shake(stranger, policy, session)
            #expect(bad.isDone && bad.server.isResumed == (round > 0))
            #expect(bad.server.peerVerdict == .failed(.unknownAuthority))
            #expect(!bad.server.peerVerdictReason.isEmpty)
            _ = bad.sendDown([1])
            session = bad.client.takeSession() ?? session
        }
        let expired = try shake(client(version, credentials.certificate("expired")), policy)
        #expect(expired.isDone && expired.server.peerVerdict == .failed(.expiredCertificate))
    }

    /// A session of a host that asks for nothing is worth nothing where a certificate is required.
    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func aSessionOpensNoOtherDoor(version: Int32) throws {
        let client = try client(version, nil)
        for demand in [TLSPolicySettings.ClientDemand.none, .optional] {
            let open = try shake(client, policy(demand))
            #expect(open.isDone)
            _ = open.sendDown([1])
            let session = try #require(open.client.takeSession())
            #expect(try shake(client, policy(.required), session).serverResult == .failed(.noClientCertificate))
        }
    }

    @Test func theAuthoritiesAreNamedToTheClient() throws {
        let pair = try shake(client(TLS1_3_VERSION, nil), policy(.optional))
        let names = SSL_get_client_CA_list(pair.client.ssl)
        #expect(OPENSSL_sk_num(names) == 1)
    }

    @Test func subjectsAreEscaped() throws {
        try credentials.issue(
            "odd", key: ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            subject: "/O=Acme, Inc./OU=a\\+b \"c\"/CN=J\u{fc}rgen", extensions: "subjectAltName=DNS:odd\n")
        let pair = try shake(client(TLS1_3_VERSION, credentials.certificate("odd")), policy(.required))
        let subject = String(decoding: pair.server.peerSubject(), as: UTF8.self)
        #expect(subject.hasSuffix("O=Acme\\, Inc."), "\(subject)")
        #expect(subject.allSatisfy { $0.isASCII && !$0.isNewline }, "\(subject)")
    }
}
