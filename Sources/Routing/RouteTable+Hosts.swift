// What holds for a host whatever the path, and where a TCP connection leads: asked once a connection or redirect.
// Names are matched here by the same rule as in requests, whether they come as Host or as SNI.

public import Model

extension RouteTable {
    /// The host entry that answers for a name (any case, without port and trailing dot); -1 if nobody claims it.
    public func host(_ name: UnsafeRawBufferPointer) -> Int32 { findHost(name) }

    /// The pattern that a host entry was made from.
    public func pattern(ofHost index: Int32) -> HostPattern {
        guard index != anyHost else { return .any }
        let key = hosts[Int(index)].key
        let name = keys.bytes(from: Int(key.start), count: Int(key.count))
        let text = String(decoding: name, as: UTF8.self)
        return key.scope == HostScope.wildcard ? .wildcard(text) : .exact(text)
    }

    /// What holds for a host as a whole.
    public func hostRules(_ host: Int32) -> HostRules { hosts[Int(host)].rules }

    /// Where a host is redirected to; the request's target is appended. Valid as long as the table lives.
    public func redirectTarget(_ index: Int32) -> UnsafeRawBufferPointer {
        let range = redirectTargets[Int(index)]
        return keys.bytes(from: Int(range.start), count: Int(range.count))
    }

    /// The value of Strict-Transport-Security; empty without one. Valid as long as the table lives.
    public func hsts(of route: RouteEntry) -> UnsafeRawBufferPointer {
        keys.bytes(from: Int(route.hstsStart), count: Int(route.hstsCount))
    }

    public var streamCount: Int { streamEntries.count }

    public func stream(_ index: Int32) -> StreamEntry { streamEntries[Int(index)] }

    /// The stream of an entry port, or -1.
    public func stream(port: UInt16) -> Int32 {
        for index in 0..<streamEntries.count where streamEntries[index].port == port { return Int32(index) }
        return -1
    }

    /// What a server name of an entry port leads to; empty: the client named none. nil if nobody claims it.
    public func streamHost(_ stream: Int32, serverName: UnsafeRawBufferPointer) -> StreamHostEntry? {
        var found: Int32 = -1
        if !serverName.isEmpty {
            found = findStreamName(serverName, scope: StreamScope.exact(stream))
            if found < 0 { found = findStreamWildcard(serverName, scope: StreamScope.wildcard(stream)) }
        }
        if found < 0 { found = anyStreamHosts[Int(stream)] }
        return found < 0 ? nil : streamHosts[Int(found)].entry
    }

    private func findStreamName(_ name: UnsafeRawBufferPointer, scope: Int32) -> Int32 {
        streamNames.find(
            name, scope: scope, hash: hash.folded(name, from: hash.start(scope: scope)), foldsCase: true, keys: keys,
            entries: streamHosts)
    }

    /// The longest suffix first; those longer than any in the table are passed over, see `findWildcard`.
    private func findStreamWildcard(_ name: UnsafeRawBufferPointer, scope: Int32) -> Int32 {
        guard longestStreamWildcard > 0 else { return -1 }
        var position = max(1, name.count - longestStreamWildcard - 1)
        while position < name.count {
            if name[position] == UInt8(ascii: ".") {
                let found = findStreamName(UnsafeRawBufferPointer(rebasing: name[(position + 1)...]), scope: scope)
                if found >= 0 { return found }
            }
            position += 1
        }
        return -1
    }
}
