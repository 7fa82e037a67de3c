// Owns the oracle: what must become of a scenario, by the rules that people were promised, walked step by step over the
// scenario's own plan. It knows nothing of parsers, buffers or phases.

struct Expectation: Equatable {
    enum Ending: Equatable {
        /// The answer of the last task, whole.
        case answered
        /// An answer of the proxy's own, with this status.
        case local(Int)
        /// The client's connection ends before its answer does, or without one.
        case cut
        case tunnel
    }

    var ending = Ending.local(502)
    /// Tasks that were tried.
    var attemptCount = 0
    /// What the client gets before the answer: the statuses and who sent them.
    var interims: [String] = []
    /// The status of the answer that began; 0 if none did.
    var status = 0
    /// Of the answer that began: how much of its body the client has.
    var bodyCount = 0
    /// The task's connection may serve another request.
    var isReusable = false
    var keepsClient = false
}

struct Oracle {
    private let scenario: Scenario
    private var result = Expectation()
    private var sent = 0
    private var clientEnded = false
    private var isBodyLost = false
    private var didContinue = false

    // Of the attempt.
    private var attempt = Scenario.Attempt()
    private var connected = false
    /// The task's socket took something of the request.
    private var hasSent = false
    private var isDeaf = false
    private var isAbandoned = false
    private var taskPosition = 0
    private var partIndex = 0
    private var sawHeadBytes = false
    private var began = false

    private enum Verdict { case goesOn, ends, retries }

    static func expect(_ scenario: Scenario) -> Expectation {
        var oracle = Oracle(scenario: scenario)
        oracle.run()
        return oracle.result
    }

    private init(scenario: Scenario) {
        self.scenario = scenario
        sent = scenario.arrivedCount
    }

    private var requestIsComplete: Bool { scenario.completeAt.map { relayed >= $0 } ?? false }
    /// How far the client's bytes were taken.
    private var relayed = 0

    private mutating func run() {
        for number in scenario.attempts.indices {
            attempt = scenario.attempts[number]
            result.attemptCount += 1
            (connected, isDeaf, isAbandoned, taskPosition, partIndex, sawHeadBytes) = (false, false, false, 0, 0, false)
            if runAttempt(number) != .retries { return }
        }
    }

    private mutating func runAttempt(_ number: Int) -> Verdict {
        if attempt.connect == .isRefused || attempt.connect == .timesOut {
            if result.attemptCount <= scenario.retryLimit { return .retries }
            return end(.local(attempt.connect == .isRefused ? 502 : 504))
        }
        connected = true
        hasSent = attempt.connect == .works
        isDeaf = !hasSent
        var verdict = relayRequest()
        for step in attempt.steps {
            guard verdict == .goesOn else { return verdict }
            switch step {
            case .client(let position):
                sent = max(sent, position)
                verdict = relayRequest()
            case .clientEnds:
                clientEnded = true
                verdict = relayRequest()
            case .task(let position): verdict = takeAnswer(upTo: position, number)
            case .taskEnds: verdict = taskEnds()
            case .taskResets: verdict = loseTask()
            case .taskIsSilent: verdict = end(began ? .cut : .local(504))
            case .taskIsDeaf: isDeaf = true
            }
        }
        return verdict
    }

    private mutating func end(_ ending: Expectation.Ending) -> Verdict {
        if case .local = ending, began { result.ending = .cut } else { result.ending = ending }
        return .ends
    }

    private mutating func relayRequest() -> Verdict {
        guard !isAbandoned, !requestIsComplete else { return .goesOn }
        let before = relayed
        relayed = max(relayed, min(sent, scenario.completeAt ?? sent))
        let count = scenario.bodyCount(at: relayed)
        if count > scenario.bodyLimit { return end(.local(413)) }
        if let fault = scenario.faultAt, relayed > fault { return end(.local(400)) }
        let moved = count > scenario.bodyCount(at: before) || (requestIsComplete && scenario.framing == .chunked)
        if moved {
            if hasSent, !scenario.isIdempotent || began || count > 2000 { isBodyLost = true }
            if isDeaf { isAbandoned = true }
        }
        if !hasSent { isAbandoned = true }
        if clientEnded, !requestIsComplete, !isAbandoned { return end(.cut) }
        return .goesOn
    }

    private mutating func takeAnswer(upTo position: Int, _ number: Int) -> Verdict {
        let answer = attempt.answer
        if position > taskPosition { sawHeadBytes = true }
        taskPosition = max(taskPosition, position)
        while partIndex < answer.parts.count {
            let part = answer.parts[partIndex]
            switch part.kind {
            case .interim(let status):
                guard part.end <= taskPosition else { return .goesOn }
                interimCount += 1
                if interimCount > 16 { return end(.local(502)) }
                if status == 100 { didContinue = true }
                let asked = scenario.expectsContinue && !scenario.isHTTP10
                if !scenario.isHTTP10, status != 100 || asked { result.interims.append("\(status) of \(number)") }
            case .head:
                guard part.end <= taskPosition else { return .goesOn }
                if answer.status == 101 { return beginTunnel() }
                let isRetried =
                    scenario.retryStatuses.contains(answer.status) && scenario.isIdempotent && !isBodyLost
                    && attempt.hasAlternative && result.attemptCount <= scenario.retryLimit
                if isRetried { return .retries }
                begin(answer)
            case .body, .junk:
                result.bodyCount = answer.bodyCount(at: taskPosition)
                if let complete = answer.completeAt, taskPosition >= complete { return complete_(answer) }
                guard part.end <= taskPosition else { return .goesOn }
            case .fault:
                guard part.end <= taskPosition else { return .goesOn }
                result.bodyCount = answer.bodyCount(at: taskPosition)
                return end(.local(502))
            }
            partIndex += 1
            if began, let complete = answer.completeAt, taskPosition >= complete { return complete_(answer) }
        }
        return .goesOn
    }

    private var interimCount = 0

    private mutating func begin(_ answer: Scenario.Answer) {
        began = true
        result.status = answer.status
        result.keepsClient = scenario.isPersistent
        let hasBody = scenario.method != "HEAD" && answer.status != 204 && answer.status != 304
        if scenario.isHTTP10, hasBody, answer.framing != .length { result.keepsClient = false }
        let expects = scenario.expectsContinue && !scenario.isHTTP10
        if !requestIsComplete, (expects && !didContinue) || answer.status >= 400 { result.keepsClient = false }
    }

    private mutating func complete_(_ answer: Scenario.Answer) -> Verdict {
        result.bodyCount = answer.bodyCount(at: taskPosition)
        let hasBody = scenario.method != "HEAD" && answer.status != 204 && answer.status != 304
        let isPersistent = !answer.closes && !answer.isHTTP10 && (answer.framing != .untilClose || !hasBody)
        result.isReusable = isPersistent && requestIsComplete && !isAbandoned
        return end(.answered)
    }

    private mutating func beginTunnel() -> Verdict {
        began = true
        result.status = 101
        return end(.tunnel)
    }

    private mutating func taskEnds() -> Verdict {
        if began, attempt.answer.completeAt == nil, attempt.answer.framing == .untilClose {
            result.isReusable = false
            return end(.answered)
        }
        return loseTask()
    }

    private mutating func loseTask() -> Verdict {
        if began { return end(.cut) }
        let mayRetry =
            !sawHeadBytes && interimCount == 0 && !isBodyLost
            && (!hasSent || (scenario.isIdempotent && !scenario.offersUpgrade))
            && result.attemptCount <= scenario.retryLimit
        return mayRetry ? .retries : end(.local(502))
    }
}
