// The ports of HTTP and HTTPS where another process may hold them as well (SO_REUSEPORT): when to begin to listen, and
// how to leave without a connection being refused. Used by the publishing thread and at the end; never by a worker.
//
//   bound       no table yet: all connections are the other process's
//   listening   the kernel shares new connections among the sockets of both
//   aside       new connections go to the other process; what is under way here is accepted
//   closed      the workers close their listeners
//
// A listener that is closed resets what waits in its queue, and handshakes that are under way, unless the kernel moves
// them (net.ipv4.tcp_migrate_req). So nothing new is let come to it for a moment before: a socket filter on the group
// chooses by number. Sockets are numbered as they began to listen; when one is closed, the last takes its number. The
// older process has the lowest numbers, therefore, and the younger one moves down as the older leaves.

internal import Kernel
internal import Telemetry

struct SharedPorts {
    /// By worker; emptied when they listen.
    private var waiting: [[Listener]]
    /// One of each group.
    private var groups: [Int32]
    private var isOpen = false
    private var workerCount = 0

    init(_ listeners: [[Listener]]) {
        waiting = listeners
        groups = (listeners.first ?? []).map(\.descriptor)
    }

    /// There is a table: listens and hands the listeners to the workers. Later calls do nothing.
    mutating func open(_ mailboxes: [Mailbox<WorkerMessage>], log: Log) {
        guard !waiting.isEmpty else { return }
        isOpen = true
        // By address and not by worker, so that in each group the workers stand in their order.
        for position in groups.indices {
            for (worker, listeners) in waiting.enumerated() {
                let listener = listeners[position]
                do throws(SystemError) {
                    try Socket.startListening(listener.descriptor)
                } catch {
                    log.error(
                        "cannot listen", ["port": .integer(Int(listener.port)), "error": .string(error.description)])
                }
                mailboxes[worker].post(.listen(listener))
            }
            // What an earlier process left behind.
            Socket.unsteer(groups[position])
        }
        waiting = []
    }

    /// To the sockets behind our own, that is, to the younger process's, if it has as many workers; the rest to any.
    mutating func stepAside(count: Int) {
        guard isOpen else { return }
        workerCount = count
        for group in groups { Socket.steer(group, first: count, count: count) }
    }

    /// Workers are about to close. While they do, the first socket behind ours is the one number that stays right.
    mutating func close() {
        for listener in waiting.joined() { Socket.close(listener.descriptor) }
        waiting = []
        if isOpen, workerCount > 0 {
            for group in groups { Socket.steer(group, first: workerCount, count: 1) }
        }
        isOpen = false
    }
}
