// Owns which fields belong to one connection, which ones only the proxy may say, and what a `Connection` field may
// name. It changes only the `isDropped` marks of a field table; the writers obey them.

/// Groups of field names, as bit sets of `FieldName`.
enum FieldGroup {
    /// How long a message is and whom it is for. They decide, so nobody may name them away.
    static var framing: UInt64 {
        FieldName.host.bit | FieldName.contentLength.bit | FieldName.transferEncoding.bit
    }

    /// Meant for the next hop alone (RFC 9110 section 7.6.1); the writer says its own.
    static var hop: UInt64 {
        FieldName.connection.bit | FieldName.keepAlive.bit | FieldName.proxyConnection.bit | FieldName.te.bit
            | FieldName.trailer.bit | FieldName.upgrade.bit | FieldName.http2Settings.bit | FieldName.expect.bit
    }

    /// What the proxy says about a client: removed from the client's message, then set.
    static var identity: UInt64 {
        FieldName.forwarded.bit | FieldName.xForwardedFor.bit | FieldName.xForwardedProto.bit
            | FieldName.xForwardedHost.bit | FieldName.xForwardedPort.bit | FieldName.xForwardedPrefix.bit
            | FieldName.xForwardedURI.bit | FieldName.xForwardedMethod.bit | FieldName.xForwardedServer.bit
            | FieldName.xForwardedOther.bit | FieldName.xRealIP.bit | FieldName.xRequestID.bit
            | FieldName.clientCert.bit | FieldName.clientCertChain.bit | FieldName.xSSLClient.bit
            | FieldName.proxy.bit
    }

    /// Names of which an underscore spelling is dropped: CGI and its heirs read `_` and `-` as the same letter.
    static var guarded: UInt64 { framing | hop | identity | FieldName.via.bit }

    /// Names that a `Connection` field cannot take away from what is forwarded.
    static var unnameable: UInt64 { framing | identity | FieldName.via.bit }
}

/// One field line of a parsed head.
public struct Field: BitwiseCopyable, Sendable {
    /// A token (RFC 9110 section 5.1), as it was spelled.
    public var name: ByteSpan
    /// Without the white space around it.
    public var value: ByteSpan
    public var id: FieldName
    var marks: Marks

    /// Named by `Connection`, or the underscore twin of a name that the proxy guards: never forwarded.
    public var isDropped: Bool { marks.rawValue & Marks.dropped.rawValue != 0 }
    public var hasUnderscore: Bool { marks.rawValue & Marks.underscore.rawValue != 0 }

    struct Marks: BitwiseCopyable, Sendable {
        var rawValue: UInt8
        static var none: Marks { Marks(rawValue: 0) }
        static var dropped: Marks { Marks(rawValue: 1) }
        static var underscore: Marks { Marks(rawValue: 2) }
        /// Exactly `name: value` and CR LF: may be copied as it came.
        static var canonical: Marks { Marks(rawValue: 4) }
    }

    @inline(__always)
    var isCanonical: Bool { marks.rawValue & Marks.canonical.rawValue != 0 }
}

/// The field lines of one head: memory for a fixed number of them, taken once.
struct FieldTable: ~Copyable {
    private let entries: UnsafeMutablePointer<Field>
    let capacity: Int
    private(set) var count = 0

    init(capacity: Int) {
        entries = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { entries.deallocate() }

    @inline(__always)
    subscript(index: Int) -> Field {
        precondition(index >= 0 && index < count)
        return entries[index]
    }

    @inline(__always)
    mutating func removeAll() { count = 0 }

    /// False if the table is full.
    @inline(__always)
    mutating func append(_ field: Field) -> Bool {
        guard count < capacity else { return false }
        entries[count] = field
        count &+= 1
        return true
    }

    @inline(__always)
    mutating func drop(_ index: Int) {
        precondition(index >= 0 && index < count)
        entries[index].marks.rawValue |= Field.Marks.dropped.rawValue
    }
}

/// What a message's `Connection` fields say.
struct ConnectionOptions: BitwiseCopyable {
    var close = false
    var keepAlive = false
    var upgrade = false
    private var namedCount = 0

    /// Each named field costs a walk over the table: more of them than any software sends is an attack on that.
    private static let namedLimit = 32

    /// Reads one `Connection` value and marks the fields that it names. False: not a list of tokens, or too many.
    @inline(__always)
    mutating func read(_ value: Bytes, in message: Bytes, table: inout FieldTable) -> Bool {
        // What nearly every client says, and nothing else beside it.
        if ByteScan.matches(value.base, value.count, "keep-alive") {
            keepAlive = true
            return true
        }
        if ByteScan.matches(value.base, value.count, "close") {
            close = true
            return true
        }
        return readList(value, in: message, table: &table)
    }

    private mutating func readList(_ value: Bytes, in message: Bytes, table: inout FieldTable) -> Bool {
        var list = ListReader(value)
        while let option = list.next() {
            guard ListReader.isToken(option) else { return false }
            switch option.count {
            case 5 where option.equalsIgnoringCase("close"): close = true
            case 10 where option.equalsIgnoringCase("keep-alive"): keepAlive = true
            case 7 where option.equalsIgnoringCase("upgrade"): upgrade = true
            default:
                namedCount &+= 1
                guard namedCount <= Self.namedLimit else { return false }
                Self.drop(option, in: message, table: &table)
            }
        }
        return true
    }

    private static func drop(_ option: Bytes, in message: Bytes, table: inout FieldTable) {
        if FieldName.recognise(option.base, option.count).isIn(FieldGroup.unnameable) { return }
        for index in 0..<table.count {
            let name = table[index].name
            if Int(name.count) == option.count, message.slice(name).equalsIgnoringCase(option) { table.drop(index) }
        }
    }
}

/// Walks a comma list (RFC 9110 section 5.6.1); empty elements are skipped. Quoted strings are not understood: the
/// lists read with it are lists of tokens.
struct ListReader {
    private let list: Bytes
    private var position = 0

    init(_ list: Bytes) { self.list = list }

    /// The next element without the white space around it.
    @inline(__always)
    mutating func next() -> Bytes? {
        while position < list.count {
            let end = list.firstIndex(of: ASCII.comma, from: position) ?? list.count
            let element = Self.trimmed(list, from: position, to: end)
            position = end &+ 1
            if !element.isEmpty { return element }
        }
        return nil
    }

    @inline(__always)
    static func trimmed(_ text: Bytes, from: Int, to: Int) -> Bytes {
        var start = from
        var end = to
        while start < end, ASCII.isBlank(text[start]) { start &+= 1 }
        while end > start, ASCII.isBlank(text[end &- 1]) { end &-= 1 }
        return text.slice(from: start, to: end)
    }

    /// One or more token characters.
    @inline(__always)
    static func isToken(_ text: Bytes) -> Bool {
        for index in 0..<text.count where !ASCII.isToken(text.base[index]) { return false }
        return !text.isEmpty
    }
}
