// Owns a keep-alive client for tests with a running proxy: one connection, one request at a time, nothing forgiven.

import Kernel

struct LiveClient {
    struct Failure: Error, CustomStringConvertible { let description: String }
    struct Answer {
        var status = 0
        var body: [UInt8] = []
    }

    let stream: Stream
    private var input: [UInt8] = []

    init(port: UInt16) throws { stream = try Stream.connect(to: .loopback(port: port), timeoutMs: 5000) }

    /// Sends a request without a body and reads its answer.
    mutating func get(_ host: String, _ path: String = "/") throws -> Answer {
        try stream.writeAll(Array("GET \(path) HTTP/1.1\r\nHost: \(host)\r\n\r\n".utf8), timeoutMs: 5000)
        let head = try readHead()
        var answer = Answer()
        answer.status = Int(head.first.dropFirst(9).prefix(3)) ?? 0
        guard let length = head.values("content-length").first.flatMap({ Int($0) }) else {
            throw Failure(description: "no length in \(head)")
        }
        while input.count < length { try readMore() }
        answer.body = Array(input.prefix(length))
        input.removeFirst(length)
        if head.values("connection").contains("close") { throw Failure(description: "closed after \(head.first)") }
        guard input.isEmpty else { throw Failure(description: "\(input.count) bytes behind the answer") }
        return answer
    }

    /// Sends a request, and reads an answer that has a length, is chunked, or ends with the connection.
    mutating func ask(
        _ method: String, _ host: String, _ path: String = "/", body: [UInt8] = []
    ) throws -> (head: PlainHead, body: [UInt8]) {
        var text = "\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\n"
        if method != "GET" { text += "Content-Length: \(body.count)\r\n" }
        try stream.writeAll(Array((text + "\r\n").utf8) + body, timeoutMs: 20_000)
        let head = try readHead()
        var answer: [UInt8] = []
        if head.values("transfer-encoding") == ["chunked"] {
            while true {
                if let decoded = PlainChunks.decode(input), decoded.isComplete {
                    answer = decoded.body
                    input.removeFirst(decoded.count)
                    break
                }
                try readMore()
            }
        } else {
            let length = head.values("content-length").first.flatMap { Int($0) } ?? 0
            while input.count < length { try readMore() }
            answer = Array(input.prefix(length))
            input.removeFirst(length)
        }
        return (head, answer)
    }

    /// Opens a tunnel.
    mutating func upgrade(_ host: String) throws {
        let request = """
            GET /ws HTTP/1.1\r\nHost: \(host)\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n
            """
        try stream.writeAll(Array(request.utf8), timeoutMs: 5000)
        let head = try readHead()
        guard head.first.contains(" 101 ") else { throw Failure(description: "no tunnel: \(head.first)") }
    }

    /// Sends bytes through the tunnel and reads as many back.
    mutating func echo(_ bytes: [UInt8]) throws -> [UInt8] {
        try stream.writeAll(bytes, timeoutMs: 5000)
        while input.count < bytes.count { try readMore() }
        let echoed = Array(input.prefix(bytes.count))
        input.removeFirst(bytes.count)
        return echoed
    }

    private mutating func readHead() throws -> PlainHead {
        while true {
            if let head = PlainHead(input, at: 0) {
                input.removeFirst(head.count)
                return head
            }
            try readMore()
        }
    }

    private mutating func readMore() throws {
        let more = try stream.readSome(maximum: 65536, timeoutMs: 10_000)
        guard !more.isEmpty else { throw Failure(description: "the connection was closed") }
        input += more
    }
}
