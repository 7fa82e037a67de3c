// Owns the reasons for which bytes are refused: one list, each with the status it is answered with and a code that
// logs and metrics use and that never changes. A refusal is a value; nothing here is thrown.

/// Why a message was refused, and the status code the peer is answered with.
public struct Refusal: Equatable, Sendable, BitwiseCopyable {
    public let status: UInt16
    public let reason: Reason

    public init(_ reason: Reason) {
        status = reason.status
        self.reason = reason
    }

    public init(status: UInt16, reason: Reason) {
        self.status = status
        self.reason = reason
    }

    /// The same reason found in an upstream's message, which is the upstream's fault.
    @inline(__always)
    static func upstream(_ reason: Reason) -> Refusal { Refusal(status: 502, reason: reason) }

    public enum Reason: UInt8, CaseIterable, Sendable, BitwiseCopyable {
        case badRequestLine
        case badMethod
        case badTarget
        case badVersion
        case unsupportedVersion
        case uriTooLong
        case headTooLarge
        case tooManyFields
        case bareLineFeed
        case bareCarriageReturn
        case badFieldName
        case spaceBeforeColon
        case badFieldValue
        case foldedField
        case badContentLength
        case contentLengthConflict
        case lengthAndEncoding
        case badTransferEncoding
        case unknownTransferCoding
        case encodingInHTTP10
        case missingHost
        case duplicateHost
        case badHost
        case badConnection
        case badMaxForwards
        case unknownExpectation
        case connectRefused
        case badStatusLine
        case unexpectedUpgrade
        case badChunkSize
        case badChunkExtension
        case chunkOverhead
        case badChunkEnd
        case badTrailer
        case trailersTooLarge
        case ambiguousPath
        case badProxyHeader
        case badClientHello

        /// Stable: dashboards and alerts are built on it.
        public var code: StaticString {
            switch self {
            case .badRequestLine: "bad_request_line"
            case .badMethod: "bad_method"
            case .badTarget: "bad_target"
            case .badVersion: "bad_version"
            case .unsupportedVersion: "unsupported_version"
            case .uriTooLong: "uri_too_long"
            case .headTooLarge: "head_too_large"
            case .tooManyFields: "too_many_fields"
            case .bareLineFeed: "bare_line_feed"
            case .bareCarriageReturn: "bare_carriage_return"
            case .badFieldName: "bad_field_name"
            case .spaceBeforeColon: "space_before_colon"
            case .badFieldValue: "bad_field_value"
            case .foldedField: "folded_field"
            case .badContentLength: "bad_content_length"
            case .contentLengthConflict: "content_length_conflict"
            case .lengthAndEncoding: "length_and_encoding"
            case .badTransferEncoding: "bad_transfer_encoding"
            case .unknownTransferCoding: "unknown_transfer_coding"
            case .encodingInHTTP10: "encoding_in_http10"
            case .missingHost: "missing_host"
            case .duplicateHost: "duplicate_host"
            case .badHost: "bad_host"
            case .badConnection: "bad_connection"
            case .badMaxForwards: "bad_max_forwards"
            case .unknownExpectation: "unknown_expectation"
            case .connectRefused: "connect_not_offered"
            case .badStatusLine: "bad_status_line"
            case .unexpectedUpgrade: "unexpected_upgrade"
            case .badChunkSize: "bad_chunk_size"
            case .badChunkExtension: "bad_chunk_extension"
            case .chunkOverhead: "chunk_overhead"
            case .badChunkEnd: "bad_chunk_end"
            case .badTrailer: "bad_trailer"
            case .trailersTooLarge: "trailers_too_large"
            case .ambiguousPath: "ambiguous_path"
            case .badProxyHeader: "bad_proxy_header"
            case .badClientHello: "bad_client_hello"
            }
        }

        /// The answer to a client that sent it.
        public var status: UInt16 {
            switch self {
            case .uriTooLong: 414
            case .headTooLarge, .tooManyFields, .trailersTooLarge: 431
            case .unsupportedVersion: 505
            case .unknownTransferCoding: 501
            case .unknownExpectation: 417
            case .connectRefused: 405
            case .badStatusLine, .unexpectedUpgrade: 502
            default: 400
            }
        }
    }
}

/// What the head of one message may cost. Sizes in bytes.
public struct HeadLimits: Sendable, BitwiseCopyable {
    /// The request line without its end. Who sends more: scanners, and applications that put forms into links. 414.
    public var requestLineSize: Int
    /// The whole head with its line ends. Who sends more: browsers that collected too many cookies. 431.
    public var headSize: Int
    /// Field lines. Who sends more: attackers; browsers send 20. 431.
    public var fieldCount: Int

    public init(requestLineSize: Int = 8192, headSize: Int = 32768, fieldCount: Int = 128) {
        precondition(requestLineSize > 0 && headSize > 0 && headSize < 1 << 30 && fieldCount > 0)
        self.requestLineSize = requestLineSize
        self.headSize = headSize
        self.fieldCount = fieldCount
    }
}
