// Owns the tables of bodies: where they end, what is refused, what of a trailer passes. Every row is decoded whole,
// cut at every byte, and byte by byte, and must come out the same.

import Testing
import Wire

struct DecodedBody: Equatable {
    var data = ""
    var trailers = ""
    /// Bytes of the input that belong to the body.
    var byteCount = 0
    var isComplete = false
    var refusal: Refusal?
}

func decode(
    _ array: [UInt8], _ length: BodyLength, portions: [Int]? = nil, limits: BodyLimits = BodyLimits(),
    announced: String = "", endsInput: Bool = false
) -> DecodedBody {
    var decoder = withBytes(announced) { BodyDecoder(length, limits: limits, announced: $0) }
    var body = DecodedBody()
    var data: [UInt8] = []
    var start = 0
    pieces: for end in portions ?? [array.count] {
        let isDone = withBytes(Array(array[start..<end])) { input -> Bool in
            var position = 0
            defer { body.byteCount = start + position }
            while true {
                switch decoder.next(input, position: &position) {
                case .data(let span):
                    #expect(!span.isEmpty)
                    data += input.slice(span).array()
                case .needMore:
                    #expect(position == input.count)
                    return false
                case .end: return true
                case .refused(let refusal):
                    body.refusal = refusal
                    return true
                }
            }
        }
        if isDone { break pieces }
        start = end
    }
    body.data = text(data)
    #expect(decoder.received == UInt64(data.count))
    body.trailers = text(decoder.trailers)
    #expect(decoder.hasTrailers == !body.trailers.isEmpty)
    body.isComplete = endsInput ? decoder.endOfInput() : decoder.isComplete
    return body
}

@Suite("Bodies")
struct BodyDecoderTests {
    @Test("a declared length is taken exactly, and nothing behind it")
    func length() {
        let input = bytes("helloGET / HTTP/1.1")
        for cut in 1...input.count {
            let body = decode(input, .length(5), portions: [cut, input.count])
            #expect(body == DecodedBody(data: "hello", byteCount: 5, isComplete: true))
        }
        #expect(decode(input, .none) == DecodedBody(isComplete: true))
        #expect(decode(input, .length(0)) == DecodedBody(isComplete: true))
        #expect(decode(bytes("hell"), .length(5), endsInput: true).isComplete == false)
    }

    @Test("until the close, the close is the end")
    func untilClose() {
        #expect(decode(bytes("hello"), .untilClose) == DecodedBody(data: "hello", byteCount: 5))
        #expect(decode(bytes("hello"), .untilClose, endsInput: true).isComplete)
        #expect(decode([], .untilClose, endsInput: true).isComplete)
        #expect(!decode(bytes("5\r\nhello\r\n"), .chunked, endsInput: true).isComplete)
        #expect(!decode(bytes("5\r\nhello\r\n0\r\n"), .chunked, endsInput: true).isComplete)
    }

    struct Chunked: CustomTestStringConvertible, Sendable {
        let input: String
        let data: String
        var trailers = ""
        var announced = ""
        var testDescription: String { input.debugDescription }
    }

    static let good: [Chunked] = [
        Chunked(input: "0\r\n\r\n", data: ""),
        Chunked(input: "5\r\nhello\r\n0\r\n\r\n", data: "hello"),
        Chunked(input: "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", data: "hello world"),
        Chunked(input: "A\r\n0123456789\r\n00\r\n\r\n", data: "0123456789"),
        Chunked(input: "a\r\n0123456789\r\n0\r\n\r\n", data: "0123456789"),
        Chunked(input: "0000000000000005\r\nhello\r\n0\r\n\r\n", data: "hello"),
        Chunked(input: "2\r\n\r\n\r\n0\r\n\r\n", data: "\r\n"),
        // Extensions are dropped.
        Chunked(input: "5;a\r\nhello\r\n0;z\r\n\r\n", data: "hello"),
        Chunked(input: "5;a=b;c=\"d\";e=\"\"\r\nhello\r\n0\r\n\r\n", data: "hello"),
        Chunked(input: "5;a=\"\\\"; \\\\\t\u{80}\"\r\nhello\r\n0\r\n\r\n", data: "hello"),
        // Trailers: announced and harmless ones pass, written canonically.
        Chunked(input: "0\r\nX-Sum: 1\r\n\r\n", data: ""),
        Chunked(input: "0\r\nx-sum:1 \r\n\r\n", data: "", trailers: "x-sum: 1\r\n", announced: "X-Sum"),
        Chunked(
            input: "0\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n\r\n", data: "", trailers: "X-A: 1\r\nX-C: 3\r\n",
            announced: "x-c,, X-A"),
        Chunked(
            input: "0\r\nGrpc-Status: 0\r\nGrpc-Message:\r\n\r\n", data: "",
            trailers: "Grpc-Status: 0\r\nGrpc-Message: \r\n", announced: "grpc-status, grpc-message"),
    ]

    /// Names that mean something after all.
    static let harmful: [Chunked] = [
        "Content-Length", "Transfer-Encoding", "Host", "Authorization", "Content-Type", "Content-Encoding", "Trailer",
        "TE", "Connection", "Cookie", "Set-Cookie", "Cache-Control", "Expect", "Max-Forwards", "If-Match", "Range",
        "X-Forwarded-For", "X-Forwarded-Anything", "X-Real-IP", "Forwarded", "Via", "X-Request-ID", "Client-Cert",
        "X-SSL-Client-Verify", "Content_Length", "my_name", "Age", "Vary", "Location", "Proxy-Authorization",
        "WWW-Authenticate", "Access-Control-Allow-Origin", "Date", "Server", "X-Accel-Redirect",
    ].map { name in
        Chunked(
            input: "0\r\n\(name): 1\r\nX-Ok: 2\r\n\r\n", data: "", trailers: "X-Ok: 2\r\n",
            announced: "\(name), X-Ok")
    }

    @Test("chunked, whole and however cut", arguments: good + harmful)
    func chunked(row: Chunked) {
        let input = bytes(row.input)
        let expected = DecodedBody(
            data: row.data, trailers: row.trailers, byteCount: input.count, isComplete: true)
        let followed = input + bytes("GET / HTTP/1.1\r\n")
        #expect(decode(followed, .chunked, announced: row.announced) == expected)
        for cut in 1..<input.count {
            #expect(decode(followed, .chunked, portions: [cut, followed.count], announced: row.announced) == expected)
            #expect(!decode(Array(input[..<cut]), .chunked, announced: row.announced).isComplete)
        }
        let single = decode(input, .chunked, portions: Array(1...input.count), announced: row.announced)
        #expect(single == expected)
    }

    /// The first line of a body that would be good otherwise.
    static let badSizes: [(String, Refusal.Reason)] = [
        ("0x5", .badChunkSize), ("5 ", .badChunkSize), (" 5", .badChunkSize), ("+5", .badChunkSize),
        ("-1", .badChunkSize), ("5_", .badChunkSize), ("00000000000000005", .badChunkSize), ("G", .badChunkSize),
        ("\t5", .badChunkSize), ("5\t", .badChunkSize), ("5,5", .badChunkSize), ("\u{FF}", .badChunkSize),
        ("8000000000000000", .badChunkSize), ("FFFFFFFFFFFFFFFF", .badChunkSize), ("", .badChunkSize),
        ("5\u{00}", .badChunkSize), ("5.0", .badChunkSize),
        (";a", .badChunkSize), ("5;", .badChunkExtension), ("5;a;", .badChunkExtension),
        ("5;=b", .badChunkExtension), ("5;a=", .badChunkExtension), ("5;a=b c", .badChunkExtension),
        ("5; a", .badChunkExtension), ("5 ;a", .badChunkSize), ("5;a =b", .badChunkExtension),
        ("5;a=\"b", .badChunkExtension), ("5;a=\"b\"c", .badChunkExtension), ("5;a\u{00}", .badChunkExtension),
        ("5;a=\"\u{01}\"", .badChunkExtension), ("5;a=\"\\\u{7F}\"", .badChunkExtension),
        ("5;a=\"\r\nhello", .badChunkExtension), ("5;a=\"b\\", .badChunkExtension),
        ("5;a=b,c", .badChunkExtension), ("5;\u{E9}", .badChunkExtension),
        ("5;" + String(repeating: "a", count: 4096), .chunkOverhead),
    ]

    static let badLines: [RefusedRequest] = [
        RefusedRequest("5\nhello\r\n0\r\n\r\n", .bareLineFeed),
        RefusedRequest("\nhello", .bareLineFeed),
        RefusedRequest("5;a\nhello\r\n0\r\n\r\n", .bareLineFeed),
        RefusedRequest("5;a=b\nhello\r\n0\r\n\r\n", .bareLineFeed),
        RefusedRequest("5;\nhello\r\n0\r\n\r\n", .bareLineFeed),
        RefusedRequest("5\rhello\r\n0\r\n\r\n", .bareCarriageReturn),
        RefusedRequest("5\r\nhello\n0\r\n\r\n", .bareLineFeed),
        RefusedRequest("5\r\nhello\r0\r\n\r\n", .badChunkEnd),
        RefusedRequest("5\r\nhello0\r\n\r\n", .badChunkEnd),
        RefusedRequest("5\r\nhello!\r\n0\r\n\r\n", .badChunkEnd),
        RefusedRequest("5\r\nhell\r\n0\r\n\r\n", .bareLineFeed),
        RefusedRequest("5\r\nhello\r\n\r\n", .badChunkSize),
        RefusedRequest("0\r\n\n", .bareLineFeed),
        RefusedRequest("0\r\n\rX", .bareCarriageReturn),
        RefusedRequest("0\r\nX: 1\n\r\n", .bareLineFeed),
        RefusedRequest("0\r\nX: 1\rY\n\r\n", .bareCarriageReturn),
        RefusedRequest("0\r\n X: 1\r\n\r\n", .foldedField),
        RefusedRequest("0\r\nX: 1\r\n Y\r\n\r\n", .foldedField),
        RefusedRequest("0\r\nX : 1\r\n\r\n", .spaceBeforeColon),
        RefusedRequest("0\r\n: 1\r\n\r\n", .badFieldName),
        RefusedRequest("0\r\nGET / HTTP/1.1\r\n\r\n", .spaceBeforeColon),
        RefusedRequest("0\r\nX: \u{00}\r\n\r\n", .badFieldValue),
        RefusedRequest(
            "0\r\n" + String(repeating: "X: 1\r\n", count: 33) + "\r\n", .trailersTooLarge, 431),
        RefusedRequest(
            "0\r\nX: " + String(repeating: "1", count: 8192) + "\r\n\r\n", .trailersTooLarge, 431),
    ]

    static let bad = badSizes.map { RefusedRequest($0.0 + "\r\nhello\r\n0\r\n\r\n", $0.1) } + badLines

    @Test("bad chunks, whole and however cut", arguments: bad)
    func refused(row: RefusedRequest) {
        let input = bytes(row.message)
        let whole = decode(input, .chunked)
        #expect(whole.refusal == Refusal(status: row.status, reason: row.reason))
        let stride = max(1, input.count / 256)
        for cut in Swift.stride(from: 1, to: input.count, by: stride) {
            #expect(decode(input, .chunked, portions: [cut, input.count]) == whole, "cut at \(cut)")
        }
        #expect(decode(input, .chunked, portions: Array(1...input.count)) == whole, "byte by byte")
        let upstream = decode(input, .chunked, limits: BodyLimits(isResponse: true))
        #expect(upstream.refusal == Refusal(status: 502, reason: row.reason))
    }

    @Test("extensions may cost a message so much and no more")
    func overhead() {
        let limits = BodyLimits(extensionAllowance: 1024)
        func message(chunkSize: Int, count: Int, extension text: String) -> [UInt8] {
            let line = bytes(String(chunkSize, radix: 16) + ";" + text + "\r\n")
            let chunk = line + [UInt8](repeating: 0x78, count: chunkSize) + [0x0D, 0x0A]
            return [UInt8]((0..<count).map { _ in chunk }.joined()) + bytes("0\r\n\r\n")
        }
        // What a signing client says with each chunk: fine with large ones, not with small ones.
        let signature = "chunk-signature=" + String(repeating: "f", count: 64)
        #expect(decode(message(chunkSize: 8192, count: 64, extension: signature), .chunked, limits: limits).isComplete)
        let small = decode(message(chunkSize: 1024, count: 64, extension: signature), .chunked, limits: limits)
        #expect(small.refusal?.reason == .chunkOverhead)
        let tiny = decode(message(chunkSize: 1, count: 2000, extension: "a"), .chunked, limits: limits)
        #expect(tiny.refusal?.reason == .chunkOverhead)
    }

    @Test("a pipelined request behind a body is left untouched")
    func pipelined() throws {
        let message = bytes(
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nX: 1\r\n"
                + "\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n")
        let first = try #require(parseRequest(message).parsed)
        var rest = Array(message[first.byteCount...])
        let body = decode(rest, first.body)
        #expect(body.data.hasPrefix("GET /smuggled") && body.byteCount == 30)
        rest.removeFirst(body.byteCount)
        let second = try #require(parseRequest(rest).parsed, "\(text(rest).debugDescription)")
        #expect(second.path == "/2" && second.host == "b")
    }
}
