// Whom the prober probes: the ready tasks of the services with a check, as of the table in force. Their state is kept
// by identity, so that a swap touches only what it changes.

internal import Kernel
internal import Model
internal import Routing

extension HealthProber {
    /// New tasks of one table are first probed this far apart at most, together never slower than their interval.
    private static var spreadMs: Double { 1 }

    /// Goes on with another publication: probes what is new, forgets what is gone.
    mutating func follow(_ next: Publication) {
        let old = publication
        publication = next
        if next.table !== old.table { follow(next.table, old: old.table, presumed: next.presumed) }
        seed.publisherMailbox.post(.retired(old))
    }

    private mutating func follow(
        _ table: RouteTable, old: RouteTable, presumed: [(identity: UInt64, endpoint: Endpoint)]
    ) {
        round += 1
        tallies = Array(repeating: Tally(), count: table.checks.count)
        let due = queue.begin(serviceCount: table.checks.count)
        let presumed = Set(presumed.map(\.identity))
        let oldChecks = Dictionary(
            old.checks.map { (old.services[Int($0.service)].id, Self.question($0, old)) }, uniquingKeysWith: { $1 })
        var fresh: [UInt32] = []
        for (position, check) in table.checks.enumerated() {
            let service = table.services[Int(check.service)]
            let isChanged = oldChecks[service.id] != Self.question(check, table)
            let upstreams = table.snapshot.endpoints[Int(check.service)].filter { $0.state == .ready }
            for (index, task) in check.tasks.enumerated() {
                if let slot = slots[task.identity] {
                    if probes[slot].pointee.round == round { continue }
                    let isMoved = probes[slot].pointee.endpoint != task.endpoint
                    probes[slot].pointee.position = position
                    probes[slot].pointee.endpoint = task.endpoint
                    probes[slot].pointee.round = round
                    if isChanged || isMoved { ask(anew: slot, &fresh) }
                } else {
                    let isPresumed = presumed.contains(task.identity)
                    let slot = probes.insert(
                        Probe(
                            identity: task.identity, taskID: upstreams[index].id, position: position,
                            endpoint: task.endpoint, record: HealthRecord(isPresumed: isPresumed), round: round))
                    slots[task.identity] = slot
                    fresh.append(slot)
                    note(slot)
                }
            }
        }
        forgetGone(table)
        for slot in 0..<UInt32(probes.slotCount) where probes.isInUse(slot) {
            count(probes[slot].pointee.record.health, at: probes[slot].pointee.position, 1)
            if probes[slot].pointee.isUnderWay { queue.countActive(probes[slot].pointee.position) }
        }
        for token in due where probes.isCurrent(token.slot, generation: token.generation) {
            if probes[token.slot].pointee.phase == .queued {
                queue.append(token, of: probes[token.slot].pointee.position)
            }
        }
        schedule(fresh, table)
        for position in table.checks.indices { judgeService(position) }
        let names = Set(table.checks.map { table.services[Int($0.service)].id })
        panicking = panicking.filter { names.contains($0.key) }
        isPanicChanged = true
        let passing = table.upstreamIdentities
        seed.board.update { state in
            state.passedOver = state.passedOver.filter { passing.containsAscending($0.key) }
        }
    }

    /// Everything that decides what a probe of the service is.
    private static func question(_ check: ServiceCheck, _ table: RouteTable) -> Question {
        let options = table.services[Int(check.service)].options
        return Question(
            check: check.check, host: check.host, tls: options.backendTLS, proxyProtocol: options.proxyProtocol)
    }

    private struct Question: Equatable {
        var check: HealthCheck
        var host: String
        var tls: BackendTLS?
        var proxyProtocol: ProxyProtocolVersion?
    }

    /// The answer to another question is wanted: what was found so far stands until then.
    private mutating func ask(anew slot: UInt32, _ fresh: inout [UInt32]) {
        if probes[slot].pointee.isUnderWay { close(slot) }
        probes[slot].pointee.phase = .waiting
        probes[slot].pointee.record.beginAnew()
        fresh.append(slot)
    }

    /// Tasks that are gone, or whose service has no check any more.
    private mutating func forgetGone(_ table: RouteTable) {
        for slot in 0..<UInt32(probes.slotCount) where probes.isInUse(slot) {
            guard probes[slot].pointee.round != round else { continue }
            if probes[slot].pointee.isUnderWay { close(slot) }
            let identity = probes[slot].pointee.identity
            changes.append(
                HealthChange(identity: identity, endpoint: probes[slot].pointee.endpoint, health: .unproven))
            slots[identity] = nil
            wheel.cancel(Int(slot))
            probes.remove(slot)
            seed.board.update { $0.probed[identity] = nil }
        }
    }

    /// A single new task is probed at once; thousands are spread over their interval.
    private mutating func schedule(_ fresh: [UInt32], _ table: RouteTable) {
        for (index, slot) in fresh.enumerated() {
            let intervalMs = Double(table.checks[probes[slot].pointee.position].check.intervalMs)
            let lastMs = min(intervalMs, Self.spreadMs * Double(fresh.count))
            let delayMs = lastMs * Double(index) / Double(fresh.count)
            setDeadline(slot, nowNs + UInt64(delayMs * 1_000_000))
        }
    }
}

extension RouteTable {
    /// Tasks that are to be probed now and were not before, though they were ready; at the start all of them.
    func presumedHealthy(since old: RouteTable) -> [(identity: UInt64, endpoint: Endpoint)] {
        guard !checks.isEmpty else { return [] }
        if old.version == 0 { return checks.flatMap(\.tasks) }
        var wasChecked: Set<UInt64> = []
        for check in old.checks { for task in check.tasks { wasChecked.insert(task.identity) } }
        return checks.flatMap { check in
            check.tasks.filter { old.isReady($0.identity) && !wasChecked.contains($0.identity) }
        }
    }
}
