// The command line: roles, their few options, and what wrong words are answered.

import Testing

@testable import interlock

@Suite struct ArgumentsTests {
    @Test(
        arguments: [
            ([], .role(nil)), (["interlock"], .role(.allInOne)), (["--help"], .help), (["-h"], .help),
            (["help"], .help),
            (["check", "--help"], .help), (["version"], .role(.version)),
            (["--version"], .role(.version)),
            (["healthcheck"], .role(.healthcheck)), (["check"], .role(.check)),
            (["demo-backend"], .role(.demoBackend)),
        ] as [([String], Arguments.Request)])
    func requests(_ words: [String], _ expected: Arguments.Request) throws {
        #expect(try Arguments(parsing: words).request == expected)
    }

    @Test func optionsOfRoles() throws {
        let demo = try Arguments(parsing: ["demo-backend", "--listen", "127.0.0.1:9001", "--name=blue"])
        #expect(demo.demoListen == [ListenSetting(host: "127.0.0.1", port: 9001)])
        #expect(demo.demoName == "blue")
        #expect(
            try Arguments(parsing: ["check", "/etc/services.json"]).checkedFile == "/etc/services.json")
    }

    @Test(arguments: [
        (["chekc"], "unknown role \"chekc\"; did you mean check?"),
        (
            ["xyzzyxyzzy"],
            "unknown role \"xyzzyxyzzy\"; there are interlock, controller, proxy, extension, demo-backend, check, "
                + "explain, render, feed-init, rollback, resume, status, healthcheck or version"
        ),
        (["--frobnicate"], "unknown option \"--frobnicate\"; interlock --help lists all"),
        (["version", "now"], "unexpected argument \"now\" after version"),
        (["check", "a", "b"], "unexpected argument \"b\" after check"),
        (["demo-backend", "--listen"], "--listen needs a value"),
        (
            ["demo-backend", "--listen", "x"],
            "--listen \"x\": must be off, or addresses such as :80, 127.0.0.1:80 or [::1]:80, separated by commas"
        ),
        (
            ["demo-backend", "--colour", "x"],
            "unknown option \"--colour\"; demo-backend takes --listen and --name"
        ),
        (["demo-backend", "x"], "unexpected argument \"x\" after demo-backend"),
    ])
    func wrongWords(_ words: [String], _ expected: String) {
        #expect(throws: Arguments.UsageError(description: expected)) { try Arguments(parsing: words) }
    }
}
