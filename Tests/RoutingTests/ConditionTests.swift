// Routes with conditions: who is asked after whom, held against the rule written down as simply as it can be said.

import Model
import Routing
import Testing

/// What conditions are asked of.
private struct Asked {
    var path: String
    var method = "GET"
    /// In lower case.
    var headers: [String: [String]] = [:]

    func fulfils(_ conditions: RouteConditions) -> Bool {
        (conditions.methods.isEmpty || conditions.methods.contains(method))
            && conditions.headers.allSatisfy { header in
                guard let values = headers[header.name] else { return false }
                return header.value.map(values.contains) ?? true
            }
    }
}

extension RouteTable {
    /// From the first of a path's routes to one whose conditions hold.
    fileprivate func walk(_ asked: Asked) -> Int32 {
        guard case .route(let head) = lookup("a.test", asked.path) else { return -1 }
        func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }
        return Array(asked.method.utf8).withUnsafeBytes { method in
            route(from: head, method: method) { name, value in
                guard let values = asked.headers[text(name)] else { return false }
                return value.map { values.contains(text($0)) } ?? true
            }
        }
    }

    /// The name of the service that answers, "" if none does.
    fileprivate func answerer(_ asked: Asked) -> String {
        let index = walk(asked)
        return index < 0 ? "" : services[Int(pool(route(index).pool).service)].name
    }
}

private func header(_ name: String, _ value: String? = nil) -> RouteConditions.Header {
    .init(name: name, value: value)
}

/// Route by route: a path and conditions; the route at position n leads to `service<n>`.
private func routes(_ list: [(path: String, conditions: RouteConditions)]) -> [Route] {
    list.enumerated().map { index, route in
        Route(host: .exact("a.test"), pathPrefix: route.path, conditions: route.conditions, services: [index])
    }
}

@Test("a condition goes before none, the longest path before all, and a shorter one takes what nobody wanted")
func conditionsAndPaths() {
    let preview = RouteConditions(headers: [header("x-preview", "green")])
    let posts = RouteConditions(methods: ["POST", "PUT"])
    let table = compile(
        snapshot(
            routes([
                ("/", preview), ("/", RouteConditions()), ("/app", posts), ("/app/deep", preview),
                ("/other", RouteConditions()),
            ])))
    let green = ["x-preview": ["green"]]
    let cases: [(Asked, String)] = [
        (Asked(path: "/"), "service1"), (Asked(path: "/", headers: green), "service0"),
        (Asked(path: "/", headers: ["x-preview": ["blue"]]), "service1"),
        (Asked(path: "/", headers: ["x-preview": ["blue", "green"]]), "service0"),
        (Asked(path: "/app", method: "POST"), "service2"), (Asked(path: "/app", method: "post"), "service1"),
        (Asked(path: "/app"), "service1"), (Asked(path: "/app", headers: green), "service0"),
        (Asked(path: "/app/deep/er", headers: green), "service3"),
        (Asked(path: "/app/deep/er", method: "PUT", headers: green), "service3"),
        (Asked(path: "/app/deep/er", method: "PUT"), "service2"), (Asked(path: "/app/deep/er"), "service1"),
        (Asked(path: "/other", headers: green), "service4"), (Asked(path: "/unknown"), "service1"),
    ]
    for (asked, expected) in cases { #expect(table.answerer(asked) == expected, "\(asked)") }
}

@Test("without a route that takes everything, nobody may be left")
func nobodyIsLeft() {
    let table = compile(
        snapshot(
            routes([("/app", RouteConditions(headers: [header("x")])), ("/app/b", RouteConditions(methods: ["GET"]))])))
    #expect(table.answerer(Asked(path: "/app/b")) == "service1")
    #expect(table.answerer(Asked(path: "/app/b", method: "PUT")) == "")
    #expect(table.answerer(Asked(path: "/app/b", method: "PUT", headers: ["x": [""]])) == "service0")
    #expect(table.answerer(Asked(path: "/app")) == "")
    #expect(table.answerer(Asked(path: "/")) == "")
}

@Test("routes that no request can get to are left out")
func unreachableRoutes() {
    let one = RouteConditions(headers: [header("x")])
    let table = compile(
        snapshot(routes([("/a", one), ("/a", one), ("/a", RouteConditions()), ("/a", RouteConditions()), ("/a", one)])))
    #expect(table.routeCount == 2)
    #expect(table.answerer(Asked(path: "/a", headers: ["x": [""]])) == "service0")
    #expect(table.answerer(Asked(path: "/a")) == "service2")
}

@Test("another host's routes are nobody's fallback")
func hostsStayApart() {
    let one = RouteConditions(headers: [header("x")])
    let table = compile(
        snapshot([
            Route(host: .exact("a.test"), pathPrefix: "/app", conditions: one, services: [0]),
            Route(host: .exact("b.test"), services: [1]),
            Route(host: .exact("b.test"), pathPrefix: "/app", services: [1]),
            Route(host: .any, services: [2]),
        ]))
    #expect(table.answerer(Asked(path: "/app")) == "")
    #expect(table.answerer(Asked(path: "/app", headers: ["x": [""]])) == "service0")
}

@Test("every walk ends where the simple rule says", arguments: 1...60)
func walksAgree(seed: UInt64) {
    var random = SplitMix(state: seed)
    let paths = ["/", "/a", "/a/b", "/a/b/c", "/b", "/b/c"]
    let names = ["x-one", "x-two", "x-three"]
    let values = ["", "1", "2"]
    func drawConditions() -> RouteConditions {
        var conditions = RouteConditions()
        for name in names where Int.random(in: 0..<3, using: &random) == 0 {
            conditions.headers.append(
                header(name, Bool.random(using: &random) ? values.randomElement(using: &random) : nil))
        }
        if Int.random(in: 0..<4, using: &random) == 0 { conditions.methods = ["GET", "PURGE"] }
        return conditions
    }
    // By path, the ones with conditions first, as snapshots have them.
    var list: [(path: String, conditions: RouteConditions)] = []
    for path in paths where Int.random(in: 0..<4, using: &random) > 0 {
        var seen: Set<RouteConditions> = []
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let conditions = drawConditions()
            if !conditions.isEmpty, seen.insert(conditions).inserted { list.append((path, conditions)) }
        }
        if Bool.random(using: &random) { list.append((path, RouteConditions())) }
    }
    let table = compile(snapshot(routes(list)))
    #expect(table.routeCount == list.count)
    for _ in 0..<300 {
        var asked = Asked(path: (paths + ["/a/x", "/ab", "/b/c/d", "/z"]).randomElement(using: &random) ?? "/")
        asked.method = ["GET", "POST", "PURGE"].randomElement(using: &random) ?? "GET"
        for name in names where Bool.random(using: &random) {
            asked.headers[name] = (0..<Int.random(in: 1...2, using: &random)).map { _ in
                values.randomElement(using: &random) ?? ""
            }
        }
        // The longest path that has it; among equals whoever is asked first.
        let takers = list.indices.filter { index in
            let path = list[index].path
            return (path == "/" || asked.path == path || asked.path.hasPrefix(path + "/"))
                && asked.fulfils(list[index].conditions)
        }
        let longest = takers.map { list[$0].path.count }.max()
        let expected = takers.first { list[$0].path.count == longest }.map { "service\($0)" } ?? ""
        #expect(table.answerer(asked) == expected, "seed \(seed): \(asked)")
    }
}
