// Small pieces of state that a worker keeps: lists of connections, the text of the current date, request ids.

internal import Kernel
internal import Telemetry
internal import Wire

/// Client connections that wait for their clients, the longest waiting first: those to close when room is needed.
/// Links are in the connections; a connection is in one list at most.
struct ClientList {
    enum Kind: UInt8 {
        case none
        /// Between two requests.
        case idle
        /// Before the end of a TLS handshake.
        case newcomers
    }

    let kind: Kind
    private var first: UInt32 = .max
    private var last: UInt32 = .max
    private(set) var count = 0

    init(_ kind: Kind) { self.kind = kind }

    /// nil if the list is empty.
    var oldest: UInt32? { first == .max ? nil : first }

    mutating func append(_ slot: UInt32, in clients: borrowing Slab<ClientConnection>) {
        let client = clients[slot]
        guard client.pointee.list != kind else { return }
        precondition(client.pointee.list == .none, "a connection waits in one list at most")
        client.pointee.list = kind
        count += 1
        client.pointee.listNext = .max
        client.pointee.listPrevious = last
        if last == .max { first = slot } else { clients[last].pointee.listNext = slot }
        last = slot
    }

    mutating func remove(_ slot: UInt32, in clients: borrowing Slab<ClientConnection>) {
        let client = clients[slot]
        guard client.pointee.list == kind else { return }
        client.pointee.list = .none
        count -= 1
        let next = client.pointee.listNext
        let previous = client.pointee.listPrevious
        if previous == .max { first = next } else { clients[previous].pointee.listNext = next }
        if next == .max { last = previous } else { clients[next].pointee.listPrevious = previous }
    }
}

/// The current date as HTTP writes it (RFC 9110 5.6.7), made once a second.
struct DateText: ~Copyable {
    /// CLOCK_MONOTONIC nanoseconds from which on the text is stale.
    private var staleFromNs: UInt64 = 0
    private let text: UnsafeMutablePointer<UInt8>

    init() {
        text = .allocate(capacity: HTTPDate.size)
        text.initialize(repeating: 32, count: HTTPDate.size)
    }

    deinit { text.deallocate() }

    @inline(__always)
    mutating func update(nowNs: UInt64) {
        if nowNs >= staleFromNs { renew(nowNs: nowNs) }
    }

    /// Valid until the next update.
    @inline(__always)
    var bytes: Bytes { Bytes(text, count: HTTPDate.size) }

    private mutating func renew(nowNs: UInt64) {
        let realtimeNs = Clock.realtimeNs()
        let second = realtimeNs / 1_000_000_000
        for (index, byte) in HTTPDate.text(secondsSince1970: second).enumerated() { text[index] = byte }
        staleFromNs = nowNs + ((second + 1) * 1_000_000_000 - realtimeNs)
    }
}

enum HTTPDate {
    private static let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    static let size = 29

    /// An IMF-fixdate.
    static func text(secondsSince1970 seconds: UInt64) -> [UInt8] {
        let day = seconds / 86_400
        let time = seconds % 86_400
        // Civil date from a day count, with years that begin in March (the era arithmetic of the proleptic calendar).
        let shifted = day + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let dayOfMonth = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)

        func digits(_ number: UInt64, _ width: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        let clock = "\(digits(time / 3600, 2)):\(digits(time / 60 % 60, 2)):\(digits(time % 60, 2))"
        let date = "\(digits(dayOfMonth, 2)) \(months[Int(month - 1)]) \(digits(year, 4))"
        return Array("\(days[Int(day % 7)]), \(date) \(clock) GMT".utf8)
    }
}

/// Request ids: 128 random bits as 32 hex digits. Unguessable enough to correlate, no secret.
struct RequestIDs {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    init() { state = (Machine.random() | 1, Machine.random(), Machine.random(), Machine.random()) }

    /// The next number (xoshiro256++).
    mutating func next() -> UInt64 {
        func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 { value << count | value >> (64 - count) }
        let result = rotate(state.0 &+ state.3, 23) &+ state.0
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = rotate(state.3, 45)
        return result
    }

    mutating func makeID() -> RequestID { RequestID(next(), next()) }
}

/// A request's id: 32 hex digits of ours, or up to 64 bytes that a trusted peer brought.
struct RequestID: BitwiseCopyable {
    static var capacity: Int { 64 }
    private var text: InlineArray<64, UInt8> = InlineArray(repeating: 0)
    private var count: UInt8

    init(_ first: UInt64, _ second: UInt64) {
        count = 32
        writeHex(first, at: 0)
        writeHex(second, at: 16)
    }

    /// - Returns: nil if it is empty or too long to keep.
    init?(_ bytes: Bytes) {
        guard (1...Self.capacity).contains(bytes.count) else { return nil }
        count = UInt8(bytes.count)
        for index in 0..<bytes.count { text[index] = bytes[index] }
    }

    @inline(__always)
    func withBytes<Result>(_ body: (Bytes) -> Result) -> Result {
        withUnsafeBytes(of: text) { body(Bytes($0).slice(from: 0, to: Int(count))) }
    }

    /// The bytes of an id that stays at its address: one inside a slab's slot.
    @inline(__always)
    static func bytes(at id: UnsafeMutablePointer<RequestID>) -> Bytes {
        let text = UnsafeRawPointer(id).assumingMemoryBound(to: UInt8.self)
        return Bytes(text, count: Int(id.pointee.count))
    }

    private mutating func writeHex(_ value: UInt64, at start: Int) {
        for index in 0..<16 {
            let digit = UInt8(truncatingIfNeeded: value >> UInt64(60 - index * 4)) & 15
            text[start + index] = digit + (digit < 10 ? 48 : 87)
        }
    }
}
