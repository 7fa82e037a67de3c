// Host and path rules row by row, and a seeded comparison against the naive reference.

import Support
import Model
import Routing
import Testing

private let table = compile(
    snapshot([
        Route(host: .exact("app.test"), services: [0]),
        Route(host: .exact("app.test"), pathPrefix: "/app", services: [1]),
        Route(host: .exact("app.test"), pathPrefix: "/app/deep", services: [2]),
        Route(host: .exact("app.test"), pathPrefix: "/app/deep/er/still", services: [2]),
        Route(host: .exact("only.test"), pathPrefix: "/only", services: [3]),
        Route(host: .exact("x.wild.test"), pathPrefix: "/x", services: [3]),
        Route(host: .exact("[2001:db8::1]"), services: [3]),
        Route(host: .wildcard("wild.test"), services: [4]),
        Route(host: .wildcard("b.wild.test"), pathPrefix: "/b", services: [5]),
        Route(host: .any, pathPrefix: "/default", services: [6]),
    ]))

@Test(
    "a host and a path lead to the longest prefix of the best host",
    arguments: [
        ("app.test", "/", "/"),
        ("app.test", "", "/"),
        ("app.test", "*", "/"),
        ("APP.Test", "/app", "/app"),
        ("app.test", "/app/", "/app"),
        ("app.test", "/app/x", "/app"),
        ("app.test", "/apple", "/"),
        ("app.test", "/ap", "/"),
        ("app.test", "/App", "/"),
        ("app.test", "/app/deep", "/app/deep"),
        ("app.test", "/app/deeper", "/app"),
        ("app.test", "/app/deep/er", "/app/deep"),
        ("app.test", "/app/deep/er/still", "/app/deep/er/still"),
        ("app.test", "/app/deep/er/still/x", "/app/deep/er/still"),
        ("app.test", "/app/deep/er/stillx", "/app/deep"),
        ("app.test", "//app", "/"),
        ("app.test", "/app//deep", "/app"),
        ("only.test", "/only/x", "/only"),
        ("only.test", "/", "unknownPath"),
        ("only.test", "/onl", "unknownPath"),
        ("only.test", "/default", "unknownPath"),
        ("only.test", "*", "unknownPath"),
        ("x.wild.test", "/x", "/x"),
        ("x.wild.test", "/", "unknownPath"),
        ("[2001:DB8::1]", "/", "/"),
        ("a.wild.test", "/", "/"),
        ("A.WILD.test", "/", "/"),
        ("c.a.wild.test", "/", "/"),
        ("y.x.wild.test", "/", "/"),
        ("a.b.wild.test", "/b/c", "/b"),
        ("a.b.wild.test", "/", "unknownPath"),
        ("b.wild.test", "/q", "/"),
        ("wild.test", "/default/x", "/default"),
        (".wild.test", "/default/x", "/default"),
        ("wild.test", "/", "unknownPath"),
        ("other.test", "/default", "/default"),
        ("", "/default", "/default"),
        ("app.tes", "/default", "/default"),
        ("app.testx", "/default", "/default"),
        ("app.\u{E4}est", "/default", "/default"),
    ])
func longestPrefixOfTheBestHost(host: String, path: String, expected: String) {
    #expect(table.found(host, path) == expected)
}

@Test func noDefaultBackendMeansUnknownHost() {
    let table = compile(snapshot([Route(host: .wildcard("a.test"), services: [0])]))
    #expect(table.lookup("b.test", "/") == .unknownHost)
    #expect(table.lookup("", "/") == .unknownHost)
    #expect(table.lookup("a.test", "/") == .unknownHost)
    #expect(table.lookup("x.a.test", "/") == .route(0))
    #expect(compile(Snapshot()).lookup("b.test", "/") == .unknownHost)
}

@Test("bytes that fold to letters only by a wrong mask do not match")
func foldingTouchesLettersOnly() {
    let table = compile(snapshot([Route(host: .exact("[a@z]{`}^_-09"), services: [0])]))
    #expect(table.lookup("[A@Z]{`}^_-09", "/") == .route(0))
    for other in ["{a@z]{`}^_-09", "[a`z]{`}^_-09", "[a@z][`}^_-09", "[a@z]{@}^_-09", "[a@z]{`}~_-09"] {
        #expect(table.lookup(other, "/") == .unknownHost)
    }
}

@Test("a host of many labels finds its suffix, however long it is")
func manyLabels() {
    let table = compile(snapshot([Route(host: .wildcard("w.test"), services: [0])]))
    let labels = String(repeating: "a.", count: 120)
    #expect(table.lookup(labels + "w.test", "/") == .route(0))
    #expect(table.lookup(labels + "v.test", "/") == .unknownHost)
    #expect(table.lookup(labels + "test", "/") == .unknownHost)
}

@Test("the table agrees with the naive rules", arguments: 0..<60)
func agreesWithNaiveRules(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed))
    let labels = ["a", "b", "c", "ab", "longer-label-0", "x"]
    let segments = ["a", "b", "ab", "app", "apple", "x", "a-rather-long-segment", ""]
    func name() -> String {
        (0..<Int.random(in: 1...4, using: &random)).map { _ in labels.randomElement(using: &random)! }
            .joined(separator: ".")
    }
    func path(_ depth: ClosedRange<Int>) -> String {
        (0..<Int.random(in: depth, using: &random)).map { _ in "/" + segments.randomElement(using: &random)! }.joined()
    }
    var routes: [Route] = []
    var seen: Set<String> = []
    for _ in 0..<Int.random(in: 0...60, using: &random) {
        let host: HostPattern =
            switch Int.random(in: 0..<10, using: &random) {
            case 0: .any
            case 1...3: .wildcard(name())
            default: .exact(name())
            }
        var prefix = path(0...4)
        while prefix.hasSuffix("/") { prefix.removeLast() }
        if prefix.isEmpty { prefix = "/" }
        guard seen.insert("\(host) \(prefix)").inserted else { continue }
        routes.append(Route(host: host, pathPrefix: prefix, services: [routes.count % 7]))
    }
    let table = compile(snapshot(routes))
    for _ in 0..<400 {
        let host = Bool.random(using: &random) ? name() : name().uppercased()
        let path = path(0...6) + (Bool.random(using: &random) ? "/" : "")
        let expected = naiveLookup(routes, host: host, path: path)
        switch table.lookup(host, path) {
        case .unknownHost: #expect(expected.match == "unknownHost", "\(host) \(path)")
        case .unknownPath: #expect(expected.match == "unknownPath", "\(host) \(path)")
        case .route(let index): #expect(routes[Int(index)] == expected.route, "\(host) \(path)")
        }
    }
}
