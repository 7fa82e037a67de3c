// What the pages tell of the feed, of earlier configurations and of another load balancer; and the acts: who may.

import Admin
import Kernel
import Synchronization
import Testing

private let peer = FeedPeer(
    name: "n1", role: "proxy", cluster: "blue", address: "10.0.0.2:4711", connectedAtNs: 5, isCurrent: true,
    version: 42,
    content: "abcd", tableVersion: 7, acknowledgedAtNs: 6)

private func origin() -> FeedOrigin {
    var origin = FeedOrigin()
    origin.isFromDisk = true
    origin.problem = "connection refused"
    origin.confirmedAgeMs = 1500
    origin.steppedBackCount = 2
    return origin
}

private func actions(_ calls: Calls) -> AdminActions {
    AdminActions(
        rollback: { number in
            calls.add("rollback \(number)")
            return number == 9 ? .refused("there is no configuration 9") : .done("configuration \(number) is pinned")
        },
        resume: {
            calls.add("resume")
            return .failed("the engine said no")
        })
}

private final class Calls: Sendable {
    private let all = Mutex<[String]>([])
    func add(_ call: String) { all.withLock { $0.append(call) } }
    var list: [String] { all.withLock { $0 } }
}

private func post(_ path: String, _ lines: String = "Host: localhost\r\n") -> String {
    "POST \(path) HTTP/1.1\r\n\(lines)Content-Length: 0\r\nConnection: close\r\n\r\n"
}

@Suite struct FeedPagesTests {
    @Test func aControllerShowsItsClients() throws {
        let fixture = try Fixture(hasTraffic: false)
        defer { fixture.stop() }
        var refusing = peer
        refusing.isCurrent = false
        refusing.refusal = "a \"bad\" piece"
        fixture.state.withLock { $0.feed = FeedReading(clients: [peer, refusing]) }
        let page = try fixture.get("/api/feed")
        #expect(page.status == 200 && page.header("content-type") == "application/json")
        #expect(page.body.contains(#""name":"n1","role":"proxy","cluster":"blue""#))
        #expect(page.body.contains(#""current":true,"version":42,"content":"abcd","table_version":7"#))
        #expect(page.body.contains(#""refusal":"a \"bad\" piece""#))
        let metrics = try fixture.get("/metrics").body
        #expect(metrics.contains(#"interlock_feed_clients{cluster="blue",role="proxy"} 2"#))
        #expect(metrics.contains(#"interlock_feed_clients_current{cluster="blue",role="proxy"} 1"#))
        #expect(metrics.contains(#"interlock_feed_clients_refusing{cluster="blue",role="proxy"} 1"#))
        #expect(!metrics.contains("interlock_client_connections"), "a controller carries no traffic")
        #expect(try fixture.get("/").body.contains("2 connected, 1 run what is in force"))
    }

    @Test func aProxyShowsWhereItsTableIsFrom() throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        #expect(try fixture.get("/api/feed").body == "{}\n")
        #expect(try !fixture.get("/metrics").body.contains("interlock_feed"))
        fixture.state.withLock { $0.feed = FeedReading(source: origin()) }
        let page = try fixture.get("/api/feed").body
        #expect(page.contains(#""from_disk":true,"confirmed_age_ms":1500"#) && page.contains("connection refused"))
        let metrics = try fixture.get("/metrics").body
        for line in [
            "interlock_feed_connected 0", "interlock_feed_from_disk 1", "interlock_feed_confirmed_age_seconds 1.5",
            "interlock_feed_steps_back_total 2",
        ] { #expect(metrics.contains(line + "\n"), "\(line)") }
    }

    @Test func historyAndPin() throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        #expect(try fixture.get("/api/history").status == 404)
        fixture.state.withLock { state in
            state.history = HistoryReading(entries: [
                .init(number: 12, atNs: 3, cause: "web: hosts a -> b", difference: ["- a", "+ b"])
            ])
            state.control.pin = PinReading(number: 11, sinceNs: 4, note: "by hand")
        }
        #expect(
            try fixture.get("/api/history").body
                == #"{"pin":{"number":11,"since_ns":4,"note":"by hand","broken":false},"configurations":"#
                + #"[{"number":12,"at_ns":3,"cause":"web: hosts a -> b","difference":["- a","+ b"]}]}"# + "\n")
        let metrics = try fixture.get("/metrics").body
        #expect(metrics.contains("interlock_configuration_pinned 1\n"))
        #expect(metrics.contains("interlock_configuration_number 12\n"))
        #expect(try fixture.get("/").body.contains("configuration 11: by hand"))
        fixture.state.withLock { $0.control.pin?.isBroken = true }
        #expect(try fixture.get("/metrics").body.contains("interlock_pin_broken 1\n"))
    }

    @Test func anotherLoadBalancer() throws {
        let fixture = try Fixture(hasTraffic: false)
        defer { fixture.stop() }
        var balancer = BalancerReading(kind: "nginx")
        balancer.failureCount = 3
        balancer.problem = "nginx -t: unknown directive"
        fixture.state.withLock { [balancer] in $0.balancer = balancer }
        #expect(try fixture.get("/api/feed").body.contains(#""problem":"nginx -t: unknown directive""#))
        #expect(try fixture.get("/metrics").body.contains(#"interlock_extension_failures_total{kind="nginx"} 3"#))
        #expect(try fixture.get("/").body.contains("nginx -t: unknown directive"))
    }

    @Test func snapshotsByGroup() throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        #expect(try fixture.get("/api/snapshot?x=1&cluster=blue").body == "{}\n")
        #expect(try fixture.get("/api/snapshot?cluster=red").status == 404)
        #expect(try fixture.get("/api/routes?cluster=red").status == 404)
        #expect(try fixture.get("/api/routes").status == 200)
    }

    @Test func actsAreForThoseWhoMayAndForNobodyElse() throws {
        let calls = Calls()
        let fixture = try Fixture(token: "secret", isOpen: true, actions: actions(calls))
        defer { fixture.stop() }
        let pinned = try fixture.exchange(post("/api/rollback/4"))
        #expect(pinned.status == 200 && pinned.body == "configuration 4 is pinned\n")
        #expect(try fixture.exchange(post("/api/rollback/9")).status == 409)
        #expect(try fixture.exchange(post("/api/resume")).status == 502)
        #expect(calls.list == ["rollback 4", "rollback 9", "resume"])
        for path in ["/api/rollback/", "/api/rollback/x", "/api/rollback/04", "/api/rollback/0", "/api/rollback/-1"] {
            #expect(try fixture.exchange(post(path)).status == 404, "\(path)")
        }
        #expect(try fixture.get("/api/rollback/4").status == 405)
        // An open page is no open door, and a browser acts for whoever wrote the page it shows.
        let foreign = "Host: lb.example.com\r\n"
        #expect(try fixture.exchange(post("/api/resume", foreign)).status == 401)
        #expect(try fixture.exchange(post("/api/resume", "Host: localhost\r\nOrigin: http://a.test\r\n")).status == 401)
        #expect(calls.list.count == 3)
        let bearer = foreign + "Authorization: Bearer secret\r\n"
        #expect(try fixture.exchange(post("/api/rollback/5", bearer)).status == 200)
        #expect(calls.list.last == "rollback 5")
    }

    @Test func withoutATokenOnlyTheMachineItselfActs() throws {
        let calls = Calls()
        let fixture = try Fixture(isOpen: true, actions: actions(calls))
        defer { fixture.stop() }
        #expect(try fixture.exchange(post("/api/resume", "Host: lb.example.com\r\n")).status == 403)
        #expect(calls.list.isEmpty)
        let silent = try Fixture()
        defer { silent.stop() }
        #expect(try silent.exchange(post("/api/resume")).status == 404, "nothing can be changed there")
    }
}
