// What a service says about how its tasks are probed.
// Part of a snapshot: where a new field has to be added is said in Snapshot.swift.

/// An active health check: probes that are sent to each task whether or not there are requests.
public struct HealthCheck: Hashable, Sendable {
    public enum Mode: String, Hashable, Sendable, CaseIterable {
        /// A GET whose status tells.
        case http
        /// A connection that is accepted.
        case tcp
    }

    public var mode: Mode
    /// Of the GET, in the form a request has it.
    public var path: String
    /// From the end of one probe to the next, milliseconds.
    public var intervalMs: Int
    /// For connecting and answering together, milliseconds.
    public var timeoutMs: Int
    /// The statuses that are success, in ascending order.
    public var statuses: [ClosedRange<Int>]
    /// nil: the port that requests go to.
    public var port: UInt16?
    /// This many successes in a row bring a task back.
    public var rise: Int
    /// This many failures in a row take it out.
    public var fall: Int

    public init(
        mode: Mode = .http, path: String = "/", intervalMs: Int = 5_000, timeoutMs: Int = 2_000,
        statuses: [ClosedRange<Int>] = [200...399], port: UInt16? = nil, rise: Int = 2, fall: Int = 3
    ) {
        self.mode = mode
        self.path = path
        self.intervalMs = intervalMs
        self.timeoutMs = timeoutMs
        self.statuses = statuses
        self.port = port
        self.rise = rise
        self.fall = fall
    }
}
