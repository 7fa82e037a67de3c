// Owns a task that speaks TLS, for tests with a running proxy: a thread for each connection, and what it has seen. What
// it answers depends on the path, how it treats a handshake on its manner.

import Kernel
import Support
import Synchronization
import TLS
import Wire

final class TLSTask: Sendable {
    enum Manner: Sendable {
        case proper
        /// Closes, with FIN, when the ClientHello has come.
        case closesInHandshake
        case resetsInHandshake
        case answersPlainly
        case isSilent
    }

    struct Seen: Sendable {
        var connectionCount = 0
        var fullCount = 0
        var resumedCount = 0
        /// Server names of the ClientHellos.
        var names: [String] = []
        /// First lines and bodies' sizes.
        var requests: [String] = []
        /// What came in clear before the ClientHello.
        var preludes: [String] = []
        /// Connections that ended with close_notify.
        var properEnds = 0
    }

    private struct Failure: Error {}

    let port: UInt16
    private let manner: Manner
    private let expectsPrelude: Bool
    private let policy: TLSServerPolicy
    private let certificate: TLSCertificate
    private let listener: ListeningSocket
    private let state = Mutex(Seen())
    private let threads = Mutex<[Thread]>([])
    private let streams = Mutex<[Stream]>([])

    init(
        _ certificate: TLSCertificate, manner: Manner = .proper, expectsPrelude: Bool = false,
        settings: TLSPolicySettings = TLSPolicySettings()
    ) throws {
        self.certificate = certificate
        self.manner = manner
        self.expectsPrelude = expectsPrelude
        policy = try TLSServerPolicy(settings, tickets: TLSTickets())
        listener = try ListeningSocket(.loopback)
        port = listener.localPort
        let thread = try Thread.start(name: "tls task") { [self] in
            while let accepted = try? listener.accept(timeoutMs: -1) {
                state.withLock { $0.connectionCount += 1 }
                streams.withLock { $0.append(accepted.stream) }
                let number = state.withLock { $0.connectionCount }
                let thread = try? Thread.start(name: "tls connection") { [self] in
                    do { try serve(accepted.stream, number) } catch {}
                    accepted.stream.close()
                }
                if let thread { threads.withLock { $0.append(thread) } }
            }
        }
        threads.withLock { $0.append(thread) }
    }

    var seen: Seen { state.withLock { $0 } }

    func stop() {
        listener.cancel()
        for stream in streams.withLock({ $0 }) { stream.cancel() }
        for thread in threads.withLock({ $0 }) { thread.join() }
        listener.close()
    }

    // MARK: One connection

    private func serve(_ stream: Stream, _ number: Int) throws {
        var input = try stream.readSome(timeoutMs: 10_000)
        if expectsPrelude {
            while !input.contains(10) { input += try stream.readSome(timeoutMs: 10_000) }
            let end = (input.firstIndex(of: 10) ?? 0) + 1
            let prelude = String(decoding: input[..<end], as: UTF8.self)
            state.withLock { $0.preludes.append(prelude) }
            input.removeFirst(end)
        }
        guard let name = try serverName(stream, &input) else { return }
        state.withLock { $0.names.append(name) }
        switch manner {
        case .proper: break
        case .closesInHandshake: return
        case .resetsInHandshake: return Socket.resetOnClose(stream.descriptor)
        case .answersPlainly:
            return try stream.writeAll(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8), timeoutMs: 1000)
        case .isSilent:
            while try !stream.readSome(timeoutMs: 30_000).isEmpty {}
            return
        }
        guard let workspace = TLSWorkspace(),
            let tls = Array(name.utf8).withUnsafeBytes({
                TLSStream(server: policy, certificates: [certificate], serverName: $0, workspace: workspace)
            })
        else { throw Failure() }
        defer { tls.free() }
        var connection = Connection(stream: stream, tls: tls, workspace: workspace, number: number, name: name)
        try connection.shakeHands(input)
        state.withLock { if tls.isResumed { $0.resumedCount += 1 } else { $0.fullCount += 1 } }
        while let request = try connection.readRequest() {
            state.withLock { $0.requests.append("\(request.head.first) \(request.body.count)") }
            guard try connection.answer(request) else { return }
        }
        if connection.hasEndedProperly { state.withLock { $0.properEnds += 1 } }
    }

    private func serverName(_ stream: Stream, _ input: inout [UInt8]) throws -> String? {
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: ClientHello.sizeLimit, alignment: 1)
        defer { scratch.deallocate() }
        while true {
            let result = input.withUnsafeBytes { bytes -> String?? in
                switch ClientHello.parse(Bytes(bytes), scratch: scratch) {
                case .complete(let name, _): name.string()
                case .incomplete: .some(nil)
                case .refused: nil
                }
            }
            guard let found = result else { return nil }
            if let found { return found }
            input += try stream.readSome(timeoutMs: 10_000)
        }
    }

    private struct Connection {
        let stream: Stream
        let tls: TLSStream
        let workspace: TLSWorkspace
        let number: Int
        let name: String
        var plain: [UInt8] = []
        var hasEndedProperly = false

        init(stream: Stream, tls: TLSStream, workspace: TLSWorkspace, number: Int, name: String) {
            self.stream = stream
            self.tls = tls
            self.workspace = workspace
            self.number = number
            self.name = name
        }

        private func send() throws {
            defer { workspace.dropOutput() }
            if workspace.output.count > 0 { try stream.writeAll(Array(workspace.output), timeoutMs: 20_000) }
        }

        mutating func shakeHands(_ input: [UInt8]) throws {
            var input = input
            while true {
                let result = input.withUnsafeBytes { bytes -> TLSStream.Handshake in
                    workspace.setInput(bytes)
                    let result = tls.handshake()
                    if result == .done { decrypt() }
                    return result
                }
                try send()
                switch result {
                case .done: return
                case .failed: throw Failure()
                case .needsInput: input = try stream.readSome(timeoutMs: 10_000)
                }
                if input.isEmpty { throw Failure() }
            }
        }

        /// Everything that is in the input.
        private mutating func decrypt() {
            var buffer = [UInt8](repeating: 0, count: 20_000)
            while true {
                let result = buffer.withUnsafeMutableBytes { raw in
                    raw.baseAddress.map { tls.read(into: $0, capacity: raw.count) }
                }
                switch result {
                case .bytes(let count): plain += buffer[..<count]
                case .ended:
                    hasEndedProperly = true
                    return
                default: return
                }
            }
        }

        /// - Returns: false at the end of the stream.
        mutating func readMore() throws -> Bool {
            if hasEndedProperly { return false }
            let input = try stream.readSome(timeoutMs: 30_000)
            if input.isEmpty { return false }
            input.withUnsafeBytes {
                workspace.setInput($0)
                decrypt()
            }
            try send()
            return true
        }

        mutating func readRequest() throws -> (head: PlainHead, body: [UInt8])? {
            while true {
                if let head = PlainHead(plain, at: 0) {
                    let length = head.values("content-length").first.flatMap { Int($0) } ?? 0
                    while plain.count < head.count + length { guard try readMore() else { return nil } }
                    let body = Array(plain[head.count..<head.count + length])
                    plain.removeFirst(head.count + length)
                    return (head, body)
                }
                guard try readMore() else { return nil }
            }
        }

        private func write(_ bytes: [UInt8]) throws {
            var start = 0
            while start < bytes.count {
                let end = min(bytes.count, start + 60_000)
                let failure = bytes[start..<end].withUnsafeBytes { raw in
                    raw.baseAddress.flatMap { tls.write($0, count: raw.count) }
                }
                if failure != nil { throw Failure() }
                try send()
                start = end
            }
        }

        /// - Returns: whether to go on with this connection.
        mutating func answer(_ request: (head: PlainHead, body: [UInt8])) throws -> Bool {
            let path = request.head.first.split(separator: " ")[1]
            let facts = "X-Connection: \(number)\r\nX-Resumed: \(tls.isResumed ? 1 : 0)\r\nX-Name: \(name)\r\n"
            switch path {
            case "/until-notify", "/until-cut":
                try write(Array("HTTP/1.1 200 OK\r\n\(facts)\r\nto the end".utf8))
                if path == "/until-notify" {
                    tls.closeNotify()
                    try send()
                }
                return false
            case "/hang-up": return false
            case "/ws":
                try write(Array("HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".utf8))
                while true {
                    try write(plain)
                    plain = []
                    guard try readMore() else { return false }
                }
            default:
                let head = "HTTP/1.1 200 OK\r\nContent-Length: \(request.body.count)\r\n\(facts)\r\n"
                try write(Array(head.utf8) + request.body)
                return true
            }
        }
    }
}
