// What is collected while nginx's configuration is written: groups of servers, maps, files, findings. Names are numbers
// given in the order of first use, which is the snapshot's canonical order: equal input gives equal bytes.

import Model

struct NginxBuilder {
    let input: RenderInput
    let plan: RenderPlan
    var settings: RenderSettings { input.settings }
    var diagnostics: [Diagnostic]
    /// `map` and `geo` blocks.
    var maps = NginxWriter(depth: 1)
    var streamMaps = NginxWriter(depth: 1)
    var upstreams = NginxWriter(depth: 1)
    var streamUpstreams = NginxWriter(depth: 1)
    private var files: [String: RenderedFile] = [:]
    private var pools: [NginxPoolKey: NginxName] = [:]
    private var names: [String: NginxName] = [:]
    private var sets: [[PlannedCertificate]: Int] = [:]
    private var policies: [NginxPolicy: Int] = [:]
    /// Certificates that are shown together, by a name that all of them carry.
    let certificatesByName: [String: [[PlannedCertificate]]]
    /// TLS goes through the stream part first, since some of it is passed on.
    let isFronted: Bool

    init(_ input: RenderInput) {
        self.input = input
        plan = RenderPlan(input)
        diagnostics = plan.diagnostics
        certificatesByName = Self.byName(plan.hosts)
        isFronted = !input.settings.httpsListen.isEmpty && plan.hosts.contains { $0.passthrough != nil }
    }

    private static func byName(_ hosts: [PlannedHost]) -> [String: [[PlannedCertificate]]] {
        var found: [String: [[PlannedCertificate]]] = [:]
        var seen: Set<[PlannedCertificate]> = []
        for host in hosts where !host.tls.isStandard && seen.insert(host.tls.certificates).inserted {
            guard let first = host.tls.certificates.first else { continue }
            let common = host.tls.certificates.dropFirst().reduce(Set(first.facts.names)) {
                $0.intersection($1.facts.names)
            }
            for name in common { found[name, default: []].append(host.tls.certificates) }
        }
        return found
    }

    // MARK: Findings

    mutating func report(
        _ severity: Diagnostic.Severity, _ service: Service, _ label: String, _ value: String, _ message: String
    ) {
        diagnostics.append(
            Diagnostic(severity: severity, service: service.name, label: label, value: value, message: message))
    }

    /// In the order that findings have everywhere, each once.
    var sortedDiagnostics: [Diagnostic] {
        Set(diagnostics).sorted { left, right in
            for (first, second) in [
                (left.service, right.service), (left.label, right.label), (left.value, right.value),
                (left.message, right.message), (left.severity.rawValue, right.severity.rawValue),
            ] where first != second {
                return first.isBefore(second)
            }
            return false
        }
    }

    // MARK: Files

    var sortedFiles: [RenderedFile] { files.keys.sorted { $0.isBefore($1) }.compactMap { files[$0] } }

    /// The path of a file with a key in it.
    mutating func secretFile(_ bytes: [UInt8]) -> NginxWord { file(bytes, in: "secrets", isSecret: true) }

    /// The path of a file of authorities.
    mutating func authoritiesFile(_ bytes: [UInt8]) -> NginxWord { file(bytes, in: "authorities", isSecret: false) }

    private mutating func file(_ bytes: [UInt8], in place: String, isSecret: Bool) -> NginxWord {
        let path = "\(place)/\(ContentName.of(bytes)).pem"
        files[path] = RenderedFile(path: path, bytes: bytes, isSecret: isSecret)
        return .plain("\(settings.directory)/\(path)")
    }

    /// A socket between two parts of nginx.
    func socketWord(_ name: String) -> NginxWord {
        .plain("unix:\(settings.nginx.socketDirectory ?? settings.directory)/\(name).sock")
    }

    // MARK: Names

    /// The name for something, made by `make` when it is first asked for. `key` says what it is.
    mutating func name(_ word: StaticString, _ key: String, _ make: (inout NginxBuilder, NginxName) -> Void)
        -> NginxName
    {
        if let known = names[key] { return known }
        let made = NginxName(word, names.count + 1)
        names[key] = made
        make(&self, made)
        return made
    }

    mutating func pool(_ key: NginxPoolKey, _ make: (inout NginxBuilder, NginxName) -> Void) -> NginxName {
        if let known = pools[key] { return known }
        let made = NginxName("pool", pools.count + 1)
        pools[key] = made
        make(&self, made)
        return made
    }

    /// A number for certificates that are shown together.
    mutating func number(of certificates: [PlannedCertificate]) -> Int {
        sets[certificates]
            ?? {
                sets[certificates] = sets.count + 1
                return sets.count
            }()
    }

    mutating func number(of policy: NginxPolicy) -> Int {
        policies[policy]
            ?? {
                policies[policy] = policies.count + 1
                return policies.count
            }()
    }
}

/// What makes two groups of servers the same one.
struct NginxPoolKey: Hashable {
    var services: [String]
    var balancing: Balancing
    /// The name that its connections were verified for; nil: none.
    var serverName: String?
    var isKept: Bool
    var isStream: Bool
}

/// What clients must fulfil in TLS.
struct NginxPolicy: Hashable {
    var minimumVersion: TLSVersion
    var client: PlannedClientAuthentication?

    init(_ tls: PlannedTLS) {
        minimumVersion = tls.minimumVersion
        client = tls.client
    }
}
