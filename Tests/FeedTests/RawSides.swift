// Either side of a connection as a test wants it to be: a client that says what it is told to, and a controller that
// offers anything at all.

import Glibc
import Kernel
import Model
import Support
import Synchronization
import TLS

@testable import Feed

/// A client without a mind of its own.
final class RawClient {
    struct NoAnswer: Error {}

    let link: FeedLink

    /// Connects and finishes its part of the TLS handshake.
    /// - Parameter host: the last part of its own address, 127.0.0.x.
    init(port: UInt16, credential: FeedCredential? = nil, host: UInt32 = 1) throws {
        let stream = try Self.connect(port, from: host)
        let context = try TLSContext(feed: try credential ?? authority.credential(.proxy), asServer: false)
        let tls = try TLSSession(feedClient: context, peerName: "127.0.0.1:\(port)")
        link = FeedLink(stream: stream, tls: tls, peerName: "127.0.0.1:\(port)") { _ in true }
        try link.handshake(deadlineNs: Clock.monotonicNs() + 5_000_000_000)
    }

    private static func connect(_ port: UInt16, from host: UInt32) throws -> Stream {
        let stream = Stream(adopting: try Socket.create(for: .loopback(port: port)))
        var own = sockaddr_in()
        own.sin_family = sa_family_t(AF_INET)
        own.sin_addr.s_addr = (0x7F00_0000 + host).bigEndian
        let bound = withUnsafePointer(to: &own) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(stream.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard bound == 0 else { throw SystemError(code: errno, operation: "bind") }
        // On this machine it stands at once, or is about to.
        _ = Socket.connect(stream.descriptor, .loopback(port: port))
        return stream
    }

    func send(_ frame: FeedFrame) throws { try send(frame.encoded) }

    func send(_ bytes: [UInt8]) throws {
        try link.send(bytes)
        while link.hasPendingOutput { try link.flush() }
    }

    /// The next frame that is no heartbeat.
    func next(timeoutMs: Int = 10_000) throws -> FeedFrame {
        let endNs = Clock.monotonicNs() + UInt64(timeoutMs) * 1_000_000
        while Clock.monotonicNs() < endNs {
            while let frame = try link.nextFrame() {
                if case .heartbeat = frame { continue }
                return frame
            }
            if link.stream.isReadable(timeoutMs: FeedLink.remainingMs(endNs)) { _ = try link.receive() }
        }
        throw NoAnswer()
    }

    /// Why the server ends the conversation.
    func refusal() throws -> FeedRefusal {
        while true { if case .refusal(let refusal) = try next() { return refusal } }
    }

    /// Greets, and takes what is offered.
    func greet(cluster: String = "") throws -> FeedManifest {
        try send(.hello(FeedHello(name: "raw", cluster: cluster)))
        while true { if case .manifest(let manifest) = try next() { return manifest } }
    }

    func close() { link.stream.close() }
}

/// A controller of pieces that need not be a snapshot's, or of frames that make no sense.
final class RawController: Sendable {
    let port: UInt16
    let acknowledgements: Collected<FeedAcknowledgement>
    let wants: Collected<Int>
    private let listener: ListeningSocket
    private let publication: Mutex<FeedPublication?>
    /// Sent in the place of WELCOME.
    private let opening: [[UInt8]]
    private let context: TLSContext
    private let isStopped = Atomic(false)
    private let thread = Mutex<Thread?>(nil)

    init(
        _ publication: FeedPublication? = nil, opening: [[UInt8]] = [], credential: FeedCredential? = nil
    ) throws {
        listener = try ListeningSocket(.loopback)
        port = listener.localPort
        acknowledgements = try Collected()
        wants = try Collected()
        self.publication = Mutex(publication)
        self.opening = opening
        context = try TLSContext(feed: try credential ?? authority.credential(.controller), asServer: true)
        let started = try Thread.start(name: "raw-controller") { self.run() }
        thread.withLock { $0 = started }
    }

    func publish(_ new: FeedPublication) { publication.withLock { $0 = new } }

    func stop() {
        isStopped.store(true, ordering: .releasing)
        thread.withLock { $0 }?.join()
        listener.close()
    }

    private func run() {
        while !isStopped.load(ordering: .acquiring) {
            guard let (stream, address) = try? listener.accept(timeoutMs: 20) else { continue }
            try? serve(stream, address)
            stream.close()
        }
    }

    private func serve(_ stream: Stream, _ address: SocketAddress) throws {
        let tls = try TLSSession(server: context, peerName: "\(address)")
        let link = FeedLink(stream: stream, tls: tls, peerName: "\(address)") { _ in true }
        try link.handshake(deadlineNs: Clock.monotonicNs() + 5_000_000_000)
        guard let identity = link.identity else { return }
        var session = FeedServerSession(
            settings: .init(controllerID: "raw", heartbeatNs: 50_000_000), identity: identity,
            nowNs: Clock.monotonicNs())
        while !isStopped.load(ordering: .acquiring) {
            if let new = publication.withLock({ $0 }) {
                session.publish(new, nowNs: Clock.monotonicNs())
                publication.withLock { $0 = nil }
            }
            while let frame = try link.nextFrame() {
                if case .want(let digests) = frame { wants.append(digests.count) }
                let event = try session.receive(frame, nowNs: Clock.monotonicNs())
                if case .acknowledged(let acknowledgement) = event { acknowledgements.append(acknowledgement) }
                if case .greeted = event, !opening.isEmpty {
                    for bytes in opening { try link.send(bytes) }
                    link.end(saying: nil, lingerMs: 2_000)
                    return
                }
            }
            while !link.hasPendingOutput, let frame = session.nextOutput(nowNs: Clock.monotonicNs()) {
                try link.send(frame)
            }
            if link.hasPendingOutput { try link.flush() }
            if stream.isReadable(timeoutMs: 10) { _ = try link.receive() }
        }
    }
}
