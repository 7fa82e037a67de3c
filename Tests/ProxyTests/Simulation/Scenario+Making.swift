// Makes a scenario from a seed. Every choice is independent, so that the odd cases meet each other.

import Support

extension Scenario {
    init(seed: UInt64) {
        self.init()
        var random = SeededRandom(seed: seed)
        self.seed = seed
        makeRequest(&random)
        retryLimit = random.number(0...2)
        if random.oneIn(3) { retryStatuses = [502, 503] }
        makeArrival()
        var sent = arrivedCount
        // More than can be tried, so that one attempt too many would find a task to go to.
        for number in 0...retryLimit + 1 {
            attempts.append(makeAttempt(number, sent: &sent, &random))
        }
    }

    private mutating func makeRequest(_ random: inout SeededRandom) {
        method = random.choice([
            "GET", "GET", "HEAD", "POST", "POST", "PUT", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW",
        ])
        target = random.choice(["/", "/a/b?c=d&e", "/" + String(repeating: "x", count: random.number(1...2000))])
        isHTTP10 = random.oneIn(5)
        isPersistent = random.oneIn(2) ? !isHTTP10 : random.oneIn(2)
        for number in 0..<random.number(0...6) {
            fields.append("X-Field-\(number): " + random.choice(["", "v", "a, b", String(repeating: "y", count: 700)]))
        }
        fields.append("Cookie: seed=\(seed)")
        if random.oneIn(8), method == "GET", !isHTTP10 {
            offersUpgrade = true
        } else if method != "GET" && method != "HEAD" || random.oneIn(6) {
            framing = isHTTP10 || random.oneIn(2) ? .length : .chunked
            let count = random.choice([0, 1, 7, 300, 1200, 20_000])
            body = random.bytes(count)
            expectsContinue = random.oneIn(4)
        }
        acceptsTrailers = random.oneIn(4) && !isHTTP10
        writeRequestBody(&random)
        writeRequestHead(&random)
    }

    private mutating func writeRequestHead(_ random: inout SeededRandom) {
        var lines = ["\(method) \(target) HTTP/1.\(isHTTP10 ? 0 : 1)", "Host: sim.test"] + fields
        func insert(_ line: String, _ random: inout SeededRandom) {
            lines.insert(line, at: random.number(1...lines.count))
        }
        switch framing {
        case .length: insert("Content-Length: \(body.count)", &random)
        case .chunked: insert("Transfer-Encoding: chunked", &random)
        case .none, .untilClose: break
        }
        if !trailers.isEmpty { insert("Trailer: X-Sum", &random) }
        if expectsContinue { insert("Expect: 100-continue", &random) }
        if acceptsTrailers { insert("TE: trailers", &random) }
        if offersUpgrade {
            for line in [
                "Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            ] { insert(line, &random) }
            isPersistent = true
        } else if isPersistent != !isHTTP10 {
            insert(isHTTP10 ? "Connection: keep-alive" : "Connection: close, X-Private", &random)
            if !isHTTP10 { insert("X-Private: of this hop", &random) }
        }
        if random.oneIn(3) { insert("X-Forwarded-For: 203.0.113.9", &random) }
        if random.oneIn(3) { insert("Keep-Alive: timeout=5", &random) }
        head = Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
    }

    private mutating func writeRequestBody(_ random: inout SeededRandom) {
        switch framing {
        case .none, .untilClose: break
        case .length:
            wire = body
            runs = [Run(start: 0, count: body.count)]
        case .chunked:
            if random.oneIn(3) { trailers = ["X-Sum: \(body.count)"] }
            (wire, runs) = encodeChunks(body, trailers: trailers, &random)
            if random.oneIn(8) { bodyLimit = body.count / 2 }
            if random.oneIn(8), let last = runs.last {
                wire.removeLast(wire.count - last.start - last.count - 2)
                faultAt = wire.count
                wire += Array("zz\r\n".utf8)
                return
            }
        }
        completeAt = wire.count
        if offersUpgrade {
            wire += random.bytes(random.number(0...3000))
        } else if random.oneIn(4) {
            wire += Array("GET /next HTTP/1.1\r\n\r\n".utf8)
        }
    }

    /// Drawn apart, so that it changes nothing else about a seed.
    private mutating func makeArrival() {
        var random = SeededRandom(seed: seed ^ 0xA441)
        guard random.oneIn(2) else { return }
        var steps: [Step] = []
        advance(&arrivedCount, &steps, &random)
    }

    // MARK: Tasks

    private func makeAttempt(_ number: Int, sent: inout Int, _ random: inout SeededRandom) -> Attempt {
        var attempt = Attempt()
        if random.oneIn(5) { attempt.connect = random.choice([.isRefused, .timesOut, .breaks]) }
        attempt.isReused = random.oneIn(3)
        attempt.hasAlternative = !random.oneIn(4)
        attempt.answer = makeAnswer(number, &random)
        let answer = attempt.answer
        var steps: [Step] = []
        var position = 0
        // Bytes of the client and of the task, in turns.
        for _ in 0..<random.number(0...3) {
            if random.oneIn(2) { advance(&sent, &steps, &random) }
            if random.oneIn(4), let place = place(in: answer, after: position, &random) {
                position = place
                steps.append(.task(place))
            }
        }
        switch random.number(0...19) {
        case 0: steps.append(.taskEnds)
        case 1: steps.append(.taskResets)
        case 2: steps.append(.taskIsSilent)
        case 3 where completeAt != 0 && !offersUpgrade: steps.append(.clientEnds)
        // How much of a body is lost with a failed write depends on how it was cut: only where that decides nothing.
        case 4 where body.count <= 2000 && bodyLimit >= body.count:
            steps.append(.taskIsDeaf)
            advance(&sent, &steps, &random)
            if random.oneIn(2) { steps.append(.task(answer.wire.count)) }
            steps.append(random.oneIn(2) ? .taskEnds : .taskResets)
        default:
            if !random.oneIn(6) {
                sent = wire.count
                steps.append(.client(sent))
            }
            if let place = place(in: answer, after: position, &random), random.oneIn(2) { steps.append(.task(place)) }
            steps.append(.task(answer.wire.count))
        }
        // Whatever was left open comes to its end.
        steps.append(random.oneIn(3) ? .taskResets : .taskEnds)
        attempt.steps = attempt.connect == .breaks ? [steps[steps.count - 1]] : steps
        return attempt
    }

    /// More of the client's bytes. A fault comes as a whole; a body that is too large for replay passes that limit at
    /// once, since where exactly it does so depends on how it is cut.
    private func advance(_ sent: inout Int, _ steps: inout [Step], _ random: inout SeededRandom) {
        let limit = faultAt ?? wire.count
        guard sent < limit else { return }
        var next = random.number(sent...limit)
        if body.count > 2000 { next = random.oneIn(2) ? limit : min(next, max(sent, 1000)) }
        if next == sent { return }
        sent = next
        steps.append(.client(next))
    }

    /// A place in the answer at which the bytes may pause: nowhere inside what is malformed.
    private func place(in answer: Answer, after position: Int, _ random: inout SeededRandom) -> Int? {
        let limit = answer.parts.firstIndex { $0.kind == .fault }.map { $0 == 0 ? 0 : answer.parts[$0 - 1].end }
        let end = limit ?? answer.wire.count
        guard position + 1 < end else { return nil }
        return random.number(position + 1...end)
    }

    private func makeAnswer(_ number: Int, _ random: inout SeededRandom) -> Answer {
        var answer = Answer()
        answer.isHTTP10 = random.oneIn(8)
        let interims = random.oneIn(3) ? random.number(1...random.choice([1, 2, 17])) : 0
        for _ in 0..<interims {
            let status = random.choice([100, 102, 103])
            answer.wire += "HTTP/1.1 \(status) Wait\r\nX-Attempt: \(number)\r\n\r\n".utf8
            answer.parts.append(Part(kind: .interim(status), end: answer.wire.count))
        }
        if offersUpgrade, random.oneIn(2) {
            answer.status = 101
            answer.fields = ["X-Attempt: \(number)"]
            answer.wire +=
                "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX-Attempt: \(number)\r\n\r\n".utf8
            answer.parts.append(Part(kind: .head, end: answer.wire.count))
            answer.body = random.bytes(random.number(0...3000))
            answer.wire += answer.body
            return answer
        }
        if random.oneIn(12) {
            answer.wire +=
                random.choice([
                    "HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n", "SSH-2.0-x\r\n", "HTTP/1.1 101 No\r\nX: y\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 99 Low\r\n\r\n",
                ]).utf8
            answer.parts.append(Part(kind: .fault, end: answer.wire.count))
            return answer
        }
        answer.status = random.choice([200, 200, 200, 201, 204, 301, 304, 400, 404, 500, 502, 503])
        writeAnswer(number, &answer, &random)
        return answer
    }

    private func writeAnswer(_ number: Int, _ answer: inout Answer, _ random: inout SeededRandom) {
        let hasBody = method != "HEAD" && answer.status != 204 && answer.status != 304
        answer.framing = random.choice(answer.isHTTP10 ? [.length, .untilClose] : [.length, .chunked, .untilClose])
        answer.closes = random.oneIn(5)
        let content = random.bytes(random.choice([0, 1, 13, 1024, 4000, 18_000]))
        answer.fields = ["X-Attempt: \(number)", "Set-Cookie: a=1", "Set-Cookie: b=2", "Server: task"]
        var lines = answer.fields
        if answer.framing == .length { lines.insert("Content-Length: \(content.count)", at: random.number(0...4)) }
        if answer.framing == .chunked {
            lines.insert("Transfer-Encoding: chunked", at: random.number(0...4))
            if hasBody, random.oneIn(2) {
                answer.trailers = ["X-Sum: \(content.count)"]
                lines.append("Trailer: X-Sum")
            }
        }
        if answer.closes { lines.append("Connection: close") }
        lines.append("Keep-Alive: timeout=9")
        let version = answer.isHTTP10 ? 0 : 1
        answer.wire +=
            ("HTTP/1.\(version) \(answer.status) Reason\r\n" + lines.joined(separator: "\r\n") + "\r\n\r\n").utf8
        answer.parts.append(Part(kind: .head, end: answer.wire.count))
        guard hasBody else {
            answer.completeAt = answer.wire.count
            return
        }
        answer.body = content
        let start = answer.wire.count
        switch answer.framing {
        case .chunked:
            let (wire, runs) = encodeChunks(content, trailers: answer.trailers, &random)
            answer.wire += wire
            answer.runs = runs.map { Run(start: $0.start + start, count: $0.count) }
            if random.oneIn(8), let last = answer.runs.last {
                answer.wire.removeLast(answer.wire.count - last.start - last.count - 2)
                answer.parts.append(Part(kind: .body, end: answer.wire.count))
                answer.wire += Array("5\r\n12345X\r\n".utf8)
                answer.runs.append(Run(start: answer.wire.count - 8, count: 5))
                answer.body += Array("12345".utf8)
                answer.parts.append(Part(kind: .fault, end: answer.wire.count))
                return
            }
            answer.completeAt = answer.wire.count
        default:
            answer.wire += content
            answer.runs = [Run(start: start, count: content.count)]
            if answer.framing == .length { answer.completeAt = answer.wire.count }
        }
        answer.parts.append(Part(kind: .body, end: answer.wire.count))
        if answer.framing != .untilClose, random.oneIn(6) {
            answer.wire += Array("HTTP/1.1 200 Unasked\r\n\r\n".utf8)
            answer.parts.append(Part(kind: .junk, end: answer.wire.count))
        }
    }
}
