// Which host pattern a name belongs to, in haproxy's words: exact names by one look-up, wildcards by one for each
// number of labels that any of them has, whatever the number of hosts. `map_end` would do it by walking a list.

import Model

/// The patterns that names are looked up among.
struct HAProxyNames {
    private(set) var exact = HAProxyMap()
    private(set) var wildcards = HAProxyMap()
    /// Of the wildcards' suffixes, the most first: the longest suffix wins.
    private(set) var labelCounts: [Int] = []
    private(set) var hasAny = false

    /// - Parameter patterns: without duplicates, each writable (`isWritable`).
    init(_ patterns: [HostPattern]) {
        var names: [String: String] = [:]
        var suffixes: [String: String] = [:]
        for pattern in patterns {
            switch pattern {
            case .exact(let name): names[name] = pattern.description
            case .wildcard(let suffix): suffixes[suffix] = pattern.description
            case .any: hasAny = true
            }
        }
        // A wildcard does not take its own suffix. What that name belongs to instead is known by now, and nothing has
        // to be counted when a request comes.
        for suffix in suffixes.keys where names[suffix] == nil {
            names[suffix] = Self.longest(suffixes, suffix) ?? (hasAny ? "*" : "-")
        }
        for name in names.keys.sorted(by: { $0.isBefore($1) }) { _ = exact.add(name, names[name] ?? "-") }
        for suffix in suffixes.keys.sorted(by: { $0.isBefore($1) }) {
            _ = wildcards.add(suffix, suffixes[suffix] ?? "-")
        }
        labelCounts = Set(suffixes.keys.map { $0.utf8.count { $0 == UInt8(ascii: ".") } + 1 }).sorted(by: >)
    }

    static func isWritable(_ pattern: HostPattern) -> Bool {
        switch pattern {
        case .any: true
        case .exact(let name), .wildcard(let name):
            HAProxyMap.isKey(name) && name != "-" && (try? HostPattern(label: pattern.description)) == pattern
        }
    }

    private static func longest(_ suffixes: [String: String], _ name: String) -> String? {
        var rest = name[...]
        while let dot = rest.firstIndex(of: ".") {
            rest = rest[rest.index(after: dot)...]
            if let found = suffixes[String(rest)] { return found }
        }
        return nil
    }

    /// Rules that set `pattern` to what the name in `name` belongs to: `*` is everybody else, `-` nobody.
    /// - Parameters:
    ///   - action: `http-request` or `tcp-request content`.
    ///   - condition: words that are added to each rule, after `if`.
    func write(
        _ action: HAProxyWord, name: HAProxyWord, pattern: HAProxyWord, exact: HAProxyPath, wildcards: HAProxyPath,
        into writer: inout HAProxyWriter, condition: [HAProxyWord] = []
    ) {
        let setPattern = HAProxyWord.joined("set-var(", pattern, ")")
        let isMissing: [HAProxyWord] = ["if", "!{", .joined("var(", pattern, ")"), "-m found }"] + condition
        if !self.exact.isEmpty {
            writer.line(
                [action, setPattern, .joined("var(", name, "),map_str(", .path(exact), ")")]
                    + (condition.isEmpty ? [] : ["if"] + condition))
        }
        for count in labelCounts {
            let lookup = HAProxyWord.joined(
                "var(", name, "),field(-1,.,", .number(count), "),map_str(", .path(wildcards), ")")
            writer.line([action, setPattern, lookup] + isMissing)
        }
        writer.line([action, setPattern, hasAny ? "str(*)" : "str(-)"] + isMissing)
    }
}
