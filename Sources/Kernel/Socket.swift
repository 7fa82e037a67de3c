// Socket system calls on raw descriptors, for event loops. A would-block is a value, never an error.
// Who holds a descriptor closes it, once: a close that says EBADF means that state is corrupt, so it traps.

internal import CLinux
internal import Glibc

/// What a non-blocking read or write came to.
public struct IOResult: BitwiseCopyable, Sendable {
    /// Bytes moved, or -errno.
    public let raw: Int

    @inline(__always) init(raw: Int) { self.raw = raw }

    /// Bytes moved; 0 on a read is the end of the stream.
    @inline(__always) public var count: Int { raw }
    @inline(__always) public var isFailure: Bool { raw < 0 }
    @inline(__always) public var isWouldBlock: Bool { raw == -Int(EAGAIN) }
    /// errno, positive; 0 if there was no error.
    @inline(__always) public var code: Int32 { raw < 0 ? Int32(-raw) : 0 }
}

/// The pieces of one vectored write. Holds addresses only: the memory must stay until the write is done.
public struct GatherList: ~Copyable {
    private let pieces: UnsafeMutablePointer<iovec>
    public let capacity: Int
    public private(set) var count = 0
    /// Bytes in all pieces.
    public private(set) var byteCount = 0

    public init(capacity: Int) {
        self.capacity = capacity
        pieces = .allocate(capacity: capacity)
    }

    deinit { pieces.deallocate() }

    @inline(__always) public var isFull: Bool { count == capacity }

    /// Adds a piece, joining it to the last one where they touch. Empty pieces are ignored.
    @inline(__always)
    public mutating func append(_ base: UnsafeRawPointer, count length: Int) {
        guard length > 0 else { return }
        byteCount += length
        if count > 0, pieces[count - 1].iov_base + pieces[count - 1].iov_len == UnsafeMutableRawPointer(mutating: base)
        {
            pieces[count - 1].iov_len += length
            return
        }
        precondition(count < capacity, "a gather list overflowed")
        pieces[count] = iovec(iov_base: UnsafeMutableRawPointer(mutating: base), iov_len: length)
        count += 1
    }

    @inline(__always)
    public mutating func reset() {
        count = 0
        byteCount = 0
    }

    @inline(__always) public func piece(at index: Int) -> UnsafeRawBufferPointer {
        precondition(index < count)
        return UnsafeRawBufferPointer(start: pieces[index].iov_base, count: pieces[index].iov_len)
    }

    /// Writes all pieces in one call.
    @inline(__always)
    public func write(to descriptor: Int32) -> IOResult {
        if count == 1 { return IOResult(raw: il_send(descriptor, pieces[0].iov_base, pieces[0].iov_len, 0)) }
        return IOResult(raw: il_send_vector(descriptor, pieces, Int32(count)))
    }
}

public enum Socket {
    public enum Kind: Sendable { case stream }

    /// A non-blocking, close-on-exec stream socket of the address's family.
    public static func create(for address: SocketAddress) throws(SystemError) -> Int32 {
        try SystemError.check(il_socket(address.domain, Int32(SOCK_STREAM.rawValue), 0), "socket")
    }

    /// A bound and listening socket. What it accepts has TCP_NODELAY set: Linux hands the option down, and so it costs
    /// one call instead of one for each connection.
    /// - Parameter sharesPort: SO_REUSEPORT, so that each worker has a queue of its own.
    public static func listen(
        _ address: SocketAddress, backlog: Int32 = 4096, sharesPort: Bool, isDualStack: Bool = false
    ) throws(SystemError) -> Int32 {
        let descriptor = try bind(address, sharesPort: sharesPort, isDualStack: isDualStack)
        do throws(SystemError) {
            try startListening(descriptor, backlog: backlog)
            return descriptor
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// A bound socket that does not listen yet: who connects is refused, or goes to another of the port.
    public static func bind(
        _ address: SocketAddress, sharesPort: Bool, isDualStack: Bool = false
    ) throws(SystemError) -> Int32 {
        let descriptor = try create(for: address)
        do throws(SystemError) {
            if address.family != .unix {
                try setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
                if sharesPort { try setOption(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
                if address.family == .v6 { try setOnlyV6(descriptor, !isDualStack) }
                setNoDelay(descriptor)
            }
            try SystemError.check(address.withSockaddr { il_bind(descriptor, $0, $1) }, "bind")
            return descriptor
        } catch {
            close(descriptor)
            throw error
        }
    }

    public static func startListening(_ descriptor: Int32, backlog: Int32 = 4096) throws(SystemError) {
        try SystemError.check(il_listen(descriptor, backlog), "listen")
    }

    /// Sends new connections of the listener's SO_REUSEPORT group to those of its sockets that began to listen as
    /// number `first` and up, `count` of them. If there are none, they go to any. What is under way, from SYN on,
    /// stays.
    /// - Returns: whether the kernel does so.
    @discardableResult
    public static func steer(_ listener: Int32, first: Int, count: Int) -> Bool {
        il_steer_reuseport(listener, UInt32(clamping: first), UInt32(clamping: count)) == 0
    }

    /// New connections of the listener's group go to any of its sockets.
    public static func unsteer(_ listener: Int32) { _ = il_unsteer_reuseport(listener) }

    /// Whether a fresh bind without SO_REUSEPORT succeeds: false means that somebody else holds the port.
    public static func probeBind(_ address: SocketAddress, isDualStack: Bool = false) throws(SystemError) {
        let descriptor = try create(for: address)
        defer { close(descriptor) }
        if address.family != .unix { try setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1) }
        if address.family == .v6 { try setOnlyV6(descriptor, !isDualStack) }
        try SystemError.check(address.withSockaddr { il_bind(descriptor, $0, $1) }, "bind")
    }

    /// Accepts one connection; the result's `raw` is the descriptor. `peer` is set on success.
    public static func accept(_ listener: Int32, peer: inout SocketAddress) -> IOResult {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let descriptor = il_accept(listener, &storage, &length)
        if descriptor >= 0 { peer = SocketAddress(storage) }
        return IOResult(raw: Int(descriptor))
    }

    /// Begins to connect. 0: connected; EINPROGRESS: wait until writable, then ask `pendingError`.
    public static func connect(_ descriptor: Int32, _ address: SocketAddress) -> IOResult {
        IOResult(raw: Int(address.withSockaddr { il_connect(descriptor, $0, $1) }))
    }

    public static let inProgressCode = EINPROGRESS

    /// SO_ERROR: what became of a connect; 0 is success.
    public static func pendingError(_ descriptor: Int32) -> Int32 {
        var value: Int32 = 0
        let status = il_get_option(descriptor, SOL_SOCKET, SO_ERROR, &value)
        return status < 0 ? -status : value
    }

    @inline(__always)
    public static func read(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, capacity: Int) -> IOResult {
        IOResult(raw: il_receive(descriptor, buffer, capacity, 0))
    }

    @inline(__always)
    public static func write(_ descriptor: Int32, _ buffer: UnsafeRawPointer, count: Int) -> IOResult {
        IOResult(raw: il_send(descriptor, buffer, count, 0))
    }

    /// FIN: no more will be written.
    public static func shutdownWrite(_ descriptor: Int32) { _ = il_shutdown(descriptor, Int32(SHUT_WR)) }

    public static func close(_ descriptor: Int32) {
        let status = il_close(descriptor)
        precondition(status != -EBADF, "a descriptor was closed twice")
    }

    /// Makes the coming close send RST and drop what is unsent.
    public static func resetOnClose(_ descriptor: Int32) { _ = il_set_linger_reset(descriptor) }

    /// Bytes that were written and that the peer has not acknowledged yet.
    public static func queuedCount(_ descriptor: Int32) -> Int { max(0, Int(il_queued_count(descriptor))) }

    /// Whether what is written leaves at once.
    public static func hasNoDelay(_ descriptor: Int32) -> Bool {
        var value: Int32 = 0
        return il_get_option(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &value) == 0 && value != 0
    }

    public static func setNoDelay(_ descriptor: Int32) {
        _ = il_set_option(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }

    /// What makes the loss of a peer's node felt: unacknowledged data or three missed probes end the connection.
    public static func setLivenessProbes(
        _ descriptor: Int32, userTimeoutMs: Int32, idleS: Int32, intervalS: Int32, count: Int32
    ) {
        _ = il_set_option(descriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, userTimeoutMs)
        _ = il_set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
        _ = il_set_option(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, idleS)
        _ = il_set_option(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, intervalS)
        _ = il_set_option(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, count)
    }

    /// How long written data may stay unacknowledged, or the peer's window closed, before the connection is lost.
    public static func setUserTimeout(_ descriptor: Int32, milliseconds: Int32) {
        _ = il_set_option(descriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, milliseconds)
    }

    public static func localAddress(_ descriptor: Int32) throws(SystemError) -> SocketAddress {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        try SystemError.check(il_local_name(descriptor, &storage, &length), "getsockname")
        return SocketAddress(storage)
    }

    private static func setOnlyV6(_ descriptor: Int32, _ isOnlyV6: Bool) throws(SystemError) {
        try setOption(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, isOnlyV6 ? 1 : 0)
    }

    static func setOption(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) throws(SystemError) {
        try SystemError.check(il_set_option(descriptor, level, option, value), "setsockopt")
    }
}
