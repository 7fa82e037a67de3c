// One request and its answer, without sockets and without a clock: it is handed bytes, ends and failures and says what
// leaves and what becomes of it. The worker performs it; a test can replay it byte by byte. A connection that carries
// no HTTP is an exchange too: see Exchange+Stream.
//
//   phase       bytes of the client            bytes of the task                 loss of the task
//   connecting  wait                           -                                 another task, any method
//   awaiting    relayed as request body        parsed as response head           see `upstreamLost`
//   streaming   relayed as request body        relayed as response body          the client is cut off
//   tunnel      as they are                    as they are                       the tunnel ends
//   finished    -                              -                                 -

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

struct Exchange: ~Copyable {
    enum Phase: UInt8 {
        case connecting, awaiting, streaming, tunnel, finished
    }

    /// What the bytes of a task came to.
    enum ResponseProgress {
        /// All input is used up, or the sink is full and wants to be written.
        case more
        /// The head is not complete: keep the bytes from `position` on and come again with more.
        case needHead
        case complete
        /// 101: from here on bytes are passed both ways as they are.
        case tunnel
        /// The status is one that the service wants tried on another task.
        case retryStatus
        case failed(UpstreamFailure)
    }

    /// What the bytes of a client came to.
    enum RequestProgress {
        case more
        case complete
        case refused(Refusal)
        /// The body passed the service's limit.
        case tooLarge
    }

    /// What is to be done about a task that was lost.
    enum LossVerdict {
        case retry(RetryReason)
        /// No connection came about, and there may be no further attempt for now. Nothing was sent.
        case exhausted(Outcome)
        /// Nothing of an answer reached the client yet.
        case answer(Outcome)
        /// An answer has begun: all that is left is to end the client's connection.
        case cut(Outcome)
    }

    // Links.
    let kind: Kind
    var client: UInt32
    var upstream: UInt32 = Slab<UpstreamConnection>.none
    /// The publication it began with, by the worker's number; none once it was let go.
    var held: Int32
    var pool: PoolEntry
    var service: ServiceEntry
    var cells: ServiceCells
    /// Keeps `cells` alive when no publication does any more.
    var retainedCounters: Unmanaged<ServiceCounterTable>?
    var serviceIndex: Int32
    var publicationVersion: UInt64
    var tried = TriedUpstreams()
    /// What its pool hashes it by; nil: nothing.
    var balancingKey: UInt64?
    var attempts: UInt8 = 0
    /// Attempts that may have reached a task and came to nothing: however long the request waits, they count.
    var losses: UInt8 = 0
    /// The route it was found by; of a stream, its pool.
    var route: Int32 = -1
    /// What is known about its waiting; none if it never had to.
    var waiter = Slab<Waiter>.none
    /// The task's places, of which it has one; nil where its service has no limit. And where others wait for it.
    var limit: Unmanaged<TaskLimit>?
    var limitRoom: Int32 = -1

    // The request.
    var phase = Phase.connecting
    let method: Method
    let clientVersion: HTTPVersion
    /// The client would keep its connection.
    var keepsClient: Bool
    let expectsContinue: Bool
    let asksUpgrade: Bool
    let acceptsTrailers: Bool
    var accept: StandardResponses.Format
    var maximumBodySize: UInt64
    var requestID: RequestID
    /// The head as it is sent to the task; with the body behind it as long as that may have to be replayed.
    var sent = PooledBuffer.empty
    /// What the access log wants of the request.
    var logged = PooledBuffer.empty
    private(set) var request = BodyRelay(.none, writesChunks: false)
    /// Body bytes went out that `sent` does not hold.
    var isBodyLost = false
    /// Something of this attempt was accepted by the socket.
    var didSend = false
    /// The task stopped reading: the rest of the body is not sent.
    var requestIsAbandoned = false
    var didContinue = false
    /// The next attempt takes no pooled connection.
    var wantsNewConnection = false
    /// The pool has a task that was not tried yet.
    var hasAlternative = false
    /// What to say when no task is left to try.
    var lastFailure = Outcome.noTask
    /// Bytes of `sent` that are the head.
    var headCount: Int32 = 0

    // The answer.
    private(set) var response = BodyRelay(.none, writesChunks: false)
    private(set) var status: UInt16 = 0
    private(set) var responseIsPersistent = false
    private(set) var responseKeepAliveS: Int = -1
    private var interimCount: UInt8 = 0
    private var responseHeadSeen = false
    var outcome = Outcome.ok
    var upstreamText = AddressText()
    var tunnelBytesIn: UInt64 = 0
    var tunnelBytesOut: UInt64 = 0
    /// The client speaks TLS, wherever that ends: for the log.
    var carriesTLS = false
    /// The route whose Strict-Transport-Security goes with the answer; -1: none.
    var hstsRoute: Int32 = -1
    /// The TLS of the client is the task's: it is never wrapped in TLS of ours.
    var isPassedOn = false

    // Times, CLOCK_MONOTONIC nanoseconds.
    var startedNs: UInt64
    var attemptStartedNs: UInt64 = 0
    var connectedNs: UInt64 = 0
    var sentNs: UInt64 = 0
    var answeredNs: UInt64 = 0

    private static var interimLimit: UInt8 { 16 }

    init(_ seed: Seed, head: borrowing RequestHead, source: Bytes, accept: StandardResponses.Format, keepsClient: Bool)
    {
        kind = .http
        client = seed.client
        held = seed.held
        pool = seed.pool
        service = seed.service
        serviceIndex = seed.serviceIndex
        cells = seed.cells
        publicationVersion = seed.publicationVersion
        maximumBodySize = seed.maximumBodySize
        requestID = seed.requestID
        startedNs = seed.startedNs
        method = head.method
        clientVersion = head.version
        expectsContinue = head.expectsContinue
        asksUpgrade = head.hasUpgrade
        acceptsTrailers = head.acceptsTrailers
        self.keepsClient = keepsClient
        self.accept = accept
        var writesChunks = false
        if case .chunked = head.body { writesChunks = true }
        request = BodyRelay(head.body, writesChunks: writesChunks, announced: source.slice(head.announcedTrailers))
    }

    var requestIsComplete: Bool { request.isComplete }
    var requestByteCount: UInt64 { request.byteCount }
    var responseByteCount: UInt64 { response.byteCount }
    var isHead: Bool { method == .head }
    /// The client sends no body before the task has said 100.
    var waitsForContinue: Bool { expectsContinue && !didContinue && requestByteCount == 0 && !requestIsComplete }
    /// An answer, or a part of one, has been handed out for the client.
    var answerBegan: Bool { phase == .streaming || phase == .tunnel }

    // MARK: The client's bytes

    /// Relays request body bytes towards the task. An upgrade's bytes wait until the task said 101.
    mutating func clientInput(_ input: Bytes, position: inout Int, into sink: inout Sink) -> RequestProgress {
        if request.isComplete { return .complete }
        let progress = request.relay(input, position: &position, into: &sink)
        // First, since what lies behind too large a body may or may not have come yet.
        if request.byteCount > maximumBodySize { return .tooLarge }
        switch progress {
        case .more: return .more
        case .complete: return .complete
        case .refused(let refusal): return .refused(refusal)
        }
    }

    /// Keeps body bytes, which were just handed to the task's connection behind the head, as long as the request may
    /// have to be sent again: any request while its task's socket took nothing, later those of idempotent methods.
    /// - Parameters:
    ///   - headPieces: pieces of the sink that are no body.
    ///   - limit: how many bytes may be kept once something was sent, head and body.
    mutating func keepForReplay(
        _ sink: borrowing Sink, headPieces: Int, limit: Int, in buffers: inout BufferPool
    ) {
        guard !isBodyLost, sink.gather.count > headPieces else { return }
        let isSmall = sent.count + sink.gather.byteCount <= max(limit, Int(headCount))
        guard !answerBegan, !didSend || (method.isIdempotent && isSmall) else {
            isBodyLost = true
            return
        }
        // The head's piece points into `sent`: pieces behind it do not, and are copied before `sent` may move.
        for index in headPieces..<sink.gather.count where !isBodyLost {
            if !buffers.append(sink.gather.piece(at: index), to: &sent) { isBodyLost = true }
        }
    }

    // MARK: The task's bytes

    /// What a worker lends for writing a response's head.
    struct ResponseSurroundings: BitwiseCopyable {
        var date: Bytes
        var viaName: Bytes
        var infoLines: Bytes
        var requestID: Bytes
        /// The client's connection ends after this answer whatever was agreed.
        var closesClient: Bool
    }

    /// Takes bytes of the task from `position` on: parses the head, relays the body.
    /// - Parameters:
    ///   - scanned: bytes from `position` on that an earlier call has seen.
    ///   - writer: where a head is written; its bytes are added to the sink.
    mutating func upstreamInput(
        _ input: Bytes, position: inout Int, scanned: Int, head: inout ResponseHead, writer: inout ByteWriter,
        surroundings: ResponseSurroundings, into sink: inout Sink
    ) -> ResponseProgress {
        var scanned = scanned
        while phase == .awaiting {
            let rest = input.slice(from: position)
            if rest.count > 0 { responseHeadSeen = true }
            switch head.parse(rest, scanned: scanned, requestMethod: method, asksUpgrade: asksUpgrade) {
            case .incomplete: return .needHead
            case .refused: return .failed(.badResponse)
            case .complete(let byteCount):
                position += byteCount
                scanned = 0
                if head.status == 101 {
                    guard asksUpgrade, requestIsComplete else { return .failed(.badResponse) }
                    guard
                        writeHead(head, from: rest, framing: .none, connection: .upgrade, &writer, surroundings, &sink)
                    else { return .failed(.badResponse) }
                    status = 101
                    keepsClient = false
                    phase = .tunnel
                    return .tunnel
                }
                if head.isInterim {
                    interimCount += 1
                    guard interimCount <= Self.interimLimit else { return .failed(.badResponse) }
                    if head.status == 100 { didContinue = true }
                    // RFC 9110 15.2: not to an HTTP/1.0 client; 100 only to who asked for it.
                    if clientVersion == .http11, head.status != 100 || expectsContinue {
                        guard
                            writeHead(
                                head, from: rest, framing: .none, connection: .keepAlive, &writer, surroundings, &sink)
                        else { return .failed(.badResponse) }
                    }
                    continue
                }
                if service.retries(on: head.status), method.isIdempotent, attemptsLeft, !isBodyLost, hasAlternative {
                    return .retryStatus
                }
                guard begin(head, from: rest, &writer, surroundings, &sink) else { return .failed(.badResponse) }
            }
        }
        switch response.relay(input, position: &position, into: &sink) {
        case .more: return .more
        case .complete: return .complete
        case .refused: return .failed(.badResponse)
        }
    }

    private mutating func begin(
        _ head: borrowing ResponseHead, from source: Bytes, _ writer: inout ByteWriter,
        _ surroundings: ResponseSurroundings, _ sink: inout Sink
    ) -> Bool {
        status = head.status
        responseIsPersistent = head.isPersistent
        responseKeepAliveS = head.keepAliveTimeoutSeconds ?? -1
        var framing = head.body
        var writesChunks = false
        switch head.body {
        case .none, .length: break
        case .chunked, .untilClose:
            if clientVersion == .http11 {
                framing = .chunked
                writesChunks = true
            } else {
                framing = .untilClose
                keepsClient = false
            }
        }
        if surroundings.closesClient { keepsClient = false }
        // A client that waits for 100 and gets this instead may or may not send its body: only a new connection
        // is unambiguous (RFC 9110 10.1.1). And an error before the end of the body mostly means that nobody reads it.
        if !requestIsComplete, (expectsContinue && !didContinue) || status >= 400 { keepsClient = false }
        response = BodyRelay(
            head.body, writesChunks: writesChunks,
            announced: acceptsTrailers ? source.slice(head.announcedTrailers) : .empty, isResponse: true)
        guard
            writeHead(
                head, from: source, framing: framing, connection: keepsClient ? .keepAlive : .close, &writer,
                surroundings, &sink)
        else { return false }
        phase = .streaming
        return true
    }

    /// - Returns: false if the head does not fit behind those already written; nothing of it leaves then.
    private func writeHead(
        _ head: borrowing ResponseHead, from source: Bytes, framing: BodyLength,
        connection: ResponseContext.Connection, _ writer: inout ByteWriter,
        _ surroundings: ResponseSurroundings, _ sink: inout Sink
    ) -> Bool {
        let start = writer.count
        let context = ResponseContext(
            clientVersion: clientVersion, connection: connection, framing: framing, requestID: surroundings.requestID,
            date: surroundings.date, viaName: surroundings.viaName, infoLines: surroundings.infoLines,
            replacesTransportSecurity: hstsRoute >= 0 && held >= 0, keepsTrailers: acceptsTrailers)
        HeadWriter.writeResponse(head, from: source, context: context, into: &writer)
        if writer.overflowed { return false }
        sink.append(writer.bytes.slice(from: start))
        return true
    }

    /// The task closed its side.
    mutating func upstreamEnd(into sink: inout Sink) -> ResponseProgress {
        guard phase == .streaming else { return .failed(.closedEarly) }
        responseIsPersistent = false
        return response.endOfInput(into: &sink) ? .complete : .failed(.truncated)
    }

    // MARK: Trouble

    /// Decides what becomes of the exchange when its task is lost.
    /// - Parameters:
    ///   - failure: what happened.
    ///   - isReused: the connection had served another request before.
    func upstreamLost(_ failure: UpstreamFailure, isReused: Bool) -> LossVerdict {
        let outcome = Outcome(failure)
        if kind == .stream {
            if phase == .tunnel, !isUntouched { return .cut(outcome) }
            if attemptsLeft { return .retry(.connectFailed) }
            return phase == .connecting ? .exhausted(outcome) : .answer(outcome)
        }
        if answerBegan { return .cut(outcome) }
        if phase == .connecting {
            return attemptsLeft ? .retry(.connectFailed) : .exhausted(outcome)
        }
        if failure == .responseTimeout || failure == .badResponse || responseHeadSeen || interimCount > 0 {
            return .answer(outcome)
        }
        guard attemptsLeft, !isBodyLost else { return .answer(outcome) }
        if !didSend { return .retry(.connectionClosed) }
        guard method.isIdempotent, !asksUpgrade else { return .answer(outcome) }
        return .retry(isReused ? .connectionClosed : .noAnswer)
    }

    private var attemptsLeft: Bool { attempts <= retryLimit }
    var retryLimit: UInt8 = 2

    /// Makes ready for another attempt: everything of the last one is forgotten but the request.
    mutating func prepareRetry() {
        phase = .connecting
        didSend = false
        requestIsAbandoned = false
        response = BodyRelay(.none, writesChunks: false)
        responseHeadSeen = false
        connectedNs = 0
        answeredNs = 0
    }

    /// The connection stands: the request may be sent.
    mutating func upstreamConnected(nowNs: UInt64) {
        phase = .awaiting
        connectedNs = nowNs
    }

    /// The connection stands: what comes from here on is passed on.
    mutating func streamConnected(nowNs: UInt64) {
        phase = .tunnel
        connectedNs = nowNs
    }

    mutating func finish() { phase = .finished }

    /// Whether the task's connection may serve another request.
    var upstreamIsReusable: Bool {
        responseIsPersistent && requestIsComplete && !requestIsAbandoned && phase == .streaming
    }
}
