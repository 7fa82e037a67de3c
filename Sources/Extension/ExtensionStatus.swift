// What became of the snapshots, for the admin page and for tests.

public import Model

public struct ExtensionStatus: Sendable, Equatable {
    public struct Success: Sendable, Equatable {
        /// Nanoseconds since 1970.
        public var atNs: UInt64
        /// Of the snapshot that is in force.
        public var order: SnapshotOrder
    }

    public struct Failure: Sendable, Equatable {
        public enum Step: String, Sendable { case write, check, reload, run }

        public var atNs: UInt64
        public var step: Step
        /// What the system or the command said, shortened.
        public var text: String
    }

    /// `nginx`, or the command's first word.
    public var name: String
    public var lastSuccess: Success?
    public var lastFailure: Failure?
    /// The newest snapshot is not in force: the last one that was good is.
    public var isFailing = false
    /// Files in force, below the directory; the main file first, then all of them in a directory of their own.
    public var files: [String] = []
    /// What the target cannot express, or what was left out.
    public var diagnostics: [Diagnostic] = []
    /// Configurations, or snapshots, that were taken.
    public var appliedCount = 0
    /// Reloads that worked.
    public var reloadCount = 0
    /// Commands that were run, for a check, a reload, or a snapshot.
    public var commandCount = 0
    public var failureCount = 0

    public init(name: String) { self.name = name }
}
