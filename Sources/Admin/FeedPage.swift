// `/api/feed` and `/api/history` as JSON: who runs which snapshot, where this process has its own from, and what the
// configuration was before.

import Model

enum FeedPage {
    static func json(_ reading: FeedReading?, balancer: BalancerReading?) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            if let clients = reading?.clients {
                writer.array("clients") { writer in
                    for client in clients { append(client, to: &writer) }
                }
            }
            if let source = reading?.source { append(source, to: &writer) }
            if let balancer { append(balancer, to: &writer) }
        }
        return writer.bytes + [0x0A]
    }

    private static func append(_ client: FeedPeer, to writer: inout JSONWriter) {
        writer.object { writer in
            writer.field("name", client.name)
            writer.field("role", client.role)
            writer.field("cluster", client.cluster)
            writer.field("address", client.address)
            writer.field("connected_at_ns", client.connectedAtNs)
            writer.field("current", client.isCurrent)
            append("version", client.version, to: &writer)
            writer.field("content", client.content)
            append("table_version", client.tableVersion, to: &writer)
            append("acknowledged_at_ns", client.acknowledgedAtNs, to: &writer)
            if !client.refusal.isEmpty { writer.field("refusal", client.refusal) }
        }
    }

    private static func append(_ source: FeedOrigin, to writer: inout JSONWriter) {
        writer.object("source") { writer in
            writer.field("connected", source.isConnected)
            writer.field("controller", source.controller)
            append("last_heard_ms", source.lastHeardMs, to: &writer)
            append("version", source.version, to: &writer)
            writer.field("content", source.content)
            writer.field("from_disk", source.isFromDisk)
            append("confirmed_age_ms", source.confirmedAgeMs, to: &writer)
            writer.field("connections", source.connectionCount)
            writer.field("applied", source.appliedCount)
            writer.field("refused", source.refusedCount)
            writer.field("stepped_back", source.steppedBackCount)
            writer.field("received_bytes", source.receivedBytes)
            if !source.problem.isEmpty { writer.field("problem", source.problem) }
        }
    }

    private static func append(_ balancer: BalancerReading, to writer: inout JSONWriter) {
        writer.object("balancer") { writer in
            writer.field("kind", balancer.kind)
            append("applied_at_ns", balancer.appliedAtNs, to: &writer)
            writer.field("applied", balancer.appliedCount)
            writer.field("failures", balancer.failureCount)
            if !balancer.problem.isEmpty { writer.field("problem", balancer.problem) }
            writer.field("files", balancer.files)
        }
    }

    private static func append(_ name: String, _ number: (some BinaryInteger)?, to writer: inout JSONWriter) {
        if let number { writer.field(name, number) } else { writer.null(name) }
    }
}

enum HistoryPage {
    static func json(_ reading: HistoryReading, pin: PinReading?) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            if let pin {
                writer.object("pin") { writer in
                    if let number = pin.number { writer.field("number", number) } else { writer.null("number") }
                    if let since = pin.sinceNs { writer.field("since_ns", since) } else { writer.null("since_ns") }
                    writer.field("note", pin.note)
                    writer.field("broken", pin.isBroken)
                }
            } else {
                writer.null("pin")
            }
            writer.array("configurations") { writer in
                for entry in reading.entries {
                    writer.object { writer in
                        writer.field("number", entry.number)
                        writer.field("at_ns", entry.atNs)
                        writer.field("cause", entry.cause)
                        writer.field("difference", entry.difference)
                    }
                }
            }
        }
        return writer.bytes + [0x0A]
    }
}
