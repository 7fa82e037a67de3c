// What a request must have beside its host and path for a route to answer it, and who is asked if it has not: the next
// route of the same host and path, then the routes of the next shorter prefix. Who comes after whom is known when a
// table is compiled; whether a request has a field is the caller's to say, who knows the request.

import Model

/// A field that a request must have.
struct HeaderCondition: BitwiseCopyable, Sendable {
    let name: ByteRange
    /// A count of -1: whatever its value.
    let value: ByteRange
}

/// What a request must have, all of it.
public struct ConditionEntry: BitwiseCopyable, Sendable {
    /// For `RouteTable.headerName(_:)` and `RouteTable.headerValue(_:)`.
    public let firstHeader: Int32
    public let headerCount: Int32
    /// For `RouteTable.methodName(_:)`: one of these; none: any.
    public let firstMethod: Int32
    public let methodCount: Int32
}

extension RouteTable {
    /// Of a route that has conditions.
    public func conditions(of route: RouteEntry) -> ConditionEntry { conditions[Int(route.conditions)] }

    /// In lower case; valid as long as the table lives, as the two below.
    public func headerName(_ index: Int32) -> UnsafeRawBufferPointer { text(headerConditions[Int(index)].name) }

    /// The value that the field must have, byte for byte; nil: any.
    public func headerValue(_ index: Int32) -> UnsafeRawBufferPointer? {
        let value = headerConditions[Int(index)].value
        return value.count < 0 ? nil : text(value)
    }

    /// As written in requests.
    public func methodName(_ index: Int32) -> UnsafeRawBufferPointer { text(methodNames[Int(index)]) }

    /// The route of a host and path that answers a request: the first from `head` on whose conditions hold; -1 if there
    /// is none.
    /// - Parameter hasField: whether the request has a field of this name with this value; nil: with any.
    public func route(
        from head: Int32, method: UnsafeRawBufferPointer,
        hasField: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer?) -> Bool
    ) -> Int32 {
        var index = head
        while index >= 0 {
            let route = route(index)
            if !route.hasConditions || conditionsHold(route, method, hasField) { return index }
            index = route.fallback
        }
        return -1
    }

    private func conditionsHold(
        _ route: RouteEntry, _ method: UnsafeRawBufferPointer,
        _ hasField: (UnsafeRawBufferPointer, UnsafeRawBufferPointer?) -> Bool
    ) -> Bool {
        let conditions = conditions(of: route)
        let methods = conditions.firstMethod..<(conditions.firstMethod + conditions.methodCount)
        guard methods.isEmpty || methods.contains(where: { methodName($0).elementsEqual(method) }) else { return false }
        let headers = conditions.firstHeader..<(conditions.firstHeader + conditions.headerCount)
        return headers.allSatisfy { hasField(headerName($0), headerValue($0)) }
    }
}

/// The routes of one host and path, in the order in which they are asked.
struct RouteChain {
    var last: Int32
    var lastConditions: RouteConditions
}

extension RouteCompiler {
    /// Puts a route behind the others of its host and path; the snapshot has those with conditions first.
    /// - Parameters:
    ///   - index: the place that the route will have.
    ///   - head: the first route of its host and path; `index` if it is the first.
    /// - Returns: false if no request could ever get to it.
    mutating func link(_ index: Int32, to head: Int32, _ conditions: RouteConditions) -> Bool {
        if head != index {
            guard let chain = chains[head], chain.lastConditions != conditions else { return false }
            routes[Int(chain.last)].fallback = index
        } else if conditions.isEmpty {
            // Whatever comes behind it is out of reach.
            return true
        }
        chains[head] = conditions.isEmpty ? nil : RouteChain(last: index, lastConditions: conditions)
        return true
    }

    mutating func appendConditions(_ conditions: RouteConditions) {
        guard !conditions.isEmpty else { return }
        let firstHeader = Int32(headerConditions.count)
        for header in conditions.headers {
            let value = header.value.map { append($0) } ?? ByteRange(start: 0, count: -1)
            headerConditions.append(HeaderCondition(name: append(header.name), value: value))
        }
        let firstMethod = Int32(methodNames.count)
        for method in conditions.methods { methodNames.append(append(method)) }
        self.conditions.append(
            ConditionEntry(
                firstHeader: firstHeader, headerCount: Int32(headerConditions.count) - firstHeader,
                firstMethod: firstMethod, methodCount: Int32(methodNames.count) - firstMethod))
    }

    /// Behind the last route of a path that has conditions come the routes of the next shorter prefix.
    mutating func linkShorterPrefixes() {
        for chain in chains.values {
            let route = routes[Int(chain.last)]
            routes[Int(chain.last)].fallback = shorterPrefix(than: route)
        }
    }

    /// The first route of the next shorter prefix of a route's host, or -1.
    private func shorterPrefix(than route: RouteEntry) -> Int32 {
        let root = hosts[Int(route.host)].rootRoute
        guard route.prefixCount > 1 else { return -1 }
        let start = Int(route.prefixStart)
        return keys.withUnsafeBytes { keys in
            var prefix = UnsafeRawBufferPointer(rebasing: keys[start..<(start + Int(route.prefixCount))])
            while let slash = prefix.lastIndex(of: UInt8(ascii: "/")), slash > 0 {
                prefix = UnsafeRawBufferPointer(rebasing: prefix[..<slash])
                let (hash, _) = contextHash(prefix, host: route.host)
                let found = contexts.find(prefix, scope: route.host, hash: hash, keys: keys, entries: routes)
                if found >= 0 { return found }
            }
            return root
        }
    }
}
