// Which certificates a host keeps: one that names others than before, of which none can be used yet, goes on with those
// that it had. So a host moves to a new secret without a moment in which its clients are refused, whether the label or
// the secret comes first.

internal import Model
internal import TLS

/// A host where TLS ends here. Entry ports are apart from https and from each other: the same name may be another's
/// service at each.
struct TLSHost: Hashable {
    var pattern: HostPattern
    /// The entry port; nil: https.
    var port: UInt16?

    /// All hosts of a configuration where TLS ends here, with their options.
    static func all(of configuration: Configuration) -> [(host: TLSHost, options: TLSOptions)] {
        let plain = configuration.hosts.filter { $0.passthrough.isEmpty }
        return plain.map { (TLSHost(pattern: $0.host), $0.tls) }
            + configuration.streams.flatMap { stream in
                stream.hosts.compactMap { host in
                    host.tls.map { (TLSHost(pattern: host.host, port: stream.port), $0) }
                }
            }
    }
}

struct KeptCertificates {
    /// Every host whose certificates cannot be used, with those it had before; none: it had none.
    private(set) var references: [TLSHost: [CertificateReference]] = [:]
    private var last = Configuration()

    /// Takes the next configuration.
    /// - Parameters:
    ///   - options: the different ones of its hosts.
    ///   - isUsable: whether there is a certificate, from its files or the last good one.
    mutating func update(_ next: Configuration, _ options: [TLSOptions], isUsable: (CertificateReference) -> Bool) {
        defer { last = next }
        let lost = Set(options.filter { !$0.certificates.isEmpty && !$0.certificates.contains(where: isUsable) })
        guard !lost.isEmpty else {
            references = [:]
            return
        }
        var had = references
        for (host, options) in TLSHost.all(of: last) where options.certificates.contains(where: isUsable) {
            had[host] = options.certificates
        }
        references = [:]
        for (host, options) in TLSHost.all(of: next) where lost.contains(options) { references[host] = had[host] ?? [] }
    }

    /// Whether a host has something to go on with.
    func cover(_ host: TLSHost) -> Bool { !(references[host] ?? []).isEmpty }
}
