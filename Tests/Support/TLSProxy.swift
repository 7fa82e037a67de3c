// A certificate authority made by the openssl command, and a TLS server in front of a Unix-domain socket that asks for
// client certificates, as a Docker engine on tcp does.

import Glibc
import Kernel

/// Certificates in a folder of their own: `ca.pem`, and `NAME.pem` with `NAME.key` for each one issued.
public struct TestAuthority: Sendable {
    public struct Failure: Error { public let command: [String] }

    public let folder: String

    public init() throws {
        folder = try makeFolder()
        try Self.run([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=test authority", "-keyout", "\(folder)/ca.key", "-out", "\(folder)/ca.pem",
        ])
    }

    public var authorityFile: String { folder + "/ca.pem" }

    /// Issues a certificate.
    /// - Parameters:
    ///   - names: as in `DNS:localhost,IP:127.0.0.1`.
    ///   - days: negative for one that has expired.
    public func issue(_ name: String, names: String, days: Int = 2) throws {
        let base = "\(folder)/\(name)"
        try writeFile("\(base).ext", "subjectAltName=\(names)\n")
        try Self.run([
            "openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=\(name)",
            "-keyout", "\(base).key", "-out", "\(base).csr",
        ])
        try Self.run([
            "openssl", "x509", "-req", "-in", "\(base).csr", "-CA", "\(folder)/ca.pem", "-CAkey", "\(folder)/ca.key",
            "-set_serial", Self.serial(), "-days", "\(days)", "-extfile", "\(base).ext", "-out", "\(base).pem",
        ])
    }

    /// A number for a certificate. openssl would count in a file, which tests that run side by side would spoil.
    public static func serial() -> String { "\(Machine.random() >> 1)" }

    private static func run(_ command: [String]) throws {
        guard runProgram(command) == 0 else { throw Failure(command: command) }
    }
}

/// A TLS server in front of a Unix-domain socket.
public final class TLSProxy {
    public struct Failure: Error {}

    public let port: UInt16
    private let process: Int32

    /// - Parameters:
    ///   - certificate: the name under which the authority issued the server's certificate.
    ///   - newest: the newest TLS version it speaks, such as "TLSv1_3".
    public init(
        to socketPath: String, authority: TestAuthority, certificate: String, newest: String = "TLSv1_3"
    ) throws {
        // Tests share an authority: each proxy has files of its own.
        let number = Machine.random()
        let script = authority.folder + "/proxy-\(number).py"
        let portFile = authority.folder + "/port-\(number)"
        try writeFile(script, Self.script)
        process = startProgram([
            "python3", script, socketPath, authority.authorityFile, "\(authority.folder)/\(certificate).pem",
            "\(authority.folder)/\(certificate).key", newest, portFile,
        ])
        guard process > 0, eventually(timeoutMs: 30_000, { (try? readFile(portFile)) != nil }),
            let port = UInt16(String(decoding: try readFile(portFile), as: UTF8.self))
        else {
            stopProgram(process)
            throw Failure()
        }
        self.port = port
    }

    public func stop() { stopProgram(process) }

    private static let script = """
        import os, socket, ssl, sys, threading
        backend, authority, certificate, key, newest, port_file = sys.argv[1:]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion[newest]
        if newest in ("TLSv1", "TLSv1_1"):
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
        listener = socket.create_server(("127.0.0.1", 0))
        def pump(source, target, how):
            try:
                while data := source.recv(65536):
                    target.sendall(data)
            except OSError:
                pass
            try:
                target.shutdown(how)
            except OSError:
                pass
        def serve(connection):
            try:
                secure = context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
            inner = socket.socket(socket.AF_UNIX)
            inner.connect(backend)
            threading.Thread(target=pump, args=(secure, inner, socket.SHUT_RDWR), daemon=True).start()
            pump(inner, secure, socket.SHUT_RDWR)
        with open(port_file + ".new", "w") as file:
            file.write(str(listener.getsockname()[1]))
        os.rename(port_file + ".new", port_file)
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
        """
}
