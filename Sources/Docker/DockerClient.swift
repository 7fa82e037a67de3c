// Asks the engine: one connection, kept alive, one call at a time, each with a deadline and a size limit.
// The version is agreed on at every new connection, never pinned. Any failure is a value that names the call; nothing
// that comes back can trap. What answers mean is not known here.

import Kernel
import Synchronization
import TLS

/// What a call brought back.
struct DockerResponse: Sendable {
    let status: Int
    let body: [UInt8]
}

final class DockerClient: @unchecked Sendable {
    let endpoint: DockerEndpoint
    let callTimeoutMs: Int
    let bodyLimit: Int
    /// What this client may write; fixed for its life.
    let writes: DockerWrites

    // Touched by the calling thread only.
    private var connection: DockerConnection?
    private var tls: TLSContext?
    private var agreement = Agreement.open
    private let shared = Mutex(Shared())

    /// What is known about the version to speak.
    private enum Agreement: Equatable {
        case open
        case agreed(DockerVersion)
        /// The engine would take none of ours, or names none: ask without a version and take its own.
        case engineChooses
    }

    private struct Shared {
        var transport: DockerTransport?
        var isCancelled = false
    }

    /// - Parameters:
    ///   - callTimeoutMs: for a whole call, its connection and its answer.
    ///   - bodyLimit: bytes of one answer.
    ///   - writes: what it may change; nothing, unless it is made for that.
    init(
        endpoint: DockerEndpoint, callTimeoutMs: Int = 30_000, bodyLimit: Int = 512 << 20, writes: DockerWrites = []
    ) {
        self.endpoint = endpoint
        self.callTimeoutMs = callTimeoutMs
        self.bodyLimit = bodyLimit
        self.writes = writes
    }

    /// The version that the engine agreed to; nil before the first call, or if it was left to the engine.
    var version: DockerVersion? {
        if case .agreed(let version) = agreement { return version }
        return nil
    }

    /// Calls and expects a 2xx answer.
    func get(_ call: DockerCall) throws(DockerError) -> [UInt8] { try send(call, body: nil) }

    /// Calls with a JSON body, if there is one, and expects a 2xx answer.
    /// - Throws: `.notAllowed`, with nothing sent, for a call that this client may not make.
    func send(_ call: DockerCall, body: [UInt8]?) throws(DockerError) -> [UInt8] {
        guard call.isAllowed(by: writes) else {
            throw DockerError(kind: .notAllowed, call: call.name, message: "not allowed by the settings")
        }
        let deadline = Deadline(inMs: callTimeoutMs)
        var response = try perform(call, body, deadline)
        if response.status == 400, Self.isAboutVersion(response.body) {
            // The engine was replaced behind this connection, or takes none of our versions.
            let refused = agreement
            disconnect()
            try connect(deadline)
            if agreement == refused { agreement = .engineChooses }
            response = try perform(call, body, deadline)
        }
        guard (200..<300).contains(response.status) else { throw Self.failure(response, call) }
        return response.body
    }

    /// Begins a call whose answer does not end, and hands its pieces over until `piece` says false or the stream ends.
    /// - Parameter silenceMs: how long nothing may come before the call is given up.
    func stream(
        _ call: DockerCall, silenceMs: Int, begun: () -> Void, piece: (UnsafeRawBufferPointer) -> Bool
    ) throws(DockerError) {
        let deadline = Deadline(inMs: callTimeoutMs)
        disconnect()
        try connect(deadline)
        guard let connection else { return }
        do throws(DockerError) {
            try connection.send(call, agreedVersion, deadline)
            let status = try connection.receiveHead(deadline)
            guard (200..<300).contains(status) else {
                let body = try connection.receiveBody(limit: 1 << 20, deadline)
                // On a new connection the version was just agreed on: the engine takes none of ours.
                if status == 400, Self.isAboutVersion(body) { agreement = .engineChooses }
                throw Self.failure(DockerResponse(status: status, body: body), call)
            }
            begun()
            while try connection.receivePiece(Deadline(inMs: silenceMs), piece) {}
            disconnect()
        } catch {
            disconnect()
            throw error.during(call.name)
        }
    }

    /// Ends the call under way, and all later ones, from any thread.
    func cancel() {
        shared.withLock { shared in
            shared.isCancelled = true
            shared.transport?.cancel()
        }
    }

    /// Ends the call under way only.
    func interrupt() {
        shared.withLock { $0.transport?.cancel() }
    }

    func disconnect() {
        connection = nil
        let transport = shared.withLock { shared in
            defer { shared.transport = nil }
            return shared.transport
        }
        transport?.close()
    }

    // MARK: Steps

    private var agreedVersion: DockerVersion? {
        if case .agreed(let version) = agreement { return version }
        return nil
    }

    /// One call on a live connection; a kept one that proves dead before it answered is replaced once. What writes
    /// goes over a new connection, so that it is never sent twice.
    private func perform(
        _ call: DockerCall, _ body: [UInt8]?, _ deadline: Deadline
    ) throws(DockerError) -> DockerResponse {
        if call.method == .get, let connection, connection.isUsable {
            do throws(DockerError) {
                return try exchange(call, body, connection, deadline)
            } catch {
                disconnect()
                guard !connection.hasAnswered, error.kind != .timedOut, error.kind != .cancelled else {
                    throw error.during(call.name)
                }
            }
        }
        do throws(DockerError) {
            disconnect()
            try connect(deadline)
            guard let connection else { throw DockerError(kind: .cancelled, call: call.name, message: "stopped") }
            return try exchange(call, body, connection, deadline)
        } catch {
            disconnect()
            throw error.during(call.name)
        }
    }

    private func exchange(
        _ call: DockerCall, _ body: [UInt8]?, _ connection: DockerConnection, _ deadline: Deadline
    ) throws(DockerError) -> DockerResponse {
        do throws(DockerError) {
            try connection.send(call, body: body, agreedVersion, deadline)
            let status = try connection.receiveHead(deadline)
            let body = try connection.receiveBody(limit: bodyLimit, deadline)
            if !connection.isUsable { disconnect() }
            return DockerResponse(status: status, body: body)
        } catch {
            if shared.withLock({ $0.isCancelled }) {
                throw DockerError(kind: .cancelled, call: call.name, message: "stopped")
            }
            throw error
        }
    }

    /// Connects and agrees on a version.
    private func connect(_ deadline: Deadline) throws(DockerError) {
        if tls == nil, let credentials = endpoint.credentials { tls = try Self.context(credentials) }
        let transport = try DockerTransport.open(endpoint, tls: tls, deadline: deadline)
        let isCancelled = shared.withLock { shared in
            shared.transport = transport
            return shared.isCancelled
        }
        guard !isCancelled else {
            disconnect()
            throw DockerError(kind: .cancelled, call: "", message: "stopped")
        }
        let fresh = DockerConnection(transport: transport, hostHeader: hostHeader, writes: writes)
        connection = fresh
        do throws(DockerError) {
            try negotiate(fresh, deadline)
        } catch {
            disconnect()
            throw error.during(DockerCall.ping.name)
        }
    }

    private func negotiate(_ connection: DockerConnection, _ deadline: Deadline) throws(DockerError) {
        try connection.send(.ping, nil, deadline)
        let status = try connection.receiveHead(deadline)
        let body = try connection.receiveBody(limit: 1 << 20, deadline)
        // A proxy in front of the socket may forbid the ping; the engine's own failure is a failure.
        guard status < 500 else { throw Self.failure(DockerResponse(status: status, body: body), .ping) }
        let wasRefused = agreement == .engineChooses
        if let engines = connection.engineVersion {
            guard engines >= .lowest else {
                throw DockerError(
                    kind: .tooOld, call: "",
                    message:
                        "the engine speaks API \(engines), and at least \(DockerVersion.lowest) is needed")
            }
            agreement = .agreed(min(engines, .highest))
        } else {
            agreement = .engineChooses
        }
        if wasRefused { agreement = .engineChooses }
        if !connection.isUsable {
            // It closes after each answer: open another for the call itself.
            disconnect()
            let transport = try DockerTransport.open(endpoint, tls: tls, deadline: deadline)
            shared.withLock { $0.transport = transport }
            self.connection = DockerConnection(transport: transport, hostHeader: hostHeader, writes: writes)
        }
    }

    private var hostHeader: String {
        guard case .tcp(let host, let port) = endpoint.address else { return "docker" }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private static func context(_ credentials: DockerEndpoint.Credentials) throws(DockerError) -> TLSContext {
        do throws(TLSError) {
            return try TLSContext(
                clientTrusting: credentials.authorityFile,
                credential: TLSCredential(
                    certificateFile: credentials.certificateFile, keyFile: credentials.keyFile))
        } catch {
            throw DockerError(kind: .tls, call: "", message: error.description)
        }
    }

    // MARK: What the engine says when it refuses

    private static func isAboutVersion(_ body: [UInt8]) -> Bool {
        let text = message(in: body).lowercased()
        return text.contains("client version") && (text.contains("too old") || text.contains("too new"))
    }

    private static func failure(_ response: DockerResponse, _ call: DockerCall) -> DockerError {
        DockerError(
            kind: .status(response.status), call: call.name,
            message: "the engine answered \(response.status): \(message(in: response.body))")
    }

    /// `{"message": ...}`, or the text as it is, shortened.
    private static func message(in body: [UInt8]) -> String {
        var reader = JSONReader(body)
        var message = ""
        try? reader.object { (reader, name) throws(JSONError) in
            if name == "message" { message = try reader.string() } else { try reader.skip() }
        }
        if message.isEmpty { message = String(decoding: body.prefix(300), as: UTF8.self) }
        return message.split(whereSeparator: \.isNewline).joined(separator: " ").prefix(300).description
    }
}
