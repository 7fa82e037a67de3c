// Listens to `GET /events` and says "something happened". Events are hints only: they are never believed, they are
// lost silently by the engine, and a stream may stay open and say nothing. What they say is read for the delay alone.

import Kernel
import Synchronization

/// What the stream tells its listener.
enum EventHint: Hashable, Sendable {
    /// The stream (re)opened: anything may have happened meanwhile.
    case opened
    /// Something happened, `delayMs` before it was heard, by the engine's clock against ours.
    case event(kind: String, delayMs: Int?)
    /// The stream ended; "" if it simply ended, as proxies between do to idle ones.
    case closed(reason: String, isRefusal: Bool)
}

final class EventStream: Sendable {
    private let client: DockerClient
    private let silenceMs: Int
    private let listener: @Sendable (EventHint) -> Void
    private let isStopping = Atomic(false)
    private let wakeup: Wakeup
    private let thread = Mutex<Thread?>(nil)

    /// - Parameter silenceMs: after this long without an event the stream is opened anew; a connection whose other end
    ///   is gone says nothing either.
    init(
        endpoint: DockerEndpoint, callTimeoutMs: Int, silenceMs: Int = 300_000,
        listener: @escaping @Sendable (EventHint) -> Void
    ) throws(SystemError) {
        client = DockerClient(endpoint: endpoint, callTimeoutMs: callTimeoutMs)
        self.silenceMs = silenceMs
        self.listener = listener
        wakeup = try Wakeup()
    }

    func start() throws(SystemError) {
        let started = try Thread.start(name: "docker-events") { self.run() }
        thread.withLock { $0 = started }
    }

    /// Opens the stream anew: it missed something.
    func reopen() { client.interrupt() }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        client.cancel()
        wakeup.ring()
        thread.withLock { $0 }?.join()
    }

    private func run() {
        var backoff = Backoff(firstMs: 250, limitMs: 5_000)
        while !isStopping.load(ordering: .acquiring) {
            var reason = ""
            var isRefusal = false
            do throws(DockerError) {
                try listen { backoff.reset() }
            } catch {
                reason = error.description
                // Silence and a cut of a stream that worked are everyday matters.
                if error.kind == .timedOut || error.kind == .cancelled { reason = "" }
                if case .status = error.kind { isRefusal = true }
            }
            guard !isStopping.load(ordering: .acquiring) else { return }
            listener(.closed(reason: reason, isRefusal: isRefusal))
            _ = wakeup.wait(timeoutMs: backoff.nextMs())
        }
    }

    private func listen(begun: () -> Void) throws(DockerError) {
        var splitter = EventSplitter()
        try client.stream(.events, silenceMs: silenceMs) {
            begun()
            listener(.opened)
        } piece: { bytes in
            splitter.take(bytes) { line in listener(Self.hint(line)) }
            return !isStopping.load(ordering: .acquiring)
        }
    }

    /// What a line says. A line that makes no sense still means that something happened.
    static func hint(_ line: [UInt8]) -> EventHint {
        var reader = JSONReader(line)
        var kind = ""
        var timeNs: Int64 = 0
        try? reader.object { (reader, name) throws(JSONError) in
            switch name {
            case "Type": kind = try reader.stringOrNull()
            case "timeNano": timeNs = try reader.integer()
            default: try reader.skip()
            }
        }
        guard timeNs > 0 else { return .event(kind: kind, delayMs: nil) }
        let delayMs = (Int64(clamping: Clock.realtimeNs()) &- timeNs) / 1_000_000
        return .event(kind: kind, delayMs: Int(clamping: delayMs))
    }
}

/// Cuts the stream into lines. What a line has beyond 64 KiB (a label can have megabytes) is thrown away, not stored.
struct EventSplitter {
    private var line: [UInt8] = []
    private static let limit = 65536

    mutating func take(_ bytes: UnsafeRawBufferPointer, _ whole: ([UInt8]) -> Void) {
        for byte in bytes {
            if byte == 0x0A {
                if !line.isEmpty { whole(line) }
                line.removeAll(keepingCapacity: true)
            } else if line.count < Self.limit, byte != 0x0D {
                line.append(byte)
            }
        }
    }
}

/// Waiting times that double up to a limit, each shortened by up to half at random, so that many proxies do not come
/// back at the same moment.
struct Backoff: Sendable {
    let firstMs: Int
    let limitMs: Int
    private var currentMs: Int

    init(firstMs: Int, limitMs: Int) {
        self.firstMs = firstMs
        self.limitMs = limitMs
        currentMs = firstMs
    }

    mutating func reset() { currentMs = firstMs }

    mutating func nextMs(random: UInt64 = Machine.random()) -> Int {
        let full = currentMs
        currentMs = min(limitMs, currentMs * 2)
        return full / 2 + Int(random % UInt64(max(1, full / 2 + 1)))
    }
}
