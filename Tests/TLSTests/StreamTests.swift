import Kernel
import Support
import Testing

@testable import TLS

private let credentials = Result { () throws in
    let authority = try TestAuthority()
    try authority.issue("server", names: "DNS:localhost,DNS:*.wild.test,IP:127.0.0.1")
    return Credentials(authority: authority)
}

@Suite struct StreamTests {
    @Test func talksBothWays() throws {
        let credentials = try credentials.get()
        let policy = try TLSServerPolicy(TLSPolicySettings(), tickets: TLSTickets())
        let client = try TLSClientPolicy(
            TLSClientSettings(
                verifies: true, authorities: credentials.authorities, applicationProtocols: ["h2", "http/1.1"]))
        var session: TLSResumption?
        for round in 0..<2 {
            let pair = try MemoryPair(
                client: client, session: session, server: policy, certificates: [credentials.certificate("server")])
            pair.shakeHands()
            #expect(pair.clientResult == .done && pair.serverResult == .done)
            #expect(pair.server.isResumed == (round == 1))
            #expect(pair.client.isResumed == (round == 1))
            #expect(pair.server.version == .tls13)
            #expect(String(decoding: pair.server.applicationProtocol, as: UTF8.self) == "http/1.1")
            let long = [UInt8](repeating: 7, count: 100_000)
            let up = pair.sendUp(long)
            #expect(up.bytes == long && up.end == .needsInput)
            let down = pair.sendDown(long)
            #expect(down.bytes == long && down.end == .needsInput)
            session = pair.client.takeSession()
            #expect(session?.isSingleUse == true)
        }
    }
}
