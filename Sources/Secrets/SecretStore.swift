// The files that certificates, keys and other secrets are in: read when a configuration names them, and again when they
// change. Owns a thread that watches; callers get whole values, and a value only if a byte changed. What cannot be read
// is told by name, what is inside is told to nobody.
// Directories are watched and not files, since secrets are replaced by renaming, or by swapping a symbolic link that
// leads to them. A slow look besides catches mounts whose changes nobody announces.

import Glibc
internal import Kernel
public import Model
internal import Synchronization

/// The watching thread cannot be had.
public struct SecretStoreError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
}

public final class SecretStore: Sendable {
    private struct State {
        var scan: SecretScan
        var wanted: Set<String> = []
        var files = SecretFiles()
        /// Nobody was told anything yet, so nobody is told of changes.
        var wasAsked = false
    }

    private let state: Mutex<State>
    private let changed: @Sendable (SecretFiles) -> Void
    private let wakeup: Wakeup
    private let slowLookMs: Int
    private let isStopping = Atomic(false)
    private let isRereading = Atomic(false)
    private let thread = Mutex<Thread?>(nil)

    /// A certificate and its key are two files: they are looked at when nothing moved for this long.
    private static let settleMs: Int32 = 100
    /// A directory that never rests is looked at nevertheless.
    private static let settleLimitMs: UInt64 = 2_000

    /// - Parameters:
    ///   - slowLookMs: how often to look if nothing is announced.
    ///   - changed: called on the store's thread when bytes changed after the first `want`; never while a `want` is
    ///     under way, so that the newest of both comes last. It must not call the store.
    public init(
        places: SecretPlaces, slowLookMs: Int = 30_000, changed: @escaping @Sendable (SecretFiles) -> Void
    ) throws(SecretStoreError) {
        state = Mutex(State(scan: SecretScan(places: places)))
        self.changed = changed
        self.slowLookMs = slowLookMs
        do throws(SystemError) { wakeup = try Wakeup() } catch {
            throw SecretStoreError(description: "cannot watch secrets: \(error)")
        }
    }

    /// Begins to watch.
    public func start() throws(SecretStoreError) {
        do throws(SystemError) {
            let started = try Thread.start(name: "secrets") { self.run() }
            thread.withLock { $0 = started }
        } catch {
            throw SecretStoreError(description: "cannot watch secrets: \(error)")
        }
    }

    public func stop() {
        isStopping.store(true, ordering: .releasing)
        wakeup.ring()
        thread.withLock { $0 }?.join()
    }

    /// Reads what a configuration names (`Configuration.secretNames`), and hands it to `use` before any later change
    /// is told.
    public func want<Value>(_ names: Set<String>, _ use: (SecretFiles) -> Value) -> Value {
        let value = state.withLock { state in
            state.wanted = names
            state.wasAsked = true
            state.files = state.scan.files(wanted: names, rereads: false)
            return Unchecked(value: use(state.files))
        }
        // There may be other directories to watch now.
        wakeup.ring()
        return value.value
    }

    /// Reads everything again at once, however unchanged it looks (SIGHUP).
    public func reread() {
        isRereading.store(true, ordering: .releasing)
        wakeup.ring()
    }

    /// Carries a value out of the lock; it never leaves the caller's thread.
    private struct Unchecked<Value>: @unchecked Sendable {
        let value: Value
    }

    // MARK: The store's thread

    private func run() {
        // Without inotify (its instances are limited) the slow looks remain.
        let inotify = try? Inotify()
        guard let poller = try? Poller(capacity: 4) else { return }
        try? poller.add(wakeup.descriptor, .readable, token: Token(raw: 0))
        if let inotify { try? poller.add(inotify.descriptor, .readable, token: Token(raw: 1)) }
        var watched: Set<String> = []
        var isSettled = false
        while true {
            let rereads = isRereading.exchange(false, ordering: .acquiring)
            var found = look(rereads: rereads, tells: isSettled || rereads)
            // What appeared between a look and its watch would go unseen: look again when a watch was added.
            while watch(found.directories, &watched, inotify) { found = look(rereads: false, tells: false) }
            // A change that is not told yet may be half of one: it is looked at again when it had time to settle.
            switch wait(poller, inotify, timeoutMs: found.isNews ? Int(Self.settleMs) : slowLookMs) {
            case .moved: isSettled = true
            case .quiet: isSettled = found.isNews
            case .called: isSettled = false
            }
            if isStopping.load(ordering: .acquiring) { return }
        }
    }

    /// - Returns: the directories to watch, and whether there is a change that was not told.
    private func look(rereads: Bool, tells: Bool) -> (directories: Set<String>, isNews: Bool) {
        state.withLock { state in
            guard state.wasAsked else { return ([], false) }
            let files = state.scan.files(wanted: state.wanted, rereads: rereads)
            let isNews = files != state.files
            if isNews, tells {
                state.files = files
                changed(files)
            }
            return (state.scan.directories, isNews && !tells)
        }
    }

    /// - Returns: whether a directory is watched now that was not.
    private func watch(_ directories: Set<String>, _ watched: inout Set<String>, _ inotify: Inotify?) -> Bool {
        guard let inotify else { return false }
        var held: Set<String> = []
        // All of them each time: a directory of the same name may be another one by now.
        for directory in directories where (try? inotify.watch(directory: directory)) != nil { held.insert(directory) }
        defer { watched = held }
        return !held.isSubset(of: watched)
    }

    private enum Waited {
        /// The time is over.
        case quiet
        /// Something changed, and rests now.
        case moved
        /// Another thread rang.
        case called
    }

    /// Waits for a change, and until nothing moves any more.
    private func wait(_ poller: borrowing Poller, _ inotify: Inotify?, timeoutMs: Int) -> Waited {
        guard poller.wait(timeoutMs: Int32(clamping: timeoutMs)) > 0 else { return .quiet }
        wakeup.clear()
        guard let inotify, inotify.wait(timeoutMs: 0) else { return .called }
        let startedNs = Clock.monotonicNs()
        while poller.wait(timeoutMs: Self.settleMs) > 0, !isStopping.load(ordering: .acquiring) {
            wakeup.clear()
            _ = inotify.wait(timeoutMs: 0)
            if (Clock.monotonicNs() &- startedNs) / 1_000_000 >= Self.settleLimitMs { break }
        }
        return .moved
    }
}
