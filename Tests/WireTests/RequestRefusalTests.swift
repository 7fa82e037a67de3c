// Owns the table of requests that are refused: what smugglers send, each with the reason and the status it gets.
// Every row is judged whole and cut at every byte.

import Testing
import Wire

struct RefusedRequest: CustomTestStringConvertible, Sendable {
    let message: String
    let reason: Refusal.Reason
    let status: UInt16

    init(_ message: String, _ reason: Refusal.Reason, _ status: UInt16 = 400) {
        self.message = message
        self.reason = reason
        self.status = status
    }

    /// A request that is good but for these field lines.
    init(fields: String, _ reason: Refusal.Reason, _ status: UInt16 = 400) {
        self.init("POST / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n\r\n", reason, status)
    }

    var testDescription: String { message.debugDescription }
}

@Suite("Requests that are refused")
struct RequestRefusalTests {
    static let framing: [RefusedRequest] = [
        // Both lengths.
        RefusedRequest(fields: "Content-Length: 5\r\nTransfer-Encoding: chunked", .lengthAndEncoding),
        RefusedRequest(fields: "Transfer-Encoding: chunked\r\nContent-Length: 5", .lengthAndEncoding),
        RefusedRequest(fields: "Transfer-Encoding: chunked\r\nContent-Length: 0", .lengthAndEncoding),
        // Two lengths.
        RefusedRequest(fields: "Content-Length: 5\r\nContent-Length: 6", .contentLengthConflict),
        RefusedRequest(fields: "Content-Length: 0\r\ncontent-length: 1", .contentLengthConflict),
        RefusedRequest(fields: "Content-Length: 5, 6", .badContentLength),
        RefusedRequest(fields: "Content-Length: 5, 5", .badContentLength),
        // No number.
        RefusedRequest(fields: "Content-Length: +5", .badContentLength),
        RefusedRequest(fields: "Content-Length: -1", .badContentLength),
        RefusedRequest(fields: "Content-Length: 0x5", .badContentLength),
        RefusedRequest(fields: "Content-Length: 5_0", .badContentLength),
        RefusedRequest(fields: "Content-Length: 5 6", .badContentLength),
        RefusedRequest(fields: "Content-Length:", .badContentLength),
        RefusedRequest(fields: "Content-Length: ", .badContentLength),
        RefusedRequest(fields: "Content-Length: 5,", .badContentLength),
        RefusedRequest(fields: "Content-Length: ,5", .badContentLength),
        RefusedRequest(fields: "Content-Length: 5;a=b", .badContentLength),
        RefusedRequest(fields: "Content-Length: \"5\"", .badContentLength),
        RefusedRequest(fields: "Content-Length: 1e3", .badContentLength),
        RefusedRequest(fields: "Content-Length: \u{B2}", .badContentLength),
        RefusedRequest(fields: "Content-Length: \u{0B}5", .badFieldValue),
        RefusedRequest(fields: "Content-Length: 9223372036854775808", .badContentLength),
        RefusedRequest(fields: "Content-Length: 18446744073709551616", .badContentLength),
        RefusedRequest(fields: "Content-Length: 18446744073709551621", .badContentLength),
        RefusedRequest(fields: "Content-Length: 99999999999999999999999", .badContentLength),
        // Encodings.
        RefusedRequest(fields: "Transfer-Encoding: xchunked", .unknownTransferCoding, 501),
        RefusedRequest(fields: "Transfer-Encoding: identity", .unknownTransferCoding, 501),
        RefusedRequest(fields: "Transfer-Encoding: gzip", .unknownTransferCoding, 501),
        RefusedRequest(fields: "Transfer-Encoding: chunked, identity", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: gzip, chunked", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: chunked, chunked", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: chunked;a=b", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: ,chunked", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: chunked,", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: \"chunked\"", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: chun ked", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding:", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: \u{A0}chunked", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: chunked\u{A0}", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: chun\u{212A}".replacingKelvin, .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: \u{0B}chunked", .badFieldValue),
        RefusedRequest(fields: "Transfer-Encoding:\u{0C}chunked", .badFieldValue),
        RefusedRequest(fields: "Transfer-Encoding: chunked\u{00}", .badFieldValue),
        RefusedRequest(fields: "Transfer-Encoding:\r\n chunked", .badTransferEncoding),
        RefusedRequest(fields: "Transfer-Encoding: chunked\r\n ", .foldedField),
        RefusedRequest(fields: "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", .badTransferEncoding),
        RefusedRequest(
            fields: "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", .badTransferEncoding),
        RefusedRequest(
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", .encodingInHTTP10),
    ]

    static let fields: [RefusedRequest] = [
        RefusedRequest(fields: "Content-Length : 5", .spaceBeforeColon),
        RefusedRequest(fields: "Transfer-Encoding\t: chunked", .spaceBeforeColon),
        RefusedRequest(fields: "X Y: 5", .spaceBeforeColon),
        RefusedRequest(fields: " Content-Length: 5", .foldedField),
        RefusedRequest(fields: "X: 1\r\n folded", .foldedField),
        RefusedRequest(fields: "X: 1\r\n\tfolded", .foldedField),
        RefusedRequest("GET / HTTP/1.1\r\n Host: a\r\n\r\n", .foldedField),
        RefusedRequest(fields: ":x", .badFieldName),
        RefusedRequest(fields: ": x", .badFieldName),
        RefusedRequest(fields: "X", .badFieldName),
        RefusedRequest(fields: "X\u{00}: 1", .badFieldName),
        RefusedRequest(fields: "X\u{01}Y: 1", .badFieldName),
        RefusedRequest(fields: "X\u{7F}: 1", .badFieldName),
        RefusedRequest(fields: "X\u{E9}: 1", .badFieldName),
        RefusedRequest(fields: "X(: 1", .badFieldName),
        RefusedRequest(fields: "X): 1", .badFieldName),
        RefusedRequest(fields: "X,: 1", .badFieldName),
        RefusedRequest(fields: "X/: 1", .badFieldName),
        RefusedRequest(fields: "a-long-enough-name;: 1", .badFieldName),
        RefusedRequest(fields: "[a-long-enough-name: 1", .badFieldName),
        RefusedRequest(fields: "x-forwarded-(: 1", .badFieldName),
        RefusedRequest(fields: "x-ssl-client-@: 1", .badFieldName),
        // A dash and a carriage return differ in one bit only.
        RefusedRequest(fields: "Content\rLength: 5", .badFieldName),
        RefusedRequest(fields: "Transfer\rEncoding: chunked", .badFieldName),
        RefusedRequest(fields: "X: a\u{00}b", .badFieldValue),
        RefusedRequest(fields: "X: a\u{1B}[0m", .badFieldValue),
        RefusedRequest(fields: "X: a long enough value \u{7F}", .badFieldValue),
        RefusedRequest(fields: "X: a\rb", .bareCarriageReturn),
        RefusedRequest(fields: "X: a\r", .bareCarriageReturn),
        RefusedRequest(fields: "X: a\nY: b", .bareLineFeed),
        RefusedRequest(fields: "X: \n", .bareLineFeed),
        RefusedRequest("GET / HTTP/1.1\r\nHost: a\r\n\n", .bareLineFeed),
        RefusedRequest("GET / HTTP/1.1\r\nHost: a\n\r\n", .bareLineFeed),
        RefusedRequest("GET / HTTP/1.1\r\nHost: a\r\n\rX", .bareCarriageReturn),
        RefusedRequest("GET / HTTP/1.1\r\nHost: a\r\nX\n\r\n", .bareLineFeed),
        RefusedRequest(fields: "Expect: 200-ok", .unknownExpectation, 417),
        RefusedRequest(fields: "Expect: 100-continue, x", .unknownExpectation, 417),
        RefusedRequest(fields: "Connection: \"close\"", .badConnection),
        RefusedRequest(fields: "Connection: a b", .badConnection),
        RefusedRequest(
            fields: "Connection: " + (0..<33).map { "x\($0)" }.joined(separator: ","), .badConnection),
        RefusedRequest("TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n", .badMaxForwards),
        RefusedRequest(
            "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\nMax-Forwards: 2\r\n\r\n", .badMaxForwards),
    ]

    static let lines: [RefusedRequest] = [
        RefusedRequest("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
        RefusedRequest("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .bareLineFeed),
        RefusedRequest("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", .bareCarriageReturn),
        RefusedRequest(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
        RefusedRequest("GET / HTTP/1.1\nHost: a\n\n", .bareLineFeed),
        RefusedRequest("GET / HTTP/1.1\rHost: a\r\n\r\n", .bareCarriageReturn),
        RefusedRequest("GET  / HTTP/1.1\r\n\r\n", .badRequestLine),
        RefusedRequest("GET\t/ HTTP/1.1\r\n\r\n", .badMethod),
        RefusedRequest("GET / HTTP/1.1 \r\n\r\n", .badVersion),
        RefusedRequest("GET /  HTTP/1.1\r\n\r\n", .badVersion),
        RefusedRequest("GET / x HTTP/1.1\r\n\r\n", .badVersion),
        RefusedRequest("GET /\r\n", .badVersion),
        RefusedRequest("GET /\n", .bareLineFeed),
        RefusedRequest("GET\r\n", .badMethod),
        RefusedRequest("G(T / HTTP/1.1\r\n\r\n", .badMethod),
        RefusedRequest("G\u{E9}T / HTTP/1.1\r\n\r\n", .badMethod),
        RefusedRequest(String(repeating: "A", count: 33) + " / HTTP/1.1\r\n\r\n", .badMethod),
        RefusedRequest(String(repeating: "A", count: 4096) + " / HTTP/1.1\r\n\r\n", .badMethod),
        RefusedRequest("\u{16}\u{03}\u{01}\u{02}\u{00}", .badMethod),
        RefusedRequest("GET / http/1.1\r\n\r\n", .badVersion),
        RefusedRequest("GET / HTTP/1.\r\n\r\n", .badVersion),
        RefusedRequest("GET / HTTP/01.1\r\n\r\n", .badVersion),
        RefusedRequest("GET / HTTP/1.10\r\n\r\n", .badVersion),
        RefusedRequest("GET / HTTP/1,1\r\n\r\n", .badVersion),
        RefusedRequest("GET / HTTP/0.9\r\n\r\n", .badVersion),
        RefusedRequest("GET / HTTP/x.1\r\n\r\n", .badVersion),
        RefusedRequest("GET / HTTPS/1.1\r\n\r\n", .badVersion),
        RefusedRequest("GET / HTTP/2.0\r\nHost: a\r\n\r\n", .unsupportedVersion, 505),
        RefusedRequest("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .badTarget),
        RefusedRequest("GET / HTTP/3.0\r\n\r\n", .unsupportedVersion, 505),
    ]

    static let targets: [RefusedRequest] = [
        RefusedRequest("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", .connectRefused, 405),
        RefusedRequest("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", .connectRefused, 405),
        RefusedRequest("GET * HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET index.html HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET ?q HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET \\admin HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET /a\u{00} HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET /caf\u{E9} HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET /\u{C0}\u{AE} HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET /long-enough-for-a-word\u{7F} HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET file:///etc HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        RefusedRequest("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", .badHost),
        RefusedRequest("GET http://?x HTTP/1.1\r\nHost: a\r\n\r\n", .badHost),
        RefusedRequest("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", .badHost),
        RefusedRequest("GET http://user:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", .badHost),
        RefusedRequest("GET http://a:0/ HTTP/1.1\r\nHost: a\r\n\r\n", .badHost),
        RefusedRequest("GET http://a,b/ HTTP/1.1\r\nHost: a\r\n\r\n", .badHost),
        RefusedRequest("GET http://a%2eb/ HTTP/1.1\r\nHost: a\r\n\r\n", .badHost),
    ]

    static let hosts: [RefusedRequest] =
        [
            RefusedRequest("GET / HTTP/1.1\r\n\r\n", .missingHost),
            RefusedRequest("GET http://a/ HTTP/1.1\r\n\r\n", .missingHost),
            RefusedRequest("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", .duplicateHost),
            RefusedRequest("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", .duplicateHost),
            RefusedRequest("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", .duplicateHost),
        ]
        + [
            "", " ", "a,b", "a, b", "a b", "user@a", "a/b", "a/", "http://a", "a?b", "a#b", "a\\b", "a:b",
            "a:0", "a:65536", "a:100000", "a:+80", "a:8 0", "a:80:80", ".", "..", ".a", "a..b", "a..", ":80",
            "[", "[]", "[::1", "::1", "[::1]x", "[::1%25eth0]", "[::g]", "[1.2.3.4]", "[:::]", "a_b!", "*",
            "a%2eb", "a;b", "abcdefg..h", "abcdefgh..i", "abcdef..example", "a.example..", ".example.com",
            "example.com!x",
            "example.c\u{E9}m", "example.com/x", "example,com.example", "a'b", "a\"b", "a<b", "a\u{7C}b", "\u{FC}ml",
            "a\u{00}b",
            String(repeating: "a.", count: 128) + "a",
        ].map { host in
            RefusedRequest(
                "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n", host == "a\u{00}b" ? .badFieldValue : .badHost)
        }

    @Test("whole and however cut", arguments: framing + fields + lines + targets + hosts)
    func refused(row: RefusedRequest) {
        let expected = RequestOutcome.refused(row.status, row.reason)
        let message = bytes(row.message)
        #expect(parseRequest(message) == expected)
        for cut in 1..<message.count {
            #expect(parseRequest(message, portions: [cut, message.count]) == expected, "cut at \(cut)")
        }
        #expect(parseRequest(message, portions: Array(1...message.count)) == expected, "byte by byte")
    }

    @Test("every reason has a code of its own")
    func codes() {
        let codes = Refusal.Reason.allCases.map { $0.code.description }
        #expect(Set(codes).count == codes.count)
        for code in codes {
            #expect(code.utf8.allSatisfy { $0 == 0x5F || (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) })
        }
        for reason in Refusal.Reason.allCases { #expect((400...505).contains(reason.status)) }
    }
}

extension String {
    /// U+212A is the Kelvin sign, which Unicode folds to `k`; rows hold bytes, so its UTF-8 form is put in.
    fileprivate var replacingKelvin: String {
        components(separatedBy: "\u{212A}").joined(separator: "\u{E2}\u{84}\u{AA}ed")
    }
}
