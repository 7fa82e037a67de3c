// One backend as text: how its servers are picked, tried and watched.
//
// haproxy watches servers that it also probes, and only those. So a server whose failures count (`max_fails`) gets a
// connection now and then: after the first failures it is out, and the first connection that is accepted brings it
// back. Where all are out, haproxy would answer 503; a second line for each, never watched and used only then, does
// what our own proxy does: it tries them all the same.

import Model

struct HAProxyBackend {
    let pool: PlannedPool
    let traffic: HAProxyTraffic
    /// One for each service of the pool.
    let transports: [HAProxyTransport]
    let defaults: RenderDefaults
    /// One for each service of the pool.
    let probeHosts: [HAProxyName?]
    /// Whether haproxy's numbers say the shares as they are.
    private(set) var isExact = true

    init(
        pool: PlannedPool, traffic: HAProxyTraffic, transports: [HAProxyTransport], defaults: RenderDefaults,
        probeHosts: [HAProxyName?]
    ) {
        self.pool = pool
        self.traffic = traffic
        self.transports = transports
        self.defaults = defaults
        self.probeHosts = probeHosts
    }

    private var options: ServiceOptions { pool.leadOptions }

    mutating func write(_ name: HAProxyName, into writer: inout HAProxyWriter) {
        writer.section("backend", name)
        writer.line(traffic == .requests ? "mode http" : "mode tcp")
        writeBalancing(into: &writer)
        writeTimes(into: &writer)
        let check = sharedCheck
        if let check { write(check, into: &writer) }
        writeServers(check, into: &writer)
    }

    // MARK: Picking

    private var isHashed: Bool { pool.balancing.key.map { HAProxyKey($0) != nil } ?? false }

    private func writeBalancing(into writer: inout HAProxyWriter) {
        switch pool.balancing.key.flatMap({ HAProxyKey($0) }) {
        case .address: writer.line("balance source")
        case .cookie(let name): writer.line(.joined("balance hash req.cook(", .name(name), ")"))
        case .header(let name): writer.line(.joined("balance hdr(", .name(name), ")"))
        case nil:
            switch pool.balancing.method {
            case .roundRobin: writer.line("balance roundrobin")
            case .leastConnections: writer.line("balance leastconn")
            case .random: writer.line("balance random(2)")
            }
        }
        if isHashed { writer.line("hash-type consistent sdbm avalanche") }
    }

    /// The ring of hashes, and that of random picks, has 16 places for each unit of weight: a unit alone is coarse.
    private mutating func weights() -> [Int] {
        let exact = pool.weights(limit: 256)
        isExact = exact.isExact
        guard isHashed || pool.balancing.method == .random else { return exact.weights }
        let least = max(1, exact.weights.min() ?? 1)
        let factor = max(1, min(256 / max(1, exact.weights.max() ?? 1), (16 + least - 1) / least))
        return exact.weights.map { $0 * factor }
    }

    // MARK: Times and trying again

    private func writeTimes(into writer: inout HAProxyWriter) {
        if let time = options.connectTimeoutMs { writer.line("timeout connect", .milliseconds(time)) }
        if let time = options.queueTimeoutMs { writer.line("timeout queue", .milliseconds(time)) }
        if let time = options.responseTimeoutMs, traffic == .requests {
            writer.line("timeout server", .milliseconds(time))
        }
        if let time = options.tunnelTimeoutMs { writer.line("timeout tunnel", .milliseconds(time)) }
        if let retries = options.retries { writer.line("retries", .number(min(max(retries, 0), 100))) }
        let statuses = Set(options.retryStatuses).intersection([500, 502, 503, 504]).sorted()
        guard traffic == .requests, !statuses.isEmpty else { return }
        writer.line(["retry-on conn-failure empty-response"] + statuses.map { .number($0) })
    }

    // MARK: Watching

    /// The check that the backend's probes are; haproxy knows one for each backend. The first service's that has one.
    private var sharedCheck: HealthCheck? {
        guard pool.servers.count > 1 else { return nil }
        return pool.servers.lazy.compactMap { pool.services[$0.service].options.health }.first
    }

    private func write(_ check: HealthCheck, into writer: inout HAProxyWriter) {
        writer.line("timeout check", .milliseconds(check.timeoutMs))
        guard check.mode == .http, check.path.isRequestTarget, let path = HAProxyText(check.path) else { return }
        writer.line("option httpchk")
        let host = pool.servers.lazy.compactMap { probeHosts[$0.service] }.first
        writer.line(
            ["http-check send meth GET uri", .quoted(path), "ver HTTP/1.1 hdr User-Agent interlock hdr Host"]
                + [host.map { .name($0) } ?? "localhost"])
        var codes: [HAProxyWord] = []
        for range in check.statuses {
            if !codes.isEmpty { codes.append(",") }
            codes.append(.number(range.lowerBound))
            if range.count > 1 { codes += ["-", .number(range.upperBound)] }
        }
        writer.line("http-check expect status", codes.reduce("") { .joined($0, $1) })
    }

    /// What a server is watched by; nil: it is not.
    private func watching(_ service: Int, _ check: HealthCheck?) -> [HAProxyWord]? {
        // The last one is never taken out.
        guard pool.servers.count > 1 else { return nil }
        let options = pool.services[service].options
        let fails = options.maxFails ?? defaults.maxFails
        let time = options.failTimeoutMs ?? defaults.failTimeoutMs
        let counts = fails > 0 && time > 0
        let transport = transports[service]
        let host = probeHosts[service]
        var words: [HAProxyWord]
        if let check, options.health?.isProbedAlike(check) == true, let own = options.health {
            words = [
                "check inter", .milliseconds(own.intervalMs), "rise", .number(own.rise), "fall", .number(own.fall),
            ]
            if let port = own.port { words += ["port", .number(Int(port))] }
            words += transport.probeWords(hasOwnPort: own.port != nil, host: host)
        } else {
            // A GET would be what comes, and is not for this service's tasks.
            guard counts, check?.mode != .http else { return nil }
            words = ["check inter", .milliseconds(time), "rise 1 fall", .number(fails)]
            words += transport.probeWords(hasOwnPort: false, host: host)
        }
        if counts { words += ["observe layer4 error-limit", .number(fails), "on-error mark-down"] }
        return words
    }

    // MARK: Servers

    private mutating func writeServers(_ check: HealthCheck?, into writer: inout HAProxyWriter) {
        let weights = weights()
        let isEven = weights.allSatisfy { $0 == 1 }
        var ids = HAProxyServerNumbers()
        let numbers = pool.servers.map { isHashed ? ids.number($0.id) : nil }
        var names = HAProxyServerNames()
        var panic: [[HAProxyWord]] = []
        for (index, server) in pool.servers.enumerated() {
            let options = pool.services[server.service].options
            let name = names.name(server.endpoint)
            var words: [HAProxyWord] = [.endpoint(server.endpoint)]
            if !isEven { words += ["weight", .number(weights[index])] }
            words += transports[server.service].words(traffic)
            if let limit = options.maxConnections { words += ["maxconn", .number(min(limit, 1_000_000))] }
            let number: [HAProxyWord] = numbers[index].map { ["id", .number($0)] } ?? []
            guard let watching = watching(server.service, check) else {
                writer.line(["server", .name(name)] + words + number)
                continue
            }
            var growing: [HAProxyWord] = []
            if let time = options.slowStartMs, time > 0 { growing = ["slowstart", .milliseconds(time)] }
            writer.line(["server", .name(name)] + words + number + watching + growing)
            panic.append(["server", .name(HAProxyName(resembling: name.text, suffix: ".panic"))] + words + ["backup"])
        }
        // One that is not watched is never out: there is always somebody.
        guard !panic.isEmpty, panic.count == pool.servers.count else { return }
        writer.line("option allbackups")
        for words in panic { writer.line(words) }
    }
}

/// What a request is hashed by, where haproxy can be told its name.
enum HAProxyKey {
    case address
    case cookie(HAProxyName)
    case header(HAProxyName)

    init?(_ key: Balancing.Key) {
        switch key {
        case .clientAddress: self = .address
        case .cookie(let text):
            guard let name = HAProxyName(text) else { return nil }
            self = .cookie(name)
        case .header(let text):
            guard let name = HAProxyName(text) else { return nil }
            self = .header(name)
        }
    }
}

/// Where a server stands on the ring of hashes is its number. It comes from the task's identity alone, so that the same
/// key goes to the same task after a reload, and on every haproxy.
struct HAProxyServerNumbers {
    private var taken: Set<Int> = []

    mutating func number(_ id: String) -> Int {
        // FNV-1a.
        var hash: UInt32 = 0x811C_9DC5
        for byte in id.utf8 { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
        var number = Int(hash & 0x7FFF_FFFF)
        while number == 0 || !taken.insert(number).inserted { number = (number + 1) & 0x7FFF_FFFF }
        return number
    }
}

/// Servers are called by their addresses.
private struct HAProxyServerNames {
    private var taken: Set<HAProxyName> = []

    mutating func name(_ endpoint: Endpoint) -> HAProxyName {
        let text = "\(endpoint.address)".replacing(UInt8(ascii: ":"), with: "_")
        var name = HAProxyName(resembling: text, suffix: "_\(endpoint.port)")
        var count = 1
        while !taken.insert(name).inserted {
            count += 1
            name = HAProxyName(resembling: text, suffix: "_\(endpoint.port)_\(count)")
        }
        return name
    }
}

extension String {
    fileprivate func replacing(_ byte: UInt8, with other: Character) -> String {
        String(map { $0.utf8.count == 1 && $0.utf8.first == byte ? other : $0 })
    }
}

extension HealthCheck {
    /// Whether one probe of haproxy's does for both: how often, and where, is each server's own.
    func isProbedAlike(_ other: HealthCheck) -> Bool {
        mode == other.mode && path == other.path && statuses == other.statuses && timeoutMs == other.timeoutMs
    }
}
