// Owns the questions others may ask a parsed request head. All spans are relative to the bytes that were parsed.

extension RequestHead {
    public var method: Method { line.method }
    /// The method as it was spelled.
    public var methodName: ByteSpan { line.methodName }
    public var version: HTTPVersion { line.version }
    public var targetForm: TargetForm { line.form }
    /// The target as it came, for logs.
    public var target: ByteSpan { line.target }
    /// Up to the `?`. Empty for an absolute target without a path, which means `/`; `*` for the asterisk form.
    public var path: ByteSpan { line.path }
    public var isPathEmpty: Bool { line.path.isEmpty }
    /// Behind the `?`.
    public var query: ByteSpan { line.query }
    public var hasQuery: Bool { line.hasQuery }
    /// The name to route by: no port, no trailing dot; an IPv6 literal keeps its brackets. Empty: none was given.
    public var host: ByteSpan { meaning.hostFieldName }
    /// What is forwarded as the Host field: the target's authority if it has one, else the client's Host field.
    public var authority: ByteSpan { meaning.hostField }
    public var body: BodyLength { meaning.body }

    /// Whether the client may send another request on this connection.
    public var isPersistent: Bool {
        if meaning.connection.close { return false }
        return line.version == .http11 || meaning.connection.keepAlive
    }

    public var expectsContinue: Bool { meaning.expectsContinue }
    /// The protocols offered, empty unless the offer is valid (RFC 9110 section 7.8, RFC 6455 section 4.2.1).
    public var upgrade: ByteSpan { meaning.upgrade }
    public var hasUpgrade: Bool { !meaning.upgrade.isEmpty }
    public var acceptsTrailers: Bool { meaning.acceptsTrailers }
    /// The names announced by `Trailer`, for the body's decoder.
    public var announcedTrailers: ByteSpan { meaning.trailer }
    /// Of TRACE and OPTIONS only (RFC 9110 section 7.6.2), at most 255. 0: answer it here.
    public var maxForwards: Int? { meaning.maxForwards }

    public var userAgent: ByteSpan { meaning.userAgent }
    public var referer: ByteSpan { meaning.referer }
    public var accept: ByteSpan { meaning.accept }
    public var cookie: ByteSpan { meaning.cookie }
    /// As the peer sent it, if it is a token of at most 128 bytes. Worth something only from a trusted peer.
    public var requestID: ByteSpan { meaning.requestID }
    /// The last of the X-Forwarded-For lines. Worth something only from a trusted peer.
    public var xForwardedFor: ByteSpan { meaning.forwardedFor }
    public var xForwardedProto: ByteSpan { meaning.forwardedProto }

    public var fieldCount: Int { table.count }
    public func field(_ index: Int) -> Field { table[index] }
}
