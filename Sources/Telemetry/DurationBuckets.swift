// The buckets of the request duration histogram: 1, 2.5 and 5 of each decade from a millisecond to ten seconds.
// Found by arithmetic, not from a table: most requests end in the first comparison.

public enum DurationBuckets {
    /// Buckets, the unbounded last one included.
    public static let count = 14

    /// Upper bounds (inclusive) in seconds as Prometheus writes them; the last bucket is `+Inf`.
    public static let labels = [
        "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
    ]

    /// The bucket of a duration in microseconds, 0 to 13.
    @inlinable @inline(__always)
    public static func index(_ durationUs: UInt64) -> Int {
        var decadeUs: UInt64 = 1_000
        var index = 0
        while index < 12 {
            if durationUs <= decadeUs { return index }
            if durationUs <= decadeUs * 5 / 2 { return index + 1 }
            if durationUs <= decadeUs * 5 { return index + 2 }
            decadeUs *= 10
            index += 3
        }
        return durationUs <= decadeUs ? 12 : 13
    }
}
