// The JSON writer: nesting, commas and escapes, byte for byte.

import Model
import Testing

@Suite struct JSONWriterTests {
    @Test func nestingAndCommas() {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("a", 1)
            writer.object("b") { _ in }
            writer.array("c") { writer in
                writer.value(true)
                writer.null()
                writer.array { $0.value(UInt64.max) }
                writer.object { $0.field("d", Int64.min) }
                writer.object { $0.null("e") }
            }
            writer.field("f", ["x", "y"])
            writer.field("g", [String]())
            writer.field("h", 1.5)
            writer.field("i", Double.infinity)
            writer.field("j", false)
        }
        #expect(
            writer.text
                == #"{"a":1,"b":{},"c":[true,null,[18446744073709551615],{"d":-9223372036854775808},"#
                + #"{"e":null}],"#
                + #""f":["x","y"],"g":[],"h":1.5,"i":null,"j":false}"#)
    }

    @Test(arguments: [
        ("", #""""#), ("plain é 😀", #""plain é 😀""#), ("a\"b\\c/", #""a\"b\\c/""#), ("\n\r\t\u{8}", #""\n\r\t\u0008""#),
        ("\0\u{1B}\u{7F}\u{9B}", #""\u0000\u001b\u007f\u009b""#), ("\u{2028}\u{2029}", #""\u2028\u2029""#),
        ("\r\n", #""\r\n""#),
    ])
    func strings(_ text: String, _ expected: String) {
        var writer = JSONWriter()
        writer.value(text)
        #expect(writer.text == expected)
        var object = JSONWriter()
        object.object { $0.field(text, text) }
        #expect(object.text == "{\(expected):\(expected)}")
    }
}
