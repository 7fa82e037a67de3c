// What follows from a probe's result: the task's health, what the workers, the log and the admin pages are told. Each
// change is told once.

internal import Kernel
internal import Model
internal import Routing
internal import Telemetry

extension HealthProber {
    /// A probe came to an end.
    /// - Parameter answered: the status of the answer, if there was one.
    mutating func finish(_ slot: UInt32, _ result: ProbeResult, answered status: UInt16 = 0) {
        let phase = probes[slot].pointee.phase
        if probes[slot].pointee.isUnderWay { close(slot) }
        seed.counters.add(result)
        let check = publication.table.checks[probes[slot].pointee.position].check
        var record = probes[slot].pointee.record
        let before = record.health
        var reason = ""
        switch result {
        case .success: _ = record.succeeded(rise: check.rise)
        // It says nothing about the task.
        case .notSent: break
        default:
            _ = record.failed(nowNs: nowNs, fall: check.fall, intervalMs: check.intervalMs)
            reason = Self.reason(result, phase, check, status: status)
            failures.append((probes[slot].pointee.identity, reason))
        }
        probes[slot].pointee.record = record
        if record.health != before { change(slot, from: before, because: reason) }
        let delayMs = record.delayMs(intervalMs: check.intervalMs, jitter: Double.random(in: 0...1))
        setDeadline(slot, nowNs + UInt64(delayMs) * 1_000_000)
    }

    private mutating func change(_ slot: UInt32, from before: TaskHealth, because reason: String) {
        let health = probes[slot].pointee.record.health
        let position = probes[slot].pointee.position
        count(before, at: position, -1)
        count(health, at: position, 1)
        note(slot)
        let service = publication.table.services[Int(publication.table.checks[position].service)].name
        let task = probes[slot].pointee.taskID
        let address = probes[slot].pointee.endpoint.description
        if health == .healthy {
            seed.log.info(
                "task passes its health check",
                ["service": .string(service), "task": .string(task), "address": .string(address)])
        } else {
            seed.log.warning(
                "task fails its health check",
                [
                    "service": .string(service), "task": .string(task), "address": .string(address),
                    "reason": .string(reason),
                ])
        }
        judgeService(position)
    }

    /// The workers and the board are to hear of it.
    mutating func note(_ slot: UInt32) {
        let probe = probes[slot].pointee
        changes.append(
            HealthChange(identity: probe.identity, endpoint: probe.endpoint, health: probe.record.health))
    }

    mutating func count(_ health: TaskHealth, at position: Int, _ amount: Int) {
        switch health {
        case .healthy: tallies[position].healthy += amount
        case .unhealthy: tallies[position].unhealthy += amount
        case .unproven: break
        }
    }

    /// If no task of a service passes its check, those that have failed are tried all the same.
    mutating func judgeService(_ position: Int) {
        let service = publication.table.services[Int(publication.table.checks[position].service)]
        let panics = tallies[position].healthy == 0 && tallies[position].unhealthy > 0
        if panics, panicking[service.id] == nil {
            panicking[service.id] = service.name
            isPanicChanged = true
            seed.log.warning(
                "no task of the service passes its health check: all are tried", ["service": .string(service.name)])
        } else if !panics, panicking.removeValue(forKey: service.id) != nil {
            isPanicChanged = true
            seed.log.info("the service has tasks again that pass", ["service": .string(service.name)])
        }
    }

    /// What this turn has brought, to all who want to know.
    mutating func tell() {
        guard !changes.isEmpty || !failures.isEmpty || isPanicChanged else { return }
        isPanicChanged = false
        let realtimeNs = Clock.realtimeNs()
        seed.board.update { state in
            for change in changes where slots[change.identity] != nil {
                state.probed[change.identity, default: .init(health: change.health)].health = change.health
            }
            state.panicking = Set(panicking.values)
            for failure in failures where slots[failure.identity] != nil {
                state.probed[failure.identity]?.lastFailure = failure.reason
                state.probed[failure.identity]?.failedAtNs = realtimeNs
            }
        }
        if !changes.isEmpty {
            for mailbox in seed.workers { mailbox.post(.health(changes)) }
        }
        changes.removeAll()
        failures.removeAll()
    }

    /// In words, for the log and the admin pages.
    private static func reason(
        _ result: ProbeResult, _ phase: Probe.Phase, _ check: HealthCheck, status: UInt16
    ) -> String {
        switch result {
        case .success, .notSent: ""
        case .connectRefused: "the connection was refused"
        case .connectError: "the task cannot be reached"
        case .timeout:
            switch phase {
            case .connecting: "no connection within \(check.timeoutMs) ms"
            case .handshaking: "no TLS handshake within \(check.timeoutMs) ms"
            default: "no answer within \(check.timeoutMs) ms"
            }
        case .reset: "the task reset the connection"
        case .closedEarly: "the task closed the connection without an answer"
        case .status: "the answer's status was \(status)"
        case .badResponse: "the answer was not valid HTTP"
        case .tlsHandshake: "no agreement on TLS"
        case .tlsPlaintext: "the task does not speak TLS"
        case .tlsVerification: "the task's certificate is not accepted"
        case .tlsUnusable: "TLS to the service's tasks is not set up completely"
        }
    }

    // MARK: What workers have found

    mutating func notePassedOver(
        _ identity: UInt64, worker: Int, _ failure: UpstreamFailure, service: String, address: Endpoint
    ) {
        var isFirst = false
        seed.board.update { state in
            var entry = state.passedOver[identity] ?? HealthBoard.PassedOver(service: service, address: address)
            isFirst = entry.workers.isEmpty
            entry.workers.insert(worker)
            entry.lastFailure = failure.name
            entry.failedAtNs = Clock.realtimeNs()
            state.passedOver[identity] = entry
        }
        guard isFirst else { return }
        seed.log.warning(
            "task is passed over: requests failed",
            [
                "service": .string(service), "address": .string(address.description),
                "reason": .string(failure.name), "worker": .integer(worker),
            ])
    }

    mutating func noteTakenBack(_ identity: UInt64, worker: Int) {
        var last: HealthBoard.PassedOver?
        seed.board.update { state in
            guard var entry = state.passedOver[identity], entry.workers.remove(worker) != nil else { return }
            if entry.workers.isEmpty { last = entry }
            state.passedOver[identity] = entry
        }
        guard let last else { return }
        seed.log.info(
            "task is not passed over any more",
            ["service": .string(last.service), "address": .string(last.address.description)])
    }
}
