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
    /// What a controller sent; files of this machine go before it.
    private let received: Received

    private final class Received: Sendable {
        let files = Mutex(SecretFiles())
        func joined(_ own: SecretFiles) -> SecretFiles { files.withLock { own.completed(by: $0) } }
    }

    /// - Throws: when the secrets cannot be watched.
    init(_ settings: Settings, proxy: ProxyServer, life: Life, log: Log) throws(Interlock.Failure) {
        self.proxy = proxy
        self.life = life
        self.log = log
        let places = settings.secretPlaces
        let told = SecretFailureMemory(places: places, log: log)
        self.told = told
        let received = Received()
        self.received = received
        do throws(SecretStoreError) {
            secrets = try SecretStore(places: places) { own in
                let files = received.joined(own)
                told.take(files.failures)
                proxy.update(secrets: files)
                log.info("secrets changed", ["secrets": .string("\(files)")])
            }
            try secrets.start()
        } catch {
            throw Interlock.Failure(error)
        }
    }

    /// On the thread of whoever brings snapshots, one at a time.
    /// - Parameter more: secrets that came with it.
    /// - Returns: the version of the table.
    @discardableResult
    func publish(_ snapshot: Snapshot, received more: SecretFiles? = nil) -> UInt64 {
        if let more { received.files.withLock { $0 = more } }
        // The table leaves out what cannot be; that it was asked for is a fault of the mapping, and is said.
        for problem in snapshot.problems().prefix(10) {
            log.error("unsound snapshot", ["problem": .string("\(problem)")])
        }
        let version = secrets.want(snapshot.configuration.secretNames) { own in
            let files = received.joined(own)
            told.take(files.failures)
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
        return version
    }

    /// For the admin pages: the proxy's report, and what the settings name and nobody can read now.
    var certificates: TLSReading {
        TLSReading(proxy.tlsReport, atSeconds: Int64(Clock.realtimeNs() / 1_000_000_000), and: told.problems)
    }

    /// Reads all secrets again, however unchanged they look.
    func reread() { secrets.reread() }

    func stop() { secrets.stop() }
}
