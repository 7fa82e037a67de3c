// The demo backend over a real socket. Other tests rely on it being correct HTTP/1.1.

import Kernel
import Support
import Testing
import Wire

@testable import Demo

private final class Fixture {
    let server: DemoServer
    var port: UInt16 { server.ports[0] }

    init() throws {
        server = try DemoServer(name: "blue", addresses: [(.loopback, false)])
        try server.start()
    }

    deinit { server.stop(timeoutMs: 0) }

    func connect() throws -> Stream { try Stream.connect(to: .loopback(port: port), timeoutMs: 5000) }

    /// Sends the bytes and reads until the server closes.
    func exchange(_ text: String) throws -> String {
        let stream = try connect()
        defer { stream.close() }
        try stream.writeAll(Array(text.utf8), timeoutMs: 5000)
        return String(decoding: try readToEnd(stream), as: UTF8.self)
    }
}

private func readToEnd(_ stream: Stream) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
        let more = try stream.readSome(timeoutMs: 10_000)
        if more.isEmpty { return bytes }
        bytes += more
    }
}

/// Exactly that many bytes.
private func read(_ count: Int, from stream: Stream) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
        let more = try stream.readSome(maximum: count - bytes.count, timeoutMs: 10_000)
        try #require(!more.isEmpty, "ended after \(bytes.count) of \(count) bytes")
        bytes += more
    }
    return bytes
}

private func readHead(_ stream: Stream) throws -> String {
    var bytes: [UInt8] = []
    while !bytes.reversed().starts(with: "\n\r\n\r".utf8) { bytes += try read(1, from: stream) }
    return String(decoding: bytes, as: UTF8.self)
}

private func body(_ answer: String) -> String {
    var rest = answer[...]
    while !rest.isEmpty, !rest.utf8.starts(with: "\r\n\r\n".utf8) { rest = rest.dropFirst() }
    return String(decoding: rest.utf8.dropFirst(4), as: UTF8.self)
}

private let close = "Host: x\r\nConnection: close\r\n"

@Suite struct DemoEchoTests {
    @Test func itSaysWhatItReceived() throws {
        let answer = try Fixture().exchange(
            "PUT /a%20b?c=d HTTP/1.1\r\n\(close)X-One: 1\r\nx-one: \"2\"\r\nContent-Length: 5\r\n\r\nhello")
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
        for expected in [
            "\r\nX-Demo-Name: blue\r\n", "\r\nContent-Type: application/json\r\n", "\r\nConnection: close\r\n",
            "\r\nDate: ", #""name":"blue","method":"PUT","target":"/a%20b?c=d","path":"/a%20b","query":"c=d""#,
            #""version":"HTTP/1.1""#, #""x-one":"1, \"2\"""#, #"["X-One","1"],["x-one","\"2\""]"#,
            #""body":{"bytes":5,"crc32":"3610a686","text":"hello","trailers":[]}"#, #""connection":1,"request":1"#,
        ] {
            #expect(answer.contains(expected), "\(expected)")
        }
    }

    @Test(arguments: [
        ("", "application/json"), ("Accept: */*\r\n", "application/json"),
        ("Accept: application/json, text/html\r\n", "application/json"),
        ("Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n", "text/html; charset=utf-8"),
    ])
    func jsonForProgramsAndHTMLForPeople(_ accept: String, _ contentType: String) throws {
        let answer = try Fixture().exchange("GET / HTTP/1.1\r\n\(close)\(accept)\r\n")
        #expect(answer.contains("Content-Type: \(contentType)\r\n"))
        let shown = try Fixture().exchange("GET / HTTP/1.1\r\n\(close)\(accept)X-Evil: <script>&\"'\r\n\r\n")
        #expect(shown.contains("Content-Type: \(contentType)\r\n"))
        if contentType.hasPrefix("text/html") {
            #expect(shown.contains("&lt;script&gt;&amp;&quot;&#39;") && !shown.contains("<script>"))
        }
    }

    @Test func chunkedBodiesWithExtensionsAndTrailers() throws {
        let answer = try Fixture().exchange(
            "POST / HTTP/1.1\r\n\(close)Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                + "2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 7\r\nX-Other: 8\r\n\r\n")
        #expect(answer.contains(#""bytes":5,"crc32":"3610a686","text":"hello","trailers":["X-Sum: 7"]"#))
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nHost: x\n\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "nonsense\r\n\r\n",
    ])
    func wrongRequestsAreRefused(_ request: String) throws {
        let answer = try Fixture().exchange(request)
        #expect(answer.hasPrefix("HTTP/1.1 400 Bad Request\r\n") && answer.contains("Connection: close\r\n"))
    }
}

@Suite struct DemoConnectionTests {
    @Test func keepAlivePipeliningAndBodiesInBetween() throws {
        let fixture = try Fixture()
        let answer = try fixture.exchange(
            "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                + "HEAD /status/404 HTTP/1.1\r\nHost: x\r\n\r\n" + "GET /status/204 HTTP/1.1\r\nHost: x\r\n\r\n"
                + "GET /last HTTP/1.1\r\n\(close)\r\n")
        #expect(answer.split(separator: "HTTP/1.1 ").map { $0.prefix(3) } == ["200", "404", "204", "200"])
        #expect(answer.contains(#"{"name":"blue","bytes":3,"crc32":"352441c2"}"#))
        #expect(answer.contains("HTTP/1.1 404 Not Found") && answer.contains("HTTP/1.1 204 No Content"))
        #expect(answer.contains(#""path":"/last""#) && answer.contains(#""request":4"#))
    }

    @Test func http10() throws {
        let fixture = try Fixture()
        let answer = try fixture.exchange("GET / HTTP/1.0\r\n\r\n")
        #expect(answer.contains("Connection: close\r\n") && answer.contains(#""version":"HTTP/1.0""#))
        let kept = try fixture.exchange(
            "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n")
        #expect(kept.contains("Connection: keep-alive\r\n") && kept.contains(#""path":"/2""#))
        let events = try fixture.exchange("GET /sse?ms=0&count=2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        #expect(!events.contains("Transfer-Encoding") && events.contains("Connection: close\r\n"))
        #expect(body(events) == "id: 1\ndata: blue 1\n\nid: 2\ndata: blue 2\n\n")
    }

    @Test func continueIsSaidBeforeTheBodyIsSent() throws {
        let fixture = try Fixture()
        let stream = try fixture.connect()
        defer { stream.close() }
        try stream.writeAll(
            Array("POST /upload HTTP/1.1\r\n\(close)Content-Length: 2\r\nExpect: 100-continue\r\n\r\n".utf8),
            timeoutMs: 1000)
        #expect(try readHead(stream) == "HTTP/1.1 100 Continue\r\n\r\n")
        try stream.writeAll(Array("ok".utf8), timeoutMs: 1000)
        #expect(try String(decoding: readToEnd(stream), as: UTF8.self).contains(#""bytes":2"#))
    }

    @Test func requestsByteByByte() throws {
        let fixture = try Fixture()
        let stream = try fixture.connect()
        defer { stream.close() }
        for byte in "POST /upload HTTP/1.1\r\n\(close)Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".utf8 {
            try stream.writeAll([byte], timeoutMs: 1000)
        }
        #expect(try String(decoding: readToEnd(stream), as: UTF8.self).contains("352441c2"))
    }

    /// As a well-behaved program does: it finishes what it has, and says so on the connections it leaves.
    @Test func stopAnswersWhatAKeptConnectionStillBrings() throws {
        let fixture = try Fixture()
        let kept = try fixture.connect()
        try kept.writeAll(Array("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n".utf8), timeoutMs: 1000)
        _ = try readHead(kept)
        #expect(eventually { fixture.server.connectionCount == 1 && fixture.server.busyNumbers.isEmpty })
        let server = fixture.server
        let stopper = try Thread.start(name: "stopper") { server.stop(timeoutMs: 5000) }
        #expect(eventually { server.isStopping })
        try kept.writeAll(Array("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n".utf8), timeoutMs: 1000)
        let rest = try String(decoding: readToEnd(kept), as: UTF8.self)
        #expect(rest.contains("Connection: close\r\n") && rest.contains(#""path":"/2""#))
        kept.close()
        stopper.join()
        #expect(fixture.server.connectionCount == 0)
    }

    @Test func stopLetsARequestFinishAndClosesIdleConnections() throws {
        let fixture = try Fixture()
        let idle = try fixture.connect()
        try idle.writeAll(Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), timeoutMs: 1000)
        _ = try readHead(idle)
        let busy = try fixture.connect()
        try busy.writeAll(Array("GET /slow?ms=60000 HTTP/1.1\r\nHost: x\r\n\r\n".utf8), timeoutMs: 1000)
        // Also while the first is not marked idle yet and the second not read there are two, one of them busy.
        #expect(eventually { fixture.server.connectionCount == 2 && fixture.server.busyNumbers == [2] })
        fixture.server.stop(timeoutMs: 60_000)
        #expect(try String(decoding: readToEnd(busy), as: UTF8.self).contains("Connection: close\r\n"))
        _ = try? readToEnd(idle)
        #expect(fixture.server.connectionCount == 0)
        #expect(throws: SystemError.self) { try fixture.connect().readSome(timeoutMs: 1000) }
    }
}

@Suite struct DemoPageTests {
    @Test(arguments: [0, 1, 63, 64, 65, 131_072, 131_073, 1_000_000])
    func bytes(_ count: Int) throws {
        let fixture = try Fixture()
        let expected = (0..<count).map { DemoPages.pattern[$0 % DemoPages.pattern.count] }
        let stream = try fixture.connect()
        defer { stream.close() }
        try stream.writeAll(Array("GET /bytes/\(count) HTTP/1.1\r\n\(close)\r\n".utf8), timeoutMs: 1000)
        #expect(try readHead(stream).contains("\r\nContent-Length: \(count)\r\n"))
        #expect(try readToEnd(stream) == expected)
    }

    @Test func bytesInChunks() throws {
        let answer = try Fixture().exchange("GET /bytes/200000?chunked=1 HTTP/1.1\r\n\(close)\r\n")
        #expect(answer.contains("Transfer-Encoding: chunked\r\n") && !answer.contains("Content-Length"))
        let framed = body(answer)
        #expect(framed.hasPrefix("20000\r\n0123") && framed.hasSuffix("\r\n0\r\n\r\n"))
        #expect(framed.utf8.count == 200_000 + "20000\r\n\r\n10d40\r\n\r\n0\r\n\r\n".utf8.count)
    }

    @Test(arguments: [
        ("/bytes/x", 400), ("/bytes/-1", 400), ("/bytes/99999999999999", 400), ("/status/200", 200),
        ("/status/299", 299), ("/status/503", 503), ("/status/99", 400), ("/status/101", 400), ("/status/600", 400),
        ("/ws", 426),
    ])
    func statuses(_ path: String, _ status: Int) throws {
        let answer = try Fixture().exchange("GET \(path) HTTP/1.1\r\n\(close)\r\n")
        #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
        #expect(answer.contains("Content-Length: ") && answer.contains("close\r\n"))
    }

    @Test func slowIsSlow() throws {
        let startedNs = Clock.monotonicNs()
        #expect(try Fixture().exchange("GET /slow?ms=200 HTTP/1.1\r\n\(close)\r\n").contains(#""path":"/slow""#))
        #expect(Clock.monotonicNs() - startedNs >= 200_000_000)
    }

    @Test(arguments: ["", "a", "123456789", String(repeating: "0123456789abcdef", count: 5000) + "xyz"])
    func checksumsAgreeHoweverTheyAreCut(_ text: String) {
        let bytes = Array(text.utf8)
        // Bit by bit, as the polynomial says.
        var expected: UInt32 = .max
        for byte in bytes {
            expected ^= UInt32(byte)
            for _ in 0..<8 { expected = expected & 1 == 1 ? expected >> 1 ^ 0xEDB8_8320 : expected >> 1 }
        }
        for size in [1, 7, 8, 100, 65_536] {
            var checksum = Checksum()
            for start in stride(from: 0, to: bytes.count, by: size) {
                Array(bytes[start..<min(start + size, bytes.count)]).withUnsafeBytes { checksum.update(Bytes($0)) }
            }
            #expect(checksum.value == ~expected)
        }
    }
}
