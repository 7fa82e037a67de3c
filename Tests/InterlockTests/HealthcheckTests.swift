// What the health check makes of an answer.

import Testing

@testable import interlock

@Suite struct HealthcheckTests {
    @Test(
        arguments: [
            ("HTTP/1.1 200 OK\r\nInterlock-Was-Ready: true\r\nContent-Length: 0\r\n\r\n", .healthy),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\ninterlock-was-ready: false\r\n\r\n", .starting),
            (
                "HTTP/1.1 503 Service Unavailable\r\nInterlock-Was-Ready: true\r\nContent-Length: 0\r\n\r\n",
                .unhealthy("/healthz says 503")
            ),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", .unhealthy("/healthz says 404")),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                .unhealthy("not the admin listener of an Interlock")
            ),
            ("SSH-2.0-OpenSSH\r\n\r\n", .unhealthy("not the admin listener (bad_status_line)")),
            ("HTTP/1.1 200 OK\r\nInterlock-Was-Ready: tr", nil), ("", nil),
        ] as [(String, Healthcheck.Finding?)])
    func judgements(_ answer: String, _ expected: Healthcheck.Finding?) {
        #expect(Healthcheck.judge(Array(answer.utf8)) == expected)
    }

    /// During a takeover the process before this one may answer.
    @Test(
        arguments: [
            ("pid:[7]", .healthy), ("pid:[8]", .foreign), ("", .healthy),
        ] as [(String, Healthcheck.Finding)])
    func onlyTheOwnProcessCounts(_ answering: String, _ expected: Healthcheck.Finding) {
        let answer =
            "HTTP/1.1 200 OK\r\nInterlock-Was-Ready: true\r\nInterlock-Process: \(answering)\r\n"
            + "Content-Length: 0\r\n\r\n"
        #expect(Healthcheck.judge(Array(answer.utf8), process: "pid:[7]") == expected)
        #expect(Healthcheck.judge(Array(answer.utf8)) == .healthy)
    }

    @Test func onlyAFailureComplains() {
        #expect(Healthcheck.Finding.healthy.complaint == nil)
        #expect(Healthcheck.Finding.starting.complaint == "not ready yet")
        #expect(Healthcheck.Finding.unhealthy("x").complaint == "x")
    }

    @Test func withoutAnAdminListenerThereIsNothingToAsk() throws {
        var settings = Settings()
        settings.adminListen = []
        #expect(Healthcheck.run(settings) == 1)
    }
}
