// Owns what the tables of this directory share: rows are written as text in which a scalar is a byte (`\u{80}` is
// 0x80), messages are parsed whole and cut, and everything a parse says is collected in one comparable value.

import Testing
import Wire

/// The bytes of a row: every scalar below U+0100 is one byte.
func bytes(_ text: String) -> [UInt8] {
    text.unicodeScalars.map { UInt8($0.value) }
}

func text(_ bytes: [UInt8]) -> String {
    String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
}

func withBytes<Result>(_ array: [UInt8], _ body: (Bytes) -> Result) -> Result {
    // A buffer of exactly this size: a read beyond it is a read beyond an allocation.
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: array.count)
    defer { copy.deallocate() }
    copy.initialize(from: array, count: array.count)
    return body(Bytes(UnsafePointer(copy), count: array.count))
}

func withBytes<Result>(_ text: String, _ body: (Bytes) -> Result) -> Result {
    withBytes(bytes(text), body)
}

func written(capacity: Int = 65536, _ body: (inout ByteWriter) -> Void) -> String {
    withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 1) { memory in
        var writer = ByteWriter(memory)
        body(&writer)
        #expect(!writer.overflowed)
        return text(writer.bytes.array())
    }
}

/// Everything that a parsed request says.
struct ParsedRequest: Equatable {
    var byteCount = 0
    var method = Method.other
    var methodName = ""
    var version = HTTPVersion.http11
    var form = TargetForm.origin
    var path = ""
    var query: String?
    var host = ""
    var authority = ""
    var body = BodyLength.none
    var isPersistent = false
    var expectsContinue = false
    var upgrade = ""
    var acceptsTrailers = false
    var maxForwards: Int?
    var requestID = ""
    var fields: [String] = []
    var dropped: [String] = []
}

enum RequestOutcome: Equatable {
    case complete(ParsedRequest)
    case incomplete
    case refused(UInt16, Refusal.Reason)

    var parsed: ParsedRequest? {
        if case .complete(let parsed) = self { return parsed }
        return nil
    }

    var reason: Refusal.Reason? {
        if case .refused(_, let reason) = self { return reason }
        return nil
    }
}

func outcome(_ result: RequestHead.Result, _ head: borrowing RequestHead, _ source: Bytes) -> RequestOutcome {
    func string(_ span: ByteSpan) -> String { text(source.slice(span).array()) }
    switch result {
    case .incomplete: return .incomplete
    case .refused(let refusal): return .refused(refusal.status, refusal.reason)
    case .complete(let byteCount):
        var parsed = ParsedRequest()
        parsed.byteCount = byteCount
        parsed.method = head.method
        parsed.methodName = string(head.methodName)
        parsed.version = head.version
        parsed.form = head.targetForm
        parsed.path = string(head.path)
        parsed.query = head.hasQuery ? string(head.query) : nil
        parsed.host = string(head.host)
        parsed.authority = string(head.authority)
        parsed.body = head.body
        parsed.isPersistent = head.isPersistent
        parsed.expectsContinue = head.expectsContinue
        parsed.upgrade = string(head.upgrade)
        parsed.acceptsTrailers = head.acceptsTrailers
        parsed.maxForwards = head.maxForwards
        parsed.requestID = string(head.requestID)
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            let line = string(field.name) + "|" + string(field.value)
            if field.isDropped { parsed.dropped.append(line) } else { parsed.fields.append(line) }
        }
        return .complete(parsed)
    }
}

func parseRequest(_ array: [UInt8], limits: HeadLimits = HeadLimits()) -> RequestOutcome {
    withBytes(array) { source in
        var head = RequestHead(limits: limits)
        let result = head.parse(source, scanned: 0)
        return outcome(result, head, source)
    }
}

func parseRequest(_ message: String, limits: HeadLimits = HeadLimits()) -> RequestOutcome {
    parseRequest(bytes(message), limits: limits)
}

/// Parses the bytes as they would come in these portions, as a connection does: again from the start with more.
func parseRequest(_ array: [UInt8], portions: [Int], limits: HeadLimits = HeadLimits()) -> RequestOutcome {
    var head = RequestHead(limits: limits)
    var scanned = 0
    for end in portions {
        let result = withBytes(Array(array[..<end])) { source in
            outcome(head.parse(source, scanned: scanned), head, source)
        }
        if result != .incomplete { return result }
        scanned = end
    }
    return .incomplete
}

/// What an upstream receives for this request.
func forwarded(
    _ message: String, client: StaticString = "192.0.2.7", change: (inout RequestContext) -> Void = { _ in }
) -> String {
    withBytes(message) { source in
        var head = RequestHead()
        guard case .complete = head.parse(source) else { return "not parsed" }
        var context = RequestContext(clientAddress: Bytes(client))
        change(&context)
        return written { HeadWriter.writeRequest(head, from: source, context: context, into: &$0) }
    }
}

/// The lines of a head, without its first line and its end.
func fieldLines(_ head: String) -> [String] {
    var lines = head.components(separatedBy: "\r\n")
    #expect(lines.suffix(2) == ["", ""])
    lines.removeLast(2)
    return Array(lines.dropFirst())
}

extension String {
    func components(separatedBy separator: String) -> [String] {
        var parts: [String] = []
        var rest = Array(unicodeScalars)[...]
        let mark = Array(separator.unicodeScalars)
        var part = String.UnicodeScalarView()
        while !rest.isEmpty {
            if rest.starts(with: mark) {
                parts.append(String(part))
                part = String.UnicodeScalarView()
                rest = rest.dropFirst(mark.count)
            } else {
                part.append(rest.removeFirst())
            }
        }
        parts.append(String(part))
        return parts
    }
}
