import COpenSSL
import Support
import Testing

@testable import TLS

@Suite struct ClientPolicyTests {
    let credentials: Credentials
    let server: TLSServerPolicy

    init() throws {
        credentials = try Credentials.shared.get()
        server = try TLSServerPolicy(TLSPolicySettings(), tickets: TLSTickets())
    }

    private func verifying(_ authorities: [UInt8]? = nil) throws -> TLSClientPolicy {
        try TLSClientPolicy(
            TLSClientSettings(verifies: true, authorities: authorities ?? credentials.authorities))
    }

    @Test(arguments: [
        ("server", "localhost", false, nil), ("server", "LOCALHOST", false, nil),
        ("server", "a.wild.test", false, nil), ("server", "127.0.0.1", true, nil),
        ("server", "a.b.wild.test", false, TLSFailure.wrongName), ("server", "wild.test", false, .wrongName),
        ("elsewhere", "localhost", false, .wrongName), ("server", "127.0.0.2", true, .wrongName),
        ("server", "other.test", false, .wrongName), ("expired", "localhost", false, .expiredCertificate),
    ])
    func verifiesNameAndTime(certificate: String, name: String, isAddress: Bool, failure: TLSFailure?) throws {
        let pair = try MemoryPair(
            client: verifying(), name: name, server: server, certificates: [credentials.certificate(certificate)],
            isAddress: isAddress
        ).shakeHands()
        guard let failure else {
            #expect(pair.isDone)
            #expect(pair.client.peerVerdict == .accepted)
            return
        }
        #expect(pair.clientResult == .failed(failure))
        #expect(failure.isVerification)
        #expect(pair.serverResult == .failed(.certificateRefused), "the alert has come")
    }

    @Test func verifiesTheAuthority() throws {
        let stranger = try Credentials.stranger.get().authorities
        let pair = try MemoryPair(
            client: verifying(stranger), server: server, certificates: [credentials.certificate("server")]
        ).shakeHands()
        #expect(pair.clientResult == .failed(.unknownAuthority))
        // The system's authorities do not know ours.
        let system = try TLSClientPolicy(TLSClientSettings(verifies: true))
        let other = try MemoryPair(
            client: system, server: server, certificates: [credentials.certificate("server")]
        ).shakeHands()
        #expect(other.clientResult == .failed(.unknownAuthority))
    }

    @Test func withoutVerificationAnyCertificateWillDo() throws {
        for name in ["localhost", nil] {
            let pair = try MemoryPair(
                client: .lenient(), name: name, server: server, certificates: [credentials.certificate("expired")]
            ).shakeHands()
            #expect(pair.isDone)
        }
    }

    @Test func toVerifyNeedsAName() throws {
        let space = try #require(TLSWorkspace())
        let policy = try verifying()
        #expect(TLSStream(client: policy, serverName: nil, workspace: space) == nil)
        #expect(TLSStream(client: policy, serverName: "no address", isAddress: true, workspace: space) == nil)
        #expect(TLSStream(client: policy, serverName: "", workspace: space) == nil)
        #expect(ERR_peek_error() == 0)
    }

    @Test func refusesAnAuthorityThatIsNone() throws {
        for bytes in [[], Array("junk".utf8), try credentials.bytes("client.key")] {
            #expect(throws: TLSError.self) {
                try TLSClientPolicy(TLSClientSettings(verifies: true, authorities: bytes))
            }
        }
    }

    /// A resumed session was verified when it began; its peer is the one who holds its secret.
    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func aSessionMayBeUsedAgain(version: Int32) throws {
        let client = try verifying()
        #expect(SSL_CTX_ctrl(client.context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(version), nil) == 1)
        var session: TLSResumption?
        for round in 0..<3 {
            let pair = try MemoryPair(
                client: client, session: session, server: server, certificates: [credentials.certificate("server")]
            ).shakeHands()
            #expect(pair.isDone && pair.client.isResumed == (round > 0))
            #expect(pair.client.peerVerdict == .accepted)
            _ = pair.sendDown([1])
            session = pair.client.takeSession() ?? session
        }
    }

    @Test func aTaskThatSpeaksPlainHTTPIsNamed() throws {
        let pair = try MemoryPair(
            client: verifying(), server: server, certificates: [credentials.certificate("server")])
        pair.turnClient()
        pair.toClient = Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8)
        pair.turnClient()
        guard case .failed(let failure) = pair.clientResult else {
            Issue.record("plain text is no TLS")
            return
        }
        #expect(!failure.isVerification)
    }

    /// Else a session that nobody verified would open the way to one who is not verified.
    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func aSessionIsOfItsPolicyAndName(version: Int32) throws {
        let lenient = try TLSClientPolicy.lenient(version: version)
        let other = try verifying(Credentials.stranger.get().authorities)
        func connect(_ client: TLSClientPolicy, _ name: String, _ session: TLSResumption?) throws -> MemoryPair {
            try MemoryPair(
                client: client, name: name, session: session, server: server,
                certificates: [credentials.certificate("server")]
            ).shakeHands()
        }
        func newSession() throws -> TLSResumption {
            let pair = try connect(lenient, "localhost", nil)
            _ = pair.sendDown([1])
            return try #require(pair.client.takeSession())
        }
        #expect(try connect(lenient, "localhost", newSession()).client.isResumed)
        #expect(try connect(.lenient(version: version), "localhost", newSession()).client.isResumed, "equal settings")
        #expect(try !connect(lenient, "other", newSession()).client.isResumed)
        #expect(try connect(other, "localhost", newSession()).clientResult == .failed(.unknownAuthority))
    }

    /// Any certificate of the file is trusted, whoever signed it; a server's own will do too.
    @Test func anyAuthorityOfTheFileIsAnAnchor() throws {
        for file in ["server.pem", "ca.pem"] {
            let pair = try MemoryPair(
                client: verifying(credentials.bytes(file)), server: server,
                certificates: [credentials.certificate("server")]
            ).shakeHands()
            #expect(pair.isDone, "\(file)")
        }
    }

    @Test func aNewConnectionReadsNothingOfAnother() throws {
        let space = try #require(TLSWorkspace())
        let policy = try TLSClientPolicy.lenient()
        try [UInt8](repeating: 22, count: 100).withUnsafeBytes {
            space.setInput($0)
            let stream = try #require(TLSStream(client: policy, serverName: "a", workspace: space))
            #expect(stream.handshake() == .needsInput)
            stream.free()
        }
    }
}
