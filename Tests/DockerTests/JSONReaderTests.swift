import Testing

@testable import Docker

@Suite struct JSONReaderTests {
    @Test(arguments: [
        (#""plain""#, "plain"), (#""""#, ""), (#""a\"b\\c\/d\n\r\t\b\f""#, "a\"b\\c/d\n\r\t\u{8}\u{C}"),
        (#""\u00e4\u20AC""#, "ä€"), (#""\ud83d\ude00""#, "😀"), (#""\ud83dx""#, "\u{FFFD}x"),
        (#""\ude00""#, "\u{FFFD}"), (#""\ud83d\u0041""#, "\u{FFFD}A"), (#"  "ä""#, "ä"),
    ])
    func readsStrings(text: String, expected: String) throws {
        var reader = JSONReader(Array(text.utf8))
        #expect(try reader.string() == expected)
        try reader.end()
    }

    @Test func repairsInvalidUTF8() throws {
        var reader = JSONReader([0x22, 0x61, 0xFF, 0x62, 0x22])
        #expect(try reader.string() == "a\u{FFFD}b")
    }

    @Test(arguments: [
        "", " ", "{", "[", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "[1,]",
        "[1 2]", "\"a",
        "\"\\", "\"\\u12", "\"\\x\"", "\"a\nb\"", "{\"a\":1}x", "nul", "tru", "]", "}", ",", ":", "{\"a\":}",
        "{\"a\":]}",
        "[1", "[\"a\"", "[{\"a\":[1,2}", "-x", "+1", "\u{1}",
    ])
    func refusesBrokenTextWithoutTrapping(text: String) {
        #expect(throws: JSONError.self) {
            var reader = JSONReader(Array(text.utf8))
            switch try reader.nextKind() {
            case .object:
                try reader.object { (reader, _) throws(JSONError) in try reader.skip() }
            case .array:
                try reader.array { (reader, _) throws(JSONError) in try reader.skip() }
            case .string: _ = try reader.string()
            default: try reader.skip()
            }
            try reader.end()
        }
    }

    @Test(arguments: [("0", 0), ("-0", 0), ("42", 42), ("-7", -7), ("9223372036854775807", Int64.max)])
    func readsIntegers(text: String, expected: Int64) throws {
        var reader = JSONReader(Array(text.utf8))
        #expect(try reader.integer(Int64.self) == expected)
    }

    @Test(arguments: ["1.5", "1e3", "9223372036854775808", "\"1\"", "true", "--1", "1-1"])
    func refusesWhatIsNoInteger(text: String) {
        var reader = JSONReader(Array(text.utf8))
        #expect(throws: JSONError.self) { try reader.integer(Int64.self) }
    }

    @Test func skipsAnything() throws {
        let text = #"{"a":{"b":[1,2,{"c":"}]\"x"}],"d":null},"e":-1.5e+3,"f":true,"g":"last"}"#
        var reader = JSONReader(Array(text.utf8))
        var last = ""
        try reader.object { (reader, name) throws(JSONError) in
            if name == "g" { last = try reader.string() } else { try reader.skip() }
        }
        try reader.end()
        #expect(last == "last")
    }

    @Test func skipsDeepNestingWithoutRecursion() throws {
        let depth = 1_000_000
        var reader = JSONReader([UInt8](repeating: 0x5B, count: depth) + [UInt8](repeating: 0x5D, count: depth))
        try reader.skip()
        try reader.end()
    }

    @Test func keepsTheGoodElementsOfAList() throws {
        var reader = JSONReader(Array(#"[1,"two",{"x":[3]},4,null,5]"#.utf8))
        var refused: [Int] = []
        let numbers = try reader.lossyArray { (reader) throws(JSONError) in
            try reader.integer(Int.self)
        } left: { index, _ in
            refused.append(index)
        }
        #expect(numbers == [1, 4, 5])
        #expect(refused == [1, 2, 4])
    }

    @Test func everyPrefixOfARecordingIsASyntaxError() throws {
        let whole = try Recording.bytes("nodes.json")
        for count in 0..<(whole.count - 1) {
            #expect(throws: JSONError.self) {
                try DockerList<VersionedNode>(Array(whole.prefix(count)), of: "nodes") { (reader) throws(JSONError) in
                    try reader.swarmNode()
                }
            }
        }
    }

    @Test func flippedBytesNeverTrap() throws {
        let whole = try Recording.bytes("services.json")
        var seed: UInt64 = 7
        for _ in 0..<3000 {
            var bytes = whole
            for _ in 0..<4 {
                seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                bytes[Int(seed >> 33) % bytes.count] = UInt8(truncatingIfNeeded: seed >> 20)
            }
            _ = try? DockerList<SwarmServiceBox>(bytes, of: "services") { (reader) throws(JSONError) in
                try reader.swarmService().map(SwarmServiceBox.init)
            }
        }
    }

    @Test func tellsThePlaceOfAnError() {
        let error = JSONError(kind: .syntax, offset: 5, message: "")
        #expect(error.place(in: Array("ab\nc\nd".utf8)) == (3, 1))
    }
}

/// Holds any value; the list wants something Sendable.
private struct SwarmServiceBox: Sendable {
    init(_ value: some Sendable) {}
}
