// epoll, edge-triggered, with a 64-bit token instead of a pointer: a stale event is recognised, never followed.

internal import CLinux

/// What an event belongs to: a kind, a slot in a slab, and the slot's generation.
public struct Token: Hashable, Sendable, BitwiseCopyable {
    public let raw: UInt64

    @inline(__always) public init(raw: UInt64) { self.raw = raw }

    /// - Parameters:
    ///   - kind: 0 to 255.
    ///   - generation: the low 24 bits count.
    @inline(__always)
    public init(kind: UInt8, generation: UInt32, slot: UInt32) {
        raw = UInt64(kind) << 56 | UInt64(generation & 0xFF_FFFF) << 32 | UInt64(slot)
    }

    @inline(__always) public var kind: UInt8 { UInt8(truncatingIfNeeded: raw >> 56) }
    @inline(__always) public var generation: UInt32 { UInt32(truncatingIfNeeded: raw >> 32) & 0xFF_FFFF }
    @inline(__always) public var slot: UInt32 { UInt32(truncatingIfNeeded: raw) }
}

/// Readiness, as epoll tells it.
public struct Readiness: OptionSet, Sendable, BitwiseCopyable {
    public let rawValue: UInt32
    @inline(__always) public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let readable = Readiness(rawValue: 0x001)
    public static let writable = Readiness(rawValue: 0x004)
    public static let failed = Readiness(rawValue: 0x008)
    /// Both directions are over.
    public static let hungUp = Readiness(rawValue: 0x010)
    /// The peer sent FIN.
    public static let peerClosed = Readiness(rawValue: 0x2000)
    public static let edgeTriggered = Readiness(rawValue: 1 << 31)
}

/// An epoll instance and the batch of events it last delivered. One thread owns it.
public struct Poller: ~Copyable {
    private let descriptor: Int32
    private let events: UnsafeMutablePointer<epoll_event>
    private let capacity: Int32

    public init(capacity: Int = 256) throws(SystemError) {
        descriptor = try SystemError.check(il_epoll_create(), "epoll_create1")
        self.capacity = Int32(capacity)
        events = .allocate(capacity: capacity)
    }

    deinit {
        events.deallocate()
        Socket.close(descriptor)
    }

    public func add(_ watched: Int32, _ readiness: Readiness, token: Token) throws(SystemError) {
        try SystemError.check(
            il_epoll_control(descriptor, Int32(IL_EPOLL_ADD), watched, readiness.rawValue, token.raw), "epoll_ctl add")
    }

    public func modify(_ watched: Int32, _ readiness: Readiness, token: Token) throws(SystemError) {
        try SystemError.check(
            il_epoll_control(descriptor, Int32(IL_EPOLL_MODIFY), watched, readiness.rawValue, token.raw),
            "epoll_ctl modify")
    }

    public func remove(_ watched: Int32) {
        _ = il_epoll_control(descriptor, Int32(IL_EPOLL_DELETE), watched, 0, 0)
    }

    /// Waits for events; 0 after the timeout or a signal.
    /// - Parameter timeoutMs: -1 waits without end.
    public func wait(timeoutMs: Int32) -> Int {
        let count = il_epoll_wait(descriptor, events, capacity, timeoutMs)
        precondition(count >= 0, "epoll_wait failed")
        return Int(count)
    }

    @inline(__always) public func token(at index: Int) -> Token { Token(raw: il_epoll_event_token(events + index)) }
    @inline(__always) public func readiness(at index: Int) -> Readiness {
        Readiness(rawValue: il_epoll_event_flags(events + index))
    }
}
