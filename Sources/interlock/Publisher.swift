// Between the control plane and the data plane: hands each table, together with the secrets that it names, to the
// proxy, and the secrets again when their files changed. One at a time, the newest last, whichever thread it comes on.
// It says what is wrong with the places that the settings name; what is wrong with a service's secrets is the proxy's
// word.

import Admin
import Kernel
import Model
import Proxy
import Secrets
import Synchronization
import Telemetry

final class Publisher: Sendable {
    private let proxy: ProxyServer
    private let life: Life
    private let log: Log
    private let secrets: SecretStore
    /// Failures that were told, by what the settings name.
    private let told: SecretFailureMemory

    /// - Throws: when the secrets cannot be watched.
    init(_ settings: Settings, proxy: ProxyServer, life: Life, log: Log) throws(Interlock.Failure) {
        self.proxy = proxy
        self.life = life
        self.log = log
        let places = settings.secretPlaces
        let told = SecretFailureMemory(places: places, log: log)
        self.told = told
        do throws(SecretStoreError) {
            secrets = try SecretStore(places: places) { files in
                told.take(files)
                proxy.update(secrets: files)
                log.info("secrets changed", ["secrets": .string("\(files)")])
            }
            try secrets.start()
        } catch {
            throw Interlock.Failure(error)
        }
    }

    /// On the controller's thread.
    func publish(_ snapshot: Snapshot) {
        // The table leaves out what cannot be; that it was asked for is a fault of the mapping, and is said.
        for problem in snapshot.problems().prefix(10) {
            log.error("unsound snapshot", ["problem": .string("\(problem)")])
        }
        let version = secrets.want(snapshot.configuration.secretNames) { files in
            told.take(files)
            return proxy.publish(snapshot, secrets: files)
        }
        life.becameReady()
        log.info(
            "routes published",
            [
                "version": .integer(Int(version)), "services": .integer(snapshot.configuration.services.count),
                "routes": .integer(snapshot.configuration.routes.count),
                "tasks": .integer(snapshot.endpoints.reduce(0) { $0 + $1.count { $0.state == .ready } }),
            ])
    }

    /// For the admin pages: the proxy's report, and what the settings name and nobody can read now.
    var certificates: TLSReading {
        TLSReading(proxy.tlsReport, atSeconds: Int64(Clock.realtimeNs() / 1_000_000_000), and: told.problems)
    }

    /// Reads all secrets again, however unchanged they look.
    func reread() { secrets.reread() }

    func stop() { secrets.stop() }
}

/// Which of the places that the settings name could not be read when it was last told: each is told once.
private final class SecretFailureMemory: Sendable {
    private let names: Set<String>
    private let ticketKey: String?
    private let log: Log
    private let told = Mutex<[String: String]>([:])

    init(places: SecretPlaces, log: Log) {
        names = Set(
            [places.certificatesDirectory, places.defaultCertificate, places.defaultKey, places.ticketKey]
                .compactMap { $0 })
        ticketKey = places.ticketKey
        self.log = log
    }

    var problems: [CertificateProblem] {
        told.withLock { $0.sorted { $0.key < $1.key } }.map { name, reason in
            CertificateProblem(
                certificate: name, code: name == ticketKey ? "ticket_key" : "missing", message: "\(name): \(reason)")
        }
    }

    func take(_ files: SecretFiles) {
        // Files of the certificates directory are told by their paths.
        let now = files.failures.filter { names.contains($0.key) || $0.key.hasPrefix("/") }
        let before = told.withLock { told in
            defer { told = now }
            return told
        }
        for (name, reason) in now.sorted(by: { $0.key < $1.key }) where before[name] != reason {
            log.warning("secret not to be had", ["name": .string(name), "problem": .string(reason)])
        }
        for name in before.keys.sorted() where now[name] == nil {
            log.info("secret no longer a problem", ["name": .string(name)])
        }
    }
}
