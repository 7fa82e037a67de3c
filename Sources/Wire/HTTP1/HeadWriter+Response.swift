// Owns the response head that a client receives: written anew from the upstream's, with one body length that fits
// the client's version, our own word on the connection, and nothing that belongs to the hop behind us.

/// What the proxy knows about the client's side of a response. The bytes live for the call.
public struct ResponseContext {
    public enum Connection: UInt8, Sendable, BitwiseCopyable {
        case keepAlive, close, upgrade
    }

    public var clientVersion: HTTPVersion
    public var connection: Connection
    /// How the body is framed towards the client: chunked only for HTTP/1.1, `.untilClose` only with `.close`.
    /// `.none`: what the upstream declared is passed on (HEAD, 304), except where no length may be.
    public var framing: BodyLength
    public var requestID: Bytes
    public var showsRequestID: Bool
    /// 29 bytes of IMF-fixdate, written if the upstream sent no Date.
    public var date: Bytes
    /// The name in Via; empty omits Via.
    public var viaName: Bytes
    /// Ready lines, each with its CR LF.
    public var infoLines: Bytes
    /// `infoLines` say Strict-Transport-Security: the upstream's own word on it is dropped (RFC 6797 section 7.1: one).
    public var replacesTransportSecurity: Bool
    /// The announcement of trailers passes.
    public var keepsTrailers: Bool

    public init(
        clientVersion: HTTPVersion = .http11, connection: Connection = .keepAlive, framing: BodyLength = .none,
        requestID: Bytes = .empty, showsRequestID: Bool = true, date: Bytes = .empty, viaName: Bytes = .empty,
        infoLines: Bytes = .empty, replacesTransportSecurity: Bool = false, keepsTrailers: Bool = false
    ) {
        self.clientVersion = clientVersion
        self.connection = connection
        self.framing = framing
        self.requestID = requestID
        self.showsRequestID = showsRequestID
        self.date = date
        self.viaName = viaName
        self.infoLines = infoLines
        self.replacesTransportSecurity = replacesTransportSecurity
        self.keepsTrailers = keepsTrailers
    }
}

extension HeadWriter {
    /// The head that a client receives for `head`, which was parsed from `source`. Always HTTP/1.1.
    public static func writeResponse(
        _ head: borrowing ResponseHead, from source: Bytes, context: borrowing ResponseContext,
        into writer: inout ByteWriter
    ) {
        writer.append("HTTP/1.1 ")
        writer.append(decimal: UInt64(head.status))
        writer.append(ASCII.space)
        writer.append(source.slice(head.reason))
        writer.append("\r\n")
        let requestID = context.showsRequestID ? context.requestID : .empty
        let shows = !requestID.isEmpty
        let drops =
            FieldGroup.framing | FieldGroup.hop | (shows ? FieldName.xRequestID.bit : 0)
            | (context.replacesTransportSecurity ? FieldName.strictTransportSecurity.bit : 0)
        copyFields(head.table, from: source, drops: drops, dropsUnderscores: false, into: &writer)
        if head.isInterim {
            writer.append("\r\n")
            return
        }
        writeResponseFraming(head, from: source, context: context, into: &writer)
        if !head.hasDate, context.date.count > 0 {
            writer.append("Date: ")
            writer.append(context.date)
            writer.append("\r\n")
        }
        if !context.viaName.isEmpty {
            writer.append(head.version == .http10 ? "Via: 1.0 " : "Via: 1.1 ")
            writer.append(context.viaName)
            writer.append("\r\n")
        }
        if shows {
            writer.append("x-request-id: ")
            writer.append(requestID)
            writer.append("\r\n")
        }
        writer.append(context.infoLines)
        writer.append("\r\n")
    }

    @inline(__always)
    private static func writeResponseFraming(
        _ head: borrowing ResponseHead, from source: Bytes, context: borrowing ResponseContext,
        into writer: inout ByteWriter
    ) {
        // RFC 9110 section 8.6: no length in 1xx and 204.
        let mayHaveLength = head.status >= 200 && head.status != 204
        switch context.framing {
        case .none:
            if mayHaveLength, let length = head.declaredLength { writeFraming(.length(length), into: &writer) }
        case .length, .chunked, .untilClose:
            if mayHaveLength { writeFraming(context.framing, into: &writer) }
        }
        if context.framing == .chunked, context.keepsTrailers, !head.announcedTrailers.isEmpty {
            writer.append("Trailer: ")
            writer.append(source.slice(head.announcedTrailers))
            writer.append("\r\n")
        }
        switch context.connection {
        case .keepAlive: if context.clientVersion == .http10 { writer.append("Connection: keep-alive\r\n") }
        case .close: writer.append("Connection: close\r\n")
        case .upgrade:
            writer.append("Upgrade: ")
            writer.append(source.slice(head.upgrade))
            writer.append("\r\nConnection: upgrade\r\n")
        }
    }
}
