// The two clocks, random bytes, and what the machine has.

internal import CLinux
internal import Glibc

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

    /// What tells the processes of one container from those of any other, as the kernel names their PID namespace.
    public static var processNamespace: String {
        var buffer = [CChar](repeating: 0, count: 64)
        let count = readlink("/proc/self/ns/pid", &buffer, buffer.count)
        return String(decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// net.ipv4.tcp_migrate_req: whether connections that wait at a listener that is closed go to another one of the
    /// same port. nil: this kernel does not say.
    public static var migratesRequests: Bool? {
        let descriptor = open("/proc/sys/net/ipv4/tcp_migrate_req", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { Socket.close(descriptor) }
        var byte: UInt8 = 0
        guard il_read(descriptor, &byte, 1) == 1 else { return nil }
        return byte == UInt8(ascii: "1")
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
