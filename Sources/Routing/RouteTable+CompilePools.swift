// From the services of a route to the pool that its requests are shared out in: which tasks, in what order, split by
// what weights, hashed by what.

import Model

/// What makes two pools the same one.
struct PoolDescription: Hashable {
    let services: [Int]
    let balancing: Balancing
}

extension RouteCompiler {
    /// The pool of a list of services, shared by all routes with the same list and the same way of picking; nil if none
    /// of the services exists.
    mutating func pool(of services: [Int], _ balancing: Balancing, numbering: inout Numbering) -> Int32? {
        let valid = services.allSatisfy(readyMembers.indices.contains)
        let services = valid ? services : services.filter(readyMembers.indices.contains)
        guard let first = services.first else { return nil }
        // Most pools are of one service that says nothing about it.
        let isCommon = services.count == 1 && balancing == Balancing()
        let description = PoolDescription(services: services, balancing: balancing)
        let known = isCommon ? poolOfService[first] : poolOfServices[description] ?? -1
        if known >= 0 { return known }
        let index = Int32(pools.count)
        let firstMember = members.count
        let firstGroup = groups.count
        let weights = weights(of: services)
        if let weights {
            appendGroups(of: services, weights: weights, numbering: &numbering)
        } else {
            appendMembers(of: services)
        }
        // One that is left has no one to be weighed against.
        if groups.count - firstGroup < 2 { groups.removeSubrange(firstGroup...) }
        let cursorSlot = cursorSlot(of: services, balancing, numbering: &numbering)
        let key = key(of: balancing)
        pools.append(
            PoolEntry(
                firstMember: Int32(firstMember), memberCount: Int32(members.count - firstMember),
                service: Int32(first), cursorSlot: cursorSlot, method: balancing.method, keyKind: key.kind,
                keyName: key.name, firstGroup: Int32(firstGroup), groupCount: Int32(groups.count - firstGroup),
                growsSlowly: members[firstMember...].contains { $0.isYoung(nowNs: nowNs) }))
        if isCommon { poolOfService[first] = index } else { poolOfServices[description] = index }
        if services.count > 1 { mergedPools[index] = services.map(Int32.init) }
        return index
    }

    /// Even numbers for pools of one service, odd ones for all others: so most pools need no number of their own.
    private mutating func cursorSlot(
        of services: [Int], _ balancing: Balancing, part: String = "", numbering: inout Numbering
    ) -> Int32 {
        let slot: Int32
        if services.count == 1, balancing == Balancing() {
            slot = serviceEntries[services[0]].statsSlot * 2
        } else {
            var words = services.map { snapshot.configuration.services[$0].id }
            // Ids hold no spaces: what follows two of them is no id.
            if balancing != Balancing() {
                words += ["", balancing.method.rawValue, balancing.key.map { "\($0)" } ?? ""]
            }
            if !part.isEmpty { words += ["", "", part] }
            slot = numbering.slot(ofPool: words.joined(separator: " ")) * 2 + 1
        }
        cursorCount = max(cursorCount, Int(slot) + 1)
        return slot
    }

    private mutating func key(of balancing: Balancing) -> (kind: KeyKind, name: ByteRange) {
        switch balancing.key {
        case nil: (.none, ByteRange(start: 0, count: 0))
        case .clientAddress: (.clientAddress, ByteRange(start: 0, count: 0))
        case .cookie(let name): (.cookie, append(name))
        case .header(let name): (.header, append(name))
        }
    }

    /// What the services of a pool are split by, once any of them says so; nil: by their tasks.
    private func weights(of services: [Int]) -> [Int]? {
        let weights = services.map { snapshot.configuration.services[$0].options.weight }
        guard weights.contains(where: { $0 != nil }) else { return nil }
        return weights.map { min(max($0 ?? 100, 0), 1000) }
    }

    /// Members of several services are interleaved in proportion, so that any run of picks hits each by its share.
    private mutating func appendMembers(of services: [Int]) {
        guard services.count > 1 else { return members.append(contentsOf: readyMembers[services[0]]) }
        var placed: [(place: Double, service: Int, member: Member)] = []
        for service in services {
            let ready = readyMembers[service]
            for (index, member) in ready.enumerated() {
                placed.append(((Double(index) + 0.5) / Double(ready.count), service, member))
            }
        }
        placed.sort { ($0.place, $0.service) < ($1.place, $1.service) }
        var seen: Set<UInt64> = []
        for entry in placed where seen.insert(entry.member.identity).inserted { members.append(entry.member) }
    }

    /// Services that are split by weight stay apart. One of weight 0, or without a ready task, is not there.
    private mutating func appendGroups(of services: [Int], weights: [Int], numbering: inout Numbering) {
        var seen: Set<UInt64> = []
        for (service, weight) in zip(services, weights) where weight > 0 {
            let first = members.count
            for member in readyMembers[service] where seen.insert(member.identity).inserted { members.append(member) }
            guard members.count > first else { continue }
            let id = snapshot.configuration.services[service].id
            groups.append(
                GroupEntry(
                    firstMember: Int32(first), memberCount: Int32(members.count - first), weight: Int32(weight),
                    cursorSlot: cursorSlot(of: services, Balancing(), part: id, numbering: &numbering),
                    seed: Balancer.seed(ofID: id)))
        }
    }
}
