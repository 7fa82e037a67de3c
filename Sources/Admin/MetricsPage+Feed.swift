// The part of /metrics about the feed, about a pinned configuration, and about another load balancer.

import Telemetry

extension MetricsPage {
    static func appendPin(_ pin: PinReading?, _ history: HistoryReading?, to text: inout PrometheusText) {
        guard pin != nil || history != nil else { return }
        text.family("interlock_configuration_pinned", .gauge, "1 while an earlier configuration is pinned.")
        text.sample(UInt64(pin.map { $0.isBroken ? 0 : 1 } ?? 0))
        text.family("interlock_pin_broken", .gauge, "1 while a pin is there that cannot be used.")
        text.sample(UInt64(pin?.isBroken == true ? 1 : 0))
        if let newest = history?.entries.first {
            text.family("interlock_configuration_number", .gauge, "The newest configuration in the history.")
            text.sample(UInt64(max(0, newest.number)))
        }
    }

    static func appendFeed(_ feed: FeedReading, to text: inout PrometheusText) {
        if let clients = feed.clients { append(clients, to: &text) }
        if let source = feed.source { append(source, to: &text) }
    }

    private static func append(_ clients: [FeedPeer], to text: inout PrometheusText) {
        var counts: [[String]: (all: UInt64, current: UInt64, refusing: UInt64)] = [:]
        for client in clients {
            counts[[client.cluster, client.role], default: (0, 0, 0)].all += 1
            if client.isCurrent { counts[[client.cluster, client.role], default: (0, 0, 0)].current += 1 }
            if !client.refusal.isEmpty { counts[[client.cluster, client.role], default: (0, 0, 0)].refusing += 1 }
        }
        let rows = counts.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        text.family("interlock_feed_clients", .gauge, "Proxies and extensions that are connected.")
        for (key, count) in rows { text.sample(["cluster": key[0], "role": key[1]], count.all) }
        text.family("interlock_feed_clients_current", .gauge, "Of these, the ones that run what is in force.")
        for (key, count) in rows { text.sample(["cluster": key[0], "role": key[1]], count.current) }
        text.family("interlock_feed_clients_refusing", .gauge, "Of these, the ones that refused the newest snapshot.")
        for (key, count) in rows { text.sample(["cluster": key[0], "role": key[1]], count.refusing) }
    }

    private static func append(_ source: FeedOrigin, to text: inout PrometheusText) {
        text.family("interlock_feed_connected", .gauge, "1 while a controller is heard.")
        text.sample(UInt64(source.isConnected ? 1 : 0))
        text.family("interlock_feed_from_disk", .gauge, "1 while the snapshot in force is the one that was on disk.")
        text.sample(UInt64(source.isFromDisk ? 1 : 0))
        if let age = source.confirmedAgeMs {
            text.family(
                "interlock_feed_confirmed_age_seconds", .gauge, "Since a controller confirmed the snapshot in force.")
            text.sample(Double(age) / 1000)
        }
        let counters: [(name: String, help: String, value: UInt64)] = [
            ("interlock_feed_connections_total", "Connections made to controllers.", source.connectionCount),
            ("interlock_feed_snapshots_applied_total", "Snapshots taken.", source.appliedCount),
            ("interlock_feed_snapshots_refused_total", "Snapshots refused.", source.refusedCount),
            (
                "interlock_feed_steps_back_total", "Older snapshots taken, for lack of newer ones.",
                source.steppedBackCount
            ),
            ("interlock_feed_received_bytes_total", "Bytes of snapshots received.", source.receivedBytes),
        ]
        for row in counters {
            text.family(row.name, .counter, row.help)
            text.sample(row.value)
        }
    }

    static func appendBalancer(_ balancer: BalancerReading, to text: inout PrometheusText) {
        text.family("interlock_extension_applied_total", .counter, "Configurations that the load balancer took.")
        text.sample(["kind": balancer.kind], balancer.appliedCount)
        text.family("interlock_extension_failures_total", .counter, "Configurations that it did not take.")
        text.sample(["kind": balancer.kind], balancer.failureCount)
        text.family("interlock_extension_problem", .gauge, "1 while it does not run the newest configuration.")
        text.sample(["kind": balancer.kind], UInt64(balancer.problem.isEmpty ? 0 : 1))
    }
}
