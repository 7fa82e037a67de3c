// What travels: a snapshot with the secrets that go with it; and the notes both sides write into their logs.

public import Model

/// A snapshot and the bytes that the names in it stand for.
public struct FeedContent: Sendable, Equatable {
    public var snapshot: Snapshot
    public var secrets: SecretFiles

    public init(snapshot: Snapshot, secrets: SecretFiles = SecretFiles()) {
        self.snapshot = snapshot
        self.secrets = secrets
    }
}

/// A line for the log.
public struct FeedNote: Hashable, Sendable {
    public enum Level: Hashable, Sendable { case info, warning, debug }

    public var level: Level
    /// The same words each time.
    public var message: String
    /// What is particular this time; "" if nothing is.
    public var detail: String

    public init(_ level: Level, _ message: String, _ detail: String = "") {
        self.level = level
        self.message = message
        self.detail = detail
    }
}

/// Why a feed server or client cannot start: one sentence for people.
public struct FeedStartError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    init(_ description: String) { self.description = description }
}
