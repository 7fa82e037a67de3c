// Labels that decide which requests a service takes and which of its tasks gets them: what is read, what they mean
// together, and what services that share a place agree on.

import Discovery
import Model
import Testing

private let place = ["hosts": "a.test", "port": "80"]

private func options(_ labels: [String: String]) -> (ServiceOptions?, [String]) {
    let snapshot = mapped(place.merging(labels) { $1 })
    return (snapshot.configuration.services.first?.options, diagnosed(snapshot))
}

private func balancing(_ labels: [String: String]) -> (Balancing?, [String]) {
    let snapshot = mapped(place.merging(labels) { $1 })
    return (snapshot.configuration.routes.first?.balancing, diagnosed(snapshot))
}

@Test func optionsOfTheServiceAreRead() {
    let labels = [
        "weight": "0", "slow_start": "30s", "max_fails": "5", "fail_timeout": "20s", "hold": "1m",
        "max_connections": "100", "queue_timeout": "250ms",
    ]
    let (options, findings) = options(labels.merging(["weight": "30"]) { $1 })
    #expect(findings.isEmpty)
    #expect(options?.weight == 30)
    #expect(options?.slowStartMs == 30_000)
    #expect(options?.maxFails == 5)
    #expect(options?.failTimeoutMs == 20_000)
    #expect(options?.holdMs == 60_000)
    #expect(options?.maxConnections == 100)
    #expect(options?.queueTimeoutMs == 250)
    #expect(options?.health == nil)
    #expect(mapped(place).configuration.services.first?.options == ServiceOptions())
}

@Test func optionsThatNeedOthers() {
    #expect(options(["fail_timeout": "0"]).0?.maxFails == 0)
    #expect(options(["fail_timeout": "0"]).0?.failTimeoutMs == nil)
    #expect(options(["fail_timeout": "5s"]).1.isEmpty)
    #expect(
        options(["fail_timeout": "5s", "max_fails": "0"]).1 == [
            "warning web fail_timeout: has no effect with max_fails=0"
        ])
    #expect(
        options(["queue_timeout": "5s"]).1 == ["warning web queue_timeout: has no effect without max_connections"])
    #expect(options(["hold": "0"]).0?.holdMs == 0)
    #expect(options(["slow_start": "0"]).0?.slowStartMs == nil)
}

@Test(
    "a key goes before the method, and the cookie before the address before the header",
    arguments: [
        ([:], Balancing(), []), (["lb": "Least_Conn"], Balancing(method: .leastConnections), []),
        (["lb": "random"], Balancing(method: .random), []),
        (["lb": "hash:header:X-User"], Balancing(key: .header("x-user")), []),
        (["ip_hash": "yes"], Balancing(key: .clientAddress), []), (["ip_hash": "no"], Balancing(), []),
        (["sticky_session_cookie": "SID"], Balancing(key: .cookie("SID")), []),
        (
            ["sticky_session_cookie": "SID", "lb": "least_conn"],
            Balancing(method: .leastConnections, key: .cookie("SID")), []
        ),
        (
            ["sticky_session_cookie": "SID", "ip_hash": "true", "lb": "hash:header:x"],
            Balancing(key: .cookie("SID")), ["ip_hash", "lb"]
        ), (["ip_hash": "true", "lb": "hash:header:x"], Balancing(key: .clientAddress), ["lb"]),
    ] as [([String: String], Balancing, [String])])
func keys(labels: [String: String], expected: Balancing, warned: [String]) {
    let (balancing, findings) = balancing(labels)
    #expect(balancing == expected)
    #expect(findings.map { $0.split(separator: " ")[2].dropLast() } == warned.map { $0[...] })
    #expect(findings.allSatisfy { $0.hasPrefix("warning web ") && $0.contains("has no effect beside ") })
}

@Test func behindAVirtualAddressNobodySticks() {
    var inventory = webInventory(place.merging(["backend_mode": "vip", "ip_hash": "true"]) { $1 })
    inventory.services[0].virtualIPs = [on("n-front", "10.0.1.5")]
    let snapshot = snapshot(of: inventory)
    #expect(snapshot.configuration.routes.first?.balancing.key == .clientAddress)
    #expect(snapshot.diagnostics.map(\.label) == ["ip_hash"])
    #expect(snapshot.diagnostics.first?.message.contains("backend_mode=task") == true)
}

@Test(
    "a health check is what its labels say, and http if any of them is about http",
    arguments: [
        (["health_mode": "http"], HealthCheck(), []), (["health_mode": "tcp"], HealthCheck(mode: .tcp), []),
        (["health_path": "/live?deep=1"], HealthCheck(path: "/live?deep=1"), []),
        (["health_path": "/live/"], HealthCheck(path: "/live/"), []),
        (["health_status": "204"], HealthCheck(statuses: [204...204]), []),
        (["health_status": "2xx, 401,302,300,301,2XX"], HealthCheck(statuses: [200...302, 401...401]), []),
        (["health_interval": "1s"], HealthCheck(mode: .tcp, intervalMs: 1000), []),
        (["health_timeout": "100ms"], HealthCheck(mode: .tcp, timeoutMs: 100), []),
        (["health_port": "9000"], HealthCheck(mode: .tcp, port: 9000), []),
        (["health_rise": "1", "health_fall": "1"], HealthCheck(mode: .tcp, rise: 1, fall: 1), []),
        (
            ["health_mode": "tcp", "health_path": "/x", "health_status": "200"], HealthCheck(mode: .tcp),
            ["health_path", "health_status"]
        ),
    ] as [([String: String], HealthCheck, [String])])
func healthChecks(labels: [String: String], expected: HealthCheck, warned: [String]) {
    let (options, findings) = options(labels)
    #expect(options?.health == expected)
    #expect(findings.map { $0.split(separator: " ")[2].dropLast() } == warned.map { $0[...] })
}

// MARK: Conditions

@Test(
    "conditions are read to one form",
    arguments: [
        (["match_headers": "X-Preview: green"], "x-preview: green"),
        (["match_headers": "x-b; X-A : y ;X-B;;"], "x-a: y; x-b"),
        (["match_headers": "Accept: a:b"], "accept: a:b"),
        (["match_headers": "X-A;X-A: 1"], "x-a; x-a: 1"), (["match_methods": "post, GET,Post,"], "GET, POST"),
        (["match_methods": "PURGE", "match_headers": "-x"], "-x; PURGE"),
        (["match_headers": "X-A: \u{E4}"], "x-a: \u{E4}"),
    ])
func conditions(labels: [String: String], expected: String) {
    let snapshot = mapped(place.merging(labels) { $1 })
    #expect(snapshot.configuration.routes.map { "\($0.conditions)" } == [expected])
    #expect(snapshot.diagnostics.isEmpty)
    #expect(snapshot.problems().isEmpty)
}

/// `path conditions -> services`, in the order in which they are asked.
private func asked(_ snapshot: Snapshot) -> [String] {
    snapshot.configuration.routes.map { route in
        let names = route.services.map { snapshot.configuration.services[$0].name }.joined(separator: " ")
        return "\(route.pathPrefix) [\(route.conditions)] -> \(names)"
    }
}

@Test func onlyEqualConditionsShareARoute() {
    let preview = ["hosts": "a.test", "match_headers": "x-preview:green"]
    let snapshot = mapped(
        ("blue", ["hosts": "a.test"]), ("green", preview),
        ("green2", ["hosts": "A.test", "match_headers": "X-Preview: green;"]),
        ("any", ["hosts": "a.test", "match_headers": "X-Preview"]),
        ("both", preview.merging(["match_methods": "GET"]) { $1 }),
        ("posts", ["hosts": "a.test", "match_methods": "post"]),
        ("more", ["hosts": "a.test", "match_headers": "a;b"]),
        ("reads", ["hosts": "a.test", "match_methods": "GET,HEAD"]),
        ("app", preview.merging(["context_root": "/app"]) { $1 }))
    #expect(
        asked(snapshot) == [
            "/ [a; b] -> more", "/ [x-preview: green; GET] -> both", "/ [x-preview: green] -> green green2",
            "/ [x-preview] -> any", "/ [POST] -> posts", "/ [GET, HEAD] -> reads", "/ [] -> blue",
            "/app [x-preview: green] -> app",
        ])
    #expect(snapshot.diagnostics.isEmpty)
    #expect(snapshot.problems().isEmpty)
}

@Test func stacksThatShareAPathAreToldWhateverTheirConditions() {
    func file(_ name: String, _ stack: String, _ labels: [String: String], _ age: Int64) -> ServicesFile {
        let service = FileService(name: name, labels: lb(labels, stack: stack), endpoints: ["10.0.0.1:1"])
        return ServicesFile(name: name, origin: .config, createdAtNs: age, services: [service])
    }
    let inventory = Inventory(files: [
        file("old", "one", ["hosts": "a.test"], 1),
        file("thief", "two", ["hosts": "a.test", "match_methods": "POST"], 2),
    ])
    let shared = ServiceMapping.snapshot(of: inventory, settings: MappingSettings())
    #expect(diagnosed(shared) == ["warning thief hosts: shares a.test with old of stack one: both answer for it"])
    let owned = ServiceMapping.snapshot(of: inventory, settings: MappingSettings(hostOwnership: .stack))
    #expect(asked(owned) == ["/ [] -> old"])
}

@Test func conditionsDoNotOpenAPathToPlainHTTP() {
    let snapshot = mapped(
        ("old", ["hosts": "a.test", "ssl_only": "true"]), ("young", ["hosts": "a.test", "match_methods": "GET"]))
    #expect(asked(snapshot) == ["/ [] -> old"])
    #expect(snapshot.diagnostics.map(\.label) == ["ssl_only"])
}

@Test(
    "who sees no requests cannot look into them",
    arguments: [
        (["match_headers": "x"], "match_headers", false), (["match_methods": "GET"], "match_methods", false),
        (["sticky_session_cookie": "SID"], "sticky_session_cookie", true), (["lb": "hash:header:x"], "lb", true),
    ])
func unseenRequests(labels: [String: String], label: String, isRouted: Bool) {
    for transport in [["tcp_port": "5432"], ["ssl_passthrough": "true"]] {
        let base = transport["tcp_port"] == nil ? place : ["port": "80"]
        let snapshot = mapped(base.merging(transport) { $1 }.merging(labels) { $1 })
        #expect(snapshot.configuration.services.count == (isRouted ? 1 : 0))
        #expect(snapshot.diagnostics.map(\.label) == [label])
        #expect(snapshot.diagnostics.map(\.severity) == [isRouted ? .warning : .error])
    }
    let weighed = mapped(["tcp_port": "5432", "port": "80", "weight": "5", "hold": "5s", "health_mode": "tcp"])
    #expect(weighed.diagnostics.isEmpty)
}

@Test func connectionsArePickedForToo() {
    let random = ["port": "80", "lb": "random", "ip_hash": "true"]
    let raw = mapped(
        ("old", random.merging(["tcp_port": "5432"]) { $1 }),
        ("young", ["port": "80", "tcp_port": "5432", "lb": "least_conn"]))
    let expected = Balancing(method: .random, key: .clientAddress)
    #expect(raw.configuration.streams.map(\.balancing) == [expected])
    #expect(diagnosed(raw) == ["warning young lb: differs from old on port 5432; the older service's is used"])
    let named = mapped(random.merging(["tcp_port": "5432", "hosts": "a.test"]) { $1 })
    #expect(named.configuration.streams.flatMap { $0.hosts.map(\.balancing) } == [expected])
    let passed = mapped(random.merging(["ssl_passthrough": "true", "hosts": "a.test"]) { $1 })
    #expect(passed.configuration.hosts.map(\.balancing) == [expected])
    #expect(named.diagnostics.isEmpty && passed.diagnostics.isEmpty)
    #expect(raw.problems() + named.problems() + passed.problems() == [])
}

// MARK: Services that share a route

@Test func theOldestServiceSaysHowTasksArePicked() {
    let snapshot = mapped(
        ("old", ["hosts": "a.test", "lb": "least_conn", "ip_hash": "true"]),
        ("same", ["hosts": "a.test", "lb": "least_conn", "ip_hash": "true"]), ("silent", ["hosts": "a.test"]),
        ("cookie", ["hosts": "a.test", "sticky_session_cookie": "SID", "lb": "random"]),
        ("header", ["hosts": "a.test", "lb": "hash:header:x"]))
    #expect(
        snapshot.configuration.routes.map(\.balancing) == [Balancing(method: .leastConnections, key: .clientAddress)])
    #expect(
        diagnosed(snapshot) == [
            "warning cookie lb: differs from old on a.test; the older service's is used",
            "warning cookie sticky_session_cookie: differs from old on a.test; the older service's is used",
            "warning header lb: differs from old on a.test; the older service's is used",
        ])
}

@Test func weightsStayWithTheirServices() {
    let snapshot = mapped(
        ("blue", ["hosts": "a.test", "weight": "0"]), ("green", ["hosts": "a.test", "weight": "100"]),
        ("canary", ["hosts": "a.test"]))
    #expect(snapshot.configuration.services.map(\.options.weight) == [0, nil, 100])
    #expect(snapshot.diagnostics.isEmpty)
}

@Test func somebodyHasToHaveWeight() {
    let zero = ["hosts": "a.test", "weight": "0"]
    let snapshot = mapped(
        ("blue", zero), ("green", zero), ("app", zero.merging(["context_root": "/app"]) { $1 }),
        ("live", ["hosts": "a.test", "context_root": "/app", "weight": "1"]))
    let message = "a.test is answered by nobody: every service there has weight 0"
    #expect(diagnosed(snapshot) == ["warning blue weight: \(message)", "warning green weight: \(message)"])
    #expect(mapped(["tcp_port": "5432", "port": "80", "weight": "0"]).diagnostics.map(\.label) == ["weight"])
    #expect(mapped(zero.merging(["ssl_passthrough": "true"]) { $1 }).diagnostics.map(\.label) == ["weight"])
}

@Test("an update that takes a condition away and goes wrong does not open what it closed")
func lostConditions() {
    let wanted = place.merging(["match_headers": "X-Team: qa", "retries": "x"]) { $1 }
    let open = snapshot(of: webInventory(wanted, previous: place))
    #expect(open.configuration.routes.isEmpty)
    let closed = snapshot(of: webInventory(wanted, previous: place.merging(["match_headers": "x-team:qa"]) { $1 }))
    #expect(asked(closed) == ["/ [x-team: qa] -> web"])
}
