import COpenSSL
import Support
import Testing

@testable import TLS

@Suite struct AbuseTests {
    let credentials: Credentials
    let policy: TLSServerPolicy

    init() throws {
        credentials = try Credentials.shared.get()
        policy = try TLSServerPolicy(TLSPolicySettings(), tickets: TLSTickets())
    }

    private func pair(_ version: Int32) throws -> MemoryPair {
        try MemoryPair(
            client: .lenient(version: version), server: policy, certificates: [credentials.certificate("server")])
    }

    /// Sends one KeyUpdate that asks for another, without data.
    private func updateKey(_ pair: MemoryPair) {
        var nothing: [UInt8] = []
        MemoryPair.give(&nothing, pair.clientSpace, &pair.toServer) {
            #expect(SSL_key_update(pair.client.ssl, SSL_KEY_UPDATE_REQUESTED) == 1)
            #expect(SSL_do_handshake(pair.client.ssl) == 1)
        }
    }

    @Test func aFloodOfKeyUpdatesEnds() throws {
        let pair = try pair(TLS1_3_VERSION).shakeHands()
        for number in 1...65 {
            updateKey(pair)
            let read = pair.readUp()
            #expect(read.end == (number <= 64 ? .needsInput : .failed(.flood)), "after \(number)")
            _ = pair.readDown()
        }
    }

    @Test func aFloodInOneReadEnds() throws {
        let pair = try pair(TLS1_3_VERSION).shakeHands()
        for _ in 0..<5000 { updateKey(pair) }
        let waiting = pair.toServer.count
        let read = pair.readUp()
        #expect(read.end == .failed(.flood))
        #expect(waiting > 100_000 && pair.toClient.count < waiting / 2, "what came after was not answered")
    }

    @Test func aLittleDataIsNoExcuse() throws {
        let pair = try pair(TLS1_3_VERSION).shakeHands()
        var last = TLSStream.Read.needsInput
        for _ in 0..<200 where last == .needsInput {
            updateKey(pair)
            last = pair.sendUp([1]).end
            _ = pair.readDown()
        }
        #expect(last == .failed(.flood))
    }

    @Test func keyUpdatesOnceInAWhileAreFine() throws {
        let pair = try pair(TLS1_3_VERSION).shakeHands()
        for _ in 0..<200 {
            updateKey(pair)
            for _ in 0..<16 {
                let up = pair.sendUp([1])
                #expect(up.bytes == [1] && up.end == .needsInput)
            }
            _ = pair.readDown()
        }
    }

    @Test func renegotiationIsRefused() throws {
        let pair = try pair(TLS1_2_VERSION).shakeHands()
        var nothing: [UInt8] = []
        MemoryPair.give(&nothing, pair.clientSpace, &pair.toServer) {
            SSL_clear_options(pair.client.ssl, UInt64(1) << 30)  // SSL_OP_NO_RENEGOTIATION
            #expect(SSL_renegotiate(pair.client.ssl) == 1)
            _ = SSL_do_handshake(pair.client.ssl)
            ERR_clear_error()
        }
        let read = pair.readUp()
        #expect(read.bytes.isEmpty && read.end == .failed(.renegotiation))
        #expect(pair.readDown().end == .failed(.renegotiation), "the client is told")
    }

    @Test(arguments: [
        (Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8), TLSFailure.plainHTTP),
        (Array("CONNECT a:1 HTTP/1.1\r\n\r\n".utf8), .plainHTTP), (Array("POST / HTTP/1.1\r\n".utf8), .plainHTTP),
        (Array("hello there, is this TLS?".utf8), .garbage), ([22, 3, 1, 0, 4, 2, 0, 0, 0], .garbage),
        ([21, 3, 1, 0, 2, 2, 40], .garbage), ([23, 3, 3, 0, 1, 65], .garbage),
        ([22, 3, 1, 0xFF, 0xFF, 1], .garbage),
    ])
    func namesWhatIsNoTLS(bytes: [UInt8], failure: TLSFailure) throws {
        let pair = try pair(TLS1_3_VERSION)
        pair.toServer = bytes
        pair.turnServer()
        #expect(pair.serverResult == .failed(failure))
        #expect(ERR_peek_error() == 0)
    }

    @Test func aHelloCutAnywhereWaitsOrFails() throws {
        let whole = try pair(TLS1_3_VERSION)
        whole.turnClient()
        for count in 0..<whole.toServer.count {
            let cut = try pair(TLS1_3_VERSION)
            cut.toServer = Array(whole.toServer[..<count])
            cut.turnServer()
            #expect(cut.serverResult == .needsInput)
        }
    }

    @Test func codesAreDifferentAndOfOneForm() {
        let codes = TLSFailure.allCases.map { $0.code.description }
        #expect(Set(codes).count == codes.count)
        for code in codes {
            #expect(code.hasPrefix("tls_") && code.allSatisfy { $0.isLowercase || $0 == "_" })
        }
    }
}
