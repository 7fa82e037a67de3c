// Decides about a request that nobody sends, by the table's own functions and in the order of the proxy's worker
// (Sources/Proxy/Worker+Hello.swift, then `routeOn` of Sources/Proxy/Worker+Requests.swift): whoever changes the order
// there changes it here. What a connection knows and a question does not say is what most clients are: a new
// connection, under the host's own name, of a peer that is not trusted.

public import Model
internal import Routing
internal import Wire

struct Explainer {
    let table: RouteTable
    let terms: ExplainTerms
    /// By the numbers of tasks; nil: nobody probes them here.
    let health: [UInt64: TaskHealth]?
    /// The alert that TLS is refused with under a server name; nil: it is not.
    let refusal: (_ serverName: String) -> String?
    private(set) var explanation = Explanation()

    init(
        _ table: RouteTable, terms: ExplainTerms, health: [UInt64: TaskHealth]? = nil,
        refusal: @escaping (String) -> String? = { _ in nil }
    ) {
        self.table = table
        self.terms = terms
        self.health = health
        self.refusal = refusal
    }

    static func explain(
        _ question: ExplainQuestion, _ table: RouteTable, terms: ExplainTerms, health: [UInt64: TaskHealth]? = nil,
        refusal: @escaping (String) -> String? = { _ in nil }
    ) -> Explanation {
        var explainer = Explainer(table, terms: terms, health: health, refusal: refusal)
        let verdict = question.head.withUnsafeBytes { explainer.decide(question, Bytes($0)) }
        explainer.explanation.verdict = verdict
        explainer.addAnswer(verdict)
        return explainer.explanation
    }

    mutating func add(_ name: String, _ text: String) { explanation.add(name, text) }

    mutating func set(pattern: HostPattern) { explanation.pattern = pattern.description }

    mutating func set(prefix: String) { explanation.prefix = prefix }

    mutating func set(services: [Int32]) { explanation.services = services.map(Int.init) }

    // MARK: Deciding

    private mutating func decide(_ question: ExplainQuestion, _ bytes: Bytes) -> Explanation.Verdict {
        add("request", "\(question.method) \(question.url)")
        guard question.isSecure ? terms.hasHTTPS : terms.hasHTTP else {
            return .closed(
                reason: "nobody listens: INTERLOCK_\(question.isSecure ? "HTTPS" : "HTTP")_LISTEN is off")
        }
        var head = RequestHead(
            limits: HeadLimits(
                requestLineSize: terms.requestLineSize, headSize: terms.headSize, fieldCount: terms.fieldCount))
        let result = head.parse(bytes)
        // What is no request is refused behind TLS, whatever it asks for.
        let host = result.isWhole ? bytes.slice(head.host) : Bytes.empty
        let index = result.isWhole ? table.host(host.raw) : -1
        if result.isWhole { addHost(index, name: host.string()) }
        if question.isSecure, let verdict = connect(question) { return verdict }
        switch result {
        case .refused(let refusal): return .answer(status: refusal.status, code: "\(refusal.reason.code)")
        case .incomplete: return .answer(status: 400, code: "bad_request_line")
        case .complete: break
        }
        if head.maxForwards == 0 {
            // The last hop answers.
            return head.method == .trace
                ? .answer(status: 405, code: "trace_not_offered") : .answer(status: 200, code: "ok")
        }
        switch table.lookup(host: host.raw, path: bytes.slice(head.path).raw) {
        case .unknownHost: return .answer(status: 503, code: "unknown_host")
        case .unknownPath:
            add("route", "none of the host's paths is \(bytes.slice(head.path).string()) or above it")
            return withoutRoute(question, head, bytes, host: index)
        case .route(let first):
            let chosen = table.route(from: first, method: bytes.slice(head.methodName).raw) { name, value in
                head.hasField(Bytes(name), value: value.map { Bytes($0) }, in: bytes, believesPeer: false)
            }
            addPassedOver(from: first, to: chosen)
            guard chosen >= 0 else { return withoutRoute(question, head, bytes, host: index) }
            return decide(question, head, bytes, route: chosen, first: first)
        }
    }

    /// What becomes of the TLS connection; nil: requests are read from it.
    private mutating func connect(_ question: ExplainQuestion) -> Explanation.Verdict? {
        let index = Array(question.serverName.utf8).withUnsafeBytes { table.host($0) }
        if index >= 0, case let pool = table.hostRules(index).passthroughPool, pool >= 0 {
            addPool(pool)
            return hasTask(pool) ? .passedOn : .closed(reason: "no_task")
        }
        return refusal(question.serverName).map { .closed(reason: "TLS is refused with the alert \($0)") }
    }

    private mutating func decide(
        _ question: ExplainQuestion, _ head: borrowing RequestHead, _ bytes: Bytes, route index: Int32, first: Int32
    ) -> Explanation.Verdict {
        let route = table.route(index)
        let path = bytes.slice(head.path)
        addRoute(route)
        let detour = table.hostRules(route.host).detour(
            isSecure: question.isSecure, requiresTLS: route.requiresTLS || terms.isSSLOnly, path: path.raw,
            namesHost: !head.host.isEmpty)
        if let verdict = verdict(detour, head, bytes) { return verdict }
        if route.rewritesPrefix, path.count == Int(route.prefixCount) {
            add("why", "the prefix is taken away, so the service's root is \(path.string())/")
            return .redirect(
                status: RedirectLocation.permanentStatus(head.method),
                location: written(bytes) { RedirectLocation.appendWithSlash(head, from: bytes, to: &$0) })
        }
        addPool(route.pool)
        let pool = table.pool(route.pool)
        if pool.memberCount == 0 { return withoutTask(route.pool) }
        if !route.pathPolicyIsRaw, !isUnambiguous(path, host: bytes.slice(head.host), first: first) {
            add("why", "servers may read the path as another one (path_policy)")
            return .answer(status: 400, code: "ambiguous_path")
        }
        let limit = table.service(pool.service).bodyLimit(setting: terms.maximumBodySize)
        if case .length(let size) = head.body, size > limit {
            add("why", "max_body_size is \(limit)")
            return .answer(status: 413, code: "body_too_large")
        }
        addTaskTarget(head, bytes, route)
        return hasTask(route.pool) ? .task : withoutTask(route.pool)
    }

    private mutating func withoutRoute(
        _ question: ExplainQuestion, _ head: borrowing RequestHead, _ bytes: Bytes, host index: Int32
    ) -> Explanation.Verdict {
        let detour = table.hostRules(index).detourWithoutRoute(
            isSecure: question.isSecure, requiresTLS: terms.isSSLOnly, path: bytes.slice(head.path).raw,
            namesHost: !head.host.isEmpty)
        return verdict(detour, head, bytes) ?? .answer(status: 404, code: "unknown_path")
    }

    private func verdict(
        _ detour: Detour, _ head: borrowing RequestHead, _ bytes: Bytes
    ) -> Explanation.Verdict? {
        switch detour {
        case .none: return nil
        case .misdirected: return .answer(status: 421, code: "misdirected")
        case .redirect(let index):
            let base = Bytes(table.redirectTarget(index))
            return .redirect(
                status: 302,
                location: written(bytes, base.count) {
                    RedirectLocation.append(base: base, head, from: bytes, to: &$0)
                })
        case .https:
            return .redirect(
                status: RedirectLocation.permanentStatus(head.method),
                location: written(bytes) {
                    RedirectLocation.appendHTTPS(head, from: bytes, port: terms.httpsPublicPort, to: &$0)
                })
        }
    }

    private mutating func withoutTask(_ pool: Int32) -> Explanation.Verdict {
        let holdMs = table.holdMs(ofPool: pool, setting: terms.holdMs) { _ in true }
        if holdMs > 0 {
            add("hold", "a request waits up to \(holdMs) ms for a task, if there was one a minute ago or less")
        }
        return .answer(status: 503, code: "no_task")
    }

    private func isUnambiguous(_ path: Bytes, host: Bytes, first: Int32) -> Bool {
        if PathPolicy.isPlain(path) { return true }
        return withUnsafeTemporaryAllocation(byteCount: 3 * path.count, alignment: 1) { memory in
            guard let readings = PathPolicy.readings(path, scratch: memory) else { return false }
            return table.leads(
                host: host.raw, paths: readings.n1.raw, readings.n2.raw, readings.unresolved.raw, to: first)
        }
    }

    /// Whether a task may be picked: one is ready, and none that nobody has probed yet.
    private func hasTask(_ index: Int32) -> Bool {
        let pool = table.pool(index)
        return (pool.firstMember..<(pool.firstMember + pool.memberCount)).contains { position in
            let member = table.member(position)
            guard member.isChecked, let health else { return true }
            return ["healthy", "unhealthy"].contains(health[member.identity]?.health)
        }
    }

    // MARK: Bytes

    func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

    /// What is written for a request, with room for all of it and its surroundings.
    private func written(_ request: Bytes, _ more: Int = 0, _ body: (inout ByteWriter) -> Void) -> String {
        withUnsafeTemporaryAllocation(byteCount: request.count + more + 4096, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            body(&writer)
            return writer.bytes.string()
        }
    }

    /// The target in the head that a task is sent.
    private mutating func addTaskTarget(_ head: borrowing RequestHead, _ bytes: Bytes, _ route: RouteEntry) {
        let context = RequestContext(
            clientAddress: Bytes("127.0.0.1"), stripPrefixCount: route.rewritesPrefix ? Int(route.prefixCount) : 0)
        let line = written(bytes) { HeadWriter.writeRequest(head, from: bytes, context: context, into: &$0) }
            .prefix { $0 != "\r\n" }
        let words = line.split(separator: " ")
        guard words.count == 3 else { return }
        explanation.taskTarget = String(words[1])
        add("path", "the task is asked for \(words[1])")
    }
}

extension Explanation {
    /// By a table that nobody serves yet: what is known of tasks is their state.
    public init(of question: ExplainQuestion, by snapshot: Snapshot, terms: ExplainTerms) {
        var numbering = Numbering()
        let table = RouteTable(compiling: snapshot, version: 0, numbering: &numbering)
        self = Explainer.explain(question, table, terms: terms)
    }
}

extension RequestHead.Result {
    fileprivate var isWhole: Bool {
        if case .complete = self { true } else { false }
    }
}
