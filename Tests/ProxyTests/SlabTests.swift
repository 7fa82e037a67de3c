// Slots keep their address, generations tell stale names, memory is reused, and every element is destroyed once.

@testable import Proxy
import Support
import Testing

private final class Tally {
    var alive = 0
}

private struct Guest: ~Copyable {
    let number: Int
    private let tally: Tally?

    init(_ number: Int, _ tally: Tally? = nil) {
        self.number = number
        self.tally = tally
        tally?.alive += 1
    }

    deinit { tally?.alive -= 1 }
}

@Suite struct SlabTests {
    @Test func aFreedSlotIsReusedUnderANewGeneration() {
        var slab = Slab<Guest>()
        let first = slab.insert(Guest(1))
        let generation = slab.generation(of: first)
        check(slab.isCurrent(first, generation: generation))
        slab.remove(first)
        check(!slab.isInUse(first))
        check(!slab.isCurrent(first, generation: generation))
        let second = slab.insert(Guest(2))
        #expect(second == first)
        check(!slab.isCurrent(second, generation: generation))
        check(slab.isCurrent(second, generation: slab.generation(of: second)))
        #expect(slab[second].pointee.number == 2)
        #expect(slab.count == 1)
    }

    @Test func aSlotThatWasNeverMadeIsNotCurrent() {
        var slab = Slab<Guest>()
        check(!slab.isCurrent(0, generation: 0))
        _ = slab.insert(Guest(1))
        check(!slab.isCurrent(UInt32(slab.slotCount), generation: 0))
        check(!slab.isCurrent(Slab<Guest>.none, generation: 0))
    }

    @Test func generationsFitTheTokenAndWrap() {
        var slab = Slab<Guest>()
        let slot = slab.insert(Guest(0))
        let first = slab.generation(of: slot)
        for round in 1...3000 {
            slab.remove(slot)
            #expect(slab.insert(Guest(round)) == slot)
            #expect(slab.generation(of: slot) <= 0xFF_FFFF)
        }
        #expect(slab.generation(of: slot) == first + 3000)
    }

    @Test func addressesStayWhileTheSlabGrows() {
        var slab = Slab<Guest>()
        var slots: [UInt32] = []
        var places: [UnsafeMutablePointer<Guest>] = []
        // More than 16 chunks of 256: the list of chunks grows too.
        for number in 0..<6000 {
            slots.append(slab.insert(Guest(number)))
            places.append(slab[slots[number]])
        }
        #expect(Set(slots).count == 6000)
        #expect(slab.slotCount >= 6000)
        for number in 0..<6000 {
            #expect(slab[slots[number]] == places[number])
            #expect(slab[slots[number]].pointee.number == number)
        }
    }

    @Test func everyElementIsDestroyedOnce() {
        let tally = Tally()
        do {
            var slab = Slab<Guest>()
            var slots = (0..<1000).map { slab.insert(Guest($0, tally)) }
            #expect(tally.alive == 1000)
            for _ in 0..<400 { slab.remove(slots.removeLast()) }
            #expect(tally.alive == 600)
            #expect(slab.count == 600)
        }
        #expect(tally.alive == 0)
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func agreesWithADictionary(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var slab = Slab<Guest>()
        var model: [UInt32: (number: Int, generation: UInt32)] = [:]
        var inUse: [UInt32] = []
        var stale: [(slot: UInt32, generation: UInt32)] = []
        for number in 0..<4000 {
            if model.isEmpty || random.number(0...99) < 55 {
                let slot = slab.insert(Guest(number))
                #expect(model[slot] == nil, "seed \(seed): slot \(slot) was given away twice")
                model[slot] = (number, slab.generation(of: slot))
                inUse.append(slot)
            } else {
                let slot = inUse.remove(at: random.number(0...inUse.count - 1))
                slab.remove(slot)
                if let known = model.removeValue(forKey: slot) { stale.append((slot, known.generation)) }
            }
        }
        #expect(slab.count == model.count)
        for (slot, known) in model {
            #expect(slab[slot].pointee.number == known.number, "seed \(seed)")
            check(slab.isCurrent(slot, generation: known.generation), "seed \(seed)")
        }
        let stillCurrent = stale.filter { slab.isCurrent($0.slot, generation: $0.generation) }
        #expect(stillCurrent.isEmpty, "seed \(seed)")
        #expect((0..<UInt32(slab.slotCount)).count { slab.isInUse($0) } == model.count)
    }
}
