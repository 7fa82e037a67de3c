// Why a configuration is another than the one before, in a sentence for people: which services came, went, or say
// something else in which label.

import Discovery

enum HistoryCause {
    /// Services and labels that are named; the rest is counted.
    private static let serviceLimit = 5
    private static let labelLimit = 4
    private static let valueLimit = 100

    static func text(
        from old: [String: PinnedService], to new: [String: PinnedService], prefix: String
    ) -> String {
        var sentences: [(name: String, text: String)] = []
        for service in new.values {
            if let before = old[service.key] {
                if let text = change(from: before, to: service, prefix) { sentences.append((service.name, text)) }
            } else {
                let text = "service \(service.name) appeared" + (service.isRouted ? "" : ", and is left out")
                sentences.append((service.name, text))
            }
        }
        for service in old.values where new[service.key] == nil {
            sentences.append((service.name, "service \(service.name) is gone"))
        }
        guard !sentences.isEmpty else { return "the same labels have another effect: a network or a setting changed" }
        sentences.sort { ($0.name, $0.text) < ($1.name, $1.text) }
        let shown = sentences.prefix(serviceLimit).map(\.text)
        let rest = sentences.count - shown.count
        return (shown + (rest > 0 ? ["and \(rest) more services"] : [])).joined(separator: "; ")
    }

    private static func change(from old: PinnedService, to new: PinnedService, _ prefix: String) -> String? {
        var changes: [String] = []
        for name in Set(old.labels.keys).union(new.labels.keys).sorted() {
            let label = name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : name
            switch (old.labels[name], new.labels[name]) {
            case (let before?, let after?) where before != after:
                changes.append("\(label) \(shortened(before)) -> \(shortened(after))")
            case (nil, let after?): changes.append("\(label) \(shortened(after)) added")
            case (let before?, nil): changes.append("\(label) \(shortened(before)) removed")
            default: continue
            }
        }
        let rest = changes.count - labelLimit
        if rest > 0 { changes = changes.prefix(labelLimit) + ["\(rest) more labels"] }
        if old.isRouted != new.isRouted { changes.append(new.isRouted ? "routed again" : "left out") }
        return changes.isEmpty ? nil : "\(new.name): \(changes.joined(separator: ", "))"
    }

    private static func shortened(_ value: String) -> String {
        let shown = value.count > valueLimit ? value.prefix(valueLimit) + "..." : value[...]
        return shown.isEmpty ? "\"\"" : String(shown)
    }
}
