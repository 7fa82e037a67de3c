// Lists of numbers kept in ascending order, as tables keep the identities of their upstreams.

extension [UInt64] {
    /// Whether the number is in this list, which must be ascending. O(log n).
    public func containsAscending(_ number: UInt64) -> Bool {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < number { low = middle + 1 } else { high = middle }
        }
        return low < count && self[low] == number
    }
}
