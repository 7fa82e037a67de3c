// The admin server: health, metrics and the live table over plain HTTP/1.1, on threads of its own, so that it answers
// whatever the workers do. Bounded in connections, memory and time. It takes GET and HEAD, and POST for the few acts
// that its source allows.

public import Kernel
internal import Synchronization
public import Telemetry

/// How many may come, and how long each may take. No setting: whoever needs more has another problem.
struct AdminLimits: Sendable {
    /// Clients at once.
    var capacity = 64
    /// Of these, kept free for loopback peers: a health check must get in while others crowd.
    var reserved = 8
    /// For a whole head, from its first byte.
    var headTimeoutMs = 10_000
    /// Between requests; longer than Prometheus' usual 15 s between scrapes.
    var idleTimeoutMs = 75_000
    /// For making and sending a whole answer.
    var answerTimeoutMs = 30_000
    var lingerTimeoutMs = 1_000
}

public struct AdminSettings: Sendable {
    /// Each with whether an IPv6 socket takes IPv4 too.
    public var addresses: [(address: SocketAddress, isDualStack: Bool)]
    public var token: String?
    public var isOpen: Bool
    /// The process takes over from another one: an address that is held by it is shared, from `open` on.
    public var takesOver: Bool
    var limits = AdminLimits()

    public init(
        addresses: [(address: SocketAddress, isDualStack: Bool)], token: String? = nil, isOpen: Bool = false,
        takesOver: Bool = false
    ) {
        self.addresses = addresses
        self.token = token
        self.isOpen = isOpen
        self.takesOver = takesOver
    }
}

/// An address cannot be listened on.
public struct AdminListenError: Error, Sendable, CustomStringConvertible {
    public let address: SocketAddress
    public let cause: SystemError

    public var description: String { "cannot listen on \(address) for the admin server: \(cause)" }
}

public final class AdminServer: Sendable {
    private static let sweepIntervalMs = 250

    let pages: AdminPages
    let access: AdminAccess
    let limits: AdminLimits
    let slots: AdminSlots
    private let listeners: [ListeningSocket]
    /// Of these, bound where another process listens: they wait for `open`.
    private let waiting: Mutex<[ListeningSocket]>
    private let takesOver: Bool
    private let log: Log

    /// Binds at once, so that a taken port is known before anything starts.
    public init(settings: AdminSettings, source: AdminSource, log: Log) throws(AdminListenError) {
        pages = AdminPages(source: source)
        access = AdminAccess(token: settings.token.map { Array($0.utf8) }, isOpen: settings.isOpen)
        limits = settings.limits
        slots = AdminSlots(capacity: limits.capacity, reserved: limits.reserved)
        self.log = log
        takesOver = settings.takesOver
        var listeners: [ListeningSocket] = []
        var waiting: [ListeningSocket] = []
        for entry in settings.addresses {
            let bound = try Self.bind(entry.address, isDualStack: entry.isDualStack, takesOver: settings.takesOver)
            listeners.append(bound.listener)
            if bound.waits { waiting.append(bound.listener) }
        }
        self.listeners = listeners
        self.waiting = Mutex(waiting)
    }

    /// Where the machine has no IPv6, "every address" is every IPv4 address.
    private static func bind(
        _ address: SocketAddress, isDualStack: Bool, takesOver: Bool
    ) throws(AdminListenError) -> (listener: ListeningSocket, waits: Bool) {
        do throws(SystemError) {
            return try listener(address, isDualStack: isDualStack, takesOver: takesOver)
        } catch {
            let hasNoIPv6 = error.code == SystemError.noFamilyCode || error.code == SystemError.noAddressCode
            guard isDualStack, hasNoIPv6 else { throw AdminListenError(address: address, cause: error) }
        }
        let substitute = SocketAddress(v4: 0, port: address.port)
        do throws(SystemError) {
            return try listener(substitute, isDualStack: false, takesOver: takesOver)
        } catch {
            throw AdminListenError(address: substitute, cause: error)
        }
    }

    private static func listener(
        _ address: SocketAddress, isDualStack: Bool, takesOver: Bool
    ) throws(SystemError) -> (listener: ListeningSocket, waits: Bool) {
        guard takesOver else { return (try ListeningSocket(address, isDualStack: isDualStack), false) }
        var isHeld = false
        do throws(SystemError) {
            try Socket.probeBind(address, isDualStack: isDualStack)
        } catch {
            guard error.code == SystemError.addressInUseCode else { throw error }
            isHeld = true
        }
        let listener = try ListeningSocket(sharing: address, isDualStack: isDualStack)
        if !isHeld { try listener.startListening() }
        return (listener, isHeld)
    }

    /// The ports it is bound to, in the order of the settings.
    public var ports: [UInt16] { listeners.map(\.localPort) }

    /// Accepts from now on, one thread for each listener.
    public func start() throws(SystemError) {
        let waiting = waiting.withLock { $0 }
        for listener in listeners where !waiting.contains(where: { $0 === listener }) { try accept(from: listener) }
    }

    private func accept(from listener: ListeningSocket) throws(SystemError) {
        _ = try Thread.start(name: "admin") { self.acceptLoop(listener) }
    }

    /// The process is ready: answers beside the one that it takes over from, too. Later calls do nothing.
    public func open() {
        let waiting = waiting.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
        for listener in waiting {
            do throws(SystemError) {
                try listener.startListening()
                Socket.unsteer(listener.descriptor)
                try accept(from: listener)
            } catch {
                log.error("admin server cannot listen", ["error": .string("\(error)")])
            }
        }
    }

    /// The process leaves: who asks now is answered by the one that took over, if there is one.
    public func stepAside() {
        guard takesOver else { return }
        for listener in listeners { Socket.steer(listener.descriptor, first: 1, count: 1) }
    }

    /// Ends listeners and connections. Meant for the very end: a draining proxy still answers here.
    public func stop() { slots.sweep(isClosing: true) }

    private func acceptLoop(_ listener: ListeningSocket) {
        while !slots.isClosing {
            do throws(SystemError) {
                if let (stream, peer) = try listener.accept(timeoutMs: Self.sweepIntervalMs) { admit(stream, peer) }
            } catch {
                // Out of descriptors, most likely: a pause instead of a spin.
                log.warning("admin server cannot accept", ["error": .string("\(error)")])
                Thread.sleep(milliseconds: Self.sweepIntervalMs)
            }
            slots.sweep()
        }
        listener.close()
    }

    private func admit(_ stream: Stream, _ peer: SocketAddress) {
        let isLoopback = Self.isLoopback(peer)
        guard let slot = slots.enter(stream, isLoopback: isLoopback, withinMs: limits.headTimeoutMs) else {
            let answer = AdminAnswer.text(503, "too many connections\n")
            let date = CivilTime(realtimeNs: Clock.realtimeNs()).httpDate
            try? stream.writeAll(answer.serialized(isHead: false, closes: true, date: date), timeoutMs: 0)
            stream.close()
            return
        }
        do throws(SystemError) {
            _ = try Thread.start(name: "admin-client") {
                AdminConnection(stream: stream, peerIsLoopback: isLoopback, server: self, slot: slot).run()
                self.slots.leave(slot)
                stream.close()
            }
        } catch {
            slots.leave(slot)
            stream.close()
            log.warning("admin server cannot start a thread", ["error": .string("\(error)")])
        }
    }

    private static func isLoopback(_ peer: SocketAddress) -> Bool {
        let peer = peer.unmapped
        return switch peer.family {
        case .v4: peer.low >> 24 == 127
        case .v6: peer.high == 0 && peer.low == 1
        case .unix: true
        }
    }
}
