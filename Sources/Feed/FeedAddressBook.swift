// The addresses of the controllers' names. Each name is looked up by a thread of its own, since a resolver may hang;
// meanwhile, and when it fails, what is known stays known.

internal import Kernel
internal import Synchronization

final class FeedAddressBook: Sendable {
    private struct State {
        /// By name, in the order of the settings.
        var addresses: [[SocketAddress]]
        var failures: [String]
        var isUrgent = true
        var isStopped = false
    }

    private let hosts: [(host: String, port: UInt16)]
    private let state: Mutex<State>
    private let bells: [Wakeup]
    private let changed: @Sendable () -> Void
    private let quietMs: Int
    private let urgentMs: Int
    private let lookUp: @Sendable (String, UInt16) throws(Resolver.Failure) -> [SocketAddress]

    /// - Parameters:
    ///   - quietMs: between two look-ups while a controller is followed, `urgentMs` while none is.
    ///   - changed: called on a look-up's thread.
    init(
        _ hosts: [(host: String, port: UInt16)], quietMs: Int = 5_000, urgentMs: Int = 1_000,
        lookUp: @escaping @Sendable (String, UInt16) throws(Resolver.Failure) -> [SocketAddress] = {
            (host, port) throws(Resolver.Failure) in try Resolver.resolve(host: host, port: port)
        },
        changed: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        self.hosts = hosts
        self.quietMs = quietMs
        self.urgentMs = urgentMs
        self.lookUp = lookUp
        self.changed = changed
        var bells: [Wakeup] = []
        for _ in hosts { bells.append(try Wakeup()) }
        self.bells = bells
        state = Mutex(
            State(
                addresses: Array(repeating: [], count: hosts.count),
                failures: Array(repeating: "", count: hosts.count)))
    }

    func start() throws(SystemError) {
        for index in hosts.indices {
            _ = try Thread.start(name: "feed-resolver") { self.run(index) }
        }
    }

    /// The threads end by themselves: one that hangs in the resolver is not waited for.
    func stop() {
        state.withLock { $0.isStopped = true }
        bells.forEach { $0.ring() }
    }

    /// Whether no controller is followed: then names are looked up at once, and more often.
    func setUrgent(_ isUrgent: Bool) {
        let isNews = state.withLock { state in
            defer { state.isUrgent = isUrgent }
            return isUrgent && !state.isUrgent
        }
        if isNews { bells.forEach { $0.ring() } }
    }

    /// All addresses, each once.
    var addresses: [SocketAddress] {
        state.withLock { state in
            var seen: Set<SocketAddress> = []
            return state.addresses.joined().filter { seen.insert($0).inserted }
        }
    }

    /// Why names could not be looked up; "" if all could.
    var failure: String { state.withLock { $0.failures.filter { !$0.isEmpty }.joined(separator: "; ") } }

    private func run(_ index: Int) {
        let (host, port) = hosts[index]
        while !state.withLock({ $0.isStopped }) {
            var found: [SocketAddress] = []
            var failure = ""
            do throws(Resolver.Failure) {
                found = try lookUp(host, port)
            } catch {
                failure = error.description
            }
            // Another order of the same addresses is no news.
            let isNews = state.withLock { state in
                state.failures[index] = failure
                guard !found.isEmpty, Set(found) != Set(state.addresses[index]) else { return false }
                state.addresses[index] = found
                return true
            }
            if isNews { changed() }
            _ = bells[index].wait(timeoutMs: state.withLock { $0.isUrgent } ? urgentMs : quietMs)
        }
    }
}
