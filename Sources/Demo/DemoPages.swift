// What the demo backend answers: an echo of the request on every path but those below.
//
//   /ws                     WebSocket echo
//   /slow?ms=N              the echo, N milliseconds late
//   /bytes/N                N bytes, streamed; ?chunked=1 for chunks instead of a length
//   /upload                 how many bytes came, and their CRC-32
//   /status/N               an answer with that status
//   /sse?count=N&ms=M       N events, M milliseconds apart

import Kernel
import Model
import Telemetry
import Wire

struct DemoPages {
    let connection: DemoConnection
    let request: DemoRequest
    /// The connection ends after the answer.
    var closes = false

    /// 1 GiB is a lot for a demo; a terabyte is for those who want to wait.
    static let largestCount = 1 << 40
    private static let pauseLimitMs = 600_000

    init(connection: DemoConnection, request: DemoRequest) {
        self.connection = connection
        self.request = request
    }

    mutating func answer(body: DemoBody) throws(ConnectionOver) {
        switch request.path {
        case "/ws":
            try send(
                426, "text/plain", Array("/ws speaks WebSocket only\n".utf8),
                extra: "Upgrade: websocket\r\nConnection: Upgrade\(closes ? ", close" : "")\r\n")
        case "/slow":
            connection.pause(milliseconds: request.number("ms", default: 1000, in: 0...Self.pauseLimitMs))
            if connection.server.isStopping { closes = true }
            try sendEcho(200, body)
        case "/upload": try sendUpload(body)
        case "/sse": try sendEvents()
        case let path where path.hasPrefix("/bytes/"): try sendBytes(String(path.dropFirst(7)))
        case let path where path.hasPrefix("/status/"): try sendStatus(String(path.dropFirst(8)), body)
        default: try sendEcho(200, body)
        }
    }

    // MARK: Pages

    private func sendEcho(_ status: Int, _ body: DemoBody, extra: String = "") throws(ConnectionOver) {
        let isBodiless = status == 204 || status == 304
        if isBodiless {
            try send(status, nil, [], extra: extra)
        } else if request.wantsHTML {
            try send(status, "text/html; charset=utf-8", DemoEcho.html(self, body), extra: extra)
        } else {
            try send(status, "application/json", DemoEcho.json(self, body), extra: extra)
        }
    }

    private func sendUpload(_ body: DemoBody) throws(ConnectionOver) {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("name", connection.server.name)
            writer.field("bytes", body.byteCount)
            writer.field("crc32", body.checksum.text)
        }
        try send(200, "application/json", writer.bytes + [0x0A])
    }

    private func sendStatus(_ text: String, _ body: DemoBody) throws(ConnectionOver) {
        guard let status = Int(text), (200...599).contains(status) else {
            try send(400, "text/plain", Array("/status/N takes 200 to 599\n".utf8))
            return
        }
        let isRedirect = [301, 302, 303, 307, 308].contains(status)
        try sendEcho(status, body, extra: isRedirect ? "Location: /\r\n" : "")
    }

    /// Lines of 64 bytes, so that byte N of every answer is known.
    static let pattern: [UInt8] =
        Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-\n".utf8)
    private static let block: [UInt8] = (0..<2048).flatMap { _ in pattern }

    private mutating func sendBytes(_ text: String) throws(ConnectionOver) {
        guard let count = Int(text), (0...Self.largestCount).contains(count) else {
            try send(400, "text/plain", Array("/bytes/N takes 0 to \(Self.largestCount)\n".utf8))
            return
        }
        let isChunked = request.flag("chunked")
        let stream = try begin(200, "application/octet-stream", length: isChunked ? nil : count)
        var left = request.isHead ? 0 : count
        while left > 0 {
            let size = min(left, Self.block.count)
            try stream.write(size == Self.block.count ? Self.block : Array(Self.block[..<size]))
            left -= size
        }
        try stream.end()
    }

    private mutating func sendEvents() throws(ConnectionOver) {
        let count = request.number("count", default: 3, in: 0...1_000_000)
        let pauseMs = request.number("ms", default: 100, in: 0...Self.pauseLimitMs)
        let stream = try begin(200, "text/event-stream", length: nil)
        for index in 0..<(request.isHead ? 0 : count) {
            if index > 0 { connection.pause(milliseconds: pauseMs) }
            try stream.write(Array("id: \(index + 1)\ndata: \(connection.server.name) \(index + 1)\n\n".utf8))
        }
        try stream.end()
    }

    func acceptWebSocket(key: String) throws(ConnectionOver) {
        let accept = withUnsafeTemporaryAllocation(byteCount: 32, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            Array(key.utf8).withUnsafeBytes { WebSocket.writeAccept(key: Bytes($0), into: &writer) }
            return writer.bytes.string()
        }
        try connection.write(
            Array(
                ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Accept: \(accept)\r\nX-Demo-Name: \(connection.server.name)\r\n\r\n").utf8))
    }

    // MARK: Writing

    private func head(_ status: Int, _ contentType: String?, extra: String) -> String {
        let phrase = "\(StandardResponses.reasonPhrase(UInt16(status)))"
        var head = "HTTP/1.1 \(status) \(phrase.isEmpty ? "Status" : phrase)\r\n"
        head += "Date: \(CivilTime(realtimeNs: Clock.realtimeNs()).httpDate)\r\n"
        head += "Server: interlock-demo\r\nX-Demo-Name: \(connection.server.name)\r\n"
        if let contentType { head += "Content-Type: \(contentType)\r\n" }
        head += extra
        // 426 has a Connection field of its own.
        if extra.contains("Connection:") { return head }
        if closes {
            head += "Connection: close\r\n"
        } else if request.version == .http10 {
            head += "Connection: keep-alive\r\n"
        }
        return head
    }

    private func send(
        _ status: Int, _ contentType: String?, _ body: [UInt8], extra: String = ""
    ) throws(ConnectionOver) {
        var head = head(status, contentType, extra: extra)
        if status != 204, status != 304 { head += "Content-Length: \(body.count)\r\n" }
        try connection.write(Array((head + "\r\n").utf8) + (request.isHead ? [] : body))
    }

    /// A body that is written in pieces: with its length, else in chunks, else (HTTP/1.0) up to the connection's end.
    struct BodyStream {
        let connection: DemoConnection
        let isChunked: Bool
        let isHead: Bool

        func write(_ bytes: [UInt8]) throws(ConnectionOver) {
            guard isChunked else { return try connection.write(bytes) }
            let size = Array((String(bytes.count, radix: 16) + "\r\n").utf8)
            if !bytes.isEmpty { try connection.write(size + bytes + [0x0D, 0x0A]) }
        }

        func end() throws(ConnectionOver) {
            if isChunked, !isHead { try connection.write(Array("0\r\n\r\n".utf8)) }
        }
    }

    private mutating func begin(
        _ status: Int, _ contentType: String, length: Int?
    ) throws(ConnectionOver) -> BodyStream {
        var extra = "Transfer-Encoding: chunked\r\n"
        var isChunked = true
        if let length {
            extra = "Content-Length: \(length)\r\n"
            isChunked = false
        } else if request.version == .http10 {
            extra = ""
            isChunked = false
            closes = true
        }
        try connection.write(Array((head(status, contentType, extra: extra) + "\r\n").utf8))
        return BodyStream(connection: connection, isChunked: isChunked, isHead: request.isHead)
    }
}
