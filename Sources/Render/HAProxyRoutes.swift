// Which backend a request goes to, in haproxy's words. A route's place is one key, host pattern and path with a slash
// behind it (`web.test/app/`), and the longest key that a request's own begins with is found in a tree: whole segments,
// the longest prefix, and the same time for ten routes and ten thousand.
//
// Routes with conditions are in maps of their own, one for each different set of conditions. Of those that hold the
// longest prefix wins, and of equal ones the set that goes first in the order of all sets; so the number of rules grows
// with the number of different conditions, never with the number of routes.

import Model

/// What a request learns of its route: length of the prefix, flags, its segments, text for HSTS, the largest body,
/// backend.
struct HAProxyRoutes {
    /// The routes without conditions.
    private(set) var plain = HAProxyMap()
    /// Those with conditions, by them; what goes first stands first.
    private(set) var conditional: [(conditions: RouteConditions, map: HAProxyMap)] = []
    /// Every place that has any route, for the other readings of a path.
    private(set) var places = HAProxyMap()
    private(set) var hsts = HAProxyMap()
    /// Numbers of segments of prefixes that are stripped.
    private(set) var strippedCounts: [Int] = []
    private(set) var notes = HAProxyNotes()
    private(set) var hasStrict = false
    /// Some tasks' certificates are held to the host of the request.
    private(set) var needsNames = false

    private var maps: [RouteConditions: HAProxyMap] = [:]
    private var hstsNumbers: [String: Int] = [:]
    private var stripped: Set<Int> = []

    private let defaults: RenderDefaults

    init(_ hosts: [PlannedHost], _ defaults: RenderDefaults, backends: inout HAProxyBackends) {
        self.defaults = defaults
        for host in hosts where host.passthrough == nil {
            for location in host.locations { add(host, location, &backends) }
        }
        conditional = maps.keys.sorted { $0.precedes($1) }.map { ($0, maps[$0] ?? HAProxyMap()) }
        strippedCounts = stripped.sorted()
    }

    private mutating func add(_ host: PlannedHost, _ location: PlannedLocation, _ backends: inout HAProxyBackends) {
        let path = location.path
        let key = Self.key(host.host, path)
        var isPlaced = false
        // Behind them stand those of shorter paths.
        for planned in location.routes where planned.route.pathPrefix == path {
            let services = planned.pool.services
            guard Route.isNormalPrefix(path), HAProxyMap.isKey(key) else {
                refuse(services, "context_root", path, "is no path that haproxy can be given")
                continue
            }
            guard planned.route.conditions.areWritable else {
                refuse(services, "match_headers", "\(planned.route.conditions)", "haproxy cannot be given these words")
                continue
            }
            let value = value(planned, backends.name(of: planned.pool, .requests))
            if planned.route.conditions.isEmpty {
                _ = plain.add(key, value)
            } else {
                _ = maps[planned.route.conditions, default: HAProxyMap()].add(key, value)
            }
            if !isPlaced { isPlaced = places.add(key, key) }
            if planned.route.pathPolicy == .safe { hasStrict = true }
        }
    }

    /// `/app` is told by `/app/`, which `/apple` does not begin with.
    private static func key(_ host: HostPattern, _ path: String) -> String {
        "\(host)\(path == "/" ? "" : path)/"
    }

    private mutating func value(_ planned: PlannedRoute, _ backend: HAProxyName?) -> String {
        let route = planned.route
        let segments = route.pathPrefix.utf8.count { $0 == UInt8(ascii: "/") }
        var flags = ""
        if route.requiresTLS { flags += "t" }
        let needsName = planned.pool.services.contains { service in
            service.options.backendTLS.map { $0.verifies && $0.serverName == nil } ?? false
        }
        if needsName {
            flags += "n"
            needsNames = true
        }
        if route.pathPolicy == .raw { flags += "r" }
        if planned.pool.services.contains(where: { $0.options.maxConnections != nil }) { flags += "q" }
        if route.rewritesPrefix, route.pathPrefix != "/" {
            flags += "w"
            stripped.insert(segments)
        }
        let length = route.pathPrefix == "/" ? 1 : route.pathPrefix.utf8.count
        let text = route.hsts.flatMap { hstsNumber($0, planned.pool.services) }.map { "h\($0)" } ?? "-"
        let limit = min(planned.pool.leadOptions.maxBodySize ?? defaults.maxBodySize, UInt64(Int64.max))
        return "\(length):\(flags.isEmpty ? "-" : flags):\(segments):\(text):\(limit):\(backend?.text ?? "-")"
    }

    private mutating func hstsNumber(_ text: String, _ services: [Service]) -> Int? {
        if let known = hstsNumbers[text] { return known }
        let number = hstsNumbers.count + 1
        guard hsts.add("h\(number)", text) else {
            for service in services { notes.warn(service, "hsts", "haproxy cannot be given this text", value: text) }
            return nil
        }
        hstsNumbers[text] = number
        return number
    }

    private mutating func refuse(_ services: [Service], _ label: String, _ value: String, _ reason: String) {
        for service in services {
            notes.add(.error, service.name, label, "\(reason); the route is left out", value: value)
        }
    }
}

extension RouteConditions {
    /// haproxy takes the names of fields as they are, and no list is endless.
    var areWritable: Bool {
        headers.count <= 32 && methods.count <= 32
            && headers.allSatisfy { header in
                HAProxyName(header.name) != nil && (header.value.map { HAProxyText($0) != nil && !$0.isEmpty } ?? true)
            }
            && methods.allSatisfy { HAProxyText($0) != nil && $0.isToken }
    }

    /// Writes a condition for each, and returns their names, all of which must hold.
    func write(number: Int, into writer: inout HAProxyWriter) -> [HAProxyWord] {
        var names: [HAProxyWord] = []
        for (index, header) in headers.enumerated() {
            guard let name = HAProxyName(header.name) else { continue }
            let condition = HAProxyWord.joined("asks_", .number(number), "_", .number(index))
            names.append(condition)
            if let value = header.value, let text = HAProxyText(value) {
                writer.line("acl", condition, .joined("req.fhdr(", .name(name), ")"), "-m str --", .quoted(text))
            } else {
                writer.line("acl", condition, .joined("req.fhdr_cnt(", .name(name), ")"), "ge 1")
            }
        }
        if !methods.isEmpty {
            let condition = HAProxyWord.joined("asks_", .number(number), "_by")
            names.append(condition)
            writer.line(
                ["acl", condition, "method -m str --"] + methods.compactMap { HAProxyText($0).map { .quoted($0) } })
        }
        return names
    }
}
