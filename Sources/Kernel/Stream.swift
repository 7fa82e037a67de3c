// Blocking-style sockets with a deadline on every call, for the control plane, the admin server and tests.
// Never used on the request path: that is the workers' poller.

internal import CLinux
internal import Glibc
internal import Synchronization

/// A connected stream socket. One thread uses it at a time; `cancel` may come from any.
public final class Stream: Sendable {
    public let descriptor: Int32
    private let closed = Atomic<Bool>(false)

    /// Takes over a connected, non-blocking descriptor.
    public init(adopting descriptor: Int32) { self.descriptor = descriptor }

    deinit { close() }

    /// - Throws: ETIMEDOUT after the timeout, else what connect said.
    public static func connect(to address: SocketAddress, timeoutMs: Int) throws(SystemError) -> Stream {
        let stream = Stream(adopting: try Socket.create(for: address))
        let result = Socket.connect(stream.descriptor, address)
        if result.isFailure {
            guard result.code == EINPROGRESS || result.code == EAGAIN else {
                throw SystemError(code: result.code, operation: "connect")
            }
            try stream.waitUntil(POLLOUT, deadlineNs: deadline(timeoutMs), operation: "connect")
            let code = Socket.pendingError(stream.descriptor)
            guard code == 0 else { throw SystemError(code: code, operation: "connect") }
        }
        if address.family != .unix { Socket.setNoDelay(stream.descriptor) }
        return stream
    }

    /// Reads what is there, waiting for the first byte.
    /// - Returns: bytes read; 0 is the end of the stream.
    /// - Throws: ETIMEDOUT, or the read's error.
    public func read(into buffer: UnsafeMutableRawBufferPointer, timeoutMs: Int) throws(SystemError) -> Int {
        guard let base = buffer.baseAddress else { return 0 }
        let limit = Self.deadline(timeoutMs)
        while true {
            let result = Socket.read(descriptor, base, capacity: buffer.count)
            if !result.isFailure { return result.count }
            guard result.isWouldBlock else { throw SystemError(code: result.code, operation: "read") }
            try waitUntil(POLLIN, deadlineNs: limit, operation: "read")
        }
    }

    /// Like `read`, into a new array; empty is the end of the stream.
    public func readSome(maximum: Int = 65536, timeoutMs: Int) throws(SystemError) -> [UInt8] {
        var failure: SystemError?
        let bytes = [UInt8](unsafeUninitializedCapacity: maximum) { buffer, count in
            do throws(SystemError) {
                count = try read(into: UnsafeMutableRawBufferPointer(buffer), timeoutMs: timeoutMs)
            } catch {
                count = 0
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Writes all bytes; the timeout counts for each wait without progress.
    public func writeAll(_ bytes: some Collection<UInt8>, timeoutMs: Int) throws(SystemError) {
        let array = Array(bytes)
        var offset = 0
        while offset < array.count {
            let result = array.withUnsafeBytes { buffer in
                Socket.write(descriptor, buffer.baseAddress.unsafelyUnwrapped + offset, count: buffer.count - offset)
            }
            if result.isWouldBlock {
                try waitUntil(POLLOUT, deadlineNs: Self.deadline(timeoutMs), operation: "write")
            } else if result.isFailure {
                throw SystemError(code: result.code, operation: "write")
            } else {
                offset += result.count
            }
        }
    }

    /// Whether a read would not wait: data, the end, or an error is there.
    public func isReadable(timeoutMs: Int = 0) -> Bool {
        il_poll(descriptor, Int32(POLLIN), Int32(clamping: timeoutMs)) > 0
    }

    /// What a wait for the stream or a wakeup came to; all false after the timeout.
    public struct Ready: Hashable, Sendable {
        /// Data, the end, or an error is there.
        public var isReadable = false
        public var isWritable = false
        /// The wakeup was rung; it is cleared.
        public var isRung = false
    }

    /// Waits for what the peer sends, for room to write if that is asked for, or for another thread's bell.
    public func wait(forWriting: Bool, or wakeup: Wakeup, timeoutMs: Int) -> Ready {
        var own: Int32 = 0
        var bell: Int32 = 0
        let events = forWriting ? POLLIN | POLLOUT : POLLIN
        let status = il_poll_pair(
            descriptor, Int32(events), wakeup.descriptor, Int32(POLLIN), Int32(clamping: timeoutMs), &own, &bell)
        precondition(status == 0, "poll failed")
        if bell != 0 { wakeup.clear() }
        return Ready(isReadable: own & ~Int32(POLLOUT) != 0, isWritable: own & Int32(POLLOUT) != 0, isRung: bell != 0)
    }

    public func shutdownWrite() { Socket.shutdownWrite(descriptor) }

    /// Wakes a thread that waits in `read`: it sees the end of the stream. Safe from any thread while the stream lives.
    public func cancel() { if !closed.load(ordering: .acquiring) { _ = il_shutdown(descriptor, Int32(SHUT_RDWR)) } }

    /// Closes once; later calls do nothing.
    public func close() {
        if !closed.exchange(true, ordering: .acquiringAndReleasing) { Socket.close(descriptor) }
    }

    private static func deadline(_ timeoutMs: Int) -> UInt64 {
        timeoutMs < 0 ? .max : Clock.monotonicNs() + UInt64(timeoutMs) * 1_000_000
    }

    private func waitUntil(_ events: Int32, deadlineNs: UInt64, operation: String) throws(SystemError) {
        while true {
            let now = Clock.monotonicNs()
            guard now < deadlineNs else { throw SystemError(code: ETIMEDOUT, operation: operation) }
            let remaining = deadlineNs == .max ? -1 : Int32(clamping: (deadlineNs - now) / 1_000_000 + 1)
            let status = il_poll(descriptor, events, remaining)
            if status > 0 { return }
            if status < 0 { throw SystemError(code: -status, operation: operation) }
        }
    }
}

/// A listening socket that is accepted from with deadlines.
public final class ListeningSocket: Sendable {
    public let descriptor: Int32
    private let closed = Atomic<Bool>(false)

    // Not to be inlined across modules: the 6.3.1 optimiser crashes on a throwing class initialiser in a `do`.
    @inline(never)
    public init(_ address: SocketAddress, backlog: Int32 = 128, isDualStack: Bool = false) throws(SystemError) {
        descriptor = try Socket.listen(address, backlog: backlog, sharesPort: false, isDualStack: isDualStack)
    }

    /// Shares the port with other processes of the same user. It is only bound: `startListening` follows.
    @inline(never)
    public init(sharing address: SocketAddress, isDualStack: Bool = false) throws(SystemError) {
        descriptor = try Socket.bind(address, sharesPort: true, isDualStack: isDualStack)
    }

    public func startListening(backlog: Int32 = 128) throws(SystemError) {
        try Socket.startListening(descriptor, backlog: backlog)
    }

    deinit { close() }

    /// The port it is bound to; 0 for a Unix-domain socket.
    public var localPort: UInt16 { (try? Socket.localAddress(descriptor).port) ?? 0 }

    /// - Returns: nil after the timeout, or once the socket was cancelled.
    public func accept(timeoutMs: Int) throws(SystemError) -> (stream: Stream, peer: SocketAddress)? {
        guard il_poll(descriptor, Int32(POLLIN), Int32(clamping: timeoutMs)) > 0 else { return nil }
        var peer = SocketAddress(v4: 0, port: 0)
        let result = Socket.accept(descriptor, peer: &peer)
        if result.isFailure {
            switch result.code {
            case EAGAIN, ECONNABORTED, EINVAL: return nil
            default: throw SystemError(code: result.code, operation: "accept")
            }
        }
        return (Stream(adopting: Int32(result.raw)), peer)
    }

    /// Makes a waiting `accept` return.
    public func cancel() { if !closed.load(ordering: .acquiring) { _ = il_shutdown(descriptor, Int32(SHUT_RDWR)) } }

    public func close() {
        if !closed.exchange(true, ordering: .acquiringAndReleasing) { Socket.close(descriptor) }
    }
}
