// Owns one simulation: a simulated Swarm in front, and behind it everything that is real between an engine's answers
// and the task a worker picks: the schedule, the lister and what it believes, the mapping, the table and its numbers.
// After each list it holds the table against the oracle.

import Support
import Discovery
import Model
import Routing

@testable import Controller
@testable import Docker

struct SimulatedControlPlane {
    private(set) var faults: [String] = []
    /// What came about, for whoever asks whether the seeds reach what they are for.
    private(set) var figures: [String: Int] = [:]

    private let flaw: Flaw?
    private let isCalm: Bool
    private let engine: SimulatedEngine
    private var lister: DockerLister
    private var schedule = PollSchedule(quietMs: 5000, busyMs: 250)
    private var pass = MappingPass(settings: ControllerSettings())
    private var oracle: SwarmOracle
    private var random: SeededRandom
    private var nodeChangedAtNs: UInt64?
    private var isFirst = true

    private var table: RouteTable
    private var numbering = Numbering()
    private var turns: [UInt32] = []
    private var names: [UInt64: String] = [:]
    private var readyNow: [UInt64: String] = [:]
    private var stoppedCount = 0
    private var lastAtAddress: [String: UInt64] = [:]

    /// - Parameter isCalm: no list fails, no event is lost, so that no planned stop may be missed.
    init(seed: UInt64, isCalm: Bool, flaw: Flaw? = nil) {
        self.isCalm = isCalm
        self.flaw = flaw
        engine = SimulatedEngine(swarm: SimulatedSwarm(seed: seed, losesEvents: !isCalm), seed: seed)
        lister = DockerLister(client: engine, labelPrefix: "com.docker.lb.", ownCandidates: [], note: { _ in })
        oracle = SwarmOracle(flaw: flaw)
        random = SeededRandom(seed: seed ^ 0xC0C0)
        table = RouteTable(compiling: Snapshot(), version: 0, numbering: &numbering)
    }

    mutating func run(seconds: UInt64) {
        play(untilNs: seconds * 1_000_000_000)
        // Nobody gives orders any more and nothing fails: what is, is routed.
        engine.swarm.isSettling = true
        let endNs = engine.swarm.nowNs + 32_000_000_000
        play(untilNs: endNs)
        var truth = SwarmOracle(flaw: nil)
        let known = engine.swarm.state
        let told = ToldList(
            services: known.services, tasks: known.tasks, nodes: known.nodes, hasFailed: false)
        _ = truth.take(told, isWhole: true, startedNs: endNs)
        compare(truth.routes, "in the end")
    }

    private mutating func hold(_ isTrue: Bool, _ words: @autoclosure () -> String) {
        if !isTrue, faults.count < 5 { faults.append("at \(engine.swarm.nowNs / 1_000_000) ms: \(words())") }
    }

    private mutating func count(_ figure: String, _ number: Int = 1) { figures[figure, default: 0] += number }

    // MARK: The watcher's loop

    private mutating func play(untilNs endNs: UInt64) {
        while engine.swarm.nowNs < endNs, faults.isEmpty {
            let (action, atNs) = schedule.next()
            if engine.swarm.takeHints() {
                schedule.hint(nowNs: engine.swarm.nowNs)
            } else if atNs <= engine.swarm.nowNs {
                list(action)
            } else {
                let hintNs = engine.swarm.hints.first ?? .max
                engine.swarm.advance(to: min(atNs, hintNs, engine.swarm.nowNs + 50_000_000))
            }
        }
    }

    private mutating func trouble() -> SimulatedEngine.Trouble {
        if isCalm || engine.swarm.isSettling { return .none }
        switch random.number(0...9) {
        case 0: return .fails(fromCall: random.number(1...(random.oneIn(2) ? 2 : 7)))
        case 1: return .isBehind(byNs: random.ms(50...5000))
        case 2: return .isMixed(byNs: random.ms(50...2000))
        default: return .none
        }
    }

    private mutating func list(_ action: PollSchedule.Action) {
        let before = lister.world
        schedule.begin(action)
        engine.begin(trouble())
        engine.breaksElements = !isCalm && !engine.swarm.isSettling && random.oneIn(5)
        let startedNs = engine.swarm.nowNs
        var isTaken = true
        do throws(ListFailure) {
            switch action {
            case .full: try lister.listAll(nowNs: startedNs)
            case .tasks: try lister.listTasksOnly(nowNs: startedNs)
            }
        } catch {
            isTaken = false
            schedule.fail(startedNs: startedNs, endedNs: engine.swarm.nowNs, random: random.next())
            lister.forgetInfo()
        }
        let endedNs = engine.swarm.nowNs
        count(action == .full ? "full" : "tasks")
        let counts = oracle.take(engine.told, isWhole: action == .full, startedNs: startedNs)
        let trouble = engine.trouble
        hold(counts == isTaken, "the list was \(isTaken ? "" : "not ")taken: \(trouble)")
        judgeStops()
        guard isTaken else {
            count(engine.told.hasFailed ? "failed" : "stale")
            hold(lister.world == before, "a list that was not taken changed what is known")
            return compare(oracle.routes, "after a list that was not taken")
        }
        let world = lister.world
        let hasMoved = world.differs(from: before)
        if hasMoved, !isFirst, world.nodes != before.nodes { nodeChangedAtNs = endedNs }
        let isUnrest = nodeChangedAtNs.map { endedNs - $0 < 30_000_000_000 } ?? false
        let isBusy =
            isUnrest
            || TaskMotion.isUnderWay(services: world.services, tasks: world.tasks.map(\.task), nodes: world.nodes)
        schedule.succeed(
            action, startedNs: startedNs, endedNs: endedNs, isBusy: isBusy, hasMoved: hasMoved, random: random.next())
        if action == .tasks, hasMoved, lister.hasUnknownServices { schedule.hint(nowNs: endedNs) }
        if hasMoved || isFirst { publish(lister.observation()) }
        isFirst = false
        compare(oracle.routes, "after a list")
    }

    // MARK: From a look to a table

    private mutating func publish(_ observation: DockerObservation) {
        let last = table.snapshot
        guard let outcome = pass.take(docker: observation, file: nil) else { return }
        guard let snapshot = outcome.changed.first?.snapshot else {
            count("unchanged")
            return
        }
        count("published")
        hold(
            !snapshot.hasSameContent(as: last) || snapshot.diagnostics != last.diagnostics || table.version == 0,
            "what was there already was published again")
        hold(snapshot.order.version >= last.order.version, "the order went from \(last.order) to \(snapshot.order)")
        hold(snapshot.problems().isEmpty, "an unsound snapshot: \(snapshot.problems())")
        judgeShuffled(observation.inventory, snapshot)
        let next = RouteTable(compiling: snapshot, version: table.version + 1, numbering: &numbering)
        judgeNumbers(next)
        table = next
    }

    private mutating func judgeShuffled(_ inventory: Inventory, _ snapshot: Snapshot) {
        var other = inventory
        other.services.shuffle(using: &random)
        other.tasks.shuffle(using: &random)
        other.nodes.shuffle(using: &random)
        other.networks.shuffle(using: &random)
        let again = ServiceMapping.snapshot(of: other, settings: MappingSettings())
        hold(
            again.hasSameContent(as: snapshot) && again.contentHash == snapshot.contentHash,
            "the order of a list changes the snapshot")
    }

    /// Numbers stand for one task for ever; what is let go of is what is gone, no more and no less.
    private mutating func judgeNumbers(_ next: RouteTable) {
        let upstreams = next.snapshot.endpoints.flatMap { $0 }
        hold(next.upstreamIdentities.count == Set(upstreams.map(\.id)).count, "two tasks have one number")
        let ready = Self.readyMembers(of: next)
        for (identity, (task, address)) in ready {
            let known = names[identity] ?? task
            hold(known == task, "number \(identity) was \(known) and is \(task)")
            names[identity] = task
            if let last = lastAtAddress[address], last != identity {
                count("reused addresses")
                hold(flaw != .addressesAreTasks, "\(address) has another number than before")
            }
            lastAtAddress[address] = identity
        }
        let removed = Set(next.removed(since: table))
        hold(removed == Set(readyNow.keys).subtracting(ready.keys), "removed are \(removed)")
        let listed = Set(upstreams.map(\.id))
        let gone = Set(next.gone(since: table))
        for identity in table.upstreamIdentities {
            guard let task = names[identity] else { continue }
            hold(gone.contains(identity) != listed.contains(task), "\(task) is gone: \(gone.contains(identity))")
        }
        hold(gone.isDisjoint(with: next.upstreamIdentities), "who is there is gone")
        readyNow = ready.mapValues(\.task)
    }

    /// By number: the ready tasks that any route leads to. The members of a service are its ready tasks in order.
    private static func readyMembers(of table: RouteTable) -> [UInt64: (task: String, address: String)] {
        var found: [UInt64: (task: String, address: String)] = [:]
        for index in 0..<Int32(table.routeCount) {
            let pool = table.pool(table.route(index).pool)
            var next: [Int32: Int] = [:]
            for position in pool.firstMember..<pool.firstMember + pool.memberCount {
                let member = table.member(position)
                let ready = table.snapshot.endpoints[Int(member.service)].filter { $0.state == .ready }
                let upstream = ready[next[member.service, default: 0]]
                next[member.service, default: 0] += 1
                if upstream.endpoint != member.endpoint { continue }
                found[member.identity] = (upstream.id, "\(upstream.endpoint)")
            }
        }
        return found
    }

    /// A task that was told to stop gets two seconds: by then nothing is sent to it.
    private mutating func judgeStops() {
        let stopped = engine.swarm.stopped[stoppedCount...]
        stoppedCount = engine.swarm.stopped.count
        guard isCalm || flaw == .stopsMayBeMissed else { return }
        for task in stopped {
            count("stops")
            hold(!readyNow.values.contains(task), "\(task) ended and requests were still sent to it")
        }
    }

    // MARK: What a worker picks

    private mutating func compare(_ expected: [String: [String: Int]], _ when: String) {
        let hosts = ["h0.test", "h1.test", "h2.test", "h3.test", "flap.test"]
        for host in hosts {
            guard let pool = pool(of: host) else {
                hold(expected[host] == nil, "\(when): \(host) is not routed")
                continue
            }
            guard let wanted = expected[host] else {
                hold(false, "\(when): \(host) is routed")
                continue
            }
            var picked: Set<String> = []
            for _ in 0..<pool.memberCount {
                while turns.count <= Int(pool.cursorSlot) { turns.append(0) }
                let member = Balancer.pick(
                    pool, in: table, cursor: &turns[Int(pool.cursorSlot)], avoiding: TriedUpstreams())
                guard let member, let task = readyNow[member.identity] else {
                    hold(false, "\(when): nobody, or one who is not ready, is picked for \(host)")
                    continue
                }
                picked.insert(task)
                hold(
                    "\(member.endpoint)" == wanted[task].map { SimulatedEngine.address($0) + ":80" } ?? "",
                    "\(when): \(task) is at \(member.endpoint)")
            }
            count("picks", picked.count)
            hold(picked == Set(wanted.keys), "\(when): \(host) is \(picked.sorted()), not \(wanted.keys.sorted())")
        }
    }

    private func pool(of host: String) -> PoolEntry? {
        let match = Array(host.utf8).withUnsafeBytes { host in
            Array("/".utf8).withUnsafeBytes { path in table.lookup(host: host, path: path) }
        }
        guard case .route(let route) = match else { return nil }
        return table.pool(table.route(route).pool)
    }
}
