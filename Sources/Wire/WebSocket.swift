// Owns the answer to a WebSocket handshake (RFC 6455 section 4.2.2): SHA-1 and base64 of a key. The proxy itself only
// passes handshakes on; backends and tests answer them. SHA-1 is what the RFC demands here and protects nothing.

/// The WebSocket handshake's one computation.
public enum WebSocket {
    private static var salt: StaticString { "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" }

    /// Appends the 28 characters of `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
    public static func writeAccept(key: Bytes, into writer: inout ByteWriter) {
        var hash = SHA1()
        for index in 0..<key.count { hash.update(key[index]) }
        for index in 0..<salt.utf8CodeUnitCount { hash.update(salt.utf8Start[index]) }
        hash.finish().withUnsafeBufferPointer { writer.append(base64: Bytes($0)) }
    }
}

/// FIPS 180-4, one byte at a time.
private struct SHA1 {
    private var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
    private var block: [UInt8] = []
    private var byteCount: UInt64 = 0

    mutating func update(_ byte: UInt8) {
        byteCount &+= 1
        append(byte)
    }

    private mutating func append(_ byte: UInt8) {
        block.append(byte)
        if block.count == 64 { compress() }
    }

    mutating func finish() -> [UInt8] {
        let bitCount = byteCount &* 8
        append(0x80)
        while block.count != 56 { append(0) }
        for shift in stride(from: 56, through: 0, by: -8) { append(UInt8(truncatingIfNeeded: bitCount >> shift)) }
        return state.flatMap { word in
            [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> $0) }
        }
    }

    private mutating func compress() {
        var words = (0..<16).map { index in
            block[index * 4..<index * 4 + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        }
        for index in 16..<80 {
            let mixed = words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16]
            words.append(Self.rotate(mixed, 1))
        }
        var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
        for index in 0..<80 {
            let (mix, constant): (UInt32, UInt32) =
                switch index {
                case 0..<20: (b & c | ~b & d, 0x5A82_7999)
                case 20..<40: (b ^ c ^ d, 0x6ED9_EBA1)
                case 40..<60: (b & c | b & d | c & d, 0x8F1B_BCDC)
                default: (b ^ c ^ d, 0xCA62_C1D6)
                }
            let next = Self.rotate(a, 5) &+ mix &+ e &+ constant &+ words[index]
            (a, b, c, d, e) = (next, a, Self.rotate(b, 30), c, d)
        }
        for (index, value) in [a, b, c, d, e].enumerated() { state[index] &+= value }
        block.removeAll(keepingCapacity: true)
    }

    private static func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
}
