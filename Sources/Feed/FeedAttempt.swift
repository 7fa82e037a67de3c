// One try to reach a controller, on a thread of its own: connect, TLS, HELLO, WELCOME, with short deadlines.

internal import Kernel
internal import Model
internal import TLS

/// A controller that has answered, ready to be followed.
struct FeedStandby: @unchecked Sendable {
    let address: SocketAddress
    let link: FeedLink
    var session: FeedClientSession
    let welcome: FeedWelcome
    let readyNs: UInt64

    func close() { link.stream.close() }
}

struct FeedAttempt: Sendable {
    let address: SocketAddress
    let context: TLSContext
    let hello: FeedHello
    let settings: FeedClientSettings

    func run() throws(FeedFailure) -> FeedStandby {
        let stream: Stream
        do throws(SystemError) {
            stream = try Stream.connect(to: address, timeoutMs: settings.connectMs)
        } catch {
            throw FeedFailure("\(address): \(error.reason)")
        }
        Socket.setUserTimeout(stream.descriptor, milliseconds: Int32(clamping: settings.silenceMs))
        let link: FeedLink
        do throws(TLSError) {
            let tls = try TLSSession(feedClient: context, peerName: "\(address)")
            link = FeedLink(stream: stream, tls: tls, peerName: "\(address)") { $0 == .welcome || $0 == .refusal }
        } catch {
            throw FeedFailure("\(address): \(error.description)")
        }
        do throws(FeedFailure) {
            return try greet(link)
        } catch {
            link.end(saying: error.lastWord)
            stream.close()
            throw error
        }
    }

    private func greet(_ link: FeedLink) throws(FeedFailure) -> FeedStandby {
        let deadlineNs = Clock.monotonicNs() + FeedClientSettings.nanoseconds(settings.handshakeMs)
        try link.handshake(deadlineNs: deadlineNs)
        guard link.identity?.role == .controller else {
            throw FeedFailure(refusing: link.peerName, FeedRefusal(.role, "shows no credential of a controller"))
        }
        var session = FeedClientSession(settings: settings.session, hello: hello, nowNs: Clock.monotonicNs())
        while let frame = session.nextOutput(nowNs: Clock.monotonicNs()) { try link.send(frame) }
        while true {
            do throws(FeedRefusal) {
                if let frame = try link.nextFrame(), case .welcomed(let welcome) = try session.receive(frame) {
                    link.allow { $0.isFromServer }
                    return FeedStandby(
                        address: address, link: link, session: session, welcome: welcome,
                        readyNs: Clock.monotonicNs())
                }
            } catch {
                throw FeedFailure(refusing: link.peerName, error)
            }
            if let refusal = session.refusal { throw FeedFailure(refusedBy: link.peerName, refusal) }
            let waitMs = FeedLink.remainingMs(deadlineNs)
            guard waitMs > 0 else { throw FeedFailure("\(address): no answer within \(settings.handshakeMs) ms") }
            // HELLO is small: what the socket did not take at once it takes now.
            if link.hasPendingOutput { try link.flush() }
            guard link.stream.isReadable(timeoutMs: link.hasPendingOutput ? 10 : waitMs) else { continue }
            if try link.receive() { session.heard(nowNs: Clock.monotonicNs()) }
        }
    }
}
