// Numbers that are the same in every process, on every node and in every version of this program: who a key belongs to
// must not depend on who is asked. (What nobody may predict is hashed by KeyedHash under a random key instead.)
// Changing anything here moves every client of every sticky service to another task.

public import Model

enum StableHash {
    private static let hash = KeyedHash(key: 0x5851_F42D_4C95_7F2D)

    /// The number of a text; equal texts of different scopes have unrelated numbers.
    static func number(_ bytes: UnsafeRawBufferPointer, scope: Int32) -> UInt64 {
        spread(hash.plain(bytes, from: hash.start(scope: scope)))
    }

    /// Each bit of the result depends on all bits (the finalizer of splitmix64); no two numbers become the same.
    @inline(__always)
    static func spread(_ number: UInt64) -> UInt64 {
        var number = number
        number = (number ^ number >> 30) &* 0xBF58_476D_1CE4_E5B9
        number = (number ^ number >> 27) &* 0x94D0_49BB_1331_11EB
        return number ^ number >> 31
    }

    /// How much a member wants a key.
    @inline(__always)
    static func score(_ key: UInt64, _ seed: UInt64) -> UInt64 { spread(key ^ seed) }

    /// A score by weight: the highest of several is each one's as often as its weight says. (With u even in 0 to 1,
    /// -ln u / weight is as long as one waits for an event that comes `weight` times in a unit of time; who comes first
    /// is who has the greatest weight / -ln u.)
    static func weighted(_ score: UInt64, weight: Double) -> Double {
        // 53 bits, in the middle of their interval: never 0 and never 1.
        let even = (Double(score >> 11) + 0.5) * 0x1p-53
        return weight / -binaryLogarithm(even)
    }

    /// The logarithm to the base 2 of a positive number, by additions, multiplications and divisions only, whose
    /// results IEEE 754 prescribes to the last bit: libraries differ in theirs.
    static func binaryLogarithm(_ number: Double) -> Double {
        var exponent = Double(number.exponent)
        var mantissa = number.significand
        if mantissa > 1.414213562373095 {
            mantissa *= 0.5
            exponent += 1
        }
        // ln m = 2 artanh((m - 1) / (m + 1)), whose series ends soon for m this close to 1.
        let ratio = (mantissa - 1) / (mantissa + 1)
        let square = ratio * ratio
        var sum = 0.0
        var divisor = 17.0
        while divisor > 0 {
            sum = sum * square + 1 / divisor
            divisor -= 2
        }
        return exponent + 2 * ratio * sum * 1.4426950408889634
    }
}

extension Balancer {
    /// What a request with this value, of a cookie or a field, is hashed by.
    public static func key(_ value: UnsafeRawBufferPointer) -> UInt64 { StableHash.number(value, scope: 1) }

    /// What a request of this client is hashed by.
    public static func key(_ address: IPAddress) -> UInt64 {
        withUnsafeBytes(of: (address.high.bigEndian, address.low.bigEndian, UInt64(address.isIPv4 ? 4 : 6))) {
            StableHash.number($0, scope: 2)
        }
    }

    /// The number of an upstream or a service.
    static func seed(ofID id: String) -> UInt64 {
        var id = id
        return id.withUTF8 { StableHash.number(UnsafeRawBufferPointer($0), scope: 3) }
    }
}
