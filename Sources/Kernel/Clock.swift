// The two clocks, random bytes, and what the machine has.

internal import CLinux

public enum Clock {
    /// CLOCK_MONOTONIC in nanoseconds.
    @inline(__always) public static func monotonicNs() -> UInt64 { il_monotonic_ns() }
    /// Nanoseconds since 1970.
    @inline(__always) public static func realtimeNs() -> UInt64 { il_realtime_ns() }
}

public enum Machine {
    /// Processors this process may run on.
    public static var processorCount: Int { Int(il_processor_count()) }

    /// Raises the soft limit of open files to the hard one.
    /// - Returns: the soft limit in force.
    public static func raiseDescriptorLimit() -> UInt64 {
        var soft: UInt64 = 1024
        _ = il_raise_descriptor_limit(&soft)
        return soft
    }

    public static func fillRandom(_ bytes: UnsafeMutableRawBufferPointer) {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return }
        precondition(il_random(base, bytes.count) == 0, "the system has no random numbers")
    }

    public static func random() -> UInt64 {
        var value: UInt64 = 0
        withUnsafeMutableBytes(of: &value) { fillRandom($0) }
        return value
    }
}
