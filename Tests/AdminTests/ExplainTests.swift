// What is said about requests: who gets them, and what else happens. That the proxy does the same is for the end-to-end
// tests to say.

import Model
import Routing
import Synchronization
import Testing

@testable import Admin

private func snapshot() -> Snapshot {
    func service(_ name: String, weight: Int? = nil, health: HealthCheck? = nil) -> Service {
        var options = ServiceOptions()
        options.weight = weight
        options.health = health
        return Service(id: name, name: name, options: options)
    }
    let certificate = CertificateReference(certificate: SecretReference("site.pem"))
    func upstream(_ id: String, _ port: UInt16, _ state: UpstreamState = .ready) -> Upstream {
        Upstream(id: id, endpoint: Endpoint(address: IPAddress(v4: 0x7F00_0001), port: port), state: state)
    }
    let green = RouteConditions(headers: [.init(name: "x-preview", value: "green")])
    return Snapshot(
        configuration: Configuration(
            services: [
                service("web"), service("app"), service("green"), service("posts"), service("own"), service("none"),
                service("zero", weight: 0), service("half", weight: 50), service("fallback"),
                service("probed", health: HealthCheck(mode: .tcp)),
            ],
            routes: [
                Route(host: .exact("web.test"), conditions: green, services: [2]),
                Route(host: .exact("web.test"), services: [0]),
                Route(
                    host: .exact("web.test"), pathPrefix: "/app", rewritesPrefix: true,
                    balancing: Balancing(method: .random, key: .cookie("SID")), services: [1]),
                Route(
                    host: .exact("posts.test"), pathPrefix: "/in", conditions: RouteConditions(methods: ["POST"]),
                    services: [3]),
                Route(host: .exact("tls.test"), requiresTLS: true, services: [0]),
                Route(host: .exact("old.test"), services: [0]), Route(host: .exact("none.test"), services: [5]),
                Route(host: .exact("zero.test"), services: [6]), Route(host: .exact("split.test"), services: [6, 7]),
                Route(host: .exact("raw.test"), pathPrefix: "/a", pathPolicy: .raw, services: [0]),
                Route(host: .exact("probed.test"), services: [9]),
                Route(host: .wildcard("wild.test"), services: [1]), Route(host: .any, services: [8]),
            ],
            hosts: [
                HostOptions(host: .exact("own.test"), passthrough: [4]),
                HostOptions(
                    host: .exact("tls.test"), tls: TLSOptions(certificates: [certificate], minimumVersion: .tls13)),
                HostOptions(
                    host: .exact("old.test"), redirects: [HostRedirect(scheme: .http, target: "https://new.test/x")]),
            ]),
        endpoints: [
            [upstream("w1", 1), upstream("w2", 2, .draining), upstream("w3", 3, .pending)], [upstream("a", 4)],
            [upstream("g", 5)], [upstream("p", 6)], [upstream("o", 7)], [upstream("n", 8, .pending)],
            [upstream("z", 9)], [upstream("h", 10)], [upstream("f", 11)], [upstream("c", 12)],
        ])
}

private func table(_ snapshot: Snapshot = snapshot()) -> RouteTable {
    var numbering = Numbering()
    return RouteTable(compiling: snapshot, version: 1, numbering: &numbering)
}

private func explain(
    _ url: String, _ method: String = "GET", _ headers: [String] = [], terms: ExplainTerms = ExplainTerms(),
    health: [UInt64: TaskHealth]? = nil
) throws -> Explanation {
    Explainer.explain(
        try ExplainQuestion(url: url, method: method, headers: headers), table(), terms: terms, health: health,
        refusal: { $0 == "refused.test" ? "unrecognized_name" : nil })
}

private struct Row: Sendable, CustomTestStringConvertible {
    var url: String
    var method = "GET"
    var headers: [String] = []
    var verdict: Explanation.Verdict
    var services: [String] = []
    var target: String?

    init(
        _ url: String, method: String = "GET", headers: [String] = [], _ verdict: Explanation.Verdict,
        _ services: [String] = [], target: String? = nil
    ) {
        self.url = url
        self.method = method
        self.headers = headers
        self.verdict = verdict
        self.services = services
        self.target = target
    }

    var testDescription: String { "\(method) \(url) \(headers)" }
}

@Suite struct ExplainTests {
    @Test(arguments: [
        Row("http://web.test", .task, ["web"], target: "/"),
        Row("HTTP://WEB.test.:8080/x?y#z", .task, ["web"], target: "/x?y"),
        Row("http://web.test/", headers: ["X-Preview:  green"], .task, ["green"], target: "/"),
        Row("http://web.test/", headers: ["X-Preview: blue"], .task, ["web"], target: "/"),
        Row("http://web.test/app/a?b", .task, ["app"], target: "/a?b"),
        Row("http://web.test/app?b", .redirect(status: 301, location: "/app/?b")),
        Row("http://web.test/app", method: "POST", .redirect(status: 308, location: "/app/")),
        Row("http://web.test/%61pp/x", .answer(status: 400, code: "ambiguous_path"), ["web"]),
        Row("http://web.test/../x", .answer(status: 400, code: "ambiguous_path"), ["web"]),
        Row("http://raw.test/a/../x", .task, ["web"], target: "/a/../x"),
        Row("http://posts.test/in/x", method: "POST", .task, ["posts"], target: "/in/x"),
        Row("http://posts.test/in/x", .answer(status: 404, code: "unknown_path")),
        Row("http://posts.test/", method: "POST", .answer(status: 404, code: "unknown_path")),
        Row("http://a.b.wild.test/", .task, ["app"], target: "/"),
        Row("http://wild.test/", .task, ["fallback"], target: "/"),
        Row("http://1.2.3.4/", headers: ["Host: web.test"], .task, ["web"], target: "/"),
        Row("http://tls.test/x", .redirect(status: 301, location: "https://tls.test/x")),
        Row("http://tls.test/.well-known/acme-challenge/t", .task, ["web"], target: "/.well-known/acme-challenge/t"),
        Row("https://tls.test/x", .task, ["web"], target: "/x"),
        Row("https://tls.test/x", headers: ["Host: TLS.test"], .task, ["web"], target: "/x"),
        Row("http://old.test/y?z", .redirect(status: 302, location: "https://new.test/x/y?z")),
        Row("https://old.test/y", .task, ["web"], target: "/y"), Row("https://own.test/", .passedOn, ["own"]),
        Row("http://own.test/x", .redirect(status: 301, location: "https://own.test/x")),
        Row("http://none.test/", .answer(status: 503, code: "no_task"), ["none"]),
        Row("http://zero.test/", .answer(status: 503, code: "no_task"), ["zero"]),
        Row("http://split.test/", .task, ["zero", "half"], target: "/"),
        Row("https://refused.test/", .closed(reason: "TLS is refused with the alert unrecognized_name")),
        Row("http://web.test/", method: "CONNECT", .answer(status: 405, code: "connect_not_offered")),
        Row("http://web.test/", headers: ["Host: a", "Host: b"], .answer(status: 400, code: "duplicate_host")),
        Row("http://web.test/", method: "OPTIONS", headers: ["Max-Forwards: 0"], .answer(status: 200, code: "ok")),
        Row("http://web.test/", headers: ["X-Forwarded-Proto: https"], .task, ["web"], target: "/"),
        Row(
            "http://tls.test/", headers: ["X-Forwarded-Proto: https"],
            .redirect(status: 301, location: "https://tls.test/")),
    ])
    fileprivate func verdicts(row: Row) throws {
        let explanation = try explain(row.url, row.method, row.headers)
        #expect(explanation.verdict == row.verdict, "\(explanation.lines)")
        #expect(explanation.services.map { snapshot().configuration.services[$0].name } == row.services)
        #expect(explanation.taskTarget == row.target)
    }

    @Test func settingsDecide() throws {
        var terms = ExplainTerms()
        terms.isSSLOnly = true
        terms.httpsPublicPort = 8443
        let away = try explain("http://web.test/x", terms: terms)
        #expect(away.verdict == .redirect(status: 301, location: "https://web.test:8443/x"))
        terms = ExplainTerms()
        terms.maximumBodySize = 10
        #expect(
            try explain("http://web.test/", "POST", ["Content-Length: 11"], terms: terms).verdict
                == .answer(status: 413, code: "body_too_large"))
        terms.requestLineSize = 30
        let long = try explain("http://web.test/0123456789012345678901234567890", terms: terms)
        #expect(long.verdict == .answer(status: 414, code: "uri_too_long"))
        terms.hasHTTPS = false
        #expect(
            try explain("https://web.test/", terms: terms).verdict
                == .closed(reason: "nobody listens: INTERLOCK_HTTPS_LISTEN is off"))
    }

    @Test("a task that nobody has probed yet gets nothing, one whose probes fail is tried")
    func probes() throws {
        let identity = table().identity(service: 9, upstream: 0)
        for (health, isServed) in [("unknown", false), ("healthy", true), ("unhealthy", true)] {
            let known = [identity: TaskHealth(health: health, lastFailure: "refused", avoidingWorkers: 2)]
            let explanation = try explain("http://probed.test/", health: known)
            #expect(explanation.isServed == isServed, "\(health)")
            let line =
                "task     127.0.0.1:12 of probed: ready, \(health), passed over by 2 workers, last failure: refused"
            #expect(explanation.lines.contains(line), "\(explanation.lines)")
        }
        #expect(!(try explain("http://probed.test/", health: [:]).isServed))
        #expect(try explain("http://probed.test/").isServed)
    }

    @Test(
        arguments: [
            (
                "http://web.test/app/x",
                [
                    "request  GET http://web.test/app/x", "host     web.test",
                    "tls      https ends here: the directory's or the default certificate",
                    "route    web.test/app -> app (without its prefix)", "path     the task is asked for /x",
                    "service  app: 1 of 1 tasks ready", "task     127.0.0.1:4 of app: ready",
                    "balance  by cookie SID; random", "answer   by a task of app",
                ]
            ),
            (
                "http://web.test/",
                [
                    "not      web.test/ [x-preview: green] -> green: the request does not fulfil this",
                    "route    web.test/ -> web", "service  web: 1 of 3 tasks ready",
                    "task     127.0.0.1:2 of web: draining",
                    "task     127.0.0.1:3 of web: pending", "balance  in turn",
                ]
            ),
            (
                "https://tls.test/",
                ["tls      https ends here: site.pem; TLS 1.3 at least", "route    tls.test/ -> web (ssl_only)"]
            ),
            (
                "http://old.test/",
                ["redirect http://old.test -> https://new.test/x", "answer   302 to https://new.test/x/"]
            ),
            ("http://x.wild.test/", ["host     x.wild.test, by the wildcard *.wild.test"]),
            ("http://no.test/", ["host     no.test: no service claims it, the default backend takes it"]),
            ("http://split.test/", ["service  zero: 1 of 1 tasks ready; weight 0, so it gets nothing"]),
            ("https://own.test/", ["tls      https is passed on to own as it is, plain http is sent to https"]),
            ("http://none.test/", ["answer   503 no_task, by the proxy"]),
            ("http://posts.test/in", ["route    none is left"]),
        ] as [(String, [String])])
    func lines(url: String, expected: [String]) throws {
        let lines = try explain(url).lines
        for line in expected { #expect(lines.contains(line), "\(line) in \(lines)") }
    }

    @Test("without a default backend nobody claims what nobody claims")
    func unknownHost() throws {
        let explanation = Explanation(
            of: try ExplainQuestion(url: "http://web.test/"), by: Snapshot(), terms: ExplainTerms())
        #expect(explanation.verdict == .answer(status: 503, code: "unknown_host"))
        #expect(explanation.lines.last == "answer   503 unknown_host, by the proxy")
    }

    @Test(arguments: [
        "", "web.test", "ftp://web.test/", "http://", "http:///x", "http://a b/", "http://web.test/\u{1B}[2J",
        "http://web.test/\r\nX: y", "http://w\u{E9}b.test/", "http://me@web.test/", "http://web.test:99999/",
        "http://web..test/", "/x", "*", "http://web.test/ HTTP/1.1", "http://web.test/a\\b",
    ])
    func noURL(url: String) {
        let error = #expect(throws: ExplainQuestion.Invalid.self) { try ExplainQuestion(url: url) }
        #expect(error?.description.contains("is no URL that can be asked for") == true)
        #expect(error?.description.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F } == true)
    }

    @Test(arguments: [
        ("http://a.test/", "G T", "A: b", "\"G T\" is no method, such as GET"),
        ("http://a.test/", "", "A: b", "\"\" is no method, such as GET"),
        ("http://a.test/", "GET", "A", "\"A\" is no header: write \"Name: value\""),
        ("http://a.test/", "GET", ": b", "\": b\" is no header: write \"Name: value\""),
        ("http://a.test/", "GET", "A: b\r\nC: d", "\"A: b\\r\\nC: d\" is no header: write \"Name: value\""),
        (
            "https://a.test/", "GET", "Host: b.test",
            "by https the host is named in the URL: leave out \"Host: b.test\""
        ),
        (
            "https://[::1]/", "GET", "A: b",
            "by https a host is asked for by its name: clients send none for an address"
        ),
    ])
    func noQuestion(url: String, method: String, header: String, expected: String) {
        #expect(throws: ExplainQuestion.Invalid(description: expected)) {
            try ExplainQuestion(url: url, method: method, headers: [header])
        }
    }

    @Test("what labels and clients write cannot command a terminal")
    func hostileText() throws {
        var hostile = snapshot()
        hostile.configuration.services[0].name = "web\u{1B}[2J\u{202E}\nanswer   nobody"
        let question = try ExplainQuestion(url: "http://web.test/", headers: ["X: \u{9B}2J"])
        let explanation = Explanation(of: question, by: hostile, terms: ExplainTerms())
        #expect(explanation.lines.contains { $0.contains("web\\u{1B}[2J\\u{202E}\\nanswer   nobody") })
        for line in explanation.lines {
            #expect(line.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F && $0.value != 0x202E })
        }
    }

    // MARK: The page

    @Test func thePageIsJSON() throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        #expect(try fixture.get("/api/explain?url=http://web.test/").status == 503)
        fixture.state.withLock { $0.table = table() }
        let answer = try fixture.get(
            "/api/explain?url=http%3A%2F%2Fweb.test%2Fapp%2Fx&header=X-A%3A%201&header=X-B%3A%202&method=POST")
        #expect(answer.status == 200 && answer.header("content-type") == "application/json")
        #expect(
            answer.body.hasPrefix(
                #"{"url":"http://web.test/app/x","method":"POST","served":true,"verdict":"task","host":"web.test","#
                    + #""path":"/app","task_target":"/x","services":[{"id":"app","name":"app","#),
            "\(answer.body)")
        #expect(answer.body.contains(#""upstreams":[{"id":"a","address":"127.0.0.1:4","state":"ready"}]"#))
        #expect(answer.body.hasSuffix(#"{"name":"answer","text":"by a task of app"}]}"# + "\n"))
        let away = try fixture.get("/api/explain?url=http://tls.test/")
        #expect(away.body.contains(#""verdict":"redirect","status":301,"location":"https://tls.test/""#))
        let refused = try fixture.get("/api/explain?url=http://posts.test/")
        #expect(refused.body.contains(#""served":false,"verdict":"answer","status":404,"code":"unknown_path""#))
        let text = try fixture.get("/api/explain?url=http://posts.test/&format=text")
        #expect(
            text.header("interlock-served") == "false"
                && text.body.hasSuffix("answer   404 unknown_path, by the proxy\n"))
    }

    @Test(arguments: [
        ("/api/explain", 400, "name one URL"), ("/api/explain?url=x", 400, "is no URL"),
        ("/api/explain?url=http://a/&url=http://b/", 400, "name one URL"),
        ("/api/explain?url=http://a%zz/", 400, "not percent-encoded"),
        ("/api/explain?url=http://a/%0d%0aX:y", 400, "is no URL"),
        ("/api/explain?url=http://web.test/&header=x", 400, "is no header"),
        ("/api/explain?url=http://web.test/&cluster=blue", 200, "web"),
        ("/api/explain?url=http://web.test/&cluster=red", 404, "no such group"),
    ])
    func thePageRefuses(path: String, status: Int, expected: String) throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        fixture.state.withLock { $0.table = table() }
        let answer = try fixture.get(path)
        #expect(answer.status == status && answer.body.contains(expected), "\(answer)")
    }

    @Test func thePageIsGuarded() throws {
        let fixture = try Fixture(token: "t")
        defer { fixture.stop() }
        let path = "/api/explain?url=http://web.test/"
        #expect(try fixture.get(path, "Host: localhost\r\nX-Forwarded-For: 1.2.3.4\r\n").status == 401)
        let post = "POST \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        #expect(try fixture.exchange(post).status == 405)
    }

    @Test func whatIsAskedArrivesWhole() throws {
        let question = try ExplainQuestion(
            url: "http://web.test/a%20b?c=d&e+f", method: "PURGE", headers: ["X-A: \u{E4} & = +", "X-B:"])
        let path = question.path(cluster: "blue/1")
        #expect(path.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F })
        let query = try #require(PageQuery(String(path.drop { $0 != "?" }.dropFirst())))
        #expect(try ExplainQuestion(query) == question)
        #expect(query.first("cluster") == "blue/1" && query.first("format") == "text")
    }
}
