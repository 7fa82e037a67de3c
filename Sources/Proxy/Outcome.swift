// How a request ends: the status the client sees, the one code that the access log, the metrics and the error page
// share, and in words what happened. A closed set: nothing here may depend on what clients send.

internal import Telemetry
internal import Wire

/// How an exchange ended, or why there was none.
enum Outcome: UInt8, CaseIterable, Sendable {
    case ok
    // Routing.
    case unknownHost
    case unknownPath
    case noTask
    case ambiguousPath
    /// The connection is not one for that host.
    case misdirected
    // The client.
    case headerTimeout
    case bodyTimeout
    case bodyTooLarge
    case clientClosed
    case clientTooSlow
    case badBody
    // The task.
    case connectRefused
    case connectTimeout
    case connectError
    case reset
    case closedEarly
    case badResponse
    case responseTimeout
    case responseStalled
    case truncated
    /// Nothing moved through a tunnel for too long.
    case tunnelTimeout
    case tlsHandshake
    case tlsPlaintext
    case tlsVerification
    case tlsUnusable
    // The proxy.
    case drained
    case overloaded
    /// No task came back in time.
    case holdTimeout
    /// The tasks had too much to do for too long.
    case queueTimeout
    /// Too many requests of the service wait already.
    case queueFull
    /// The request was refused by the parser; the refusal says why.
    case refused

    /// The status that is answered where an answer is still possible.
    var status: UInt16 {
        switch self {
        case .ok: 200
        case .unknownHost, .noTask, .drained, .overloaded, .holdTimeout, .queueTimeout, .queueFull: 503
        case .unknownPath: 404
        case .misdirected: 421
        case .ambiguousPath, .badBody, .refused: 400
        case .headerTimeout, .bodyTimeout: 408
        case .bodyTooLarge: 413
        // Nobody is there to read it: the log shows what nginx made customary.
        case .clientClosed, .clientTooSlow: 499
        case .connectRefused, .connectError, .reset, .closedEarly, .badResponse, .truncated: 502
        case .tlsHandshake, .tlsPlaintext, .tlsVerification, .tlsUnusable: 502
        case .connectTimeout, .responseTimeout, .responseStalled, .tunnelTimeout: 504
        }
    }

    var code: StaticString {
        switch self {
        case .ok: "ok"
        case .unknownHost: "unknown_host"
        case .unknownPath: "unknown_path"
        case .noTask: "no_task"
        case .ambiguousPath: "ambiguous_path"
        case .misdirected: "misdirected"
        case .headerTimeout: "header_timeout"
        case .bodyTimeout: "body_timeout"
        case .bodyTooLarge: "body_too_large"
        case .clientClosed: "client_closed"
        case .clientTooSlow: "client_too_slow"
        case .badBody: "bad_body"
        case .connectRefused: "connect_refused"
        case .connectTimeout: "connect_timeout"
        case .connectError: "connect_error"
        case .reset: "upstream_reset"
        case .closedEarly: "upstream_closed_early"
        case .badResponse: "bad_response"
        case .responseTimeout: "response_timeout"
        case .responseStalled: "response_stalled"
        case .truncated: "response_truncated"
        case .tunnelTimeout: "tunnel_timeout"
        case .tlsHandshake: "upstream_tls_handshake"
        case .tlsPlaintext: "upstream_tls_plaintext"
        case .tlsVerification: "upstream_tls_verification"
        case .tlsUnusable: "upstream_tls_unusable"
        case .drained: "draining"
        case .overloaded: "overloaded"
        case .holdTimeout: "hold_timeout"
        case .queueTimeout: "queue_timeout"
        case .queueFull: "queue_full"
        case .refused: "refused"
        }
    }

    /// For the person who reads the error page.
    var explanation: StaticString {
        switch self {
        case .ok: ""
        case .unknownHost: "No service is published under this host name."
        case .unknownPath: "The host is served here, but no service is published under this path."
        case .noTask: "The service has no task that is ready right now. Please try again shortly."
        case .ambiguousPath: "The path can be read in more than one way, so it is not forwarded."
        case .misdirected: "This host is not served over this connection. Please open a new one for it."
        case .headerTimeout: "The request's header took too long to arrive."
        case .bodyTimeout: "The request's body stopped arriving."
        case .bodyTooLarge: "The request's body is larger than this service accepts."
        case .clientClosed, .clientTooSlow: ""
        case .badBody: "The request's body is not framed as HTTP/1.1 demands."
        case .connectRefused: "The service's task refused the connection."
        case .connectTimeout: "The service's task could not be reached in time."
        case .connectError: "The service's task could not be reached."
        case .reset, .closedEarly: "The service's task closed the connection without an answer."
        case .badResponse: "The service's task sent something that is not a valid HTTP response."
        case .responseTimeout: "The service's task did not answer in time."
        case .responseStalled, .truncated: "The service's task did not finish its answer."
        case .tunnelTimeout: "Nothing passed through the connection for too long."
        case .tlsHandshake: "The service's task and this proxy could not agree on TLS."
        case .tlsPlaintext: "The service's task was to speak TLS and did not."
        case .tlsVerification: "The certificate of the service's task is not accepted."
        case .tlsUnusable: "TLS to the service's tasks is not set up completely."
        case .drained: "This proxy is shutting down. Please try again."
        case .overloaded: "The proxy is at its limit of connections. Please try again shortly."
        case .holdTimeout: "The service's task did not come back in time. Please try again shortly."
        case .queueTimeout: "The service's tasks are busy and had no time for this request. Please try again shortly."
        case .queueFull: "Too many requests wait for this service already. Please try again shortly."
        case .refused: "The request is not valid HTTP/1.1."
        }
    }

    init(_ failure: UpstreamFailure) {
        switch failure {
        case .connectRefused: self = .connectRefused
        case .connectTimeout: self = .connectTimeout
        case .connectError: self = .connectError
        case .reset: self = .reset
        case .closedEarly: self = .closedEarly
        case .badResponse: self = .badResponse
        case .responseTimeout: self = .responseTimeout
        case .bodyTimeout: self = .responseStalled
        case .truncated: self = .truncated
        case .tlsHandshake: self = .tlsHandshake
        case .tlsPlaintext: self = .tlsPlaintext
        case .tlsVerification: self = .tlsVerification
        case .tlsUnusable: self = .tlsUnusable
        }
    }
}

/// The numbers under which refused requests are counted: first the parser's reasons, then our own outcomes.
public enum RejectionReasons {
    static let outcomeStart = 96

    static func number(of reason: Refusal.Reason) -> Int {
        // The one reason that is an outcome of its own too, under the same name.
        if reason == .ambiguousPath { return number(of: .ambiguousPath as Outcome) }
        let number = Int(reason.rawValue)
        return number < outcomeStart ? number : outcomeStart - 1
    }

    static func number(of outcome: Outcome) -> Int { outcomeStart + Int(outcome.rawValue) }

    /// Every reason with its number and its name in logs and metrics.
    public static var all: [(number: Int, name: String)] {
        Refusal.Reason.allCases.filter { $0 != .ambiguousPath }.map { (number(of: $0), String(describing: $0.code)) }
            + Outcome.allCases.filter { $0 != .ok && $0 != .refused }.map {
                (number(of: $0), String(describing: $0.code))
            }
    }
}
