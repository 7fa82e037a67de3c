// What would become of a request, and why: the answer to a question, as lines for people and as JSON.

internal import Model

public struct Explanation: Sendable {
    public enum Verdict: Sendable, Hashable {
        case task
        /// The TLS connection is passed to a task as it is.
        case passedOn
        case redirect(status: UInt16, location: String)
        /// By the proxy itself. The code is that of the access log.
        case answer(status: UInt16, code: String)
        /// The connection ends without an answer.
        case closed(reason: String)
    }

    struct Fact: Sendable {
        var name: String
        var text: String
    }

    public internal(set) var verdict = Verdict.closed(reason: "")
    /// The host pattern that claims the request.
    var pattern: String?
    /// The path prefix of its route.
    var prefix: String?
    /// Of the route's pool: positions in the snapshot's services.
    public internal(set) var services: [Int] = []
    /// What the task sees behind the method.
    public internal(set) var taskTarget: String?
    var facts: [Fact] = []

    /// A task gets it, or the client is sent elsewhere.
    public var isServed: Bool {
        switch verdict {
        case .task, .passedOn, .redirect: true
        case .answer, .closed: false
        }
    }

    /// One fact a line, fit for a terminal.
    public var lines: [String] {
        facts.map { fact in
            "\(fact.name)\(String(repeating: " ", count: max(1, 9 - fact.name.count)))\(fact.text)".harmless
        }
    }

    mutating func add(_ name: String, _ text: String) { facts.append(Fact(name: name, text: text)) }

    /// - Parameter appendServices: the services as `/api/routes` has them.
    func json(_ question: ExplainQuestion, appendServices: (inout JSONWriter) -> Void) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("url", question.url)
            writer.field("method", question.method)
            writer.field("served", isServed)
            appendVerdict(to: &writer)
            if let pattern { writer.field("host", pattern) } else { writer.null("host") }
            if let prefix { writer.field("path", prefix) } else { writer.null("path") }
            if let taskTarget { writer.field("task_target", taskTarget) }
            writer.array("services", appendServices)
            writer.array("facts") { writer in
                for fact in facts {
                    writer.object { writer in
                        writer.field("name", fact.name)
                        writer.field("text", fact.text)
                    }
                }
            }
        }
        return writer.bytes + [0x0A]
    }

    private func appendVerdict(to writer: inout JSONWriter) {
        switch verdict {
        case .task: writer.field("verdict", "task")
        case .passedOn: writer.field("verdict", "passed_on")
        case .redirect(let status, let location):
            writer.field("verdict", "redirect")
            writer.field("status", status)
            writer.field("location", location)
        case .answer(let status, let code):
            writer.field("verdict", "answer")
            writer.field("status", status)
            writer.field("code", code)
        case .closed(let reason):
            writer.field("verdict", "closed")
            writer.field("reason", reason)
        }
    }
}

/// The settings of a proxy that decide about requests.
public struct ExplainTerms: Sendable {
    public var isSSLOnly = false
    public var httpsPublicPort: UInt16 = 443
    public var holdMs = 0
    public var maximumBodySize = UInt64.max
    public var requestLineSize = 8192
    public var headSize = 32768
    public var fieldCount = 128
    /// Somebody listens there.
    public var hasHTTP = true
    public var hasHTTPS = true

    public init() {}
}
