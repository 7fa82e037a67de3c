// What a request says under a name that somebody else chose: fields that routes ask for, cookies that keep requests
// together.

import Testing
import Wire

private func request(_ fields: String, target: String = "/", _ body: (borrowing RequestHead, Bytes) -> String) -> String
{
    withBytes("GET \(target) HTTP/1.1\r\nHost: A.test:80\r\n\(fields)\r\n") { bytes in
        var head = RequestHead()
        guard case .complete = head.parse(bytes) else { return "not a request" }
        return body(head, bytes)
    }
}

private func cookie(_ name: StaticString, in fields: String) -> String {
    request(fields) { head, bytes in head.cookieValue(Bytes(name), in: bytes).map { text($0.array()) } ?? "none" }
}

private func field(_ name: StaticString, in fields: String, believesPeer: Bool = false) -> String {
    request(fields) { head, bytes in
        head.fieldValue(Bytes(name), in: bytes, believesPeer: believesPeer).map { text($0.array()) } ?? "none"
    }
}

private func has(
    _ name: StaticString, _ value: StaticString?, in fields: String, believesPeer: Bool = false, target: String = "/"
) -> Bool {
    request(fields, target: target) { head, bytes in
        let value = value.map { Bytes($0) }
        return head.hasField(Bytes(name), value: value, in: bytes, believesPeer: believesPeer) ? "yes" : "no"
    } == "yes"
}

@Test(
    "the value of a cookie, as RFC 6265 writes them and as programs do",
    arguments: [
        ("", "none"), ("Cookie: sid=a\r\n", "a"), ("Cookie: x=1; sid=a; y=2\r\n", "a"),
        ("Cookie: x=1;sid=a;y=2\r\n", "a"),
        ("cOOkie:sid=a\r\n", "a"), ("Cookie:  \t sid=a \t\r\n", "a"), ("Cookie: x=1;  sid = a ;y=2\r\n", "a"),
        // Names are case-sensitive and whole.
        ("Cookie: SID=a\r\n", "none"), ("Cookie: xsid=a\r\n", "none"), ("Cookie: sidx=a\r\n", "none"),
        ("Cookie: x=sid=a\r\n", "none"), ("Cookie: x=\"; sid=a\r\n", "a"), ("Cookie: sid\r\n", "none"),
        ("Cookie: sid; sid=a\r\n", "a"), ("Cookie: =sid; sid=a\r\n", "a"), ("Cookie: ;;; ;sid=a\r\n", "a"),
        // A value goes up to the semicolon, quotes and all.
        ("Cookie: sid=a=b==; x\r\n", "a=b=="), ("Cookie: sid=\"a\"\r\n", "\"a\""), ("Cookie: sid=a,b c\r\n", "a,b c"),
        ("Cookie: sid=\u{80}\u{FF}\r\n", "\u{80}\u{FF}"),
        // The first that says something; an empty one is what logging out leaves.
        ("Cookie: sid=\r\n", "none"), ("Cookie: sid=; sid=b\r\n", "b"), ("Cookie: sid=a; sid=b\r\n", "a"),
        ("Cookie: x=1\r\nX: y\r\nCookie: sid=a\r\n", "a"), ("Cookie: x=1\r\nCookie: y=2\r\nCookie: z; sid=a\r\n", "a"),
        ("Cookie: sid=a\r\nCookie: sid=b\r\n", "a"), ("Cookie:\r\nCookie: sid=a\r\n", "a"),
        ("Set-Cookie: sid=a\r\n", "none"), ("Cookie2: sid=a\r\n", "none"), ("X-Cookie: sid=a\r\n", "none"),
    ])
private func cookies(fields: String, expected: String) {
    #expect(cookie("sid", in: fields) == expected)
}

@Test("a field with a value, any of several, its name in any case")
func fields() {
    let fields = "X-Preview: green\r\nx-PREVIEW:  Blue \r\nX-Empty:\r\nX-Long: a, b\r\n"
    #expect(has("x-preview", nil, in: fields))
    #expect(has("x-preview", "green", in: fields))
    #expect(has("x-preview", "Blue", in: fields))
    #expect(!has("x-preview", "blue", in: fields))
    #expect(!has("x-preview", "gree", in: fields))
    #expect(!has("x-preview", "", in: fields))
    #expect(!has("x-previe", nil, in: fields))
    #expect(!has("x-previews", nil, in: fields))
    #expect(!has("x_preview", nil, in: fields))
    #expect(has("x-empty", nil, in: fields))
    #expect(has("x-empty", "", in: fields))
    #expect(!has("x-long", "a", in: fields))
    #expect(has("x-long", "a, b", in: fields))
    #expect(field("x-preview", in: fields) == "green")
    #expect(field("x-empty", in: fields) == "none")
    #expect(field("x-empty", in: fields + "X-EMPTY: late\r\n") == "late")
    #expect(field("x-none", in: fields) == "none")
}

@Test("the host is the one that the request is for, whatever its field says")
func hostField() {
    #expect(has("host", "A.test:80", in: ""))
    #expect(!has("host", "a.test:80", in: ""))
    #expect(has("host", "b.test", in: "", target: "http://b.test/"))
    #expect(!has("host", "A.test:80", in: "", target: "http://b.test/"))
    #expect(field("host", in: "") == "A.test:80")
}

@Test(
    "what speaks for the client counts only if its peer is believed",
    arguments: ["X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "X-SSL-Client-Verify", "Client-Cert", "Forwarded"])
func identity(name: String) {
    let line = "\(name): v\r\n"
    for (given, isBelieved) in [(false, false), (true, true)] {
        let found = request(line) { head, bytes in
            withBytes(name.lowercased()) { name in
                head.hasField(name, value: nil, in: bytes, believesPeer: given)
                    && head.fieldValue(name, in: bytes, believesPeer: given) != nil ? "yes" : "no"
            }
        }
        #expect(found == (isBelieved ? "yes" : "no"))
    }
}
