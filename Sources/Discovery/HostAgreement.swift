// Services that meet on a host must mean the same by it. Who passes TLS through, who must show a certificate and where
// plain HTTP is allowed is never the weaker of two answers and never the younger's: a younger service that disagrees is
// not routed there. Silence is an answer too, or protection would hang on the life of one of the services.

import Model

/// Finds out who may stay where, host by host and port by port: what is refused in one place changes no other.
struct HostAgreement {
    private(set) var diagnostics: [Diagnostic] = []
    private let candidates: [Candidate]
    /// Plain HTTP is allowed nowhere, whatever the labels say.
    private let isSSLOnly: Bool
    /// By candidate: what it has to give up.
    private var refusedHosts: [Int: Set<HostPattern>] = [:]
    private var refusedPorts: Set<Int> = []

    /// What two services of a host can disagree about.
    private struct Difference {
        var label: String
        var value: String
        /// A clause about the younger one, which continues "not routed on <place>: ".
        var message: String
    }

    /// Takes from each candidate the claims on which it disagrees with an older one.
    static func apply(to candidates: inout [Candidate], isSSLOnly: Bool) -> [Diagnostic] {
        var agreement = HostAgreement(candidates, isSSLOnly: isSSLOnly)
        agreement.judge()
        for (index, hosts) in agreement.refusedHosts { candidates[index].claim.remove(hosts) }
        for index in agreement.refusedPorts { candidates[index].claim = .nothing }
        return agreement.diagnostics
    }

    private init(_ candidates: [Candidate], isSSLOnly: Bool) {
        self.candidates = candidates
        self.isSSLOnly = isSSLOnly
    }

    private mutating func judge() {
        var hosts: [HostPattern: [Int]] = [:]
        var ports: [UInt16: [Int]] = [:]
        hosts.reserveCapacity(candidates.count)
        for (index, candidate) in candidates.enumerated() {
            switch candidate.claim {
            case .hosts(let claimed): for host in claimed { hosts[host, default: []].append(index) }
            case .raw(let port), .serverNames(_, let port): ports[port, default: []].append(index)
            case .nothing: break
            }
        }
        for (host, members) in hosts where members.count > 1 { judge(members, on: host, place: "\(host)") }
        for (port, members) in ports where members.count > 1 { judge(members, onPort: port) }
    }

    private func byAge(_ members: [Int]) -> [Int] {
        members.sorted { candidates[$0].isOlder(than: candidates[$1]) }
    }

    /// Who is of one kind with the oldest: raw, or by server name.
    private mutating func judge(_ members: [Int], onPort port: UInt16) {
        let members = byAge(members)
        guard let oldest = members.first else { return }
        var names: [HostPattern: [Int]] = [:]
        for index in members {
            if candidates[index].isRaw == candidates[oldest].isRaw {
                for host in candidates[index].claim.hosts { names[host, default: []].append(index) }
                continue
            }
            let other = candidates[oldest].service.name
            let conflict =
                candidates[index].isRaw
                ? "it is raw, and \(other), which is older, shares the port by server name"
                : "it shares the port by server name, and \(other), which is older, takes it raw"
            let message = "is not routed on port \(port): \(conflict); choose another port"
            diagnostics.append(Subject(name: candidates[index].service.name).error("tcp_port", "\(port)", message))
            refusedPorts.insert(index)
        }
        for (host, members) in names where members.count > 1 { judge(members, on: host, place: "\(host):\(port)") }
    }

    /// The oldest is right. Of the younger ones those stay who ask for the same.
    private mutating func judge(_ members: [Int], on host: HostPattern, place: String) {
        let members = byAge(members)
        guard let oldest = members.first else { return }
        // Who may be reached by plain HTTP is a matter of each path: the oldest service there decides.
        var decidesPlainText: [String: Int] = [candidates[oldest].labels.contextRoot: oldest]
        for index in members.dropFirst() {
            let labels = candidates[index].labels
            let plainText = decidesPlainText[labels.contextRoot]
            var older = oldest
            var difference = Self.difference(of: labels, from: candidates[oldest].labels)
            if difference == nil, !isSSLOnly, labels.tcpPort == nil, !labels.passesThrough, let plainText,
                labels.requiresTLS != candidates[plainText].labels.requiresTLS
            {
                older = plainText
                difference = Difference(
                    label: "ssl_only", value: "\(labels.requiresTLS)",
                    message: labels.requiresTLS ? "ssl_only is not set on" : "ssl_only is set on")
            }
            guard let difference else {
                if plainText == nil { decidesPlainText[labels.contextRoot] = index }
                continue
            }
            let name = candidates[older].service.name
            let message =
                "is not routed on \(place): \(difference.message) \(name), which is older; let both say the same"
            let subject = Subject(name: candidates[index].service.name)
            diagnostics.append(subject.error(difference.label, difference.value, message))
            refusedHosts[index, default: []].insert(host)
        }
    }

    private static func difference(of younger: LabelReading, from older: LabelReading) -> Difference? {
        if younger.passesThrough != older.passesThrough {
            let message = younger.passesThrough ? "ssl_passthrough is not set on" : "ssl_passthrough is set on"
            return Difference(label: "ssl_passthrough", value: "\(younger.passesThrough)", message: message)
        }
        if younger.passesThrough, younger.tcpPort == nil, younger.contextRoot != older.contextRoot {
            let message = "with ssl_passthrough paths cannot be told apart, and \(older.contextRoot) is that of"
            return Difference(label: "context_root", value: younger.contextRoot, message: message)
        }
        let authorities = younger.tls.clientAuthentication?.authorities
        if authorities != older.tls.clientAuthentication?.authorities {
            let message = "client certificates are verified differently by"
            return Difference(label: "ssl_client_ca", value: authorities?.names.first ?? "", message: message)
        }
        let demand = younger.tls.clientAuthentication?.demand
        if demand != older.tls.clientAuthentication?.demand {
            let message = "client certificates are demanded differently by"
            return Difference(label: "ssl_client_auth", value: demand?.rawValue ?? "", message: message)
        }
        if younger.tls.minimumVersion != older.tls.minimumVersion {
            let message = "another minimum version of TLS is asked for by"
            let value = younger.tls.minimumVersion?.rawValue ?? ""
            return Difference(label: "ssl_min_version", value: value, message: message)
        }
        return nil
    }
}

extension Candidate {
    fileprivate var isRaw: Bool {
        if case .raw = claim { true } else { false }
    }
}
