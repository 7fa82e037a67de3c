// Connections that are not requests: TLS that is passed on by the server name that its hello asks for, and entry ports.
// Where some names of a port end here and others are passed on, the port's frontend looks at the hello alone; TLS ends
// in a second frontend behind it, over a socket within haproxy, with a PROXY header that carries the client's address.

import Model

/// A frontend that reads hellos and sends each connection on by its server name.
struct HAProxySwitch {
    /// Names of its sections and files begin with it: `web`, `tcp-5432`.
    let place: String
    let directory: HAProxyPath
    let names: HAProxyNames
    /// Pattern to backend; `-`: nobody is there.
    let backends: HAProxyMap
    /// Where what no pattern of `backends` claims ends; nil: nowhere.
    let fallback: HAProxyName?

    /// Files that its rules look things up in, beside those of the names.
    static func backendsFile(_ place: String) -> String { "\(place)-backends.map" }

    func write(
        binds: [[HAProxyWord]], exact: HAProxyPath, wildcards: HAProxyPath, into writer: inout HAProxyWriter
    ) {
        writer.section("frontend", HAProxyName("\(place)-hello"))
        writer.line("mode tcp")
        for bind in binds { writer.line(bind) }
        writer.line("timeout client-fin 30s")
        writer.line("tcp-request inspect-delay 5s")
        writer.line("tcp-request content reject if !{ req.ssl_hello_type 1 }")
        writer.line("tcp-request content set-var(txn.host) 'req.ssl_sni,lower,regsub([.]$,)'")
        names.write(
            "tcp-request content", name: "txn.host", pattern: "txn.pattern", exact: exact, wildcards: wildcards,
            into: &writer)
        let otherwise: HAProxyWord = fallback.map { .name($0) } ?? "-"
        if !backends.isEmpty, let file = directory.file(Self.backendsFile(place)) {
            writer.line(
                "tcp-request content set-var(txn.backend)",
                .joined("var(txn.pattern),map_str(", .path(file), ",", otherwise, ")"))
        } else {
            writer.line("tcp-request content set-var(txn.backend)", .joined("str(", otherwise, ")"))
        }
        writer.line("tcp-request content reject if { var(txn.backend) -m str -- - }")
        writer.line("use_backend %[var(txn.backend)]")
    }
}

/// The door within haproxy from a frontend that looked at the hello to the one where TLS ends.
struct HAProxyDoor {
    /// Its backend.
    let name: HAProxyName
    private let address: HAProxyWord

    init(_ place: String, _ directory: HAProxyPath) {
        name = HAProxyName(resembling: place, suffix: "-door")
        // Several haproxies on one machine have their own.
        let mark = ContentName.of(Array(directory.text.utf8)).prefix(8)
        address = .joined("abns@", .name(HAProxyName(resembling: "interlock-\(mark)-\(place)", suffix: "")))
    }

    var bind: [HAProxyWord] { ["bind", address, "accept-proxy"] }

    func write(into writer: inout HAProxyWriter) {
        writer.section("backend", name)
        writer.line("mode tcp")
        // The other side of the door knows how long is too long.
        writer.line("timeout tunnel 24d")
        writer.line("timeout server-fin 30s")
        writer.line("server door", address, "send-proxy-v2")
    }
}

/// One entry port.
struct HAProxyEntryPort {
    let stream: PlannedStream
    let directory: HAProxyPath
    let settings: RenderSettings
    let standard: PlannedCertificate?

    private(set) var files: [(name: String, map: HAProxyMap)] = []
    private(set) var certificates: HAProxyCertificates?

    init(
        _ stream: PlannedStream, _ directory: HAProxyPath, _ settings: RenderSettings, standard: PlannedCertificate?
    ) {
        self.stream = stream
        self.directory = directory
        self.settings = settings
        self.standard = standard
    }

    private var place: String { "tcp-\(stream.port)" }

    private var binds: [[HAProxyWord]] {
        settings.tcpAddresses.compactMap { HAProxyListen("\($0):\(stream.port)")?.words }.map { ["bind"] + $0 }
    }

    mutating func write(
        _ backends: inout HAProxyBackends, _ notes: inout HAProxyNotes, into writer: inout HAProxyWriter
    ) {
        if let raw = stream.raw {
            writer.section("frontend", HAProxyName(place))
            writer.line("mode tcp")
            for bind in binds { writer.line(bind) }
            if let name = backends.name(of: raw, .connections) {
                writer.line("default_backend", .name(name))
            } else {
                writer.line("tcp-request connection reject")
            }
            return
        }
        let hosts = stream.hosts.filter { host in
            if HAProxyNames.isWritable(host.host) { return true }
            for service in host.pool.services {
                notes.add(
                    .error, service.name, "hosts", "haproxy cannot be given this name; it is left out",
                    value: "\(host.host)")
            }
            return false
        }
        writeNamed(hosts, &backends, &notes, into: &writer)
    }

    private mutating func writeNamed(
        _ hosts: [PlannedStreamHost], _ backends: inout HAProxyBackends, _ notes: inout HAProxyNotes,
        into writer: inout HAProxyWriter
    ) {
        let door = HAProxyDoor(place, directory)
        var outer = HAProxyMap()
        var inner = HAProxyMap()
        var ending: [HAProxyCertificates.Host] = []
        for host in hosts {
            let pattern = "\(host.host)"
            if let tls = host.tls {
                let name = backends.name(of: host.pool, .connections)
                _ = inner.add(pattern, name?.text ?? "-")
                _ = outer.add(pattern, name == nil ? "-" : door.name.text)
                ending.append(HAProxyCertificates.Host(host: host.host, tls: tls, services: host.pool.services))
            } else {
                _ = outer.add(pattern, backends.name(of: host.pool, .passedOn)?.text ?? "-")
            }
        }
        let names = HAProxyNames(hosts.map(\.host))
        guard let exact = directory.file("\(place)-hosts.map"),
            let wildcards = directory.file("\(place)-wildcards.map")
        else { return }
        files = [
            ("\(place)-hosts.map", names.exact), ("\(place)-wildcards.map", names.wildcards),
            (HAProxySwitch.backendsFile(place), outer),
        ]
        let usesStandard = ending.contains { $0.tls.isStandard }
        let certificates = HAProxyCertificates(
            ending, standard: usesStandard ? standard : nil, directory: directory)
        self.certificates = certificates
        // Where TLS ends, a name that nobody claims is refused by its alert.
        let hello = HAProxySwitch(
            place: place, directory: directory, names: names, backends: outer,
            fallback: certificates.isEmpty ? nil : door.name)
        hello.write(binds: binds, exact: exact, wildcards: wildcards, into: &writer)
        notes.formUnion(certificates.notes)
        guard !certificates.isEmpty, let list = directory.file("\(place)-certificates.list") else { return }
        let policies = HAProxyPolicies(ending, closed: certificates.closed, passed: [])
        files += [("\(place)-ending.map", inner), ("\(place)-policies.map", policies.map)]
        door.write(into: &writer)
        writer.section("frontend", HAProxyName("\(place)-ending"))
        writer.line("mode tcp")
        writer.line(
            door.bind + ["ssl crt-list", .path(list)] + (certificates.hasStandard ? [] : ["strict-sni"])
                + (policies.asksForCertificates ? ["no-tls-tickets"] : []))
        writer.line("tcp-request content set-var(txn.host) 'ssl_fc_sni,lower,regsub([.]$,)'")
        names.write(
            "tcp-request content", name: "txn.host", pattern: "txn.pattern", exact: exact, wildcards: wildcards,
            into: &writer)
        writeEnding(inner, policies, into: &writer)
    }

    private func writeEnding(_ inner: HAProxyMap, _ policies: HAProxyPolicies, into writer: inout HAProxyWriter) {
        if !policies.map.isEmpty, let file = directory.file("\(place)-policies.map") {
            writer.line(
                "tcp-request content set-var(txn.policy)",
                .joined("var(txn.pattern),map_str(", .path(file), ",none)"))
            writer.line("tcp-request content reject if { var(txn.policy) -m str closed }")
            policies.writeDemands { writer.line(["tcp-request content reject if"] + $0) }
        }
        if !inner.isEmpty, let file = directory.file("\(place)-ending.map") {
            writer.line(
                "tcp-request content set-var(txn.backend)",
                .joined("var(txn.pattern),map_str(", .path(file), ",-)"))
        } else {
            writer.line("tcp-request content set-var(txn.backend) str(-)")
        }
        writer.line("tcp-request content reject if { var(txn.backend) -m str -- - }")
        writer.line("use_backend %[var(txn.backend)]")
    }
}
