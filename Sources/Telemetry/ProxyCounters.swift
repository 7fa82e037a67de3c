// What every worker counts about the proxy as a whole, and the closed sets of reasons behind it.
// Counts by service are in ServiceCounters. Nothing here may grow with what clients send.

/// One number per worker; gauges go up and down.
public enum ProxyCounter: Int, CaseIterable, Sendable {
    case connectionsAccepted
    /// Gauge: client connections open now.
    case connectionsActive
    /// Gauge: of these, those that wait for a next request.
    case connectionsIdle
    case connectionsRejected
    /// Idle connections closed to make room at a limit.
    case connectionsEvicted
    /// Gauge: requests under way.
    case requestsActive
    case upstreamConnectionsOpened
    case upstreamConnectionsReused
    /// Gauge: upstream connections open now, idle ones included.
    case upstreamConnectionsActive
    /// Gauge: upstream connections that wait in the pool.
    case upstreamConnectionsIdle
    case bytesFromClients
    case bytesToClients
    case bytesFromUpstreams
    case bytesToUpstreams
    case tunnelsOpened
    /// Gauge: tunnels (upgraded connections) open now.
    case tunnelsActive
    /// Gauge: TCP connections, and TLS connections that are passed on, under way now.
    case streamsActive
    /// Gauge: TLS handshakes with clients under way now, from the ClientHello on.
    case handshakesActive
    /// Times that accepting paused because descriptors or connections ran out.
    case acceptPauses
    /// Gauge: 1 while accepting is paused.
    case acceptPaused
    /// Tables this worker has taken.
    case tableSwaps
    /// Times that a worker took a task out because requests failed on it.
    case tasksAvoided
    /// Attempts that went to a task whose probes fail, because there was no better one.
    case panicAttempts
    /// Access log lines lost because the writer was behind.
    case accessLogDropped
    /// Peers that did something odd that is tolerated.
    case glitches
}

/// What a client's connection came in as.
public enum ConnectionEntry: Int, CaseIterable, Sendable {
    case http
    case https
    /// A port that carries something else than HTTP.
    case tcp

    public var name: String {
        switch self {
        case .http: "http"
        case .https: "https"
        case .tcp: "tcp"
        }
    }
}

/// A TLS handshake that succeeded.
public enum HandshakeKind: Int, CaseIterable, Sendable {
    case fullTLS12, resumedTLS12, fullTLS13, resumedTLS13

    @inlinable @inline(__always)
    public init(isTLS13: Bool, isResumed: Bool) {
        self = isTLS13 ? (isResumed ? .resumedTLS13 : .fullTLS13) : (isResumed ? .resumedTLS12 : .fullTLS12)
    }

    public var version: String {
        switch self {
        case .fullTLS12, .resumedTLS12: "1.2"
        case .fullTLS13, .resumedTLS13: "1.3"
        }
    }

    public var result: String {
        switch self {
        case .fullTLS12, .fullTLS13: "full"
        case .resumedTLS12, .resumedTLS13: "resumed"
        }
    }
}

/// Why a request was tried again on another connection.
public enum RetryReason: Int, CaseIterable, Sendable {
    /// A new connection failed before a byte was sent.
    case connectFailed
    /// A reused connection was closed by the task.
    case connectionClosed
    /// The answer never began.
    case noAnswer
    /// The answer's status is one the route asks to retry.
    case status

    public var name: String {
        switch self {
        case .connectFailed: "connect_failed"
        case .connectionClosed: "connection_closed"
        case .noAnswer: "no_answer"
        case .status: "status"
        }
    }
}

/// What went wrong between the proxy and a task.
public enum UpstreamFailure: Int, CaseIterable, Sendable {
    case connectRefused
    case connectTimeout
    case connectError
    case reset
    case closedEarly
    case badResponse
    case responseTimeout
    /// The answer's body stopped flowing for the whole idle window.
    case bodyTimeout
    case truncated
    /// The task ended the handshake, or it and we have nothing in common.
    case tlsHandshake
    /// The task answered the handshake with something that is not TLS.
    case tlsPlaintext
    /// The task's certificate is not accepted.
    case tlsVerification
    /// TLS is asked for and cannot be: its CA is missing, say. No connection was made.
    case tlsUnusable

    public var name: String {
        switch self {
        case .connectRefused: "connect_refused"
        case .connectTimeout: "connect_timeout"
        case .connectError: "connect_error"
        case .reset: "reset"
        case .closedEarly: "closed_early"
        case .badResponse: "bad_response"
        case .responseTimeout: "response_timeout"
        case .bodyTimeout: "body_timeout"
        case .truncated: "truncated"
        case .tlsHandshake: "tls_handshake"
        case .tlsPlaintext: "tls_plaintext"
        case .tlsVerification: "tls_verification"
        case .tlsUnusable: "tls_unusable"
        }
    }
}

/// One worker's proxy counters: a plain value that the worker keeps; `ProxyCounters` owns the memory.
public struct ProxyCells: BitwiseCopyable, Sendable {
    /// Reasons for refusing a request are numbered by the data plane, 0 to 159; it also names them for the metrics.
    public static let rejectionCapacity = 160
    /// Likewise reasons for which a TLS handshake with a client failed or was refused.
    public static let handshakeFailureCapacity = 64

    @usableFromInline static let retryStart = ProxyCounter.allCases.count
    @usableFromInline static let failureStart = retryStart + RetryReason.allCases.count
    @usableFromInline static let rejectionStart = failureStart + UpstreamFailure.allCases.count
    @usableFromInline static let entryStart = rejectionStart + rejectionCapacity
    @usableFromInline static let handshakeStart = entryStart + ConnectionEntry.allCases.count
    @usableFromInline static let upstreamHandshakeStart = handshakeStart + HandshakeKind.allCases.count
    @usableFromInline static let handshakeFailureStart = upstreamHandshakeStart + HandshakeKind.allCases.count
    static let count = handshakeFailureStart + handshakeFailureCapacity

    @usableFromInline let cells: CounterCells
    @usableFromInline let retries: CounterCells
    @usableFromInline let failures: CounterCells
    @usableFromInline let rejections: CounterCells
    @usableFromInline let entries: CounterCells
    @usableFromInline let handshakes: CounterCells
    @usableFromInline let upstreamHandshakes: CounterCells
    @usableFromInline let handshakeFailures: CounterCells

    init(_ cells: CounterCells) {
        self.cells = cells
        retries = cells.slice(from: Self.retryStart, count: RetryReason.allCases.count)
        failures = cells.slice(from: Self.failureStart, count: UpstreamFailure.allCases.count)
        rejections = cells.slice(from: Self.rejectionStart, count: Self.rejectionCapacity)
        entries = cells.slice(from: Self.entryStart, count: ConnectionEntry.allCases.count)
        handshakes = cells.slice(from: Self.handshakeStart, count: HandshakeKind.allCases.count)
        upstreamHandshakes = cells.slice(from: Self.upstreamHandshakeStart, count: HandshakeKind.allCases.count)
        handshakeFailures = cells.slice(from: Self.handshakeFailureStart, count: Self.handshakeFailureCapacity)
    }

    @inlinable @inline(__always)
    public func add(_ counter: ProxyCounter, _ amount: UInt64 = 1) { cells.add(counter.rawValue, amount) }

    @inlinable @inline(__always)
    public func subtract(_ counter: ProxyCounter, _ amount: UInt64 = 1) { cells.subtract(counter.rawValue, amount) }

    @inlinable @inline(__always)
    public func set(_ counter: ProxyCounter, _ value: UInt64) { cells.set(counter.rawValue, value) }

    @inlinable @inline(__always)
    public func value(_ counter: ProxyCounter) -> UInt64 { cells.value(counter.rawValue) }

    @inlinable @inline(__always)
    public func add(_ reason: RetryReason) { retries.add(reason.rawValue) }

    @inlinable @inline(__always)
    public func add(_ failure: UpstreamFailure) { failures.add(failure.rawValue) }

    /// A client's connection that was accepted.
    @inlinable @inline(__always)
    public func add(_ entry: ConnectionEntry) { entries.add(entry.rawValue) }

    /// A handshake with a client that succeeded.
    @inlinable @inline(__always)
    public func add(_ handshake: HandshakeKind) { handshakes.add(handshake.rawValue) }

    /// A handshake with a task that succeeded.
    @inlinable @inline(__always)
    public func add(upstream handshake: HandshakeKind) { upstreamHandshakes.add(handshake.rawValue) }

    /// Counts a handshake with a client that failed, or was refused, under the data plane's number of the reason.
    @inlinable @inline(__always)
    public func add(handshakeFailure: Int) { handshakeFailures.add(handshakeFailure) }

    /// Counts a refused request under the data plane's number of the reason.
    @inlinable @inline(__always)
    public func add(rejection: Int) { rejections.add(rejection) }
}

/// The proxy counters of all workers.
public final class ProxyCounters: Sendable {
    private let block: CounterBlock
    public var workerCount: Int { block.rowCount }

    public init(workerCount: Int) {
        block = CounterBlock(count: ProxyCells.count, rowCount: workerCount)
    }

    public func cells(worker: Int) -> ProxyCells { ProxyCells(block.row(worker)) }

    public func total(_ counter: ProxyCounter) -> UInt64 { block.total(counter.rawValue) }
    public func total(_ reason: RetryReason) -> UInt64 { block.total(ProxyCells.retryStart + reason.rawValue) }
    public func total(_ failure: UpstreamFailure) -> UInt64 { block.total(ProxyCells.failureStart + failure.rawValue) }

    public func total(_ entry: ConnectionEntry) -> UInt64 { block.total(ProxyCells.entryStart + entry.rawValue) }
    public func total(_ handshake: HandshakeKind) -> UInt64 {
        block.total(ProxyCells.handshakeStart + handshake.rawValue)
    }
    public func total(upstream handshake: HandshakeKind) -> UInt64 {
        block.total(ProxyCells.upstreamHandshakeStart + handshake.rawValue)
    }

    public func total(handshakeFailure: Int) -> UInt64 {
        precondition(handshakeFailure >= 0 && handshakeFailure < ProxyCells.handshakeFailureCapacity)
        return block.total(ProxyCells.handshakeFailureStart + handshakeFailure)
    }

    public func total(rejection: Int) -> UInt64 {
        precondition(rejection >= 0 && rejection < ProxyCells.rejectionCapacity)
        return block.total(ProxyCells.rejectionStart + rejection)
    }
}
