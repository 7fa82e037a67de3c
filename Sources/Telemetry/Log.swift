// What the operator is told, as JSON lines on stderr. For the control plane and for rare events; never called per
// request. A message that repeats is held back and counted, so that a broken neighbour cannot fill a disk.

import Glibc
import Synchronization

public enum LogLevel: Int, Sendable, Comparable, CaseIterable {
    case error, warning, info, debug

    public var name: String {
        switch self {
        case .error: "error"
        case .warning: "warning"
        case .info: "info"
        case .debug: "debug"
        }
    }

    public init?(name: String) {
        guard let level = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = level
    }

    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }
}

/// A field's value.
public enum LogValue: Sendable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByStringInterpolation
{
    case string(String)
    case integer(Int)
    case unsigned(UInt64)
    case double(Double)
    case bool(Bool)

    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int) { self = .integer(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
}

public final class Log: Sendable {
    /// Fields keep their order: `["service": .string(name), "tasks": 3]`.
    public typealias Fields = KeyValuePairs<String, LogValue>

    /// Lines of one message in one window before the rest is only counted.
    static let burstCount = 20
    static let windowNs: UInt64 = 10_000_000_000
    /// Messages remembered; messages are literals of the program, so this is never reached in practice.
    static let rememberedMessages = 512

    public let level: LogLevel
    private let sink: @Sendable ([UInt8]) -> Void
    private let clock: @Sendable () -> UInt64
    private let repeats = Mutex<[String: Repeat]>([:])

    private struct Repeat {
        var windowStartNs: UInt64
        var count = 0
        var heldBack = 0
        var lastFields: [UInt8] = []
    }

    /// Logs to stderr, or to another open descriptor.
    public convenience init(level: LogLevel = .info, descriptor: Int32 = 2) {
        self.init(level: level, clock: realtimeNs) { line in writeWhole(line, to: descriptor) }
    }

    /// Logs into `sink`, one whole line with its line feed at a time; `clock` tells nanoseconds since 1970.
    public init(
        level: LogLevel, clock: @escaping @Sendable () -> UInt64, sink: @escaping @Sendable ([UInt8]) -> Void
    ) {
        self.level = level
        self.sink = sink
        self.clock = clock
    }

    public func error(_ message: String, _ fields: Fields = [:]) { write(.error, message, fields) }
    public func warning(_ message: String, _ fields: Fields = [:]) { write(.warning, message, fields) }
    public func info(_ message: String, _ fields: Fields = [:]) { write(.info, message, fields) }

    public func debug(_ message: String, _ fields: @autoclosure () -> Fields = [:]) {
        guard level >= .debug else { return }
        write(.debug, message, fields())
    }

    private func write(_ level: LogLevel, _ message: String, _ fields: Fields) {
        guard level <= self.level else { return }
        let nowNs = clock()
        let body = Self.encode(fields)
        let key = "\(level.name) \(message)"
        let verdict = repeats.withLock { repeats -> (isWritten: Bool, heldBack: Int) in
            if repeats.count >= Self.rememberedMessages, repeats[key] == nil { repeats.removeAll() }
            var entry = repeats[key] ?? Repeat(windowStartNs: nowNs)
            var heldBack = 0
            if nowNs &- entry.windowStartNs >= Self.windowNs {
                heldBack = entry.heldBack
                entry = Repeat(windowStartNs: nowNs)
            }
            let isRepeat = entry.count > 0 && entry.lastFields == body
            let isWritten = !isRepeat && entry.count < Self.burstCount
            if isWritten {
                entry.count += 1
                entry.lastFields = body
            } else {
                entry.heldBack += 1
            }
            repeats[key] = entry
            return (isWritten, heldBack)
        }
        guard verdict.isWritten else { return }
        sink(Self.line(level, message, body, heldBack: verdict.heldBack, nowNs: nowNs))
    }

    private static func line(
        _ level: LogLevel, _ message: String, _ body: [UInt8], heldBack: Int, nowNs: UInt64
    ) -> [UInt8] {
        var line: [UInt8] = Array("{\"ts\":\"".utf8)
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 1) { buffer in
            var writer = LineWriter(buffer)
            writer.appendTimestamp(CivilTime(realtimeNs: nowNs))
            line += buffer[..<writer.count]
        }
        line += Array("\",\"level\":\"\(level.name)\",\"msg\":".utf8)
        appendString(message, to: &line)
        line += body
        if heldBack > 0 { line += Array(",\"held_back\":\(heldBack)".utf8) }
        line += Array("}\n".utf8)
        return line
    }

    private static func encode(_ fields: Fields) -> [UInt8] {
        var bytes: [UInt8] = []
        for (key, value) in fields {
            bytes.append(UInt8(ascii: ","))
            appendString(key, to: &bytes)
            bytes.append(UInt8(ascii: ":"))
            switch value {
            case .string(let text): appendString(text, to: &bytes)
            case .integer(let number): bytes += Array(String(number).utf8)
            case .unsigned(let number): bytes += Array(String(number).utf8)
            case .double(let number): bytes += Array((number.isFinite ? String(number) : "null").utf8)
            case .bool(let flag): bytes += Array((flag ? "true" : "false").utf8)
            }
        }
        return bytes
    }

    private static func appendString(_ text: String, to bytes: inout [UInt8]) {
        // A value is cut here rather than let a 10 MB label through; escaped it is at most six times as long.
        let source = Array(text.utf8.prefix(4096))
        bytes.append(UInt8(ascii: "\""))
        source.withUnsafeBytes { source in
            withUnsafeTemporaryAllocation(byteCount: source.count * 6 + 1, alignment: 1) { buffer in
                var writer = LineWriter(buffer)
                writer.append(jsonEscaped: source)
                bytes += buffer[..<writer.count]
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}

/// CLOCK_REALTIME, nanoseconds since 1970.
func realtimeNs() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// write(2) until all is out; gives up on an error, since there is nowhere to tell it.
func writeWhole(_ bytes: [UInt8], to descriptor: Int32) {
    bytes.withUnsafeBytes { _ = writeWhole($0, to: descriptor) }
}

/// As above; false on an error. Waits if the descriptor is not ready.
func writeWhole(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Bool {
    var rest = bytes
    while !rest.isEmpty {
        let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
        if count > 0 {
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        } else if count < 0, errno == EAGAIN {
            var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            guard poll(&state, 1, 1000) > 0 else { return false }
        } else if count < 0, errno == EINTR {
            continue
        } else {
            return false
        }
    }
    return true
}
