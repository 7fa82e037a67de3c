// Between the control plane and the feed: gives each group of proxies its snapshot, with the secrets that it names and
// no others. What is a credential of the feed itself, or of the controller, never leaves it, whatever a label says.

import Admin
import Controller
import Feed
import Kernel
import Model
import Secrets
import Synchronization
import TLS
import Telemetry

final class FeedRelay: Sendable {
    let server: FeedServer
    private let store: SecretStore
    private let book: Book
    /// Of the places that the settings name.
    private let told: SecretFailureMemory
    private let life: Life
    private let log: Log
    private let credential: FeedCredentialFile
    private let ticker: Ticker
    private let wanted: Wanted

    private final class Wanted: Sendable {
        let body = Mutex<(@Sendable (String) -> Void)?>(nil)
    }

    init(
        _ settings: Settings, credential: FeedCredentialFile, life: Life, log: Log
    ) throws(Interlock.Failure) {
        self.life = life
        self.log = log
        self.credential = credential
        let wanted = Wanted()
        self.wanted = wanted
        let addresses = try Startup.resolve(settings.feedListen, setting: "INTERLOCK_FEED_LISTEN")
        guard !addresses.isEmpty else {
            throw Interlock.Failure("INTERLOCK_FEED_LISTEN is off: proxies have nowhere to connect to")
        }
        let server: FeedServer
        do throws(FeedStartError) {
            server = try FeedServer(
                settings: FeedServerSettings(
                    addresses: addresses, credential: credential.current, controllerID: Startup.hostName(),
                    sharesSecretsWithExtensions: settings.sharesKeysWithExtensions),
                wanted: { cluster in wanted.body.withLock { $0 }?(cluster) }, note: { log.write($0) })
        } catch {
            throw Interlock.Failure(error)
        }
        self.server = server
        let places = settings.secretPlaces
        let told = SecretFailureMemory(places: places, log: log)
        self.told = told
        let book = Book(server: server, settings, told: told)
        self.book = book
        do throws(SecretStoreError) {
            store = try SecretStore(places: places) { files in
                book.send(files)
                log.info("secrets changed", ["secrets": .string("\(files)")])
            }
            try store.start()
        } catch {
            throw Interlock.Failure(error)
        }
        ticker = try Ticker(name: "credential", everyMs: FeedCredentialFile.lookMs) {
            credential.reread(log: log) { renewed throws(TLSError) in try server.replace(credential: renewed) }
        }
    }

    /// A proxy of a group came that nobody has spoken of. To be set before `start`.
    func whenWanted(_ body: @escaping @Sendable (String) -> Void) { wanted.body.withLock { $0 = body } }

    func start() throws(Interlock.Failure) {
        do throws(FeedStartError) { try server.start() } catch { throw Interlock.Failure(error) }
    }

    /// On the controller's thread.
    func publish(_ changes: [ClusterSnapshot]) {
        for change in changes {
            for problem in change.snapshot.problems().prefix(10) {
                log.error("unsound snapshot", ["problem": .string("\(problem)")])
            }
        }
        let names = book.take(changes)
        store.want(names) { book.send($0) }
        life.becameReady()
        for change in changes {
            log.info(
                "routes published",
                [
                    "group": .string(change.cluster),
                    "services": .integer(change.snapshot.configuration.services.count),
                    "routes": .integer(change.snapshot.configuration.routes.count),
                ])
        }
    }

    /// What a group of proxies is told; nil: nobody has spoken of it.
    func content(of cluster: String) -> FeedContent? { book.content(of: cluster) }

    /// What the settings name and nobody can use.
    var problems: [CertificateProblem] { told.problems }

    func reread() {
        store.reread()
        ticker.ring()
    }

    func stop() {
        ticker.stop()
        store.stop()
        server.stop()
    }

    /// What each group was told, and what it is to be told next. Used under the store's lock or by the controller's
    /// thread; it has a lock of its own, which is never held while the store is called.
    private final class Book: Sendable {
        private let server: FeedServer
        private let reserved: Set<String>
        private let certificatesDirectory: String
        private let told: SecretFailureMemory
        private let state = Mutex(State())

        private struct State {
            var snapshots: [String: Snapshot] = [:]
            var told: [String: FeedContent] = [:]
            var sharing = SecretSharing()
        }

        init(server: FeedServer, _ settings: Settings, told: SecretFailureMemory) {
            self.server = server
            reserved = settings.reservedSecrets
            certificatesDirectory = settings.certificatesDirectory ?? ""
            self.told = told
        }

        /// - Returns: the secrets that any group needs.
        func take(_ changes: [ClusterSnapshot]) -> Set<String> {
            state.withLock { state in
                for change in changes { state.snapshots[change.cluster] = change.snapshot }
                return state.snapshots.values.reduce(into: []) { $0.formUnion($1.configuration.secretNames) }
            }
        }

        func send(_ files: SecretFiles) {
            state.withLock { state in
                let shares = state.sharing.shares(of: files, among: state.snapshots, reserved: reserved)
                let unusable = state.sharing.unusable.map { ("\(certificatesDirectory)/\($0)", $1) }
                told.take(files.failures, unusable: Dictionary(uniqueKeysWithValues: unusable))
                for (cluster, snapshot) in state.snapshots {
                    let content = FeedContent(snapshot: snapshot, secrets: shares[cluster] ?? SecretFiles())
                    guard state.told[cluster] != content else { continue }
                    state.told[cluster] = content
                    server.publish(content, cluster: cluster)
                }
            }
        }

        func content(of cluster: String) -> FeedContent? { state.withLock { $0.told[cluster] } }
    }
}

extension Settings {
    /// Names of secrets that belong to the operator: no label makes them travel.
    var reservedSecrets: Set<String> {
        Set(([feedCredential, ticketKey].compactMap { $0 } + secretFiles).map { Self.lastPart($0) })
    }

    private static func lastPart(_ path: String) -> String {
        String(path.split(separator: "/").last ?? Substring(path))
    }
}
