// One connection of the feed: TLS over a stream, frames in and out. One thread uses it at a time. What the socket does
// not take at once waits here, and the owner makes no more until it is gone, so that little ever waits.

import Kernel
import TLS

/// Why a connection came to nothing, in words for the log.
struct FeedFailure: Error, Hashable, Sendable, CustomStringConvertible {
    let description: String
    /// One side will not talk to the other, and trying again soon changes nothing.
    var isRefusal = false
    /// What the peer is told before the connection is closed.
    var lastWord: FeedRefusal?

    init(_ description: String, isRefusal: Bool = false) {
        self.description = description
        self.isRefusal = isRefusal
    }

    /// This side will have nothing more to do with the peer.
    init(refusing peer: String, _ refusal: FeedRefusal) {
        description = "\(peer) \(refusal.reason)"
        isRefusal = refusal.isLasting
        lastWord = refusal
    }

    /// The peer will have nothing more to do with this side.
    init(refusedBy peer: String, _ refusal: FeedRefusal) {
        isRefusal = refusal.isLasting
        description =
            switch refusal.code {
            case .stopping: "\(peer) stops"
            case .version:
                "\(peer) speaks version \(refusal.versions) of the feed, this side \(FeedLimits.version): update the "
                    + "older of the two"
            default: "\(peer) refuses this side: it \(refusal.reason)"
            }
    }
}

extension FeedRefusal {
    /// Trying again soon changes nothing.
    fileprivate var isLasting: Bool {
        switch code {
        case .version, .role, .cluster, .expired, .protocolBroken: true
        case .full, .deadline, .stopping: false
        }
    }

    fileprivate var versions: String {
        oldestVersion == newestVersion ? "\(newestVersion)" : "\(oldestVersion) to \(newestVersion)"
    }
}

final class FeedLink: @unchecked Sendable {
    let stream: Stream
    let peerName: String
    private let tls: TLSSession
    private var reader: FeedFrameReader
    private var output: [UInt8] = []
    private var outputOffset = 0
    /// Since when the peer has taken nothing of what waits.
    private var stalledSinceNs: UInt64 = 0
    /// Plain bytes that came in.
    private(set) var receivedCount: UInt64 = 0

    private static let readSize = 65_536
    /// One turn reads no more, so that writing and deadlines have their turn too.
    private static let turnSize = 1 << 20

    init(
        stream: Stream, tls: TLSSession, peerName: String, allowed: @escaping @Sendable (FeedFrameType) -> Bool
    ) {
        self.stream = stream
        self.tls = tls
        self.peerName = peerName
        reader = FeedFrameReader(allowed: allowed)
    }

    var identity: FeedIdentity? { tls.peerIdentity }

    /// Which types the peer may send from now on.
    func allow(_ allowed: @escaping @Sendable (FeedFrameType) -> Bool) { reader.allowed = allowed }

    // MARK: Handshake

    /// Waits until both sides know each other, at most until the deadline.
    func handshake(deadlineNs: UInt64) throws(FeedFailure) {
        while try !handshakeStep(deadlineNs) {
            let bytes = try read(Self.remainingMs(deadlineNs))
            guard !bytes.isEmpty else {
                throw FeedFailure("\(peerName) closed the connection in the TLS handshake")
            }
            bytes.withUnsafeBytes { tls.receive($0) }
        }
        // A first frame may have come together with the last step: nothing will tell of it again.
        var hasEnded = false
        let failure = withUnsafeTemporaryAllocation(byteCount: Self.readSize, alignment: 16) { buffer in
            decrypt(into: buffer, &hasEnded)
        }
        if let failure { throw failure }
    }

    private func handshakeStep(_ deadlineNs: UInt64) throws(FeedFailure) -> Bool {
        let outcome: Result<Bool, TLSError>
        do throws(TLSError) { outcome = .success(try tls.handshake()) } catch { outcome = .failure(error) }
        // Also after a failure: the peer is owed the alert.
        let bytes = tls.takeOutput()
        if !bytes.isEmpty {
            do throws(SystemError) {
                try stream.writeAll(bytes, timeoutMs: Self.remainingMs(deadlineNs))
            } catch {
                throw FeedFailure("\(peerName): \(error.reason) in the TLS handshake")
            }
        }
        switch outcome {
        case .success(let isDone): return isDone
        case .failure(let error):
            throw FeedFailure(error.description, isRefusal: error.kind == .verification)
        }
    }

    private func read(_ timeoutMs: Int) throws(FeedFailure) -> [UInt8] {
        do throws(SystemError) {
            return try stream.readSome(maximum: Self.readSize, timeoutMs: timeoutMs)
        } catch {
            throw FeedFailure("\(peerName): \(error.reason) in the TLS handshake")
        }
    }

    static func remainingMs(_ deadlineNs: UInt64) -> Int {
        let nowNs = Clock.monotonicNs()
        return nowNs >= deadlineNs ? 0 : Int(min((deadlineNs - nowNs) / 1_000_000 + 1, 1 << 30))
    }

    // MARK: Frames

    /// Takes in what has arrived, without waiting.
    /// - Returns: whether any plain bytes came.
    func receive() throws(FeedFailure) -> Bool {
        var total = 0
        var hasEnded = false
        let before = receivedCount
        var failure: FeedFailure?
        withUnsafeTemporaryAllocation(byteCount: Self.readSize, alignment: 16) { buffer in
            guard let base = buffer.baseAddress else { return }
            while total < Self.turnSize, !hasEnded, failure == nil {
                let result = Socket.read(stream.descriptor, base, capacity: buffer.count)
                if result.isWouldBlock { break }
                if result.isFailure {
                    let reason = SystemError(code: result.code, operation: "read").reason
                    failure = FeedFailure("\(peerName): \(reason)")
                } else if result.count == 0 {
                    hasEnded = true
                } else {
                    total += result.count
                    tls.receive(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<result.count]))
                    failure = decrypt(into: buffer, &hasEnded)
                }
            }
        }
        // What was said before the end is heard first: the end will still be there.
        if receivedCount > before { return true }
        if let failure { throw failure }
        if hasEnded { throw FeedFailure("\(peerName) closed the connection") }
        return false
    }

    private func decrypt(into buffer: UnsafeMutableRawBufferPointer, _ hasEnded: inout Bool) -> FeedFailure? {
        while true {
            do throws(TLSError) {
                switch try tls.read(into: buffer) {
                case .needsInput: return nil
                case .ended:
                    hasEnded = true
                    return nil
                case .bytes(let count):
                    receivedCount &+= UInt64(count)
                    reader.receive(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
                }
            } catch {
                return FeedFailure(error.description, isRefusal: error.kind == .verification)
            }
        }
    }

    /// The next whole frame of what came in.
    func nextFrame() throws(FeedRefusal) -> FeedFrame? { try reader.next() }

    /// Encrypts a frame and sends what the socket takes. Call it only when nothing waits.
    func send(_ frame: [UInt8]) throws(FeedFailure) {
        var failure: TLSError?
        frame.withUnsafeBytes { bytes in
            do throws(TLSError) { try tls.write(bytes) } catch { failure = error }
        }
        if let failure { throw FeedFailure(failure.description) }
        try flush()
    }

    /// Sends what the socket takes now.
    func flush() throws(FeedFailure) {
        // A TLS library answers on its own now and then.
        let more = tls.takeOutput()
        if outputOffset == output.count {
            output = more
            outputOffset = 0
            stalledSinceNs = Clock.monotonicNs()
        } else if !more.isEmpty {
            output += more
        }
        while outputOffset < output.count {
            let result = output.withUnsafeBytes { bytes in
                Socket.write(
                    stream.descriptor, bytes.baseAddress.unsafelyUnwrapped + outputOffset,
                    count: bytes.count - outputOffset)
            }
            if result.isWouldBlock { return }
            if result.isFailure {
                let reason = SystemError(code: result.code, operation: "write").reason
                throw FeedFailure("\(peerName): \(reason)")
            }
            outputOffset += result.count
            stalledSinceNs = Clock.monotonicNs()
        }
        output = []
        outputOffset = 0
    }

    var hasPendingOutput: Bool { outputOffset < output.count }

    /// For how long the peer has taken nothing of what waits for it.
    func stalledNs(nowNs: UInt64) -> UInt64 {
        hasPendingOutput && nowNs > stalledSinceNs ? nowNs - stalledSinceNs : 0
    }

    // MARK: The end

    /// Says a last word, and gives the peer a moment to read it: what it still sends would else turn into a reset that
    /// overtakes the word. The owner closes the stream.
    func end(saying refusal: FeedRefusal?, lingerMs: Int = 500) {
        if let refusal, tls.isEstablished, !hasPendingOutput { try? send(FeedFrame.refusal(refusal).encoded) }
        if !hasPendingOutput {
            tls.close()
            try? flush()
        }
        stream.shutdownWrite()
        let deadlineNs = Clock.monotonicNs() + UInt64(lingerMs) * 1_000_000
        var budget = 1 << 22
        while budget > 0, Clock.monotonicNs() < deadlineNs,
            let bytes = try? stream.readSome(maximum: Self.readSize, timeoutMs: Self.remainingMs(deadlineNs)),
            !bytes.isEmpty
        {
            budget -= bytes.count
        }
    }
}
