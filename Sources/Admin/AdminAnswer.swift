// An answer of the admin server before it is written, and how it is written.

import Wire

struct AdminAnswer {
    var status: UInt16
    var contentType: String
    var body: [UInt8]
    /// Ready field lines, each with its CR LF.
    var extraLines = ""

    static func json(_ status: UInt16, _ body: [UInt8]) -> AdminAnswer {
        AdminAnswer(status: status, contentType: "application/json", body: body)
    }

    static func text(_ text: String) -> AdminAnswer { .text(200, text) }

    static func text(_ status: UInt16, _ text: String) -> AdminAnswer {
        AdminAnswer(status: status, contentType: "text/plain; charset=utf-8", body: Array(text.utf8))
    }

    /// Head and body as they go out; the body is left out for HEAD.
    func serialized(isHead: Bool, closes: Bool, date: String) -> [UInt8] {
        var head = "HTTP/1.1 \(status) \(StandardResponses.reasonPhrase(status))\r\n"
        head += "Date: \(date)\r\nContent-Type: \(contentType)\r\nContent-Length: \(body.count)\r\n"
        head += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        head += extraLines
        head += closes ? "Connection: close\r\n\r\n" : "\r\n"
        var bytes = Array(head.utf8)
        if !isHead { bytes += body }
        return bytes
    }
}
