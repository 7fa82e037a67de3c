// Keys: who has which, what moves when tasks come and go, and that everybody everywhere says the same.

import Model
import Routing
import Testing

private let byKey = Balancing(key: .cookie("session"))
private let keyCount = 8000

/// How far a count of `count` tosses of chance `share` may be off: five standard deviations.
private func slack(_ count: Int, _ share: Double) -> Double { 5 * (Double(count) * share * (1 - share)).squareRoot() }

@Test("each task has about its share of the keys", arguments: [2, 3, 10, 40])
func keysAreSpread(count: Int) {
    var world = PoolWorld([count], balancing: byKey)
    let owners = Dictionary(grouping: world.owners(keyCount)) { $0 }.mapValues(\.count)
    #expect(owners.count == count)
    let share = 1 / Double(count)
    for (task, found) in owners {
        #expect(abs(Double(found) - share * Double(keyCount)) < slack(keyCount, share), "\(task): \(found)")
    }
}

@Test(
    "a task more takes 1/N of the keys and moves no other; a task less gives back what it had",
    arguments: [1, 4, 9, 24])
func adding(count: Int) {
    var world = PoolWorld([count], balancing: byKey)
    let before = world.owners(keyCount)
    world.snapshot.endpoints[0] = PoolWorld.tasks(of: 0, count: count + 1)
    world.recompile()
    let after = world.owners(keyCount)
    var movedCount = 0
    for (old, new) in zip(before, after) where old != new {
        #expect(new == "s0-\(count)")
        movedCount += 1
    }
    let share = 1 / Double(count + 1)
    #expect(abs(Double(movedCount) - share * Double(keyCount)) < slack(keyCount, share), "\(movedCount)")
    // Another one goes: only its keys move.
    world.snapshot.endpoints[0].remove(at: 0)
    world.recompile()
    for (old, new) in zip(after, world.owners(keyCount)) where old != "s0-0" { #expect(old == new) }
}

@Test("services share keys by weight; a task more, or less, moves none between services")
func weightedKeys() {
    var world = PoolWorld([2, 5], weights: [75, 25], balancing: byKey)
    let before = world.owners(keyCount)
    let first = before.count { service($0) == "s0" }
    #expect(abs(Double(first) - 0.75 * Double(keyCount)) < slack(keyCount, 0.75), "\(first)")
    world.snapshot.endpoints[0] = PoolWorld.tasks(of: 0, count: 3)
    world.recompile()
    let after = world.owners(keyCount)
    for (old, new) in zip(before, after) where old != new { #expect(service(old) == "s0" && new == "s0-2") }
    #expect(after.count { $0 == "s0-2" } > first / 4)
    // A canary that grows only takes; one that is taken back only gives.
    world.snapshot.configuration.services[1].options.weight = 75
    world.recompile()
    let grown = world.owners(keyCount)
    for (old, new) in zip(after, grown) where old != new { #expect(service(old) == "s0" && service(new) == "s1") }
    #expect(abs(Double(grown.count { service($0) == "s1" }) - 0.5 * Double(keyCount)) < slack(keyCount, 0.5))
    world.snapshot.configuration.services[1].options.weight = 0
    world.recompile()
    for (old, new) in zip(grown, world.owners(keyCount)) where service(old) == "s0" { #expect(old == new) }
}

@Test("whoever does not do is skipped for the next in the key's own order", arguments: [[nil, nil], [60, 40]])
func nextHighest(weights: [Int?]) {
    var world = PoolWorld([4, 3], weights: weights, balancing: byKey)
    for index in 0..<300 {
        let key = PoolWorld.key("k\(index)")
        var tried: Set<UInt64> = []
        var order: [String] = []
        while let task = world.pick(key: key, tried: tried) {
            order.append(task)
            tried.insert(world.identity(task))
        }
        #expect(Set(order).count == 7)
        // Without the first of them the key belongs to the second, as long as that lasts.
        world.fitness = [world.identity(order[0]): .avoided]
        #expect(world.pick(key: key) == order[1])
        world.fitness = [:]
        #expect(world.pick(key: key) == order[0])
        // By weight, the tasks of one service come before those of another.
        if weights[0] != nil {
            let services = order.map(service)
            #expect(services == services.sorted() || services == services.sorted().reversed())
        }
    }
}

@Test("without a key, the method decides")
func noKey() {
    var world = PoolWorld([4], balancing: byKey)
    #expect(!world.pool.isPlain)
    #expect(world.pool.keyKind == .cookie)
    #expect(String(decoding: world.table.keyName(of: world.pool), as: UTF8.self) == "session")
    #expect(world.picks(400) == ["s0-0": 100, "s0-1": 100, "s0-2": 100, "s0-3": 100])
}

/// What these are moves every client of every sticky service if it changes: on an update of the proxy, and between two
/// proxies of different versions.
@Test("who has a key is the same in every process and every version")
func choicesAreForEver() {
    var world = PoolWorld([5], balancing: byKey)
    #expect(PoolWorld.key("") == 16_217_964_871_479_669_374)
    #expect(PoolWorld.key("0123456789abcdef") == 16_620_445_121_530_645_093)
    #expect(Balancer.key(IPAddress(v4: 0x0A00_0001)) == 1_878_146_483_833_011_449)
    #expect(Balancer.key(IPAddress(v6High: 0, low: 0x0A00_0001)) != 1_878_146_483_833_011_449)
    #expect(world.owners(16).map { String($0.last ?? "-") }.joined() == "2310002223113202")
    var weighted = PoolWorld([2, 2], weights: [70, 30], balancing: byKey)
    let names = "s0-1 s0-0 s0-1 s1-0 s1-0 s0-0 s0-1 s0-0 s0-1 s0-1 s1-1 s1-1 s0-1 s0-0 s0-0 s1-1"
    #expect(weighted.owners(16).joined(separator: " ") == names)
}

@Test("who has a key depends on ids alone: not on numbers, order of tables, or what else there is")
func choicesAreOfIDs() {
    var world = PoolWorld([5], balancing: byKey)
    let owners = world.owners(500)
    var other = PoolWorld([2], balancing: byKey)
    other.snapshot.configuration.services.append(Service(id: "x", name: "x"))
    other.snapshot.endpoints.append(PoolWorld.tasks(of: 9, count: 50))
    other.recompile()
    other.snapshot.endpoints[0] = PoolWorld.tasks(of: 0, count: 5)
    other.begin(seed: 99)
    other.recompile()
    #expect(other.identity("s0-4") != world.identity("s0-4"))
    #expect(other.owners(500) == owners)
}

@Test("connections are balanced as their ports and hosts say")
func connectionsHaveKeys() {
    var snapshot = PoolWorld([2, 2]).snapshot
    let byClient = Balancing(key: .clientAddress)
    snapshot.configuration.hosts = [HostOptions(host: .exact("p.test"), passthrough: [0], balancing: byClient)]
    snapshot.configuration.streams = [
        StreamPort(port: 5000, services: [0, 1], balancing: Balancing(method: .leastConnections)),
        StreamPort(port: 5001, hosts: [StreamHost(host: .any, services: [1], balancing: byClient)]),
    ]
    let table = compile(snapshot)
    let host = Array("p.test".utf8).withUnsafeBytes { table.host($0) }
    let passed = table.pool(table.hostRules(host).passthroughPool)
    #expect(passed.keyKind == .clientAddress && passed.memberCount == 2)
    #expect(table.pool(table.stream(table.stream(port: 5000)).rawPool).method == .leastConnections)
    let named = Array("x".utf8).withUnsafeBytes { table.streamHost(table.stream(port: 5001), serverName: $0) }
    #expect(named.map { table.pool($0.pool).keyKind } == .clientAddress)
}
