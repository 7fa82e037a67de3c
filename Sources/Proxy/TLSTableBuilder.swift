// From names of certificates and their bytes to policies and certificates ready for use. It lives where tables are
// published: parsing thousands of certificates takes seconds, and no worker and no reader of the table waits. What
// did not change since the last table is taken over: certificates by their bytes, policies by their settings.
//
// What cannot be used harms its own hosts only: the last good certificate stays, and where there never was one the
// handshake is refused. A client CA that cannot be used lets nobody in; a task's that cannot be used gets nothing sent.

internal import Model
internal import Routing
internal import TLS

struct TLSTableBuilder {
    private let defaults: TLSDefaults
    private var memory = CertificateMemory()
    private var named: [CertificateReference: RememberedCertificate] = [:]
    private var kept = KeptCertificates()
    private var directory: [String: RememberedCertificate] = [:]
    private var standard: RememberedCertificate?
    private var directoryIndex = DirectoryIndex()
    private var policies: [TLSPolicySettings: TLSServerPolicy] = [:]
    private var clientPolicies: [TLSClientSettings: TLSClientPolicy] = [:]
    private var tickets: TLSTickets
    private var files = SecretFiles()

    /// Certificates of the certificates directory, by name.
    private struct DirectoryIndex {
        var names = NameIndex()
        var sets: [ServedCertificates] = []
    }

    /// Certificates parsed so far, for tests.
    var parsedCount: Int { memory.parsedCount }

    /// Throws if the settings are not what OpenSSL can use.
    init(_ defaults: TLSDefaults) throws(TLSError) {
        self.defaults = defaults
        tickets = try TLSTickets()
        _ = try policy(TLSOptions(), authorities: nil, isStream: false)
    }

    /// The table for these options and bytes, and what is wrong with them.
    mutating func build(_ table: RouteTable, _ files: SecretFiles) -> (table: TLSTable, report: TLSReport) {
        var report = TLSReportBuilder(table)
        takeTicketKey(files, &report)
        let oldPolicies = policies
        policies.removeAll(keepingCapacity: true)
        readCertificates(table, files)
        self.files = files
        let streamPositions = streamPositions(of: table)
        var terms: [TLSTable.Terms] = []
        for (position, options) in table.tlsOptions.enumerated() {
            let authorities = options.clientAuthentication.map { files.find($0.authorities) }
            var policies: (http: TLSServerPolicy?, stream: TLSServerPolicy?) = (nil, nil)
            do throws(TLSError) {
                policies.http = try policy(options, authorities: authorities, isStream: false, known: oldPolicies)
                if streamPositions.contains(Int32(position)) {
                    policies.stream = try policy(options, authorities: authorities, isStream: true, known: oldPolicies)
                }
            } catch {
                report.addClientCA(options, at: position, reason: error.description)
            }
            terms.append(
                TLSTable.Terms(policy: policies.http, streamPolicy: policies.stream, source: source(options)))
        }
        report.addCertificates(named: named, directory: directory, standard: standard, kept: kept)
        let backends = backends(table, files, &report)
        let made = TLSTable(
            terms: terms, kept: kept.references.mapValues { serve($0) }, directory: directoryIndex.names,
            directorySets: directoryIndex.sets,
            standard: standard?.certificate.map { ServedCertificates([$0], isDefault: true) }, backends: backends)
        report.addHosts(made)
        return (made, report.report)
    }

    private mutating func takeTicketKey(_ files: SecretFiles, _ report: inout TLSReportBuilder) {
        // One that cannot be read any more stays in force: else every session would end with it.
        guard let secret = files.ticketKey, secret != self.files.ticketKey else { return }
        do throws(TLSError) {
            tickets = try TLSTickets(secret: secret)
            // Each policy holds the keys that it was made with.
            policies.removeAll()
        } catch {
            report.add(.ticketKey, explanation: "The ticket key cannot be used: \(error). The one before stays.")
        }
    }

    // MARK: Certificates

    private mutating func readCertificates(_ table: RouteTable, _ files: SecretFiles) {
        var memory = memory
        let wanted = Set(table.tlsOptions.flatMap(\.certificates))
        for reference in wanted.union(named.keys) {
            named[reference, default: RememberedCertificate()].update(Self.files(of: reference, in: files)) {
                files throws(TLSError) in try memory.certificate(files)
            }
        }
        kept.update(table.snapshot.configuration, table.tlsOptions) { named[$0]?.certificate != nil }
        let used = wanted.union(kept.references.values.joined())
        named = named.filter { used.contains($0.key) }
        if files.certificates != self.files.certificates { readDirectory(files, &memory) }
        if let chain = files.defaultCertificate {
            let read = CertificateFiles(chain: chain, key: files.defaultKey, staple: files.defaultStaple)
            var remembered = standard ?? RememberedCertificate()
            remembered.update(read) { files throws(TLSError) in try memory.certificate(files) }
            standard = remembered
        } else if standard != nil {
            standard?.lose("its file is gone")
        }
        let inUse = [named.values.compactMap(\.certificate), directory.values.compactMap(\.certificate)].joined()
        var identities = Set(inUse.map { ObjectIdentifier($0) })
        if let certificate = standard?.certificate { identities.insert(ObjectIdentifier(certificate)) }
        memory.keep(identities)
        self.memory = memory
    }

    private mutating func readDirectory(_ files: SecretFiles, _ memory: inout CertificateMemory) {
        var next: [String: RememberedCertificate] = [:]
        for pair in files.certificatePairs {
            var remembered = directory[pair.name] ?? RememberedCertificate()
            remembered.update(CertificateFiles(chain: pair.chain, key: pair.key, staple: pair.staple)) {
                files throws(TLSError) in try memory.certificate(files)
            }
            next[pair.name] = remembered
        }
        directory = next
        var byName: [String: [TLSCertificate.KeyKind: TLSCertificate]] = [:]
        for file in next.keys.sorted() {
            guard let certificate = next[file]?.certificate else { continue }
            for name in certificate.names {
                // Of two for one name, the one that lasts longer: the other has been renewed.
                let other = byName[name]?[certificate.keyKind]
                if let other, other.notAfter >= certificate.notAfter { continue }
                byName[name, default: [:]][certificate.keyKind] = certificate
            }
        }
        directoryIndex = Self.index(byName)
    }

    /// Equal choices share one set.
    private static func index(_ byName: [String: [TLSCertificate.KeyKind: TLSCertificate]]) -> DirectoryIndex {
        var index = DirectoryIndex()
        var values: [String: Int32] = [:]
        var known: [[ObjectIdentifier]: Int32] = [:]
        for (name, choices) in byName {
            let certificates = choices.values.sorted {
                ($0.notAfter, $0.contentHash.description) < ($1.notAfter, $1.contentHash.description)
            }
            let key = certificates.map { ObjectIdentifier($0) }
            let position = known[key] ?? Int32(index.sets.count)
            if known.updateValue(position, forKey: key) == nil { index.sets.append(ServedCertificates(certificates)) }
            values[name] = position
        }
        index.names = NameIndex(values)
        return index
    }

    private static func files(of reference: CertificateReference, in files: SecretFiles) -> CertificateFiles {
        guard let certificate = files.find(reference.certificate) else {
            return CertificateFiles(fault: missing(reference.certificate, files))
        }
        var read = CertificateFiles(chain: certificate.bytes, staple: files.staple(ofSecret: certificate.name))
        if let key = reference.key {
            read.key = files.find(key)?.bytes
            if read.key == nil { read.fault = "the key: " + missing(key, files) }
        }
        return read
    }

    static func missing(_ reference: SecretReference, _ files: SecretFiles) -> String {
        let names = reference.names.joined(separator: "\" or \"")
        let reasons = reference.names.compactMap { files.failures[$0] }
        let reason = reasons.first.map { " (\($0))" } ?? ""
        return "there is no secret \"\(names)\"\(reason); attach it to the service that watches Docker,"
            + " the controller's if there is one, as with docker service update --secret-add"
    }

    private func source(_ options: TLSOptions) -> TLSTable.Source {
        if options.certificates.isEmpty { return .serverName }
        return serve(options.certificates).map { .named($0) } ?? .unusable
    }

    /// Of those that can be used the first of each kind of key.
    private func serve(_ references: [CertificateReference]) -> ServedCertificates? {
        var chosen: [TLSCertificate.KeyKind: TLSCertificate] = [:]
        for reference in references {
            guard let certificate = named[reference]?.certificate else { continue }
            if chosen[certificate.keyKind] == nil { chosen[certificate.keyKind] = certificate }
        }
        return chosen.isEmpty ? nil : ServedCertificates(Array(chosen.values))
    }

    // MARK: Policies

    private mutating func policy(
        _ options: TLSOptions, authorities: (name: String, bytes: [UInt8])??, isStream: Bool,
        known: [TLSPolicySettings: TLSServerPolicy] = [:]
    ) throws(TLSError) -> TLSServerPolicy {
        var settings = TLSPolicySettings(
            minimumVersion: (options.minimumVersion ?? defaults.minimumVersion) == .tls13 ? .tls13 : .tls12,
            ciphers: defaults.ciphers, cipherSuites: defaults.cipherSuites, groups: defaults.groups,
            applicationProtocols: isStream ? [] : ["http/1.1"])
        if let demand = options.clientAuthentication {
            guard let found = authorities ?? nil else {
                throw TLSError(kind: .configuration, description: Self.missing(demand.authorities, files))
            }
            settings.clientDemand = demand.demand == .required ? .required : .optional
            settings.clientAuthorities = found.bytes
        }
        if let made = policies[settings] { return made }
        let made: TLSServerPolicy
        if let old = known[settings] { made = old } else { made = try TLSServerPolicy(settings, tickets: tickets) }
        policies[settings] = made
        return made
    }

    private func streamPositions(of table: RouteTable) -> Set<Int32> {
        var positions: Set<Int32> = []
        let asked = Set(table.snapshot.configuration.streams.flatMap(\.hosts).compactMap(\.tls))
        guard !asked.isEmpty else { return [] }
        for (position, options) in table.tlsOptions.enumerated() where asked.contains(options) {
            positions.insert(Int32(position))
        }
        return positions
    }

    private mutating func backends(
        _ table: RouteTable, _ files: SecretFiles, _ report: inout TLSReportBuilder
    ) -> [TLSClientPolicy?] {
        let old = clientPolicies
        clientPolicies.removeAll(keepingCapacity: true)
        return table.backendTLS.map { options in
            let found = options.authorities.flatMap { files.find($0) }
            if let wanted = options.authorities, found == nil {
                report.addBackendCA(options, reason: Self.missing(wanted, files))
                return nil
            }
            let settings = TLSClientSettings(
                verifies: options.verifies, authorities: options.verifies ? found?.bytes : nil)
            if let made = clientPolicies[settings] ?? old[settings] {
                clientPolicies[settings] = made
                return made
            }
            do throws(TLSError) {
                let made = try TLSClientPolicy(settings)
                clientPolicies[settings] = made
                return made
            } catch {
                report.addBackendCA(options, reason: error.description)
                return nil
            }
        }
    }
}
