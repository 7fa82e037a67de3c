// The waiting rooms by themselves, and the counts that workers share: order, bounds, whom to wake, and that no place is
// ever given to two.

@testable import Proxy
import Kernel
import Model
import Routing
import Support
import Synchronization
import Telemetry
import Testing

@Suite struct WaitingTests {
    private let counters = ServiceCounters(name: "web", workerCount: 1)

    private func waiter(_ rooms: inout WaitingRooms, _ exchange: UInt32, since: UInt64) -> UInt32 {
        rooms.waiters.insert(Waiter(exchange: exchange, sinceNs: since))
    }

    private func order(_ rooms: inout WaitingRooms, _ room: Int32) -> [UInt32] {
        rooms.takeAll(of: room, nowNs: 0).map { rooms.waiters[$0].pointee.exchange }
    }

    @Test func whoGoesBackKeepsItsPlace() {
        var random = SeededRandom(seed: 7)
        for _ in 0..<200 {
            var rooms = WaitingRooms()
            let count = UInt32(random.choice([1, 2, 3, 10, 40]))
            var slots: [UInt32] = []
            for number in 0..<count {
                slots.append(waiter(&rooms, number, since: UInt64(number) * 10))
                rooms.enter(slots[Int(number)], room: 3, nowNs: 5, cells: counters.cells(worker: 0))
            }
            var left = Set(slots.indices)
            for _ in 0..<30 {
                let index = Int(random.next() % UInt64(count))
                if left.remove(index) != nil {
                    rooms.leave(slots[index], nowNs: 6)
                } else {
                    left.insert(index)
                    rooms.enter(slots[index], room: 3, nowNs: 6, cells: counters.cells(worker: 0))
                }
                check(rooms.count == left.count && rooms.count(in: 3) == left.count)
                check(rooms.oldestNs(in: 3) == left.min().map { UInt64($0) * 10 } ?? .max)
            }
            let expected = left.sorted().map(UInt32.init)
            #expect(order(&rooms, 3) == expected)
            check(rooms.count == 0 && rooms.nextRetryNs == .max)
        }
        #expect(counters.reading().waiting == 0)
    }

    @Test func eachIsCountedOnceHoweverOftenItWaits() {
        let counters = ServiceCounters(name: "web", workerCount: 1)
        var rooms = WaitingRooms()
        let slot = waiter(&rooms, 1, since: 1_000_000)
        for round in 1...3 as ClosedRange<UInt64> {
            rooms.enter(slot, room: 0, nowNs: round * 1_000_000, cells: counters.cells(worker: 0))
            #expect(counters.reading().waiting == 1)
            rooms.leave(slot, nowNs: round * 1_000_000 + 500_000)
            rooms.leave(slot, nowNs: round * 1_000_000 + 500_000)
        }
        let reading = counters.reading()
        #expect(reading.waiting == 0 && reading.waits == 1 && reading.waitUs == 1500)
    }

    @Test func theOldestOfEachRoomTriesFourTimesASecond() {
        var rooms = WaitingRooms()
        for room in [2, 5, 9] as [Int32] {
            let slot = waiter(&rooms, UInt32(room), since: 1)
            rooms.enter(slot, room: room, nowNs: UInt64(room) * 1_000_000, cells: counters.cells(worker: 0))
        }
        check(!rooms.isDue)
        check(rooms.nextRetryNs == 252_000_000)
        rooms.noteRetries(nowNs: 256_000_000)
        check(rooms.isDue)
        let due = rooms.takeDue()
        #expect(due.map(\.room) == [2, 5] && due.allSatisfy { $0.wake == .oldest })
        check(!rooms.isDue)
        check(rooms.nextRetryNs == 259_000_000)
        // A greater call is not made smaller, and an empty room is not called.
        rooms.note(.all, 9)
        rooms.note(.oldest, 9)
        rooms.note(.all, 4)
        let next = rooms.takeDue()
        #expect(next.map(\.room) == [9] && next.allSatisfy { $0.wake == .all })
    }

    @Test func noPlaceIsGivenToTwo() throws {
        let limit = TaskLimit(limit: 3)
        let most = Atomic<Int>(0)
        let now = Atomic<Int>(0)
        let taken = Atomic<Int>(0)
        let threads = try (0..<4).map { number in
            try Thread.start(name: "taker \(number)") {
                for _ in 0..<20_000 {
                    guard limit.take() else { continue }
                    let here = now.add(1, ordering: .sequentiallyConsistent).newValue
                    _ = most.max(here, ordering: .sequentiallyConsistent)
                    taken.add(1, ordering: .relaxed)
                    now.subtract(1, ordering: .sequentiallyConsistent)
                    limit.give()
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(limit.usedCount == 0 && most.load(ordering: .relaxed) <= 3 && taken.load(ordering: .relaxed) > 1000)
        for _ in 0..<3 { #expect(limit.take()) }
        #expect(!limit.take() && limit.leftCount == 0)
        limit.setLimit(4)
        #expect(limit.take() && !limit.take())
        limit.setLimit(2)
        limit.give()
        #expect(!limit.take() && limit.leftCount == -1)
    }

    @Test func aPlaceGoesToWhoHasWaitedLongest() {
        let queue = TurnQueue(workerCount: 4)
        #expect(queue.longest(besides: 0, before: .max) == nil)
        queue.set(50, worker: 1)
        queue.set(30, worker: 3)
        #expect(queue.longest(besides: 0, before: .max) == 3)
        #expect(queue.longest(besides: 0, before: 40) == 3)
        #expect(queue.longest(besides: 0, before: 30) == nil)
        #expect(queue.longest(besides: 3, before: .max) == 1)
        queue.set(.max, worker: 3)
        #expect(queue.longest(besides: 0, before: .max) == 1)
    }

    // MARK: What the publisher remembers

    private func snapshot(_ tasks: [String], limit: Int? = 2, service: String = "web") -> Snapshot {
        var options = ServiceOptions()
        options.maxConnections = limit
        return Snapshot(
            configuration: Configuration(
                services: [Service(id: service, name: service, options: options)],
                routes: [Route(host: .exact("web.test"), services: [0])]),
            endpoints: [
                tasks.map { text in
                    Upstream(
                        id: text.replacing("-", with: ""),
                        endpoint: Endpoint(address: IPAddress(v4: 1), port: 1),
                        state: text.hasPrefix("-") ? .draining : .ready)
                }
            ])
    }

    @Test func countsBelongToTasks() throws {
        var numbering = Numbering()
        var book = LimitBook()
        func limits(_ snapshot: Snapshot) -> ConnectionLimits? {
            let table = RouteTable(compiling: snapshot, version: 1, numbering: &numbering)
            return book.limits(for: table, workerCount: 2)
        }
        let first = try #require(limits(snapshot(["a", "b"])))
        #expect(first.tasks.count == 2 && first.queues.count == 1)
        let a = try #require(first.tasks.min { $0.key < $1.key })
        // b drains, and comes back; c is new.
        let second = try #require(limits(snapshot(["a", "-b", "c"])))
        #expect(second.tasks[a.key] === a.value && second.tasks.count == 3)
        let third = try #require(limits(snapshot(["a", "b"])))
        #expect(third.tasks.allSatisfy { first.tasks[$0.key] === $0.value } && third.tasks.count == 2)
        #expect(third.queues.allSatisfy { first.queues[$0.key] === $0.value })
        #expect(limits(snapshot(["a"], limit: nil)) == nil)
    }

    @Test func aLossIsRememberedForAMinute() {
        var numbering = Numbering()
        var losses = TaskLosses()
        var table = RouteTable(compiling: snapshot(["a", "b"]), version: 1, numbering: &numbering)
        func change(_ next: Snapshot, atS seconds: UInt64) -> [Int32: UInt64] {
            let new = RouteTable(compiling: next, version: 1, numbering: &numbering)
            losses.note(new, since: table, nowNs: seconds * 1_000_000_000)
            table = new
            return losses.positions(in: new)
        }
        #expect(change(snapshot(["a", "b", "c"]), atS: 100).isEmpty, "a task more is no loss")
        #expect(change(snapshot(["a", "b"]), atS: 101) == [0: 101_000_000_000])
        #expect(change(snapshot(["-a", "-b"]), atS: 110) == [0: 110_000_000_000])
        #expect(change(snapshot([]), atS: 120) == [0: 110_000_000_000], "it was lost when it stopped to be ready")
        #expect(change(snapshot([], service: "other"), atS: 121).isEmpty)
        #expect(change(snapshot([]), atS: 169) == [0: 110_000_000_000])
        #expect(change(snapshot([]), atS: 171).isEmpty)
    }
}
