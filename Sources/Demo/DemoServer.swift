// A backend to try the proxy against: an HTTP/1.1 server that says what it received. One thread for each connection,
// bounded; correct rather than fast. It is part of the binary and no part of the proxy.

public import Kernel
import Synchronization

public final class DemoServer: Sendable {
    /// Connections at once; more are told 503.
    static let connectionLimit = 1024
    private static let acceptTimeoutMs = 50
    /// How long a kept connection may still bring a request once the server stops.
    private static let idleGraceMs = 1000

    /// What it calls itself in every answer.
    public let name: String
    private let listeners: [ListeningSocket]
    private let state = Mutex(State())
    private let stopping = Atomic<Bool>(false)
    /// Threads that may still accept.
    private let acceptingCount = Atomic<Int>(0)

    private struct State {
        var connections: [UInt64: Entry] = [:]
        var lastNumber: UInt64 = 0
    }

    private struct Entry {
        let stream: Stream
        /// Between two requests: may be closed without harm.
        var isIdle = true
    }

    /// Binds at once. Each address comes with whether an IPv6 socket takes IPv4 too.
    public init(name: String, addresses: [(address: SocketAddress, isDualStack: Bool)]) throws(SystemError) {
        self.name = name
        var listeners: [ListeningSocket] = []
        for entry in addresses { listeners.append(try Self.listen(entry.address, isDualStack: entry.isDualStack)) }
        self.listeners = listeners
    }

    private static func listen(_ address: SocketAddress, isDualStack: Bool) throws(SystemError) -> ListeningSocket {
        do throws(SystemError) {
            return try ListeningSocket(address, backlog: 1024, isDualStack: isDualStack)
        } catch {
            let hasNoIPv6 = error.code == SystemError.noFamilyCode || error.code == SystemError.noAddressCode
            guard isDualStack, hasNoIPv6 else { throw error }
        }
        return try ListeningSocket(SocketAddress(v4: 0, port: address.port), backlog: 1024)
    }

    /// The ports it is bound to, in order.
    public var ports: [UInt16] { listeners.map(\.localPort) }

    public var connectionCount: Int { state.withLock { $0.connections.count } }

    /// Of these, with a request under way.
    var busyNumbers: [UInt64] { state.withLock { $0.connections.filter { !$0.value.isIdle }.keys.sorted() } }

    /// Accepts from now on, one thread for each address.
    public func start() throws(SystemError) {
        for listener in listeners {
            acceptingCount.add(1, ordering: .relaxed)
            do throws(SystemError) {
                _ = try Thread.start(name: "demo") { self.acceptLoop(listener) }
            } catch {
                acceptingCount.subtract(1, ordering: .relaxed)
                throw error
            }
        }
    }

    /// Accepts no more and lets requests finish; every answer from here on ends its connection. One that brings no
    /// request for a second is closed; what is not done in time is cut off.
    public func stop(timeoutMs: Int) {
        let startedNs = Clock.monotonicNs()
        stopping.store(true, ordering: .releasing)
        waitForEnd(untilNs: startedNs + UInt64(min(timeoutMs, Self.idleGraceMs)) * 1_000_000)
        cancel { $0.isIdle }
        waitForEnd(untilNs: startedNs + UInt64(timeoutMs) * 1_000_000)
        cancel { _ in true }
    }

    private func waitForEnd(untilNs deadlineNs: UInt64) {
        while connectionCount > 0 || acceptingCount.load(ordering: .acquiring) > 0, Clock.monotonicNs() < deadlineNs {
            Thread.sleep(milliseconds: 5)
        }
    }

    var isStopping: Bool { stopping.load(ordering: .acquiring) }

    /// Under the lock: a stream is closed only after it was taken out.
    private func cancel(_ isMeant: (Entry) -> Bool) {
        state.withLock { state in
            for entry in state.connections.values where isMeant(entry) { entry.stream.cancel() }
        }
    }

    // MARK: Connections

    private func acceptLoop(_ listener: ListeningSocket) {
        while !isStopping {
            do throws(SystemError) {
                guard let (stream, peer) = try listener.accept(timeoutMs: Self.acceptTimeoutMs) else { continue }
                serve(stream, peer)
            } catch {
                Thread.sleep(milliseconds: Self.acceptTimeoutMs)
            }
        }
        // What waits is established for its clients: closing the listener would reset it.
        while let (stream, peer) = (try? listener.accept(timeoutMs: 0)) ?? nil { serve(stream, peer) }
        listener.close()
        acceptingCount.subtract(1, ordering: .releasing)
    }

    private func serve(_ stream: Stream, _ peer: SocketAddress) {
        Socket.setNoDelay(stream.descriptor)
        guard let number = enter(stream) else {
            let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            try? stream.writeAll(Array(answer.utf8), timeoutMs: 0)
            stream.close()
            return
        }
        let thread = try? Thread.start(name: "demo-client") {
            DemoConnection(server: self, stream: stream, peer: peer, number: number).run()
            self.leave(number)
            stream.close()
        }
        if thread == nil {
            leave(number)
            stream.close()
        }
    }

    private func enter(_ stream: Stream) -> UInt64? {
        state.withLock { state in
            guard state.connections.count < Self.connectionLimit else { return nil }
            state.lastNumber += 1
            state.connections[state.lastNumber] = Entry(stream: stream)
            return state.lastNumber
        }
    }

    private func leave(_ number: UInt64) {
        _ = state.withLock { $0.connections.removeValue(forKey: number) }
    }

    /// A request began or ended. False: the server stops, and no new request is to be waited for.
    func mark(_ number: UInt64, isIdle: Bool) -> Bool {
        state.withLock { $0.connections[number]?.isIdle = isIdle }
        return !isStopping
    }
}
