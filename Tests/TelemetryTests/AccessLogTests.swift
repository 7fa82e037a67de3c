// Access log lines: their form, what hostile bytes become, the ring and the writer behind it.

import Glibc
import Kernel
import Synchronization
import Testing

@testable import Telemetry

/// Writes a record whose texts are these; pointers live for the call.
private func line(
    _ format: AccessLogFormat, _ texts: [String: [UInt8]],
    _ adjust: (inout AccessRecord) -> Void = { _ in }
)
    -> [UInt8]
{
    let all = texts.sorted { $0.key < $1.key }
    var bytes: [UInt8] = []
    var ranges: [String: Range<Int>] = [:]
    for (key, text) in all {
        ranges[key] = bytes.count..<(bytes.count + text.count)
        bytes += text
    }
    return bytes.withUnsafeBytes { memory in
        func text(_ key: String) -> UnsafeRawBufferPointer {
            UnsafeRawBufferPointer(rebasing: memory[ranges[key] ?? 0..<0])
        }
        var record = AccessRecord()
        record.startedAtNs = 1_795_363_202_125_000_000
        record.clientAddress = text("client")
        record.method = text("method")
        record.target = text("target")
        record.host = text("host")
        record.requestID = text("id")
        record.service = text("service")
        record.upstream = text("upstream")
        record.userAgent = text("agent")
        record.referer = text("referer")
        record.version = "HTTP/1.1"
        record.status = 200
        adjust(&record)
        return withUnsafeTemporaryAllocation(byteCount: AccessLog.maximumLineSize, alignment: 1) {
            buffer in
            let count = AccessLog.write(record, format: format, into: buffer)
            return Array(buffer[..<count])
        }
    }
}

private func string(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

@Suite struct AccessLogTests {
    private let plain: [String: [UInt8]] = [
        "client": Array("192.0.2.1".utf8), "method": Array("GET".utf8), "target": Array("/a?b=c".utf8),
        "host": Array("web.test".utf8), "id": Array("0123".utf8), "service": Array("web".utf8),
        "upstream": Array("10.0.0.1:80".utf8), "agent": Array("curl/8 (x)".utf8),
        "referer": Array("http://r/".utf8),
    ]

    @Test func whatTLSWasLike() {
        func made(_ format: AccessLogFormat, isResumed: Bool) -> String {
            string(
                line(format, plain) {
                    $0.isTLS = true
                    $0.tlsVersion = "1.3"
                    $0.tlsIsResumed = isResumed
                })
        }
        #expect(
            made(.json, isResumed: true).contains(#","scheme":"https","tls":"1.3","tls_resumed":true,"method":"GET","#))
        #expect(made(.json, isResumed: false).contains(#","tls":"1.3","tls_resumed":false,"method""#))
        #expect(made(.clf, isResumed: true) == string(line(.clf, plain)))
    }

    @Test func json() {
        let made = line(.json, plain) {
            $0.clientPort = 4711
            $0.attempts = 1
            $0.bytesOut = 5
            $0.durationUs = 1503
            $0.connectUs = 20
        }
        #expect(
            string(made)
                == #"{"ts":"2026-11-22T16:00:02.125Z","client":"192.0.2.1","client_port":4711,"scheme":"http","#
                + #""method":"GET","host":"web.test","target":"/a?b=c","version":"HTTP/1.1","status":200,"#
                + #""outcome":"ok","request_id":"0123","service":"web","upstream":"10.0.0.1:80","attempts":1,"#
                + #""bytes_in":0,"bytes_out":5,"duration_ms":1.503,"connect_ms":0.020,"upstream_ms":0.000,"#
                + #""user_agent":"curl/8 (x)","referer":"http://r/"}"# + "\n")
    }

    @Test("a TCP connection has no request, in either format")
    func stream() {
        let texts: [String: [UInt8]] = [
            "client": Array("192.0.2.1".utf8), "host": Array("db.test".utf8), "id": Array("0123".utf8),
            "service": Array("db".utf8), "upstream": Array("10.0.0.1:5432".utf8),
        ]
        func made(_ format: AccessLogFormat, isTLS: Bool) -> String {
            string(
                line(format, texts) {
                    $0.isStream = true
                    $0.isTLS = isTLS
                    $0.version = ""
                    $0.status = 0
                    $0.bytesIn = 7
                })
        }
        #expect(
            made(.json, isTLS: true)
                == #"{"ts":"2026-11-22T16:00:02.125Z","client":"192.0.2.1","client_port":0,"scheme":"tls","#
                + #""host":"db.test","outcome":"ok","request_id":"0123","service":"db","upstream":"10.0.0.1:5432","#
                + #""attempts":0,"bytes_in":7,"bytes_out":0,"duration_ms":0.000,"connect_ms":0.000,"#
                + #""upstream_ms":0.000}"# + "\n")
        #expect(made(.json, isTLS: false).contains(#""scheme":"tcp""#))
        #expect(made(.clf, isTLS: false).contains(#"] "TCP - -" 0 0 "-""#))
        #expect(made(.clf, isTLS: true).contains(#""db.test" db 10.0.0.1:5432 ok 0 0.000 0123"#))
    }

    @Test func commonLog() {
        let made = line(.clf, plain) {
            $0.durationUs = 1503
            $0.attempts = 2
        }
        #expect(
            string(made)
                == #"192.0.2.1 - - [22/Nov/2026:16:00:02 +0000] "GET /a?b=c HTTP/1.1" 200 0 "http://r/" "curl/8 (x)" "#
                + #""web.test" web 10.0.0.1:80 ok 2 1.503 0123"# + "\n")
    }

    @Test func whatIsAbsentLeavesItsPlace() {
        #expect(
            string(line(.clf, [:])).contains(
                "\"- - HTTP/1.1\" 200 0 \"-\" \"-\" \"-\" - - ok 0 0.000 -\n"))
        #expect(!string(line(.json, [:])).contains("user_agent"))
        #expect(line(.off, plain).isEmpty)
    }

    /// Bytes a client may send, and what JSON and common log make of them.
    static let hostile: [(bytes: [UInt8], json: String, common: String)] = [
        (Array("a\r\nb".utf8), "a\\r\\nb", "a\\x0d\\x0ab"),
        (Array("\u{1B}[31m".utf8), "\\u001b[31m", "\\x1b[31m"),
        (Array("\"},{\"".utf8), "\\\"},{\\\"", "\\\"},{\\\""),
        (Array("back\\slash".utf8), "back\\\\slash", "back\\\\slash"),
        ([0, 0x7F, 9], "\\u0000\\u007f\\t", "\\x00\\x7f\\x09"),
        (Array("é".utf8), "é", "\\xc3\\xa9"),
        (Array("\u{85}\u{9B}".utf8), "\\u0085\\u009b", "\\xc2\\x85\\xc2\\x9b"),
        ([0xFF, 0x41], "\\ufffdA", "\\xffA"),
        ([0xC0, 0xAF], "\\ufffd\\ufffd", "\\xc0\\xaf"),
        ([0xED, 0xA0, 0x80], "\\ufffd\\ufffd\\ufffd", "\\xed\\xa0\\x80"),
        ([0xF0, 0x9F, 0x98], "\\ufffd\\ufffd\\ufffd", "\\xf0\\x9f\\x98"),
        ([0xF0, 0x9F, 0x98, 0x80], "😀", "\\xf0\\x9f\\x98\\x80"),
        ([0xE2, 0x28, 0xA1], "\\ufffd(\\ufffd", "\\xe2(\\xa1"),
    ]

    @Test(arguments: hostile) func nothingAClientSendsGetsOut(
        _ bytes: [UInt8], _ json: String, _ common: String
    ) {
        for field in ["target", "host", "agent", "referer", "method"] {
            let shownJSON = string(line(.json, [field: bytes]))
            #expect(shownJSON.contains("\"\(json)\""), "\(field)")
            #expect(shownJSON.utf8.filter { $0 == 0x0A }.count == 1)
            let shownCommon = line(.clf, [field: bytes])
            #expect(string(shownCommon).contains(common), "\(field)")
            #expect(shownCommon.dropLast().allSatisfy { (0x20..<0x7F).contains($0) })
            #expect(shownCommon.last == 0x0A)
        }
    }

    @Test func theWorstLineFits() {
        for byte: UInt8 in [0, 0x22, 0x80, 0xFF] {
            var texts: [String: [UInt8]] = [:]
            for key in [
                "client", "method", "target", "host", "id", "service", "upstream", "agent", "referer",
            ] {
                texts[key] = [UInt8](repeating: byte, count: 70_000)
            }
            for format in [AccessLogFormat.json, .clf] {
                let made = line(format, texts) {
                    $0.bytesIn = .max
                    $0.bytesOut = .max
                    $0.durationUs = .max
                    $0.connectUs = .max
                    $0.upstreamUs = .max
                }
                #expect(made.last == 0x0A && made.count > 2000)
            }
        }
    }
}

@Suite struct LogRingTests {
    @Test func linesComeOutWholeAndInOrderAcrossTheEnd() {
        let ring = LogRing(capacity: 4096)
        var expected: [UInt8] = []
        var taken: [UInt8] = []
        for index in 0..<1000 {
            let text = Array("line \(index) \(String(repeating: "x", count: index % 97))\n".utf8)
            expected += text
            #expect(text.withUnsafeBytes { ring.push($0) })
            if index % 7 == 0 { ring.drain { taken += $0 } }
        }
        ring.drain { taken += $0 }
        #expect(taken == expected)
    }

    @Test func aFullRingRefusesAndRecovers() {
        let ring = LogRing(capacity: 4096)
        let half = [UInt8](repeating: 65, count: 2048)
        let pushed = (0..<3).map { _ in half.withUnsafeBytes { ring.push($0) } }
        #expect(pushed == [true, true, false])
        #expect(ring.drain { _ in } == 4096)
        #expect(half.withUnsafeBytes { ring.push($0) })
    }

    /// Threads of the system: each waits for the other, and the pool that runs tests may have only one to give.
    @Test func twoThreads() throws {
        let ring = LogRing(capacity: 4096)
        let sum = Mutex((bytes: 0, lines: 0))
        let reader = try Thread.start(name: "reader") {
            var bytes = 0
            var lines = 0
            while lines < 50_000 {
                ring.drain { piece in
                    bytes += piece.count
                    lines += piece.count { $0 == 0x0A }
                }
            }
            sum.withLock { $0 = (bytes, lines) }
        }
        var pushed = 0
        for index in 0..<50_000 {
            let text = Array("\(index)\n".utf8)
            while !text.withUnsafeBytes({ ring.push($0) }) {}
            pushed += text.count
        }
        reader.join()
        let (bytes, lines) = sum.withLock { $0 }
        #expect(bytes == pushed && lines == 50_000)
    }

    @Test func theWriterAppendsAndReopens() throws {
        let directory = "/tmp/interlock-log-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        mkdir(directory, 0o700)
        defer {
            unlink(directory + "/log")
            unlink(directory + "/log.1")
            rmdir(directory)
        }
        let ring = LogRing(capacity: 4096)
        let writer = try AccessLogWriter(rings: [ring], path: directory + "/log")
        func push(_ text: String) { #expect(Array(text.utf8).withUnsafeBytes { ring.push($0) }) }
        push("one\n")
        #expect(writer.drain() == 4)
        rename(directory + "/log", directory + "/log.1")
        push("two\n")
        writer.drain()
        writer.reopen()
        push("three\n")
        writer.stop()
        writer.run()
        #expect(content(directory + "/log.1") == "one\ntwo\n")
        #expect(content(directory + "/log") == "three\n")
        #expect(writer.failureCount == 0)
    }

    @Test func aPathThatCannotBeOpenedIsSaid() {
        #expect { try AccessLogWriter(rings: [], path: "/nonexistent/log") } throws: { error in
            "\(error)" == "/nonexistent/log: No such file or directory"
        }
    }

    private func content(_ path: String) -> String {
        let file = fopen(path, "r")
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
