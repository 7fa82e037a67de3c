// What went wrong in TLS, in words for whoever has to repair it.
// OpenSSL keeps a queue of errors for each thread: it is emptied here, so that no later call finds an old one.

internal import COpenSSL

/// A failure of TLS or of the files it needs.
public struct TLSError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Hashable, Sendable {
        /// A file that cannot be read or is not what it should be: the configuration is wrong.
        case configuration
        /// The peer's certificate was not accepted; on the feed also: it shows none, or no TLS that could carry one.
        case verification
        /// Anything else between the two peers: no common version, an alert, garbage, a cut connection.
        case connection
    }

    public let kind: Kind
    public let description: String

    public init(kind: Kind, description: String) {
        self.kind = kind
        self.description = description
    }

    /// The failure that OpenSSL's error queue tells, after `operation`.
    static func fromQueue(_ kind: Kind, _ operation: String) -> TLSError {
        TLSError(kind: kind, description: "\(operation): \(takeQueue() ?? "failed without a reason")")
    }

    /// The oldest entry of this thread's queue as text, which is the cause of the ones after it. Empties the queue.
    static func takeQueue() -> String? {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0 else { return nil }
        if let reason = ERR_reason_error_string(code) { return String(cString: reason) }
        return "OpenSSL error \(String(code, radix: 16))"
    }
}
