// `interlock render nginx|haproxy [FILE]`: what another load balancer would be given for a services file. The main
// file goes to standard output, or all files into a directory; what was left out or cannot be expressed goes to
// standard error. Exit status 0: everything is routed; 1: something is left out or doubtful; 2: nothing can be made.

import Discovery
import Docker
import Extension
import Glibc
import Kernel
import Model
import Proxy
import Render
import Secrets
import TLS

enum RenderRole {
    static func run(_ settings: Settings, _ arguments: RenderArguments) throws(Interlock.Failure) -> Int32 {
        var snapshot = try CheckRole.snapshot(settings, file: arguments.file, role: "render")
        let found = snapshot.diagnostics
        snapshot.diagnostics = []
        let input = RenderInput(
            snapshot: snapshot, secrets: try secrets(settings, snapshot),
            settings: renderSettings(settings, arguments), reading: .byOpenSSL)
        let output = render(input, for: arguments.target)
        if let directory = arguments.directory {
            do throws(SystemError) {
                for file in output.files { try ConfigurationDirectory(path: directory).write(file) }
            } catch {
                throw Interlock.Failure(error)
            }
        } else if let main = output.files.first {
            Interlock.write(String(decoding: main.bytes, as: UTF8.self), to: 1)
        }
        let diagnostics = found + output.diagnostics
        for diagnostic in diagnostics {
            Interlock.write(SnapshotReport.line(diagnostic) + "\n", to: 2)
        }
        return diagnostics.isEmpty ? 0 : 1
    }

    static func render(_ input: RenderInput, for target: RenderArguments.Target) -> RenderOutput {
        switch target {
        case .nginx: NginxConfig.render(input)
        case .haproxy: HAProxyConfig.render(input)
        }
    }

    private static func renderSettings(_ settings: Settings, _ arguments: RenderArguments) -> RenderSettings {
        var made = RenderSettings(settings, for: arguments.target)
        if let listen = arguments.httpListen { made.httpListen = listen }
        if let listen = arguments.httpsListen { made.httpsListen = listen }
        if let listen = arguments.tcpListen { made.tcpAddresses = listen }
        if let port = arguments.publicHTTPSPort { made.publicHTTPSPort = port }
        if let directory = arguments.directory { made.directory = absolute(directory) }
        return made
    }

    private static func absolute(_ path: String) -> String {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        guard !path.hasPrefix("/"), let current = getcwd(nil, 0) else { return path }
        defer { free(current) }
        return "\(String(cString: current))/\(path)"
    }

    private static func secrets(_ settings: Settings, _ snapshot: Snapshot) throws(Interlock.Failure) -> SecretFiles {
        do throws(SecretStoreError) {
            let store = try SecretStore(places: settings.secretPlaces) { _ in }
            return store.want(snapshot.configuration.secretNames) { $0 }
        } catch {
            throw Interlock.Failure(error)
        }
    }
}

extension RenderSettings {
    /// What the proxy's own settings mean for another load balancer.
    init(_ settings: Settings, for target: RenderArguments.Target) {
        self.init(publicHTTPSPort: UInt16(clamping: settings.httpsPublicPort), isSSLOnly: settings.sslOnly)
        httpListen = settings.httpListen.flatMap(Self.addresses)
        httpsListen = settings.httpsListen.flatMap(Self.addresses)
        // TCP ports are opened where http is: a machine without IPv6 says so in one place.
        let hosts = settings.httpListen.flatMap { $0.host.isEmpty ? ["0.0.0.0", "[::]"] : [Self.host($0)] }
        tcpAddresses =
            hosts.isEmpty
            ? ["0.0.0.0", "[::]"]
            : hosts.reduce(into: []) { known, host in
                if !known.contains(host) { known.append(host) }
            }
        if publicHTTPSPort == 0 { publicHTTPSPort = 443 }
        defaults.connectTimeoutMs = settings.connectTimeoutMs
        defaults.responseTimeoutMs = settings.responseTimeoutMs
        defaults.idleTimeoutMs = settings.idleTimeoutMs
        defaults.tunnelTimeoutMs = settings.tunnelTimeoutMs
        defaults.headerTimeoutMs = settings.headerTimeoutMs
        defaults.keepAliveTimeoutMs = settings.keepAliveTimeoutMs
        defaults.upstreamIdleTimeoutMs = settings.upstreamIdleTimeoutMs
        defaults.retries = settings.retryCount
        defaults.maxBodySize = settings.maxBodySize
        defaults.minimumVersion = settings.tls.minimumVersion
        defaults.viaName = settings.viaName
    }

    private static func host(_ listen: ListenSetting) -> String {
        listen.host.contains(":") ? "[\(listen.host)]" : listen.host
    }

    /// As both targets write them; every address of the machine is two, since they do not open one for both.
    private static func addresses(_ listen: ListenSetting) -> [String] {
        listen.host.isEmpty ? ["\(listen.port)", "[::]:\(listen.port)"] : ["\(listen)"]
    }
}

extension CertificateReading {
    /// As OpenSSL reads them, which is what nginx and HAProxy read them with.
    static let byOpenSSL = CertificateReading(
        pair: { chain, key in
            do throws(TLSError) {
                let certificate = try TLSCertificate(chainPEM: chain, keyPEM: key)
                let kind: CertificateFacts.KeyKind =
                    switch certificate.keyKind {
                    case .rsa: .rsa
                    case .ecdsa: .ecdsa
                    case .ed25519: .ed25519
                    case .other: .other
                    }
                return .success(CertificateFacts(keyKind: kind, names: certificate.names))
            } catch {
                return .failure(CertificateFault(error.description))
            }
        },
        authorities: { pem in
            do throws(TLSError) {
                _ = try TLSClientPolicy(TLSClientSettings(verifies: true, authorities: pem))
                return nil
            } catch {
                return CertificateFault(error.description)
            }
        })
}
