// Requests that have no task yet, by service, the oldest first: where they stand, and when which of them are to try
// again. It knows neither sockets nor tables; the worker asks it whom to wake, and does that between two events, never
// while it deals with another request.
//
//   why a request waits     what wakes it
//   task (`hold`)           a new table; another request of its service reached a task; else each 250 ms the oldest one
//   turn (`queue`)          a place that was freed; a new table; each 250 ms those for whom there is a place
//
// A request that is woken takes its route anew from the table in force, and may have to go back: it keeps its place,
// and the time it has waited counts.

internal import Telemetry

/// Why a request has no task.
enum WaitReason: UInt8 {
    /// There is none, or none takes a connection.
    case task
    /// They have as much to do as they may.
    case turn
}

/// A request that waits, or did.
struct Waiter: BitwiseCopyable {
    var exchange: UInt32
    /// The slot of its service; none while it does not wait.
    fileprivate(set) var room: Int32 = WaitingRooms.none
    fileprivate var next = Slab<Waiter>.none
    fileprivate var previous = Slab<Waiter>.none
    var reason = WaitReason.task
    /// CLOCK_MONOTONIC nanoseconds: when it first had to wait, and when for which reason; 0: not for that one.
    let sinceNs: UInt64
    var heldSinceNs: UInt64 = 0
    var queuedSinceNs: UInt64 = 0
    /// When it went in this time, and where that is counted.
    fileprivate var enteredNs: UInt64 = 0
    fileprivate var cells: ServiceCells?

    init(exchange: UInt32, sinceNs: UInt64) {
        self.exchange = exchange
        self.sinceNs = sinceNs
    }

    var isWaiting: Bool { room != WaitingRooms.none }
}

/// One worker's waiting requests.
struct WaitingRooms: ~Copyable {
    static var none: Int32 { -1 }
    /// Requests of one service that wait on one worker. Who would hit it: a service that is asked for so much that its
    /// clients could not all be served anyway.
    static var capacity: Int { 1000 }
    /// How soon a request tries again without being told that it should.
    static var retryNs: UInt64 { 250_000_000 }

    /// Who of a room is to try again.
    enum Wake: UInt8 {
        case nobody
        case oldest
        case all
    }

    private struct Room {
        var first = Slab<Waiter>.none
        var last = Slab<Waiter>.none
        var count = 0
        var retryNs: UInt64 = .max
        var wake = Wake.nobody
    }

    /// A request keeps its entry from its first wait to its end.
    var waiters = Slab<Waiter>()
    private var rooms: [Int32: Room] = [:]
    /// Requests that wait now.
    private(set) var count = 0
    /// Somebody is to be woken.
    private(set) var isDue = false
    /// When some room's oldest tries again; never if nobody waits.
    private(set) var nextRetryNs: UInt64 = .max

    func count(in room: Int32) -> Int { rooms[room]?.count ?? 0 }

    /// The request that has waited longest; none if the room is empty.
    func oldest(in room: Int32) -> UInt32 { rooms[room]?.first ?? Slab<Waiter>.none }

    /// When the oldest of a room first had to wait; never if it is empty.
    func oldestNs(in room: Int32) -> UInt64 {
        let first = oldest(in: room)
        return first == Slab<Waiter>.none ? .max : waiters[first].pointee.sinceNs
    }

    /// Goes in, to its place by age.
    mutating func enter(_ slot: UInt32, room slotOfService: Int32, nowNs: UInt64, cells: ServiceCells) {
        let waiter = waiters[slot]
        precondition(!waiter.pointee.isWaiting, "a request waits once")
        var room = rooms[slotOfService] ?? Room()
        var before = room.last
        if room.first != Slab<Waiter>.none, waiters[room.first].pointee.sinceNs > waiter.pointee.sinceNs {
            before = Slab<Waiter>.none
        }
        while before != Slab<Waiter>.none, waiters[before].pointee.sinceNs > waiter.pointee.sinceNs {
            before = waiters[before].pointee.previous
        }
        let after = before == Slab<Waiter>.none ? room.first : waiters[before].pointee.next
        waiter.pointee.previous = before
        waiter.pointee.next = after
        if before == Slab<Waiter>.none { room.first = slot } else { waiters[before].pointee.next = slot }
        if after == Slab<Waiter>.none { room.last = slot } else { waiters[after].pointee.previous = slot }
        room.count += 1
        room.retryNs = min(room.retryNs, nowNs + Self.retryNs)
        rooms[slotOfService] = room
        count += 1
        nextRetryNs = min(nextRetryNs, room.retryNs)
        cells.beginWait(isFirst: waiter.pointee.enteredNs == 0)
        waiter.pointee.room = slotOfService
        waiter.pointee.enteredNs = nowNs
        waiter.pointee.cells = cells
    }

    /// Goes out, whatever for.
    mutating func leave(_ slot: UInt32, nowNs: UInt64) {
        let waiter = waiters[slot]
        guard waiter.pointee.isWaiting, var room = rooms[waiter.pointee.room] else { return }
        let next = waiter.pointee.next
        let previous = waiter.pointee.previous
        if previous == Slab<Waiter>.none { room.first = next } else { waiters[previous].pointee.next = next }
        if next == Slab<Waiter>.none { room.last = previous } else { waiters[next].pointee.previous = previous }
        room.count -= 1
        count -= 1
        rooms[waiter.pointee.room] = room.count == 0 ? nil : room
        if count == 0 { nextRetryNs = .max }
        waiter.pointee.cells?.endWait(durationUs: (nowNs &- waiter.pointee.enteredNs) / 1000)
        waiter.pointee.cells = nil
        waiter.pointee.room = Self.none
        waiter.pointee.next = Slab<Waiter>.none
        waiter.pointee.previous = Slab<Waiter>.none
    }

    /// All of a room, the oldest first, and none of them waits any more.
    mutating func takeAll(of room: Int32, nowNs: UInt64) -> [UInt32] {
        var slots: [UInt32] = []
        while case let slot = oldest(in: room), slot != Slab<Waiter>.none {
            slots.append(slot)
            leave(slot, nowNs: nowNs)
        }
        return slots
    }

    // MARK: Whom to wake

    /// Somebody of the room is to try again, as soon as nothing else is under way.
    mutating func note(_ wake: Wake, _ room: Int32) {
        guard let known = rooms[room], known.wake.rawValue < wake.rawValue else { return }
        rooms[room]?.wake = wake
        isDue = true
    }

    /// Everybody is to.
    mutating func noteAll() {
        for room in rooms.keys { note(.all, room) }
    }

    /// The rooms whose time to try again has come.
    mutating func noteRetries(nowNs: UInt64) {
        nextRetryNs = .max
        for room in rooms.keys {
            if let known = rooms[room], known.retryNs <= nowNs {
                rooms[room]?.retryNs = nowNs + Self.retryNs
                note(.oldest, room)
            }
            nextRetryNs = min(nextRetryNs, rooms[room]?.retryNs ?? .max)
        }
    }

    /// Who is to be woken now, the room of the lowest slot first. It is not told again.
    mutating func takeDue() -> [(room: Int32, wake: Wake)] {
        isDue = false
        var due: [(room: Int32, wake: Wake)] = []
        for (slot, room) in rooms where room.wake != .nobody { due.append((slot, room.wake)) }
        for entry in due { rooms[entry.room]?.wake = .nobody }
        return due.sorted { $0.room < $1.room }
    }
}
