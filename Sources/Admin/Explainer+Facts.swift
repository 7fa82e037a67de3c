// What of the table an explanation tells: names as labels have them, never what is in a secret.

internal import Model
internal import Routing
internal import Wire

extension Explainer {
    /// Task by task, up to so many.
    private static var taskLimit: Int { 40 }

    mutating func addHost(_ index: Int32, name: String) {
        guard index >= 0 else {
            add("host", "\(name.lowercased()): no service claims it, and there is no default backend")
            return
        }
        let pattern = table.pattern(ofHost: index)
        set(pattern: pattern)
        switch pattern {
        case .exact: add("host", name.lowercased())
        case .wildcard: add("host", "\(name.lowercased()), by the wildcard \(pattern)")
        case .any: add("host", "\(name.lowercased()): no service claims it, the default backend takes it")
        }
        let rules = table.hostRules(index)
        if rules.passthroughPool >= 0 {
            add("tls", "https is passed on to \(names(rules.passthroughPool)) as it is, plain http is sent to https")
        } else {
            add("tls", "https ends here: \(table.tlsOptions[Int(rules.tlsOptions)].terms)")
        }
        for (scheme, target) in [("http", rules.httpRedirect), ("https", rules.httpsRedirect)] where target >= 0 {
            add("redirect", "\(scheme)://\(pattern) -> \(text(table.redirectTarget(target)))")
        }
    }

    /// Routes of the path that would have been asked first; `chosen` -1: all of them.
    mutating func addPassedOver(from first: Int32, to chosen: Int32) {
        var index = first
        while index >= 0, index != chosen {
            let route = table.route(index)
            add("not", "\(described(route)): the request does not fulfil this")
            index = route.fallback
        }
        if chosen < 0 { add("route", "none is left") }
    }

    mutating func addRoute(_ route: RouteEntry) {
        var terms: [String] = []
        if route.requiresTLS { terms.append("ssl_only") }
        if self.terms.isSSLOnly { terms.append("INTERLOCK_SSL_ONLY") }
        if route.rewritesPrefix { terms.append("without its prefix") }
        if route.pathPolicyIsRaw { terms.append("path_policy raw") }
        add("route", described(route) + (terms.isEmpty ? "" : " (\(terms.joined(separator: "; ")))"))
        set(prefix: text(table.prefix(of: route)))
    }

    /// The services of a pool, their tasks, and how one is picked.
    mutating func addPool(_ index: Int32) {
        let services = table.servicesBehind(pool: index)
        set(services: services)
        for service in services {
            let described = table.services[Int(service)]
            let upstreams = upstreams(of: service)
            let ready = upstreams.count { $0.state == .ready }
            var text = "\(described.name): \(ready) of \(upstreams.count) tasks ready"
            if let weight = described.options.weight { text += "; weight \(weight)" }
            if described.options.weight == 0 { text += ", so it gets nothing" }
            add("service", text)
            for (position, upstream) in upstreams.enumerated().prefix(Self.taskLimit) {
                add("task", "\(upstream.endpoint) of \(described.name): \(state(upstream, service, position))")
            }
            if upstreams.count > Self.taskLimit { add("task", "and \(upstreams.count - Self.taskLimit) more") }
        }
        let pool = table.pool(index)
        let key: Balancing.Key? =
            switch pool.keyKind {
            case .none: nil
            case .clientAddress: .clientAddress
            case .cookie: .cookie(text(table.keyName(of: pool)))
            case .header: .header(text(table.keyName(of: pool)))
            }
        let terms = Balancing(method: pool.method, key: key).terms
        add("balance", terms.isEmpty ? "in turn" : terms.joined(separator: "; "))
    }

    mutating func addAnswer(_ verdict: Explanation.Verdict) {
        let names = explanation.services.map { table.services[$0].name }.joined(separator: ", ")
        switch verdict {
        case .task: add("answer", "by a task of \(names)")
        case .passedOn: add("answer", "the connection is passed to a task of \(names)")
        case .redirect(let status, let location): add("answer", "\(status) to \(location)")
        case .answer(let status, let code): add("answer", "\(status) \(code), by the proxy")
        case .closed(let reason): add("answer", "none: \(reason)")
        }
    }

    private func upstreams(of service: Int32) -> [Upstream] {
        let endpoints = table.snapshot.endpoints
        return endpoints.indices.contains(Int(service)) ? endpoints[Int(service)] : []
    }

    private func state(_ upstream: Upstream, _ service: Int32, _ position: Int) -> String {
        var words = [upstream.state.rawValue]
        if let known = health?[table.identity(service: Int(service), upstream: position)] {
            if !known.health.isEmpty { words.append(known.health) }
            if known.avoidingWorkers > 0 { words.append("passed over by \(known.avoidingWorkers) workers") }
            if !known.lastFailure.isEmpty { words.append("last failure: \(known.lastFailure)") }
        }
        return words.joined(separator: ", ")
    }

    private func names(_ pool: Int32) -> String {
        table.servicesBehind(pool: pool).map { table.services[Int($0)].name }.joined(separator: ", ")
    }

    /// As `interlock check` writes it.
    private func described(_ route: RouteEntry) -> String {
        let place = "\(table.pattern(ofHost: route.host))\(text(table.prefix(of: route)))"
        guard route.hasConditions else { return "\(place) -> \(names(route.pool))" }
        let entry = table.conditions(of: route)
        let headers = (entry.firstHeader..<(entry.firstHeader + entry.headerCount)).map { index in
            RouteConditions.Header(name: text(table.headerName(index)), value: table.headerValue(index).map(text))
        }
        let methods = (entry.firstMethod..<(entry.firstMethod + entry.methodCount)).map { text(table.methodName($0)) }
        return "\(place) [\(RouteConditions(headers: headers, methods: methods))] -> \(names(route.pool))"
    }
}
