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
        var index = head
        while index >= 0 {
            let route = publication.table.route(index)
            if !route.hasConditions || conditionsHold(route, slot, bytes) { return index }
            index = route.fallback
        }
        return -1
    }

    private func conditionsHold(_ route: RouteEntry, _ slot: UInt32, _ bytes: Bytes) -> Bool {
        let table = publication.table
        let conditions = table.conditions(of: route)
        if conditions.methodCount > 0 {
            let method = bytes.slice(requestHead.methodName)
            var isListed = false
            for index in 0..<conditions.methodCount where !isListed {
                isListed = method.equals(Bytes(table.methodName(conditions.firstMethod + index)))
            }
            if !isListed { return false }
        }
        let believesPeer = clients[slot].pointee.peerIsTrusted
        for index in conditions.firstHeader..<(conditions.firstHeader + conditions.headerCount) {
            let value = table.headerValue(index).map { Bytes($0) }
            let name = Bytes(table.headerName(index))
            guard requestHead.hasField(name, value: value, in: bytes, believesPeer: believesPeer) else { return false }
        }
        return true
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
