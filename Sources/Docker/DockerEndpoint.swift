// Where the Engine API is: the setting's text, or what Docker's own client would do with its environment.
// Reads text, so that a wrong setting is told before anything starts; `whyHopeless` alone looks whether anything is
// there.

import Kernel
import TLS

/// The address of an Engine API.
public struct DockerEndpoint: Hashable, Sendable, CustomStringConvertible {
    public enum Address: Hashable, Sendable {
        case unix(path: String)
        case tcp(host: String, port: UInt16)
    }

    /// The PEM files of a TLS connection, named as Docker's own client names them.
    public struct Credentials: Hashable, Sendable {
        public var authorityFile: String
        public var certificateFile: String
        public var keyFile: String

        /// `ca.pem`, `cert.pem` and `key.pem` of a directory.
        public init(directory: String) {
            authorityFile = directory + "/ca.pem"
            certificateFile = directory + "/cert.pem"
            keyFile = directory + "/key.pem"
        }
    }

    /// Why a setting is no address: one sentence with the way out.
    public struct Invalid: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
    }

    public static let defaultSocketPath = "/var/run/docker.sock"

    public var address: Address
    /// nil: no TLS.
    public var credentials: Credentials?

    public init(address: Address, credentials: Credentials? = nil) {
        self.address = address
        self.credentials = credentials
    }

    /// Reads `auto`, `unix:///path` or `tcp://host:port`.
    /// - Parameter environment: a look-up of environment variables; `auto` honours DOCKER_HOST, and TLS is used for
    ///   tcp when DOCKER_TLS_VERIFY or DOCKER_CERT_PATH is set. The server is always verified.
    public init(setting: String, environment: (String) -> String?) throws(Invalid) {
        var text = setting
        if setting == "auto" { text = environment("DOCKER_HOST") ?? "" }
        if text.isEmpty { text = "unix://" + Self.defaultSocketPath }
        let origin = setting == "auto" && environment("DOCKER_HOST")?.isEmpty == false ? "DOCKER_HOST" : "setting"
        address = try Self.parse(text, origin: origin)
        guard case .tcp = address else { return }
        let certificates = environment("DOCKER_CERT_PATH") ?? ""
        let verifies = environment("DOCKER_TLS_VERIFY") ?? ""
        guard !certificates.isEmpty || !verifies.isEmpty else { return }
        guard certificates.isEmpty else {
            credentials = Credentials(directory: certificates)
            return
        }
        guard let home = environment("HOME"), !home.isEmpty else {
            throw Invalid(
                description:
                    "DOCKER_TLS_VERIFY is set, but neither DOCKER_CERT_PATH nor HOME say where ca.pem, cert.pem "
                    + "and key.pem are")
        }
        credentials = Credentials(directory: home + "/.docker")
    }

    private static func parse(_ text: String, origin: String) throws(Invalid) -> Address {
        if text.hasPrefix("unix://") {
            let path = String(text.dropFirst("unix://".count))
            guard path.hasPrefix("/") else {
                throw Invalid(
                    description: "Docker \(origin) \"\(text)\": write unix:///path/to/docker.sock, with three slashes")
            }
            guard path.utf8.count <= 107 else {
                throw Invalid(description: "Docker \(origin) \"\(text)\": a socket path has at most 107 bytes")
            }
            return .unix(path: path)
        }
        if text.hasPrefix("tcp://") { return try parseTCP(text, origin: origin) }
        if text.hasPrefix("/") {
            throw Invalid(description: "Docker \(origin) \"\(text)\": write it as unix://\(text)")
        }
        throw Invalid(
            description:
                "Docker \(origin) \"\(text)\": expected auto, off, unix:///path/to/docker.sock or tcp://host:port")
    }

    private static func parseTCP(_ text: String, origin: String) throws(Invalid) -> Address {
        var rest = text.dropFirst("tcp://".count)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let wrong = Invalid(
            description: "Docker \(origin) \"\(text)\": expected tcp://host:port, for example tcp://10.0.0.1:2376")
        guard let colon = rest.lastIndex(of: ":") else { throw wrong }
        let digits = rest[rest.index(after: colon)...]
        var host = String(rest[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            throw wrong
        }
        let isNamed = !host.isEmpty && !host.utf8.contains { $0 <= 0x20 || $0 == UInt8(ascii: "/") || $0 >= 0x7F }
        guard isNamed, digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits), port > 0 else {
            throw wrong
        }
        return .tcp(host: host, port: port)
    }

    /// As it is written in the setting.
    public var description: String {
        switch address {
        case .unix(let path): "unix://\(path)"
        case .tcp(let host, let port): host.contains(":") ? "tcp://[\(host)]:\(port)" : "tcp://\(host):\(port)"
        }
    }
}

extension DockerEndpoint {
    /// Whether nothing can ever come of this address as things are: the socket is missing or closed to us, or the TLS
    /// files are unusable. An engine that merely does not answer may come back, and is no reason.
    /// - Returns: one line with the way out, or nil.
    public func whyHopeless() -> String? {
        switch address {
        case .unix(let path):
            guard let socket = SocketAddress(unixPath: path) else { return "\(self) is no usable socket path" }
            do throws(SystemError) {
                try Stream.connect(to: socket, timeoutMs: 2_000).close()
                return nil
            } catch {
                switch error.code {
                case SystemError.notFoundCode:
                    return "there is no Docker socket at \(path): start Docker, mount its socket, set INTERLOCK_DOCKER "
                        + "to its address, or give services by INTERLOCK_SERVICES_FILE"
                case SystemError.notPermittedCode:
                    return "the Docker socket \(path) may not be opened by this user: run as root or in its group"
                default: return nil
                }
            }
        case .tcp:
            guard let credentials else { return nil }
            do throws(TLSError) {
                _ = try TLSContext(
                    clientTrusting: credentials.authorityFile,
                    credential: TLSCredential(
                        certificateFile: credentials.certificateFile, keyFile: credentials.keyFile))
                return nil
            } catch {
                return "Docker over TLS: \(error)"
            }
        }
    }
}
