import Kernel
import Support
import Testing

@testable import Proxy

@Suite struct ProbeQueueTests {
    private func token(_ service: Int, _ task: Int) -> Token {
        Token(kind: 1, generation: 0, slot: UInt32(service * 1000 + task))
    }

    private func queue(limit: Int, due counts: [Int]) -> ProbeQueue {
        var queue = ProbeQueue(limit: limit)
        #expect(queue.begin(serviceCount: counts.count).isEmpty)
        for (service, count) in counts.enumerated() {
            for task in 0..<count { queue.append(token(service, task), of: service) }
        }
        return queue
    }

    private func begun(_ queue: inout ProbeQueue) -> [Int] {
        var services: [Int] = []
        while let (_, service) = queue.next() { services.append(service) }
        return services
    }

    @Test func servicesTakeTurnsAndTheirTasksKeepTheirOrder() {
        var queue = queue(limit: 100, due: [3, 1, 2])
        var slots: [UInt32] = []
        while let (token, _) = queue.next() { slots.append(token.slot) }
        #expect(slots == [0, 1000, 2000, 1, 2001, 2])
        #expect(queue.activeCount == 6 && queue.waitingCount == 0)
    }

    @Test func aServiceAloneMayHaveAllPlaces() {
        var queue = queue(limit: 8, due: [20])
        #expect(begun(&queue).count == 8 && queue.waitingCount == 12)
        queue.ended(0)
        #expect(begun(&queue) == [0])
    }

    @Test func whoHangsLeavesRoomForTheOthers() {
        var queue = queue(limit: 8, due: [20, 0, 0])
        // The common half and its share of the other one.
        #expect(begun(&queue).count == 5)
        for service in [1, 2, 1, 2] { queue.append(token(service, 0), of: service) }
        #expect(begun(&queue) == [1, 2])
        queue.ended(2)
        #expect(begun(&queue) == [2])
        queue.ended(1)
        #expect(begun(&queue) == [1])
        // One of its own ends: one of its own begins.
        queue.ended(0)
        #expect(begun(&queue) == [0])
    }

    @Test func anotherTableNumbersTheServicesAnew() {
        var queue = queue(limit: 4, due: [3, 1])
        #expect(begun(&queue) == [0, 1, 0])
        queue.append(token(0, 9), of: 0)
        #expect(queue.begin(serviceCount: 1).map(\.slot) == [2, 9])
        // A task of the service that is gone.
        queue.ended(1)
        for _ in 0..<2 { queue.countActive(0) }
        for task in [2, 9, 10] { queue.append(token(0, task), of: 0) }
        #expect(begun(&queue) == [0, 0])
        #expect(queue.activeCount == 4 && queue.waitingCount == 1)
    }

    /// Whatever ends when: never more than the limit, nobody starves, and nothing is left over.
    @Test(arguments: 0..<20)
    func nobodyStarves(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed) + 1)
        let serviceCount = Int.random(in: 1...6, using: &random)
        let limit = Int.random(in: 2 * serviceCount...40, using: &random)
        // The last service's probes never end.
        let hung = serviceCount
        var queue = queue(limit: limit, due: Array(repeating: 60, count: serviceCount + 1))
        var active: [Int] = []
        var ended = Array(repeating: 0, count: serviceCount)
        for _ in 0..<100_000 where ended.contains(where: { $0 < 60 }) {
            active += begun(&queue)
            #expect(queue.activeCount == active.count && active.count <= limit)
            let well = active.indices.filter { active[$0] != hung }
            guard let index = well.randomElement(using: &random) else { break }
            let service = active.remove(at: index)
            ended[service] += 1
            queue.ended(service)
        }
        #expect(ended.allSatisfy { $0 == 60 })
        #expect(active.allSatisfy { $0 == hung })
    }
}
