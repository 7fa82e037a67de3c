// A fast hash under a secret key, so that nobody outside can choose names that collide: folded 64x64 -> 128 bit
// multiplications over 8-byte words. Host names are folded to lower case on the way, eight bytes at a time.

/// Hashes byte strings with a key of its own.
struct KeyedHash: BitwiseCopyable, Sendable {
    private let key: UInt64
    private let multiplier: UInt64

    init(key: UInt64) {
        self.key = key
        // Any odd value with well spread bits will do; the key decides which.
        multiplier = (key.byteSwapped &* 0x9E37_79B9_7F4A_7C15) | 1
    }

    /// The state that hashing begins with; different scopes give unrelated hashes.
    func start(scope: Int32) -> UInt64 {
        mix(key, UInt64(UInt32(bitPattern: scope)) ^ 0xA076_1D64_78BD_642F)
    }

    /// The hash of the bytes as they are, continuing from `state`.
    @inline(__always)
    func plain(_ bytes: UnsafeRawBufferPointer, from state: UInt64) -> UInt64 {
        hash(bytes, from: state, foldsCase: false)
    }

    /// The hash of the bytes in lower case (ASCII letters only), continuing from `state`.
    @inline(__always)
    func folded(_ bytes: UnsafeRawBufferPointer, from state: UInt64) -> UInt64 {
        hash(bytes, from: state, foldsCase: true)
    }

    @inline(__always)
    private func hash(_ bytes: UnsafeRawBufferPointer, from state: UInt64, foldsCase: Bool) -> UInt64 {
        let count = bytes.count
        guard let base = bytes.baseAddress, count > 0 else { return mix(state, 0) }
        var state = state ^ UInt64(truncatingIfNeeded: count)
        guard count >= 8 else { return mix(state, fold(shortWord(base, count: count), foldsCase)) }
        var position = 0
        while position < count - 8 {
            state = mix(state, fold(word(base, position), foldsCase))
            position += 8
        }
        return mix(state, fold(word(base, count - 8), foldsCase))
    }

    @inline(__always)
    private func mix(_ state: UInt64, _ word: UInt64) -> UInt64 {
        let product = (word ^ key).multipliedFullWidth(by: state ^ multiplier)
        return product.high ^ product.low
    }
}

/// Whether `bytes`, in lower case if `foldsCase`, are the bytes of `key`. The key is in lower case already.
@inline(__always)
func equal(_ bytes: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, foldsCase: Bool) -> Bool {
    let count = bytes.count
    guard count == key.count else { return false }
    guard let base = bytes.baseAddress, let keyBase = key.baseAddress, count > 0 else { return true }
    guard count >= 8 else {
        return same(shortWord(base, count: count), key: shortWord(keyBase, count: count), foldsCase)
    }
    var position = 0
    while position < count - 8 {
        if !same(word(base, position), key: word(keyBase, position), foldsCase) { return false }
        position += 8
    }
    return same(word(base, count - 8), key: word(keyBase, count - 8), foldsCase)
}

/// Most clients send lower case: folding is tried only where the bytes differ as they are.
@inline(__always)
private func same(_ word: UInt64, key: UInt64, _ foldsCase: Bool) -> Bool {
    word == key || foldsCase && lowerCased(word) == key
}

// The three functions below read memory without bounds checks; only `hash` and `equal` call them, whose loops keep
// within `count`. The last word overlaps the one before it, so that no byte is read alone.

@inline(__always)
private func word(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
}

/// One to seven bytes as one word that is the same for no other bytes of the same count.
@inline(__always)
private func shortWord(_ base: UnsafeRawPointer, count: Int) -> UInt64 {
    if count >= 4 {
        let first = base.loadUnaligned(fromByteOffset: 0, as: UInt32.self)
        let last = base.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self)
        return UInt64(first) | UInt64(last) &<< 32
    }
    let first = base.load(fromByteOffset: 0, as: UInt8.self)
    let middle = base.load(fromByteOffset: count >> 1, as: UInt8.self)
    let last = base.load(fromByteOffset: count - 1, as: UInt8.self)
    return UInt64(first) | UInt64(middle) &<< 8 | UInt64(last) &<< 16
}

@inline(__always)
private func fold(_ word: UInt64, _ foldsCase: Bool) -> UInt64 { foldsCase ? lowerCased(word) : word }

/// Eight bytes with `A` to `Z` turned into `a` to `z`; all other bytes unchanged.
@inline(__always)
private func lowerCased(_ word: UInt64) -> UInt64 {
    let lowBits = word & 0x7F7F_7F7F_7F7F_7F7F
    let atLeastA = lowBits &+ 0x3F3F_3F3F_3F3F_3F3F  // 0x80 - "A"
    let aboveZ = lowBits &+ 0x2525_2525_2525_2525  // 0x7F - "Z"
    let isUpper = (atLeastA ^ aboveZ) & ~word & 0x8080_8080_8080_8080
    return word | isUpper &>> 2
}
