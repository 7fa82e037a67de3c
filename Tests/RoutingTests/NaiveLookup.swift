// The routing rules written down as simply as they can be said; the fast table must agree with it everywhere.

import Model
import Routing

/// What a host and path lead to, by trying every route.
func naiveLookup(_ routes: [Route], host: String, path: String) -> (match: String, route: Route?) {
    let host = host.lowercased()
    func claims(_ pattern: HostPattern) -> Int? {
        switch pattern {
        case .exact(let name): name == host ? 1_000_000 : nil
        case .wildcard(let suffix): host.hasSuffix("." + suffix) && host.count > suffix.count + 1 ? suffix.count : nil
        case .any: -1
        }
    }
    guard let best = routes.compactMap({ claims($0.host) }).max() else { return ("unknownHost", nil) }
    let candidates = routes.filter { claims($0.host) == best && covers($0.pathPrefix, path) }
    guard let route = candidates.max(by: { $0.pathPrefix.utf8.count < $1.pathPrefix.utf8.count }) else {
        return ("unknownPath", nil)
    }
    return ("route", route)
}

private func covers(_ prefix: String, _ path: String) -> Bool {
    prefix == "/" || path == prefix || path.hasPrefix(prefix + "/")
}

extension RouteTable {
    func lookup(_ host: String, _ path: String) -> Match {
        Array(host.utf8).withUnsafeBytes { host in
            Array(path.utf8).withUnsafeBytes { path in lookup(host: host, path: path) }
        }
    }

    /// "host prefix" of the route found, or the kind of miss.
    func found(_ host: String, _ path: String) -> String {
        switch lookup(host, path) {
        case .unknownHost: "unknownHost"
        case .unknownPath: "unknownPath"
        case .route(let index): String(decoding: prefix(of: route(index)), as: UTF8.self)
        }
    }
}

/// A snapshot of routes whose services have one ready upstream each.
func snapshot(_ routes: [Route], upstreamsPerService: Int = 1) -> Snapshot {
    let count = (routes.flatMap(\.services).max() ?? -1) + 1
    let services = (0..<count).map { Service(id: "id\($0)", name: "service\($0)") }
    let endpoints = (0..<count).map { service in
        (0..<upstreamsPerService).map { task in
            Upstream(
                id: "task\(service)-\(task)",
                endpoint: Endpoint(address: IPAddress(v4: UInt32(0x0A00_0000 + service * 100 + task)), port: 80))
        }
    }
    return Snapshot(configuration: Configuration(services: services, routes: routes), endpoints: endpoints)
}

func compile(_ snapshot: Snapshot, version: UInt64 = 1) -> RouteTable {
    var numbering = Numbering()
    return RouteTable(compiling: snapshot, version: version, numbering: &numbering)
}
