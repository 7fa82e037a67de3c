import Kernel
import Support
import Testing

@testable import TLS

/// One authority for all tests: issuing takes time.
private let authority = Result { () throws in
    let authority = try TestAuthority()
    try authority.issue("server", names: "DNS:localhost,IP:127.0.0.1,IP:::1")
    try authority.issue("elsewhere", names: "DNS:elsewhere.test,DNS:*.wild.test")
    try authority.issue("expired", names: "DNS:localhost,IP:127.0.0.1", days: -1)
    try authority.issue("client", names: "DNS:client")
    return authority
}

@Suite struct TLSContextTests {
    private func failure(authorityFile: String? = nil, _ certificate: String, _ key: String) -> TLSError? {
        do throws(TLSError) {
            _ = try TLSContext(
                clientTrusting: authorityFile, credential: TLSCredential(certificateFile: certificate, keyFile: key))
            return nil
        } catch {
            return error
        }
    }

    @Test func loadsWhatIsGood() throws {
        let folder = try authority.get().folder
        #expect(failure(authorityFile: "\(folder)/ca.pem", "\(folder)/client.pem", "\(folder)/client.key") == nil)
        _ = try TLSContext(clientTrusting: nil, credential: nil)
    }

    @Test func namesTheFileThatIsWrong() throws {
        let folder = try authority.get().folder
        let good = ("\(folder)/client.pem", "\(folder)/client.key")
        try writeFile("\(folder)/garbage.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        try writeFile("\(folder)/empty.pem", "")
        #expect(
            runProgram([
                "openssl", "pkey", "-in", good.1, "-aes128", "-passout", "pass:secret", "-out", "\(folder)/locked.key",
            ]) == 0)
        let cases: [(TLSError?, String)] = [
            (
                failure(authorityFile: "/nonexistent/ca.pem", good.0, good.1),
                "cannot read the CA file /nonexistent/ca.pem: No such"
            ),
            (
                failure(authorityFile: "\(folder)/garbage.pem", good.0, good.1),
                "garbage.pem holds no usable PEM certificate"
            ),
            (
                failure(authorityFile: "\(folder)/empty.pem", good.0, good.1),
                "empty.pem holds no usable PEM certificate"
            ),
            (failure("/nonexistent/c.pem", good.1), "cannot read the certificate file /nonexistent/c.pem"),
            (failure("\(folder)/garbage.pem", good.1), "garbage.pem holds no usable PEM certificate"),
            (failure(good.0, "/nonexistent/k.pem"), "cannot read the key file /nonexistent/k.pem"),
            (failure(good.0, "\(folder)/empty.pem"), "empty.pem holds no usable unencrypted PEM key"),
            (failure(good.0, "\(folder)/locked.key"), "locked.key holds no usable unencrypted PEM key"),
            (failure(good.0, "\(folder)/server.key"), "server.key"),
        ]
        for (error, words) in cases {
            #expect(error?.kind == .configuration)
            #expect(error?.description.contains(words) == true, "\(error?.description ?? "no error") lacks: \(words)")
        }
    }

    @Test func refusesImpossibleNames() throws {
        let context = try TLSContext(clientTrusting: nil, credential: nil)
        #expect(throws: TLSError.self) { try TLSSession(client: context, serverName: "no address", isAddress: true) }
    }
}

@Suite struct TLSSessionTests {
    /// Asks `GET /info` through TLS; returns what came back until it ends.
    private func ask(
        _ port: UInt16, name: String = "127.0.0.1", certificate: String? = "client"
    ) throws -> String {
        let authority = try authority.get()
        let credential = certificate.map {
            TLSCredential(
                certificateFile: "\(authority.folder)/\($0).pem", keyFile: "\(authority.folder)/\($0).key")
        }
        let context = try TLSContext(clientTrusting: authority.authorityFile, credential: credential)
        let session = try TLSSession(
            client: context, serverName: name, isAddress: name.allSatisfy { $0.isNumber || $0 == "." })
        let stream = try Stream.connect(to: .loopback(port: port), timeoutMs: 5_000)
        defer { stream.close() }
        func feed() throws -> Bool {
            let bytes = try stream.readSome(timeoutMs: 5_000)
            bytes.withUnsafeBytes { session.receive($0) }
            return !bytes.isEmpty
        }
        while true {
            let isDone = Result { try session.handshake() }
            try stream.writeAll(session.takeOutput(), timeoutMs: 5_000)
            if try isDone.get() { break }
            guard try feed() else { throw TLSError(kind: .connection, description: "closed") }
        }
        let request = Array("GET /info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".utf8)
        try request.withUnsafeBytes { try session.write($0) }
        // A server that refused our certificate may be gone already; what it said is still to be read.
        try? stream.writeAll(session.takeOutput(), timeoutMs: 5_000)
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 100)
        while !String(decoding: answer, as: UTF8.self).hasSuffix("the end") {
            let result = try buffer.withUnsafeMutableBytes { try session.read(into: $0) }
            switch result {
            case .bytes(let count): answer += buffer[..<count]
            case .ended: return String(decoding: answer, as: UTF8.self)
            case .needsInput: guard try feed() else { return String(decoding: answer, as: UTF8.self) }
            }
        }
        session.close()
        try stream.writeAll(session.takeOutput(), timeoutMs: 5_000)
        return String(decoding: answer, as: UTF8.self)
    }

    private func withServer(
        _ certificate: String, newest: String = "TLSv1_3", _ body: (UInt16) throws -> Void
    ) throws {
        let engine = try FakeDocker()
        defer { engine.stop() }
        engine.answer("/info", .json(String(repeating: "0123456789", count: 20_000) + "the end"))
        let proxy = try TLSProxy(
            to: engine.path, authority: try authority.get(), certificate: certificate, newest: newest)
        defer { proxy.stop() }
        try body(proxy.port)
    }

    @Test(arguments: ["TLSv1_2", "TLSv1_3"])
    func talksToAServerThatWantsACertificate(newest: String) throws {
        try withServer("server", newest: newest) { port in
            for name in ["127.0.0.1", "localhost"] {
                let answer = try ask(port, name: name)
                #expect(answer.hasPrefix("HTTP/1.1 200"))
                #expect(answer.utf8.count > 200_000)
            }
        }
    }

    @Test(arguments: [
        ("elsewhere", "127.0.0.1", "mismatch"), ("elsewhere", "localhost", "mismatch"),
        ("expired", "localhost", "expired"),
        ("server", "127.0.0.2", "mismatch"),
    ])
    func refusesAServerThatIsAnother(certificate: String, name: String, reason: String) throws {
        try withServer(certificate) { port in
            let error = #expect(throws: TLSError.self) { try ask(port, name: name) }
            #expect(error?.kind == .verification)
            #expect(error?.description.contains("the certificate of \(name) is not accepted") == true)
            #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
        }
    }

    @Test func refusesAServerOfAnotherAuthority() throws {
        let other = try TestAuthority()
        try other.issue("server", names: "IP:127.0.0.1")
        let engine = try FakeDocker()
        defer { engine.stop() }
        let proxy = try TLSProxy(to: engine.path, authority: other, certificate: "server")
        defer { proxy.stop() }
        let error = #expect(throws: TLSError.self) { try ask(proxy.port) }
        #expect(error?.kind == .verification)
    }

    @Test func isToldWhenTheServerWantsACertificate() throws {
        try withServer("server") { port in
            let error = #expect(throws: TLSError.self) { try ask(port, certificate: nil) }
            #expect(error?.kind == .connection)
            #expect(error?.description.contains("certificate required") == true, "\(error?.description ?? "")")
        }
    }

    @Test func refusesOldVersions() throws {
        try withServer("server", newest: "TLSv1_1") { port in
            let error = #expect(throws: TLSError.self) { try ask(port) }
            #expect(error?.kind == .connection)
        }
    }

    @Test func garbageIsAnError() throws {
        let context = try TLSContext(clientTrusting: nil, credential: nil)
        for garbage in [
            "HTTP/1.1 400 Bad Request\r\n\r\n", String(repeating: "\u{16}\u{3}\u{1}\u{0}\u{5}", count: 3), "\u{15}",
        ] {
            let session = try TLSSession(client: context, serverName: "localhost", isAddress: false)
            #expect(try !session.handshake())
            #expect(!session.takeOutput().isEmpty)
            Array(garbage.utf8).withUnsafeBytes { session.receive($0) }
            let outcome = Result { try session.handshake() }
            if case .success(let isDone) = outcome { #expect(!isDone) }
        }
    }
}
