import COpenSSL
import Kernel
import Support
import Testing

@testable import TLS

@Suite struct StreamTests {
    let credentials: Credentials
    let policy: TLSServerPolicy

    init() throws {
        credentials = try Credentials.shared.get()
        policy = try TLSServerPolicy(TLSPolicySettings(), tickets: TLSTickets())
    }

    private func pair(
        version: Int32? = nil, name: String? = "localhost", routedName: String? = nil, session: TLSResumption? = nil
    ) throws -> MemoryPair {
        try MemoryPair(
            client: .lenient(version: version), name: name, session: session, server: policy,
            certificates: [credentials.certificate("server")], routedName: routedName)
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func talksAndResumes(version: Int32) throws {
        let client = try TLSClientPolicy.lenient(version: version, protocols: ["h2", "http/1.1"])
        var session: TLSResumption?
        for round in 0..<3 {
            let pair = try MemoryPair(
                client: client, session: session, server: policy, certificates: [credentials.certificate("server")]
            ).shakeHands()
            #expect(pair.isDone)
            #expect(pair.server.isResumed == (round > 0))
            #expect(pair.client.isResumed == (round > 0))
            #expect(pair.server.version == (version == TLS1_3_VERSION ? .tls13 : .tls12))
            #expect(String(decoding: pair.server.applicationProtocol, as: UTF8.self) == "http/1.1")
            #expect(String(cString: try #require(pair.server.cipherName)).contains("GCM"))
            let long = [UInt8](repeating: 7, count: 100_000)
            let up = pair.sendUp(long)
            #expect(up.bytes == long && up.end == .needsInput)
            let down = pair.sendDown(long)
            #expect(down.bytes == long && down.end == .needsInput)
            if let newer = pair.client.takeSession() { session = newer }
            #expect(session?.isSingleUse == (version == TLS1_3_VERSION))
            #expect(SSL_SESSION_get_max_early_data(try #require(session).session) == 0)
            #expect(pair.client.takeSession() == nil)
        }
    }

    @Test func givesOneTicket() throws {
        let pair = try pair(version: TLS1_3_VERSION).shakeHands()
        let down = pair.sendDown([1])
        #expect(down.bytes == [1])
        // One message, and the read of one byte.
        #expect(pair.client.state.pointee.idle_cost == UInt32(IL_MESSAGE_COST) - 1)
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func takesItByteByByte(version: Int32) throws {
        let pair = try pair(version: version)
        func drip(_ input: inout [UInt8], _ body: (inout [UInt8]) -> Void) {
            let all = input
            input = []
            for byte in all {
                var one = [byte]
                body(&one)
                #expect(one.isEmpty, "all input is consumed")
            }
        }
        pair.turnClient()
        for _ in 0..<4 where !pair.isDone {
            drip(&pair.toServer) { one in
                guard pair.serverResult == .needsInput else { return }
                pair.serverResult = MemoryPair.give(&one, pair.serverSpace, &pair.toClient) { pair.server.handshake() }
            }
            drip(&pair.toClient) { one in
                if pair.clientResult == .needsInput {
                    pair.clientResult = MemoryPair.give(&one, pair.clientSpace, &pair.toServer) {
                        pair.client.handshake()
                    }
                } else {
                    let read = MemoryPair.give(&one, pair.clientSpace, &pair.toServer) {
                        MemoryPair.readAll(pair.client)
                    }
                    #expect(read.end == .needsInput && read.bytes.isEmpty)
                }
            }
        }
        #expect(pair.isDone)
        let message = Array("a small record".utf8)
        pair.writeUp(message + message)
        var got: [UInt8] = []
        drip(&pair.toServer) { one in
            let read = MemoryPair.give(&one, pair.serverSpace, &pair.toClient) { MemoryPair.readAll(pair.server) }
            #expect(read.end == .needsInput)
            got += read.bytes
        }
        #expect(got == message + message)
    }

    @Test func tellsWhatIsPending() throws {
        let pair = try pair().shakeHands()
        pair.writeUp([UInt8](repeating: 1, count: 100))
        pair.writeUp([UInt8](repeating: 2, count: 100))
        var buffer = [UInt8](repeating: 0, count: 60)
        var counts: [Int] = []
        let last = MemoryPair.give(&pair.toServer, pair.serverSpace, &pair.toClient) {
            while true {
                let result = buffer.withUnsafeMutableBytes { raw in
                    raw.baseAddress.map { pair.server.read(into: $0, capacity: raw.count) } ?? .needsInput
                }
                guard case .bytes(let count) = result else { return result }
                counts.append(count)
                #expect(pair.server.hasPending == (counts.count < 4))
            }
        }
        #expect(counts == [60, 40, 60, 40])
        #expect(last == .needsInput)
        #expect(!pair.server.hasPending)
    }

    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func theEndIsTold(version: Int32) throws {
        let pair = try pair(version: version).shakeHands()
        pair.writeUp([1, 2, 3])
        var nothing: [UInt8] = []
        MemoryPair.give(&nothing, pair.clientSpace, &pair.toServer) { pair.client.closeNotify() }
        let read = pair.readUp()
        #expect(read.bytes == [1, 2, 3] && read.end == .ended)
        // The other direction goes on.
        let down = pair.sendDown([4])
        #expect(down.bytes == [4])
    }

    @Test func aMissingEndIsNoEnd() throws {
        let pair = try pair().shakeHands()
        let read = pair.sendUp([1])
        #expect(read.bytes == [1] && read.end == .needsInput)
    }

    @Test func changedBytesAreRefused() throws {
        let pair = try pair().shakeHands()
        pair.writeUp([1, 2, 3])
        pair.toServer[8] ^= 1
        let read = pair.readUp()
        #expect(read.bytes.isEmpty && read.end == .failed(.garbage))
        #expect(!pair.toClient.isEmpty, "an alert is to be sent")
        #expect(ERR_peek_error() == 0)
    }

    // MARK: Names

    @Test(arguments: [
        ("localhost", "localhost", true), ("LocalHost", "localhost", true), ("localhost", "LOCALHOST", true),
        ("localhost", "localhost.", false), ("localhost", "other", false), ("localhost", "", false),
        ("localhost", "localhos", false), ("localhost", "localhostt", false), (nil, "", true),
        (nil, "localhost", false),
    ])
    func theNameIsTheOneThatWasRoutedBy(sent: String?, routed: String, isGood: Bool) throws {
        for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
            let pair = try pair(version: version, name: sent, routedName: routed).shakeHands()
            #expect(pair.isDone == isGood)
            if !isGood { #expect(pair.serverResult == .failed(.serverName)) }
        }
    }

    @Test(arguments: [true, false])
    func theSecondHelloNamesTheSame(isSame: Bool) throws {
        let client = try TLSClientPolicy.lenient()
        // Its first key share is of no use here: the server asks for another hello.
        #expect(il_ssl_ctx_set_groups(client.context, "P-521:P-256") == 1)
        let pair = try MemoryPair(
            client: client, server: policy, certificates: [credentials.certificate("server")])
        pair.turn()
        #expect(pair.serverResult == .needsInput)
        if !isSame { #expect(il_ssl_set_server_name(pair.client.ssl, "elsewhere") == 1) }
        pair.shakeHands()
        #expect(pair.isDone == isSame)
        if !isSame { #expect(pair.serverResult == .failed(.serverName)) }
    }

    /// Our own client would not do it: another may show a ticket where it asks for another host.
    @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func aTicketChangesNoName(version: Int32) throws {
        let first = try pair(version: version).shakeHands()
        _ = first.sendDown([1])
        let session = try #require(first.client.takeSession())
        func show(routedName: String) throws -> MemoryPair {
            let pair = try pair(version: version, name: "other", routedName: routedName)
            let copy = try #require(SSL_SESSION_dup(session.session))
            #expect(SSL_set_session(pair.client.ssl, copy) == 1)
            SSL_SESSION_free(copy)
            return pair.shakeHands()
        }
        let moved = try show(routedName: "other")
        #expect(moved.isDone && moved.server.isResumed)
        #expect(try show(routedName: "localhost").serverResult == .failed(.serverName))
    }

    // MARK: Owners

    @Test func handshakesOfOneThreadMayInterleave() throws {
        let space = try #require(TLSWorkspace())
        let client = try TLSClientPolicy.lenient()
        let certificate = try credentials.certificate("server")
        var pairs = try (0..<20).map { _ in
            try MemoryPair(client: client, server: policy, certificates: [certificate], serverSpace: space)
        }
        for pair in pairs { pair.turn() }
        // Some go in the middle of their handshake, in another order than they came.
        for index in [17, 3, 11, 0] { pairs.remove(at: index) }
        for pair in pairs.reversed() { pair.shakeHands() }
        for pair in pairs {
            let up = pair.sendUp([1, 2])
            #expect(pair.isDone && up.bytes == [1, 2])
        }
    }

    @Test func whatIsSharedMayGoFirst() throws {
        var space: TLSWorkspace? = TLSWorkspace()
        var policy: TLSServerPolicy? = try TLSServerPolicy(TLSPolicySettings(), tickets: TLSTickets())
        var certificate: TLSCertificate? = try credentials.certificate("server")
        let stream = try #require(Self.stream(policy, certificate, space))
        space = nil
        policy = nil
        certificate = nil
        #expect(stream.handshake() == .needsInput)
        stream.closeNotify()
        stream.free()
    }

    private static func stream(
        _ policy: TLSServerPolicy?, _ certificate: TLSCertificate?, _ space: TLSWorkspace?
    ) -> TLSStream? {
        guard let policy, let certificate, let space else { return nil }
        return TLSStream(
            server: policy, certificates: [certificate], serverName: UnsafeRawBufferPointer(start: nil, count: 0),
            workspace: space)
    }
}
