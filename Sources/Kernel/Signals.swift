// Signals as things to wait for. Block them before any thread starts, so that every thread inherits the mask.

internal import CLinux
internal import Glibc

public enum Signal: Int32, Sendable {
    case hangUp = 1
    case interrupt = 2
    case quit = 3
    case terminate = 15
}

public final class Signals: Sendable {
    private let descriptor: Int32

    /// Blocks the given signals for this thread and those it will start, and SIGPIPE for the process.
    public init(_ signals: [Signal]) throws(SystemError) {
        signal(SIGPIPE, SIG_IGN)
        let numbers = signals.map(\.rawValue)
        descriptor = try SystemError.check(il_signalfd(numbers, Int32(numbers.count)), "signalfd")
    }

    deinit { Socket.close(descriptor) }

    /// Waits for the next signal.
    /// - Returns: nil after the timeout.
    public func wait(timeoutMs: Int = -1) -> Signal? {
        guard il_poll(descriptor, Int32(POLLIN), Int32(clamping: timeoutMs)) > 0 else { return nil }
        return Signal(rawValue: il_signalfd_read(descriptor))
    }
}

/// Ends the process at once, without running anything.
public func exitImmediately(_ status: Int32) -> Never { _exit(status) }
