// Which known name somebody may have meant.

enum SettingsNearest {
    /// The nearest of `names` by edit distance; nil if none is near enough to be a slip.
    static func name(to wrong: String, among names: [String]) -> String? {
        // What follows the common prefix decides; half of it wrong is no slip.
        let best = names.map { (name: $0, distance: distance(wrong, $0)) }.min { left, right in
            left.distance == right.distance ? left.name < right.name : left.distance < right.distance
        }
        guard let best, best.distance <= max(3, wrong.utf8.count / 3) else { return nil }
        return best.name
    }

    /// Insertions, deletions, replacements and swaps of neighbours that lead from one text to the other.
    static func distance(_ left: String, _ right: String) -> Int {
        // Bounded: a name in the environment can be of any length.
        let left = Array(left.utf8.prefix(128))
        let right = Array(right.utf8.prefix(128))
        var before = [Int](repeating: 0, count: right.count + 1)
        var previous = Array(0...right.count)
        for row in 0..<left.count {
            var current = [row + 1]
            for column in 0..<right.count {
                var cost = min(previous[column + 1] + 1, current[column] + 1)
                cost = min(cost, previous[column] + (left[row] == right[column] ? 0 : 1))
                if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                    cost = min(cost, before[column - 1] + 1)
                }
                current.append(cost)
            }
            before = previous
            previous = current
        }
        return previous[right.count]
    }
}
