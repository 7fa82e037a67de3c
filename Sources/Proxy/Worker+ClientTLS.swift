// TLS towards clients: from a decided ClientHello to a connection that speaks HTTP.

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    /// Begins the handshake with the client whose ClientHello is in `input`.
    /// - Parameter options: a position in `RouteTable.tlsOptions`.
    mutating func beginTLS(_ slot: UInt32, serverName: Bytes, options: Int32) {
        refuseTLS(slot, serverName.isEmpty ? .missingExtension : .unrecognizedName)
    }

    /// Goes on with a handshake.
    /// - Returns: whether to go on with this client.
    mutating func goOnWithHandshake(_ slot: UInt32) -> Bool { false }
}
