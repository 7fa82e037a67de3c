// A client and a server that talk in memory, each with a workspace of its own, as if each were a thread of its own.

import Support
import Testing

@testable import TLS

/// Two ends; what each has written waits until the other is given it.
final class MemoryPair {
    let clientSpace: TLSWorkspace
    let serverSpace: TLSWorkspace
    let client: TLSStream
    let server: TLSStream
    var clientResult = TLSStream.Handshake.needsInput
    var serverResult = TLSStream.Handshake.needsInput
    var toClient: [UInt8] = []
    var toServer: [UInt8] = []

    init(
        client: TLSClientPolicy, name: String? = "localhost", session: TLSResumption? = nil, server: TLSServerPolicy,
        certificates: [TLSCertificate], routedName: String? = nil, serverSpace: TLSWorkspace? = nil,
        isAddress: Bool = false
    ) throws {
        clientSpace = try #require(TLSWorkspace(outputCapacity: 1))
        let space = try #require(serverSpace ?? TLSWorkspace(outputCapacity: 1))
        self.serverSpace = space
        self.client = try #require(
            TLSStream(
                client: client, serverName: name, isAddress: isAddress, session: session, workspace: clientSpace))
        let routed = routedName ?? (isAddress ? "" : name ?? "")
        self.server = try #require(
            Array(routed.utf8).withUnsafeBytes {
                TLSStream(server: server, certificates: certificates, serverName: $0, workspace: space)
            })
    }

    deinit {
        client.free()
        server.free()
    }

    /// One turn of each side's handshake.
    func turn() {
        turnClient()
        turnServer()
    }

    func turnClient() {
        guard clientResult == .needsInput else { return }
        clientResult = Self.give(&toClient, clientSpace, &toServer) { client.handshake() }
    }

    func turnServer() {
        guard serverResult == .needsInput else { return }
        serverResult = Self.give(&toServer, serverSpace, &toClient) { server.handshake() }
    }

    @discardableResult
    func shakeHands() -> MemoryPair {
        for _ in 0..<6 where clientResult == .needsInput || serverResult == .needsInput { turn() }
        return self
    }

    var isDone: Bool { clientResult == .done && serverResult == .done }

    /// Lets `body` have `input` as its window and takes its output.
    static func give<Result>(
        _ input: inout [UInt8], _ space: TLSWorkspace, _ output: inout [UInt8], _ body: () -> Result
    ) -> Result {
        let taken = input
        let result = taken.withUnsafeBytes { window in
            space.setInput(window)
            let result = body()
            input = Array(space.remainingInput)
            return result
        }
        output += Array(space.output)
        space.dropOutput()
        return result
    }

    static func readAll(_ stream: TLSStream, capacity: Int = 20_000) -> (bytes: [UInt8], end: TLSStream.Read) {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: capacity)
        while true {
            let result = buffer.withUnsafeMutableBytes { raw -> TLSStream.Read in
                guard let base = raw.baseAddress else { return .needsInput }
                return stream.read(into: base, capacity: raw.count)
            }
            guard case .bytes(let count) = result else { return (bytes, result) }
            bytes += buffer[..<count]
        }
    }

    static func write(_ bytes: [UInt8], to stream: TLSStream) -> TLSFailure? {
        bytes.withUnsafeBytes { raw in raw.baseAddress.flatMap { stream.write($0, count: raw.count) } }
    }

    /// Writes at the client without handing it to the server.
    func writeUp(_ bytes: [UInt8]) {
        var nothing: [UInt8] = []
        #expect(Self.give(&nothing, clientSpace, &toServer) { Self.write(bytes, to: client) } == nil)
    }

    func writeDown(_ bytes: [UInt8]) {
        var nothing: [UInt8] = []
        #expect(Self.give(&nothing, serverSpace, &toClient) { Self.write(bytes, to: server) } == nil)
    }

    /// Reads at the server what waits for it.
    func readUp(capacity: Int = 20_000) -> (bytes: [UInt8], end: TLSStream.Read) {
        Self.give(&toServer, serverSpace, &toClient) { Self.readAll(server, capacity: capacity) }
    }

    func readDown(capacity: Int = 20_000) -> (bytes: [UInt8], end: TLSStream.Read) {
        Self.give(&toClient, clientSpace, &toServer) { Self.readAll(client, capacity: capacity) }
    }

    func sendUp(_ bytes: [UInt8]) -> (bytes: [UInt8], end: TLSStream.Read) {
        writeUp(bytes)
        return readUp()
    }

    func sendDown(_ bytes: [UInt8]) -> (bytes: [UInt8], end: TLSStream.Read) {
        writeDown(bytes)
        return readDown()
    }
}
