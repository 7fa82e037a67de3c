// /metrics: what the workers, the control plane and the process counted, in Prometheus' text format. Names and labels
// are a contract with dashboards. Every label's values are a closed set or the names of live services.

import Model
import Routing
import Telemetry

enum MetricsPage {
    static func render(_ source: AdminSource, process: ProcessStatistics) -> [UInt8] {
        var text = PrometheusText()
        appendProcess(source, process, to: &text)
        if let traffic = source.traffic {
            appendServices(traffic.services.readings(), to: &text)
            appendTraffic(traffic.counters, to: &text)
            appendReasons(traffic, to: &text)
            appendTLS(traffic, source.tls(), to: &text)
            appendTable(source.table(), to: &text)
            appendHealth(traffic, source.tasks(), to: &text)
            appendPorts(source.entryPorts(), to: &text)
        }
        let control = source.control()
        appendDiagnostics(control, to: &text)
        if let docker = control.docker { appendDocker(docker, to: &text) }
        appendPin(control.pin, source.history(), to: &text)
        if let feed = source.feed() { appendFeed(feed, to: &text) }
        if let balancer = source.balancer() { appendBalancer(balancer, to: &text) }
        return text.bytes
    }

    // MARK: Process and phase

    private static func appendProcess(
        _ source: AdminSource, _ process: ProcessStatistics, to text: inout PrometheusText
    ) {
        text.family("interlock_build_info", .gauge, "What is running; always 1.")
        text.sample(["version": source.build.version, "revision": source.build.revision], UInt64(1))
        let health = source.health()
        text.family("interlock_ready", .gauge, "1 while the proxy should get traffic.")
        text.sample(UInt64(health.phase == .ready && health.problem == nil ? 1 : 0))
        text.family("interlock_draining", .gauge, "1 while the proxy finishes what it has and takes nothing new.")
        text.sample(UInt64(health.phase == .draining ? 1 : 0))
        if let traffic = source.traffic {
            text.family("interlock_workers", .gauge, "Worker threads.")
            text.sample(UInt64(traffic.counters.workerCount))
        }

        let reading = process.reading()
        text.family("process_cpu_seconds_total", .counter, "Processor time used, user and system.")
        text.sample(reading.cpuSeconds)
        text.family("process_resident_memory_bytes", .gauge, "Memory that is resident.")
        text.sample(reading.residentBytes)
        text.family("process_virtual_memory_bytes", .gauge, "Memory that is mapped.")
        text.sample(reading.virtualBytes)
        text.family("process_open_fds", .gauge, "Open file descriptors.")
        text.sample(reading.openDescriptors)
        text.family("process_max_fds", .gauge, "The limit of open file descriptors.")
        text.sample(reading.maximumDescriptors)
        if let started = process.startedAtSeconds {
            text.family("process_start_time_seconds", .gauge, "When the process started, seconds since 1970.")
            text.sample(started)
        }
    }

    // MARK: Services

    private static func appendServices(_ all: [ServiceReading], to text: inout PrometheusText) {
        // A service that nobody asked for has no series: ten thousand of them are not a page of megabytes.
        let readings = all.filter { $0 != ServiceReading(name: $0.name) }
        text.family("interlock_requests_total", .counter, "Requests that ended, by service and class of the status.")
        for reading in readings {
            for (index, count) in reading.requests.enumerated() where count > 0 || index >= 2 {
                text.sample(["service": reading.name, "code": index == 0 ? "none" : "\(index)xx"], count)
            }
        }
        text.family(
            "interlock_request_duration_seconds", .histogram,
            "From a request's first byte to its answer's last, by service.")
        for reading in readings {
            text.histogram("service", reading.name, buckets: reading.buckets, sumUs: reading.durationSumUs)
        }
        let families: [(name: String, help: String, value: KeyPath<ServiceReading, UInt64>)] = [
            ("interlock_service_received_bytes_total", "Bytes that clients sent, by service.", \.bytesIn),
            ("interlock_service_sent_bytes_total", "Bytes that clients were sent, by service.", \.bytesOut),
            ("interlock_service_retries_total", "Further attempts, by service.", \.retries),
            ("interlock_service_failures_total", "Failures of tasks, by service.", \.failures),
            ("interlock_stream_connections_total", "TCP connections that ended, by service.", \.streams),
            ("interlock_service_waits_total", "Requests that waited for a task, by service.", \.waits),
            (
                "interlock_stream_connections_failed_total", "TCP connections that reached no task, by service.",
                \.streamsFailed
            ),
        ]
        for family in families {
            text.family(family.name, .counter, family.help)
            for reading in readings { text.sample(["service": reading.name], reading[keyPath: family.value]) }
        }
        text.family(
            "interlock_service_wait_seconds_total", .counter, "Time that requests waited for a task, by service.")
        for reading in readings { text.sample(["service": reading.name], Double(reading.waitUs) / 1_000_000) }
        text.family("interlock_service_waiting", .gauge, "Requests that wait for a task now, by service.")
        for reading in readings { text.sample(["service": reading.name], reading.waiting) }
    }

    // MARK: All traffic

    private static let traffic: [(counter: ProxyCounter, name: String, kind: PrometheusText.Kind, help: String)] = [
        (.connectionsAccepted, "interlock_client_connections_total", .counter, "Client connections accepted."),
        (.connectionsActive, "interlock_client_connections", .gauge, "Client connections open now."),
        (.connectionsIdle, "interlock_client_connections_idle", .gauge, "Of these, waiting for a next request."),
        (
            .connectionsRejected, "interlock_client_connections_rejected_total", .counter,
            "Client connections closed at a limit before their first request."
        ),
        (
            .connectionsEvicted, "interlock_client_connections_evicted_total", .counter,
            "Idle client connections closed to make room."
        ),
        (.requestsActive, "interlock_requests_active", .gauge, "Requests under way."),
        (.upstreamConnectionsOpened, "interlock_upstream_connections_total", .counter, "Connections made to tasks."),
        (
            .upstreamConnectionsReused, "interlock_upstream_connections_reused_total", .counter,
            "Requests sent on a connection that was there."
        ),
        (.upstreamConnectionsActive, "interlock_upstream_connections", .gauge, "Connections to tasks open now."),
        (.upstreamConnectionsIdle, "interlock_upstream_connections_idle", .gauge, "Of these, waiting for reuse."),
        (.bytesFromClients, "interlock_client_received_bytes_total", .counter, "Bytes read from clients."),
        (.bytesToClients, "interlock_client_sent_bytes_total", .counter, "Bytes written to clients."),
        (.bytesFromUpstreams, "interlock_upstream_received_bytes_total", .counter, "Bytes read from tasks."),
        (.bytesToUpstreams, "interlock_upstream_sent_bytes_total", .counter, "Bytes written to tasks."),
        (.tunnelsOpened, "interlock_tunnels_total", .counter, "Connections upgraded to a tunnel, as for WebSocket."),
        (.tunnelsActive, "interlock_tunnels", .gauge, "Tunnels open now."),
        (.streamsActive, "interlock_stream_connections", .gauge, "TCP connections under way now."),
        (.handshakesActive, "interlock_tls_handshakes_active", .gauge, "TLS handshakes with clients under way."),
        (.acceptPauses, "interlock_accept_pauses_total", .counter, "Times that accepting paused at a limit."),
        (.acceptPaused, "interlock_accept_paused_workers", .gauge, "Workers that have paused accepting now."),
        (.tableSwaps, "interlock_worker_table_swaps_total", .counter, "Tables that workers have taken."),
        (.accessLogDropped, "interlock_access_log_dropped_lines_total", .counter, "Access log lines lost."),
        (.glitches, "interlock_glitches_total", .counter, "Odd but tolerated behaviour of peers."),
    ]

    private static func appendTraffic(_ counters: ProxyCounters, to text: inout PrometheusText) {
        for row in traffic {
            text.family(row.name, row.kind, row.help)
            text.sample(counters.total(row.counter))
        }
    }

    private static func appendReasons(_ source: TrafficSource, to text: inout PrometheusText) {
        let counters = source.counters
        text.family("interlock_retries_total", .counter, "Further attempts of requests, by reason.")
        for reason in RetryReason.allCases { text.sample(["reason": reason.name], counters.total(reason)) }
        text.family("interlock_upstream_failures_total", .counter, "What went wrong with tasks, by reason.")
        for failure in UpstreamFailure.allCases { text.sample(["reason": failure.name], counters.total(failure)) }
        text.family("interlock_requests_rejected_total", .counter, "Requests the proxy answered itself, by reason.")
        // Several numbers may share a name; a series may appear only once.
        var totals: [String: UInt64] = [:]
        for entry in source.rejectionNames where (0..<ProxyCells.rejectionCapacity).contains(entry.number) {
            totals[entry.name, default: 0] &+= counters.total(rejection: entry.number)
        }
        for (name, total) in totals.sorted(by: { $0.key < $1.key }) { text.sample(["reason": name], total) }
    }

    // MARK: The table and the control plane

    private static func appendTable(_ table: RouteTable?, to text: inout PrometheusText) {
        text.family("interlock_table_version", .gauge, "The version of the table that is served; 0 before the first.")
        text.sample(table?.version ?? 0)
        text.family("interlock_table_routes", .gauge, "Routes in the table.")
        text.sample(UInt64(table?.routeCount ?? 0))
        text.family("interlock_table_services", .gauge, "Services in the table.")
        text.sample(UInt64(table?.serviceCount ?? 0))
        var counts: [UpstreamState: UInt64] = [:]
        for upstreams in table?.snapshot.endpoints ?? [] {
            for upstream in upstreams { counts[upstream.state, default: 0] += 1 }
        }
        text.family("interlock_tasks", .gauge, "Tasks and fixed endpoints in the table, by state.")
        for state in UpstreamState.allCases { text.sample(["state": state.rawValue], counts[state] ?? 0) }
    }

    private static func appendPorts(_ ports: [PortReading], to text: inout PrometheusText) {
        text.family("interlock_entry_ports", .gauge, "Ports of services, by whether somebody listens there.")
        text.sample(["state": "open"], UInt64(ports.count { $0.problem == nil }))
        text.sample(["state": "unavailable"], UInt64(ports.count { $0.problem != nil }))
    }

    /// Services that are left out because of an error.
    static func refusedCount(_ diagnostics: [Diagnostic]) -> Int {
        Set(diagnostics.filter { $0.severity == .error }.map(\.service)).count
    }

    /// Series that name services and labels; who has more broken services than this looks at `/api/routes`.
    private static let findingLimit = 500

    /// Which service is wrong, and in which label: gone as soon as it is right.
    private static func appendFindings(_ diagnostics: [Diagnostic], to text: inout PrometheusText) {
        guard !diagnostics.isEmpty else { return }
        text.family(
            "interlock_service_finding", .gauge, "1 for each service and label that a finding stands about now.")
        var seen: Set<[String]> = []
        for finding in diagnostics.prefix(findingLimit) {
            let labels = [finding.service, finding.label, finding.severity.rawValue]
            guard seen.insert(labels).inserted else { continue }
            text.sample(["service": labels[0], "label": labels[1], "severity": labels[2]], UInt64(1))
        }
    }

    private static func appendDiagnostics(_ control: ControlReading, to text: inout PrometheusText) {
        text.family("interlock_diagnostics", .gauge, "Findings about services that stand now, by severity.")
        for severity in [Diagnostic.Severity.error, .warning] {
            let count = control.diagnostics.count { $0.severity == severity }
            text.sample(["severity": severity.rawValue], UInt64(count))
        }
        text.family("interlock_services_refused", .gauge, "Services that are left out because of an error.")
        text.sample(UInt64(refusedCount(control.diagnostics)))
        appendFindings(control.diagnostics, to: &text)
        text.family("interlock_snapshots_published_total", .counter, "Changes handed to the workers.")
        text.sample(control.publishedCount)
        text.family("interlock_snapshots_unchanged_total", .counter, "Looks at the world that found nothing new.")
        text.sample(control.unchangedCount)
        if let publishedAtNs = control.publishedAtNs {
            text.family(
                "interlock_table_published_timestamp_seconds", .gauge,
                "When the served table was handed to the workers, seconds since 1970.")
            text.sample(Double(publishedAtNs / 1_000_000) / 1000)
        }
    }

    private static func appendDocker(_ docker: DockerReading, to text: inout PrometheusText) {
        text.family("interlock_docker_connected", .gauge, "1 while the last list succeeded.")
        text.sample(UInt64(docker.isConnected ? 1 : 0))
        text.family("interlock_docker_event_stream_open", .gauge, "1 while the engine's events are read.")
        text.sample(UInt64(docker.isEventStreamOpen ? 1 : 0))
        text.family("interlock_docker_lists_total", .counter, "Lists read from the engine, by scope.")
        text.sample(["scope": "all"], docker.fullListCount)
        text.sample(["scope": "tasks"], docker.taskListCount)
        text.family("interlock_docker_list_failures_total", .counter, "Lists that failed.")
        text.sample(docker.failedListCount)
        text.family("interlock_docker_lists_stale_total", .counter, "Lists older than what was known; not used.")
        text.sample(docker.staleListCount)
        text.family("interlock_docker_events_total", .counter, "Events read from the engine.")
        text.sample(docker.eventCount)
        text.family("interlock_docker_unannounced_changes_total", .counter, "Changes that no event announced.")
        text.sample(docker.unannouncedChangeCount)
        let durations: [(name: String, help: String, valueMs: Int?)] = [
            ("interlock_docker_event_lag_seconds", "From the last event's time to its receipt.", docker.eventLagMs),
            ("interlock_docker_last_list_age_seconds", "Since the last good list began.", docker.lastListAgeMs),
            ("interlock_docker_list_duration_seconds", "How long the last list took.", docker.lastListDurationMs),
        ]
        for row in durations {
            guard let valueMs = row.valueMs else { continue }
            text.family(row.name, .gauge, row.help)
            text.sample(Double(valueMs) / 1000)
        }
        text.family("interlock_docker_tasks", .gauge, "The engine's tasks that are wanted or stopping, by state.")
        var counts: [String: Int] = [:]
        for entry in docker.taskCounts { counts[entry.state, default: 0] += entry.count }
        for (state, count) in counts.sorted(by: { $0.key < $1.key }) {
            text.sample(["state": state], UInt64(max(count, 0)))
        }
    }
}
