// Owns the alerts that are sent before there is a TLS session: to clients whose ClientHello cannot be served. One
// record each, in clear (RFC 8446 section 6); whoever sends one ends the connection afterwards. Alerts of a handshake
// under way are OpenSSL's.

/// A fatal alert as an answer to a ClientHello.
public enum TLSAlert: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// The host's certificate cannot be used.
    case handshakeFailure = 40
    /// What came is no ClientHello.
    case decodeError = 50
    /// The fault is ours.
    case internalError = 80
    /// There is no server name, and no certificate for such clients.
    case missingExtension = 109
    /// Nobody serves that name.
    case unrecognizedName = 112

    /// Bytes of the record.
    public static let recordSize = 7

    /// Writes the record: content type 21, the version that every TLS 1.2 and 1.3 record carries, two bytes.
    public func write(into writer: inout ByteWriter) {
        writer.append(21)
        writer.append(3)
        writer.append(3)
        writer.append(0)
        writer.append(2)
        // Fatal.
        writer.append(2)
        writer.append(rawValue)
    }

    /// The name in logs and metrics (RFC 8446 appendix B.2). Stable.
    public var code: StaticString {
        switch self {
        case .handshakeFailure: "handshake_failure"
        case .decodeError: "decode_error"
        case .internalError: "internal_error"
        case .missingExtension: "missing_extension"
        case .unrecognizedName: "unrecognized_name"
        }
    }
}
