// Performs one exchange as a worker does, with memory in place of sockets and a clock that is only a number. What the
// scenario leaves open is drawn here from the seed of the cuts: how bytes are cut, how much a socket takes at once.

@testable import Proxy
import Support
import Kernel
import Model
import Routing
import Telemetry
import Testing
import Wire

/// How the bytes of a step are cut.
enum Cutting: Hashable, Sendable {
    case whole, everyByte
    case random(UInt64)
}

/// What came of a replay, as raw as it is.
struct Replayed {
    var ending: Expectation.Ending?
    var attemptCount = 0
    var retries: [RetryReason] = []
    /// By attempt: everything that the task's socket took.
    var received: [[UInt8]] = []
    /// The head that every attempt is to begin with.
    var requestHead: [UInt8] = []
    var client: [UInt8] = []
    /// What the task had received, and the client sent, when the tunnel began.
    var receivedBeforeTunnel: [UInt8]?
    /// Bytes of the client that nobody took.
    var leftOver: [UInt8] = []
    var status: UInt16 = 0
    var requestIsComplete = false
    var isAbandoned = false
    var isReusable = false
    var keepsClient = false
    /// What must never be, in words.
    var violations: [String] = []
}

final class Replay {
    private let scenario: Scenario
    private let world: SimulatedWorld
    private let cutting: Cutting
    private var random: SeededRandom
    private var buffers = BufferPool()
    private var exchange: Exchange
    private var responseHead = ResponseHead(limits: HeadLimits(headSize: 65536, fieldCount: 256))
    private var sink = Sink(pieces: 64)
    private let headMemory = UnsafeMutablePointer<UInt8>.allocate(capacity: 1 << 17)
    private var nowNs: UInt64
    private var seen = Replayed()

    // The client.
    private var sentCount = 0
    private var waiting: [UInt8] = []
    private var clientEnded = false
    private var toClient: [UInt8] = []
    // The task of this attempt.
    private var attempt = Scenario.Attempt()
    private var taskCount = 0
    private var fromTask: [UInt8] = []
    private var partialHead: [UInt8] = []
    private var toTask: [UInt8] = []
    private var isDeaf = false
    private var isLost = false

    private static let retryBufferSize = 16_384

    init(_ scenario: Scenario, world: SimulatedWorld, cutting: Cutting) {
        self.scenario = scenario
        self.world = world
        self.cutting = cutting
        random = SeededRandom(seed: scenario.seed ^ 0xC0FFEE)
        if case .random(let seed) = cutting { random = SeededRandom(seed: seed &* 7919 &+ scenario.seed) }
        nowNs = 1_000_000 + random.next() % 1_000_000_000
        exchange = world.exchange(for: scenario, startedNs: nowNs, buffers: &buffers)
        seen.requestHead = exchange.sent.bytes.array()
    }

    deinit { headMemory.deallocate() }

    func run() -> Replayed {
        waiting = Array(scenario.wire[..<scenario.arrivedCount])
        sentCount = scenario.arrivedCount
        for attempt in scenario.attempts {
            self.attempt = attempt
            (taskCount, fromTask, partialHead, toTask, isDeaf, isLost) = (0, [], [], [], false, false)
            seen.attemptCount += 1
            seen.received.append([])
            runAttempt()
            if seen.ending != nil { break }
        }
        if seen.ending == nil { seen.violations.append("it never ended") }
        seen.leftOver = waiting
        seen.status = exchange.status
        seen.requestIsComplete = exchange.requestIsComplete
        seen.isAbandoned = exchange.requestIsAbandoned
        seen.isReusable = exchange.upstreamIsReusable
        seen.keepsClient = exchange.keepsClient
        seen.client += toClient
        exchange.finish()
        if exchange.phase != .finished { seen.violations.append("it is not finished") }
        buffers.give(&exchange.sent)
        if buffers.usedBytes != 0 { seen.violations.append("\(buffers.usedBytes) bytes were not given back") }
        return seen
    }

    private var isOver: Bool { isLost || (seen.ending != nil && seen.ending != .tunnel) }

    private func runAttempt() {
        exchange.attempts += 1
        exchange.hasAlternative = attempt.hasAlternative
        nowNs += random.next() % 5_000_000
        if attempt.connect == .isRefused || attempt.connect == .timesOut {
            lose(attempt.connect == .isRefused ? .connectRefused : .connectTimeout)
            return
        }
        isDeaf = attempt.connect == .breaks
        exchange.upstreamConnected(nowNs: nowNs)
        if exchange.connectedNs != nowNs || exchange.phase != .awaiting {
            seen.violations.append("it is not connected")
        }
        sendRequest()
        settle()
        for step in attempt.steps {
            if isOver { return }
            nowNs += random.next() % 50_000_000
            perform(step)
            settle()
        }
    }

    private func perform(_ step: Scenario.Step) {
        switch step {
        case .client(let position):
            guard position > sentCount else { return }
            for piece in pieces(Array(scenario.wire[sentCount..<position])) where !isOver {
                waiting += piece
                sentCount += piece.count
                pumpRequest()
                if random.oneIn(4) { settle() }
            }
        case .clientEnds:
            clientEnded = true
            pumpRequest()
        case .task(let position):
            guard position > taskCount else { return }
            let bytes = Array(attempt.answer.wire[taskCount..<position])
            taskCount = position
            for piece in pieces(bytes) where !isOver {
                fromTask += piece
                pumpResponse()
                if random.oneIn(4) { settle() }
            }
        case .taskEnds: endUpstream()
        case .taskResets: if seen.ending == nil { lose(.reset) }
        case .taskIsSilent: if seen.ending == nil { lose(exchange.answerBegan ? .bodyTimeout : .responseTimeout) }
        case .taskIsDeaf: isDeaf = true
        }
    }

    private func pieces(_ bytes: [UInt8]) -> [[UInt8]] {
        switch cutting {
        case .whole: [bytes]
        case .everyByte: bytes.map { [$0] }
        case .random: cut(bytes, &random, maximum: random.choice([3, 60, 1500, 20_000]))
        }
    }

    /// Sockets take what they had left, and everybody goes on with what waited for that.
    private func settle() {
        var rounds = 0
        while !isOver, !toTask.isEmpty || !toClient.isEmpty, rounds < 10_000 {
            rounds += 1
            seen.received[seen.received.count - 1] += toTask
            toTask = []
            seen.client += toClient
            toClient = []
            pumpRequest()
            pumpResponse()
        }
    }

    // MARK: The request

    private func sendRequest() {
        sink.reset()
        sink.append(exchange.sent.bytes)
        let isReplay = exchange.sent.count > Int(exchange.headCount)
        guard !exchange.requestIsComplete, !isReplay, !waiting.isEmpty else {
            _ = relayed(.complete, headPieces: 1)
            pumpRequest()
            return
        }
        takeWaiting(headPieces: 1)
        pumpRequest()
    }

    /// Memory of exactly the size of what waits, so that a read beyond it is one beyond an allocation.
    private func takeWaiting(headPieces: Int) {
        let count = waiting.count
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: count)
        defer { memory.deallocate() }
        memory.initialize(from: waiting, count: count)
        var position = 0
        let before = exchange.requestByteCount
        let progress = exchange.clientInput(
            Bytes(UnsafePointer(memory), count: count), position: &position, into: &sink)
        waiting.removeFirst(position)
        if position == 0, exchange.requestByteCount == before, case .more = progress {
            seen.violations.append("it takes nothing of the client's bytes")
        }
        _ = relayed(progress, headPieces: headPieces)
    }

    private func pumpRequest() {
        if seen.ending == .tunnel {
            seen.received[seen.received.count - 1] += waiting
            waiting = []
            return
        }
        var rounds = 0
        while !isOver, !exchange.requestIsComplete, !exchange.requestIsAbandoned, rounds < 100_000 {
            rounds += 1
            guard exchange.phase == .awaiting || exchange.phase == .streaming, toTask.isEmpty else { return }
            guard !waiting.isEmpty else {
                if clientEnded { end(.cut) }
                return
            }
            sink.reset()
            takeWaiting(headPieces: 0)
        }
    }

    private func relayed(_ progress: Exchange.RequestProgress, headPieces: Int) -> Bool {
        switch progress {
        case .more, .complete:
            sendToTask(headPieces: headPieces)
            return true
        case .tooLarge: end(.local(413))
        case .refused(let refusal): end(.local(Int(refusal.status)))
        }
        return false
    }

    private func sendToTask(headPieces: Int) {
        guard sink.gather.byteCount > 0 else { return }
        var bytes: [UInt8] = []
        for index in 0..<sink.gather.count { bytes += Array(sink.gather.piece(at: index)) }
        if isDeaf {
            keepForReplay(headPieces: headPieces)
            exchange.requestIsAbandoned = true
            return
        }
        let taken = accepted(bytes.count)
        if taken > 0 { exchange.didSend = true }
        seen.received[seen.received.count - 1] += bytes[..<taken]
        toTask += bytes[taken...]
        keepForReplay(headPieces: headPieces)
    }

    private func accepted(_ count: Int) -> Int {
        if cutting == .whole || random.oneIn(2) { return count }
        return random.number(1...count)
    }

    private func keepForReplay(headPieces: Int) {
        exchange.keepForReplay(sink, headPieces: headPieces, limit: Self.retryBufferSize, in: &buffers)
    }

    // MARK: The answer

    private func pumpResponse() {
        if seen.ending == .tunnel {
            seen.client += fromTask
            fromTask = []
            return
        }
        guard !fromTask.isEmpty, toClient.isEmpty, !isOver else { return }
        let fresh = fromTask
        fromTask = []
        takeResponse(fresh)
    }

    private func takeResponse(_ fresh: [UInt8]) {
        let bytes = partialHead + fresh
        var scanned = partialHead.count
        partialHead = []
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: bytes.count)
        defer { memory.deallocate() }
        memory.initialize(from: bytes, count: bytes.count)
        let input = Bytes(UnsafePointer(memory), count: bytes.count)
        var position = 0
        while true {
            sink.reset()
            let progress = advance(input, &position, scanned: scanned)
            scanned = 0
            sendToClient()
            switch progress {
            case .more:
                if position < bytes.count { continue }
            case .needHead: partialHead = Array(bytes[position...])
            case .complete: end(.answered)
            case .tunnel:
                seen.receivedBeforeTunnel = seen.received.last
                seen.client += toClient + bytes[position...]
                toClient = []
                seen.ending = .tunnel
                pumpRequest()
            case .retryStatus: retry(.status)
            case .failed(let failure): lose(failure)
            }
            return
        }
    }

    private func advance(_ input: Bytes, _ position: inout Int, scanned: Int) -> Exchange.ResponseProgress {
        var writer = ByteWriter(base: headMemory, capacity: 1 << 17)
        let surroundings = Exchange.ResponseSurroundings(
            date: Bytes("Thu, 01 Jan 1970 00:00:00 GMT"), viaName: Bytes("sim"), infoLines: .empty, requestID: .empty,
            closesClient: false)
        return exchange.upstreamInput(
            input, position: &position, scanned: scanned, head: &responseHead, writer: &writer,
            surroundings: surroundings, into: &sink)
    }

    private func sendToClient() {
        var bytes: [UInt8] = []
        for index in 0..<sink.gather.count { bytes += Array(sink.gather.piece(at: index)) }
        guard !bytes.isEmpty else { return }
        let taken = toClient.isEmpty ? accepted(bytes.count) : 0
        seen.client += bytes[..<taken]
        toClient += bytes[taken...]
    }

    private func endUpstream() {
        guard seen.ending == nil else { return }
        sink.reset()
        switch exchange.upstreamEnd(into: &sink) {
        case .complete:
            sendToClient()
            end(.answered)
        case .failed(let failure): lose(failure)
        case .more, .needHead, .tunnel, .retryStatus: lose(.closedEarly)
        }
    }

    // MARK: Ends

    private func lose(_ failure: UpstreamFailure) {
        switch exchange.upstreamLost(failure, isReused: attempt.isReused) {
        case .retry(let reason): retry(reason)
        case .answer(let outcome), .exhausted(let outcome): end(.local(Int(outcome.status)))
        case .cut: end(.cut)
        }
    }

    private func retry(_ reason: RetryReason) {
        if exchange.answerBegan { seen.violations.append("a retry after an answer began") }
        if !exchange.method.isIdempotent, !(seen.received.last ?? []).isEmpty {
            seen.violations.append("a retry of what must not be done twice")
        }
        if exchange.isBodyLost { seen.violations.append("a retry without the body") }
        seen.retries.append(reason)
        exchange.prepareRetry()
        isLost = true
    }

    private func end(_ ending: Expectation.Ending) {
        guard seen.ending == nil else {
            seen.violations.append("it ended twice")
            return
        }
        if case .local = ending, exchange.answerBegan { seen.ending = .cut } else { seen.ending = ending }
    }
}
