// Owns the properties of what OpenSSL is given: the first bytes of a connection, and files of certificates and keys.
// FUZZ_CREDENTIALS names a PEM file with a certificate and its key, which run.sh has made.

internal import COpenSSL
import Glibc

/// Made when first used: targets without TLS need no certificate.
nonisolated(unsafe) private let server = makeServer()

private struct Server {
    var workspace: TLSWorkspace
    var policy: TLSServerPolicy
    var pem: [UInt8]
    var certificate: TLSCertificate
}

private func makeServer() -> Server {
    guard let path = getenv("FUZZ_CREDENTIALS"), let file = fopen(path, "r") else { fatalError("FUZZ_CREDENTIALS") }
    defer { fclose(file) }
    var pem = [UInt8](repeating: 0, count: 65536)
    pem.removeLast(pem.count - fread(&pem, 1, pem.count, file))
    guard let workspace = TLSWorkspace(), let certificate = try? TLSCertificate(chainPEM: pem),
        let policy = try? TLSServerPolicy(TLSPolicySettings(), tickets: TLSTickets())
    else { fatalError("FUZZ_CREDENTIALS") }
    return Server(workspace: workspace, policy: policy, pem: pem, certificate: certificate)
}

private struct Answer: Equatable {
    var result: TLSStream.Handshake
    /// It has sent a ServerHello or a request for another hello.
    var isHandshake: Bool
}

/// Gives a new connection `pieces`, one after the other.
private func answer(_ pieces: [Bytes], name: [UInt8]) -> Answer {
    let space = server.workspace
    let made = name.withUnsafeBytes {
        TLSStream(server: server.policy, certificates: [server.certificate], serverName: $0, workspace: space)
    }
    guard let stream = made else { fatalError("no memory") }
    var result = TLSStream.Handshake.needsInput
    for piece in pieces where result == .needsInput {
        space.setInput(UnsafeRawBufferPointer(start: piece.base, count: piece.count))
        result = stream.handshake()
        require(result != .needsInput || space.remainingInput.isEmpty, "who needs input has read all there was")
    }
    require(result != .done, "nobody finishes a handshake without the keys")
    require(ERR_peek_error() == 0, "no error is left for another connection")
    let isHandshake = space.output.first == 22
    space.dropOutput()
    stream.free()
    return Answer(result: result, isHandshake: isHandshake)
}

/// What routing reads in a hello and what OpenSSL reads must be the same.
func fuzzTLS(_ input: Bytes) {
    guard input.count > 5, input.count < 4096 else { return }
    let seen = peek(input)
    var name: [UInt8] = []
    if case .named(let found, _) = seen { name = found }
    let whole = withExactCopy(input) { answer([$0], name: name) }
    switch seen {
    case .named: require(whole.result != .failed(.serverName), "both read the same name")
    case .incomplete: require(!whole.isHandshake, "what is no whole hello to routing is none to OpenSSL")
    case .refused: break
    }
    let cut = input.count / 2
    let halves = withExactCopy(input.slice(from: 0, to: cut)) { first in
        withExactCopy(input.slice(from: cut)) { answer([first, $0], name: name) }
    }
    require(halves == whole, "a handshake goes the same however it is cut")
}

/// Any file: as a certificate with its key, beside a good key, as an OCSP response, as authorities.
func fuzzPEM(_ input: Bytes) {
    let bytes = input.array()
    for (chain, key, staple) in [
        (bytes, nil, nil), (bytes, server.pem, nil), (server.pem, bytes, nil), (server.pem, nil, bytes),
    ] as [([UInt8], [UInt8]?, [UInt8]?)] {
        do throws(TLSError) {
            let certificate = try TLSCertificate(chainPEM: chain, keyPEM: key, stapleDER: staple)
            _ = certificate.covers(host: "a.example.com")
            let space = server.workspace
            let stream = TLSStream(
                server: server.policy, certificates: [certificate],
                serverName: UnsafeRawBufferPointer(start: nil, count: 0), workspace: space)
            stream?.free()
        } catch {
            require(error.kind == .configuration, "a wrong file is a wrong configuration")
        }
        require(ERR_peek_error() == 0, "no error is left for another file")
    }
    let settings = TLSPolicySettings(clientDemand: .optional, clientAuthorities: bytes)
    if let policy = try? TLSServerPolicy(settings, tickets: nil) {
        require(policy.settings.clientAuthorities.count > 100, "authorities do not come from nothing")
    }
    require(ERR_peek_error() == 0, "no error is left for another file")
}
