// Owns what happens in one simulation: a request, and what each task that it may meet does with it, as steps whose
// order is fixed. Only how the bytes within a step are cut is left open, so that the outcome must not depend on it.

import Support

struct Scenario {
    enum Framing: Equatable { case none, length, chunked, untilClose }

    enum Step: Equatable {
        /// The client's bytes behind the head have come up to here.
        case client(Int)
        /// The client sends FIN.
        case clientEnds
        /// The task's bytes have come up to here.
        case task(Int)
        case taskEnds
        case taskResets
        /// The task lets its deadline pass.
        case taskIsSilent
        /// The task reads no more: a write to it fails.
        case taskIsDeaf
    }

    enum Connect: Equatable {
        case works, isRefused, timesOut
        /// It stands, and nothing can be written to it.
        case breaks
    }

    /// Something on the wire that is understood as a whole.
    struct Part: Equatable {
        enum Kind: Equatable { case interim(Int), head, body, fault, junk }
        var kind: Kind
        var end: Int
    }

    /// Data of one chunk, or of the whole body, on the wire.
    struct Run { var start: Int, count: Int }

    struct Answer {
        var status = 200
        var framing = Framing.length
        var body: [UInt8] = []
        var trailers: [String] = []
        var fields: [String] = []
        var closes = false
        var isHTTP10 = false
        var wire: [UInt8] = []
        var parts: [Part] = []
        var runs: [Run] = []
        /// Where the answer is complete by its own framing; nil if it never is.
        var completeAt: Int?

        func bodyCount(at position: Int) -> Int { Scenario.count(runs, at: position) }
    }

    struct Attempt {
        var connect = Connect.works
        var isReused = false
        /// Another task is there to go to.
        var hasAlternative = true
        var answer = Answer()
        var steps: [Step] = []
    }

    var seed: UInt64 = 0
    // The request.
    var method = "GET"
    var target = "/"
    var isHTTP10 = false
    var isPersistent = true
    var fields: [String] = []
    var framing = Framing.none
    var body: [UInt8] = []
    var trailers: [String] = []
    var expectsContinue = false
    var offersUpgrade = false
    var acceptsTrailers = false
    var head: [UInt8] = []
    /// Behind the head: the body as it is framed, and what follows it.
    var wire: [UInt8] = []
    var runs: [Run] = []
    /// Where the body is complete; nil if a fault or the client's end comes before.
    var completeAt: Int?
    /// Behind this the body is malformed.
    var faultAt: Int?
    /// How much of `wire` came right behind the head, before there was a task.
    var arrivedCount = 0
    // The service.
    var bodyLimit = 1 << 20
    var retryLimit = 2
    var retryStatuses: [Int] = []
    var attempts: [Attempt] = []

    var isIdempotent: Bool { ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"].contains(method) }

    func bodyCount(at position: Int) -> Int { Self.count(runs, at: position) }

    static func count(_ runs: [Run], at position: Int) -> Int {
        runs.reduce(0) { $0 + max(0, min($1.count, position - $1.start)) }
    }
}

/// A body in chunks of random sizes, and where its data is.
func encodeChunks(
    _ body: [UInt8], trailers: [String], _ random: inout SeededRandom
) -> (wire: [UInt8], runs: [Scenario.Run]) {
    var wire: [UInt8] = []
    var runs: [Scenario.Run] = []
    var position = 0
    let sizes = random.choice([[1], [1, 2, 3, 5], [17, 400], [1024, 1025, 4096], [100_000]])
    // Few, since extensions may cost no more than a fraction of the body.
    var extensionCount = 0
    func ending(_ random: inout SeededRandom) -> String {
        guard extensionCount < 200, random.oneIn(9) else { return "\r\n" }
        extensionCount += 1
        return ";a=\"b;c\"\r\n"
    }
    while position < body.count {
        let size = min(random.choice(sizes), body.count - position)
        let zeros = random.oneIn(5) ? "00" : ""
        wire += (zeros + String(size, radix: 16, uppercase: random.oneIn(2)) + ending(&random)).utf8
        runs.append(Scenario.Run(start: wire.count, count: size))
        wire += body[position..<position + size] + [13, 10]
        position += size
    }
    wire += ("0" + ending(&random)).utf8
    for line in trailers { wire += (line + "\r\n").utf8 }
    wire += [13, 10]
    return (wire, runs)
}
