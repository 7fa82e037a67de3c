// What holds for hosts as a whole, and entry ports for TCP: the second half of compiling a snapshot.

import Model

/// Bytes among a table's keys.
struct ByteRange: BitwiseCopyable, Sendable {
    var start: UInt32
    var count: Int32
}

/// A server name of an entry port, in the table of stream names.
struct StreamHostRow: KeyedEntry {
    var key = ByteKey()
    let entry: StreamHostEntry
}

extension RouteCompiler {
    mutating func compileHost(_ options: HostOptions, numbering: inout Numbering) {
        guard let host = host(of: options.host) else { return }
        var rules = hosts[Int(host)].rules
        rules.tlsOptions = position(ofOptions: options.tls)
        if !options.passthrough.isEmpty,
            let pool = pool(of: options.passthrough, options.balancing, numbering: &numbering)
        {
            rules.passthroughPool = pool
        }
        for redirect in options.redirects {
            let position = Int32(redirectTargets.count)
            redirectTargets.append(append(redirect.target))
            switch redirect.scheme {
            case .http: rules.httpRedirect = position
            case .https: rules.httpsRedirect = position
            }
        }
        hosts[Int(host)].rules = rules
    }

    mutating func compileStream(_ port: StreamPort, numbering: inout Numbering) {
        let rawPool =
            port.services.isEmpty ? nil : pool(of: port.services, port.balancing, numbering: &numbering)
        let index = Int32(streams.count)
        streams.append(StreamEntry(port: port.port, rawPool: rawPool ?? -1))
        anyStreamHosts.append(-1)
        guard rawPool == nil else { return }
        for host in port.hosts {
            guard let pool = pool(of: host.services, host.balancing, numbering: &numbering) else { continue }
            let options = host.tls.map { position(ofOptions: $0) } ?? -1
            insertStreamHost(host.host, StreamHostEntry(pool: pool, tlsOptions: options), stream: index)
        }
    }

    private mutating func insertStreamHost(_ pattern: HostPattern, _ entry: StreamHostEntry, stream: Int32) {
        let next = Int32(streamHosts.count)
        let name: String
        let scope: Int32
        switch pattern {
        case .any:
            guard anyStreamHosts[Int(stream)] < 0 else { return }
            streamHosts.append(StreamHostRow(entry: entry))
            anyStreamHosts[Int(stream)] = next
            return
        case .exact(let text): (name, scope) = (text, StreamScope.exact(stream))
        case .wildcard(let text): (name, scope) = (text, StreamScope.wildcard(stream))
        }
        let range = append(name)
        let key = ByteKey(start: range.start, count: UInt32(bitPattern: range.count), scope: scope)
        let taken = keys.withUnsafeBytes { keys in
            let bytes = UnsafeRawBufferPointer(rebasing: keys[Int(range.start)...])
            let value = hash.folded(bytes, from: hash.start(scope: scope))
            return streamNames.insert(next, key: key, hash: value, keys: keys, entries: streamHosts)
        }
        guard taken == next else { return }
        streamHosts.append(StreamHostRow(key: key, entry: entry))
        if case .wildcard = pattern { longestStreamWildcard = max(longestStreamWildcard, Int(range.count)) }
    }
}

/// Scopes of the table of stream names.
enum StreamScope {
    static func exact(_ stream: Int32) -> Int32 { stream * 2 }
    static func wildcard(_ stream: Int32) -> Int32 { stream * 2 + 1 }
}
