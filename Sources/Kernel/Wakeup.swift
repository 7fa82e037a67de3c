// An eventfd: any thread may ring it, the owner's poller hears it.

internal import CLinux
internal import Glibc

public final class Wakeup: Sendable {
    public let descriptor: Int32

    public init() throws(SystemError) {
        descriptor = try SystemError.check(il_eventfd(), "eventfd")
    }

    deinit { Socket.close(descriptor) }

    public func ring() {
        var one: UInt64 = 1
        _ = il_write(descriptor, &one, 8)
    }

    public func clear() {
        var count: UInt64 = 0
        _ = il_read(descriptor, &count, 8)
    }

    /// Waits until rung, then clears.
    /// - Returns: false after the timeout.
    public func wait(timeoutMs: Int) -> Bool {
        guard il_poll(descriptor, Int32(POLLIN), Int32(clamping: timeoutMs)) > 0 else { return false }
        clear()
        return true
    }
}
