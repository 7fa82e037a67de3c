// The history of configurations as JSON, for a file in the state directory. Each record holds what changed since the
// one before, so fifty configurations of 10,000 services are not much more than one.

public import Discovery
import Model

/// A configuration that was in force.
public struct HistoryRecord: Hashable, Sendable {
    public var number: Int
    /// When it came into force, nanoseconds since 1970.
    public var atNs: UInt64
    /// What people had changed.
    public var cause: String
    /// Lines of the report that came (`+ `) and went (`- `).
    public var difference: [String]
    /// Of its services: the same number for the same services.
    public var fingerprint: UInt64
    /// Services that are new or say something else than in the record before; in the first record, all of them.
    public var changed: [PinnedService]
    /// Keys of services that are gone since the record before.
    public var removed: [String]

    public init(
        number: Int, atNs: UInt64, cause: String, difference: [String], fingerprint: UInt64,
        changed: [PinnedService], removed: [String]
    ) {
        self.number = number
        self.atNs = atNs
        self.cause = cause
        self.difference = difference
        self.fingerprint = fingerprint
        self.changed = changed
        self.removed = removed
    }
}

public struct HistoryDocument: Hashable, Sendable {
    /// The oldest first.
    public var records: [HistoryRecord]
    /// The report of the newest.
    public var lines: [String]

    public init(records: [HistoryRecord] = [], lines: [String] = []) {
        self.records = records
        self.lines = lines
    }

    static let version = 1
    private static let recordLimit = 1_000
    private static let lineLimit = 10_000_000

    public func encode() -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("interlock_history", Self.version)
            writer.array("records") { writer in
                for record in records {
                    writer.object { writer in
                        writer.field("number", record.number)
                        writer.field("at_ns", record.atNs)
                        writer.field("cause", record.cause)
                        writer.field("difference", record.difference)
                        writer.field("fingerprint", record.fingerprint)
                        writer.array("changed") { writer in
                            for service in record.changed { writer.pinnedService(service) }
                        }
                        writer.field("removed", record.removed)
                    }
                }
            }
            writer.field("lines", lines)
        }
        return writer.bytes
    }

    public init(decoding bytes: [UInt8]) throws(PinError) {
        self.init()
        do throws(JSONError) {
            var reader = JSONReader(bytes)
            try read(&reader)
            try reader.end()
        } catch {
            throw PinError(description: "\(error.message) at byte \(error.offset) of \(bytes.count)")
        }
        for (earlier, later) in zip(records, records.dropFirst()) where earlier.number >= later.number {
            throw PinError(description: "its numbers do not rise")
        }
    }

    private mutating func read(_ reader: inout JSONReader) throws(JSONError) {
        var isKnown = false
        var records: [HistoryRecord] = []
        var lines: [String] = []
        let start = reader
        try reader.object { (reader, name) throws(JSONError) in
            switch name {
            case "interlock_history":
                try reader.formatVersion(Self.version, of: "history")
                isKnown = true
            case "records":
                try reader.array { (reader, index) throws(JSONError) in
                    guard index < Self.recordLimit else { throw reader.mismatch("too many records") }
                    records.append(try reader.historyRecord())
                }
            case "lines": lines = try reader.strings(atMost: Self.lineLimit, of: "lines")
            default: try reader.skip()
            }
        }
        guard isKnown else { throw start.mismatch("\"interlock_history\" is missing") }
        self.records = records
        self.lines = lines
    }
}

extension JSONReader {
    fileprivate mutating func historyRecord() throws(JSONError) -> HistoryRecord {
        var record = HistoryRecord(
            number: 0, atNs: 0, cause: "", difference: [], fingerprint: 0, changed: [], removed: [])
        _ = try nextKind()
        let start = self
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "number": record.number = try reader.integer()
            case "at_ns": record.atNs = try reader.integer()
            case "cause": record.cause = try reader.string()
            case "difference": record.difference = try reader.strings(atMost: 10_000, of: "lines")
            case "fingerprint": record.fingerprint = try reader.integer()
            case "changed": record.changed = try reader.pinnedServices(atMost: PinDocument.serviceLimit)
            case "removed":
                record.removed = try reader.strings(atMost: PinDocument.serviceLimit, of: "services")
            default: try reader.skip()
            }
        }
        guard (1...PinDocument.numberLimit).contains(record.number) else {
            throw start.mismatch("a record has no \"number\" from 1 to \(PinDocument.numberLimit)")
        }
        return record
    }
}
