// Owns a task for tests of health: an HTTP server that answers probes in a manner which the test changes while it runs,
// and everybody else well. It tells how often it was asked by whom.

import Kernel
import Synchronization

final class ProbedTask: Sendable {
    enum Manner: Sendable, Equatable {
        case status(Int)
        /// Well, but late.
        case slow(Int)
        case hangs
        case garbage
        case resets
        case closes
        /// Well, and badly, in turns.
        case flaps
        /// Well, behind interim answers and in pieces.
        case pieces
    }

    struct State: Sendable {
        var manner: Manner
        /// How requests are answered that are no probes; nil: well.
        var requestManner: Manner?
        var probeCount = 0
        var requestCount = 0
        /// The last probe, from its connection's first byte on.
        var lastProbe: [UInt8] = []
        var probeTimesNs: [UInt64] = []
        var isClosed = false
    }

    private let state: Mutex<State>
    private let listener = Mutex<ListeningSocket?>(nil)
    private let streams = Mutex<[Stream]>([])
    private let threads = Mutex<[Thread]>([])
    let port: UInt16

    init(_ manner: Manner = .status(200)) throws {
        state = Mutex(State(manner: manner))
        let opened = try ListeningSocket(.loopback)
        port = opened.localPort
        try serve(opened)
    }

    var probeCount: Int { state.withLock { $0.probeCount } }
    var requestCount: Int { state.withLock { $0.requestCount } }
    var lastProbe: String { state.withLock { String(decoding: $0.lastProbe, as: UTF8.self) } }
    var probeTimesNs: [UInt64] { state.withLock { $0.probeTimesNs } }

    func answer(_ manner: Manner) { state.withLock { $0.manner = manner } }
    func answerRequests(_ manner: Manner?) { state.withLock { $0.requestManner = manner } }

    /// Nobody listens any more; connections that stand are cut.
    func close() {
        let old = listener.withLock { listener in
            let old = listener
            listener = nil
            return old
        }
        old?.cancel()
        for stream in streams.withLock({ $0 }) { stream.cancel() }
        for thread in threads.withLock({ $0 }) { thread.join() }
        threads.withLock { $0 = [] }
        streams.withLock { $0 = [] }
        old?.close()
    }

    /// Listens again at the same port.
    func open() throws { try serve(try ListeningSocket(.loopback(port: port))) }

    private func serve(_ opened: ListeningSocket) throws {
        listener.withLock { $0 = opened }
        let thread = try Thread.start(name: "probed task") { [self] in
            while let accepted = try? opened.accept(timeoutMs: -1) {
                streams.withLock { $0.append(accepted.stream) }
                let thread = try? Thread.start(name: "probed") { [self] in
                    do { try talk(accepted.stream) } catch {}
                    accepted.stream.close()
                }
                if let thread { threads.withLock { $0.append(thread) } }
            }
        }
        threads.withLock { $0.append(thread) }
    }

    private func talk(_ stream: Stream) throws {
        var input: [UInt8] = []
        while true {
            while !input.contains(subsequence: Array("\r\n\r\n".utf8))
                || input.starts(with: [13, 10, 13, 10, 0, 13])
                    && input.count < 20
            {
                let more = try stream.readSome(timeoutMs: 20_000)
                if more.isEmpty { return }
                input += more
            }
            let isProbe = input.contains(subsequence: Array("User-Agent: interlock\r\n".utf8))
            let manner = note(input, isProbe: isProbe)
            input = []
            guard try answer(manner, on: stream) else { return }
            if isProbe { return }
        }
    }

    private func note(_ input: [UInt8], isProbe: Bool) -> Manner {
        state.withLock { state in
            guard isProbe else {
                state.requestCount += 1
                return state.requestManner ?? .status(200)
            }
            state.probeCount += 1
            state.lastProbe = input
            state.probeTimesNs.append(Clock.monotonicNs())
            if state.manner == .flaps { return .status(state.probeCount % 2 == 0 ? 200 : 500) }
            return state.manner
        }
    }

    /// - Returns: whether the connection goes on.
    private func answer(_ manner: Manner, on stream: Stream) throws -> Bool {
        func send(_ text: String) throws { try stream.writeAll(Array(text.utf8), timeoutMs: 5000) }
        switch manner {
        case .status(let status): try send("HTTP/1.1 \(status) X\r\nContent-Length: 2\r\n\r\nok")
        case .slow(let milliseconds):
            Thread.sleep(milliseconds: milliseconds)
            try send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        case .hangs:
            while try !stream.readSome(timeoutMs: 20_000).isEmpty {}
            return false
        case .garbage: try send("SSH-2.0-OpenSSH_9.2\r\n\r\n")
        case .resets:
            Socket.resetOnClose(stream.descriptor)
            return false
        case .closes: return false
        case .flaps: return false
        case .pieces:
            for piece in [
                "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n", "\r\nHTTP/1.", "1 204 N", "o\r\nX: y\r\n\r", "\n",
            ] {
                try send(piece)
                Thread.sleep(milliseconds: 10)
            }
        }
        return true
    }
}

extension [UInt8] {
    func contains(subsequence: [UInt8]) -> Bool {
        guard count >= subsequence.count else { return false }
        return (0...count - subsequence.count).contains { self[$0...].starts(with: subsequence) }
    }
}
