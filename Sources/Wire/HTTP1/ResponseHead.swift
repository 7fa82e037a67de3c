// Owns one parsed response head of an upstream: its status, its framing, what it says about the connection. As strict
// as the request side, since tasks attack too; every refusal is a 502 to the client. Reused like RequestHead, and
// like it allocates nothing and keeps no bytes.

import Glibc

/// Reusable result of parsing one response head (RFC 9112 sections 4 to 6).
public struct ResponseHead: ~Copyable {
    public typealias Result = RequestHead.Result

    public let limits: HeadLimits
    var table: FieldTable
    var meaning = ResponseMeaning()

    public init(limits: HeadLimits = HeadLimits()) {
        self.limits = limits
        table = FieldTable(capacity: limits.fieldCount)
    }

    /// Parses the head at the start of `bytes`. After `.incomplete`, call again with the same bytes and more behind
    /// them, and `scanned`, their count before. `asksUpgrade`: the request offered an upgrade, so 101 is an answer.
    public mutating func parse(
        _ bytes: Bytes, scanned: Int = 0, requestMethod: Method, asksUpgrade: Bool = false
    ) -> Result {
        if scanned >= StatusLine.fixedSize, scanned <= bytes.count, bytes.count <= limits.headSize,
            bytes.firstIndex(of: ASCII.lineFeed, from: scanned) == nil
        {
            return .incomplete
        }
        table.removeAll()
        meaning = ResponseMeaning()
        let limit = min(bytes.count, limits.headSize)
        var position = 0
        switch meaning.line.parse(bytes.base, limit: limit, next: &position) {
        case .field: break
        case .incomplete: return bytes.count > limit ? .refused(.upstream(.headTooLarge)) : .incomplete
        case .end: return .refused(.upstream(.badStatusLine))
        case .refused(let reason): return .refused(.upstream(reason))
        }
        if meaning.line.status == 101, !asksUpgrade { return .refused(.upstream(.unexpectedUpgrade)) }
        return parseFields(bytes, from: position, limit: limit, requestMethod: requestMethod)
    }

    private mutating func parseFields(_ bytes: Bytes, from start: Int, limit: Int, requestMethod: Method) -> Result {
        var position = start
        var field = Field(name: .empty, value: .empty, id: .other, marks: .none)
        while true {
            switch HeadParser.line(bytes.base, at: position, limit: limit, into: &field, next: &position) {
            case .field:
                guard table.append(field) else { return .refused(.upstream(.tooManyFields)) }
                if field.id != .other, let reason = meaning.take(field, bytes) { return .refused(.upstream(reason)) }
            case .end:
                if let reason = finish(bytes, requestMethod: requestMethod) { return .refused(.upstream(reason)) }
                return .complete(byteCount: position)
            case .incomplete:
                return bytes.count > limit ? .refused(.upstream(.headTooLarge)) : .incomplete
            case .refused(let reason): return .refused(.upstream(reason))
            }
        }
    }

    @inline(__always)
    private mutating func finish(_ bytes: Bytes, requestMethod: Method) -> Refusal.Reason? {
        var reason: Refusal.Reason?
        meaning.body = meaning.framing.responseBody(
            status: status, method: requestMethod, version: version, refusal: &reason)
        if let reason { return reason }
        if meaning.hasConnection {
            for index in 0..<table.count where table[index].id == .connection {
                guard meaning.connection.read(bytes.slice(table[index].value), in: bytes, table: &table) else {
                    return .badConnection
                }
            }
        }
        if status == 101, meaning.upgrade.isEmpty || !meaning.connection.upgrade { return .unexpectedUpgrade }
        return nil
    }
}

extension ResponseHead {
    public var status: UInt16 { meaning.line.status }
    public var version: HTTPVersion { meaning.line.version }
    /// May be empty.
    public var reason: ByteSpan { meaning.line.reason }
    /// `.none` for HEAD, 1xx, 204 and 304, whatever the fields declare.
    public var body: BodyLength { meaning.body }
    /// 1xx, after which another head follows; not 101, after which none does.
    public var isInterim: Bool { status < 200 && status != 101 }
    /// Whether the upstream keeps the connection, if the body has an end of its own.
    public var isPersistent: Bool {
        if meaning.connection.close || meaning.body == .untilClose || status == 101 { return false }
        return version == .http11 || meaning.connection.keepAlive
    }

    /// The `timeout` of the Keep-Alive field.
    public var keepAliveTimeoutSeconds: Int? { meaning.keepAliveTimeoutSeconds }
    public var upgrade: ByteSpan { meaning.upgrade }
    /// What Content-Length said, also where there is no body (HEAD, 304).
    public var declaredLength: UInt64? { meaning.framing.hasLength ? meaning.framing.declaredLength : nil }
    public var hasDate: Bool { meaning.hasDate }
    public var hasServer: Bool { meaning.hasServer }
    public var announcedTrailers: ByteSpan { meaning.trailer }
    public var fieldCount: Int { table.count }
    public func field(_ index: Int) -> Field { table[index] }
}

/// `HTTP/1.` digit SP 3DIGIT [ SP reason ] CR LF. The last space is often forgotten where there is no reason.
struct StatusLine: BitwiseCopyable {
    /// `HTTP/1.1 200` and what follows it.
    static let fixedSize = 13

    var version = HTTPVersion.http11
    var status: UInt16 = 0
    var reason = ByteSpan.empty

    @inline(__always)
    mutating func parse(_ base: UnsafePointer<UInt8>, limit: Int, next: inout Int) -> LineOutcome {
        let name: StaticString = "HTTP/1."
        let nameCount = min(7, limit)
        guard memcmp(base, name.utf8Start, nameCount) == 0 else { return .refused(.badStatusLine) }
        guard limit >= Self.fixedSize else { return .incomplete }
        guard ASCII.isDigit(base[7]), base[8] == ASCII.space, ASCII.isDigit(base[9]), ASCII.isDigit(base[10]),
            ASCII.isDigit(base[11])
        else { return .refused(.badStatusLine) }
        version = base[7] == 0x30 ? .http10 : .http11
        status = UInt16(base[9] &- 0x30) * 100 + UInt16(base[10] &- 0x30) * 10 + UInt16(base[11] &- 0x30)
        guard status >= 100, status < 600 else { return .refused(.badStatusLine) }
        guard base[12] == ASCII.space || base[12] == ASCII.carriageReturn else {
            return .refused(base[12] == ASCII.lineFeed ? .bareLineFeed : .badStatusLine)
        }
        let start = base[12] == ASCII.space ? 13 : 12
        let end = ByteScan.endOfValue(base, from: start, limit: limit)
        guard end < limit else { return .incomplete }
        switch HeadParser.endOfLine(base, at: end, limit: limit) {
        case .field: break
        case .refused(.badFieldValue): return .refused(.badStatusLine)
        case let other: return other
        }
        reason = ByteSpan(from: start, to: end)
        next = end &+ 2
        return .field
    }
}

/// What the fields of one response mean. Plain data, cleared for each response.
struct ResponseMeaning: BitwiseCopyable {
    var line = StatusLine()
    var framing = FramingFields()
    var connection = ConnectionOptions()
    var body = BodyLength.none
    var upgrade = ByteSpan.empty
    var trailer = ByteSpan.empty
    var keepAliveTimeoutSeconds: Int?
    var hasConnection = false
    var hasDate = false
    var hasServer = false

    @inline(__always)
    mutating func take(_ field: Field, _ bytes: Bytes) -> Refusal.Reason? {
        switch field.id {
        case .contentLength: return framing.readLength(bytes.slice(field.value))
        case .transferEncoding: return framing.readEncoding(bytes.slice(field.value))
        case .date: hasDate = true
        case .server: hasServer = true
        case .connection: hasConnection = true
        case .keepAlive: readKeepAlive(bytes.slice(field.value))
        case .upgrade: upgrade = field.value
        case .trailer: if trailer.isEmpty { trailer = field.value }
        default: break
        }
        return nil
    }

    private mutating func readKeepAlive(_ value: Bytes) {
        var list = ListReader(value)
        while let parameter = list.next() {
            guard parameter.count > 8, parameter.slice(from: 0, to: 8).equalsIgnoringCase("timeout=") else { continue }
            if let seconds = FramingFields.decimal(parameter.slice(from: 8)) {
                keepAliveTimeoutSeconds = Int(min(seconds, 86_400))
            }
        }
    }
}
