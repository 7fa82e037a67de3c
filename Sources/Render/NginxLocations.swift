// From the paths of a host to nginx's locations: whole segments, the longest prefix, conditions in the order in which
// they are asked. nginx chooses by the path as it reads it, decoded and tidied; the path as it came must lead to the
// same location, else it is refused, as a task may read it either way.

import Model

extension NginxBuilder {
    mutating func writeLocations(of host: PlannedHost, _ server: inout NginxServer, to writer: inout NginxWriter) {
        for location in host.locations {
            if location.path == "/" {
                writer.block("location", .own("/")) { writeContent(location, isBare: false, &server, to: &$0) }
                continue
            }
            let path = Self.decoded(location.path)
            writer.block("location", .own("="), .plain(path)) {
                writeContent(location, isBare: true, &server, to: &$0)
            }
            writer.block("location", .plain(path + [UInt8(ascii: "/")])) {
                writeContent(location, isBare: false, &server, to: &$0)
            }
        }
        guard !host.locations.contains(where: { $0.path == "/" }) else { return }
        writer.block("location", .own("/")) { writeUnknownPath(server, to: &$0) }
    }

    /// Escapes as the bytes that they stand for: nginx compares decoded paths.
    private static func decoded(_ path: String) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = Array(path.utf8)[...]
        while let byte = rest.popFirst() {
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            if byte == UInt8(ascii: "%"), digits.utf8.count == 2, let value = UInt8(digits, radix: 16) {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return bytes
    }

    private func writeUnknownPath(_ server: NginxServer, to writer: inout NginxWriter) {
        if server.isTLS, let target = server.host?.redirects[.https] {
            writer.line("return", .number(302), .joined(.literal(target), .own("$request_uri")))
        } else if !server.isTLS, settings.isSSLOnly {
            writeRedirectToHTTPS(exceptChallenges: true, to: &writer)
            writer.line("return", .number(404))
        } else {
            writer.line("return", .number(404))
        }
    }

    private mutating func writeContent(
        _ location: PlannedLocation, isBare: Bool, _ server: inout NginxServer, to writer: inout NginxWriter
    ) {
        if location.isSafe || location.routes.contains(where: { $0.route.rewritesPrefix }) {
            writePathCheck(location, server, to: &writer)
        }
        if location.routes.count == 1, let route = location.routes.first, route.route.conditions.isEmpty {
            writeRoute(route, isBare: isBare && route.route.pathPrefix == location.path, &server, to: &writer)
            return
        }
        // Each alternative is a location of its own, reached by a status that nobody else answers with.
        var status = 540
        for (position, route) in location.routes.enumerated() {
            let isBareRoot = isBare && route.route.pathPrefix == location.path && route.route.rewritesPrefix
            guard let condition = condition(of: route) else { continue }
            guard status < 599 else {
                let rest = location.routes[position...].flatMap(\.pool.services)
                for service in rest {
                    report(
                        .error, service, "match_headers", "",
                        "more than 59 routes for one path are too many for nginx; this one is not served")
                }
                break
            }
            let key = "\(route.route.pathPrefix) \(route.route.conditions) \(isBareRoot)"
            let name = server.location(key) { builder, server, writer in
                builder.writeRoute(route, isBare: isBareRoot, &server, to: &writer)
            }
            writer.line("error_page", .number(status), .own("="), .joined(.own("@"), .name(name)))
            switch condition {
            case .always: writer.line("return", .number(status))
            case .variable(let variable):
                writer.when(.variable(variable), "=", .own("1"), return: .number(status))
            }
            status += 1
        }
        if location.hasGap { writeUnknownPath(server, to: &writer) }
    }

    /// 400 for a path that begins with another location's prefix as it came.
    private func writePathCheck(_ location: PlannedLocation, _ server: NginxServer, to writer: inout NginxWriter) {
        let paths = server.host?.locations.map(\.path) ?? []
        let prefix = location.path == "/" ? "" : location.path
        if location.path != "/" {
            writer.when(
                .own("$request_uri"), "!~", .joined(.own("^"), .pattern(prefix), .own("(?:/|[?]|$)")),
                return: .number(400))
        }
        let below = paths.filter { $0 != location.path && $0 != "/" && $0.hasPrefix(prefix + "/") }
        // What is below one of these is caught by it.
        let nearest = below.filter { path in !below.contains { $0 != path && path.hasPrefix($0 + "/") } }
        guard !nearest.isEmpty else { return }
        writer.when(
            .own("$request_uri"), "~",
            .joined(
                .own("^(?:"), .joined(nearest.sorted { $0.isBefore($1) }.map { .pattern($0) }, by: "|"),
                .own(")(?:/|[?]|$)")),
            return: .number(400))
    }

    // MARK: Conditions

    enum Condition {
        case always
        /// 1 if it holds.
        case variable(NginxName)
    }

    /// nil: nginx cannot tell, so the route is left out.
    private mutating func condition(of route: PlannedRoute) -> Condition? {
        let conditions = route.route.conditions
        if conditions.isEmpty { return .always }
        var parts: [NginxName] = []
        for header in conditions.headers {
            guard let part = self.condition(of: header) else {
                for service in route.pool.services {
                    report(
                        .error, service, "match_headers", header.name,
                        "nginx cannot tell whether a request has a header of this name, so the service gets none by it")
                }
                return nil
            }
            parts.append(part)
        }
        if !conditions.methods.isEmpty { parts.append(condition(of: conditions.methods)) }
        if parts.count == 1 { return .variable(parts[0]) }
        let all = String(repeating: "1", count: parts.count)
        return .variable(
            name("all", "all " + parts.map(\.text).joined(separator: " ")) { builder, name in
                let source = NginxWord.joined(parts.map { .variable($0) }, by: "")
                builder.maps.block("map", source, .variable(name)) { writer in
                    writer.line("default", .own("0"))
                    writer.entry(.plain(all), .own("1"))
                }
            })
    }

    private mutating func condition(of header: RouteConditions.Header) -> NginxName? {
        guard let variable = Self.headerVariable(header.name) else { return nil }
        let key = header.value.map { "value \(header.name): \($0)" } ?? "presence \(header.name)"
        return name("has", key) { builder, name in
            builder.maps.block("map", variable, .variable(name)) { writer in
                if let value = header.value {
                    writer.line("default", .own("0"))
                    // A plain word would be compared in any case.
                    writer.entry(.joined(.own("~^"), .pattern(value), .own("\\z")), .own("1"))
                } else {
                    writer.line("default", .own("1"))
                    writer.entry(.own(""), .own("0"))
                }
            }
        }
    }

    private mutating func condition(of methods: [String]) -> NginxName {
        name("has", "methods " + methods.joined(separator: " ")) { builder, name in
            builder.maps.block("map", .own("$request_method"), .variable(name)) { writer in
                writer.line("default", .own("0"))
                writer.entry(
                    .joined(.own("~^(?:"), .joined(methods.map { .pattern($0) }, by: "|"), .own(")\\z")), .own("1"))
            }
        }
    }
}
