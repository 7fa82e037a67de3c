// The last configurations that were in force, each with its number, its time, what had changed, and what its services
// said, so that it can be had again. Endpoints, counts of replicas and diagnostics make no entry. Pure: the time is
// handed in, files are others' business.

import Discovery
public import Docker
import Model

/// One configuration of the history.
public struct HistoryEntry: Hashable, Sendable {
    /// Rises with each configuration, over restarts too if there is a state directory.
    public var number: Int
    /// When it came into force, nanoseconds since 1970.
    public var atNs: UInt64
    /// What people had changed: "web: hosts a.test -> b.test".
    public var cause: String
    /// What came of it: lines of the report that went (`- `) and came (`+ `).
    public var difference: [String]

    public init(_ record: HistoryRecord) {
        number = record.number
        atNs = record.atNs
        cause = record.cause
        difference = record.difference
    }
}

struct History {
    /// Configurations that are kept.
    static let limit = 50
    /// Lines of one difference.
    private static let lineLimit = 200

    /// One proxy group's part of what is in force.
    struct Part {
        var cluster: String
        var configuration: Configuration
        var said: [SaidService]
    }

    private let labelPrefix: String
    /// The oldest first.
    private(set) var records: [HistoryRecord] = []
    /// Of the newest record.
    private var services: [String: PinnedService] = [:]
    private var lines: [String] = []
    // What was looked at last, to see at a glance that nothing is new.
    private var lastSaid: [[SaidService]]?
    private var lastConfigurations: [String: Configuration] = [:]
    /// A number that was given elsewhere: the next one is higher.
    private var highestNumber = 0

    init(labelPrefix: String) { self.labelPrefix = labelPrefix }

    /// The newest first.
    var entries: [HistoryEntry] { records.reversed().map(HistoryEntry.init) }
    var numbers: [Int] { records.map(\.number) }

    /// What was written down before a restart.
    var document: HistoryDocument { HistoryDocument(records: records, lines: lines) }

    mutating func restore(_ document: HistoryDocument) {
        records = Array(document.records.suffix(Self.limit))
        if records.count < document.records.count, let number = records.first?.number {
            records[0] = HistoryRecord(complete: document.records, upTo: number)
        }
        lines = document.lines
        services = records.last.map { Self.services(of: records, upTo: $0.number) } ?? [:]
    }

    /// Numbers go on above those of a pin that an earlier life of this process gave.
    mutating func skip(to number: Int) { highestNumber = max(highestNumber, number) }

    // MARK: Taking

    /// Looks at what is in force.
    /// - Returns: the new entry; nil if the configuration is the one before.
    mutating func take(_ parts: [Part], atNs: UInt64) -> HistoryEntry? {
        // A group that is asked for and has nothing is no configuration.
        let parts = parts.filter { !$0.said.isEmpty || $0.configuration != Configuration() }
        let said = parts.map(\.said)
        let configurations = Dictionary(parts.map { ($0.cluster, $0.configuration.withoutCounts) }) { first, _ in first
        }
        defer { (lastSaid, lastConfigurations) = (said, configurations) }
        if said == lastSaid, configurations == lastConfigurations { return nil }

        let now = Dictionary(said.joined().map { ($0.key, $0.pinned(labelPrefix: labelPrefix)) }) { first, _ in first }
        let saysTheSame = now.count == services.count && now.allSatisfy { services[$0.key]?.says($0.value) ?? false }
        let newLines = Self.report(parts)
        // The report is all that is kept over a restart; in one life the configurations themselves are compared.
        let isTheSame = lastSaid == nil ? lines == newLines : configurations == lastConfigurations
        if saysTheSame, isTheSame, !records.isEmpty { return nil }
        let cause =
            records.isEmpty
            ? Self.beginning(now.count) : HistoryCause.text(from: services, to: now, prefix: labelPrefix)
        let record = HistoryRecord(
            number: max(records.last?.number ?? 0, highestNumber) + 1, atNs: atNs, cause: cause,
            difference: records.isEmpty ? [] : Self.difference(from: lines, to: newLines),
            fingerprint: Self.fingerprint(now),
            changed: now.values.filter { services[$0.key] != $0 }.sorted { $0.key < $1.key },
            removed: services.keys.filter { now[$0] == nil }.sorted())
        records.append(record)
        (services, lines) = (now, newLines)
        while records.count > Self.limit { forgetOne() }
        return HistoryEntry(record)
    }

    private static func beginning(_ count: Int) -> String {
        "the first look: \(count) \(count == 1 ? "service" : "services")"
    }

    private static func report(_ parts: [Part]) -> [String] {
        parts.flatMap { part in
            let lines = SnapshotReport.lines(part.configuration)
            return part.cluster.isEmpty ? lines : lines.map { "[\(part.cluster)] \($0)" }
        }
    }

    /// What is about the same stands together, the old line before the new one.
    static func difference(from old: [String], to new: [String]) -> [String] {
        let (before, after) = (Set(old), Set(new))
        let gone = old.filter { !after.contains($0) }.map { (line: $0, mark: "- ") }
        let come = new.filter { !before.contains($0) }.map { (line: $0, mark: "+ ") }
        let all = (gone + come).map { (subject: subject(of: $0.line), text: $0.mark + $0.line) }
            .sorted { ($0.subject, $1.text) < ($1.subject, $0.text) }
        let shown = all.prefix(lineLimit).map(\.text)
        return all.count > lineLimit ? shown + ["... and \(all.count - lineLimit) more lines"] : Array(shown)
    }

    private static func subject(of line: String) -> Substring {
        if let arrow = line.utf8.firstIndex(of: UInt8(ascii: ">")) { return line[..<arrow] }
        return line.prefix { $0 != ":" }
    }

    // MARK: Keeping

    /// A configuration that is there twice goes first (something that comes and goes would soon be all there is), else
    /// the oldest.
    private mutating func forgetOne() {
        let last = Dictionary(records.enumerated().map { ($1.fingerprint, $0) }) { max($0, $1) }
        let index = records.indices.first { last[records[$0].fingerprint] != $0 } ?? 0
        let forgotten = records.remove(at: index)
        records[index].absorb(forgotten, isFirst: index == 0)
    }

    /// What the services of that configuration said; nil: it is not known.
    func configuration(_ number: Int) -> [PinnedService]? {
        guard records.contains(where: { $0.number == number }) else { return nil }
        return Self.services(of: records, upTo: number).values.sorted { $0.key < $1.key }
    }

    fileprivate static func services(of records: [HistoryRecord], upTo number: Int) -> [String: PinnedService] {
        var services: [String: PinnedService] = [:]
        for record in records where record.number <= number {
            for key in record.removed { services[key] = nil }
            for service in record.changed { services[service.key] = service }
        }
        return services
    }

    /// FNV-1a over the services in order: the same in every process.
    private static func fingerprint(_ services: [String: PinnedService]) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        func add(_ text: String) {
            for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
            hash = (hash ^ 0xFF) &* 0x0000_0100_0000_01B3
        }
        for (key, service) in services.sorted(by: { $0.key < $1.key }) {
            add(key)
            add(service.isRouted ? "+" : "-")
            for (name, value) in service.labels.sorted(by: { $0.key < $1.key }) {
                add(name)
                add(value)
            }
        }
        return hash
    }
}

extension HistoryRecord {
    /// Takes over what the record before it had changed, which is forgotten.
    fileprivate mutating func absorb(_ earlier: HistoryRecord, isFirst: Bool) {
        let gone = Set(removed)
        let own = Set(changed.map(\.key))
        let kept = earlier.changed.filter { !gone.contains($0.key) && !own.contains($0.key) }
        changed = (kept + changed).sorted { $0.key < $1.key }
        removed = isFirst ? [] : gone.union(earlier.removed).subtracting(changed.map(\.key)).sorted()
    }

    /// The record with that number, with all of its services.
    fileprivate init(complete records: [HistoryRecord], upTo number: Int) {
        self = records.first { $0.number == number } ?? records[records.count - 1]
        changed = History.services(of: records, upTo: number).values.sorted { $0.key < $1.key }
        removed = []
    }
}

extension PinnedService {
    /// Whether it asks for the same; its age and the port that it has are no configuration.
    fileprivate func says(_ other: PinnedService) -> Bool { labels == other.labels && isRouted == other.isRouted }
}

extension Configuration {
    /// Without what is no configuration: how many replicas are wanted, and the ids that containers get anew.
    fileprivate var withoutCounts: Configuration {
        var copy = self
        for index in copy.services.indices {
            copy.services[index].desiredTaskCount = nil
            if copy.services[index].source == .container { copy.services[index].id = "" }
        }
        return copy
    }
}
