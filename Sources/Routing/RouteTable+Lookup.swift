// From a request's host and path to a route. Exact host beats the longest wildcard beats the default backend; then the
// longest path prefix of that host by whole segments, and of no other host.

extension RouteTable {
    /// The route of a request. `host` in any case, without port and trailing dot; `path` raw, up to the `?`.
    /// A path that does not begin with `/` (empty, or `*`) can only match the root.
    public func lookup(host: UnsafeRawBufferPointer, path: UnsafeRawBufferPointer) -> Match {
        let hostIndex = findHost(host)
        guard hostIndex >= 0 else { return .unknownHost }
        let entry = hosts[Int(hostIndex)]
        let route = entry.deepestPrefix == 0 ? entry.rootRoute : findRoute(path, host: hostIndex, entry: entry)
        return route >= 0 ? .route(route) : .unknownPath
    }

    /// Whether other readings of a request's path lead to the same place as the path itself: to `head`, which `lookup`
    /// found for it.
    public func leads(
        host: UnsafeRawBufferPointer, paths first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer,
        _ third: UnsafeRawBufferPointer, to head: Int32
    ) -> Bool {
        lookup(host: host, path: first) == .route(head) && lookup(host: host, path: second) == .route(head)
            && lookup(host: host, path: third) == .route(head)
    }

    /// The host entry for a host name, or -1.
    func findHost(_ host: UnsafeRawBufferPointer) -> Int32 {
        let exact = hostNames.find(
            host, scope: HostScope.exact, hash: hash.folded(host, from: exactStart),
            foldsCase: true, keys: keys, entries: hosts)
        if exact >= 0 { return exact }
        if longestWildcard > 0 {
            let wildcard = findWildcard(host)
            if wildcard >= 0 { return wildcard }
        }
        return anyHost
    }

    /// Walks the label boundaries from the left: the first suffix found is the longest. Suffixes longer than any in
    /// the table are passed over, which bounds the work that a host of many labels can cause.
    private func findWildcard(_ host: UnsafeRawBufferPointer) -> Int32 {
        // The part that the wildcard stands for has at least one byte.
        var position = max(1, host.count - longestWildcard - 1)
        while position < host.count {
            if host[position] == UInt8(ascii: ".") {
                let suffix = UnsafeRawBufferPointer(rebasing: host[(position + 1)...])
                let found = hostNames.find(
                    suffix, scope: HostScope.wildcard, hash: hash.folded(suffix, from: wildcardStart), foldsCase: true,
                    keys: keys, entries: hosts)
                if found >= 0 { return found }
            }
            position += 1
        }
        return -1
    }

    /// The route of the longest prefix of `path`, or -1. The hash goes on from segment to segment, so the whole walk
    /// reads the path once, and no further than the longest prefix of this host.
    private func findRoute(_ path: UnsafeRawBufferPointer, host: Int32, entry: HostEntry) -> Int32 {
        var best = entry.rootRoute
        guard path.count > 1, path[0] == UInt8(ascii: "/") else { return best }
        var state = hash.start(scope: host)
        var depth: Int32 = 0
        var start = 1
        while depth < entry.deepestPrefix {
            var end = start
            while end < path.count, end <= Int(entry.longestPrefix), path[end] != UInt8(ascii: "/") { end += 1 }
            if end > Int(entry.longestPrefix) { break }
            state = hash.plain(UnsafeRawBufferPointer(rebasing: path[start..<end]), from: state)
            let found = contexts.find(
                UnsafeRawBufferPointer(rebasing: path[..<end]), scope: host, hash: state, foldsCase: false, keys: keys,
                entries: routes)
            if found >= 0 { best = found }
            if end == path.count { break }
            depth += 1
            start = end + 1
        }
        return best
    }
}

/// Scopes of the host name table.
enum HostScope {
    static let exact: Int32 = 0
    static let wildcard: Int32 = 1
}
