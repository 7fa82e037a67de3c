// Connections that are passed on as a stream of bytes: entry ports of services, and TLS that does not end here.

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    /// A connection through an entry port begins. Where the server name decides it waits for a ClientHello.
    mutating func beginStream(_ slot: UInt32) {
        if expectsHello(clients[slot].pointee.entry) { awaitHello(slot) } else { closeClient(slot) }
    }

    /// Passes a TLS connection on as it is: its ClientHello, and perhaps more, is in `input`.
    mutating func beginPassthrough(_ slot: UInt32, pool: Int32) { closeClient(slot) }

    /// TLS of an entry port is agreed on: what is inside goes to the pool.
    mutating func beginTerminatedStream(_ slot: UInt32, pool: Int32) { closeClient(slot) }
}
