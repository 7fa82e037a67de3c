// Directory watches: tells that something in a directory changed, never what. The listener looks for itself.

internal import CLinux
internal import Glibc

public final class Inotify: Sendable {
    public let descriptor: Int32

    public init() throws(SystemError) {
        descriptor = try SystemError.check(il_inotify(), "inotify_init1")
    }

    deinit { Socket.close(descriptor) }

    /// Watches a directory for files that appear, vanish, are renamed, or were written and closed.
    public func watch(directory: String) throws(SystemError) {
        try SystemError.check(
            il_inotify_watch(descriptor, directory, il_inotify_mask_directory()), "inotify_add_watch \(directory)")
    }

    /// Waits for changes and swallows all that are queued.
    /// - Returns: false after the timeout.
    public func wait(timeoutMs: Int) -> Bool {
        guard il_poll(descriptor, Int32(POLLIN), Int32(clamping: timeoutMs)) > 0 else { return false }
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
            guard let base = buffer.baseAddress else { return }
            while il_read(descriptor, base, 4096) > 0 {}
        }
        return true
    }
}
