// What the follower does with contents: asks for what it lacks, judges the offer, has it applied, and tells the
// controller what became of it.

internal import Kernel
internal import Model

extension FeedFollower {
    /// Begins with what is on disk.
    mutating func restore() {
        guard let restored = client.applier.restore() else { return }
        hold(restored.applied)
        if restored.lacksSecrets { bareDigest = restored.applied.candidate.bareDigest }
        client.confirmed(atRealtimeNs: restored.savedAtNs)
        client.report { $0.isFromDisk = true }
    }

    mutating func take(_ event: FeedClientSession.Event) {
        switch event {
        case .welcomed: break
        case .offered(let manifest): offered(manifest)
        case .fetched(let fetched):
            guard let current, let offer = current.offer else { return }
            candidate = FeedCandidate(
                name: offer.name, digests: offer.digests, pieces: fetched, connection: current.number)
            advance(Clock.monotonicNs())
        }
    }

    private mutating func offered(_ manifest: FeedManifest) {
        let name = manifest.name
        drop()
        current?.order = name.order
        current?.offer = FeedFollower.Offer(name: name, digests: manifest.entries.map(\.digest))
        current?.isConfirmed = false
        current?.isRefused = false
        let nowNs = Clock.monotonicNs()
        refused = refused.filter { $0.value.untilNs > nowNs }
        if let objection = succession.held.flatMap({
            FeedSuccession.objection(to: name.order, held: $0.order)
        }) {
            refuse(name, objection)
        } else if let (_, reason) = refused[name.digest] {
            current?.isRefused = true
            answer(name, .refused, reason)
        } else {
            let held = pieces
            if let event = current?.session.fetch(holding: { held[$0] }) { take(event) }
        }
    }

    /// Goes on with the candidate, if there is one and the time has come.
    mutating func advance(_ nowNs: UInt64) {
        guard !isApplying, let candidate else { return }
        let isCurrent = current?.session.isServerCurrent ?? false
        switch succession.judge(candidate.name, isCurrent: isCurrent, nowNs: nowNs) {
        case .take: apply(candidate)
        case .same:
            self.candidate = nil
            succession.confirm(candidate.name)
            client.waits(nil, untilNs: nil)
            let order = succession.held?.order
            client.report { status in
                status.order = order
                status.isFromDisk = false
                status.lastRefusal = ""
            }
            settled(candidate)
        case .wait(let untilNs):
            // What is held lacks its secrets, and here they are.
            if let bareDigest, bareDigest == candidate.bareDigest { return apply(candidate) }
            client.waits(candidate.name.order, untilNs: untilNs)
            guard !candidate.isToldToWait else { return }
            self.candidate?.isToldToWait = true
            let reason = "older than what is served, waits for a newer one"
            client.tell(
                .warning, "a controller offers an older snapshot, waiting for a newer one",
                "\(current?.name ?? "a controller"), at most \(client.settings.patienceMs) ms")
            answer(candidate.name, .waiting, reason, candidate.connection)
        case .takeOlder:
            client.tell(
                .warning, "taking an older snapshot, since no newer one came",
                "\(Self.text(candidate.name.order)) after \(succession.held.map { Self.text($0.order) } ?? "nothing")")
            client.report { $0.olderTakenCount &+= 1 }
            apply(candidate)
        case .refuse(let objection):
            self.candidate = nil
            refuse(candidate.name, objection, candidate.connection)
        }
    }

    /// When `advance` is due; nil: not by time.
    var candidateDueNs: UInt64? {
        guard let candidate, candidate.isToldToWait, !isApplying else { return nil }
        return succession.waitUntilNs
    }

    private mutating func apply(_ candidate: FeedCandidate) {
        self.candidate = nil
        isApplying = true
        client.waits(nil, untilNs: nil)
        client.applier.submit(candidate)
    }

    /// The applier is done with a candidate.
    mutating func finish(_ applied: FeedApplied, _ nowNs: UInt64) {
        isApplying = false
        let candidate = applied.candidate
        switch applied.outcome {
        case .success:
            hold(applied)
            bareDigest = nil
            client.report { status in
                status.isFromDisk = false
                status.appliedCount &+= 1
                status.lastRefusal = ""
            }
            client.tell(.debug, "a snapshot of the feed is applied", Self.text(candidate.name.order))
            settled(candidate)
        case .failure(let failure):
            let pauseNs = FeedClientSettings.nanoseconds(client.settings.refusalPauseMs)
            refused[candidate.name.digest] = (nowNs &+ pauseNs, failure.description)
            refuse(candidate.name, failure.description, candidate.connection)
        }
    }

    private mutating func hold(_ applied: FeedApplied) {
        guard case .success(let version) = applied.outcome else { return }
        let name = applied.candidate.name
        succession.take(name)
        pieces = applied.pieces
        tableVersion = version
        client.report { status in
            status.order = name.order
            status.contentDigest = "\(name.digest)"
            status.tableVersion = version
        }
    }

    /// What a controller offers is what is served.
    private mutating func settled(_ candidate: FeedCandidate) {
        guard candidate.connection == current?.number else { return }
        current?.isConfirmed = true
        if let address = current?.address { doubted.remove(address) }
        if current?.session.isServerCurrent == true { client.confirmed(atRealtimeNs: Clock.realtimeNs()) }
        answer(candidate.name, .applied, "", candidate.connection)
    }

    private mutating func refuse(_ name: FeedContentName, _ reason: String, _ connection: UInt64? = nil) {
        if connection == nil || connection == current?.number {
            current?.isRefused = true
            // With its next offer it is not as good as new: one that cannot be used may follow the other without end.
            if let address = current?.address { doubt(address) }
        }
        client.report { status in
            status.lastRefusal = reason
            status.refusedCount &+= 1
        }
        tellRefusal(reason)
        answer(name, .refused, reason, connection)
    }

    /// - Parameter connection: which one it is for; nil: the one at hand.
    private mutating func answer(
        _ name: FeedContentName, _ verdict: FeedAcknowledgement.Verdict, _ reason: String,
        _ connection: UInt64? = nil
    ) {
        guard connection == nil || connection == current?.number else { return }
        current?.session.acknowledge(
            FeedAcknowledgement(name: name, verdict: verdict, tableVersion: tableVersion, reason: reason))
    }

    /// Forgets the candidate.
    mutating func drop() {
        candidate = nil
        client.waits(nil, untilNs: nil)
    }

    /// Keeps the age of what is on disk true.
    mutating func touch() {
        let nowNs = Clock.monotonicNs()
        guard current?.isConfirmed == true, current?.session.isServerCurrent == true,
            nowNs &- touchedNs >= Self.touchNs
        else { return }
        touchedNs = nowNs
        client.applier.touch()
    }

    private static func text(_ order: SnapshotOrder) -> String {
        order.clusterID.isEmpty ? "of \(order.listedAtNs)" : "version \(order.version) of \(order.listedAtNs)"
    }
}
