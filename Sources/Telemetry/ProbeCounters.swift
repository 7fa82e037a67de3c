// What is counted about the probes of health checks. One thread writes, any thread reads.

/// What a probe came to.
public enum ProbeResult: Int, CaseIterable, Sendable {
    case success
    case connectRefused
    case connectError
    /// No connection, no handshake or no answer in time.
    case timeout
    case reset
    case closedEarly
    /// An answer with a status that is not success.
    case status
    case badResponse
    case tlsHandshake
    case tlsPlaintext
    case tlsVerification
    /// TLS is asked for and cannot be.
    case tlsUnusable
    /// This machine is short of something: it says nothing about the task.
    case notSent

    public var name: String {
        switch self {
        case .success: "success"
        case .connectRefused: "connect_refused"
        case .connectError: "connect_error"
        case .timeout: "timeout"
        case .reset: "reset"
        case .closedEarly: "closed_early"
        case .status: "status"
        case .badResponse: "bad_response"
        case .tlsHandshake: "tls_handshake"
        case .tlsPlaintext: "tls_plaintext"
        case .tlsVerification: "tls_verification"
        case .tlsUnusable: "tls_unusable"
        case .notSent: "not_sent"
        }
    }
}

public final class ProbeCounters: Sendable {
    private static let activeIndex = ProbeResult.allCases.count
    private static let waitingIndex = activeIndex + 1
    private let block = CounterBlock(count: waitingIndex + 1)

    public init() {}

    /// The prober's thread only.
    public func add(_ result: ProbeResult) { block.row(0).add(result.rawValue) }
    /// Probes under way, and due probes that wait for others to end; the prober's thread only.
    public func set(active: Int, waiting: Int) {
        block.row(0).set(Self.activeIndex, UInt64(active))
        block.row(0).set(Self.waitingIndex, UInt64(waiting))
    }

    public func total(_ result: ProbeResult) -> UInt64 { block.total(result.rawValue) }
    public var active: UInt64 { block.total(Self.activeIndex) }
    public var waiting: UInt64 { block.total(Self.waitingIndex) }
}
