// The secret behind session tickets. Keys are derived from it for each policy and period of time, where they are used
// (Sources/COpenSSL/tickets.c), so rotation needs neither a timer nor a lock: who knows the secret knows all keys.

internal import COpenSSL

/// A secret for the session tickets of all policies and threads; with one secret on all nodes, they resume each other's
/// sessions.
public final class TLSTickets: @unchecked Sendable {
    /// How long one key encrypts. A ticket is accepted in the period it was made in and the next one, and a client is
    /// told to keep it as long.
    public static let defaultPeriodSeconds: UInt64 = 4 * 3600

    // Counted by atomics and otherwise never changed.
    let pointer: OpaquePointer
    let periodSeconds: UInt64

    /// - Parameter secret: any bytes of good entropy, shared by the nodes; empty: a random one of this process.
    public init(secret: [UInt8] = [], periodSeconds: UInt64 = defaultPeriodSeconds) throws(TLSError) {
        guard let pointer = il_tickets_new(secret, secret.count, max(1, periodSeconds)) else {
            throw .fromQueue(.configuration, "cannot make ticket keys")
        }
        self.pointer = pointer
        self.periodSeconds = max(1, periodSeconds)
    }

    deinit { il_tickets_release(pointer) }

    /// For tests: makes it `seconds` later than it is.
    func shiftClock(by seconds: Int64) { il_tickets_shift_clock(pointer, seconds) }
}
