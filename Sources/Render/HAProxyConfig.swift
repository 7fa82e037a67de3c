// A snapshot as the configuration of haproxy 2.6 and later: haproxy.cfg, and beside it the maps that names and paths
// are looked up in, lists of certificates, and the certificates themselves. Equal inputs give equal bytes.
//
// What haproxy cannot do as our own proxy does is a warning that names service and label (`HAProxyNotes`);
// docs/EXTENSIONS.md has the whole list.

import Model

public enum HAProxyConfig {
    /// The name of the main file.
    public static let mainFile = "haproxy.cfg"

    public static func render(_ input: RenderInput) -> RenderOutput {
        guard let directory = HAProxyPath(input.settings.directory) else {
            let text = "haproxy: the directory must be absolute, of letters, digits, and - _ . between its slashes"
            return refusal(text, value: input.settings.directory)
        }
        guard input.snapshot.refersToWhatIsThere else {
            return refusal("haproxy: the snapshot names services that are not in it", value: "")
        }
        var rendering = HAProxyRendering(input, directory)
        return rendering.render()
    }

    private static func refusal(_ text: String, value: String) -> RenderOutput {
        RenderOutput(diagnostics: [Diagnostic(severity: .error, service: "haproxy", value: value, message: text)])
    }
}

/// An address that haproxy listens on: `80`, `*:80`, `192.0.2.1:80`, `[::]:80`.
struct HAProxyListen {
    let port: UInt16
    let words: [HAProxyWord]

    init?(_ text: String) {
        if let port = UInt16(text), port > 0 {
            self.init(host: "*", port)
            return
        }
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            return nil
        }
        let host = text[..<colon]
        if host.isEmpty || host == "*" {
            self.init(host: "*", port)
        } else if let endpoint = Endpoint(text) {
            // The other family has an address of its own.
            self.init(port: port, words: [.endpoint(endpoint)] + (endpoint.address.isIPv4 ? [] : ["v6only"]))
        } else {
            return nil
        }
    }

    private init(host: HAProxyWord, _ port: UInt16) {
        self.init(port: port, words: [.joined(host, ":", .number(Int(port)))])
    }

    private init(port: UInt16, words: [HAProxyWord]) {
        self.port = port
        self.words = words
    }
}

/// One rendering under way.
private struct HAProxyRendering {
    private let settings: RenderSettings
    private let directory: HAProxyPath
    private let plan: RenderPlan
    /// Hosts with words of their own about TLS.
    private let termed: Set<HostPattern>
    private var backends: HAProxyBackends
    private var notes = HAProxyNotes()
    private var writer = HAProxyWriter()
    private var files: [String: RenderedFile] = [:]
    private var asksForCertificates = false

    init(_ input: RenderInput, _ directory: HAProxyPath) {
        settings = input.settings
        self.directory = directory
        plan = RenderPlan(input)
        termed = Set(input.snapshot.configuration.hosts.lazy.filter { $0.tls != TLSOptions() }.map(\.host))
        backends = HAProxyBackends(
            plan, settings, directory, serverCount: input.snapshot.endpoints.reduce(0) { $0 + $1.count })
    }

    mutating func render() -> RenderOutput {
        writeWeb()
        for stream in plan.streams { writeStream(stream) }
        backends.noteSharedLimits()
        notes.formUnion(backends.notes)
        for file in backends.authorities.values { add(file) }
        var whole = HAProxyWriter()
        writeHead(into: &whole)
        whole.append(writer)
        whole.append(backends.writer)
        let main = RenderedFile(path: HAProxyConfig.mainFile, bytes: whole.bytes)
        let others = files.values.sorted { $0.path.isBefore($1.path) }
        let diagnostics = Set(plan.diagnostics).union(notes.found).sorted { $0.precedes($1) }
        return RenderOutput(files: [main] + others, diagnostics: diagnostics)
    }

    // MARK: Files

    private mutating func add(_ file: RenderedFile) { files[file.path] = file }

    private mutating func add(_ maps: [(name: String, map: HAProxyMap)]) {
        for (name, map) in maps where !map.isEmpty { add(RenderedFile(path: name, bytes: map.bytes)) }
    }

    private mutating func add(_ certificates: HAProxyCertificates, list: String) {
        guard !certificates.isEmpty else { return }
        for file in certificates.files.values { add(file) }
        add(RenderedFile(path: list, bytes: certificates.list))
    }

    // MARK: The head

    private func writeHead(into writer: inout HAProxyWriter) {
        let defaults = settings.defaults
        writer.comment("Written by interlock: changes are lost with the next one.")
        writer.section("global")
        writer.line("expose-experimental-directives")
        writer.line(
            "ssl-default-bind-options ssl-min-ver",
            defaults.minimumVersion == .tls13 ? "TLSv1.3" : "TLSv1.2")
        // What is added to a request on its way must fit in; a client's certificate is the largest.
        writer.line("tune.bufsize", .number(asksForCertificates ? 49_152 : 16_384))
        writer.line("tune.maxrewrite", .number(asksForCertificates ? 16_384 : 4_096))
        if asksForCertificates { writer.line("tune.ssl.cachesize 0") }
        writer.section("defaults")
        writer.line("timeout connect", .milliseconds(defaults.connectTimeoutMs))
        writer.line("timeout client", .milliseconds(defaults.idleTimeoutMs))
        writer.line("timeout server", .milliseconds(defaults.responseTimeoutMs))
        writer.line("timeout tunnel", .milliseconds(defaults.tunnelTimeoutMs))
        writer.line("timeout queue 30s")
        writer.line("timeout http-request", .milliseconds(defaults.headerTimeoutMs))
        writer.line("timeout http-keep-alive", .milliseconds(defaults.keepAliveTimeoutMs))
        writer.line("retries", .number(min(max(defaults.retries, 0), 100)))
        writer.line("option redispatch 1")
        writer.line("retry-on conn-failure empty-response")
    }

    // MARK: HTTP, HTTPS and what is passed on

    private mutating func listens(_ texts: [String]) -> [HAProxyListen] {
        texts.compactMap { text in
            if let listen = HAProxyListen(text) { return listen }
            notes.add(.error, "haproxy", "", "is no address to listen on: a port, or address:port", value: text)
            return nil
        }
    }

    /// Hosts that haproxy can be told of.
    private mutating func writableHosts() -> [PlannedHost] {
        plan.hosts.filter { host in
            if HAProxyNames.isWritable(host.host) { return true }
            for service in host.services {
                notes.add(
                    .error, service.name, "hosts", "haproxy cannot be given this name; it is left out",
                    value: "\(host.host)")
            }
            return false
        }
    }

    private mutating func writeWeb() {
        let hosts = writableHosts()
        let http = listens(settings.httpListen).map { ["bind"] + $0.words }
        let https = listens(settings.httpsListen)
        let names = HAProxyNames(hosts.map(\.host))
        let ending = hosts.filter { $0.passthrough == nil }
        let secured = ending.map {
            HAProxyCertificates.Host(
                host: $0.host, tls: $0.tls, services: $0.services, hasTerms: termed.contains($0.host))
        }
        let certificates = HAProxyCertificates(
            https.isEmpty ? [] : secured, standard: https.isEmpty ? nil : plan.standardCertificate,
            directory: directory)
        notes.formUnion(certificates.notes)
        let passed = hosts.filter { $0.passthrough != nil }
        let isSecure = !certificates.isEmpty
        let policies = HAProxyPolicies(
            isSecure ? secured : [], closed: certificates.closed, passed: passed.map(\.host))
        if policies.asksForCertificates { asksForCertificates = true }
        let routes = HAProxyRoutes(hosts, settings.defaults, backends: &backends)
        notes.formUnion(routes.notes)
        var binds = http
        let door = HAProxyDoor("web", directory)
        if isSecure, let list = directory.file("certificates.list") {
            let secure: [HAProxyWord] =
                ["ssl crt-list", .path(list), "alpn http/1.1"] + (certificates.hasStandard ? [] : ["strict-sni"])
                + (policies.asksForCertificates ? ["no-tls-tickets"] : [])
            let doors = passed.isEmpty ? https.map { ["bind"] + $0.words } : [door.bind]
            binds += doors.map { $0 + secure }
        }
        let frontend = HAProxyFrontend(
            settings: settings, directory: directory, names: names, routes: routes, policies: policies,
            certificates: certificates, hasPassed: !passed.isEmpty, redirects: redirects(ending))
        if !binds.isEmpty { frontend.write(binds: binds, into: &writer) }
        add(frontend.files)
        add(certificates, list: "certificates.list")
        if !passed.isEmpty, !https.isEmpty {
            writePassed(passed, names, https.map { ["bind"] + $0.words }, isSecure ? door : nil)
        }
    }

    private mutating func writePassed(
        _ hosts: [PlannedHost], _ names: HAProxyNames, _ binds: [[HAProxyWord]], _ door: HAProxyDoor?
    ) {
        var map = HAProxyMap()
        for host in hosts {
            guard let pool = host.passthrough else { continue }
            _ = map.add("\(host.host)", backends.name(of: pool, .passedOn)?.text ?? "-")
        }
        add([(HAProxySwitch.backendsFile("web"), map)])
        guard let exact = directory.file("hosts.map"), let wildcards = directory.file("wildcards.map") else { return }
        let hello = HAProxySwitch(
            place: "web", directory: directory, names: names, backends: map, fallback: door?.name)
        hello.write(binds: binds, exact: exact, wildcards: wildcards, into: &writer)
        door?.write(into: &writer)
    }

    private mutating func redirects(_ hosts: [PlannedHost]) -> (http: HAProxyMap, https: HAProxyMap) {
        var (http, https) = (HAProxyMap(), HAProxyMap())
        for host in hosts {
            for (scheme, target) in host.redirects.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                let key = "\(host.host)"
                if scheme == .http ? http.add(key, target) : https.add(key, target) { continue }
                for service in host.services {
                    notes.warn(service, "redirects", "haproxy cannot be given this destination", value: target)
                }
            }
        }
        return (http, https)
    }

    // MARK: Entry ports

    private mutating func writeStream(_ stream: PlannedStream) {
        let own = (settings.httpListen + settings.httpsListen).compactMap { HAProxyListen($0)?.port }
        guard !own.contains(stream.port) else {
            for service in stream.services {
                notes.add(
                    .error, service.name, "tcp_port", "requests come in at this port; it is not opened",
                    value: "\(stream.port)")
            }
            return
        }
        var port = HAProxyEntryPort(stream, directory, settings, standard: plan.standardCertificate)
        port.write(&backends, &notes, into: &writer)
        add(port.files)
        if let certificates = port.certificates {
            add(certificates, list: "tcp-\(stream.port)-certificates.list")
        }
        if stream.hosts.contains(where: { $0.tls?.client != nil }) { asksForCertificates = true }
    }
}

extension PlannedStream {
    var services: [Service] { (raw?.services ?? []) + hosts.flatMap(\.pool.services) }
}

extension Snapshot {
    /// Positions lead somewhere: everything else is looked at where it is written.
    var refersToWhatIsThere: Bool {
        let all = configuration.services.indices
        func isThere(_ services: [Int]) -> Bool { !services.isEmpty && services.allSatisfy(all.contains) }
        return endpoints.count == all.count
            && configuration.routes.allSatisfy { isThere($0.services) }
            && configuration.hosts.allSatisfy { $0.passthrough.isEmpty || isThere($0.passthrough) }
            && configuration.streams.allSatisfy { stream in
                (stream.hosts.isEmpty ? isThere(stream.services) : true)
                    && stream.hosts.allSatisfy { isThere($0.services) }
            }
    }
}

extension Diagnostic {
    fileprivate func precedes(_ other: Diagnostic) -> Bool {
        for (own, others) in [
            (service, other.service), (label, other.label), (value, other.value), (message, other.message),
        ] where own != others {
            return own.isBefore(others)
        }
        return severity.rawValue < other.severity.rawValue
    }
}
