// The one thread behind the access log: takes whole lines out of the workers' rings and writes them to a file or to
// standard output. A slow disk fills rings and loses lines (counted); it never slows a request.

import Glibc
import Synchronization

public final class AccessLogWriter: Sendable {
    private let rings: [LogRing]
    /// nil: standard output.
    private let path: String?
    private let descriptor: Atomic<Int32>
    private let isReopening = Atomic<Bool>(false)
    private let isStopping = Atomic<Bool>(false)
    private let failures = Atomic<UInt64>(0)

    /// Opens `path` for appending (created 0640); nil is standard output. Throws errno's code if it cannot be opened.
    public init(rings: [LogRing], path: String?) throws(AccessLogError) {
        self.rings = rings
        self.path = path
        descriptor = Atomic(try path.map(Self.open) ?? 1)
    }

    private static func open(_ path: String) throws(AccessLogError) -> Int32 {
        let descriptor = Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw AccessLogError(path: path, code: errno) }
        return descriptor
    }

    /// Drains the rings until `stop()`; the body of the log thread. Everything that is in a ring by then is written.
    public func run() {
        while !isStopping.load(ordering: .acquiring) {
            // Short naps under load keep the rings small, long ones keep an idle proxy idle.
            usleep(drain() > 0 ? 5_000 : 50_000)
        }
        drain()
        if path != nil { close(descriptor.exchange(-1, ordering: .relaxed)) }
    }

    /// Ends `run` after a last look at the rings.
    public func stop() { isStopping.store(true, ordering: .releasing) }

    /// The file was moved away by a log rotator: opens it again before the next line. No-op for standard output.
    public func reopen() { isReopening.store(true, ordering: .releasing) }

    /// Writes that failed (disk full, reader gone); their lines are lost.
    public var failureCount: UInt64 { failures.load(ordering: .relaxed) }

    /// One round over all rings; the log thread only. Returns the bytes taken.
    @discardableResult
    public func drain() -> Int {
        if isReopening.exchange(false, ordering: .acquiring), let path {
            if let fresh = try? Self.open(path) {
                close(descriptor.exchange(fresh, ordering: .relaxed))
            } else {
                failures.add(1, ordering: .relaxed)
            }
        }
        let target = descriptor.load(ordering: .relaxed)
        var count = 0
        for ring in rings {
            count += ring.drain { piece in
                if !writeWhole(piece, to: target) { failures.add(1, ordering: .relaxed) }
            }
        }
        return count
    }
}

/// The access log's file cannot be opened.
public struct AccessLogError: Error, CustomStringConvertible {
    public let path: String
    public let code: Int32

    public var description: String { "\(path): \(String(cString: strerror(code)))" }
}
