// Why a rollback or a resume did not happen, and what a controller says about the pin in force.

/// A rollback, or a resume, that did not happen: one clear line.
public struct RollbackError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Hashable, Sendable {
        /// There is no configuration of that number.
        case unknownNumber
        /// There is nothing to let go of.
        case nothingPinned
        /// The settings do not allow it.
        case notAllowed
        /// There is neither a Swarm nor a state directory to keep a pin in.
        case noPlace
        /// The engine has not answered yet, so nobody knows where the pin belongs.
        case notReady
        /// The engine was asked and did not do it.
        case engine
        /// The state directory was written and would not have it.
        case file
        /// It was done, and has had no effect yet.
        case late
    }

    public let kind: Kind
    public let description: String

    init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    /// As things are it cannot be: nothing was tried.
    public var isRefusal: Bool { ![.engine, .file, .late].contains(kind) }
}

/// A pin that is there.
public struct PinStatus: Hashable, Sendable {
    /// Of the configuration, in the history of the controller that pinned it; nil: no pin could be read.
    public var number: Int?
    /// When it was pinned, nanoseconds since 1970.
    public var sinceNs: UInt64?
    /// The host name of the controller that pinned it.
    public var controller = ""
    /// What had changed when that configuration came into force.
    public var cause = ""
    /// Names of services that would be routed otherwise without it: younger ones, and those with other labels now.
    public var heldBack: [String] = []
    /// What is wrong with a pin that is not obeyed; "" if nothing is.
    public var problem = ""

    /// Services are routed by a pin; false: there are pins that cannot be used, and it is as if there were none.
    public var isInForce: Bool { number != nil }

    public init() {}
}
