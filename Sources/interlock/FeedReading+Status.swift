// From what the feed, the history and an extension say about themselves to what the admin pages show.

import Admin
import Controller
import Extension
import Feed
import Model
import TLS

extension FeedOrigin {
    init(_ status: FeedClientStatus) {
        self.init()
        isConnected = status.isConnected
        controller =
            status.controllerID.isEmpty
            ? status.controllerAddress : "\(status.controllerID) (\(status.controllerAddress))"
        lastHeardMs = status.lastHeardAgeMs
        version = status.order?.version
        content = Self.short(status.contentDigest)
        isFromDisk = status.isFromDisk
        confirmedAgeMs = status.contentAgeMs
        connectionCount = status.connectionCount
        appliedCount = status.appliedCount
        refusedCount = status.refusedCount
        receivedBytes = status.receivedByteCount
        steppedBackCount = status.olderTakenCount
        problem = status.lastRefusal.isEmpty && !status.isConnected ? status.lastFailure : status.lastRefusal
        if status.isConnected, !status.isControllerCurrent, problem.isEmpty {
            problem = "the controller does not see the cluster now"
        }
    }

    /// Enough of a digest to compare by eye.
    static func short(_ digest: String) -> String { String(digest.prefix(16)) }
}

extension FeedPeer {
    init(_ client: FeedClientReading) {
        self.init(
            name: client.name, role: client.identity.role.rawValue, cluster: client.identity.cluster,
            address: client.address, connectedAtNs: client.connectedAtNs, isCurrent: client.isUpToDate,
            version: client.order?.version, content: FeedOrigin.short(client.contentDigest),
            tableVersion: client.order == nil ? nil : client.tableVersion,
            acknowledgedAtNs: client.acknowledgedAtNs == 0 ? nil : client.acknowledgedAtNs, refusal: client.refusal)
    }
}

extension BalancerReading {
    init(_ status: ExtensionStatus, kind: ExtensionKind) {
        self.init(kind: kind.rawValue)
        appliedAtNs = status.lastSuccess?.atNs
        appliedCount = UInt64(max(0, status.appliedCount))
        failureCount = UInt64(max(0, status.failureCount))
        problem = status.isFailing ? status.lastFailure.map { "\($0.step.rawValue): \($0.text)" } ?? "" : ""
        files = status.files
    }
}

extension PinReading {
    init(_ status: PinStatus) {
        let held = status.heldBack.isEmpty ? "" : "; held back: \(status.heldBack.joined(separator: ", "))"
        self.init(
            number: status.number, sinceNs: status.sinceNs,
            note: status.isInForce ? "by \(status.controller), \(status.cause)\(held)" : status.problem,
            isBroken: !status.isInForce)
    }
}

extension HistoryReading {
    init(_ entries: [HistoryEntry]) {
        self.init(
            entries: entries.map {
                Entry(number: $0.number, atNs: $0.atNs, cause: $0.cause, difference: $0.difference)
            })
    }
}
