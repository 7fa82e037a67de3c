// The metrics page: what promtool says, and that it shows what was counted.

import Admin
import Glibc
import Kernel
import Model
import Routing
import Synchronization
import Telemetry
import Testing

private func busyFixture() throws -> Fixture {
    let fixture = try Fixture()
    var numbering = Numbering()
    let upstreams = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].enumerated().map { index, text in
        Upstream(id: "task\(index)", endpoint: Endpoint(text)!, state: UpstreamState.allCases[index])
    }
    var options = ServiceOptions()
    options.connectTimeoutMs = 100
    options.retryStatuses = [502, 503]
    let snapshot = Snapshot(
        order: SnapshotOrder(clusterID: "c1", version: 7, listedAtNs: 9),
        configuration: Configuration(
            services: [Service(id: "s1", name: "web\"\\\n", stack: "shop", desiredTaskCount: 3, options: options)],
            routes: [
                Route(host: .exact("web.test"), services: [0]),
                Route(host: .wildcard("web.test"), pathPrefix: "/app", rewritesPrefix: true, services: [0]),
                Route(host: .any, services: [0]),
            ]),
        endpoints: [upstreams])
    let table = RouteTable(compiling: snapshot, version: 42, numbering: &numbering)
    let cells = fixture.services.update([(slot: 0, name: "web\"\\\n"), (slot: 1, name: "idle")])
    for (status, durationUs) in [(200, 100), (204, 2000), (404, 30_000), (503, 20_000_000)] as [(UInt16, UInt64)] {
        cells.cells(service: 0, worker: Int(status % 2)).addRequest(status: status, durationUs: durationUs)
    }
    cells.cells(service: 0, worker: 1).addBytesIn(1000)
    fixture.services.unrouted.cells(worker: 0).addRequest(status: 503, durationUs: 5)
    for (index, counter) in ProxyCounter.allCases.enumerated() {
        fixture.counters.cells(worker: index % 2).add(counter, UInt64(index + 1))
    }
    fixture.counters.cells(worker: 0).add(.connectTimeout)
    fixture.counters.cells(worker: 0).add(.connectionClosed)
    fixture.counters.cells(worker: 0).add(rejection: 1)
    fixture.counters.cells(worker: 1).add(rejection: 2)
    var docker = DockerReading()
    docker.isConnected = true
    docker.serverVersion = "20.10.24"
    docker.eventLagMs = 12
    docker.lastListAgeMs = 1500
    docker.lastListDurationMs = 3
    docker.fullListCount = 5
    docker.taskCounts = [("running", 3), ("starting", 1)]
    let control = ControlReading(
        docker: docker,
        diagnostics: [
            Diagnostic(severity: .error, service: "bad", label: "port", value: "x\"y", message: "must be a number"),
            Diagnostic(severity: .error, service: "bad", label: "hosts", value: "", message: "is empty"),
            Diagnostic(severity: .warning, service: "web", message: "doubtful"),
        ], publishedCount: 4, unchangedCount: 9, publishedAtNs: 1_795_363_202_125_000_000)
    fixture.state.withLock {
        $0.table = table
        $0.control = control
    }
    return fixture
}

/// Runs a shell line; its output and exit status.
private func shell(_ line: String) -> (output: String, status: Int32) {
    guard let pipe = popen("( \(line) ) 2>&1", "r") else { return ("popen failed", -1) }
    var output: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = fread(&chunk, 1, chunk.count, pipe)
        if count == 0 { break }
        output += chunk[..<count]
    }
    return (String(decoding: output, as: UTF8.self), pclose(pipe))
}

private let hasPromtool = shell("command -v promtool").status == 0

@Suite struct MetricsTests {
    @Test(.enabled(if: hasPromtool, "promtool is not installed (Debian: prometheus)"))
    func promtoolAcceptsItWithoutAWarning() throws {
        for fixture in [try busyFixture(), try Fixture()] {
            defer { fixture.stop() }
            let path = "/tmp/interlock-metrics-\(getpid())-\(fixture.port)"
            defer { unlink(path) }
            let file = try #require(fopen(path, "w"))
            fputs(try fixture.get("/metrics").body, file)
            fclose(file)
            let verdict = shell("promtool check metrics < \(path)")
            #expect(verdict.output == "")
            #expect(verdict.status == 0)
        }
    }

    @Test func itShowsWhatWasCounted() throws {
        let fixture = try busyFixture()
        defer { fixture.stop() }
        let lines = Set(try fixture.get("/metrics").body.split(separator: "\n").map(String.init))
        for expected in [
            #"interlock_build_info{version="1.2.3",revision="abc"} 1"#, "interlock_ready 1", "interlock_workers 2",
            #"interlock_requests_total{service="web\"\\\n",code="2xx"} 2"#,
            #"interlock_requests_total{service="web\"\\\n",code="5xx"} 1"#,
            #"interlock_requests_total{service="-",code="5xx"} 1"#,
            #"interlock_request_duration_seconds_bucket{service="web\"\\\n",le="0.0025"} 2"#,
            #"interlock_request_duration_seconds_bucket{service="web\"\\\n",le="10"} 3"#,
            #"interlock_request_duration_seconds_bucket{service="web\"\\\n",le="+Inf"} 4"#,
            #"interlock_request_duration_seconds_sum{service="web\"\\\n"} 20.0321"#,
            #"interlock_service_received_bytes_total{service="web\"\\\n"} 1000"#,
            "interlock_client_connections_total 1", #"interlock_retries_total{reason="connection_closed"} 1"#,
            #"interlock_upstream_failures_total{reason="connect_timeout"} 1"#,
            #"interlock_upstream_failures_total{reason="reset"} 0"#,
            #"interlock_requests_rejected_total{reason="bad_method"} 2"#,
            #"interlock_requests_rejected_total{reason="bad_request_line"} 0"#, "interlock_table_version 42",
            "interlock_table_routes 3", #"interlock_tasks{state="pending"} 1"#, #"interlock_tasks{state="ready"} 1"#,
            #"interlock_diagnostics{severity="error"} 2"#, "interlock_services_refused 1",
            #"interlock_service_finding{service="bad",label="port",severity="error"} 1"#,
            #"interlock_service_finding{service="bad",label="hosts",severity="error"} 1"#,
            #"interlock_service_finding{service="web",label="",severity="warning"} 1"#,
            "interlock_docker_connected 1", "interlock_docker_event_lag_seconds 0.012",
            "interlock_docker_last_list_age_seconds 1.5", #"interlock_docker_tasks{state="running"} 3"#,
            "interlock_table_published_timestamp_seconds 1795363202.125",
        ] {
            #expect(lines.contains(expected), "\(expected)")
        }
        #expect(!lines.contains { $0.contains("\"idle\"") || $0.contains("out_of_range") })
        let resident = lines.first { $0.hasPrefix("process_resident_memory_bytes ") }
        #expect(resident?.split(separator: " ").last.flatMap { Double($0) }.map { $0 > 1_000_000 } == true)
        let started = lines.first { $0.hasPrefix("process_start_time_seconds ") }
        let age = try #require(started?.split(separator: " ").last.flatMap { Double($0) }).distance(
            to: Double(Clock.realtimeNs()) / 1e9)
        #expect(age >= -2 && age < 3600)
    }

    @Test func seriesOfARemovedServiceVanish() throws {
        let fixture = try busyFixture()
        defer { fixture.stop() }
        _ = fixture.services.update([(slot: 1, name: "idle")])
        let lines = try fixture.get("/metrics").body.split(separator: "\n")
        let left = lines.filter { $0.contains(#"service="web""#) }
        // What is wrong with it is the control plane's to say, as long as that says it.
        #expect(left.allSatisfy { $0.hasPrefix("interlock_service_finding{") }, "\(left)")
    }

    @Test func theLiveTableAsJSON() throws {
        let fixture = try busyFixture()
        defer { fixture.stop() }
        let body = try fixture.get("/api/routes").body
        for expected in [
            #"{"version":42,"order":{"cluster":"c1","version":7,"listed_at_ns":9},"routes":["#,
            #"{"host":"*.web.test","path":"/app","rewrites_prefix":true,"path_policy":"safe","#
                + #""services":["web\"\\\n"]}"#,
            #""name":"web\"\\\n","stack":"shop","cluster":"","source":"file","backend_mode":"task","desired_tasks":3,"#,
            #""options":{"connect_timeout_ms":100,"retry_on":[502,503]}"#,
            #"{"id":"task1","address":"10.0.0.2:80","state":"ready"}"#,
            #"{"severity":"error","service":"bad","label":"port","value":"x\"y","message":"must be a number"}"#,
        ] {
            #expect(body.contains(expected), "\(expected)")
        }
        let empty = try Fixture()
        defer { empty.stop() }
        #expect(
            try empty.get("/api/routes").body
                == #"{"version":null,"order":{"cluster":"","version":0,"listed_at_ns":0},"#
                + #""routes":[],"hosts":[],"streams":[],"services":[],"diagnostics":[]}"# + "\n")
    }

    @Test func entryPorts() throws {
        let fixture = try Fixture()
        defer { fixture.stop() }
        fixture.state.withLock {
            $0.entryPorts = [
                PortReading(port: 5432), PortReading(port: 6379, problem: "another process holds the port"),
            ]
        }
        let lines = Set(try fixture.get("/metrics").body.split(separator: "\n").map(String.init))
        #expect(lines.contains(#"interlock_entry_ports{state="open"} 1"#))
        #expect(lines.contains(#"interlock_entry_ports{state="unavailable"} 1"#))
        let index = try fixture.get("/").body
        #expect(index.contains("entry port  5432, open\n"))
        #expect(index.contains("entry port  6379, another process holds the port\n"))
    }
}
