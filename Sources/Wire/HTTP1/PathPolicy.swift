// Owns the two other readings of a path, which servers behind us may apply: N1 decodes unreserved characters and
// removes dot segments (RFC 3986 section 6.2.2, what every server may do), N2 also takes `%2F`, `%5C` and `\` for `/`
// and merges runs of `/` (what some do). The proxy routes all three and refuses where they differ; the bytes that are
// forwarded are always those that came. Nearly every path is plain: then all three are the same, and one scan says so.

/// The readings of `path_policy: safe`.
public enum PathPolicy {
    public enum Reading {
        /// `..` climbs above the root in N1 or N2.
        case leavesRoot
        /// Both lie in the scratch memory.
        case paths(n1: Bytes, n2: Bytes)
    }

    /// Whether N1 and N2 are the path itself: no `%`, no `\`, no `//`, and no segment that begins with a dot.
    public static func isPlain(_ path: Bytes) -> Bool {
        ByteScan.isPlainPath(path.base, path.count)
    }

    /// Computes N1 and N2. `scratch` must have room for twice the path.
    public static func read(_ path: Bytes, scratch: UnsafeMutableRawBufferPointer) -> Reading {
        precondition(scratch.count >= 2 * path.count)
        guard path.count > 0, let memory = scratch.baseAddress?.assumingMemoryBound(to: UInt8.self) else {
            return .paths(n1: .empty, n2: .empty)
        }
        let decoded = decodeUnreserved(path, into: memory)
        guard let first = removeDotSegments(memory, decoded, ignoresParameters: false) else { return .leavesRoot }
        let other = memory + path.count
        let slashed = unifySlashes(Bytes(UnsafePointer(memory), count: first), into: other)
        // Servers with path parameters read `..;x` as `..`.
        guard let second = removeDotSegments(other, slashed, ignoresParameters: true) else { return .leavesRoot }
        return .paths(
            n1: Bytes(UnsafePointer(memory), count: first), n2: Bytes(UnsafePointer(other), count: second))
    }

    /// All readings that must agree; nil: a `..` climbs above the root. They lie in `scratch`, which must have room for
    /// three times the path.
    public static func readings(
        _ path: Bytes, scratch: UnsafeMutableRawBufferPointer
    ) -> (n1: Bytes, n2: Bytes, unresolved: Bytes)? {
        guard case .paths(let n1, let n2) = read(path, scratch: scratch) else { return nil }
        let rest = UnsafeMutableRawBufferPointer(rebasing: scratch[(2 * path.count)...])
        return (n1, n2, unifyingSlashes(n1, scratch: rest))
    }

    /// N1 as a server reads it that takes escaped slashes for slashes and resolves no dots after that: `/a%2f..` is
    /// under `/a` for it, where N2 is the root. `scratch` must have room for the path.
    public static func unifyingSlashes(_ n1: Bytes, scratch: UnsafeMutableRawBufferPointer) -> Bytes {
        precondition(scratch.count >= n1.count)
        guard let memory = scratch.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return .empty }
        return Bytes(UnsafePointer(memory), count: unifySlashes(n1, into: memory))
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool { ASCII.isHostName(byte) }

    /// The byte that `%XX` at `index` stands for.
    private static func escape(_ text: Bytes, at index: Int) -> UInt8? {
        guard text[index] == 0x25, index + 2 < text.count else { return nil }
        let high = ASCII.hexValue(text[index + 1])
        let low = ASCII.hexValue(text[index + 2])
        return high < 16 && low < 16 ? high << 4 | low : nil
    }

    private static func decodeUnreserved(_ path: Bytes, into memory: UnsafeMutablePointer<UInt8>) -> Int {
        var count = 0
        var index = 0
        while index < path.count {
            if let byte = escape(path, at: index), isUnreserved(byte) {
                memory[count] = byte
                index += 3
            } else {
                memory[count] = path[index]
                index += 1
            }
            count += 1
        }
        return count
    }

    private static func unifySlashes(_ path: Bytes, into memory: UnsafeMutablePointer<UInt8>) -> Int {
        var count = 0
        var index = 0
        while index < path.count {
            var byte = path[index]
            if let escaped = escape(path, at: index), escaped == ASCII.slash || escaped == ASCII.backslash {
                byte = ASCII.slash
                index += 3
            } else {
                if byte == ASCII.backslash { byte = ASCII.slash }
                index += 1
            }
            if byte == ASCII.slash, count > 0, memory[count - 1] == ASCII.slash { continue }
            memory[count] = byte
            count += 1
        }
        return count
    }

    /// RFC 3986 section 5.2.4, in place. Nil: a `..` had nothing left to remove.
    private static func removeDotSegments(
        _ memory: UnsafeMutablePointer<UInt8>, _ size: Int, ignoresParameters: Bool
    ) -> Int? {
        var count = 0
        var index = 0
        while index < size {
            // `index` is at a slash, or at the start of a path that has none.
            let start = memory[index] == ASCII.slash ? index + 1 : index
            var end = start
            while end < size, memory[end] != ASCII.slash { end += 1 }
            let dots = dotCount(memory, start, end, ignoresParameters: ignoresParameters)
            if dots == 2 {
                guard count > 0 else { return nil }
                repeat { count -= 1 } while count > 0 && memory[count] != ASCII.slash
            } else if dots == 0 {
                while index < end {
                    memory[count] = memory[index]
                    count += 1
                    index += 1
                }
            }
            // A path that ends in a dot segment names the directory.
            if dots > 0, end == size {
                memory[count] = ASCII.slash
                count += 1
            }
            index = end
        }
        return count
    }

    /// 1 for the segment `.`, 2 for `..`, 0 for any other.
    private static func dotCount(
        _ memory: UnsafeMutablePointer<UInt8>, _ start: Int, _ end: Int, ignoresParameters: Bool
    ) -> Int {
        var dots = 0
        while start + dots < end, memory[start + dots] == ASCII.dot, dots < 3 { dots += 1 }
        guard dots == 1 || dots == 2 else { return 0 }
        if start + dots == end { return dots }
        return ignoresParameters && memory[start + dots] == ASCII.semicolon ? dots : 0
    }
}
