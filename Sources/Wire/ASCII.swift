// Owns what a byte may be: the character classes of RFC 9110 as bitmaps, and scans that look at eight bytes at once.
// It knows no protocol state. Scans are handed a pointer and a limit by code that has checked both; nothing here
// reads at or beyond the limit.

/// Single bytes, their classes and case.
public enum ASCII {
    static let tab: UInt8 = 0x09
    static let lineFeed: UInt8 = 0x0A
    static let carriageReturn: UInt8 = 0x0D
    static let space: UInt8 = 0x20
    static let quote: UInt8 = 0x22
    static let comma: UInt8 = 0x2C
    static let dash: UInt8 = 0x2D
    static let dot: UInt8 = 0x2E
    static let slash: UInt8 = 0x2F
    static let colon: UInt8 = 0x3A
    static let semicolon: UInt8 = 0x3B
    static let equal: UInt8 = 0x3D
    static let questionMark: UInt8 = 0x3F
    static let backslash: UInt8 = 0x5C
    static let underscore: UInt8 = 0x5F

    @inlinable @inline(__always)
    public static func lower(_ byte: UInt8) -> UInt8 {
        byte &- 0x41 < 26 ? byte | 0x20 : byte
    }

    @inlinable @inline(__always)
    public static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

    /// The value of a hexadecimal digit, or 255.
    @inlinable @inline(__always)
    public static func hexValue(_ byte: UInt8) -> UInt8 {
        if byte &- 0x30 < 10 { return byte &- 0x30 }
        let letter = (byte | 0x20) &- 0x61
        return letter < 6 ? letter &+ 10 : 255
    }

    /// `token` characters: ``!#$%&'*+-.^_`|~``, digits, letters (RFC 9110 section 5.6.2).
    @inline(__always)
    static func isToken(_ byte: UInt8) -> Bool { member(byte, 0x03FF_6CFA_0000_0000, 0x57FF_FFFF_C7FF_FFFE) }

    /// Letters, digits, `-._~`: the host names that this proxy knows. Percent-encoded and sub-delimited names of
    /// RFC 3986 name nothing in the DNS.
    @inline(__always)
    static func isHostName(_ byte: UInt8) -> Bool { member(byte, 0x03FF_6000_0000_0000, 0x47FF_FFFE_87FF_FFFE) }

    @inline(__always)
    private static func member(_ byte: UInt8, _ low: UInt64, _ high: UInt64) -> Bool {
        byte < 128 && ((byte < 64 ? low : high) >> UInt64(byte & 63)) & 1 == 1
    }

    @inline(__always)
    static func isBlank(_ byte: UInt8) -> Bool { byte == space || byte == tab }
}

/// Scans over `base[from ..< limit]`. All return the first index that ends the scan, or `limit`.
enum ByteScan {
    @inline(__always)
    private static func word(_ base: UnsafePointer<UInt8>, _ index: Int) -> UInt64 {
        UInt64(littleEndian: UnsafeRawPointer(base + index).loadUnaligned(as: UInt64.self))
    }

    @inline(__always)
    private static func spread(_ byte: UInt8) -> UInt64 { UInt64(byte) &* 0x0101_0101_0101_0101 }

    /// High bits set where a byte is zero. The lowest one is exact, those above it may be borrows.
    @inline(__always)
    private static func zeros(_ word: UInt64) -> UInt64 { (word &- spread(1)) & ~word & spread(0x80) }

    /// High bits set where a byte is below `bound` (at most 0x80). The lowest one is exact.
    @inline(__always)
    private static func below(_ word: UInt64, _ bound: UInt8) -> UInt64 {
        (word &- spread(bound)) & ~word & spread(0x80)
    }

    @inline(__always)
    private static func controls(_ word: UInt64) -> UInt64 {
        let delete = word ^ spread(0x7F)
        return (((word &- spread(0x20)) & ~word) | ((delete &- spread(1)) & ~delete)) & spread(0x80)
    }

    /// High bits set where a byte is a letter, a digit or a dash. The bytes must be below 0x80.
    @inline(__always)
    private static func plain(_ word: UInt64) -> UInt64 {
        let letters = word | spread(0x20)
        let isLetter = (letters &+ spread(0x80 - 0x61)) & ~(letters &+ spread(0x80 - 0x7B))
        let isDigit = (word &+ spread(0x80 - 0x30)) & ~(word &+ spread(0x80 - 0x3A))
        let isOther = (word ^ spread(ASCII.dash)) &+ spread(0x7F)
        return (isLetter | isDigit | ~isOther) & spread(0x80)
    }

    @inline(__always)
    private static func arePlain(_ word: UInt64) -> Bool { plain(word) == spread(0x80) }

    /// Whether `count` bytes are a host name of the common kind: letters, digits, dashes and single inner dots, at
    /// least eight of them. False: look closer.
    @inline(__always)
    static func isPlainHost(_ base: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        guard count >= 8, base[0] != ASCII.dot, base[count &- 1] != ASCII.dot else { return false }
        var index = 0
        while true {
            let eight = word(base, index)
            let dots = ~((eight ^ spread(ASCII.dot)) &+ spread(0x7F)) & spread(0x80)
            guard eight & spread(0x80) == 0, plain(eight) | dots == spread(0x80), dots & dots << 8 == 0 else {
                return false
            }
            if index &+ 8 == count { return true }
            // One byte of overlap, so that two dots are never on both sides of a border.
            index = min(index &+ 7, count &- 8)
        }
    }

    /// Whether `count` bytes, all of them below 0x80, are token characters; `underscores` tells if one is `_`.
    @inline(__always)
    static func isToken(_ base: UnsafePointer<UInt8>, _ count: Int, underscores: inout Bool) -> Bool {
        if count >= 8 {
            var index = 0
            while index &+ 8 <= count, arePlain(word(base, index)) { index &+= 8 }
            if index &+ 8 > count, arePlain(word(base, count &- 8)) { return true }
        }
        for index in 0..<count {
            guard ASCII.isToken(base[index]) else { return false }
            if base[index] == ASCII.underscore { underscores = true }
        }
        return true
    }

    /// The first control character other than a tab: 0x00-0x08, 0x0A-0x1F, 0x7F. Bytes of 0x80 and above pass.
    @inline(__always)
    static func endOfValue(_ base: UnsafePointer<UInt8>, from: Int, limit: Int) -> Int {
        var index = from
        while index &+ 8 <= limit {
            let hits = controls(word(base, index))
            if hits == 0 {
                index &+= 8
                // Cookies and browser names are long: then 32 bytes at once, as far as they are there.
                while index &- from >= 24, index &+ 32 <= limit {
                    let more =
                        controls(word(base, index)) | controls(word(base, index &+ 8))
                        | controls(word(base, index &+ 16)) | controls(word(base, index &+ 24))
                    if more != 0 { break }
                    index &+= 32
                }
                continue
            }
            index &+= hits.trailingZeroBitCount >> 3
            if base[index] != ASCII.tab { return index }
            index &+= 1
        }
        while index < limit {
            let byte = base[index]
            if (byte < 0x20 && byte != ASCII.tab) || byte == 0x7F { return index }
            index &+= 1
        }
        return limit
    }

    /// The first byte that no request target may hold: controls, space, `#`, `\`, 0x7F and above.
    @inline(__always)
    static func endOfTarget(_ base: UnsafePointer<UInt8>, from: Int, limit: Int) -> Int {
        var index = from
        while index &+ 8 <= limit {
            let eight = word(base, index)
            let hits =
                below(eight, 0x21) | (eight & spread(0x80)) | zeros(eight ^ spread(0x7F))
                | zeros(eight ^ spread(0x23)) | zeros(eight ^ spread(ASCII.backslash))
            if hits != 0 { return index &+ hits.trailingZeroBitCount >> 3 }
            index &+= 8
        }
        while index < limit {
            let byte = base[index]
            if byte < 0x21 || byte > 0x7E || byte == 0x23 || byte == ASCII.backslash { return index }
            index &+= 1
        }
        return limit
    }

    /// The first colon, control, space or byte of 0x7F and above.
    @inline(__always)
    static func endOfName(_ base: UnsafePointer<UInt8>, from: Int, limit: Int) -> Int {
        var index = from
        while index &+ 8 <= limit {
            let eight = word(base, index)
            let hits =
                below(eight, 0x21) | (eight & spread(0x80)) | zeros(eight ^ spread(0x7F))
                | zeros(eight ^ spread(ASCII.colon))
            if hits != 0 { return index &+ hits.trailingZeroBitCount >> 3 }
            index &+= 8
        }
        while index < limit {
            let byte = base[index]
            if byte < 0x21 || byte > 0x7E || byte == ASCII.colon { return index }
            index &+= 1
        }
        return limit
    }

    /// High bits set where a byte equals `byte`, exactly.
    @inline(__always)
    private static func equal(_ word: UInt64, _ byte: UInt8) -> UInt64 {
        let difference = word ^ spread(byte)
        return ~(((difference & spread(0x7F)) &+ spread(0x7F)) | difference) & spread(0x80)
    }

    /// Whether a path holds no `%`, no `\`, no `//` and no segment that begins with a dot.
    @inline(__always)
    static func isPlainPath(_ base: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        var index = 0
        while index &+ 9 <= count {
            let eight = word(base, index)
            let after = word(base, index &+ 1)
            let pairs = equal(eight, ASCII.slash) & (equal(after, ASCII.slash) | equal(after, ASCII.dot))
            if pairs | equal(eight, 0x25) | equal(eight, ASCII.backslash) != 0 { return false }
            index &+= 8
        }
        while index < count {
            let byte = base[index]
            if byte == 0x25 || byte == ASCII.backslash { return false }
            if byte == ASCII.slash, index &+ 1 < count {
                let next = base[index &+ 1]
                if next == ASCII.slash || next == ASCII.dot { return false }
            }
            index &+= 1
        }
        return true
    }

    /// Whether `count` bytes at `base` are the letters of `lower`, in any case. `lower` holds small letters, digits
    /// and dashes; with a literal the whole comparison is a few instructions.
    @inline(__always)
    static func matches(_ base: UnsafePointer<UInt8>, _ count: Int, _ lower: StaticString) -> Bool {
        let size = lower.utf8CodeUnitCount
        guard count == size else { return false }
        let pattern = lower.utf8Start
        if size >= 8 {
            var index = 0
            while index &+ 8 <= size {
                guard sameEight(word(base, index), word(pattern, index)) else { return false }
                index &+= 8
            }
            return index == size || sameEight(word(base, size &- 8), word(pattern, size &- 8))
        }
        if size >= 4 {
            return sameFour(base, pattern, 0) && sameFour(base, pattern, size &- 4)
        }
        var index = 0
        while index < size {
            guard ASCII.lower(base[index]) == pattern[index] else { return false }
            index &+= 1
        }
        return true
    }

    // Letters have bit 0x40, digits and the dash do not: only where the pattern has a letter may bit 0x20 differ.
    // (A plain `| 0x20` would take a carriage return for a dash.)
    @inline(__always)
    private static func sameEight(_ word: UInt64, _ pattern: UInt64) -> Bool {
        word | (pattern & spread(0x40)) >> 1 == pattern
    }

    @inline(__always)
    private static func sameFour(_ base: UnsafePointer<UInt8>, _ pattern: UnsafePointer<UInt8>, _ at: Int) -> Bool {
        let word = UnsafeRawPointer(base + at).loadUnaligned(as: UInt32.self)
        let expected = UnsafeRawPointer(pattern + at).loadUnaligned(as: UInt32.self)
        return word | (expected & 0x4040_4040) >> 1 == expected
    }
}
