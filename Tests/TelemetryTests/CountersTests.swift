// Counters, their layout in memory and who keeps them alive.

import Kernel
import Synchronization
import Testing

@testable import Telemetry

private final class Flag: Sendable {
    let isDone = Atomic<Bool>(false)
}

@Suite struct CounterTests {
    @Test func rowsAreApartByWholeLinePairs() {
        for count in [1, 16, 17, 33] {
            let block = CounterBlock(count: count, rowCount: 3)
            #expect(UInt(bitPattern: block.base) % UInt(CounterBlock.alignment) == 0)
            #expect(block.rowStride * 8 % CounterBlock.alignment == 0)
            #expect(block.rowStride >= count)
        }
    }

    @Test func addSubtractSetAndTotal() {
        let block = CounterBlock(count: 5, rowCount: 2)
        block.row(0).add(4)
        block.row(0).add(4, 10)
        block.row(1).add(4, 100)
        block.row(1).subtract(4, 1)
        block.row(0).set(0, 7)
        #expect(block.total(4) == 110)
        #expect(block.row(0).value(0) == 7)
        #expect(block.total(1) == 0)
    }

    @Test func aReaderNeverSeesACounterGoBack() throws {
        let block = CounterBlock(count: 1)
        let flag = Flag()
        let writer = try Thread.start(name: "writer") {
            for _ in 0..<200_000 { block.row(0).add(0) }
            flag.isDone.store(true, ordering: .releasing)
        }
        var last: UInt64 = 0
        var wentBack = 0
        while !flag.isDone.load(ordering: .acquiring) {
            let value = block.row(0).value(0)
            if value < last { wentBack += 1 }
            last = value
        }
        writer.join()
        #expect(wentBack == 0)
        #expect(block.row(0).value(0) == 200_000)
    }

    @Test func everyProxyCounterIsItsOwn() {
        let counters = ProxyCounters(workerCount: 2)
        for (index, counter) in ProxyCounter.allCases.enumerated() {
            counters.cells(worker: index % 2).add(counter, UInt64(index + 1))
        }
        for reason in RetryReason.allCases { counters.cells(worker: 0).add(reason) }
        for failure in UpstreamFailure.allCases { counters.cells(worker: 1).add(failure) }
        counters.cells(worker: 1).add(rejection: 0)
        counters.cells(worker: 0).add(rejection: ProxyCells.rejectionCapacity - 1)
        for entry in ConnectionEntry.allCases { counters.cells(worker: 1).add(entry) }
        for kind in HandshakeKind.allCases {
            counters.cells(worker: 0).add(kind)
            for _ in 0..<2 { counters.cells(worker: 1).add(upstream: kind) }
        }
        counters.cells(worker: 0).add(handshakeFailure: 0)
        counters.cells(worker: 1).add(handshakeFailure: ProxyCells.handshakeFailureCapacity - 1)
        for (index, counter) in ProxyCounter.allCases.enumerated() {
            #expect(counters.total(counter) == UInt64(index + 1))
        }
        #expect(RetryReason.allCases.allSatisfy { counters.total($0) == 1 })
        #expect(UpstreamFailure.allCases.allSatisfy { counters.total($0) == 1 })
        #expect(ConnectionEntry.allCases.allSatisfy { counters.total($0) == 1 })
        #expect(HandshakeKind.allCases.allSatisfy { counters.total($0) == 1 && counters.total(upstream: $0) == 2 })
        #expect(counters.total(handshakeFailure: 0) == 1 && counters.total(handshakeFailure: 1) == 0)
        #expect(counters.total(handshakeFailure: ProxyCells.handshakeFailureCapacity - 1) == 1)
        #expect(counters.total(rejection: 0) == 1)
        #expect(counters.total(rejection: 1) == 0)
        #expect(counters.total(rejection: ProxyCells.rejectionCapacity - 1) == 1)
    }

    @Test(arguments: [
        (0, 0), (1000, 0), (1001, 1), (2500, 1), (2501, 2), (5000, 2), (5001, 3), (10_000, 3),
        (10_001, 4), (25_000, 4),
        (50_000, 5), (100_000, 6), (250_000, 7), (500_000, 8), (1_000_000, 9), (2_500_000, 10),
        (5_000_000, 11),
        (5_000_001, 12), (10_000_000, 12), (10_000_001, 13), (UInt64.max, 13),
    ])
    func buckets(_ durationUs: UInt64, _ expected: Int) {
        #expect(DurationBuckets.index(durationUs) == expected)
    }

    @Test func handshakesByVersionAndResult() {
        let named = HandshakeKind.allCases.map { "\($0.version) \($0.result)" }
        #expect(named == ["1.2 full", "1.2 resumed", "1.3 full", "1.3 resumed"])
        #expect(HandshakeKind(isTLS13: true, isResumed: false) == .fullTLS13)
        #expect(HandshakeKind(isTLS13: false, isResumed: true) == .resumedTLS12)
        #expect(HandshakeKind(isTLS13: true, isResumed: true) == .resumedTLS13)
        #expect(HandshakeKind(isTLS13: false, isResumed: false) == .fullTLS12)
    }

    @Test func bucketsAgreeWithTheirLabels() {
        #expect(DurationBuckets.labels.count == DurationBuckets.count)
        for (index, label) in DurationBuckets.labels.enumerated().dropLast() {
            let bound = UInt64((Double(label)! * 1_000_000).rounded())
            #expect(DurationBuckets.index(bound) == index)
            #expect(DurationBuckets.index(bound + 1) == index + 1)
        }
    }
}

@Suite struct ServiceRegistryTests {
    @Test func countsSurviveSwapsAndGoWithTheService() {
        let registry = ServiceRegistry(workerCount: 2)
        let first = registry.update([(slot: 0, name: "web"), (slot: 1, name: "api")])
        first.cells(service: 0, worker: 0).addRequest(status: 200, durationUs: 900)
        first.cells(service: 0, worker: 1).addRequest(status: 503, durationUs: 3000)
        let second = registry.update([(slot: 2, name: "new"), (slot: 0, name: "web")])
        second.cells(service: 1, worker: 0).addRequest(status: 204, durationUs: 1)
        // A worker that still holds the old table counts on, for the one that stayed and for the one that went.
        first.cells(service: 0, worker: 0).addRequest(status: 200, durationUs: 1)
        first.cells(service: 1, worker: 0).addRequest(status: 200, durationUs: 1)
        let readings = registry.readings()
        #expect(readings.map(\.name) == ["new", "web"])
        #expect(readings[1].requests == [0, 0, 3, 0, 0, 1])
        #expect(readings[1].buckets.reduce(0, +) == 4)
        #expect(readings[1].buckets[0] == 3 && readings[1].buckets[2] == 1)
        #expect(readings[1].durationSumUs == 3902)
    }

    @Test func aSlotUsedAgainBeginsAtZero() {
        let registry = ServiceRegistry(workerCount: 1)
        registry.update([(slot: 5, name: "old")]).cells(service: 0, worker: 0).addBytesIn(10)
        _ = registry.update([(slot: 5, name: "young")])
        #expect(registry.readings() == [ServiceReading(name: "young")])
    }

    @Test func registerAndRelease() {
        let registry = ServiceRegistry(workerCount: 1)
        let counters = registry.register(slot: 1, name: "web")
        #expect(registry.register(slot: 1, name: "web") === counters)
        #expect(registry.register(slot: 1, name: "other") !== counters)
        registry.release(slot: 1)
        #expect(registry.readings().isEmpty)
        counters.cells(worker: 0).addRetry()
        #expect(counters.reading().retries == 1)
    }

    @Test func servicesOfOneNameMakeOneSeries() {
        let registry = ServiceRegistry(workerCount: 1)
        let table = registry.update([(slot: 0, name: "web"), (slot: 1, name: "web")])
        table.cells(service: 0, worker: 0).addBytesOut(1)
        table.cells(service: 1, worker: 0).addBytesOut(2)
        #expect(registry.readings().map(\.bytesOut) == [3])
    }

    @Test func connectionsAreNoRequests() {
        let counters = ServiceCounters(name: "x", workerCount: 1)
        counters.cells(worker: 0).addStream(reachedTask: true)
        counters.cells(worker: 0).addStream(reachedTask: false)
        var expected = ServiceReading(name: "x")
        expected.streams = 2
        expected.streamsFailed = 1
        #expect(counters.reading() == expected)
        expected.merge(counters.reading())
        #expect(expected.streams == 4 && expected.streamsFailed == 2)
    }

    @Test func unroutedRequestsShowOnceTheyHappen() {
        let registry = ServiceRegistry(workerCount: 1)
        #expect(registry.readings().isEmpty)
        registry.unrouted.cells(worker: 0).addRequest(status: 503, durationUs: 0)
        #expect(registry.readings().map(\.name) == ["-"])
    }

    @Test(arguments: [
        (0, 0), (99, 0), (100, 1), (101, 1), (299, 2), (404, 4), (599, 5), (600, 0), (UInt16.max, 0),
    ])
    func statusClasses(_ status: UInt16, _ expected: Int) {
        let counters = ServiceCounters(name: "x", workerCount: 1)
        counters.cells(worker: 0).addRequest(status: status, durationUs: 0)
        #expect(counters.reading().requests.firstIndex(of: 1) == expected)
    }
}
