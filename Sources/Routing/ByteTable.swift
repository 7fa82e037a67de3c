// An open-addressing hash table from byte strings to the entries they belong to, filled once and then frozen.
// The caller hashes, so that prefixes of one string are hashed in one pass; equal hashes are told apart by
// comparing bytes.
// A place holds eight bytes only: the key's whereabouts are in the entry, which a hit needs anyway.

/// Where a key's bytes are, and what sets it apart from equal bytes that mean something else.
struct ByteKey: BitwiseCopyable, Sendable {
    var start: UInt32 = 0
    var count: UInt32 = 0
    var scope: Int32 = 0
}

/// An entry that is found by its key.
protocol KeyedEntry: BitwiseCopyable, Sendable {
    var key: ByteKey { get }
}

/// One occupied or free place of a `ByteTable`.
struct ByteSlot: BitwiseCopyable, Sendable {
    /// The upper half of the hash: most misses end here without touching the entry.
    var tag: UInt32 = 0
    /// The entry's index; -1 in a free place.
    var entry: Int32 = -1
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

    /// Adds an entry under its key unless the key is taken; returns the entry that is in the table afterwards.
    mutating func insert(
        _ entry: Int32, key: ByteKey, hash: UInt64, keys: UnsafeRawBufferPointer, entries: [some KeyedEntry]
    ) -> Int32 {
        let tag = UInt32(truncatingIfNeeded: hash >> 32)
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index].entry >= 0 {
            let other = slots[index]
            if other.tag == tag {
                let otherKey = entries[Int(other.entry)].key
                if otherKey.scope == key.scope,
                    equal(bytes(of: key, keys), key: bytes(of: otherKey, keys), foldsCase: false)
                {
                    return other.entry
                }
            }
            index = (index + 1) & mask
        }
        slots[index] = ByteSlot(tag: tag, entry: entry)
        return entry
    }

    /// The entry of a key, or -1. `keys` and `entries` are those that it was filled from.
    func find(
        _ bytes: UnsafeRawBufferPointer, scope: Int32, hash: UInt64, keys: UnsafeRawBufferPointer,
        entries: [some KeyedEntry]
    ) -> Int32 {
        let tag = UInt32(truncatingIfNeeded: hash >> 32)
        var index = Int(truncatingIfNeeded: hash) & mask
        while slots[index].entry >= 0 {
            let slot = slots[index]
            if slot.tag == tag {
                let key = entries[Int(slot.entry)].key
                if key.scope == scope, equal(bytes, key: self.bytes(of: key, keys), foldsCase: false) {
                    return slot.entry
                }
            }
            index = (index + 1) & mask
        }
        return -1
    }

    private func bytes(of key: ByteKey, _ keys: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: keys[Int(key.start)..<Int(key.start + key.count)])
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

    /// The entry of a key, or -1. `keys` and `entries` are those that the table was filled from.
    @inline(__always)
    func find<Entry: KeyedEntry>(
        _ bytes: UnsafeRawBufferPointer, scope: Int32, hash: UInt64, foldsCase: Bool,
        keys: borrowing FrozenArray<UInt8>, entries: borrowing FrozenArray<Entry>
    ) -> Int32 {
        let tag = UInt32(truncatingIfNeeded: hash >> 32)
        var index = Int(truncatingIfNeeded: hash) & mask
        while true {
            let slot = slots[index]
            if slot.entry < 0 { return -1 }
            if slot.tag == tag {
                let key = entries[Int(slot.entry)].key
                if key.scope == scope, Int(key.count) == bytes.count,
                    equal(bytes, key: keys.bytes(from: Int(key.start), count: bytes.count), foldsCase: foldsCase)
                {
                    return slot.entry
                }
            }
            index = (index + 1) & mask
        }
    }
}
