// Holds what a replay came to against what was expected: the client's bytes, each task's bytes, and the ending.

@testable import Proxy

final class Judgement {
    private(set) var faults: [String] = []
    private let scenario: Scenario
    private let expected: Expectation
    private let seen: Replayed

    /// Fields whose value is the proxy's own affair on the way to a task.
    private static let requestManaged: Set<String> = [
        "host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "expect", "trailer", "via",
        "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "x-request-id",
        "sec-websocket-key", "sec-websocket-version",
    ]
    private static let answerManaged: Set<String> = [
        "content-length", "transfer-encoding", "connection", "trailer", "via", "date", "upgrade",
    ]

    init(_ scenario: Scenario, _ expected: Expectation, _ seen: Replayed) {
        self.scenario = scenario
        self.expected = expected
        self.seen = seen
        faults = seen.violations
        judgeEnding()
        judgeRequestHead()
        for number in seen.received.indices { judgeRequest(number) }
        judgeClient()
    }

    private func hold(_ isTrue: Bool, _ words: @autoclosure () -> String) {
        if !isTrue { faults.append(words()) }
    }

    private func judgeEnding() {
        hold(seen.ending == expected.ending, "ended \(seen.ending.map { "\($0)" } ?? "never")")
        hold(seen.attemptCount == expected.attemptCount, "\(seen.attemptCount) attempts")
        hold(seen.retries.count == seen.attemptCount - 1, "retries \(seen.retries)")
        hold(Int(seen.status) == expected.status || expected.status == 0, "status \(seen.status)")
        guard expected.ending == .answered else { return }
        hold(seen.isReusable == expected.isReusable, "the task's connection is reusable: \(seen.isReusable)")
        // With a task that went deaf, where the request stopped depends on how it was cut.
        if !seen.isAbandoned { hold(seen.keepsClient == expected.keepsClient, "keeps the client: \(seen.keepsClient)") }
        if seen.requestIsComplete, let completeAt = scenario.completeAt, seen.leftOver.count <= scenario.wire.count {
            let follows = Array(scenario.wire[completeAt...])
            hold(seen.leftOver == Array(follows.prefix(seen.leftOver.count)), "the next request's bytes are not whole")
        }
    }

    // MARK: Tasks

    private func judgeRequestHead() {
        guard let head = PlainHead(seen.requestHead, at: 0), head.count == seen.requestHead.count else {
            faults.append("the request's head is none")
            return
        }
        hold(head.first == "\(scenario.method) \(scenario.target) HTTP/1.1", "request line \(head.first)")
        hold(head.fields.first == "Host: sim.test" && head.values("host").count == 1, "host")
        hold(head.endToEnd(without: Self.requestManaged) == scenario.fields, "fields \(head.fields)")
        let isChunked = scenario.framing == .chunked
        let length = scenario.framing == .length ? ["\(scenario.body.count)"] : []
        hold(head.values("content-length") == length, "length \(head.values("content-length"))")
        hold(head.values("transfer-encoding") == (isChunked ? ["chunked"] : []), "encoding")
        hold(head.values("x-forwarded-for") == ["192.0.2.1"], "forwarded for \(head.values("x-forwarded-for"))")
        let expects = scenario.expectsContinue && !scenario.isHTTP10
        hold(head.values("expect") == (expects ? ["100-continue"] : []), "expect")
        hold(head.values("upgrade") == (scenario.offersUpgrade ? ["websocket"] : []), "upgrade")
    }

    /// A task gets one request, or the begin of one; never anything else.
    private func judgeRequest(_ number: Int) {
        let bytes = seen.received[number]
        let head = seen.requestHead
        guard bytes.count >= head.count else {
            hold(head.starts(with: bytes), "task \(number) got a head that is not the request's")
            return
        }
        hold(bytes.starts(with: head), "task \(number) got another head")
        let rest = Array(bytes[head.count...])
        let isLast = number == seen.received.count - 1
        switch scenario.framing {
        case .none, .untilClose:
            guard seen.ending == .tunnel, isLast else {
                hold(rest.isEmpty, "task \(number) got \(rest.count) bytes behind a request without a body")
                return
            }
            hold(seen.receivedBeforeTunnel == head, "the task got the client's bytes before it said 101")
            hold(scenario.wire.starts(with: rest), "the task got other bytes than the client sent")
        case .length:
            hold(scenario.body.starts(with: rest), "task \(number) got another body")
            if isLast, seen.ending == .answered, seen.requestIsComplete, !seen.isAbandoned {
                hold(rest.count == scenario.body.count, "task \(number) got \(rest.count) of \(scenario.body.count)")
            }
        case .chunked: judgeChunks(number, rest, isLast: isLast)
        }
    }

    private func judgeChunks(_ number: Int, _ rest: [UInt8], isLast: Bool) {
        guard let decoded = PlainChunks.decode(rest) else {
            faults.append("task \(number) got malformed chunks")
            return
        }
        hold(scenario.body.starts(with: decoded.body), "task \(number) got another body")
        if decoded.isComplete {
            hold(scenario.completeAt != nil && decoded.body == scenario.body, "task \(number) was told of an end")
            hold(decoded.count == rest.count, "task \(number) got more than one request")
            let trailers = scenario.trailers.map { $0 + "\r\n" }.joined()
            hold(decoded.trailers == Array(trailers.utf8), "task \(number) got other trailers")
        } else if isLast, seen.ending == .answered, seen.requestIsComplete, !seen.isAbandoned {
            faults.append("task \(number) was not told of the end")
        }
    }

    // MARK: The client

    private func judgeClient() {
        var position = 0
        var interims: [String] = []
        var final: PlainHead?
        while position < seen.client.count {
            guard let head = PlainHead(seen.client, at: position) else {
                faults.append("the client got something that is no head: \(seen.client[position...].prefix(40))")
                return
            }
            position += head.count
            let status = head.first.dropFirst(9).prefix(3)
            if status.first != "1" || status == "101" {
                final = head
                break
            }
            interims.append("\(status) of \(head.values("x-attempt").joined())")
        }
        hold(interims == expected.interims, "interim answers \(interims)")
        hold((final != nil) == (expected.status != 0), "an answer began: \(final != nil)")
        guard let final, let answer = scenario.attempts[expected.attemptCount - 1] as Scenario.Attempt? else { return }
        judgeAnswer(final, Array(seen.client[position...]), answer.answer)
    }

    private func judgeAnswer(_ head: PlainHead, _ rest: [UInt8], _ answer: Scenario.Answer) {
        hold(head.first.hasPrefix("HTTP/1.1 \(answer.status) "), "answered \(head.first)")
        hold(head.endToEnd(without: Self.answerManaged) == answer.fields, "fields \(head.fields)")
        if answer.status == 101 {
            hold(answer.body.starts(with: rest), "the tunnel brought other bytes")
            hold(head.values("connection") == ["upgrade"], "connection \(head.values("connection"))")
            return
        }
        if !seen.isAbandoned { judgeConnection(head) }
        let hasBody = scenario.method != "HEAD" && answer.status != 204 && answer.status != 304
        let isWhole = expected.ending == .answered
        let isChunked = hasBody && !scenario.isHTTP10 && answer.framing != .length
        hold(head.values("transfer-encoding") == (isChunked ? ["chunked"] : []), "encoding")
        let declares = answer.framing == .length && answer.status != 204
        if !isChunked { hold((head.values("content-length").count == 1) == declares, "length in \(head.fields)") }
        if isChunked {
            hold(head.values("content-length").isEmpty, "length and encoding")
            judgeChunkedAnswer(rest, answer, isWhole: isWhole)
        } else {
            hold(rest == Array(answer.body.prefix(expected.bodyCount)), "\(rest.count) bytes of body")
        }
    }

    private func judgeConnection(_ head: PlainHead) {
        let keep = scenario.isHTTP10 ? ["keep-alive"] : []
        hold(head.values("connection") == (expected.keepsClient ? keep : ["close"]), "\(head.values("connection"))")
    }

    private func judgeChunkedAnswer(_ rest: [UInt8], _ answer: Scenario.Answer, isWhole: Bool) {
        guard let decoded = PlainChunks.decode(rest) else {
            faults.append("the client got malformed chunks")
            return
        }
        hold(decoded.isComplete == isWhole, "the client was told of an end: \(decoded.isComplete)")
        hold(decoded.body == Array(answer.body.prefix(expected.bodyCount)), "\(decoded.body.count) bytes of body")
        if decoded.isComplete {
            hold(decoded.count == rest.count, "the client got more than one answer")
            let passes = scenario.acceptsTrailers && answer.framing == .chunked
            let trailers = passes ? answer.trailers.map { $0 + "\r\n" }.joined() : ""
            hold(decoded.trailers == Array(trailers.utf8), "trailers")
        }
    }
}
