// The writer: whatever a text is, nginx reads that text, or nothing is written at all.

import Testing

@testable import Render

@Suite struct NginxWriterTests {
    static let hostile = [
        "plain", "", " ", "a b", ";", "{", "}", "a;}evil{", "\"", "'", "\\", "\\\"", "\"; evil \"", "$", "${", "$x",
        "${x}",
        "#", "# x", "a#b", "\\n", "\\t", "~", "~*", "!", "=", "(", ")", "on;off", "\\\\", "x\\", "\"\"", "''", "`id`",
        "%n",
        "$host\"; return 200 \"x", "\u{00E4}\u{1F600}", "a\\\"b\\", "*.x", "default", "include", "hostnames", "^~",
        "@x",
    ]

    @Test(arguments: hostile)
    func aWordIsReadAsItWasMeant(_ text: String) throws {
        var writer = NginxWriter()
        writer.block("outer", .plain(text)) { writer in
            writer.line("inner", .plain(text), .plain(text))
            writer.entry(.plain(text), .own("x"))
        }
        #expect(!writer.isSpoilt)
        let read = try #require(NginxTokens.read(writer.bytes))
        #expect(read.count == 1 && read[0].texts == ["outer", text])
        #expect(read[0].body?.map(\.texts) == [["inner", text, text], [text, "x"]])
    }

    @Test func everyByteIsReadAsItWasMeantOrSpoils() throws {
        for byte in UInt8.min...UInt8.max {
            for text in [
                [byte], [0x61, byte], [byte, 0x61], [byte, byte], [0x5C, byte], [0x24, byte], [0x22, byte],
            ] {
                var writer = NginxWriter()
                writer.line("x", .plain(text))
                if byte < 0x20 || byte == 0x7F {
                    #expect(writer.isSpoilt)
                } else {
                    let read = try #require(NginxTokens.read(writer.bytes), "\(text)")
                    #expect(read.map(\.words) == [[[0x78], text]])
                }
            }
        }
    }

    @Test(arguments: hostile)
    func aLiteralHasNoVariables(_ text: String) throws {
        var writer = NginxWriter()
        writer.line("x", .literal(text))
        let read = try #require(NginxTokens.read(writer.bytes))
        let word = read[0].texts[1]
        #expect(word.components(of: "${il_dollar}").joined(separator: "$") == text)
        #expect(!word.components(of: "${il_dollar}").contains { $0.utf8.contains(UInt8(ascii: "$")) })
    }

    @Test func aPatternMatchesItself() {
        // Classes of one, and strokes before what a class cannot hold alone.
        var writer = NginxWriter()
        writer.line("x", .joined(.own("~^"), .pattern("a.b*[(^$\\]{}|+?"), .own("$")))
        let word = NginxTokens.read(writer.bytes)?[0].texts[1]
        #expect(word == "~^a[.]b[*][[][(]\\^[$]\\\\[]][{][}][|][+][?]$")
    }

    @Test func aSpoiltPartSpoilsTheWhole() {
        var part = NginxWriter()
        part.line("x", .plain("a\nb"))
        var whole = NginxWriter()
        whole.append(part)
        #expect(whole.isSpoilt)
    }

    @Test func aCommentIsOneLine() {
        var writer = NginxWriter()
        writer.comment("a\n} evil; { \u{2028} \"")
        #expect(String(decoding: writer.bytes, as: UTF8.self).split(separator: "\n").count == 1)
        #expect(NginxTokens.read(writer.bytes) == [])
    }
}

extension String {
    /// Split at every occurrence of `separator`.
    fileprivate func components(of separator: String) -> [String] {
        var found: [[UInt8]] = [[]]
        var rest = Array(utf8)[...]
        while !rest.isEmpty {
            if rest.starts(with: separator.utf8) {
                found.append([])
                rest = rest.dropFirst(separator.utf8.count)
            } else if let byte = rest.popFirst() {
                found[found.count - 1].append(byte)
            }
        }
        return found.map { String(decoding: $0, as: UTF8.self) }
    }
}
