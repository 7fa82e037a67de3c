// A worker's listeners, a slot for each, named by tokens. Those of entry ports come and go with the tables; one that is
// gone leaves a hole, which the next one takes. What waits at a listener is established for its clients, and closing
// the listener would reset it: so it is accepted first.

internal import Kernel
internal import Routing
internal import Telemetry

extension Worker {
    mutating func openListener(_ listener: Listener) {
        guard !isDraining else {
            Socket.close(listener.descriptor)
            return
        }
        let hole = listeners.firstIndex { $0.descriptor < 0 }
        let position = hole ?? listeners.count
        if hole == nil { listeners.append(listener) } else { listeners[position] = listener }
        do throws(SystemError) {
            try poller.add(listener.descriptor, .readable, token: Self.listenerToken(position))
        } catch {
            // As when descriptors run out: it is tried again in a moment.
            pauseAccepting(position)
        }
    }

    /// Listens at a port no more. What it brought so far goes on.
    mutating func closeListeners(ofPort port: UInt16) {
        for position in listeners.indices
        where listeners[position].entry == .stream(port: port) && listeners[position].descriptor >= 0 {
            acceptWaiting(position)
            closeListener(position)
        }
        shared.publisherMailbox.post(.closedPort(port))
    }

    mutating func closeAllListeners() {
        for position in listeners.indices where listeners[position].descriptor >= 0 { closeListener(position) }
        listeners.removeAll()
    }

    mutating func acceptWaiting(_ position: Int) {
        while !listeners[position].isPaused, listeners[position].descriptor >= 0, acceptBatch(position) {}
    }

    private mutating func closeListener(_ position: Int) {
        if !listeners[position].isPaused { poller.remove(listeners[position].descriptor) }
        Socket.close(listeners[position].descriptor)
        listeners[position].descriptor = -1
        listeners[position].isPaused = false
    }
}
