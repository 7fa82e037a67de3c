// A call to the engine that came to nothing: which call, why, and what kind of failure it was.

/// A failed call of the Engine API. A value like any other: whoever called decides what stays as it was.
public struct DockerError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Hashable, Sendable {
        /// Nobody answers at the address.
        case unreachable
        case timedOut
        /// The engine answered with this status, 400 to 599.
        case status(Int)
        /// What came back is no HTTP or no JSON, or was cut off.
        case badAnswer
        case tooLarge
        /// TLS settings or the peer's certificate.
        case tls
        /// The engine is too old to talk to.
        case tooOld
        /// The client was told to stop.
        case cancelled
        /// The client may not make this call: nothing was sent.
        case notAllowed
    }

    public let kind: Kind
    /// The call, for example "GET /services"; "" before there is one.
    public let call: String
    /// What happened, half a sentence.
    public let message: String

    public init(kind: Kind, call: String, message: String) {
        self.kind = kind
        self.call = call
        self.message = message
    }

    public var description: String { call.isEmpty ? message : "\(call): \(message)" }

    /// The same failure, told of another call.
    func during(_ call: String) -> DockerError {
        self.call.isEmpty ? DockerError(kind: kind, call: call, message: message) : self
    }
}
