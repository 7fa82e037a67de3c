// Conditions, balancing, health checks and limits: how they are ordered, what is wrong with them, and that all of it is
// content.

import Model
import Testing

private func sound() -> Snapshot {
    var options = ServiceOptions()
    options.weight = 10
    options.slowStartMs = 1000
    options.maxFails = 1
    options.failTimeoutMs = 1000
    options.holdMs = 1000
    options.maxConnections = 10
    options.queueTimeoutMs = 1000
    options.health = HealthCheck(statuses: [200...204, 300...399], port: 81)
    let conditions = RouteConditions(
        headers: [.init(name: "x-a"), .init(name: "x-a", value: "1"), .init(name: "x-b", value: "2")],
        methods: ["GET", "POST"])
    return Snapshot(
        configuration: Configuration(
            services: [Service(id: "1", name: "a", options: options)],
            routes: [
                Route(
                    host: .exact("a.test"), conditions: conditions,
                    balancing: Balancing(method: .random, key: .cookie("SID")), services: [0]),
                Route(host: .exact("a.test"), balancing: Balancing(key: .header("x-user")), services: [0]),
            ]), endpoints: [[]])
}

/// One change of a sound snapshot.
struct TrafficChange: Sendable, CustomStringConvertible {
    let description: String
    let apply: @Sendable (inout Snapshot) -> Void

    init(_ description: String, _ apply: @escaping @Sendable (inout Snapshot) -> Void) {
        self.description = description
        self.apply = apply
    }

    static func option(
        _ description: String, _ apply: @escaping @Sendable (inout ServiceOptions) -> Void
    ) -> TrafficChange {
        .init(description) { apply(&$0.configuration.services[0].options) }
    }

    static func route(_ description: String, _ apply: @escaping @Sendable (inout Route) -> Void) -> TrafficChange {
        .init(description) { apply(&$0.configuration.routes[0]) }
    }
}

@Test(
    "each breakage is found",
    arguments: [
        .option("a weight too high") { $0.weight = 1001 }, .option("a negative weight") { $0.weight = -1 },
        .option("a negative start") { $0.slowStartMs = -1 }, .option("negative failures") { $0.maxFails = -1 },
        .option("a negative time of failures") { $0.failTimeoutMs = -1 },
        .option("a negative wait") { $0.holdMs = -1 }, .option("a negative queue") { $0.queueTimeoutMs = -1 },
        .option("no connections") { $0.maxConnections = 0 }, .option("no interval") { $0.health?.intervalMs = 0 },
        .option("no time") { $0.health?.timeoutMs = 0 }, .option("no rise") { $0.health?.rise = 0 },
        .option("no fall") { $0.health?.fall = 0 }, .option("port 0") { $0.health?.port = 0 },
        .option("two lines") { $0.health?.path = "/\r\nX: y" }, .option("no path") { $0.health?.path = "" },
        .option("a fragment") { $0.health?.path = "/#" }, .option("no status") { $0.health?.statuses = [] },
        .option("overlapping statuses") { $0.health?.statuses = [200...300, 300...301] },
        .option("descending statuses") { $0.health?.statuses = [300...300, 200...200] },
        .option("status 600") { $0.health?.statuses = [600...600] },
        .route("headers out of order") { $0.conditions.headers.swapAt(0, 2) },
        .route("a header twice") { $0.conditions.headers[1] = $0.conditions.headers[0] },
        .route("an upper case header") { $0.conditions.headers[0].name = "X-A" },
        .route("a header without a name") { $0.conditions.headers[0].name = "" },
        .route("a value of two lines") { $0.conditions.headers[2].value = "a\r\nb" },
        .route("a value with space around it") { $0.conditions.headers[2].value = "a " },
        .route("an empty value") { $0.conditions.headers[2].value = "" },
        .route("methods out of order") { $0.conditions.methods.swapAt(0, 1) },
        .route("a method twice") { $0.conditions.methods[1] = "GET" },
        .route("a method of two words") { $0.conditions.methods[0] = "GE T" },
        .route("a cookie of two words") { $0.balancing.key = .cookie("a b") },
        .route("an upper case key") { $0.balancing.key = .header("X") },
        .route("the same conditions twice") { $0.conditions = RouteConditions() },
        .init("routes out of order") { $0.configuration.routes.swapAt(0, 1) },
    ] as [TrafficChange])
func trafficBreakageIsFound(change: TrafficChange) {
    var snapshot = sound()
    #expect(snapshot.problems() == [])
    change.apply(&snapshot)
    #expect(!snapshot.problems().isEmpty)
}

@Test(
    "all of it is content",
    arguments: [
        .option("weight") { $0.weight = nil }, .option("start") { $0.slowStartMs = nil },
        .option("failures") { $0.maxFails = 0 }, .option("time of failures") { $0.failTimeoutMs = 2 },
        .option("wait") { $0.holdMs = 0 }, .option("connections") { $0.maxConnections = 11 },
        .option("queue") { $0.queueTimeoutMs = 0 }, .option("no check") { $0.health = nil },
        .option("mode") { $0.health?.mode = .tcp }, .option("path") { $0.health?.path = "/x" },
        .option("interval") { $0.health?.intervalMs = 7 }, .option("timeout") { $0.health?.timeoutMs = 7 },
        .option("statuses") { $0.health?.statuses = [200...204] }, .option("port") { $0.health?.port = nil },
        .option("rise") { $0.health?.rise = 7 }, .option("fall") { $0.health?.fall = 7 },
        .route("a header less") { $0.conditions.headers.removeLast() },
        .route("any value") { $0.conditions.headers[2].value = nil },
        .route("another value") { $0.conditions.headers[2].value = "3" },
        .route("a method less") { $0.conditions.methods.removeLast() },
        .route("another method") { $0.conditions.methods[1] = "PUT" },
        .route("way of picking") { $0.balancing.method = .leastConnections },
        .route("no key") { $0.balancing.key = nil }, .route("address") { $0.balancing.key = .clientAddress },
        .route("another cookie") { $0.balancing.key = .cookie("sid") },
        .route("a header of the cookie's name") { $0.balancing.key = .header("sid") },
    ] as [TrafficChange])
func trafficIsContent(change: TrafficChange) {
    var snapshot = sound()
    change.apply(&snapshot)
    #expect(snapshot.problems() == [])
    #expect(!snapshot.hasSameContent(as: sound()))
    #expect(snapshot.contentHash != sound().contentHash)
}

@Test func whoAsksForMoreIsAskedFirst() {
    func conditions(_ headers: [String], _ methods: [String] = []) -> RouteConditions {
        RouteConditions(
            headers: headers.map { text in
                let sides = text.split(separator: "=")
                return .init(name: String(sides[0]), value: sides.count > 1 ? String(sides[1]) : nil)
            }, methods: methods)
    }
    let ordered = [
        conditions(["a", "b"]), conditions(["a=1"], ["GET"]), conditions(["a=1"]), conditions(["a=2"]),
        conditions(["b=1"]), conditions(["a"]), conditions(["b"]), conditions([], ["GET"]), conditions([], ["PUT"]),
        conditions([], ["GET", "HEAD"]), conditions([]),
    ]
    for (index, first) in ordered.enumerated() {
        #expect(!first.precedes(first))
        for second in ordered[(index + 1)...] {
            #expect(first.precedes(second))
            #expect(!second.precedes(first))
        }
    }
}
