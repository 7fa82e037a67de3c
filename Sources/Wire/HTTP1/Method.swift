// Owns the small vocabulary of a message: methods, versions, forms of a target, and the one length of a body.

/// A request method. Unknown tokens are `.other`: they are forwarded as they came and never retried.
public enum Method: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case get, head, post, put, delete, options, trace, patch, connect, other

    /// RFC 9110 section 9.2.2: sending it twice has the effect of once.
    public var isIdempotent: Bool {
        switch self {
        case .get, .head, .put, .delete, .options, .trace: true
        case .post, .patch, .connect, .other: false
        }
    }

    /// RFC 9110 section 9.2.1: it asks for nothing but an answer.
    public var isSafe: Bool {
        switch self {
        case .get, .head, .options, .trace: true
        default: false
        }
    }

    /// Method names are case-sensitive: `get` is some other method.
    @inline(__always)
    static func recognise(_ base: UnsafePointer<UInt8>, _ count: Int) -> Method {
        switch count {
        case 3:
            if same(base, "GET") { return .get }
            if same(base, "PUT") { return .put }
        case 4:
            if same(base, "POST") { return .post }
            if same(base, "HEAD") { return .head }
        case 5:
            if same(base, "PATCH") { return .patch }
            if same(base, "TRACE") { return .trace }
        case 6: if same(base, "DELETE") { return .delete }
        case 7:
            if same(base, "OPTIONS") { return .options }
            if same(base, "CONNECT") { return .connect }
        default: break
        }
        return .other
    }

    @inline(__always)
    private static func same(_ base: UnsafePointer<UInt8>, _ name: StaticString) -> Bool {
        for index in 0..<name.utf8CodeUnitCount where base[index] != name.utf8Start[index] { return false }
        return true
    }
}

/// The version a peer speaks. Minor versions above 1 count as 1.1 (RFC 9110 section 2.5).
public enum HTTPVersion: UInt8, Sendable, BitwiseCopyable {
    case http10, http11
}

/// How a body ends (RFC 9112 section 6.3). A message has exactly one, or is refused.
public enum BodyLength: Equatable, Sendable, BitwiseCopyable {
    case none
    case length(UInt64)
    case chunked
    /// Responses only: the upstream closes.
    case untilClose
}

/// RFC 9112 section 3.2. `authority` belongs to CONNECT, which is refused: no parsed request has it.
public enum TargetForm: UInt8, Sendable, BitwiseCopyable {
    case origin, absolute, asterisk, authority
}
