// The entry ports of services, as the publishing thread knows them: which are bound, which are being closed, which
// could not be bound and why. A port comes with the first table that names it and goes with the first that does not. It
// never touches a worker: what is to be posted is returned. A port that cannot be bound harms nobody but its own
// services.

internal import Kernel
internal import Routing
internal import Telemetry

/// How an entry port of services stands.
public struct EntryPortReading: Hashable, Sendable {
    public let port: UInt16
    /// Why nobody listens there; nil: all is well.
    public let problem: String?
}

struct EntryPorts {
    /// What the workers are to be told.
    struct Changes {
        /// By worker: new listeners.
        fileprivate var opened: [[Listener]]
        fileprivate var closed: [UInt16] = []

        /// To be posted before the table that names the ports no more.
        func postClosed(to mailboxes: [Mailbox<WorkerMessage>]) {
            for port in closed {
                for mailbox in mailboxes { mailbox.post(.closePort(port)) }
            }
        }

        /// To be posted after the table that names the ports.
        func postOpened(to mailboxes: [Mailbox<WorkerMessage>]) {
            for (mailbox, listeners) in zip(mailboxes, opened) {
                for listener in listeners { mailbox.post(.listen(listener)) }
            }
        }
    }

    private static let retryIntervalNs: UInt64 = 2_000_000_000

    private let settings: ProxySettings
    private let workerCount: Int
    /// Ports that HTTP and HTTPS have.
    private let ownPorts: Set<UInt16>
    private var bound: Set<UInt16> = []
    private var problems: [UInt16: String] = [:]
    /// Workers that have not closed their share of a port yet.
    private var closing: [UInt16: Int] = [:]
    private var nextRetryNs: UInt64 = 0
    /// The process drains: nothing is opened or closed any more.
    var isFrozen = false

    init(settings: ProxySettings, workerCount: Int, ownPorts: [UInt16]) {
        self.settings = settings
        self.workerCount = workerCount
        self.ownPorts = Set(ownPorts)
    }

    var readings: [EntryPortReading] {
        let bad = problems.map { EntryPortReading(port: $0.key, problem: $0.value) }
        return (bad + bound.map { EntryPortReading(port: $0, problem: nil) }).sorted { $0.port < $1.port }
    }

    /// Binds what is new in a table and lets go of what is not in it.
    mutating func update(to table: RouteTable, log: Log) -> Changes {
        var changes = Changes(opened: Array(repeating: [], count: workerCount))
        guard !isFrozen else { return changes }
        let ports = Set((0..<table.streamCount).map { table.stream(Int32($0)).port })
        for port in bound.subtracting(ports).sorted() {
            bound.remove(port)
            closing[port, default: 0] += workerCount
            changes.closed.append(port)
            log.info("entry port closed", ["port": .integer(Int(port))])
        }
        for port in problems.keys where !ports.contains(port) { problems[port] = nil }
        for port in ports.subtracting(bound).sorted() { open(port, &changes, log) }
        nextRetryNs = Clock.monotonicNs() + Self.retryIntervalNs
        return changes
    }

    /// Tries again what could not be bound, if it is time for that.
    mutating func retry(nowNs: UInt64, log: Log) -> Changes {
        var changes = Changes(opened: Array(repeating: [], count: workerCount))
        guard !isFrozen, nowNs >= nextRetryNs else { return changes }
        for port in problems.keys.sorted() { open(port, &changes, log) }
        nextRetryNs = nowNs + Self.retryIntervalNs
        return changes
    }

    /// When there will be something to try again; -1: never as it stands.
    func retryAfterMs(nowNs: UInt64) -> Int {
        guard !isFrozen, !problems.isEmpty else { return -1 }
        return nextRetryNs <= nowNs ? 0 : Int((nextRetryNs - nowNs) / 1_000_000) + 1
    }

    /// A worker has closed its share of a port.
    mutating func didClose(_ port: UInt16) {
        guard let count = closing[port] else { return }
        closing[port] = count > 1 ? count - 1 : nil
    }

    private mutating func open(_ port: UInt16, _ changes: inout Changes, _ log: Log) {
        let problem = bind(port, &changes)
        if let problem {
            if problems[port] != problem {
                log.warning("entry port not available", ["port": .integer(Int(port)), "reason": .string(problem)])
            }
            problems[port] = problem
            return
        }
        problems[port] = nil
        bound.insert(port)
        log.info("entry port opened", ["port": .integer(Int(port))])
    }

    /// - Returns: why it cannot be.
    private func bind(_ port: UInt16, _ changes: inout Changes) -> String? {
        // The mapping has refused it already; whoever made the snapshot, nothing else is opened.
        guard settings.tcpPorts.contains(where: { $0.contains(port) }) else {
            return "it is not among INTERLOCK_TCP_PORTS"
        }
        if ownPorts.contains(port) { return "it is a port of the proxy's own" }
        do throws(SystemError) {
            // Who holds a port that is being closed are our own workers.
            let (descriptors, _) = try Listeners.bind(
                ListenAddress(anyHostPort: port), takesOver: settings.takesOver || closing[port] != nil,
                workerCount: workerCount)
            for (worker, descriptor) in descriptors.enumerated() {
                changes.opened[worker].append(
                    Listener(descriptor: descriptor, port: port, entry: .stream(port: port)))
            }
            return nil
        } catch {
            return Listeners.reason(error)
        }
    }
}
