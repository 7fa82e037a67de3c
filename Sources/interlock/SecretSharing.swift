// Which group of proxies gets which secrets: the ones that its own services name, and of the certificates directory
// the certificates that its own hosts are served with. It remembers what it found in a file as long as that is the
// same.

import Model
import TLS

struct SecretSharing {
    private var credentials: [String: (bytes: [UInt8], isCredential: Bool)] = [:]
    private var certificateNames: [String: (bytes: [UInt8], names: [String])] = [:]
    /// Certificates of the directory that cannot be used, and so are no group's, by name: why.
    private(set) var unusable: [String: String] = [:]

    /// - Parameters:
    ///   - snapshots: by group.
    ///   - reserved: names of secrets that never leave.
    mutating func shares(
        of files: SecretFiles, among snapshots: [String: Snapshot], reserved: Set<String>
    ) -> [String: SecretFiles] {
        var files = files
        for name in files.secrets.keys where reserved.contains(name) || isCredential(name, files.secrets[name] ?? []) {
            files.secrets[name] = nil
            files.failures[name] = "is the controller's own and is never handed out: name another secret"
        }
        credentials = credentials.filter { files.secrets[$0.key] != nil }
        let owners = certificateOwners(files, snapshots)
        return Dictionary(
            uniqueKeysWithValues: snapshots.map { cluster, snapshot in
                var share = files.restricted(to: snapshot.configuration.secretNames)
                share.certificates = files.certificates.filter { owners[$0.key]?.contains(cluster) ?? false }
                share.ticketKey = files.ticketKey.map { Self.ticketKey($0, cluster: cluster) }
                return (cluster, share)
            })
    }

    private mutating func isCredential(_ name: String, _ bytes: [UInt8]) -> Bool {
        if let known = credentials[name], known.bytes == bytes { return known.isCredential }
        let verdict = FeedCredential.isCredential(bytes)
        credentials[name] = (bytes, verdict)
        return verdict
    }

    /// Proxies of one group resume each other's sessions, and nobody else's.
    private static func ticketKey(_ key: [UInt8], cluster: String) -> [UInt8] {
        cluster.isEmpty ? key : Sealing.key(from: key, salt: [], info: "interlock tickets of \(cluster)")
    }

    // MARK: The certificates directory

    /// The groups that each file of the directory goes to.
    private mutating func certificateOwners(
        _ files: SecretFiles, _ snapshots: [String: Snapshot]
    ) -> [String: Set<String>] {
        guard !files.certificates.isEmpty else {
            unusable = [:]
            return [:]
        }
        let hosts = snapshots.mapValues { HostSet($0.configuration) }
        var owners: [String: Set<String>] = [:]
        var seen: Set<String> = []
        for pair in files.certificatePairs {
            let names = names(of: pair)
            seen.insert(pair.name)
            var groups = Set(hosts.filter { $0.value.isServed(by: names) }.keys)
            // Nobody names its hosts: it is for those who answer every host.
            if groups.isEmpty { groups = Set(hosts.filter(\.value.hasAny).keys) }
            for name in Self.files(beside: pair.name) where files.certificates[name] != nil {
                owners[name, default: []].formUnion(groups)
            }
        }
        certificateNames = certificateNames.filter { seen.contains($0.key) }
        unusable = unusable.filter { seen.contains($0.key) }
        return owners
    }

    private mutating func names(of pair: SecretFiles.CertificatePair) -> [String] {
        let bytes = pair.chain + (pair.key ?? [])
        if let known = certificateNames[pair.name], known.bytes == bytes { return known.names }
        unusable[pair.name] = nil
        var names: [String] = []
        do throws(TLSError) {
            names = try TLSCertificate(chainPEM: pair.chain, keyPEM: pair.key).names
        } catch {
            unusable[pair.name] = error.description
        }
        certificateNames[pair.name] = (bytes, names)
        return names
    }

    /// All names that `SecretFiles` looks for beside a certificate, itself included.
    private static func files(beside name: String) -> [String] {
        let stem = String(name.dropLast(4))
        var names = [name, "\(stem).key", "\(name).key", "\(stem)-key.pem"] + SecretFiles.stapleNames(of: name)
        if name.hasSuffix("/" + SecretFiles.certbotChain) {
            names.append(name.dropLast(SecretFiles.certbotChain.count) + "privkey.pem")
        }
        return names
    }
}

/// The hosts of one configuration, for asking whether a certificate serves any of them.
private struct HostSet {
    private var exact: Set<String> = []
    /// `x` of `a.x`.
    private var parents: Set<String> = []
    private var wildcards: Set<String> = []
    private(set) var hasAny = false

    init(_ configuration: Configuration) {
        for route in configuration.routes { add(route.host) }
        for host in configuration.hosts { add(host.host) }
        for port in configuration.streams { for host in port.hosts { add(host.host) } }
    }

    private mutating func add(_ host: HostPattern) {
        switch host {
        case .any: hasAny = true
        case .wildcard(let parent): wildcards.insert(parent)
        case .exact(let name):
            exact.insert(name)
            if let dot = name.firstIndex(of: ".") { parents.insert(String(name[name.index(after: dot)...])) }
        }
    }

    func isServed(by names: [String]) -> Bool {
        names.contains { name in
            if name.hasPrefix("*.") {
                let parent = String(name.dropFirst(2))
                return parents.contains(parent) || wildcards.contains(parent) || isBelowWildcard(parent)
            }
            return exact.contains(name) || isBelowWildcard(name)
        }
    }

    private func isBelowWildcard(_ name: String) -> Bool {
        var rest = name[...]
        while let dot = rest.firstIndex(of: ".") {
            rest = rest[rest.index(after: dot)...]
            if wildcards.contains(String(rest)) { return true }
        }
        return false
    }
}
