// Owns one parsed request head: what a request asks, for whom, and where its body ends, or why it is refused. A head
// is made once per worker and reused: parsing allocates nothing. It keeps no bytes; all spans are relative to the
// bytes it was given. The strict reading of the lines is in HeadParser, the request line in RequestHead+Line, the
// body's length in Framing.
//
// Every decision is made left to right at the first byte that settles it, so cutting a request into pieces changes
// only when the answer comes, never which. A head that trickles in is parsed again for each line that ends, which
// `HeadLimits` bounds; bytes that end no line are only searched for a line feed.

import Glibc

/// Reusable result of parsing one request head (RFC 9112 sections 2 to 6).
public struct RequestHead: ~Copyable {
    public enum Result: Equatable, Sendable, BitwiseCopyable {
        /// The head has `byteCount` bytes; the body begins behind them.
        case complete(byteCount: Int)
        case incomplete
        case refused(Refusal)
    }

    public let limits: HeadLimits
    var table: FieldTable
    var line = RequestLine()
    var meaning = RequestMeaning()

    public init(limits: HeadLimits = HeadLimits()) {
        self.limits = limits
        table = FieldTable(capacity: limits.fieldCount)
    }

    /// Parses the head at the start of `bytes`, before which one CR LF is tolerated. After `.incomplete`, call again
    /// with the same bytes and more behind them, and `scanned`, their count before.
    public mutating func parse(_ bytes: Bytes, scanned: Int = 0) -> Result {
        if scanned > 0, !mayDecide(bytes, scanned: scanned) { return .incomplete }
        table.removeAll()
        line = RequestLine()
        meaning = RequestMeaning()
        let limit = min(bytes.count, limits.headSize)
        var position = 0
        switch line.parse(bytes.base, count: bytes.count, limit: limit, limits: limits, next: &position) {
        case .field: break
        case .incomplete: return bytes.count > limit ? .refused(Refusal(.headTooLarge)) : .incomplete
        case .end: return .refused(Refusal(.badRequestLine))
        case .refused(let reason): return .refused(Refusal(reason))
        }
        return parseFields(bytes, from: position, limit: limit)
    }

    /// Whether the bytes after `scanned` can change the answer: only the end of a line or a limit can, once the
    /// method has been seen.
    private func mayDecide(_ bytes: Bytes, scanned: Int) -> Bool {
        let settled = Method.sizeLimit + 8
        if scanned < settled || scanned > bytes.count || bytes.count > limits.headSize { return true }
        let lineLimit = limits.requestLineSize + 4
        if scanned <= lineLimit, bytes.count > lineLimit { return true }
        return bytes.firstIndex(of: ASCII.lineFeed, from: scanned) != nil
    }

    private mutating func parseFields(_ bytes: Bytes, from start: Int, limit: Int) -> Result {
        var position = start
        var field = Field(name: .empty, value: .empty, id: .other, marks: .none)
        while true {
            switch HeadParser.line(bytes.base, at: position, limit: limit, into: &field, next: &position) {
            case .field:
                guard table.append(field) else { return .refused(Refusal(.tooManyFields)) }
                if field.id != .other, let reason = take(field, bytes) { return .refused(Refusal(reason)) }
            case .end:
                if let reason = finish(bytes) { return .refused(Refusal(reason)) }
                return .complete(byteCount: position)
            case .incomplete:
                return bytes.count > limit ? .refused(Refusal(.headTooLarge)) : .incomplete
            case .refused(let reason): return .refused(Refusal(reason))
            }
        }
    }

    /// Notes what a field that the proxy knows says. Not nil: the request is refused.
    @inline(__always)
    private mutating func take(_ field: Field, _ bytes: Bytes) -> Refusal.Reason? {
        switch field.id {
        case .host:
            if meaning.seen(.host) { return .duplicateHost }
            guard
                let authority = Authority.parse(
                    bytes.base, from: Int(field.value.start), to: Int(field.value.end))
            else { return .badHost }
            meaning.hostField = field.value
            meaning.hostFieldName = authority.host
        case .contentLength: return meaning.framing.readLength(bytes.slice(field.value))
        case .transferEncoding: return meaning.framing.readEncoding(bytes.slice(field.value))
        case .accept: meaning.accept = field.value
        case .userAgent: meaning.userAgent = field.value
        case .referer: meaning.referer = field.value
        default: return meaning.takeRare(field, bytes)
        }
        return nil
    }

    /// Judges what only the whole head can tell.
    @inline(__always)
    private mutating func finish(_ bytes: Bytes) -> Refusal.Reason? {
        var reason: Refusal.Reason?
        meaning.body = meaning.framing.requestBody(version: line.version, refusal: &reason)
        if let reason { return reason }
        if line.version == .http11, !meaning.saw(.host) { return .missingHost }
        if line.form == .absolute {
            // The target's authority replaces the field's, which is not even looked at (RFC 9112 section 3.2.2).
            meaning.hostField = line.authority
            meaning.hostFieldName = line.authorityHost
        }
        if meaning.saw(.connection) {
            for index in 0..<table.count where table[index].id == .connection {
                guard meaning.connection.read(bytes.slice(table[index].value), in: bytes, table: &table) else {
                    return .badConnection
                }
            }
        }
        if meaning.isRare { return finishRare(bytes) }
        return nil
    }

    private mutating func finishRare(_ bytes: Bytes) -> Refusal.Reason? {
        if meaning.saw(.expect), line.version == .http10 { meaning.expectsContinue = false }
        if line.method == .trace || line.method == .options {
            if meaning.saw(.maxForwards) {
                guard !meaning.hasBadMaxForwards else { return .badMaxForwards }
            }
        } else {
            meaning.maxForwards = nil
        }
        if meaning.saw(.upgrade), !mayUpgrade(bytes) { meaning.upgrade = .empty }
        return nil
    }

    /// An upgrade is offered only in the form that the RFCs give it; everything else is an ordinary request.
    private func mayUpgrade(_ bytes: Bytes) -> Bool {
        guard line.version == .http11, line.method == .get, meaning.connection.upgrade, !meaning.hasManyUpgrades
        else { return false }
        switch meaning.body {
        case .none, .length(0): break
        default: return false
        }
        let offer = bytes.slice(meaning.upgrade)
        if offer.equalsIgnoringCase("websocket") {
            return meaning.webSocketVersionIs13 && meaning.webSocketKeyIsValid
        }
        return UpgradeOffer.isForwardable(offer)
    }
}

/// What the fields of one request mean. Plain data, cleared for each request.
struct RequestMeaning: BitwiseCopyable {
    var framing = FramingFields()
    var connection = ConnectionOptions()
    var body = BodyLength.none
    var hostField = ByteSpan.empty
    var hostFieldName = ByteSpan.empty
    var accept = ByteSpan.empty
    var userAgent = ByteSpan.empty
    var referer = ByteSpan.empty
    var upgrade = ByteSpan.empty
    var trailer = ByteSpan.empty
    var requestID = ByteSpan.empty
    var forwardedFor = ByteSpan.empty
    var forwardedProto = ByteSpan.empty
    var cookie = ByteSpan.empty
    var maxForwards: Int?
    var expectsContinue = false
    var acceptsTrailers = false
    var hasManyUpgrades = false
    var hasBadMaxForwards = false
    var webSocketVersionIs13 = false
    var webSocketKeyIsValid = false
    private var names: UInt64 = 0

    /// Whether a field of this name was there.
    @inline(__always)
    func saw(_ name: FieldName) -> Bool { names & name.bit != 0 }

    /// Notes that a field of this name is there; true if it was there before.
    @inline(__always)
    mutating func seen(_ name: FieldName) -> Bool {
        let before = saw(name)
        names |= name.bit
        return before
    }

    /// Something was said that must be judged once the head is whole.
    @inline(__always)
    var isRare: Bool {
        names & (FieldName.expect.bit | FieldName.maxForwards.bit | FieldName.upgrade.bit) != 0
    }

    mutating func takeRare(_ field: Field, _ bytes: Bytes) -> Refusal.Reason? {
        let value = bytes.slice(field.value)
        let again = seen(field.id)
        switch field.id {
        case .expect:
            guard value.equalsIgnoringCase("100-continue") else { return .unknownExpectation }
            expectsContinue = true
        case .te:
            var list = ListReader(value)
            while let coding = list.next() {
                if coding.equalsIgnoringCase("trailers") { acceptsTrailers = true }
            }
        case .upgrade:
            hasManyUpgrades = again
            upgrade = field.value
        case .maxForwards:
            maxForwards = FramingFields.decimal(value).map { Int(min($0, 255)) }
            hasBadMaxForwards = again || maxForwards == nil
        case .trailer: if !again { trailer = field.value }
        case .xRequestID: requestID = ListReader.isToken(value) && value.count <= 128 ? field.value : .empty
        case .xForwardedFor: forwardedFor = field.value
        case .xForwardedProto: forwardedProto = field.value
        case .cookie: if !again { cookie = field.value }
        case .secWebSocketVersion: webSocketVersionIs13 = !again && value.equals("13")
        case .secWebSocketKey: webSocketKeyIsValid = !again && UpgradeOffer.isKey(value)
        default: break
        }
        return nil
    }
}

/// What may be upgraded to.
enum UpgradeOffer {
    /// HTTP/2 and TLS inside the same connection would pass every rule of this proxy by; they are not offered on.
    static func isForwardable(_ offer: Bytes) -> Bool {
        var list = ListReader(offer)
        var count = 0
        while let element = list.next() {
            count += 1
            let slash = element.firstIndex(of: ASCII.slash) ?? element.count
            let name = element.slice(from: 0, to: slash)
            guard ListReader.isToken(name) else { return false }
            guard slash == element.count || ListReader.isToken(element.slice(from: slash + 1)) else { return false }
            if name.equalsIgnoringCase("h2c") || name.equalsIgnoringCase("h2") || name.equalsIgnoringCase("http")
                || name.equalsIgnoringCase("tls") || name.equalsIgnoringCase("websocket")
            {
                return false
            }
        }
        return count > 0
    }

    /// 16 bytes in base64 (RFC 6455 section 4.1).
    static func isKey(_ value: Bytes) -> Bool {
        guard value.count == 24, value[22] == ASCII.equal, value[23] == ASCII.equal else { return false }
        for index in 0..<22 {
            let byte = value[index]
            let isLetter = (byte | 0x20) &- 0x61 < 26
            guard isLetter || ASCII.isDigit(byte) || byte == 0x2B || byte == ASCII.slash else { return false }
        }
        return true
    }
}
