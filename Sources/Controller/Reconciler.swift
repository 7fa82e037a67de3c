// Brings managed services to what labels need, a step at a time: reads each service, has a plan made, and carries it
// out when its time has come. Without threads and without a clock: the time is handed in, so a test plays hours.
//
// It is one of several, each of which does the same. None leads: each waits a little, by chance, and Swarm refuses the
// second of two updates of one version.

import Discovery
import Docker
import Model

/// The engine's part; a test plays it.
protocol ServiceEngine {
    func secrets() throws(DockerError) -> [SwarmSecret]
    func service(id: String) throws(DockerError) -> ServiceObject
    func update(_ service: ServiceObject, by edit: ServiceEdit) throws(DockerError)
}

extension ServiceCalls: ServiceEngine {}

struct Reconciler {
    /// Nanoseconds.
    struct Timing {
        /// Stacks are deployed service by service: a need that grows is waited for.
        var settleNs: UInt64 = 1_000_000_000
        var settleLimitNs: UInt64 = 10_000_000_000
        var jitterNs: UInt64 = 2_000_000_000
        /// While a service is on the move, and while all is quiet.
        var busyNs: UInt64 = 2_000_000_000
        var quietNs: UInt64 = 30_000_000_000
        /// For how long nothing must refer to what was added before it is taken away.
        var patienceNs: UInt64 = 120_000_000_000
        var retryNs: UInt64 = 5_000_000_000
        var retryLimitNs: UInt64 = 600_000_000_000
    }

    struct Outcome {
        /// When to look again, whatever happens.
        var nextNs: UInt64
        var problems: [Diagnostic] = []
        var notes: [DockerNote] = []
    }

    let settings: ControllerSettings
    var timing = Timing()
    private var memories: [String: Memory] = [:]
    private var listed: [SwarmSecret]?

    /// What is remembered of one service. What must outlive this process is on the service itself.
    private struct Memory {
        var pending: Pending?
        /// Names of added secrets and ids of added networks, by when nothing referred to them any more.
        var unusedSinceNs: [String: UInt64] = [:]
        var failures: [String: Failure] = [:]
        /// Attempts of this process that the engine took.
        var announcedCounts: [String: Int] = [:]
        var carriedOut: Set<String> = []
        var problems: [Diagnostic] = []
    }

    private struct Pending {
        var hash: String
        var firstNs: UInt64
        var dueNs: UInt64
    }

    private struct Failure {
        var count: UInt64
        /// nil: never.
        var retryNs: UInt64?
        var message: String
    }

    /// Announcements of one attempt that come to nothing: controllers that see the same do not do that to each other.
    private static let announcementLimit = 5

    init(settings: ControllerSettings) { self.settings = settings }

    /// - Parameter random: any number, new at each call.
    mutating func step(
        _ needs: ReconcileNeeds, _ engine: any ServiceEngine, nowNs: UInt64, random: () -> UInt64
    ) -> Outcome {
        var outcome = Outcome(nextNs: nowNs &+ timing.quietNs, problems: needs.problems)
        listed = nil
        for (name, wants) in needs.wants.sorted(by: { $0.key < $1.key }) {
            guard let id = needs.ids[name] else {
                outcome.problems.append(
                    Self.problem(name, "is to be managed (INTERLOCK_MANAGE_SERVICES), and is no service of this Swarm"))
                continue
            }
            var memory = memories[id] ?? Memory()
            do throws(DockerError) {
                // Labels first, then the tasks: at most two updates in one step.
                if try advance(id, wants, needs, &memory, engine, nowNs, random, &outcome) {
                    _ = try advance(id, wants, needs, &memory, engine, nowNs, random, &outcome)
                }
            } catch {
                outcome.nextNs = min(outcome.nextNs, nowNs &+ timing.retryNs)
                outcome.notes.append(DockerNote(.warning, "a managed service cannot be read", error.description))
            }
            outcome.problems += memory.problems
            memories[id] = memory
        }
        return outcome
    }

    /// - Returns: whether there is more to do at once.
    private mutating func advance(
        _ id: String, _ wants: ServiceWants, _ needs: ReconcileNeeds, _ memory: inout Memory,
        _ engine: any ServiceEngine, _ nowNs: UInt64, _ random: () -> UInt64, _ outcome: inout Outcome
    ) throws(DockerError) -> Bool {
        let service = try engine.service(id: id)
        let plan = ReconcilePlan(
            for: service, wants: wants,
            context: ReconcileContext(
                labelPrefix: settings.mapping.labelPrefix, secrets: try secrets(for: wants, service, engine),
                networks: needs.networks, reservedSecrets: settings.reservedSecrets,
                stale: stale(service, wants, &memory, nowNs, &outcome)))
        memory.problems = plan.problems
        func again(inNs delayNs: UInt64) { outcome.nextNs = min(outcome.nextNs, nowNs &+ delayNs) }
        // Secrets are made without an event that is listened to.
        if !plan.problems.isEmpty { again(inNs: timing.retryNs) }
        switch plan.action {
        case .none:
            memory.pending = nil
            memory.carriedOut = []
            memory.announcedCounts = [:]
            return false
        case .wait:
            memory.pending = nil
            if service.updateState == .paused {
                memory.problems.append(Self.problem(service.name, "waits for its update, which is paused, to be ended"))
            }
            again(inNs: timing.busyNs)
            return false
        case .givenUp(let why):
            memory.pending = nil
            memory.problems.append(givenUp(plan, service, needs, why))
            return false
        case .announce(let edit):
            guard memory.announcedCounts[plan.hash, default: 0] < Self.announcementLimit else {
                memory.problems.append(givenUp(plan, service, needs, "others take back each time"))
                return false
            }
            guard isDue(plan.hash, service, &memory, nowNs, random, &outcome),
                perform(edit, plan, service, &memory, engine, nowNs, random, &outcome)
            else { return false }
            memory.announcedCounts[plan.hash, default: 0] += 1
            return true
        case .carryOut(let edit):
            guard !memory.carriedOut.contains(plan.hash) else {
                memory.problems.append(givenUp(plan, service, needs, "had no effect"))
                return false
            }
            guard isDue(plan.hash, service, &memory, nowNs, random, &outcome) else { return false }
            if perform(edit, plan, service, &memory, engine, nowNs, random, &outcome) {
                memory.carriedOut.insert(plan.hash)
                outcome.notes.append(
                    DockerNote(
                        .info, "a managed service is updated", "\(service.name): \(Self.words(plan.edit, needs))"))
                again(inNs: timing.busyNs)
            }
            return false
        }
    }

    /// The Swarm's secrets, if any is missing; asked for once in a step.
    private mutating func secrets(
        for wants: ServiceWants, _ service: ServiceObject, _ engine: any ServiceEngine
    ) throws(DockerError) -> [SwarmSecret] {
        let files = Set(service.secrets.map(\.file))
        let needs = wants.secrets ?? []
        guard needs.contains(where: { !$0.reference.names.contains(where: files.contains) }) else { return [] }
        if let listed { return listed }
        let secrets = try engine.secrets()
        listed = secrets
        return secrets
    }

    /// What was added and nothing has referred to for long enough.
    private func stale(
        _ service: ServiceObject, _ wants: ServiceWants, _ memory: inout Memory, _ nowNs: UInt64,
        _ outcome: inout Outcome
    ) -> Set<String> {
        func added(_ mark: String) -> Set<String> {
            let label = service.labels[settings.mapping.labelPrefix + mark] ?? ""
            return Set(label.split(separator: ",").map(String.init))
        }
        var unused: Set<String> = []
        if wants.secrets != nil { unused = added(Labels.addedSecretsMark).subtracting(wants.referencedSecrets) }
        if wants.networks != nil { unused.formUnion(added(Labels.addedNetworksMark).subtracting(wants.networksInUse)) }
        memory.unusedSinceNs = memory.unusedSinceNs.filter { unused.contains($0.key) }
        var stale: Set<String> = []
        for name in unused {
            let endNs = memory.unusedSinceNs[name, default: nowNs] &+ timing.patienceNs
            memory.unusedSinceNs[name] = endNs &- timing.patienceNs
            if endNs <= nowNs { stale.insert(name) } else { outcome.nextNs = min(outcome.nextNs, endNs) }
        }
        return stale
    }

    // MARK: When

    private func isDue(
        _ hash: String, _ service: ServiceObject, _ memory: inout Memory, _ nowNs: UInt64, _ random: () -> UInt64,
        _ outcome: inout Outcome
    ) -> Bool {
        if let failure = memory.failures[hash] {
            guard let retryNs = failure.retryNs else {
                memory.problems.append(Self.problem(service.name, "cannot be updated: \(failure.message)"))
                return false
            }
            guard retryNs <= nowNs else {
                memory.problems.append(Self.problem(service.name, "cannot be updated: \(failure.message)"))
                outcome.nextNs = min(outcome.nextNs, retryNs)
                return false
            }
        }
        var pending = memory.pending ?? Pending(hash: "", firstNs: nowNs, dueNs: nowNs)
        if pending.hash != hash {
            let delayNs = timing.settleNs &+ random() % max(1, timing.jitterNs)
            pending.dueNs = min(nowNs &+ delayNs, pending.firstNs &+ max(timing.settleLimitNs, delayNs))
            pending.hash = hash
        }
        memory.pending = pending
        outcome.nextNs = min(outcome.nextNs, max(pending.dueNs, nowNs))
        return pending.dueNs <= nowNs
    }

    /// - Returns: whether the engine took it.
    private func perform(
        _ edit: ServiceEdit, _ plan: ReconcilePlan, _ service: ServiceObject, _ memory: inout Memory,
        _ engine: any ServiceEngine, _ nowNs: UInt64, _ random: () -> UInt64, _ outcome: inout Outcome
    ) -> Bool {
        do throws(DockerError) {
            try engine.update(service, by: edit)
            memory.failures[plan.hash] = nil
            return true
        } catch {
            var delayNs = timing.settleNs &+ random() % max(1, timing.jitterNs)
            if !error.isOutOfSequence {
                let count = (memory.failures[plan.hash]?.count ?? 0) + 1
                delayNs = min(timing.retryNs << min(count - 1, 20), timing.retryLimitNs) &+ delayNs
                memory.failures[plan.hash] = Failure(
                    count: count, retryNs: error.isFinal ? nil : nowNs &+ delayNs, message: error.description)
                outcome.notes.append(
                    DockerNote(.warning, "a managed service cannot be updated", error.description))
                memory.problems.append(Self.problem(service.name, "cannot be updated: \(error)"))
            }
            memory.pending?.dueNs = nowNs &+ delayNs
            outcome.nextNs = min(outcome.nextNs, nowNs &+ delayNs)
            return false
        }
    }

    // MARK: Words

    private func givenUp(_ plan: ReconcilePlan, _ service: ServiceObject, _ needs: ReconcileNeeds, _ why: String)
        -> Diagnostic
    {
        let prefix = settings.mapping.labelPrefix
        let again =
            "docker service update --label-rm \(prefix)\(Labels.managedMark) "
            + "--label-rm \(prefix)\(Labels.managedFailedMark) \(service.name)"
        return Self.problem(
            service.name,
            "was to be given \(Self.words(plan.edit, needs)), which \(why), so it is not tried again (docker service "
                + "ps tells more); to have it tried again: \(again)")
    }

    private static func words(_ edit: ServiceEdit, _ needs: ReconcileNeeds) -> String {
        let names = Dictionary(needs.networks.map { ($0.id, $0.name) }) { first, _ in first }
        func named(_ networks: some Sequence<String>) -> [String] { networks.map { names[$0] ?? $0 }.sorted() }
        func list(_ what: String, _ names: [String]) -> String? {
            guard !names.isEmpty else { return nil }
            return what + " " + names.prefix(10).joined(separator: ", ") + (names.count > 10 ? " and others" : "")
        }
        return [
            list("secrets", edit.addedSecrets.map(\.name)), list("networks", named(edit.addedNetworks)),
            list("no more secrets", edit.removedSecrets.sorted()),
            list("no more networks", named(edit.removedNetworks)),
        ].compactMap { $0 }.joined(separator: "; ")
    }

    private static func problem(_ service: String, _ message: String) -> Diagnostic {
        Diagnostic(severity: .warning, service: service, message: message)
    }
}
