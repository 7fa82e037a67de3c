// Whose probe is next. Tasks that hang keep their place until their check's timeout, which their stack's author
// chooses: they must not keep the probes of others from theirs. So services take turns, and half of all places is
// shared out among them in advance:
//
//   the common half    for whoever is next
//   the other half     each service has its share of it, at least one place, and takes no more; a service alone has all
//
// A service that may not go on is set aside until one of its own probes ends, or the common half has room.

internal import Kernel

struct ProbeQueue {
    /// Probes under way at once.
    let limit: Int
    /// Due probes, by service.
    private var due: [TokenQueue] = []
    /// Probes under way in the other half, by service.
    private var shared: [Int] = []
    private var commonCount = 0
    /// Services that have due probes and are not set aside, each once; the first is next.
    private var turns = IndexQueue()
    private var setAside = IndexQueue()
    private var place: [Place] = []
    /// Services that `setAside` names: one that was given a turn meanwhile stays there until it comes up.
    private var isListed: [Bool] = []
    private(set) var activeCount = 0
    private(set) var waitingCount = 0

    private enum Place: UInt8 { case none, turns, setAside }

    init(limit: Int) { self.limit = max(1, limit) }

    private var commonLimit: Int { limit / 2 }
    private var share: Int { max(1, (limit - commonLimit) / max(1, shared.count)) }

    /// A probe became due.
    mutating func append(_ token: Token, of service: Int) {
        due[service].append(token)
        waitingCount += 1
        if place[service] == .none { takeTurns(service) }
    }

    /// The probe that may begin now, and its service. It counts as under way.
    mutating func next() -> (Token, Int)? {
        while activeCount < limit, let service = turns.popFirst() {
            place[service] = .none
            guard commonCount < commonLimit || shared[service] < share else {
                place[service] = .setAside
                if !isListed[service] { setAside.append(service) }
                isListed[service] = true
                continue
            }
            guard let token = due[service].popFirst() else { continue }
            if !due[service].isEmpty { takeTurns(service) }
            waitingCount -= 1
            activeCount += 1
            countActive(service)
            return (token, service)
        }
        return nil
    }

    /// A probe that was under way has ended.
    mutating func ended(_ service: Int) {
        activeCount -= 1
        if service < shared.count, shared[service] > 0 {
            shared[service] -= 1
            if place[service] == .setAside, shared[service] < share { takeTurns(service) }
            return
        }
        // Of another table, whose probes are not counted again yet.
        guard commonCount > 0 else { return }
        commonCount -= 1
        // One place became free: one service may have it.
        while let next = setAside.popFirst() {
            isListed[next] = false
            guard place[next] == .setAside else { continue }
            takeTurns(next)
            break
        }
    }

    private mutating func takeTurns(_ service: Int) {
        place[service] = .turns
        turns.append(service)
    }

    // MARK: Another table

    /// Begins anew with services that have other numbers. What is under way is to be counted again for its service, and
    /// what was due to be appended again, in this order.
    mutating func begin(serviceCount: Int) -> [Token] {
        var tokens: [Token] = []
        tokens.reserveCapacity(waitingCount)
        for service in due.indices { while let token = due[service].popFirst() { tokens.append(token) } }
        due = Array(repeating: TokenQueue(), count: serviceCount)
        shared = Array(repeating: 0, count: serviceCount)
        commonCount = 0
        place = Array(repeating: .none, count: serviceCount)
        isListed = Array(repeating: false, count: serviceCount)
        turns = IndexQueue()
        setAside = IndexQueue()
        waitingCount = 0
        return tokens
    }

    /// A probe of the service is under way.
    mutating func countActive(_ service: Int) {
        if commonCount < commonLimit { commonCount += 1 } else { shared[service] += 1 }
    }
}

/// First in, first out, in one array.
private struct FirstInFirstOut<Element> {
    private var elements: [Element] = []
    private var start = 0

    var isEmpty: Bool { start == elements.count }

    mutating func append(_ element: Element) { elements.append(element) }

    mutating func popFirst() -> Element? {
        guard start < elements.count else { return nil }
        defer { start += 1 }
        let first = elements[start]
        if start + 1 == elements.count {
            elements.removeAll(keepingCapacity: true)
            start = -1
        } else if start >= 4096 {
            elements.removeFirst(start)
            start = 0
        }
        return first
    }
}

private typealias TokenQueue = FirstInFirstOut<Token>
private typealias IndexQueue = FirstInFirstOut<Int>
