// `interlock check [FILE]`: reads a services file as the proxy would and says what it makes of it. Exit status 0: all
// services are routed; 1: some are left out or doubtful; 2: the file cannot be used at all.

import Discovery
import Docker
import Model

enum CheckRole {
    static func run(_ settings: Settings, file: String?) throws(Interlock.Failure) -> Int32 {
        guard let path = file ?? settings.servicesFile else {
            throw Interlock.Failure("check: name a services file, or set INTERLOCK_SERVICES_FILE")
        }
        let text: [UInt8]
        switch SettingsLoader.readFile(path) {
        case .success(let content): text = Array(content.utf8)
        case .failure(let error): throw Interlock.Failure("\(path): \(error)")
        }
        let content: ServicesFileContent
        do throws(ServicesFileError) {
            content = try ServicesFileReader.read(text, name: path)
        } catch {
            throw Interlock.Failure(error)
        }
        let inventory = Inventory(files: [ServicesFile(name: path, services: content.services)])
        var snapshot = ServiceMapping.snapshot(of: inventory, settings: ControlPlane.mapping(settings))
        snapshot.diagnostics += content.problems
        Interlock.write(report(snapshot), to: 1)
        return snapshot.diagnostics.isEmpty ? 0 : 1
    }

    static func report(_ snapshot: Snapshot) -> String {
        let configuration = snapshot.configuration
        func names(_ positions: [Int]) -> String {
            positions.map { configuration.services[$0].name }.joined(separator: ", ")
        }
        var lines = configuration.routes.map { route in
            "route    \(route.host)\(route.pathPrefix) -> \(names(route.services))"
                + (route.requiresTLS ? " (TLS only)" : "")
        }
        for host in configuration.hosts {
            if !host.passthrough.isEmpty {
                lines.append("tls      \(host.host) passed on -> \(names(host.passthrough))")
            }
            if host.tls != TLSOptions() { lines.append("tls      \(host.host): \(terms(host.tls))") }
            for redirect in host.redirects {
                lines.append("redirect \(redirect.scheme.rawValue)://\(host.host) -> \(redirect.target)")
            }
        }
        for port in configuration.streams {
            if !port.services.isEmpty { lines.append("tcp      \(port.port) -> \(names(port.services))") }
            for host in port.hosts {
                let what = host.tls.map(terms) ?? "passed on"
                lines.append("tcp      \(port.port) \(host.host): \(what) -> \(names(host.services))")
            }
        }
        for finding in snapshot.diagnostics {
            let label = finding.label.isEmpty ? "" : " \(finding.label)=\"\(finding.value)\""
            lines.append(
                "\(finding.severity == .error ? "error  " : "warning")  \(finding.service)\(label): \(finding.message)")
        }
        return lines.map { $0 + "\n" }.joined()
    }

    /// What TLS that ends here is to be like; secrets by name.
    private static func terms(_ options: TLSOptions) -> String {
        let certificates = options.certificates.compactMap { $0.certificate.names.first }
        var terms = [
            certificates.isEmpty ? "the directory's or the default certificate" : certificates.joined(separator: ", ")
        ]
        if let version = options.minimumVersion { terms.append("TLS \(version.rawValue) at least") }
        if let clients = options.clientAuthentication {
            let authorities = clients.authorities.names.first ?? "nobody"
            terms.append("client certificates \(clients.demand.rawValue), signed by \(authorities)")
        }
        return terms.joined(separator: "; ")
    }
}
