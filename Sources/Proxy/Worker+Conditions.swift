// What of a request decides beside its host and path: which of several routes answers it, and what it is kept together
// with others by. Asked for where a route or a pool says so, and only there. The request's bytes are read where they
// lie; nothing is copied.

internal import Model
internal import Routing
internal import Wire

extension Worker {
    /// The route of a host and path whose conditions the request fulfils, from `head` on; -1 if there is none.
    @inline(__always)
    func chosenRoute(_ head: Int32, _ slot: UInt32, _ bytes: Bytes) -> Int32 {
        // Nearly every route takes every request.
        publication.table.route(head).hasConditions ? routeByConditions(head, slot, bytes) : head
    }

    private func routeByConditions(_ head: Int32, _ slot: UInt32, _ bytes: Bytes) -> Int32 {
        let believesPeer = clients[slot].pointee.peerIsTrusted
        return publication.table.route(from: head, method: bytes.slice(requestHead.methodName).raw) { name, value in
            requestHead.hasField(Bytes(name), value: value.map { Bytes($0) }, in: bytes, believesPeer: believesPeer)
        }
    }

    /// What the request in `requestHead` is hashed by; nil: it has nothing of the kind, and is balanced as any other.
    func balancingKey(_ slot: UInt32, _ bytes: Bytes, _ pool: PoolEntry) -> UInt64? {
        let client = clients[slot]
        switch pool.keyKind {
        case .none: return nil
        case .clientAddress:
            guard client.pointee.peerIsTrusted else { return Balancer.key(client.pointee.peer.address) }
            let address = ForwardedHeaders.realClient(
                peer: NetworkAddress(client.pointee.peer.address), trusted: trusted, head: requestHead, source: bytes)
            return Balancer.key(IPAddress(address))
        case .cookie:
            let name = Bytes(publication.table.keyName(of: pool))
            return requestHead.cookieValue(name, in: bytes).map { Balancer.key($0.raw) }
        case .header:
            let name = Bytes(publication.table.keyName(of: pool))
            let value = requestHead.fieldValue(name, in: bytes, believesPeer: client.pointee.peerIsTrusted)
            return value.map { Balancer.key($0.raw) }
        }
    }
}
