// A Docker daemon that says what a test tells it to, well or badly: answers by path, event streams that a test feeds,
// and every way in which a connection can go wrong. It notes all requests. It knows nothing of the client under test.

import Kernel
import Synchronization

public final class FakeDocker: Sendable {
    public struct Request: Hashable, Sendable {
        public let method: String
        /// Without the version.
        public let path: String
        /// As sent, percent-encoded.
        public let query: String
        /// "1.41"; "" without one.
        public let version: String
        public var body: [UInt8] = []
    }

    public enum Answer: Sendable {
        /// A whole answer with Content-Length.
        case body(Int, [UInt8])
        /// A whole answer in chunks of a size, with a pause before each.
        case chunks([UInt8], size: Int, pauseMs: Int)
        /// These bytes as they are, then the end of the connection.
        case raw([UInt8])
        /// Nothing, until the client gives up.
        case silence
        /// An event stream that lives until the test or the client ends it.
        case events

        public static func json(_ text: String, status: Int = 200) -> Answer { .body(status, Array(text.utf8)) }

        public static func failure(_ status: Int, _ message: String) -> Answer {
            .json("{\"message\":\"\(message)\"}", status: status)
        }
    }

    private struct State {
        var answers: [String: @Sendable (Request) -> Answer] = [:]
        var requests: [Request] = []
        var open: [Int: Stream] = [:]
        var eventStreams: Set<Int> = []
        var threads: [Thread] = []
        var connectionCount = 0
        var apiVersion: String? = "1.41"
        var oldestVersion = "1.12"
        var isStopped = false
    }

    /// The path of the socket.
    public let path: String
    private let listener: ListeningSocket
    private let state = Mutex(State())
    private let acceptor = Mutex<Thread?>(nil)

    /// A path for a socket that nobody uses.
    public static func freshPath() -> String { "/tmp/fake-docker-\(Machine.random() % 1_000_000_000).sock" }

    public init(path: String = FakeDocker.freshPath()) throws {
        guard let address = SocketAddress(unixPath: path) else {
            throw SystemError(code: SystemError.noAddressCode, operation: path)
        }
        self.path = path
        listener = try ListeningSocket(address)
        let thread = try Thread.start(name: "fake-docker") { self.accept() }
        acceptor.withLock { $0 = thread }
    }

    // MARK: What the test says

    public func answer(_ path: String, _ answer: @escaping @Sendable (Request) -> Answer) {
        state.withLock { $0.answers[path] = answer }
    }

    public func answer(_ path: String, _ fixed: Answer) { answer(path) { _ in fixed } }

    /// nil: the ping names no version.
    public func setVersion(_ version: String?, oldest: String = "1.12") {
        state.withLock { state in
            state.apiVersion = version
            state.oldestVersion = oldest
        }
    }

    /// Sends a line to all open event streams.
    public func emit(_ line: String) {
        let streams = state.withLock { state in state.eventStreams.compactMap { state.open[$0] } }
        let chunk = Self.chunk(Array((line + "\n").utf8))
        for stream in streams { try? stream.writeAll(chunk, timeoutMs: 5_000) }
    }

    /// Cuts all connections that are open now.
    public func cutConnections() {
        let streams = state.withLock { Array($0.open.values) }
        for stream in streams { stream.cancel() }
    }

    public var requests: [Request] { state.withLock { $0.requests } }
    public var openEventStreamCount: Int { state.withLock { $0.eventStreams.count } }
    public var connectionCount: Int { state.withLock { $0.connectionCount } }

    public func requestCount(_ path: String) -> Int { requests.count { $0.path == path } }

    /// Ends everything and removes the socket's path as a daemon does.
    public func stop() {
        let (streams, wasStopped) = state.withLock { state in
            defer { state.isStopped = true }
            return (Array(state.open.values), state.isStopped)
        }
        guard !wasStopped else { return }
        listener.cancel()
        for stream in streams { stream.cancel() }
        acceptor.withLock { $0 }?.join()
        for thread in state.withLock({ $0.threads }) { thread.join() }
        listener.close()
        removeFile(path)
    }

    deinit { stop() }

    // MARK: Connections

    private func accept() {
        while !state.withLock({ $0.isStopped }) {
            guard let accepted = try? listener.accept(timeoutMs: 200) else { continue }
            let number = state.withLock { state in
                state.connectionCount += 1
                state.open[state.connectionCount] = accepted.stream
                return state.connectionCount
            }
            guard let thread = try? Thread.start(name: "fake-docker-\(number)", body: { self.serve(number) }) else {
                continue
            }
            state.withLock { $0.threads.append(thread) }
        }
    }

    private func serve(_ number: Int) {
        guard let stream = state.withLock({ $0.open[number] }) else { return }
        var buffer: [UInt8] = []
        while let request = Self.readRequest(stream, &buffer) {
            state.withLock { $0.requests.append(request) }
            guard perform(reply(to: request), on: stream, number) else { break }
        }
        state.withLock { state in
            state.open[number] = nil
            state.eventStreams.remove(number)
        }
        stream.close()
    }

    private func reply(to request: Request) -> Answer {
        let (answer, newest, oldest) = state.withLock { ($0.answers[request.path], $0.apiVersion, $0.oldestVersion) }
        if !request.version.isEmpty, let newest {
            if Self.isOlder(newest, than: request.version) {
                return .failure(
                    400, "client version \(request.version) is too new. Maximum supported API version is \(newest)")
            }
            if Self.isOlder(request.version, than: oldest) {
                return .failure(
                    400,
                    "client version \(request.version) is too old. Minimum supported API version is \(oldest), "
                        + "please upgrade your client to a newer version")
            }
        }
        if let answer { return answer(request) }
        switch request.path {
        case "/_ping": return .body(200, Array("OK".utf8))
        case "/events": return .events
        default: return .failure(404, "page not found")
        }
    }

    /// - Returns: false when the connection is over.
    private func perform(_ answer: Answer, on stream: Stream, _ number: Int) -> Bool {
        switch answer {
        case .body(let status, let body):
            return send(head(status, "Content-Length: \(body.count)") + body, to: stream)
        case .chunks(let body, let size, let pauseMs):
            guard send(head(200, "Transfer-Encoding: chunked"), to: stream) else { return false }
            var rest = body[...]
            while !rest.isEmpty {
                if pauseMs > 0 { Thread.sleep(milliseconds: pauseMs) }
                guard send(Self.chunk(Array(rest.prefix(size))), to: stream) else { return false }
                rest = rest.dropFirst(size)
            }
            return send(Array("0\r\n\r\n".utf8), to: stream)
        case .raw(let bytes):
            _ = send(bytes, to: stream)
            return false
        case .silence:
            _ = try? stream.readSome(timeoutMs: 60_000)
            return false
        case .events:
            guard send(head(200, "Transfer-Encoding: chunked"), to: stream) else { return false }
            state.withLock { _ = $0.eventStreams.insert(number) }
            _ = try? stream.readSome(timeoutMs: -1)
            return false
        }
    }

    private func send(_ bytes: [UInt8], to stream: Stream) -> Bool {
        (try? stream.writeAll(bytes, timeoutMs: 30_000)) != nil
    }

    private func head(_ status: Int, _ length: String) -> [UInt8] {
        let version = state.withLock { $0.apiVersion }
        let versionField = version.map { "Api-Version: \($0)\r\n" } ?? ""
        return Array(
            ("HTTP/1.1 \(status) Text\r\n\(versionField)Content-Type: application/json\r\n"
                + "Server: Docker/20.10.24 (linux)\r\nDate: Sun, 22 Nov 2026 16:01:14 GMT\r\n\(length)\r\n\r\n").utf8)
    }

    private static func chunk(_ bytes: [UInt8]) -> [UInt8] {
        Array("\(String(bytes.count, radix: 16))\r\n".utf8) + bytes + [13, 10]
    }

    private static func readRequest(_ stream: Stream, _ buffer: inout [UInt8]) -> Request? {
        let end: [UInt8] = [13, 10, 13, 10]
        while true {
            if let position = buffer.indices.first(where: { buffer[$0...].starts(with: end) }) {
                let text = String(decoding: buffer[..<position], as: UTF8.self)
                buffer.removeSubrange(..<(position + 4))
                var request = parse(text)
                let size = bodySize(text)
                while buffer.count < size {
                    guard let more = try? stream.readSome(timeoutMs: -1), !more.isEmpty else { return nil }
                    buffer += more
                }
                request?.body = Array(buffer.prefix(size))
                buffer.removeFirst(size)
                return request
            }
            guard let more = try? stream.readSome(timeoutMs: -1), !more.isEmpty else { return nil }
            buffer += more
        }
    }

    private static func parse(_ text: String) -> Request? {
        let line = text.split(separator: "\r\n", maxSplits: 1).first ?? ""
        let words = line.split(separator: " ")
        guard words.count == 3 else { return nil }
        let target = words[1].split(separator: "?", maxSplits: 1)
        var path = target.first.map(String.init) ?? ""
        var version = ""
        if path.hasPrefix("/v"), let slash = path.dropFirst().firstIndex(of: "/") {
            version = String(path.dropFirst(2).prefix(upTo: slash))
            path = String(path[slash...])
        }
        return Request(
            method: String(words[0]), path: path, query: target.count > 1 ? String(target[1]) : "", version: version)
    }

    private static func bodySize(_ head: String) -> Int {
        let name = "Content-Length: "
        return head.split(separator: "\r\n").first { $0.hasPrefix(name) }.flatMap { Int($0.dropFirst(name.count)) } ?? 0
    }

    private static func isOlder(_ left: String, than right: String) -> Bool {
        let numbers = [left, right].map { $0.split(separator: ".").compactMap { Int($0) } }
        return numbers[0].lexicographicallyPrecedes(numbers[1])
    }
}
