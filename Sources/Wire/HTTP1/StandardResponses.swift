// Owns the answers that the proxy gives itself: small, never cached, with the request's id, in the form the client
// asked for. Everything in them but the id and the caller's own lines is a literal; the id is escaped.

/// Answers of the proxy's own.
public enum StandardResponses {
    public static let continue100: StaticString = "HTTP/1.1 100 Continue\r\n\r\n"

    public enum Format: UInt8, Sendable, BitwiseCopyable, CaseIterable {
        case html, json, text

        /// The first of the three kinds that an Accept field names, HTML if it names none. Quality values are read
        /// only so far that `q=0` means no.
        public init(accept: Bytes) {
            var list = ListReader(accept)
            while let range = list.next() {
                let end = range.firstIndex(of: ASCII.semicolon) ?? range.count
                let type = ListReader.trimmed(range, from: 0, to: end)
                if end < range.count, Format.isZeroQuality(range.slice(from: end)) { continue }
                if type.equalsIgnoringCase("text/html") || type.equalsIgnoringCase("application/xhtml+xml") {
                    self = .html
                    return
                }
                if type.equalsIgnoringCase("application/json") || Format.endsInJSON(type) {
                    self = .json
                    return
                }
                if type.equalsIgnoringCase("text/plain") {
                    self = .text
                    return
                }
            }
            self = .html
        }

        private static func endsInJSON(_ type: Bytes) -> Bool {
            type.count > 5 && type.slice(from: type.count - 5).equalsIgnoringCase("+json")
        }

        private static func isZeroQuality(_ parameters: Bytes) -> Bool {
            guard let equal = parameters.firstIndex(of: ASCII.equal), equal > 0, equal + 1 < parameters.count,
                ASCII.lower(parameters[equal - 1]) == 0x71
            else { return false }
            for index in (equal + 1)..<parameters.count {
                let byte = parameters[index]
                guard byte == 0x30 || byte == ASCII.dot else { return false }
            }
            return true
        }

        var contentType: StaticString {
            switch self {
            case .html: "text/html; charset=utf-8"
            case .json: "application/json"
            case .text: "text/plain; charset=utf-8"
            }
        }
    }

    /// Writes a whole response. `code` is the stable word for logs and machines, `explanation` a sentence for people.
    /// `extraLines` are ready field lines, each with its CR LF (`Location`, `Allow`, ...).
    public static func write(
        status: UInt16, code: StaticString, explanation: StaticString, requestID: Bytes = .empty,
        format: Format = .html, isHead: Bool = false, closes: Bool = false, clientVersion: HTTPVersion = .http11,
        retryAfterSeconds: Int? = nil, date: Bytes = .empty, extraLines: Bytes = .empty,
        into writer: inout ByteWriter
    ) {
        let page = Page(status: status, code: code, explanation: explanation, requestID: requestID, format: format)
        // Written once to be measured, and again behind the head that tells its size.
        let start = writer.count
        page.write(into: &writer)
        let bodySize = writer.count - start
        guard !writer.overflowed else { return }
        writer.truncate(to: start)

        writer.append("HTTP/1.1 ")
        writer.append(decimal: UInt64(status))
        writer.append(ASCII.space)
        writer.append(reasonPhrase(status))
        writer.append("\r\nContent-Type: ")
        writer.append(format.contentType)
        writer.append("\r\nContent-Length: ")
        writer.append(decimal: UInt64(bodySize))
        writer.append("\r\nCache-Control: no-store\r\n")
        if !date.isEmpty { line("Date: ", date, into: &writer) }
        if !requestID.isEmpty { line("x-request-id: ", requestID, into: &writer) }
        if let retryAfterSeconds {
            writer.append("Retry-After: ")
            writer.append(decimal: UInt64(max(0, retryAfterSeconds)))
            writer.append("\r\n")
        }
        if closes {
            writer.append("Connection: close\r\n")
        } else if clientVersion == .http10 {
            writer.append("Connection: keep-alive\r\n")
        }
        writer.append(extraLines)
        writer.append("\r\n")
        if !isHead { page.write(into: &writer) }
    }

    private static func line(_ name: StaticString, _ value: Bytes, into writer: inout ByteWriter) {
        writer.append(name)
        writer.append(value)
        writer.append("\r\n")
    }

    /// RFC 9110 section 15, and what the proxy itself answers with; empty for others.
    public static func reasonPhrase(_ status: UInt16) -> StaticString {
        switch status {
        case 200: "OK"
        case 204: "No Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: ""
        }
    }
}

/// The body of one such answer.
private struct Page {
    let status: UInt16
    let code: StaticString
    let explanation: StaticString
    let requestID: Bytes
    let format: StandardResponses.Format

    func write(into writer: inout ByteWriter) {
        switch format {
        case .html: writeHTML(into: &writer)
        case .json: writeJSON(into: &writer)
        case .text: writeText(into: &writer)
        }
    }

    private func writeTitle(into writer: inout ByteWriter) {
        writer.append(decimal: UInt64(status))
        writer.append(ASCII.space)
        writer.append(StandardResponses.reasonPhrase(status))
    }

    private func writeHTML(into writer: inout ByteWriter) {
        writer.append("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
        writeTitle(into: &writer)
        writer.append("</title></head>\n<body><h1>")
        writeTitle(into: &writer)
        writer.append("</h1>\n<p>")
        writer.append(htmlEscaped: Bytes(explanation))
        writer.append("</p>\n")
        if !requestID.isEmpty {
            writer.append("<p>Request <code>")
            writer.append(htmlEscaped: requestID)
            writer.append("</code></p>\n")
        }
        writer.append("</body></html>\n")
    }

    private func writeJSON(into writer: inout ByteWriter) {
        writer.append("{\"status\":")
        writer.append(decimal: UInt64(status))
        writer.append(",\"error\":\"")
        appendJSON(Bytes(code), into: &writer)
        writer.append("\",\"message\":\"")
        appendJSON(Bytes(explanation), into: &writer)
        if !requestID.isEmpty {
            writer.append("\",\"request_id\":\"")
            appendJSON(requestID, into: &writer)
        }
        writer.append("\"}\n")
    }

    /// Ids are tokens and texts are literals, so quotes and backslashes are all there is to escape.
    private func appendJSON(_ text: Bytes, into writer: inout ByteWriter) {
        for index in 0..<text.count {
            if text[index] == ASCII.quote || text[index] == ASCII.backslash { writer.append(ASCII.backslash) }
            writer.append(text[index])
        }
    }

    private func writeText(into writer: inout ByteWriter) {
        writeTitle(into: &writer)
        writer.append("\n")
        writer.append(explanation)
        if !requestID.isEmpty {
            writer.append("\nrequest ")
            writer.append(requestID)
        }
        writer.append("\n")
    }
}
