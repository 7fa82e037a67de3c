// Snapshots by hand for the tests of haproxy's configuration, and haproxy itself to judge what comes of them.

import Glibc
import Model
import Render
import Support

/// A snapshot that grows by services.
struct HAProxyWorld {
    private(set) var snapshot = Snapshot()
    var secrets = SecretFiles()
    var settings = RenderSettings(
        httpListen: ["127.0.0.1:8080"], httpsListen: ["127.0.0.1:8443"], publicHTTPSPort: 443,
        directory: "/etc/interlock")

    /// - Returns: its position.
    @discardableResult
    mutating func add(
        _ name: String, tasks: Int = 1, id: String? = nil, _ change: (inout ServiceOptions) -> Void = { _ in }
    ) -> Int {
        let position = snapshot.configuration.services.count
        var service = Service(id: "id-\(name)", name: name)
        change(&service.options)
        snapshot.configuration.services.append(service)
        snapshot.endpoints.append(
            (0..<tasks).map { index in
                Upstream(
                    id: id ?? "\(name).\(index)",
                    endpoint: Endpoint(
                        address: IPAddress(v4: 0x0A00_0000 + UInt32(position) << 8 + UInt32(index) + 1), port: 8080))
            })
        return position
    }

    mutating func route(
        _ host: HostPattern, _ services: [Int], at path: String = "/", _ change: (inout Route) -> Void = { _ in }
    ) {
        var route = Route(host: host, pathPrefix: path, services: services)
        change(&route)
        snapshot.configuration.routes.append(route)
        snapshot.configuration.routes.sort { $0.precedes($1) }
    }

    mutating func host(_ options: HostOptions) {
        snapshot.configuration.hosts.append(options)
        snapshot.configuration.hosts.sort { $0.host < $1.host }
    }

    mutating func port(_ port: StreamPort) { snapshot.configuration.streams.append(port) }

    mutating func setState(_ state: UpstreamState, service: Int, task: Int) {
        snapshot.endpoints[service][task].state = state
    }

    /// A secret of this name with a certificate of the form that is looked at, and a key.
    mutating func certificate(_ name: String) -> CertificateReference {
        let block = "QUJD" + name.utf8.map { $0 == 0x2D ? "A" : String(UnicodeScalar($0)) }.joined() + "AAAA"
        let content = String(block.prefix(block.count / 4 * 4))
        secrets.secrets[name] = Array(
            """
            -----BEGIN CERTIFICATE-----
            \(content)
            -----END CERTIFICATE-----
            -----BEGIN PRIVATE KEY-----
            \(content)
            -----END PRIVATE KEY-----

            """.utf8)
        return CertificateReference(certificate: SecretReference(name))
    }

    func render() -> RenderOutput {
        HAProxyConfig.render(RenderInput(snapshot: snapshot, secrets: secrets, settings: settings))
    }
}

extension RenderOutput {
    func text(_ path: String) -> String {
        files.first { $0.path == path }.map { String(decoding: $0.bytes, as: UTF8.self) } ?? ""
    }

    /// The words of each line of haproxy.cfg, read by haproxy's own rules of quoting.
    var lines: [[String]] { text("haproxy.cfg").split(separator: "\n").map { Self.words(Array($0.utf8)) } }

    /// Of the backend whose name begins so.
    func backend(_ name: String) -> [[String]] {
        guard let start = lines.firstIndex(where: { $0.first == "backend" && $0[1].hasPrefix(name) }) else { return [] }
        return Array(lines[(start + 1)...].prefix { !["backend", "frontend"].contains($0.first ?? "") })
    }

    /// Address and the number behind a keyword of each server of a backend, those for a panic left out.
    func servers(_ name: String, _ keyword: String) -> [String] {
        backend(name).filter { $0.first == "server" && !$0.contains("backup") }.map { words in
            words.firstIndex(of: keyword).map { words[$0 + 1] } ?? "-"
        }
    }

    static func words(_ line: [UInt8]) -> [String] {
        var words: [String] = []
        var word: [UInt8]?
        var quote: UInt8?
        var index = 0
        while index < line.count {
            let byte = line[index]
            index += 1
            switch (byte, quote) {
            case (UInt8(ascii: "'"), UInt8(ascii: "'")), (UInt8(ascii: "\""), UInt8(ascii: "\"")): quote = nil
            case (_, UInt8(ascii: "'")): word = (word ?? []) + [byte]
            case (UInt8(ascii: "\\"), _) where index < line.count:
                word = (word ?? []) + [line[index]]
                index += 1
            case (UInt8(ascii: "'"), nil), (UInt8(ascii: "\""), nil):
                quote = byte
                word = word ?? []
            case (UInt8(ascii: "#"), nil): index = line.count
            case (UInt8(ascii: " "), nil), (9, nil):
                if let word { words.append(String(decoding: word, as: UTF8.self)) }
                word = nil
            default: word = (word ?? []) + [byte]
            }
        }
        if let word { words.append(String(decoding: word, as: UTF8.self)) }
        return words
    }

    /// Writes everything to a folder of its own and asks `haproxy -c`; nil: it accepts it and warns of nothing.
    static func complaint(_ world: HAProxyWorld) throws -> String? {
        let folder = try makeFolder()
        defer { removeAll(folder) }
        var world = world
        world.settings.directory = folder
        for file in world.render().files {
            if let slash = file.path.lastIndex(of: "/") { mkdir("\(folder)/\(file.path[..<slash])", 0o700) }
            try writeFile("\(folder)/\(file.path)", String(decoding: file.bytes, as: UTF8.self))
        }
        let log = "\(folder)/log"
        let status = try run(["/usr/sbin/haproxy", "-c", "-f", "\(folder)/haproxy.cfg"], log: log)
        let said = String(decoding: try readFile(log), as: UTF8.self)
        return status == 0 && !said.contains("WARNING") ? nil : said
    }

    private static func removeAll(_ folder: String) {
        _ = try? run(["/bin/rm", "-rf", folder], log: "/dev/null")
    }

    private static func run(_ command: [String], log: String) throws -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
        defer { for argument in arguments { free(argument) } }
        arguments.append(nil)
        var environment: [UnsafeMutablePointer<CChar>?] = [nil]
        var child: pid_t = 0
        let code = posix_spawn(&child, command[0], &actions, nil, &arguments, &environment)
        guard code == 0 else { return -1 }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        return status
    }
}
