// An open-addressing hash table from byte strings to small integers, filled once and then frozen. The caller hashes, so
// that prefixes of one string are hashed in one pass; equal hashes are told apart by comparing bytes.

/// One occupied or free place of a `ByteTable`.
struct ByteSlot: BitwiseCopyable, Sendable {
    /// The upper half of the hash: most misses end here without touching the key's bytes.
    var tag: UInt32 = 0
    /// Keeps apart equal keys that mean different things.
    var scope: Int32 = 0
    /// -1 in a free place.
    var value: Int32 = -1
    /// Where the key's bytes are in the shared `keys`.
    var start: UInt32 = 0
    var count: UInt32 = 0
}

/// The table while it is being filled.
struct ByteTableBuilder {
    private var slots: [ByteSlot]
    private let mask: Int

    /// At most half of the places are ever taken, so every probe ends soon.
    init(capacity: Int) {
        var size = 4
        while size < capacity * 2 { size *= 2 }
        slots = Array(repeating: ByteSlot(), count: size)
        mask = size - 1
    }

    /// Adds a key unless it is there already; returns the value that is in the table afterwards.
    mutating func insert(
        _ slot: ByteSlot, hash: UInt64, keys: UnsafeRawBufferPointer
    ) -> Int32 {
        let key = UnsafeRawBufferPointer(rebasing: keys[Int(slot.start)..<Int(slot.start + slot.count)])
        var slot = slot
        slot.tag = UInt32(truncatingIfNeeded: hash >> 32)
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index].value >= 0 {
            let other = slots[index]
            if other.tag == slot.tag, other.scope == slot.scope, other.count == slot.count {
                let otherKey = UnsafeRawBufferPointer(
                    rebasing: keys[Int(other.start)..<Int(other.start + other.count)])
                if equal(otherKey, key: key, foldsCase: false) { return other.value }
            }
            index = (index + 1) & mask
        }
        slots[index] = slot
        return slot.value
    }

    consuming func freeze() -> ByteTable { ByteTable(slots: FrozenArray(slots)) }
}

/// The table, frozen.
struct ByteTable: ~Copyable, Sendable {
    private let slots: FrozenArray<ByteSlot>
    private let mask: Int

    fileprivate init(slots: consuming FrozenArray<ByteSlot>) {
        mask = slots.count - 1
        self.slots = slots
    }

    /// The value of a key, or -1. `keys` is the memory that the table was filled from.
    @inline(__always)
    func find(
        _ key: UnsafeRawBufferPointer, scope: Int32, hash: UInt64, foldsCase: Bool, keys: borrowing FrozenArray<UInt8>
    ) -> Int32 {
        let tag = UInt32(truncatingIfNeeded: hash >> 32)
        var index = Int(truncatingIfNeeded: hash) & mask
        while true {
            let slot = slots[index]
            if slot.value < 0 { return -1 }
            if slot.tag == tag, slot.scope == scope, Int(slot.count) == key.count,
                equal(key, key: keys.bytes(from: Int(slot.start), count: Int(slot.count)), foldsCase: foldsCase)
            {
                return slot.value
            }
            index = (index + 1) & mask
        }
    }
}
