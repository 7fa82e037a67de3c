// The words of `interlock render`, and what a services file becomes by it.

import Render
import Testing

@testable import interlock

@Suite struct RenderArgumentsTests {
    @Test func wordsAndOptions() throws {
        let plain = try #require(try Arguments(parsing: ["render", "haproxy"]).render)
        #expect(plain == RenderArguments(target: .haproxy))
        let words = [
            "render", "nginx", "services.json", "--directory", "/etc/x", "--http-listen=127.0.0.1:80, [::1]:80",
            "--https-listen", "off", "--tcp-listen", "10.0.0.1", "--public-https-port", "8443",
        ]
        let arguments = try Arguments(parsing: words)
        #expect(arguments.request == .role(.render))
        let render = try #require(arguments.render)
        #expect(render.target == .nginx && render.file == "services.json" && render.directory == "/etc/x")
        #expect(render.httpListen == ["127.0.0.1:80", "[::1]:80"] && render.httpsListen == [])
        #expect(render.tcpListen == ["10.0.0.1"] && render.publicHTTPSPort == 8443)
        #expect(try Arguments(parsing: ["render", "--help"]).request == .help)
    }

    /// A machine without IPv6 says so once.
    @Test(arguments: [
        (":80", ["0.0.0.0", "[::]"]), ("0.0.0.0:80", ["0.0.0.0"]),
        ("[::1]:80,10.0.0.1:80,10.0.0.1:8080", ["[::1]", "10.0.0.1"]),
        ("off", ["0.0.0.0", "[::]"]),
    ])
    func tcpPortsAreOpenedWhereHTTPIs(_ listen: String, _ addresses: [String]) throws {
        let settings = try SettingsLoader.load(environment: ["INTERLOCK_HTTP_LISTEN": listen])
        #expect(RenderSettings(settings, for: .nginx).tcpAddresses == addresses)
    }

    @Test(arguments: [
        (["render"], "render needs a target: nginx or haproxy"),
        (["render", "apache"], "render \"apache\": there are nginx or haproxy"),
        (["render", "nginx", "a", "b"], "unexpected argument \"b\" after render"),
        (["render", "nginx", "--directory"], "--directory needs a value"),
        (["render", "nginx", "--public-https-port", "0"], "--public-https-port \"0\": must be 1 to 65535"),
    ])
    func wrongWords(_ words: [String], _ expected: String) {
        #expect(throws: Arguments.UsageError(description: expected)) { try Arguments(parsing: words) }
    }
}
