// Which known name somebody may have meant.

enum SettingsNearest {
    /// The nearest of `names`, the first of equals, and whether it is near enough for the wrong one to be a slip.
    static func name(to wrong: String, among names: [String]) -> (name: String, isSlip: Bool)? {
        var best: (name: String, distance: Int)?
        for name in names {
            var distance = distance(wrong, name)
            // INTERLOCK_LISTEN: every word is right, some are missing.
            let missing = Set(words(name)).subtracting(words(wrong)).count
            if Set(words(wrong)).isSubset(of: words(name)) { distance = min(distance, missing) }
            if distance < best?.distance ?? .max { best = (name, distance) }
        }
        // What all names begin with says nothing about how near they are.
        let shared = names.count > 1 && names.allSatisfy { $0.hasPrefix("INTERLOCK_") } ? 10 : 0
        return best.map { ($0.name, $0.distance <= max(2, (wrong.utf8.count - shared) / 3)) }
    }

    private static func words(_ name: String) -> [Substring] { name.split(separator: "_") }

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
