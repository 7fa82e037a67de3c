// Owns the answers of the proxy's own: their form, their framing, and the client's choice between them.

import Testing
import Wire

@Suite("Answers of the proxy's own")
struct StandardResponsesTests {
    @Test("each has a head that parses and a body of the length it tells", arguments: StandardResponses.Format.allCases)
    func framing(format: StandardResponses.Format) throws {
        let message = written {
            StandardResponses.write(
                status: 503, code: "no_task", explanation: "No task of <this> service is \"ready\".",
                requestID: Bytes("0123\"<>"), format: format, closes: true, retryAfterSeconds: 5,
                date: Bytes("Sun, 06 Nov 1994 08:49:37 GMT"), extraLines: Bytes("X: 1\r\n"), into: &$0)
        }
        let head = try #require(parseResponse(bytes(message)).parsed)
        #expect(head.status == 503 && head.reason == "Service Unavailable" && !head.isPersistent)
        let body = text(Array(bytes(message)[head.byteCount...]))
        #expect(head.declaredLength == UInt64(body.unicodeScalars.count))
        #expect(message.contains("Retry-After: 5\r\n") && message.contains("\r\nX: 1\r\n\r\n"))
        #expect(message.contains("Cache-Control: no-store\r\n"))
        switch format {
        case .html:
            #expect(body.contains("&lt;this&gt;") && body.contains("0123&quot;&lt;&gt;") && !body.contains("<this>"))
        case .json:
            #expect(body.contains("\"error\":\"no_task\"") && body.contains("\\\"ready\\\""))
        case .text: #expect(body.hasPrefix("503 Service Unavailable\n"))
        }
    }

    @Test("HEAD gets the head alone; HTTP/1.0 is told that the connection stays")
    func head() throws {
        func answer(isHead: Bool) -> String {
            written {
                StandardResponses.write(
                    status: 404, code: "unknown_path", explanation: "x", isHead: isHead, clientVersion: .http10,
                    into: &$0)
            }
        }
        let whole = answer(isHead: false)
        let head = answer(isHead: true)
        #expect(whole.hasPrefix(head) && whole != head)
        #expect(head.contains("Connection: keep-alive\r\n"))
        #expect(!head.contains("x-request-id"))
    }

    @Test(
        "what the client asked for",
        arguments: [
            ("", StandardResponses.Format.html), ("*/*", .html), ("text/html,application/json", .html),
            ("application/json", .json), ("application/json, text/html", .json), ("application/problem+json", .json),
            ("text/plain", .text), ("text/plain;q=0, application/json", .json), ("text/html; q=0.0, text/plain", .text),
            ("text/html;q=0.1, text/plain", .html), ("image/png, TEXT/PLAIN;charset=x", .text), (",,", .html),
            ("application/jsonx", .html),
        ])
    func accept(accept: String, expected: StandardResponses.Format) {
        #expect(withBytes(accept) { StandardResponses.Format(accept: $0) } == expected)
    }

    @Test("too little room is overflow, and nothing is half sent unseen")
    func overflow() {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 100, alignment: 1)
        defer { memory.deallocate() }
        var writer = ByteWriter(memory)
        StandardResponses.write(status: 400, code: "x", explanation: "y", into: &writer)
        #expect(writer.overflowed)
    }
}

@Suite("Bytes")
struct BytesTests {
    @Test("numbers", arguments: [0, 1, 9, 10, 99, 255, 256, 4096, 65535, 1_000_000, UInt64.max] as [UInt64])
    func numbers(value: UInt64) {
        #expect(written { $0.append(decimal: value) } == String(value))
        #expect(written { $0.append(hex: value) } == String(value, radix: 16))
    }

    @Test("comparison and search")
    func comparison() {
        withBytes("Content-Type") { name in
            #expect(name.equals("Content-Type") && !name.equals("content-type") && !name.equals("Content"))
            #expect(name.equalsIgnoringCase("content-type") && !name.equalsIgnoringCase("content-typf"))
            #expect(name.firstIndex(of: 0x2D) == 7 && name.firstIndex(of: 0x2D, from: 8) == nil)
            #expect(name.hasPrefix("Con") && !name.hasPrefix("con") && !name.hasPrefix("Content-Type-"))
            #expect(name.slice(from: 8).string() == "Type" && name.slice(from: 12).isEmpty)
            #expect(name.slice(ByteSpan(start: 0, count: 7)).string() == "Content")
        }
        // Bytes beyond ASCII have no case here.
        #expect(withBytes("\u{C4}") { upper in withBytes("\u{E4}") { !upper.equalsIgnoringCase($0) } })
    }

    @Test("a view's bounds hold in release builds, too")
    func bounds() async {
        await #expect(processExitsWith: .failure) {
            let memory: [UInt8] = [1, 2, 3]
            memory.withUnsafeBufferPointer { _ = Bytes($0)[3] }
        }
        await #expect(processExitsWith: .failure) {
            let memory: [UInt8] = [1, 2, 3]
            memory.withUnsafeBufferPointer { _ = Bytes($0).slice(ByteSpan(start: 2, count: 2)).count }
        }
    }
}
