// Stack files as the documents show them, read into what a Swarm would show of them. The part of YAML that is known:
// maps and lists by indentation, `[a, b]`, `{a: b}`, quoted and plain scalars, comments. Anything else stops the test.

import Discovery
import Model

/// A value of the known part of YAML.
indirect enum YAMLValue: Equatable {
    case scalar(String)
    case list([YAMLValue])
    case map([Entry])

    struct Entry: Equatable {
        var key: String
        var value: YAMLValue
    }

    subscript(key: String) -> YAMLValue? {
        guard case .map(let entries) = self else { return nil }
        return entries.first { $0.key == key }?.value
    }

    var entries: [Entry] {
        if case .map(let entries) = self { entries } else { [] }
    }

    var items: [YAMLValue] {
        if case .list(let items) = self { items } else { [] }
    }

    var text: String? {
        if case .scalar(let text) = self { text } else { nil }
    }
}

struct YAMLError: Error, CustomStringConvertible {
    let description: String
}

struct YAMLReader {
    private struct Line {
        var indent: Int
        var text: String
    }

    private var lines: [Line] = []
    private var next = 0

    static func read(_ text: String) throws -> YAMLValue {
        var reader = YAMLReader()
        for line in text.split(separator: "\n") {
            let content = line.drop { $0 == " " }
            guard !content.isEmpty, !content.hasPrefix("#") else { continue }
            reader.lines.append(Line(indent: line.count - content.count, text: String(content)))
        }
        let value = try reader.block(reader.lines.first?.indent ?? 0)
        guard reader.next == reader.lines.count else { throw YAMLError(description: reader.lines[reader.next].text) }
        return value
    }

    private mutating func block(_ indent: Int) throws -> YAMLValue {
        guard next < lines.count else { return .scalar("") }
        return lines[next].text.hasPrefix("- ") ? try list(indent) : try map(indent)
    }

    private mutating func list(_ indent: Int) throws -> YAMLValue {
        var items: [YAMLValue] = []
        while next < lines.count, lines[next].indent == indent, lines[next].text.hasPrefix("- ") {
            items.append(try Self.flow(String(lines[next].text.dropFirst(2))))
            next += 1
        }
        return .list(items)
    }

    private mutating func map(_ indent: Int) throws -> YAMLValue {
        var entries: [YAMLValue.Entry] = []
        while next < lines.count, lines[next].indent == indent {
            let text = lines[next].text
            guard let colon = Self.colon(in: text) else { throw YAMLError(description: "no key: \(text)") }
            let key = Self.unquoted(String(text[..<colon]))
            guard !entries.contains(where: { $0.key == key }) else { throw YAMLError(description: "twice: \(key)") }
            let rest = text[text.index(after: colon)...].drop { $0 == " " }
            next += 1
            if rest.isEmpty, next < lines.count, lines[next].indent > indent {
                entries.append(.init(key: key, value: try block(lines[next].indent)))
            } else {
                entries.append(.init(key: key, value: try Self.flow(String(rest))))
            }
        }
        return .map(entries)
    }

    /// The first `: `, or `:` at the end.
    private static func colon(in text: String) -> String.Index? {
        text.indices.first { index in
            let after = text.index(after: index)
            return text[index] == ":" && (after == text.endIndex || text[after] == " ")
        }
    }

    private static func flow(_ text: String) throws -> YAMLValue {
        func parts() -> [String] { text.dropFirst().dropLast().split(separator: ",").map { unspaced(String($0)) } }
        if text.hasPrefix("["), text.hasSuffix("]") { return .list(parts().map { .scalar(unquoted($0)) }) }
        guard text.hasPrefix("{"), text.hasSuffix("}") else {
            // A plain scalar would end there, and a stack file would not mean what it says.
            guard text.hasPrefix("\"") || !text.contains(": ") && !text.contains(" #") else {
                throw YAMLError(description: "needs quotes: \(text)")
            }
            return .scalar(unquoted(text))
        }
        return .map(
            try parts().map { part in
                guard let colon = colon(in: part) else { throw YAMLError(description: "no key: \(part)") }
                return .init(
                    key: String(part[..<colon]),
                    value: .scalar(unquoted(unspaced(String(part[part.index(after: colon)...])))))
            })
    }

    private static func unspaced(_ text: String) -> String {
        String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }

    private static func unquoted(_ text: String) -> String {
        text.count >= 2 && text.hasPrefix("\"") && text.hasSuffix("\"") ? String(text.dropFirst().dropLast()) : text
    }
}

/// A Swarm of two nodes, on which stack files are deployed one after the other.
struct DemoSwarm {
    private(set) var inventory = Inventory(
        nodes: [
            SwarmNode(id: "node1", address: address("192.0.2.1")),
            SwarmNode(id: "node2", address: address("192.0.2.2")),
        ], networks: [ingress])
    private(set) var settings = MappingSettings(proxyNetworks: ["front"], hasSharedCertificates: true)
    /// Labels of the proxy that were used, without their prefix.
    private(set) var usedLabels: Set<String> = []

    init() { addNetwork("front") }

    private mutating func addNetwork(_ name: String) {
        if !inventory.networks.contains(where: { $0.name == name }) {
            inventory.networks.append(Network(id: "n-\(name)", name: name))
        }
    }

    /// `# stack: name` puts what follows into a stack; `# proxy: NAME=value` is a setting of the proxy.
    mutating func deploy(_ text: String) throws {
        var stack = ""
        for line in text.split(separator: "\n") {
            if line.hasPrefix("# stack: ") { stack = String(line.dropFirst(9)) }
            if line.hasPrefix("# proxy: ") { try set(line.dropFirst(9)) }
        }
        let file = try YAMLReader.read(text)
        guard let services = file["services"] else { throw YAMLError(description: "no services: \(text)") }
        for entry in services.entries { try add(entry.key, entry.value, stack) }
    }

    private mutating func set(_ text: Substring) throws {
        for part in text.split(separator: " ") {
            let sides = part.split(separator: "=", maxSplits: 1).map(String.init)
            guard sides.count == 2 else { throw YAMLError(description: "no value: \(part)") }
            switch sides.first {
            case "INTERLOCK_SERVICE_CLUSTER": settings.serviceCluster = sides[1]
            case "INTERLOCK_HOST_OWNERSHIP": settings.hostOwnership = .init(rawValue: sides[1]) ?? .shared
            case "INTERLOCK_TCP_PORTS":
                settings.tcpPorts = sides[1].split(separator: ",").compactMap { UInt16($0).map { $0...$0 } }
            case "INTERLOCK_NETWORK":
                settings.proxyNetworks = sides[1] == "host" ? [] : sides[1].split(separator: ",").map(String.init)
            default: throw YAMLError(description: "no setting of examples: \(part)")
            }
        }
    }

    private mutating func add(_ name: String, _ value: YAMLValue, _ stack: String) throws {
        let index = inventory.services.count + 1
        let deploy = value["deploy"] ?? .map([])
        let count = deploy["mode"]?.text == "global" ? 2 : Int(deploy["replicas"]?.text ?? "1") ?? 0
        var service = SwarmService(id: "s\(index)", name: stack.isEmpty ? name : "\(stack)_\(name)")
        service.createdAtNs = Int64(index)
        service.labels = try labels(deploy["labels"])
        service.containerLabels = try labels(value["labels"])
        if !stack.isEmpty { service.labels[Labels.stackLabel] = stack }
        service.mode = deploy["mode"]?.text == "global" ? .global : .replicated(count)
        service.desiredTaskCount = count
        service.usesVirtualIP = deploy["endpoint_mode"]?.text != "dnsrr"
        // Only what is external, as `front` is, keeps its name in a stack.
        service.networks = (value["networks"]?.items ?? []).compactMap(\.text).map {
            stack.isEmpty || $0 == "front" ? $0 : "\(stack)_\($0)"
        }
        for network in service.networks { addNetwork(network) }
        service.ports = (value["ports"]?.items ?? []).map { port in
            PublishedPort(
                targetPort: UInt16(port["target"]?.text ?? "") ?? 0,
                publishedPort: UInt16(port["published"]?.text ?? "") ?? 0,
                mode: port["mode"]?.text == "host" ? .host : .ingress)
        }
        if service.usesVirtualIP {
            service.virtualIPs = service.networks.map { on("n-\($0)", taskAddress(on: $0, index, 254)) }
        }
        for slot in 0..<count {
            inventory.tasks.append(
                SwarmTask(
                    id: "\(name)-\(slot + 1)", serviceID: service.id, slot: slot + 1, nodeID: "node\(slot % 2 + 1)",
                    addresses: service.networks.map { on("n-\($0)", taskAddress(on: $0, index, slot + 1)) },
                    hostPorts: service.ports.filter { $0.mode == .host }))
        }
        inventory.services.append(service)
    }

    private func taskAddress(on network: String, _ service: Int, _ task: Int) -> String {
        "10.\(network == "front" ? 0 : 1).\(service).\(task)"
    }

    private mutating func labels(_ value: YAMLValue?) throws -> [String: String] {
        guard let value else { return [:] }
        var pairs = value.entries.map { ($0.key, $0.value.text) }
        pairs += value.items.map { item in
            let sides = (item.text ?? "").split(separator: "=", maxSplits: 1).map(String.init)
            return (sides[0], sides.count > 1 ? sides[1] : "")
        }
        var labels: [String: String] = [:]
        for (key, text) in pairs {
            guard let text else { throw YAMLError(description: "no value: \(key)") }
            labels[key] = text
            if key.hasPrefix(settings.labelPrefix) {
                usedLabels.insert(String(key.dropFirst(settings.labelPrefix.count)))
            }
        }
        return labels
    }

    /// What `interlock check` would print; where a document shows it, the addresses behind each service too.
    func report(withTasks: Bool) -> [String] {
        let snapshot = ServiceMapping.snapshot(of: inventory, settings: settings)
        var lines = SnapshotReport.lines(snapshot)
        guard withTasks else { return lines }
        for (service, upstreams) in zip(snapshot.configuration.services, snapshot.endpoints) {
            let endpoints = upstreams.map { "\($0.endpoint)" }.joined(separator: ", ")
            lines.append("tasks    \(service.name): \(endpoints.isEmpty ? "none" : endpoints)")
        }
        return lines
    }
}
