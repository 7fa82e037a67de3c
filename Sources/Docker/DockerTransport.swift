// A byte stream to the engine: a Unix-domain or TCP socket, with TLS around it where the endpoint asks for it.
// One thread uses it; `cancel` may come from any. Knows nothing of HTTP.

import Kernel
import Model
import Synchronization
import TLS

/// When a call must be over. A plain point in time, so that no step can start its own clock.
struct Deadline: Sendable {
    let atNs: UInt64

    init(inMs milliseconds: Int) { atNs = Clock.monotonicNs() &+ UInt64(max(0, milliseconds)) &* 1_000_000 }

    /// At least 0; rounded up, so that the last wait does not end early.
    var remainingMs: Int {
        let now = Clock.monotonicNs()
        return now >= atNs ? 0 : Int((atNs - now) / 1_000_000) + 1
    }
}

final class DockerTransport: @unchecked Sendable {
    private let stream: Stream
    // Touched by the owning thread only.
    private var session: TLSSession?
    private let isOpen = Mutex(true)

    private init(stream: Stream) { self.stream = stream }

    /// Connects; tries all addresses of a host name in turn.
    static func open(
        _ endpoint: DockerEndpoint, tls: TLSContext?, deadline: Deadline
    ) throws(DockerError) -> DockerTransport {
        let transport: DockerTransport
        switch endpoint.address {
        case .unix(let path):
            guard let address = SocketAddress(unixPath: path) else {
                throw DockerError(kind: .unreachable, call: "", message: "\(endpoint) is no usable socket path")
            }
            transport = try connect([address], endpoint, deadline)
        case .tcp(let host, let port):
            let addresses: [SocketAddress]
            do throws(Resolver.Failure) {
                addresses = try Resolver.resolve(host: host, port: port)
            } catch {
                throw DockerError(kind: .unreachable, call: "", message: error.description)
            }
            transport = try connect(addresses, endpoint, deadline)
            if let tls { try transport.startTLS(tls, host: host, deadline) }
        }
        return transport
    }

    private static func connect(
        _ addresses: [SocketAddress], _ endpoint: DockerEndpoint, _ deadline: Deadline
    ) throws(DockerError) -> DockerTransport {
        var reason = "no address"
        var code: Int32 = 0
        for address in addresses {
            do throws(SystemError) {
                return DockerTransport(stream: try Stream.connect(to: address, timeoutMs: deadline.remainingMs))
            } catch {
                reason = error.reason
                code = error.code
            }
        }
        var message = "cannot connect to \(endpoint): \(reason)"
        if code == SystemError.notFoundCode { message += " (is Docker running, and its socket mounted?)" }
        if code == SystemError.notPermittedCode { message += " (run as a user or group that may open it)" }
        throw DockerError(kind: .unreachable, call: "", message: message)
    }

    private func startTLS(_ context: TLSContext, host: String, _ deadline: Deadline) throws(DockerError) {
        do throws(TLSError) {
            session = try TLSSession(client: context, serverName: host, isAddress: IPAddress(host) != nil)
        } catch {
            throw DockerError(kind: .tls, call: "", message: error.description)
        }
        while try !handshakeStep(deadline) {
            guard try receiveCiphertext(deadline) else {
                throw DockerError(kind: .tls, call: "", message: "\(host) closed the connection in the TLS handshake")
            }
        }
    }

    private func handshakeStep(_ deadline: Deadline) throws(DockerError) -> Bool {
        guard let session else { return true }
        let outcome: Result<Bool, TLSError>
        do throws(TLSError) { outcome = .success(try session.handshake()) } catch { outcome = .failure(error) }
        // Also after a failure: the peer is owed the alert.
        try sendCiphertext(deadline)
        switch outcome {
        case .success(let isDone): return isDone
        case .failure(let error): throw DockerError(kind: .tls, call: "", message: error.description)
        }
    }

    func send(_ bytes: [UInt8], _ deadline: Deadline) throws(DockerError) {
        guard let session else { return try write(bytes, deadline) }
        let outcome = bytes.withUnsafeBytes { buffer in
            Result { () throws(TLSError) in try session.write(buffer) }
        }
        if case .failure(let error) = outcome {
            throw DockerError(kind: .tls, call: "", message: error.description)
        }
        try sendCiphertext(deadline)
    }

    /// Some bytes of the answer; empty at the end of the stream.
    func receive(_ deadline: Deadline) throws(DockerError) -> [UInt8] {
        guard let session else { return try read(deadline) }
        while true {
            var failure: TLSError?
            var result = TLSSession.ReadResult.needsInput
            let bytes = [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                do throws(TLSError) {
                    result = try session.read(into: UnsafeMutableRawBufferPointer(buffer))
                    if case .bytes(let read) = result { count = read }
                } catch {
                    failure = error
                }
            }
            if let failure { throw DockerError(kind: .tls, call: "", message: failure.description) }
            switch result {
            case .bytes: return bytes
            case .ended: return []
            case .needsInput:
                try sendCiphertext(deadline)
                guard try receiveCiphertext(deadline) else {
                    throw DockerError(kind: .badAnswer, call: "", message: "the TLS connection was cut off")
                }
            }
        }
    }

    /// The engine said something or hung up while nothing was asked: not to be used again.
    var isStale: Bool { stream.isReadable(timeoutMs: 0) }

    /// Ends the connection from any thread; a wait in it returns at once.
    func cancel() { isOpen.withLock { if $0 { stream.cancel() } } }

    func close() {
        isOpen.withLock { isOpen in
            guard isOpen else { return }
            isOpen = false
            stream.close()
        }
    }

    deinit { close() }

    private func sendCiphertext(_ deadline: Deadline) throws(DockerError) {
        guard let session else { return }
        let bytes = session.takeOutput()
        guard !bytes.isEmpty else { return }
        do throws(DockerError) { try write(bytes, deadline) } catch {
            // A server that refuses our certificate says so and hangs up: its words are the better reason.
            throw Self.alert(from: stream, session) ?? error
        }
    }

    /// What a peer that hung up had said before.
    private static func alert(from stream: Stream, _ session: TLSSession) -> DockerError? {
        guard let bytes = try? stream.readSome(maximum: 65536, timeoutMs: 0) else { return nil }
        bytes.withUnsafeBytes { session.receive($0) }
        return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
            do throws(TLSError) {
                _ = try session.read(into: buffer)
                return nil
            } catch {
                return DockerError(kind: .tls, call: "", message: error.description)
            }
        }
    }

    /// - Returns: false at the end of the stream.
    private func receiveCiphertext(_ deadline: Deadline) throws(DockerError) -> Bool {
        let bytes = try read(deadline)
        bytes.withUnsafeBytes { session?.receive($0) }
        return !bytes.isEmpty
    }

    private func write(_ bytes: [UInt8], _ deadline: Deadline) throws(DockerError) {
        do throws(SystemError) { try stream.writeAll(bytes, timeoutMs: deadline.remainingMs) } catch {
            throw Self.failure(error, "sending")
        }
    }

    private func read(_ deadline: Deadline) throws(DockerError) -> [UInt8] {
        do throws(SystemError) { return try stream.readSome(maximum: 65536, timeoutMs: deadline.remainingMs) } catch {
            throw Self.failure(error, "waiting for the answer")
        }
    }

    private static func failure(_ error: SystemError, _ activity: String) -> DockerError {
        if error.code == SystemError.timedOutCode {
            return DockerError(kind: .timedOut, call: "", message: "timed out while \(activity)")
        }
        return DockerError(kind: .unreachable, call: "", message: "\(error.reason) while \(activity)")
    }
}
