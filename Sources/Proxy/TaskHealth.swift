// How a task is judged, as plain state without sockets or a clock: by probes (one judge for all workers) and by what
// happened to requests (each worker for itself). Who acts on a judgement is Worker+Picking.

internal import Telemetry

/// What the probes of a task have come to.
enum TaskHealth: UInt8, Sendable {
    /// No probe has succeeded yet: it gets nothing.
    case unproven
    case healthy
    case unhealthy

    var name: String {
        switch self {
        case .unproven: "unknown"
        case .healthy: "healthy"
        case .unhealthy: "unhealthy"
        }
    }
}

/// The judgement of one task by its probes.
///
///   health     success                     failure
///   unproven   healthy                     unhealthy after `fall`, an interval apart
///   healthy    stays                       unhealthy after `fall` in a row; if only presumed, at once
///   unhealthy  healthy after `rise` in a   stays
///              row; at once if it never was
struct HealthRecord: BitwiseCopyable {
    private(set) var health: TaskHealth
    /// It got requests before it was probed, so it goes on to until the first probe has judged it.
    private var isPresumed: Bool
    private var wasHealthy: Bool
    private var successCount: Int32 = 0
    private var failureCount: Int32 = 0
    private var lastCountedNs: UInt64 = 0
    /// Probes since the task is known.
    private(set) var probeCount: UInt32 = 0

    init(isPresumed: Bool) {
        self.isPresumed = isPresumed
        wasHealthy = isPresumed
        health = isPresumed ? .healthy : .unproven
    }

    /// - Returns: whether the health changed.
    mutating func succeeded(rise: Int) -> Bool {
        probeCount &+= 1
        failureCount = 0
        isPresumed = false
        guard health != .healthy else { return false }
        successCount += 1
        guard health == .unproven || !wasHealthy || Int(successCount) >= rise else { return false }
        health = .healthy
        wasHealthy = true
        successCount = 0
        return true
    }

    /// - Returns: whether the health changed.
    mutating func failed(nowNs: UInt64, fall: Int, intervalMs: Int) -> Bool {
        probeCount &+= 1
        successCount = 0
        guard health != .unhealthy else { return false }
        // A task that is starting is probed more often than the interval says; that must not make it fail earlier.
        let spacingNs = UInt64(max(0, intervalMs)) * 900_000
        guard failureCount == 0 || health == .healthy || nowNs &- lastCountedNs >= spacingNs else { return false }
        lastCountedNs = nowNs
        failureCount += 1
        guard isPresumed || Int(failureCount) >= fall else { return false }
        isPresumed = false
        health = .unhealthy
        failureCount = 0
        return true
    }

    /// The service asks for something else now: counts of the old check mean nothing to the new one.
    mutating func beginAnew() {
        successCount = 0
        failureCount = 0
    }

    /// How long to wait for the next probe.
    /// - Parameter jitter: 0 to 1, evenly.
    func delayMs(intervalMs: Int, jitter: Double) -> Int {
        if health == .unproven {
            // It may be there any moment, and nothing can be sent to it before.
            return min(intervalMs, 250 << Int(min(probeCount, 12)))
        }
        return max(1, Int(Double(intervalMs) * (0.9 + 0.2 * jitter)))
    }
}

/// How a task failed requests of late, as one worker has seen it: `max_fails` failures within `fail_timeout` take it
/// out for as long. After that one request tries it, while the others still pass it over; an answer brings it back.
struct FailureRecord: BitwiseCopyable {
    private var count: Int32 = 0
    private var firstNs: UInt64 = 0
    /// It is passed over until then; 0: it is not out.
    private(set) var outUntilNs: UInt64 = 0

    var isOut: Bool { outUntilNs != 0 }

    /// - Parameters:
    ///   - limit: 0: it is never taken out.
    ///   - isLast: whether no other task is left; asked only when it matters.
    /// - Returns: whether this failure took it out.
    mutating func failed(nowNs: UInt64, limit: Int, windowNs: UInt64, isLast: () -> Bool) -> Bool {
        guard limit > 0 else {
            outUntilNs = 0
            return false
        }
        if isOut {
            outUntilNs = nowNs &+ windowNs
            return false
        }
        if count == 0 || nowNs &- firstNs > windowNs {
            count = 0
            firstNs = nowNs
        }
        count += 1
        guard Int(count) >= limit else { return false }
        count = Int32(clamping: limit)
        guard !isLast() else { return false }
        outUntilNs = nowNs &+ windowNs
        return true
    }

    /// It is tried although it is out: others pass it over until this try has come to something.
    mutating func tried(nowNs: UInt64, windowNs: UInt64) { if isOut { outUntilNs = nowNs &+ windowNs } }

    /// It is back.
    mutating func clear() { self = FailureRecord() }
}
