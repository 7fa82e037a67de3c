// Shares: of services by weight, of tasks in turn, by load, by chance, and while they are new.

import Model
import Routing
import Testing

/// Weights, and how many tasks each service has.
private struct Split: Sendable, CustomTestStringConvertible {
    let weights: [Int?]
    let tasks: [Int]
    var testDescription: String { "\(weights.map { $0.map(String.init) ?? "-" }) of \(tasks)" }

    /// What each service is to have of all.
    var shares: [Double] {
        let effective = zip(weights, tasks).map { $1 > 0 ? Double($0 ?? 100) : 0 }
        let total = effective.reduce(0, +)
        return effective.map { $0 / total }
    }
}

private let splits: [Split] = [
    Split(weights: [90, 10], tasks: [1, 5]), Split(weights: [1, 1], tasks: [1, 7]),
    Split(weights: [nil, 50], tasks: [2, 3]), Split(weights: [1000, 1], tasks: [1, 1]),
    Split(weights: [20, 30, 50], tasks: [3, 2, 1]), Split(weights: [100, 0, 300], tasks: [1, 9, 2]),
    Split(weights: [5, 95, 10], tasks: [2, 0, 2]), Split(weights: [7, 11, 13, 17], tasks: [1, 1, 1, 4]),
]

@Test("services are split by weight whatever their tasks, in few picks as in many", arguments: splits)
private func weightsAreShares(split: Split) {
    var world = PoolWorld(split.tasks, weights: split.weights)
    for seed: UInt64 in 1...3 {
        world.begin(seed: seed)
        var found = Array(repeating: 0, count: split.tasks.count)
        var byTask: [String: Int] = [:]
        for count in 1...6000 {
            guard let task = world.pick() else { break }
            byTask[task, default: 0] += 1
            for index in found.indices where service(task) == "s\(index)" { found[index] += 1 }
            guard count % 37 == 0 else { continue }
            for (index, share) in split.shares.enumerated() {
                let error = abs(Double(found[index]) - share * Double(count))
                #expect(error < 5, "service \(index) after \(count) from \(seed)")
            }
        }
        // Within a service, each task as often as the next.
        for index in split.tasks.indices {
            let counts = byTask.filter { service($0.key) == "s\(index)" }.values
            #expect(counts.count == (split.shares[index] > 0 ? split.tasks[index] : 0))
            #expect((counts.max() ?? 0) - (counts.min() ?? 0) <= 1)
        }
    }
}

@Test("without any weight, each task counts once")
func noWeightNoGroups() {
    var world = PoolWorld([4, 1])
    #expect(world.pool.isPlain)
    #expect(world.picks(1000).values.allSatisfy { $0 == 200 })
}

@Test("weight 0 gets nothing, even if the others are down, and its tasks stay ready")
func weightZeroIsWarm() {
    var world = PoolWorld([2, 3], weights: [nil, 0])
    #expect(Set(world.picks(100).keys) == ["s0-0", "s0-1"])
    #expect(world.pool.memberCount == 2)
    let before = world.table
    #expect((1...5).allSatisfy { before.isReady(UInt64($0)) })
    for task in ["s0-0", "s0-1"] { world.fitness[world.identity(task)] = .unhealthy }
    #expect(Set(world.picks(100).keys) == ["s0-0", "s0-1"])
    world.snapshot.endpoints[0] = []
    world.recompile()
    #expect(world.pool.memberCount == 0)
    #expect(world.pick() == nil)
    // And back: nothing was drained meanwhile.
    #expect(world.table.removed(since: before).count == 2)
    world.snapshot.configuration.services[1].options.weight = nil
    world.recompile()
    #expect(Set(world.picks(100).keys) == ["s1-0", "s1-1", "s1-2"])
    #expect(world.table.removed(since: before) == [1, 2])
    let alone = PoolWorld([3], weights: [0])
    #expect(alone.pool.memberCount == 0)
    #expect(alone.table.isReady(1))
    #expect(PoolWorld([3], weights: [7]).pool.isPlain)
}

@Test("what a service cannot take is split among the others by their weights")
func weightsOfTheFit() {
    var world = PoolWorld([2, 1, 1], weights: [100, 30, 10])
    world.begin(seed: 7)
    for task in ["s0-0", "s0-1"] { world.fitness[world.identity(task)] = .avoided }
    let picks = world.picks(40_000)
    #expect(Set(picks.keys) == ["s1-0", "s2-0"])
    #expect(abs(picks["s1-0", default: 0] - 30_000) < 100)
    // All of them out: by weight again, as if nothing were the matter.
    for task in ["s1-0", "s2-0"] { world.fitness[world.identity(task)] = .avoided }
    #expect(abs((world.picks(14_000)["s2-0"] ?? 0) - 1000) < 10)
}

@Test("of the fittest there are, one is picked", arguments: Balancing.Method.allCases)
func fittestFirst(method: Balancing.Method) {
    for key in [nil, PoolWorld.key("k")] {
        var world = PoolWorld([4], balancing: Balancing(method: method))
        let order: [Fitness] = [.unhealthy, .avoided, .never, .fit]
        for (task, fitness) in order.enumerated() { world.fitness[world.identity("s0-\(task)")] = fitness }
        #expect((0..<50).allSatisfy { _ in world.pick(key: key) == "s0-3" })
        #expect((0..<50).allSatisfy { _ in world.pick(key: key, tried: [4]) == "s0-1" })
        #expect((0..<50).allSatisfy { _ in world.pick(key: key, tried: [4, 2]) == "s0-0" })
        #expect(world.pick(key: key, tried: [4, 2, 1]) == nil)
        var empty = PoolWorld([0], balancing: Balancing(method: method))
        #expect(empty.pick(key: key) == nil)
    }
}

@Test("in turn, whoever is left out does not double the next one's share")
func turnsAreEven() {
    var world = PoolWorld([5], balancing: Balancing(key: .cookie("c")))
    world.begin(seed: 3)
    world.fitness[world.identity("s0-2")] = .avoided
    #expect(world.picks(4000) == ["s0-0": 1000, "s0-1": 1000, "s0-3": 1000, "s0-4": 1000])
}

@Test("least_conn: the fewest requests under way, the next in turn among equals")
func leastLoadedIsPicked() {
    var world = PoolWorld([4], balancing: Balancing(method: .leastConnections))
    #expect(world.picks(400) == ["s0-0": 100, "s0-1": 100, "s0-2": 100, "s0-3": 100])
    for (task, load) in [5, 2, 9, 2].enumerated() { world.loads[world.identity("s0-\(task)")] = Int32(load) }
    #expect(world.picks(100) == ["s0-1": 50, "s0-3": 50])
    // A task that is slow keeps what it has, and gets less for it.
    world.loads = [:]
    var random = SplitMix(state: 9)
    var total: [String: Int] = [:]
    for _ in 0..<20_000 {
        guard let task = world.pick() else { break }
        total[task, default: 0] += 1
        world.loads[world.identity(task), default: 0] += 1
        for index in 0..<4 {
            let identity = world.identity("s0-\(index)")
            // The first takes four times as long as the others.
            let isDone = random.next() % (index == 0 ? 16 : 4) == 0
            if isDone, let load = world.loads[identity], load > 0 { world.loads[identity] = load - 1 }
        }
    }
    #expect(total["s0-0", default: 0] < total["s0-1", default: 0] / 2, "\(total)")
}

@Test("random: even by chance, and the less loaded of two")
func twoChoices() {
    var world = PoolWorld([5], balancing: Balancing(method: .random))
    world.begin(seed: 11)
    // Five standard deviations of 20,000 tosses of 1 in 5 are 283.
    #expect(world.picks(20_000).values.allSatisfy { abs($0 - 4000) < 283 })
    world.loads[world.identity("s0-1")] = 3
    let picks = world.picks(20_000)
    // It never wins a pair: each of the others is in more of them than before.
    #expect(picks["s0-1"] == nil)
    #expect(picks.values.allSatisfy { abs($0 - 5000) < 307 })
    var one = PoolWorld([1], balancing: Balancing(method: .random))
    #expect(one.picks(10) == ["s0-0": 10])
    var many = PoolWorld([200], balancing: Balancing(method: .random))
    for task in 0..<199 { many.fitness[many.identity("s0-\(task)")] = .avoided }
    #expect(many.picks(100) == ["s0-199": 100])
}

// MARK: slow_start

private let second: UInt64 = 1_000_000_000

/// Three tasks that were there from the start, and a fourth that came at 100 s, whose share grows for 10 s.
private func grown(_ balancing: Balancing = Balancing()) -> PoolWorld {
    var world = PoolWorld([3], balancing: balancing, slowStartMs: 10_000, nowNs: 50 * second)
    world.snapshot.endpoints[0] = PoolWorld.tasks(of: 0, count: 4)
    world.snapshot.endpoints[0][3].state = .pending
    world.recompile(nowNs: 90 * second)
    world.snapshot.endpoints[0][3].state = .ready
    world.recompile(nowNs: 100 * second)
    world.begin(seed: 5)
    return world
}

@Test("a new task's share grows from when it is ready, and takes nothing from one of the others more than another")
func shareGrows() {
    var world = grown()
    #expect(!world.pool.isPlain)
    for (atSecond, growth) in [(100, 0.0), (102, 0.2), (105, 0.5), (109, 0.9), (110, 1), (500, 1)] {
        let picks = world.picks(30_000, nowNs: UInt64(atSecond) * second)
        let share = Double(picks["s0-3", default: 0]) / 30_000
        #expect(abs(share - growth / (3 + growth)) < 0.01, "\(atSecond): \(share)")
        let others = ["s0-0", "s0-1", "s0-2"].map { picks[$0, default: 0] }
        #expect((others.max() ?? 0) - (others.min() ?? 0) <= 1, "\(atSecond): \(others)")
    }
    // Grown up, it is forgotten that it was new; what was ready at the start never was.
    world.recompile(nowNs: 111 * second)
    #expect(world.pool.isPlain)
    #expect(PoolWorld([3], slowStartMs: 10_000, nowNs: 50 * second).pool.isPlain)
}

@Test("if nobody but new tasks is there, they take it all")
func newTasksAlone() {
    var world = grown()
    for task in 0..<3 { world.fitness[world.identity("s0-\(task)")] = .avoided }
    #expect(world.picks(100, nowNs: 100 * second) == ["s0-3": 100])
    var random = grown(Balancing(method: .random))
    for task in 0..<3 { random.fitness[random.identity("s0-\(task)")] = .avoided }
    #expect(random.picks(100, nowNs: 100 * second) == ["s0-3": 100])
}

@Test("least_conn counts a new task as busier than it is")
func newTasksLookBusy() {
    var world = grown(Balancing(method: .leastConnections))
    for task in 0..<3 { world.loads[world.identity("s0-\(task)")] = 4 }
    // With 5 at each of the others, the new one with 0 is as busy as they are at a fifth of its growth.
    #expect(world.picks(300, nowNs: 101 * second)["s0-3"] == nil)
    #expect(world.picks(300, nowNs: 103 * second) == ["s0-3": 300])
}

@Test("with a key, what goes to a new task goes there one after the other, and none of it back")
func keysGrow() {
    var world = grown(Balancing(key: .clientAddress))
    var before = world.owners(4000, nowNs: 100 * second)
    for tenth in 1...10 {
        let now = world.owners(4000, nowNs: 100 * second + UInt64(tenth) * second)
        for (old, new) in zip(before, now) where old != new { #expect(new == "s0-3") }
        let growth = Double(tenth) / 10
        let share = Double(now.count { $0 == "s0-3" }) / 4000
        #expect(abs(share - growth / (3 + growth)) < 0.025, "\(tenth): \(share)")
        before = now
    }
}
