// The process as the kernel sees it, from /proc, for the metrics that every Prometheus exporter has.

import Glibc

struct ProcessStatistics: Sendable {
    struct Reading: Sendable {
        var cpuSeconds: Double = 0
        var residentBytes: UInt64 = 0
        var virtualBytes: UInt64 = 0
        var openDescriptors: UInt64 = 0
        var maximumDescriptors: UInt64 = 0
    }

    /// Seconds since 1970; nil where /proc does not tell.
    let startedAtSeconds: Double?

    init() {
        let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
        let bootLine = Self.text("/proc/stat").split(separator: "\n").first { $0.hasPrefix("btime ") }
        if let boot = bootLine.flatMap({ Double($0.dropFirst(6)) }), let ticks = Self.stat(21), ticksPerSecond > 0 {
            startedAtSeconds = boot + Double(ticks) / ticksPerSecond
        } else {
            startedAtSeconds = nil
        }
    }

    func reading() -> Reading {
        var reading = Reading()
        var usage = rusage()
        if getrusage(RUSAGE_SELF.rawValue, &usage) == 0 {
            reading.cpuSeconds = Self.seconds(usage.ru_utime) + Self.seconds(usage.ru_stime)
        }
        reading.virtualBytes = Self.stat(22) ?? 0
        reading.residentBytes = (Self.stat(23) ?? 0) * UInt64(sysconf(Int32(_SC_PAGESIZE)))
        reading.openDescriptors = Self.openDescriptors()
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            reading.maximumDescriptors = UInt64(limit.rlim_cur)
        }
        return reading
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1_000_000 }

    /// A field of /proc/self/stat by its index from 0. The program's name may hold spaces: what counts is behind it.
    private static func stat(_ index: Int) -> UInt64? {
        let line = text("/proc/self/stat")
        guard let end = line.lastIndex(of: ")") else { return nil }
        let fields = line[line.index(after: end)...].split(separator: " ")
        return fields.indices.contains(index - 2) ? UInt64(fields[index - 2]) : nil
    }

    private static func openDescriptors() -> UInt64 {
        guard let directory = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(directory) }
        var count: UInt64 = 0
        while let entry = readdir(directory) {
            // "." and ".." are none, and one is the directory itself.
            if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
        }
        return count > 0 ? count - 1 : 0
    }

    private static func text(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 8192)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
