// What the demo backend received, as JSON for programs and as a small page for people.

import Kernel
import Model
import Wire

enum DemoEcho {
    static func json(_ pages: DemoPages, _ body: DemoBody) -> [UInt8] {
        let request = pages.request
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("name", pages.connection.server.name)
            writer.field("method", request.method)
            writer.field("target", request.target)
            writer.field("path", request.path)
            if let query = request.query { writer.field("query", query) } else { writer.null("query") }
            writer.field("version", version(request))
            writer.object("headers") { writer in
                for (name, value) in combined(request.fields) { writer.field(name, value) }
            }
            writer.array("raw_headers") { writer in
                for field in request.fields {
                    writer.array { writer in
                        writer.value(field.name)
                        writer.value(field.value)
                    }
                }
            }
            writer.object("body") { writer in
                writer.field("bytes", body.byteCount)
                writer.field("crc32", body.checksum.text)
                // The begin of it, where it is text.
                if let text = String(validating: body.begin, as: UTF8.self) { writer.field("text", text) }
                let lines = String(decoding: body.trailers, as: UTF8.self).split(separator: "\r\n")
                writer.field("trailers", lines.map(String.init))
            }
            writer.field("client", pages.connection.peer.unmapped.description)
            writer.field("connection", pages.connection.number)
            writer.field("request", pages.connection.requestNumber)
        }
        return writer.bytes + [0x0A]
    }

    static func html(_ pages: DemoPages, _ body: DemoBody) -> [UInt8] {
        let request = pages.request
        var rows = row("Request", "\(request.method) \(request.target) \(version(request))")
        for field in request.fields { rows += row(field.name, field.value) }
        if body.byteCount > 0 { rows += row("(body)", "\(body.byteCount) bytes, CRC-32 \(body.checksum.text)") }
        rows += row("(from)", pages.connection.peer.unmapped.description)
        let name = escaped(pages.connection.server.name)
        let page = """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><title>\(name)</title>
            <style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
            td{padding:.15rem 1rem .15rem 0;vertical-align:top;word-break:break-all}\
            td:first-child{color:#667;white-space:nowrap}</style></head>
            <body><h1>\(name)</h1><p>This backend received:</p>
            <table>
            \(rows)</table>
            <p>Try <a href="/slow?ms=1000">/slow?ms=1000</a>, <a href="/bytes/1000">/bytes/1000</a>,
            <a href="/status/404">/status/404</a>, <a href="/sse">/sse</a>, and <code>/ws</code>, <code>/upload</code>.
            </p>
            </body></html>

            """
        return Array(page.utf8)
    }

    private static func version(_ request: DemoRequest) -> String {
        request.version == .http10 ? "HTTP/1.0" : "HTTP/1.1"
    }

    /// By lower-case name in the order of first appearance; lines of one name joined as RFC 9110 section 5.3 allows.
    private static func combined(_ fields: [(name: String, value: String)]) -> [(String, String)] {
        var order: [String] = []
        var values: [String: String] = [:]
        for field in fields {
            let name = field.name.lowercased()
            if let before = values[name] {
                values[name] = before + ", " + field.value
            } else {
                order.append(name)
                values[name] = field.value
            }
        }
        return order.map { ($0, values[$0] ?? "") }
    }

    private static func row(_ name: String, _ value: String) -> String {
        "<tr><td>\(escaped(name))</td><td>\(escaped(value))</td></tr>\n"
    }

    static func escaped(_ text: String) -> String {
        var escaped = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}
