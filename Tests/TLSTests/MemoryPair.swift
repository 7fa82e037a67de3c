// A client and a server that talk in memory, each with a workspace of its own, as if each were a thread of its own.

import Support
import Testing

@testable import TLS

/// Credentials in a folder, as bytes.
struct Credentials {
    let authority: TestAuthority

    func bytes(_ file: String) throws -> [UInt8] { try readFile("\(authority.folder)/\(file)") }

    func certificate(_ name: String) throws -> TLSCertificate {
        try TLSCertificate(chainPEM: bytes("\(name).pem"), keyPEM: bytes("\(name).key"))
    }

    var authorities: [UInt8] { get throws { try bytes("ca.pem") } }
}

/// Two ends; `pump` moves what each has written to the other.
final class MemoryPair {
    let clientSpace: TLSWorkspace
    let serverSpace: TLSWorkspace
    let client: TLSStream
    let server: TLSStream
    var clientResult = TLSStream.Handshake.needsInput
    var serverResult = TLSStream.Handshake.needsInput
    private var toClient: [UInt8] = []
    private var toServer: [UInt8] = []

    init(
        client: TLSClientPolicy, name: String? = "localhost", session: TLSResumption? = nil, server: TLSServerPolicy,
        certificates: [TLSCertificate], routedName: String? = nil
    ) throws {
        clientSpace = try #require(TLSWorkspace())
        serverSpace = try #require(TLSWorkspace())
        self.client = try #require(
            TLSStream(client: client, serverName: name, session: session, workspace: clientSpace))
        let space = serverSpace
        self.server = try #require(
            Array((routedName ?? name ?? "").utf8).withUnsafeBytes {
                TLSStream(server: server, certificates: certificates, serverName: $0, workspace: space)
            })
    }

    deinit {
        client.free()
        server.free()
    }

    private func step(_ space: TLSWorkspace, _ input: inout [UInt8], _ output: inout [UInt8], _ body: () -> Void) {
        input.withUnsafeBytes {
            space.setInput($0)
            body()
        }
        input.removeAll()
        output += Array(space.output)
        space.dropOutput()
    }

    /// One turn of each side's handshake.
    func turn() {
        step(clientSpace, &toClient, &toServer) {
            if clientResult == .needsInput { clientResult = client.handshake() }
        }
        step(serverSpace, &toServer, &toClient) {
            if serverResult == .needsInput { serverResult = server.handshake() }
        }
    }

    func shakeHands() {
        for _ in 0..<6 where clientResult == .needsInput || serverResult == .needsInput { turn() }
    }

    private func readAll(_ stream: TLSStream) -> (bytes: [UInt8], end: TLSStream.Read) {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 20_000)
        while true {
            let result = buffer.withUnsafeMutableBytes { raw -> TLSStream.Read in
                guard let base = raw.baseAddress else { return .needsInput }
                return stream.read(into: base, capacity: raw.count)
            }
            guard case .bytes(let count) = result else { return (bytes, result) }
            bytes += buffer[..<count]
        }
    }

    private func write(_ bytes: [UInt8], to stream: TLSStream, _ space: TLSWorkspace, _ output: inout [UInt8]) {
        let failure = bytes.withUnsafeBytes { raw in
            raw.baseAddress.flatMap { stream.write($0, count: raw.count) }
        }
        #expect(failure == nil)
        output += Array(space.output)
        space.dropOutput()
    }

    /// Writes at the client and reads at the server.
    func sendUp(_ bytes: [UInt8]) -> (bytes: [UInt8], end: TLSStream.Read) {
        write(bytes, to: client, clientSpace, &toServer)
        var result: (bytes: [UInt8], end: TLSStream.Read) = ([], .needsInput)
        step(serverSpace, &toServer, &toClient) { result = readAll(server) }
        return result
    }

    /// Writes at the server and reads at the client.
    func sendDown(_ bytes: [UInt8]) -> (bytes: [UInt8], end: TLSStream.Read) {
        write(bytes, to: server, serverSpace, &toClient)
        var result: (bytes: [UInt8], end: TLSStream.Read) = ([], .needsInput)
        step(clientSpace, &toClient, &toServer) { result = readAll(client) }
        return result
    }
}
