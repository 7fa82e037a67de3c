// What one service says in its labels. Reading never fails: it collects what was understood and what was not, and the
// mapping decides what that means for the service.

import Model

/// A finding about one label.
struct LabelProblem: Hashable {
    enum Kind {
        /// The service is routed as if the label were not there.
        case doubtful
        /// The value cannot be read: these labels route nothing.
        case badValue
        /// The label asks for what this build cannot do and must not leave out: the service is not routed.
        case refused
    }

    var kind: Kind
    var label: String
    var value: String
    var message: String
}

/// Labels that mean something only together.
private struct WrittenLabels {
    var transport = TransportLabels()
    var traffic = TrafficLabels()
}

/// The labels of one service, read.
struct LabelReading {
    /// The labels as they were handed in, all of them.
    let written: [String: String]

    /// As long as a label's value may be; Docker itself allows megabytes.
    static let valueSizeLimit = 65_536
    /// How many unknown names are reported for one service.
    static let unknownNameLimit = 20

    var hosts: [HostPattern] = []
    var port: UInt16?
    var network: String?
    var contextRoot = "/"
    var rewritesContextRoot = false
    var isDefaultBackend = false
    var backendMode = BackendMode.task
    var cluster = ""
    var pathPolicy = PathPolicy.safe
    /// What a request must have.
    var conditions = RouteConditions()
    var balancing = Balancing()
    var options = ServiceOptions()
    /// TLS that ends here.
    var tls = TLSOptions()
    /// TLS goes on to the tasks unopened.
    var passesThrough = false
    var requiresTLS = false
    var hsts: String?
    /// Of the service's own hosts.
    var redirects: [RedirectSource: RedirectPair] = [:]
    /// Set: a TCP service, of which HTTP knows nothing.
    var tcpPort: UInt16?
    /// What the labels ask for to keep something out or secret, by label: a set of labels without it is weaker.
    private(set) var protections: [String: LabelValue] = [:]
    /// In the order of label names; then what is wrong with them together.
    private(set) var problems: [LabelProblem] = []

    /// Anything that is asked of the proxy at all.
    var isPublished: Bool { !hosts.isEmpty || isDefaultBackend || tcpPort != nil }
    var hasBadValue: Bool { problems.contains { $0.kind == .badValue } }
    var isRefused: Bool { problems.contains { $0.kind == .refused } }

    /// One of the labels that say where the service is found cannot be read.
    var hasUnreadablePlace: Bool {
        problems.contains {
            $0.kind == .badValue && ["hosts", "default_backend", "tcp_port"].contains($0.label)
        }
    }
    /// Where the service would be found, whatever else is wrong with its labels.
    var tellsItsPlace: Bool { isPublished && !hasUnreadablePlace }

    /// Whether any label of the proxy is among these.
    static func concerns(_ labels: [String: String], prefix: String) -> Bool {
        labels.keys.contains { Labels.isAuthors($0, prefix: prefix) }
    }

    /// The proxy group that the labels name, good or bad; "" without the label.
    static func cluster(of labels: [String: String], prefix: String) -> String {
        labels[prefix + "service_cluster"].map { strip($0.prefix(300)) } ?? ""
    }

    /// - Parameter stack: the service's stack, or "": secrets are looked for under its name too.
    init(_ labels: [String: String], settings: MappingSettings, stack: String) {
        written = labels
        let prefix = settings.labelPrefix
        let names = labels.keys.filter { Labels.isAuthors($0, prefix: prefix) }.sorted { $0.isBefore($1) }
        var written = WrittenLabels()
        var unknownCount = 0
        for name in names {
            let short = String(name.dropFirst(prefix.count))
            guard let value = labels[name] else { continue }
            if let definition = Labels.definition(of: short) {
                read(definition, value, &written)
            } else {
                unknownCount += 1
                if unknownCount <= Self.unknownNameLimit { reportUnknown(short, value) }
            }
        }
        if rewritesContextRoot, contextRoot == "/" {
            add(.doubtful, "context_root_rewrite", "true", "has no effect without a context_root")
        }
        combine(written.transport, settings: settings, stack: stack)
        combine(written.traffic)
    }

    /// Whether these labels ask for all the protection that the others ask for.
    func protects(asMuchAs other: LabelReading) -> Bool {
        other.protections.allSatisfy { protections[$0.key] == $0.value }
    }

    mutating func add(_ kind: LabelProblem.Kind, _ label: String, _ value: String, _ message: String) {
        let start = value.utf8.prefix(400)
        problems.append(
            LabelProblem(kind: kind, label: label, value: String(decoding: start, as: UTF8.self), message: message))
    }

    private mutating func reportUnknown(_ name: String, _ value: String) {
        let hint = Labels.nearestName(to: name).map { "; did you mean \($0)?" } ?? ""
        add(.doubtful, String(decoding: name.utf8.prefix(100), as: UTF8.self), value, "is no known label" + hint)
    }

    /// Spaces around the value and a trailing `;` mean nothing.
    private static func strip(_ value: some StringProtocol) -> String {
        var text = value.trimmed
        while text.hasSuffix(";") { text = text.dropLast().trimmed }
        return text
    }

    private mutating func read(_ definition: LabelDefinition, _ written: String, _ parts: inout WrittenLabels) {
        guard written.utf8.count <= Self.valueSizeLimit else {
            let message = "the value is longer than \(Self.valueSizeLimit) bytes"
            return add(definition.restrictsAccess ? .refused : .badValue, definition.name, written, message)
        }
        let text = Self.strip(written)
        if text.isEmpty {
            // A variable that was not set in a stack file must not open what it was to close.
            if definition.restrictsAccess {
                let message = "is empty; it restricts access, so write its value or remove it"
                add(.refused, definition.name, written, message)
            }
            return
        }
        let value: LabelValue
        do {
            value = try definition.kind.parse(text)
        } catch {
            let kind: LabelProblem.Kind = definition.restrictsAccess ? .refused : .badValue
            return add(kind, definition.name, written, error.message)
        }
        if definition.protects, !definition.idleValues.contains(value) { protections[definition.name] = value }
        switch definition.effect {
        case .acts:
            apply(definition.name, value)
            applyTraffic(definition.name, value)
            parts.transport.apply(definition.name, value)
            parts.traffic.apply(definition.name, value)
        case .needless: break
        case .notYet:
            if !definition.idleValues.contains(value) {
                add(.doubtful, definition.name, written, "has no effect in this version")
            }
        case .refuses:
            guard !definition.idleValues.contains(value) else { break }
            add(.refused, definition.name, written, Self.refusal(definition))
        }
    }

    private static func refusal(_ definition: LabelDefinition) -> String {
        definition.restrictsAccess
            ? "restricts access and is not enforced in this version, so the service is not routed"
            : "is not supported in this version, and the service cannot be served without it"
    }

    private mutating func apply(_ name: String, _ value: LabelValue) {
        switch (name, value) {
        case ("hosts", .list(let hosts)): self.hosts = hosts.compactMap { try? HostPattern(label: $0) }
        case ("port", .number(let number)): port = UInt16(exactly: number)
        case ("network", .text(let text)): network = text
        case ("context_root", .text(let text)): contextRoot = text
        case ("context_root_rewrite", .boolean(let isOn)): rewritesContextRoot = isOn
        case ("service_cluster", .text(let text)): cluster = text
        case ("default_backend", .boolean(let isOn)): isDefaultBackend = isOn
        case ("backend_mode", .text(let text)): backendMode = text == "vip" ? .vip : .task
        case ("connect_timeout", .number(let number)): options.connectTimeoutMs = number
        case ("response_timeout", .number(let number)): options.responseTimeoutMs = number
        case ("idle_timeout", .number(let number)): options.idleTimeoutMs = number
        case ("tunnel_timeout", .number(let number)): options.tunnelTimeoutMs = number
        case ("retries", .number(let number)): options.retries = number
        case ("retry_on", .list(let list)): options.retryStatuses = Set(list.compactMap { Int($0) }).sorted()
        case ("max_body_size", .number(let number)): options.maxBodySize = UInt64(number)
        case ("proxy_protocol", .text(let text)): options.proxyProtocol = ProxyProtocolVersion(rawValue: text)
        case ("path_policy", .text(let text)): pathPolicy = PathPolicy(rawValue: text) ?? .safe
        case ("ssl_passthrough", .boolean(let isOn)): passesThrough = isOn
        case ("ssl_only", .boolean(let isOn)): requiresTLS = isOn
        case ("hsts", .text(let text)): hsts = text
        case ("tcp_port", .number(let number)): tcpPort = UInt16(exactly: number)
        default: break
        }
    }
}
