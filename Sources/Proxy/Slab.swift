// Slots of one kind of thing, at addresses that never move. A slot is named by a number and a generation, so that
// an event that was queued before a slot was given away is recognised and dropped. One worker owns a slab.

/// A growing pool of slots; memory is kept for reuse and freed with the slab.
struct Slab<Element: ~Copyable>: ~Copyable {
    static var none: UInt32 { .max }

    private static var chunkSize: Int { 256 }
    private var chunks: UnsafeMutablePointer<UnsafeMutablePointer<Element>>
    private var chunkCapacity: Int
    private var chunkCount = 0
    private var generations: [UInt32] = []
    private var isLive: [Bool] = []
    private var free: [UInt32] = []
    /// Slots in use.
    private(set) var count = 0

    init() {
        chunkCapacity = 16
        chunks = .allocate(capacity: chunkCapacity)
    }

    deinit {
        for slot in 0..<isLive.count where isLive[slot] {
            (chunks[slot / Self.chunkSize] + slot % Self.chunkSize).deinitialize(count: 1)
        }
        for chunk in 0..<chunkCount { chunks[chunk].deallocate() }
        chunks.deallocate()
    }

    /// All slots ever made, in use or not: the range to walk with `isInUse`.
    var slotCount: Int { isLive.count }

    @inline(__always)
    subscript(slot: UInt32) -> UnsafeMutablePointer<Element> {
        assert(isLive[Int(slot)], "a free slot was used")
        return chunks[Int(slot) / Self.chunkSize] + Int(slot) % Self.chunkSize
    }

    @inline(__always)
    func isInUse(_ slot: UInt32) -> Bool { isLive[Int(slot)] }

    /// Whether the slot is in use and still of that generation.
    @inline(__always)
    func isCurrent(_ slot: UInt32, generation: UInt32) -> Bool {
        let index = Int(slot)
        return index < isLive.count && isLive[index] && generations[index] & 0xFF_FFFF == generation
    }

    @inline(__always)
    func generation(of slot: UInt32) -> UInt32 { generations[Int(slot)] & 0xFF_FFFF }

    /// Takes a slot and puts `element` into it.
    mutating func insert(_ element: consuming Element) -> UInt32 {
        if free.isEmpty { grow() }
        let slot = free.removeLast()
        isLive[Int(slot)] = true
        (chunks[Int(slot) / Self.chunkSize] + Int(slot) % Self.chunkSize).initialize(to: element)
        count += 1
        return slot
    }

    /// Gives a slot back; whatever still names it by generation is stale from here on.
    mutating func remove(_ slot: UInt32) {
        let index = Int(slot)
        precondition(isLive[index], "a slot was freed twice")
        isLive[index] = false
        generations[index] &+= 1
        (chunks[index / Self.chunkSize] + index % Self.chunkSize).deinitialize(count: 1)
        free.append(slot)
        count -= 1
    }

    private mutating func grow() {
        if chunkCount == chunkCapacity {
            let larger = UnsafeMutablePointer<UnsafeMutablePointer<Element>>.allocate(capacity: chunkCapacity * 2)
            larger.update(from: chunks, count: chunkCount)
            chunks.deallocate()
            chunks = larger
            chunkCapacity *= 2
        }
        chunks[chunkCount] = .allocate(capacity: Self.chunkSize)
        let first = UInt32(chunkCount * Self.chunkSize)
        chunkCount += 1
        generations.append(contentsOf: repeatElement(0, count: Self.chunkSize))
        isLive.append(contentsOf: repeatElement(false, count: Self.chunkSize))
        free.reserveCapacity(isLive.count)
        for slot in (first..<first + UInt32(Self.chunkSize)).reversed() { free.append(slot) }
    }
}
