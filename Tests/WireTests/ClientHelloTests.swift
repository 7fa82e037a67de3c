// Owns the tables of first TLS records: which host a hello names, and which hellos are refused.

import Testing
import Wire

/// Builds hellos, good ones and others.
struct HelloBuilder {
    var serverNames: [[UInt8]] = []
    var nameKind: UInt8 = 0
    var otherExtensions: [(UInt16, [UInt8])] = [
        (0x2A2A, []), (0x000A, [0, 2, 0, 0x1D]), (0x0010, [0, 3, 2, 0x68, 0x32]),
    ]
    var hasExtensions = true
    var suites: [UInt8] = [0x1A, 0x1A, 0x13, 0x01]
    var session: [UInt8] = [UInt8](repeating: 7, count: 32)
    var compressions: [UInt8] = [0]
    var padding = 0

    static func vector(_ size: Int, _ content: [UInt8]) -> [UInt8] {
        (0..<size).reversed().map { UInt8(truncatingIfNeeded: content.count >> ($0 * 8)) } + content
    }

    func handshake() -> [UInt8] {
        var body: [UInt8] = [3, 3] + [UInt8](repeating: 1, count: 32)
        body += Self.vector(1, session) + Self.vector(2, suites) + Self.vector(1, compressions)
        if hasExtensions {
            var extensions: [UInt8] = []
            for (kind, value) in otherExtensions {
                extensions += [UInt8(kind >> 8), UInt8(kind & 255)] + Self.vector(2, value)
            }
            for name in serverNames {
                extensions += [0, 0] + Self.vector(2, Self.vector(2, [nameKind] + Self.vector(2, name)))
            }
            if padding > 0 { extensions += [0, 21] + Self.vector(2, [UInt8](repeating: 0, count: padding)) }
            body += Self.vector(2, extensions)
        }
        return [1] + Self.vector(3, body)
    }

    /// The handshake in records of at most `size` bytes.
    func records(size: Int = 16384) -> [UInt8] {
        var rest = handshake()[...]
        var records: [UInt8] = []
        while !rest.isEmpty {
            records += [22, 3, 1] + Self.vector(2, Array(rest.prefix(size)))
            rest = rest.dropFirst(size)
        }
        return records
    }

    static func named(_ name: String) -> HelloBuilder {
        var builder = HelloBuilder()
        builder.serverNames = [bytes(name)]
        return builder
    }
}

enum HelloOutcome: Equatable {
    case named(String, ech: Bool)
    case incomplete, refused
}

func peek(_ array: [UInt8]) -> HelloOutcome {
    withBytes(array) { input in
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: ClientHello.sizeLimit, alignment: 1)
        defer { scratch.deallocate() }
        switch ClientHello.parse(input, scratch: scratch) {
        case .complete(let name, let ech): return .named(text(name.array()), ech: ech)
        case .incomplete: return .incomplete
        case .refused: return .refused
        }
    }
}

@Suite("ClientHello")
struct ClientHelloTests {
    @Test(
        "the name is found, however cut",
        arguments: [
            ("a.example", "a.example"), ("A.Example", "A.Example"), ("a.example.", "a.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ])
    func name(given: String, found: String) {
        let builder = HelloBuilder.named(given)
        let expected = HelloOutcome.named(found, ech: false)
        let whole = builder.records()
        #expect(peek(whole) == expected)
        #expect(peek(whole + [20, 3, 3, 0, 1, 1]) == expected)
        for cut in 0..<whole.count { #expect(peek(Array(whole[..<cut])) == .incomplete, "cut at \(cut)") }
        for size in [1, 2, 3, 4, 5, 7, 50, 100] {
            let records = builder.records(size: size)
            #expect(peek(records) == expected, "records of \(size)")
            for cut in stride(from: 0, to: records.count, by: 13) {
                #expect(peek(Array(records[..<cut])) == .incomplete)
            }
        }
    }

    @Test("no name, no extensions, ECH, padding")
    func variants() {
        var builder = HelloBuilder()
        #expect(peek(builder.records()) == .named("", ech: false))
        builder.hasExtensions = false
        #expect(peek(builder.records()) == .named("", ech: false))
        builder = .named("outer.example")
        builder.otherExtensions.append((0xFE0D, [0, 1, 2]))
        #expect(peek(builder.records()) == .named("outer.example", ech: true))
        builder.padding = 12000
        #expect(peek(builder.records()) == .named("outer.example", ech: true))
        builder.padding = 17000
        #expect(peek(builder.records()) == .refused)
        #expect(peek(builder.records(size: 4000)) == .refused)
    }

    @Test(
        "names that are none",
        arguments: [
            "", ".", "a..b", "a\u{00}b", "a b", "a:443", "a:", "1.2.3.4", "1.2.3.4.",
            "::1", "[::1]", "a/b", "a_b\u{E9}", "a,b",
            String(repeating: "a.", count: 128) + "a",
        ])
    func badNames(name: String) {
        #expect(peek(HelloBuilder.named(name).records()) == .refused)
    }

    @Test("two names, two name extensions, twice the same extension")
    func duplicates() {
        var builder = HelloBuilder()
        builder.serverNames = [bytes("a"), bytes("b")]
        #expect(peek(builder.records()) == .refused)
        builder = .named("a")
        builder.otherExtensions.append((0x0010, [0, 3, 2, 0x68, 0x32]))
        #expect(peek(builder.records()) == .refused)
        builder = .named("a")
        builder.nameKind = 1
        #expect(peek(builder.records()) == .refused)
        builder = .named("a")
        builder.otherExtensions = (0..<70).map { (UInt16(100 + $0), []) }
        #expect(peek(builder.records()) == .refused)
        let list = HelloBuilder.vector(
            2, [0] + HelloBuilder.vector(2, bytes("a")) + [0] + HelloBuilder.vector(2, bytes("b")))
        builder = HelloBuilder()
        builder.otherExtensions = [(0, list)]
        #expect(peek(builder.records()) == .refused)
        builder.otherExtensions = [(0, [])]
        #expect(peek(builder.records()) == .refused)
    }

    @Test("broken bodies")
    func broken() {
        var builder = HelloBuilder.named("a")
        builder.suites = []
        #expect(peek(builder.records()) == .refused)
        builder = .named("a")
        builder.suites = [1]
        #expect(peek(builder.records()) == .refused)
        builder = .named("a")
        builder.compressions = []
        #expect(peek(builder.records()) == .refused)
        builder = .named("a")
        builder.session = [UInt8](repeating: 0, count: 33)
        #expect(peek(builder.records()) == .refused)
        // A length byte that claims one more, or one less, wherever it is.
        let whole = HelloBuilder.named("a.example").handshake()
        for index in [38, 71, 72, 77, 79, 80] {
            for change in [UInt8(1), 255] {
                var handshake = whole
                handshake[index] &+= change
                #expect(
                    peek([22, 3, 1] + HelloBuilder.vector(2, handshake))
                        != peek([22, 3, 1] + HelloBuilder.vector(2, whole)))
            }
        }
    }

    @Test(
        "what is no hello is refused at once",
        arguments: [
            [0x80, 0x2E, 1], bytes("GET / HTTP/1.1\r\n"), [21, 3, 1, 0, 2, 2, 40], [22, 2], [22, 3, 5],
            [22, 3, 1, 0, 0],
            [22, 3, 1, 0x40, 1], [22, 3, 1, 0, 4, 2], [22, 3, 1, 0, 4, 1, 1, 0, 0], [23, 3, 3, 0, 1],
        ] as [[UInt8]])
    func other(input: [UInt8]) {
        #expect(peek(input) == .refused)
    }

    @Test("a hello may be cut into many records, and not into any number")
    func manyRecords() {
        var builder = HelloBuilder.named("a.example")
        builder.padding = ClientHello.recordLimit - builder.handshake().count - 4
        #expect(builder.handshake().count == ClientHello.recordLimit)
        #expect(peek(builder.records(size: 1)) == .named("a.example", ech: false))
        builder.padding += 1
        #expect(peek(builder.records(size: 1)) == .refused)
        #expect(peek(builder.records(size: 2)) == .named("a.example", ech: false))
    }

    @Test("a hello that goes on in something else than a handshake record")
    func interrupted() {
        let halves = HelloBuilder.named("a.example").records(size: 100)
        let first = Array(halves[..<105])
        let others: [[UInt8]] = [[21, 3, 3, 0, 2, 1, 0], [20, 3, 3, 0, 1, 1], [23, 3, 3, 0, 1, 0], [0x80, 0x2E, 1]]
        for other in others { #expect(peek(first + other) == .refused) }
        // A second handshake message in the place of the rest of the first.
        #expect(peek(first + halves[..<105]) != .named("a.example", ech: false))
    }

    @Test("nothing may follow the hello inside its record")
    func spill() {
        let handshake = HelloBuilder.named("a").handshake() + [0]
        #expect(peek([22, 3, 1] + HelloBuilder.vector(2, handshake)) == .refused)
    }
}

@Suite("TLS alerts")
struct TLSAlertTests {
    @Test(
        "are one record of seven bytes",
        arguments: [
            (TLSAlert.handshakeFailure, 40), (.decodeError, 50), (.internalError, 80), (.missingExtension, 109),
            (.unrecognizedName, 112),
        ] as [(TLSAlert, UInt8)])
    func record(alert: TLSAlert, description: UInt8) {
        let record = written { alert.write(into: &$0) }
        #expect(bytes(record) == [21, 3, 3, 0, 2, 2, description])
        #expect(bytes(record).count == TLSAlert.recordSize)
    }
}
