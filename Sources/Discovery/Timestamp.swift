// RFC 3339 timestamps as the engine writes them, without a calendar library.

public enum Timestamp {
    /// Nanoseconds since 1970 of an RFC 3339 date and time with up to nine decimals; nil if it is not one.
    public static func nanoseconds(_ text: String) -> Int64? {
        let bytes = Array(text.utf8)
        guard bytes.count >= 20, bytes[4] == 45, bytes[7] == 45, bytes[10] | 0x20 == 0x74, bytes[13] == 58,
            bytes[16] == 58
        else { return nil }
        guard let year = number(bytes[0..<4]), let month = number(bytes[5..<7]), let day = number(bytes[8..<10]),
            let hour = number(bytes[11..<13]), let minute = number(bytes[14..<16]),
            let second = number(bytes[17..<19]), (1...12).contains(month), (1...31).contains(day), hour < 24,
            minute < 60, second <= 60, (1678...2261).contains(year)
        else { return nil }
        var position = 19
        var fraction: Int64 = 0
        if bytes[position] == 46 {
            let start = position + 1
            position = start
            while position < bytes.count, (48...57).contains(bytes[position]) { position += 1 }
            guard position > start else { return nil }
            for index in start..<(start + 9) {
                fraction = fraction * 10 + (index < position ? Int64(bytes[index] - 48) : 0)
            }
        }
        guard let offset = offsetSeconds(bytes[position...]) else { return nil }
        let days = daysSince1970(year: year, month: month, day: day)
        let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - offset
        return Int64(seconds) * 1_000_000_000 + fraction
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
        var value = 0
        for byte in digits {
            guard (48...57).contains(byte) else { return nil }
            value = value * 10 + Int(byte - 48)
        }
        return value
    }

    /// `Z`, `+hh:mm` or `-hh:mm`.
    private static func offsetSeconds(_ text: ArraySlice<UInt8>) -> Int? {
        guard let sign = text.first else { return nil }
        if sign | 0x20 == 0x7A { return text.count == 1 ? 0 : nil }
        guard sign == 43 || sign == 45, text.count == 6, text[text.startIndex + 3] == 58,
            let hours = number(text[(text.startIndex + 1)..<(text.startIndex + 3)]),
            let minutes = number(text[(text.startIndex + 4)...])
        else { return nil }
        return (sign == 43 ? 1 : -1) * (hours * 3600 + minutes * 60)
    }

    /// Days in the proleptic Gregorian calendar; years begin in March so that the leap day comes last.
    private static func daysSince1970(year: Int, month: Int, day: Int) -> Int {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = shiftedYear / 400
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}
