// Owns the certificates of the proxy's tests: a few real ones by the openssl program, made once for all tests, and any
// number that only differ in their name, which nobody has signed.

@testable import Proxy
import Model
import Support

struct TestCertificates: Sendable {
    struct Failure: Error { let command: [String] }

    let authority: TestAuthority
    private let files: [String: [UInt8]]

    /// Made once: processes are slow.
    static let shared = Result { try TestCertificates() }

    static func get() throws -> TestCertificates { try shared.get() }

    private init() throws {
        authority = try TestAuthority()
        try authority.issue("a", names: "DNS:a.test")
        try authority.issue("renewed", names: "DNS:a.test")
        try authority.issue("wild", names: "DNS:*.wild.test,DNS:wild.test")
        try authority.issue("standard", names: "DNS:standard.test")
        try authority.issue("expired", names: "DNS:expired.test", days: -1)
        try authority.issue("client", names: "DNS:client.test")
        try authority.issue("bulk", names: "DNS:host-00000.bulk.test")
        let folder = authority.folder
        for command in [
            // The same name with an RSA key.
            [
                "openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=rsa", "-keyout", "\(folder)/rsa.key",
                "-out", "\(folder)/rsa.csr",
            ],
            [
                "openssl", "x509", "-req", "-in", "\(folder)/rsa.csr", "-CA", "\(folder)/ca.pem", "-CAkey",
                "\(folder)/ca.key", "-days", "2", "-extfile", "\(folder)/a.ext", "-out",
                "\(folder)/rsa.pem",
            ],
            // A common name and nothing else.
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                "/CN=common.test", "-keyout", "\(folder)/common.key", "-out", "\(folder)/common.pem",
            ],
            ["openssl", "x509", "-in", "\(folder)/bulk.pem", "-outform", "DER", "-out", "\(folder)/bulk.der"],
        ] {
            guard runProgram(command) == 0 else { throw Failure(command: command) }
        }
        var files: [String: [UInt8]] = [:]
        for name in ["a", "renewed", "wild", "standard", "expired", "client", "bulk", "rsa", "common"] {
            files["\(name).pem"] = try readFile("\(folder)/\(name).pem")
            files["\(name).key"] = try readFile("\(folder)/\(name).key")
        }
        files["ca.pem"] = try readFile(authority.authorityFile)
        files["bulk.der"] = try readFile("\(folder)/bulk.der")
        self.files = files
    }

    /// `a.pem`, `a.key` and so on.
    subscript(file: String) -> [UInt8] { files[file] ?? [] }

    /// Chain and key in one.
    func both(_ name: String) -> [UInt8] { self["\(name).pem"] + self["\(name).key"] }

    /// A certificate for `host-NNNNN.bulk.test`, whose signature is wrong.
    func bulk(_ number: Int) -> [UInt8] {
        let digits = Array(String(100_000 + number).utf8.dropFirst())
        var bytes = self["bulk.der"]
        let pattern = Array("host-00000".utf8)
        for start in bytes.indices.dropLast(pattern.count) where bytes[start...].starts(with: pattern) {
            bytes.replaceSubrange(start + 5..<start + 10, with: digits)
        }
        let text = "-----BEGIN CERTIFICATE-----\n" + Self.base64(bytes) + "-----END CERTIFICATE-----\n"
        return Array(text.utf8) + self["bulk.key"]
    }

    private static func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = Array(bytes[start..<min(start + 3, bytes.count)])
            let value = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
            for place in 0..<4 {
                let isPadding = place > group.count
                text.append(isPadding ? UInt8(ascii: "=") : alphabet[value >> (6 * (3 - place)) & 63])
            }
            if start % 48 == 45 { text.append(10) }
        }
        if text.last != 10 { text.append(10) }
        return String(decoding: text, as: UTF8.self)
    }
}

/// Snapshots of hosts with TLS options.
enum TLSSnapshots {
    static func reference(_ name: String, key: Bool = true) -> CertificateReference {
        CertificateReference(
            certificate: SecretReference("\(name).pem"), key: key ? SecretReference("\(name).key") : nil)
    }

    static func options(_ names: String..., minimum: TLSVersion? = nil, demand: ClientAuthentication? = nil)
        -> TLSOptions
    {
        TLSOptions(
            certificates: names.map { reference($0) }, minimumVersion: minimum, clientAuthentication: demand)
    }

    /// One service with one route for each host.
    static func make(
        _ hosts: [(host: String, tls: TLSOptions)], tasks: [UInt16] = [],
        change: (inout Configuration) -> Void = { _ in }
    ) -> Snapshot {
        var configuration = Configuration(
            services: [Service(id: "s", name: "s")],
            routes: hosts.map { Route(host: pattern($0.host), services: [0]) },
            hosts: hosts.map { HostOptions(host: pattern($0.host), tls: $0.tls) })
        change(&configuration)
        let loopback = IPAddress(v4: 0x7F00_0001)
        var endpoints: [[Upstream]] = configuration.services.map { _ in [] }
        endpoints[0] = tasks.map { Upstream(id: "task \($0)", endpoint: Endpoint(address: loopback, port: $0)) }
        return Snapshot(configuration: configuration, endpoints: endpoints)
    }

    private static func pattern(_ text: String) -> HostPattern {
        text.hasPrefix("*.") ? .wildcard(String(text.dropFirst(2))) : .exact(text)
    }

    /// The bytes behind the names.
    static func secrets(_ certificates: TestCertificates, _ names: String...) -> SecretFiles {
        var files = SecretFiles()
        for name in names {
            files.secrets["\(name).pem"] = certificates["\(name).pem"]
            files.secrets["\(name).key"] = certificates["\(name).key"]
        }
        return files
    }
}
