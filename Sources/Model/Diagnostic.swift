// What was wrong with something that people wrote: always names the thing, the value and the way out.
// Part of a snapshot: where a new field has to be added is said in Snapshot.swift.

/// A finding about one service (or file, or config), for the log, `/api/routes`, the metrics and `interlock check`.
public struct Diagnostic: Hashable, Sendable {
    public enum Severity: String, Hashable, Sendable, CaseIterable {
        /// Routed, but something is doubtful.
        case warning
        /// The service is left out, or stays as it was.
        case error
    }

    public var severity: Severity
    /// The service's name, or the file or config it came from.
    public var service: String
    /// The label it is about, without the prefix; "" if it is about no single label.
    public var label: String
    /// The value as written, shortened to 200 characters.
    public var value: String
    /// One sentence: what is wrong and what would be right.
    public var message: String

    public init(severity: Severity, service: String, label: String = "", value: String = "", message: String) {
        self.severity = severity
        self.service = service
        self.label = label
        self.value = value.count > 200 ? String(value.prefix(200)) + "..." : value
        self.message = message
    }
}
