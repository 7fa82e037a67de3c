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
    func plain(_ bytes: UnsafeRawBufferPointer, from state: UInt64) -> UInt64 {
        var state = state ^ UInt64(truncatingIfNeeded: bytes.count)
        var position = 0
        while position + 8 <= bytes.count {
            state = mix(state, bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
            position += 8
        }
        return mix(state, tail(of: bytes, from: position))
    }

    /// The hash of the bytes in lower case (ASCII letters only), continuing from `state`.
    func folded(_ bytes: UnsafeRawBufferPointer, from state: UInt64) -> UInt64 {
        var state = state ^ UInt64(truncatingIfNeeded: bytes.count)
        var position = 0
        while position + 8 <= bytes.count {
            state = mix(state, lowerCased(bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)))
            position += 8
        }
        return mix(state, lowerCased(tail(of: bytes, from: position)))
    }

    @inline(__always)
    private func mix(_ state: UInt64, _ word: UInt64) -> UInt64 {
        let product = (word ^ key).multipliedFullWidth(by: state ^ multiplier)
        return product.high ^ product.low
    }
}

/// Up to seven last bytes as one word; bytes beyond the end are never read.
@inline(__always)
private func tail(of bytes: UnsafeRawBufferPointer, from position: Int) -> UInt64 {
    var word: UInt64 = 0
    var shift: UInt64 = 0
    var position = position
    while position < bytes.count {
        word |= UInt64(bytes[position]) &<< shift
        shift += 8
        position += 1
    }
    return word
}

/// Eight bytes with `A` to `Z` turned into `a` to `z`; all other bytes unchanged.
@inline(__always)
func lowerCased(_ word: UInt64) -> UInt64 {
    let lowBits = word & 0x7F7F_7F7F_7F7F_7F7F
    let atLeastA = lowBits &+ 0x3F3F_3F3F_3F3F_3F3F  // 0x80 - "A"
    let aboveZ = lowBits &+ 0x2525_2525_2525_2525  // 0x7F - "Z"
    let isUpper = (atLeastA ^ aboveZ) & ~word & 0x8080_8080_8080_8080
    return word | isUpper &>> 2
}

/// Whether `bytes`, in lower case if `foldsCase`, are the bytes of `key`. The key is in lower case already.
@inline(__always)
func equal(_ bytes: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, foldsCase: Bool) -> Bool {
    guard bytes.count == key.count else { return false }
    var position = 0
    while position + 8 <= bytes.count {
        let word = bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)
        let keyWord = key.loadUnaligned(fromByteOffset: position, as: UInt64.self)
        if (foldsCase ? lowerCased(word) : word) != keyWord { return false }
        position += 8
    }
    let word = tail(of: bytes, from: position)
    return (foldsCase ? lowerCased(word) : word) == tail(of: key, from: position)
}
