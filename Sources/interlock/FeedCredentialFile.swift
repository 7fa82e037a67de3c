// The file that this process's credential for the feed is in: read at the start, where a bad one ends the process, and
// looked at again from time to time, where a bad one is told and the one before stays.

import Glibc
import Kernel
import Secrets
import Synchronization
import TLS
import Telemetry

final class FeedCredentialFile: Sendable {
    private let path: String
    private let role: FeedIdentity.Role
    private let state: Mutex<State>

    private struct State {
        var bytes: [UInt8]
        var credential: FeedCredential
        var told = ""
        var renewals: [@Sendable (FeedCredential) -> Void] = []
    }

    static let lookMs = 5_000

    /// - Parameter role: what the certificate must say. A controller without a valid one is of no use; a proxy with an
    ///   expired one still serves what it has, and is refused by controllers.
    init(_ settings: Settings, role: FeedIdentity.Role, log: Log) throws(Interlock.Failure) {
        guard let reference = settings.feedCredential else {
            throw Interlock.Failure(
                "INTERLOCK_FEED_CREDENTIAL is not set: the role \(role.rawValue) needs one of the files that"
                    + " `interlock feed-init` makes")
        }
        guard let path = settings.secretPlaces.path(of: reference) else {
            throw Interlock.Failure("INTERLOCK_FEED_CREDENTIAL: no such file can be named in INTERLOCK_SECRETS_DIR")
        }
        self.path = path
        self.role = role
        let bytes: [UInt8]
        switch SettingsLoader.readFile(path, isRegular: true) {
        case .success(let text): bytes = Array(text.utf8)
        case .failure(let error): throw Interlock.Failure("INTERLOCK_FEED_CREDENTIAL: \(path): \(error)")
        }
        do throws(TLSError) {
            state = Mutex(State(bytes: bytes, credential: try Self.credential(bytes, role: role)))
        } catch {
            throw Interlock.Failure("INTERLOCK_FEED_CREDENTIAL: \(path): \(error)")
        }
        warnBeforeExpiry(log)
    }

    /// The end of a credential cuts proxies off: it is told weeks before.
    private func warnBeforeExpiry(_ log: Log) {
        let identity = current.identity
        let leftS = identity.notAfterSeconds - Int64(Clock.realtimeNs() / 1_000_000_000)
        guard leftS < Self.warningS else { return }
        log.warning(
            leftS < 0 ? "the feed credential has expired: nobody accepts it" : "the feed credential expires soon",
            ["file": .string(path), "last_day": .string(identity.lastDay), "way_out": "interlock feed-init --renew"])
    }

    private static let warningS: Int64 = 30 * 86_400

    private static func credential(_ bytes: [UInt8], role: FeedIdentity.Role) throws(TLSError) -> FeedCredential {
        let credential = try FeedCredential(pem: bytes, acceptsExpired: role != .controller)
        guard credential.identity.role == role else {
            throw TLSError(
                kind: .configuration,
                description: "this credential is for the role \(credential.identity.role.rawValue), and one for the"
                    + " role \(role.rawValue) is needed")
        }
        return credential
    }

    var current: FeedCredential { state.withLock { $0.credential } }

    /// Calls back with each credential that has taken the place of the one before.
    func whenRenewed(_ body: @escaping @Sendable (FeedCredential) -> Void) {
        state.withLock { $0.renewals.append(body) }
    }

    /// Reads the file again, and takes a new credential into use if there is one.
    func reread(log: Log, use: (FeedCredential) throws(TLSError) -> Void) {
        let bytes: [UInt8]
        switch SettingsLoader.readFile(path, isRegular: true) {
        case .failure(let error): return tell(error.description, log)
        case .success(let text): bytes = Array(text.utf8)
        }
        guard state.withLock({ $0.bytes != bytes }) else { return tell("", log) }
        do throws(TLSError) {
            let credential = try Self.credential(bytes, role: role)
            try use(credential)
            let renewals = state.withLock { state in
                state.bytes = bytes
                state.credential = credential
                state.told = ""
                return state.renewals
            }
            for renewal in renewals { renewal(credential) }
            log.info("the feed credential was renewed", ["file": .string(path)])
        } catch {
            tell(error.description, log)
        }
    }

    private func tell(_ failure: String, _ log: Log) {
        let isNew = state.withLock { state in
            defer { state.told = failure }
            return state.told != failure
        }
        guard isNew, !failure.isEmpty else { return }
        log.warning(
            "the feed credential cannot be read again, the one before stays",
            ["file": .string(path), "problem": .string(failure)])
    }
}

extension FeedCredential {
    /// Seals certificates and keys in the state directory.
    var stateKey: [UInt8] { derivedKey(info: "interlock last good") }
}

/// Calls back from time to time, until it is stopped.
final class Ticker: Sendable {
    private let wakeup: Wakeup
    private let isStopping = Atomic(false)
    private let thread = Mutex<Thread?>(nil)

    init(name: String, everyMs: Int, _ body: @escaping @Sendable () -> Void) throws(Interlock.Failure) {
        do throws(SystemError) {
            wakeup = try Wakeup()
            let started = try Thread.start(name: name) { [self] in
                while true {
                    _ = wakeup.wait(timeoutMs: everyMs)
                    if isStopping.load(ordering: .acquiring) { return }
                    body()
                }
            }
            thread.withLock { $0 = started }
        } catch {
            throw Interlock.Failure(error)
        }
    }

    /// Calls back now.
    func ring() { wakeup.ring() }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        wakeup.ring()
        thread.withLock { $0 }?.join()
    }
}
