// UTC calendar time from nanoseconds since 1970, without a time zone database and without allocating.

/// A moment in UTC, split for printing.
public struct CivilTime: BitwiseCopyable, Sendable {
    public let year: Int
    public let month: Int
    public let day: Int
    public let hour: Int
    public let minute: Int
    public let second: Int
    public let millisecond: Int
    /// 0 is Sunday.
    public let weekday: Int

    static let monthNames: [StaticString] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    static let dayNames: [StaticString] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]

    public init(realtimeNs: UInt64) {
        let totalMs = realtimeNs / 1_000_000
        millisecond = Int(totalMs % 1000)
        let totalSeconds = Int(totalMs / 1000)
        let secondOfDay = totalSeconds % 86_400
        hour = secondOfDay / 3600
        minute = secondOfDay / 60 % 60
        second = secondOfDay % 60
        // The first of January 1970 was a Thursday.
        weekday = (totalSeconds / 86_400 + 4) % 7
        // Days to year, month, day over eras of 400 years that begin on the first of March.
        let days = totalSeconds / 86_400 + 719_468
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }
}

extension LineWriter {
    /// RFC 3339 with milliseconds: `2026-11-22T16:00:02.125Z`.
    mutating func appendTimestamp(_ time: CivilTime) {
        append(padded: time.year, width: 4)
        append(UInt8(ascii: "-"))
        append(padded: time.month, width: 2)
        append(UInt8(ascii: "-"))
        append(padded: time.day, width: 2)
        append(UInt8(ascii: "T"))
        appendClock(time)
        append(UInt8(ascii: "."))
        append(padded: time.millisecond, width: 3)
        append(UInt8(ascii: "Z"))
    }

    /// As common log format has it: `22/Nov/2026:16:00:02 +0000`.
    mutating func appendCommonLogTime(_ time: CivilTime) {
        append(padded: time.day, width: 2)
        append(UInt8(ascii: "/"))
        append(CivilTime.monthNames[time.month - 1])
        append(UInt8(ascii: "/"))
        append(padded: time.year, width: 4)
        append(UInt8(ascii: ":"))
        appendClock(time)
        append(" +0000")
    }

    fileprivate mutating func appendClock(_ time: CivilTime) {
        append(padded: time.hour, width: 2)
        append(UInt8(ascii: ":"))
        append(padded: time.minute, width: 2)
        append(UInt8(ascii: ":"))
        append(padded: time.second, width: 2)
    }
}

extension CivilTime {
    /// IMF-fixdate (RFC 9110 section 5.6.7): `Sun, 22 Nov 2026 16:00:02 GMT`.
    public var httpDate: String {
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 1) { buffer in
            var writer = LineWriter(buffer)
            writer.append(Self.dayNames[weekday])
            writer.append(", ")
            writer.append(padded: day, width: 2)
            writer.append(UInt8(ascii: " "))
            writer.append(Self.monthNames[month - 1])
            writer.append(UInt8(ascii: " "))
            writer.append(padded: year, width: 4)
            writer.append(UInt8(ascii: " "))
            writer.appendClock(self)
            writer.append(" GMT")
            return String(decoding: UnsafeRawBufferPointer(rebasing: buffer[..<writer.count]), as: UTF8.self)
        }
    }
}
