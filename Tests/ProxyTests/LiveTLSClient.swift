// Owns a TLS client for tests with a running proxy: one connection, everything decrypted into one place, and the truth
// about how it ended.

@testable import TLS
import Kernel
import Support

final class LiveTLSClient {
    struct Failure: Error, CustomStringConvertible { let description: String }

    enum End: Equatable {
        /// close_notify came before FIN.
        case said
        /// FIN, or a reset, came without it.
        case cut
    }

    let stream: Stream
    private let workspace: TLSWorkspace
    private let tls: TLSStream
    private var input: [UInt8] = []
    private(set) var end: End?

    /// Connects and shakes hands.
    /// - Parameters:
    ///   - trusted: verify the certificate against it; nil: accept any.
    ///   - session: to resume.
    init(
        port: UInt16, serverName: String?, trusted: [UInt8]? = nil, session: TLSResumption? = nil,
        pieceSize: Int = .max
    ) throws {
        stream = try Stream.connect(to: .loopback(port: port), timeoutMs: 5000)
        guard let workspace = TLSWorkspace() else { throw Failure(description: "no memory") }
        self.workspace = workspace
        let policy = try TLSClientPolicy(
            TLSClientSettings(verifies: trusted != nil && serverName != nil, authorities: trusted))
        guard let tls = TLSStream(client: policy, serverName: serverName, session: session, workspace: workspace) else {
            throw Failure(description: "no connection")
        }
        self.tls = tls
        var received: [UInt8] = []
        while true {
            let result = received.withUnsafeBytes { bytes in
                workspace.setInput(bytes)
                defer { workspace.setInput(UnsafeRawBufferPointer(start: nil, count: 0)) }
                let result = tls.handshake()
                if result == .done { collect() }
                return result
            }
            try flush(pieceSize: pieceSize)
            if case .failed(let failure) = result { throw Failure(description: "\(failure.code)") }
            if result == .done { break }
            received = try stream.readSome(maximum: 65536, timeoutMs: 10_000)
            if received.isEmpty { throw Failure(description: "closed in the handshake") }
        }
    }

    deinit { tls.free() }

    var isResumed: Bool { tls.isResumed }
    var certificate: [UInt8] { tls.peerCertificateDER() }
    func takeSession() -> TLSResumption? { tls.takeSession() }

    func write(_ text: String) throws {
        let bytes = Array(text.utf8)
        let failure = bytes.withUnsafeBytes { raw in raw.baseAddress.flatMap { tls.write($0, count: raw.count) } }
        if let failure { throw Failure(description: "\(failure.code)") }
        try flush()
    }

    func closeNotify() throws {
        tls.closeNotify()
        try flush()
    }

    /// The next answer, with a length.
    func readAnswer() throws -> (head: PlainHead, body: [UInt8]) {
        while true {
            if let head = PlainHead(input, at: 0) {
                let length = head.values("content-length").first.flatMap { Int($0) } ?? 0
                if input.count >= head.count + length {
                    let body = Array(input[head.count..<head.count + length])
                    input.removeFirst(head.count + length)
                    return (head, body)
                }
            }
            guard try readMore() else {
                throw Failure(description: "closed: \(String(decoding: input, as: UTF8.self))")
            }
        }
    }

    func get(_ host: String, _ path: String = "/") throws -> (head: PlainHead, body: [UInt8]) {
        try write("GET \(path) HTTP/1.1\r\nHost: \(host)\r\n\r\n")
        return try readAnswer()
    }

    /// Reads until the connection ends.
    func readToEnd() throws -> End {
        while try readMore() {}
        return end ?? .cut
    }

    private func readMore() throws -> Bool {
        if end != nil { return false }
        guard let bytes = try? stream.readSome(maximum: 65536, timeoutMs: 10_000), !bytes.isEmpty else {
            end = .cut
            return false
        }
        bytes.withUnsafeBytes {
            workspace.setInput($0)
            collect()
            workspace.setInput(UnsafeRawBufferPointer(start: nil, count: 0))
        }
        try flush()
        return true
    }

    private func collect() {
        var buffer = [UInt8](repeating: 0, count: 20_000)
        while true {
            let result = buffer.withUnsafeMutableBytes { raw in
                raw.baseAddress.map { tls.read(into: $0, capacity: raw.count) } ?? .needsInput
            }
            switch result {
            case .bytes(let count): input += buffer[..<count]
            case .needsInput: return
            case .ended:
                end = .said
                return
            case .failed:
                end = .cut
                return
            }
        }
    }

    private func flush(pieceSize: Int = .max) throws {
        let bytes = Array(workspace.output)
        workspace.dropOutput()
        for start in stride(from: 0, to: bytes.count, by: min(pieceSize, max(1, bytes.count))) {
            let end = min(bytes.count, start + min(pieceSize, bytes.count))
            try stream.writeAll(Array(bytes[start..<end]), timeoutMs: 5000)
        }
    }
}
