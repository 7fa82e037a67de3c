// The words of `interlock explain`.

import Testing

@testable import interlock

@Suite struct ExplainArgumentsTests {
    @Test func wordsAndOptions() throws {
        let plain = try #require(try Arguments(parsing: ["explain", "http://a.test/"]).explain)
        #expect(plain.url == "http://a.test/" && plain.method == "GET" && plain.headers == [] && plain.file == nil)
        let words = [
            "explain", "--method=POST", "http://a.test/?a=b", "--header", "A: b=c", "services.json", "--header=C: d",
        ]
        let arguments = try Arguments(parsing: words)
        #expect(arguments.request == .role(.explain))
        let explain = try #require(arguments.explain)
        #expect(explain.url == "http://a.test/?a=b" && explain.method == "POST" && explain.file == "services.json")
        #expect(explain.headers == ["A: b=c", "C: d"] && explain.cluster == nil)
        let group = try Arguments(parsing: ["explain", "http://a.test/", "--cluster", "blue"]).explain
        #expect(group?.cluster == "blue")
        #expect(try Arguments(parsing: ["explain", "--help"]).request == .help)
    }

    @Test(arguments: [
        (["explain"], "explain needs a URL: \(ExplainArguments.usage)"),
        (["explain", "http://a.test/", "f", "g"], "unexpected argument \"g\" after explain"),
        (["explain", "http://a.test/", "--method"], "--method needs a value"),
        (["explain", "--verbose", "x"], "unknown option \"--verbose\"; \(ExplainArguments.usage)"),
        (
            ["explain", "http://a.test/", "f", "--cluster", "x"],
            "--cluster asks a running controller: leave out the services file"
        ),
    ])
    func wrongWords(_ words: [String], _ expected: String) {
        #expect(throws: Arguments.UsageError(description: expected)) { try Arguments(parsing: words) }
    }
}
