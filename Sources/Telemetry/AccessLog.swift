// One line per request, or per TCP connection: who asked, who answered, why, and how long it took. JSON, or common log
// format as Apache's "combined" with our fields behind it. Formatting writes into the caller's buffer; Authorization,
// Cookie and every other header not named here never reach a log.

public enum AccessLogFormat: String, Sendable, CaseIterable {
    case off, json, clf
}

/// A request that ended. Texts are pointers that must stay valid for the call only; an empty one was absent.
public struct AccessRecord {
    /// When the request's first byte came, nanoseconds since 1970.
    public var startedAtNs: UInt64 = 0
    public var clientAddress = UnsafeRawBufferPointer(start: nil, count: 0)
    public var clientPort: UInt16 = 0
    public var isTLS = false
    /// "1.3"; empty if TLS did not end here.
    public var tlsVersion: StaticString = ""
    /// The handshake took up an earlier session.
    public var tlsIsResumed = false
    /// A TCP connection, or TLS that was passed on: there is no request, and `host` is the server name that TLS asked
    /// for.
    public var isStream = false
    public var method = UnsafeRawBufferPointer(start: nil, count: 0)
    /// As the client sent it, query included.
    public var target = UnsafeRawBufferPointer(start: nil, count: 0)
    public var host = UnsafeRawBufferPointer(start: nil, count: 0)
    /// "HTTP/1.1"; empty if it was never understood.
    public var version: StaticString = ""
    /// 0: nothing was answered.
    public var status: UInt16 = 0
    /// Why it ended so: "ok", or the code that the error page and the metrics show.
    public var outcome: StaticString = "ok"
    public var requestID = UnsafeRawBufferPointer(start: nil, count: 0)
    public var service = UnsafeRawBufferPointer(start: nil, count: 0)
    /// The address of the task that answered, or was tried last.
    public var upstream = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Connections tried, 0 if the proxy answered by itself.
    public var attempts: UInt8 = 0
    public var userAgent = UnsafeRawBufferPointer(start: nil, count: 0)
    public var referer = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Body bytes, as the other side sent them.
    public var bytesIn: UInt64 = 0
    public var bytesOut: UInt64 = 0
    /// From the request's first byte to the answer's last.
    public var durationUs: UInt64 = 0
    /// Until the connection to the task stood; 0 for a reused one.
    public var connectUs: UInt64 = 0
    /// From sending the request to the first byte of the task's answer; 0 if it never came.
    public var upstreamUs: UInt64 = 0

    public init() {}

    var scheme: StaticString {
        if isStream { return isTLS ? "tls" : "tcp" }
        return isTLS ? "https" : "http"
    }

    /// Longest parts of texts that are logged, so that a line always fits `AccessLog.maximumLineSize`.
    static let longestTarget = 1024
    static let longestText = 255
}

public enum AccessLog {
    /// The longest line, even if every byte of its nine texts had to be escaped to six: 6 * (1024 + 8 * 255), and keys.
    public static let maximumLineSize = 20_480

    /// Writes one line with its line feed into `buffer` (at least `maximumLineSize` bytes); returns its length.
    public static func write(
        _ record: borrowing AccessRecord, format: AccessLogFormat, into buffer: UnsafeMutableRawBufferPointer
    ) -> Int {
        var writer = LineWriter(buffer)
        switch format {
        case .off: return 0
        case .json: writer.appendJSON(record)
        case .clf: writer.appendCommonLog(record)
        }
        assert(!writer.overflowed)
        return writer.overflowed ? 0 : writer.count
    }

    static func clip(_ text: UnsafeRawBufferPointer, _ count: Int = AccessRecord.longestText) -> UnsafeRawBufferPointer
    {
        UnsafeRawBufferPointer(rebasing: text.prefix(count))
    }
}

extension LineWriter {
    fileprivate mutating func appendJSON(_ record: borrowing AccessRecord) {
        append("{\"ts\":\"")
        appendTimestamp(CivilTime(realtimeNs: record.startedAtNs))
        append("\",\"client\":\"")
        append(jsonEscaped: AccessLog.clip(record.clientAddress))
        append("\",\"client_port\":")
        append(decimal: UInt64(record.clientPort))
        append(",\"scheme\":\"")
        append(record.scheme)
        append("\"")
        if record.tlsVersion.utf8CodeUnitCount > 0 {
            append(",\"tls\":\"")
            append(record.tlsVersion)
            append(record.tlsIsResumed ? "\",\"tls_resumed\":true" : "\",\"tls_resumed\":false")
        }
        field(",\"method\":\"", record.method)
        field(",\"host\":\"", record.host)
        field(",\"target\":\"", record.target, longest: AccessRecord.longestTarget)
        if !record.isStream {
            append(",\"version\":\"")
            append(record.version)
            append("\",\"status\":")
            append(decimal: UInt64(record.status))
        }
        append(",\"outcome\":\"")
        append(record.outcome)
        append("\"")
        field(",\"request_id\":\"", record.requestID)
        field(",\"service\":\"", record.service)
        field(",\"upstream\":\"", record.upstream)
        append(",\"attempts\":")
        append(decimal: UInt64(record.attempts))
        append(",\"bytes_in\":")
        append(decimal: record.bytesIn)
        append(",\"bytes_out\":")
        append(decimal: record.bytesOut)
        append(",\"duration_ms\":")
        append(millisecondsOf: record.durationUs)
        append(",\"connect_ms\":")
        append(millisecondsOf: record.connectUs)
        append(",\"upstream_ms\":")
        append(millisecondsOf: record.upstreamUs)
        field(",\"user_agent\":\"", record.userAgent)
        field(",\"referer\":\"", record.referer)
        append("}\n")
    }

    /// A text field with its key and closing quote; nothing at all if the text is empty.
    private mutating func field(
        _ key: StaticString, _ text: UnsafeRawBufferPointer, longest: Int = AccessRecord.longestText
    ) {
        guard !text.isEmpty else { return }
        append(key)
        append(jsonEscaped: AccessLog.clip(text, longest))
        append(UInt8(ascii: "\""))
    }

    /// `client - - [time] "request line" status bytes "referer" "user agent" "host" service upstream outcome
    /// attempts duration_ms request_id`: the first nine are Apache's "combined".
    fileprivate mutating func appendCommonLog(_ record: borrowing AccessRecord) {
        append(commonLogEscaped: AccessLog.clip(record.clientAddress), escapingSpaces: true)
        append(" - - [")
        appendCommonLogTime(CivilTime(realtimeNs: record.startedAtNs))
        append("] \"")
        appendRequestLine(record)
        append("\" ")
        append(decimal: UInt64(record.status))
        append(UInt8(ascii: " "))
        append(decimal: record.bytesOut)
        append(" \"")
        append(commonLogEscaped: AccessLog.clip(record.referer))
        append("\" \"")
        append(commonLogEscaped: AccessLog.clip(record.userAgent))
        append("\" \"")
        append(commonLogEscaped: AccessLog.clip(record.host))
        append("\" ")
        append(commonLogEscaped: AccessLog.clip(record.service), escapingSpaces: true)
        append(UInt8(ascii: " "))
        append(commonLogEscaped: AccessLog.clip(record.upstream), escapingSpaces: true)
        append(UInt8(ascii: " "))
        append(record.outcome)
        append(UInt8(ascii: " "))
        append(decimal: UInt64(record.attempts))
        append(UInt8(ascii: " "))
        append(millisecondsOf: record.durationUs)
        append(UInt8(ascii: " "))
        append(commonLogEscaped: AccessLog.clip(record.requestID), escapingSpaces: true)
        append(UInt8(ascii: "\n"))
    }

    private mutating func appendRequestLine(_ record: borrowing AccessRecord) {
        if record.isStream {
            append(record.isTLS ? "TLS - -" : "TCP - -")
            return
        }
        append(commonLogEscaped: AccessLog.clip(record.method), escapingSpaces: true)
        append(UInt8(ascii: " "))
        append(commonLogEscaped: AccessLog.clip(record.target, AccessRecord.longestTarget), escapingSpaces: true)
        append(UInt8(ascii: " "))
        append(record.version)
    }
}
