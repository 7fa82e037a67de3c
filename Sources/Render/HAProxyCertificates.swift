// Which certificate a client is shown, and what is asked of it, in haproxy's words: a list of certificate files, each
// with its conditions and the server names that it is for. haproxy chooses by name among all lines, exact names and
// wildcards together, by the kind of key that the client likes best; a wildcard's line therefore excludes the exact
// names that have lines of their own. That a host's conditions were really those of the connection is looked at again
// for each request (`HAProxyPolicies`), so a line that haproxy chose otherwise lets nobody in.

import Model

struct HAProxyCertificates {
    /// The list; empty: TLS can end for nobody.
    private(set) var list: [UInt8] = []
    private(set) var files: [String: RenderedFile] = [:]
    /// Server names that nobody claims are served too.
    private(set) var hasStandard = false
    /// Hosts that cannot be served over TLS.
    private(set) var closed: Set<HostPattern> = []
    /// Which certificates a host shows, and which names each set of them carries: requests for other hosts have no
    /// business on that connection.
    private(set) var shown = HAProxyMap()
    private(set) var covered = HAProxyMap()
    private(set) var notes = HAProxyNotes()

    private let directory: HAProxyPath

    /// One host whose TLS ends here.
    struct Host {
        var host: HostPattern
        var tls: PlannedTLS
        var services: [Service]
        /// It says something of TLS itself. One that does not, and has no certificate, may still be asked for on a
        /// connection whose certificate covers it.
        var hasTerms = true
    }

    private var setNumbers: [[PlannedCertificate]: Int] = [:]

    /// What makes lines of the list the same but for their names.
    private struct Terms: Hashable {
        var path: String
        var words: String
    }

    /// haproxy reads lines of at most 64 KiB and 2,048 words.
    private static let namesInLine = 200
    private static let exclusionsInLine = 200

    init(_ hosts: [Host], standard: PlannedCertificate?, directory: HAProxyPath) {
        self.directory = directory
        var order: [Terms] = []
        var names: [Terms: [String]] = [:]
        var exceptions: [String: [String]] = [:]
        var wildcards: [(terms: [Terms], host: Host, suffix: String)] = []
        var others: [Terms] = []
        for host in hosts {
            guard !host.tls.certificates.isEmpty else {
                if host.hasTerms { closed.insert(host.host) }
                continue
            }
            let terms = host.tls.certificates.map { makeTerms($0, host.tls) }
            noteNames(host)
            switch host.host {
            case .any: others = terms
            case .exact(let name):
                // It is served like any name that has nothing of its own.
                if host.tls.isStandard, host.tls.asksNothing { continue }
                for term in terms {
                    if names[term] == nil { order.append(term) }
                    names[term, default: []].append(name)
                }
                if let dot = name.firstIndex(of: ".") {
                    exceptions[String(name[name.index(after: dot)...]), default: []].append(name)
                }
            case .wildcard(let suffix):
                if host.tls.isStandard, host.tls.asksNothing { continue }
                wildcards.append((terms, host, suffix))
            }
        }
        if others.isEmpty, let standard { others = [makeTerms(standard, PlannedTLS())] }
        if let first = others.first {
            // The first of the list is shown to whoever asks for none of the names; `!*` gives it no name.
            hasStandard = true
            append(first, ["!*"])
        }
        for term in order { append(term, names[term] ?? []) }
        for (terms, host, suffix) in wildcards { append(terms, host, suffix, exceptions[suffix] ?? []) }
    }

    var isEmpty: Bool { list.isEmpty }

    private mutating func append(_ terms: [Terms], _ host: Host, _ suffix: String, _ exceptions: [String]) {
        guard exceptions.count <= Self.exclusionsInLine else {
            closed.insert(host.host)
            for service in host.services {
                notes.add(
                    .error, service.name, "hosts",
                    "haproxy cannot tell the certificate of \(host.host) from those of \(exceptions.count) names below"
                        + " it: it is not served over TLS", value: "\(host.host)")
            }
            return
        }
        for term in terms { append(term, ["*." + suffix] + exceptions.map { "!" + $0 }) }
        guard !hasStandard else { return }
        for service in host.services {
            notes.warn(
                service, "hosts",
                "haproxy takes TLS for names one label below the wildcard, and refuses those deeper down",
                value: "\(host.host)")
        }
    }

    /// Lines for a certificate; names come from host patterns that were looked at.
    private mutating func append(_ terms: Terms, _ names: [String]) {
        var rest = names[...]
        while !rest.isEmpty {
            let isWhole = names.count > 1 && names[1].hasPrefix("!")
            let part = isWhole ? rest : rest.prefix(Self.namesInLine)
            rest = rest.dropFirst(part.count)
            let words = [terms.path] + (terms.words.isEmpty ? [] : [terms.words]) + part
            list += Array((words.joined(separator: " ") + "\n").utf8)
        }
    }

    /// Whoever reads certificates by their form alone does not know their names; then nothing is said of them.
    private mutating func noteNames(_ host: Host) {
        let certificates = host.tls.certificates
        guard !host.tls.isStandard, certificates.allSatisfy({ !$0.facts.names.isEmpty }) else { return }
        if let known = setNumbers[certificates] {
            _ = shown.add("\(host.host)", "set-\(known)")
            return
        }
        let number = setNumbers.count + 1
        setNumbers[certificates] = number
        _ = shown.add("\(host.host)", "set-\(number)")
        for name in Set(certificates.flatMap(\.facts.names)).sorted(by: { $0.isBefore($1) }) {
            _ = covered.add("set-\(number)/\(name)", "yes")
        }
    }

    private mutating func makeTerms(_ certificate: PlannedCertificate, _ tls: PlannedTLS) -> Terms {
        var words: [String] = []
        if tls.minimumVersion == .tls13 { words.append("ssl-min-ver TLSv1.3") }
        if let client = tls.client {
            let authorities = file("authorities", client.authorities)
            words.append("verify \(client.isRequired ? "required" : "optional") ca-file \(authorities)")
        }
        return Terms(
            path: file("certificates", Self.pem(certificate)),
            words: words.isEmpty ? "" : "[\(words.joined(separator: " "))]")
    }

    /// Chain and key in one file, as haproxy wants them.
    private static func pem(_ certificate: PlannedCertificate) -> [UInt8] {
        guard let key = certificate.key else { return certificate.chain }
        let needsEnd = certificate.chain.last != UInt8(ascii: "\n")
        return certificate.chain + (needsEnd ? [UInt8(ascii: "\n")] : []) + key
    }

    private mutating func file(_ place: String, _ bytes: [UInt8]) -> String {
        let path = "\(place)/\(ContentName.of(bytes)).pem"
        files[path] = RenderedFile(path: path, bytes: bytes, isSecret: true)
        return "\(directory.text)/\(path)"
    }
}

extension PlannedTLS {
    /// Whatever is asked of every client.
    var asksNothing: Bool { client == nil && minimumVersion == .tls12 }
}

/// What is asked of the clients of a host, as one word; hosts that ask the same have the same.
struct HAProxyPolicies {
    struct Demand: Hashable {
        var isRequired: Bool
        var authorities: [UInt8]?
        var minimumVersion: TLSVersion
    }

    /// Policies of hosts that ask for something, or are not served over TLS.
    private(set) var map = HAProxyMap()
    private(set) var demands: [(name: HAProxyName, demand: Demand)] = []
    /// Whether a certificate of the client is looked at: then no session is resumed, since a session that one host
    /// allowed would do for another.
    private(set) var asksForCertificates = false

    private var names: [Demand: HAProxyName] = [:]

    static let closed = "closed"
    static let passed = "passed"

    init(_ hosts: [HAProxyCertificates.Host], closed: Set<HostPattern>, passed: [HostPattern]) {
        for host in hosts {
            if closed.contains(host.host) {
                _ = map.add("\(host.host)", Self.closed)
                continue
            }
            guard !host.tls.asksNothing else { continue }
            _ = map.add("\(host.host)", name(host.tls).text)
        }
        for host in passed { _ = map.add("\(host)", Self.passed) }
    }

    private mutating func name(_ tls: PlannedTLS) -> HAProxyName {
        let demand = Demand(
            isRequired: tls.client?.isRequired ?? false, authorities: tls.client?.authorities,
            minimumVersion: tls.minimumVersion)
        if let known = names[demand] { return known }
        let name = HAProxyName(resembling: "asks-", suffix: "\(names.count + 1)")
        names[demand] = name
        demands.append((name, demand))
        if tls.client != nil { asksForCertificates = true }
        return name
    }

    /// What must not go on: on a connection that was asked for less than the host asks for.
    /// - Parameter refuse: writes a rule with the conditions it is given.
    func writeDemands(_ refuse: ([HAProxyWord]) -> Void) {
        for (name, demand) in demands {
            let isAsked: [HAProxyWord] = ["{ var(txn.policy) -m str", .name(name), "}"]
            if demand.isRequired { refuse(isAsked + ["!{ ssl_c_used }"]) }
            if demand.minimumVersion == .tls13 { refuse(isAsked + ["!{ ssl_fc_protocol -m str TLSv1.3 }"]) }
        }
    }
}
