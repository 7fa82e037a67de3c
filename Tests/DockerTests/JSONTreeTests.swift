// JSON that is kept as it came: what is read is written again byte for byte, and what could be read in two ways is not
// read at all.

import Testing

@testable import Docker

private func tree(_ text: String) throws -> JSONTree { try JSONTree(Array(text.utf8)) }

private func text(_ tree: JSONTree) -> String { String(decoding: tree.bytes, as: UTF8.self) }

private func nested(_ depth: Int) -> String {
    String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
}

@Suite struct JSONTreeTests {
    @Test(arguments: [
        "{}", "[]", "null", "true", "\"\"", "{\"b\":1,\"a\":2,\"\":3}",
        // Larger than any type, and spelled as nobody here would.
        "[18446744073709551616,-0,0,1.0,1.50E+05,1e-9,123456789012345678901234567890.000]",
        // Escapes that could be spelled otherwise, a pair of surrogates, one alone, and what Go escapes.
        #"["\u0041\/\b\f\n\r\t\"\\","\ud83d\ude00","\ud800","\u003c\u2028","é😀"]"#,
        #"{"\u0061":1,"A":{"x":[{"y":null}]}}"#, nested(64),
    ])
    func writesWhatItRead(_ json: String) throws {
        #expect(text(try tree(json)) == json)
    }

    @Test func dropsOnlyWhiteSpace() throws {
        #expect(text(try tree(" { \"a\" :\n[ 1 ,\t2 ] , \"b\" : {  } }\r\n")) == #"{"a":[1,2],"b":{}}"#)
    }

    @Test(arguments: [
        ("", "expected a value"), ("{\"a\":1", "expected ',' or '}'"), ("[1,]", "expected a value"),
        ("{\"a\":1,}", "a name in double quotes"), ("{a:1}", "a name in double quotes"), ("[1] 2", "after the end"),
        ("{\"a\" 1}", "expected ':'"), ("[01]", "expected ',' or ']'"), ("[1.]", "a digit"), ("[.5]", "a value"),
        ("[-]", "a digit"), ("[1e]", "a digit"), ("[+1]", "a value"), ("[NaN]", "a value"), ("[nul]", "a value"),
        ("[\"\\x\"]", "unknown escape"), ("[\"\\u12g4\"]", "four hex digits"), ("[\"a\nb\"]", "control character"),
        ("[\"a", "inside a string"), ("[\"a\\", "escape"), ("{\"a\":1,\"a\":1}", "there twice"),
        ("{\"a\":1,\"\\u0061\":1}", "there twice"), ("{\"\\ud800\":1,\"\\ud801\":1}", "there twice"),
        (nested(65), "nested more than 64 deep"), ("\u{FEFF}{}", "a value"), ("{\"a\":{\"b\":[{]}}", "double quotes"),
    ])
    func refuses(_ json: String, _ why: String) {
        let error = #expect(throws: JSONError.self) { try tree(json) }
        #expect(error?.message.contains(why) == true, "\(String(describing: error))")
    }

    @Test func refusesWhatIsNoUTF8() {
        for bytes: [UInt8] in [
            [0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22], [0x22, 0xE2],
        ] {
            let error = #expect(throws: JSONError.self) { try JSONTree(bytes) }
            #expect(error?.message == "the text is no UTF-8")
        }
    }

    @Test func refusesWhatIsTooLarge() {
        let large = "\"" + String(repeating: "a", count: JSONTree.sizeLimit) + "\""
        let error = #expect(throws: JSONError.self) { try tree(large) }
        #expect(error?.message.contains("bytes") == true)
        #expect(throws: JSONError.self) { try tree(String(repeating: "[", count: 1 << 20)) }
    }

    @Test func cutAnywhereItIsRefused() throws {
        let whole = #"{"a":[1,{"b":"\u00e9x"}],"c":-1.5e3,"d":true}"#
        _ = try tree(whole)
        for count in 0..<whole.utf8.count {
            #expect(throws: JSONError.self) { try JSONTree(Array(whole.utf8.prefix(count))) }
        }
    }

    @Test func flippedBytesNeverTrap() {
        let whole = Array(#"{"a":[1,{"b":"\u00e9x"}],"c":-1.5e3,"d":true}"#.utf8)
        for index in whole.indices {
            for byte in UInt8.min...UInt8.max {
                var changed = whole
                changed[index] = byte
                if let tree = try? JSONTree(changed) { #expect((try? JSONTree(tree.bytes)) == tree) }
            }
        }
    }

    @Test func readsFields() throws {
        let json = try tree(#"{"n":18446744073709551615,"m":-1,"t":"a\u00e9","z":null,"o":{"x":"1","y":2}}"#)
        #expect(json["n"]?.unsigned == .max)
        #expect(json["m"]?.unsigned == nil)
        #expect(json["t"]?.text == "aé")
        #expect(json["z"] == nil)
        #expect(json["o"]?.strings == ["x": "1"])
        #expect(json["t"]?["x"] == nil)
        #expect(json["n"]?.elements.isEmpty == true)
    }

    @Test func changesInPlace() throws {
        var json = try tree(#"{"a":1.0,"b":{"c":null},"d":"x"}"#)
        try json.set("a", .string("é\"\n"))
        try json.set("e", .number(292))
        try json.set("d", nil)
        try json.set("nothing", nil)
        try json.change(at: ["b", "c", "f"]) { (members) throws(JSONError) in members = [.init("g", .null)] }
        #expect(text(json) == #"{"a":"é\"\n","b":{"c":{"f":{"g":null}}},"e":292}"#)
        #expect(throws: JSONError.self) {
            try json.change(at: ["a", "x"]) { (_) throws(JSONError) in }
        }
    }
}
