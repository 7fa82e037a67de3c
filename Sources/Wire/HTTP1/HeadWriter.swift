// Owns the request head that an upstream receives. It is written anew from what was understood: one request line in
// origin form, one Host, one body length, our own word on who the client is. Nothing that belongs to one hop,
// nothing that a client may not say about itself, nothing that `Connection` named is copied. It decides nothing:
// the decisions are the parser's and the proxy's, in `RequestContext`.

/// What the proxy knows and the client's message does not say. The bytes live for the call.
public struct RequestContext {
    /// The peer's address as text, without brackets.
    public var clientAddress: Bytes
    public var isTLS: Bool
    /// The port the client came to.
    public var localPort: UInt16
    public var requestID: Bytes
    /// The peer may speak for others: its X-Forwarded-* fields are kept and appended to.
    public var peerIsTrusted: Bool
    /// X-Real-IP: where the walk over X-Forwarded-For ended.
    public var realClientAddress: Bytes
    /// Bytes of the path to take away, 0 for none. What is left begins with `/`, or one is put there.
    public var stripPrefixCount: Int
    /// X-Forwarded-Prefix; empty omits it.
    public var forwardedPrefix: Bytes
    /// The name in Via; empty omits Via.
    public var viaName: Bytes
    /// The client's upgrade offer is passed on.
    public var keepsUpgrade: Bool
    /// Adds `Forwarded` (RFC 7239) beside the older fields.
    public var addsForwarded: Bool
    /// Drops every field name with an underscore, not only twins of guarded names.
    public var dropsUnderscoreNames: Bool
    /// What the client's certificate says, as whole field lines with their line ends (`ClientCertificateFields`);
    /// empty if it showed none. No other word about a client certificate is forwarded.
    public var clientCertificateLines: Bytes

    public init(
        clientAddress: Bytes, isTLS: Bool = false, localPort: UInt16 = 80, requestID: Bytes = .empty,
        peerIsTrusted: Bool = false, realClientAddress: Bytes? = nil, stripPrefixCount: Int = 0,
        forwardedPrefix: Bytes = .empty, viaName: Bytes = .empty, keepsUpgrade: Bool = false,
        addsForwarded: Bool = false, dropsUnderscoreNames: Bool = false, clientCertificateLines: Bytes = .empty
    ) {
        self.clientAddress = clientAddress
        self.isTLS = isTLS
        self.localPort = localPort
        self.requestID = requestID
        self.peerIsTrusted = peerIsTrusted
        self.realClientAddress = realClientAddress ?? clientAddress
        self.stripPrefixCount = stripPrefixCount
        self.forwardedPrefix = forwardedPrefix
        self.viaName = viaName
        self.keepsUpgrade = keepsUpgrade
        self.addsForwarded = addsForwarded
        self.dropsUnderscoreNames = dropsUnderscoreNames
        self.clientCertificateLines = clientCertificateLines
    }
}

/// Writes heads in canonical form.
public enum HeadWriter {
    /// The head that an upstream receives for `head`, which was parsed from `source`. Always HTTP/1.1.
    public static func writeRequest(
        _ head: borrowing RequestHead, from source: Bytes, context: borrowing RequestContext,
        into writer: inout ByteWriter
    ) {
        writeRequestLine(head, from: source, context: context, into: &writer)
        if !head.authority.isEmpty {
            writer.append("Host: ")
            writer.append(source.slice(head.authority))
            writer.append("\r\n")
        } else {
            // HTTP/1.0 without a host: an HTTP/1.1 request must have the field (RFC 9112 section 3.2).
            writer.append("Host:\r\n")
        }
        let drops =
            FieldGroup.framing | FieldGroup.hop | FieldGroup.identity
            | (head.maxForwards == nil ? 0 : FieldName.maxForwards.bit)
        copyFields(
            head.table, from: source, drops: drops, dropsUnderscores: context.dropsUnderscoreNames, into: &writer)
        writeFraming(head.body, into: &writer)
        writeHopFields(head, from: source, context: context, into: &writer)
        writeIdentity(head, from: source, context: context, into: &writer)
        writer.append("\r\n")
    }

    @inline(__always)
    private static func writeRequestLine(
        _ head: borrowing RequestHead, from source: Bytes, context: borrowing RequestContext,
        into writer: inout ByteWriter
    ) {
        writer.append(source.slice(head.methodName))
        writer.append(ASCII.space)
        if head.targetForm == .origin, context.stripPrefixCount == 0 {
            writer.append(source.slice(head.target))
        } else if head.targetForm == .asterisk || (head.isPathEmpty && !head.hasQuery && head.method == .options) {
            // OPTIONS for an absolute target without a path asks about the server itself (RFC 9112 section 3.2.4).
            writer.append("*")
        } else {
            let path = source.slice(head.path)
            let rest = path.slice(from: min(context.stripPrefixCount, path.count))
            if rest.isEmpty || rest[0] != ASCII.slash { writer.append(ASCII.slash) }
            writer.append(rest)
            if head.hasQuery {
                writer.append(ASCII.questionMark)
                writer.append(source.slice(head.query))
            }
        }
        writer.append(" HTTP/1.1\r\n")
    }

    /// Copies the fields whose names are not in `drops`. Lines that came in canonical form are copied in runs.
    @inline(__always)
    static func copyFields(
        _ table: borrowing FieldTable, from source: Bytes, drops: UInt64, dropsUnderscores: Bool,
        into writer: inout ByteWriter
    ) {
        var runStart = 0
        var runEnd = 0
        for index in 0..<table.count {
            let field = table[index]
            if field.id.isIn(drops) || field.isDropped || (dropsUnderscores && field.hasUnderscore) { continue }
            let start = Int(field.name.start)
            if field.isCanonical {
                if start != runEnd {
                    if runEnd > runStart { writer.append(source.slice(from: runStart, to: runEnd)) }
                    runStart = start
                }
                runEnd = Int(field.value.end) &+ 2
                continue
            }
            if runEnd > runStart { writer.append(source.slice(from: runStart, to: runEnd)) }
            runStart = 0
            runEnd = 0
            writer.append(source.slice(field.name))
            writer.append(": ")
            writer.append(source.slice(field.value))
            writer.append("\r\n")
        }
        if runEnd > runStart { writer.append(source.slice(from: runStart, to: runEnd)) }
    }

    @inline(__always)
    static func writeFraming(_ body: BodyLength, into writer: inout ByteWriter) {
        switch body {
        case .none, .untilClose: break
        case .length(let size):
            writer.append("Content-Length: ")
            writer.append(decimal: size)
            writer.append("\r\n")
        case .chunked: writer.append("Transfer-Encoding: chunked\r\n")
        }
    }

    /// Our own side of the connection to the upstream.
    @inline(__always)
    private static func writeHopFields(
        _ head: borrowing RequestHead, from source: Bytes, context: borrowing RequestContext,
        into writer: inout ByteWriter
    ) {
        let upgrades = context.keepsUpgrade && head.hasUpgrade
        if upgrades {
            writer.append("Upgrade: ")
            writer.append(source.slice(head.upgrade))
            writer.append(
                head.acceptsTrailers
                    ? "\r\nTE: trailers\r\nConnection: upgrade, TE\r\n" : "\r\nConnection: upgrade\r\n")
        } else if head.acceptsTrailers {
            writer.append("TE: trailers\r\nConnection: TE\r\n")
        }
        if head.expectsContinue { writer.append("Expect: 100-continue\r\n") }
        if head.body == .chunked, !head.announcedTrailers.isEmpty {
            writer.append("Trailer: ")
            writer.append(source.slice(head.announcedTrailers))
            writer.append("\r\n")
        }
        if let maxForwards = head.maxForwards {
            writer.append("Max-Forwards: ")
            writer.append(decimal: UInt64(max(0, maxForwards - 1)))
            writer.append("\r\n")
        }
        if !context.viaName.isEmpty {
            writer.append(head.version == .http10 ? "Via: 1.0 " : "Via: 1.1 ")
            writer.append(context.viaName)
            writer.append("\r\n")
        }
    }
}
