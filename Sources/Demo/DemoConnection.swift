// One client of the demo backend: reads requests, with their bodies, one after the other, and has a page answer each.
// Owns the read buffer and the framing; what is answered is in DemoPages.
//
//   head   whole            -> body (100 Continue first, if it is waited for)
//          refused          -> 4xx, close
//   body   whole            -> page -> head, or close
//          refused          -> 400, close

import Kernel
import Wire

/// Ends a connection: the client is gone, was too slow, or was refused.
struct ConnectionOver: Error {}

final class DemoConnection {
    static let headLimits = HeadLimits(requestLineSize: 16_384, headSize: 65_536, fieldCount: 512)
    private static let bufferSize = 131_072
    private static let idleTimeoutMs = 75_000
    private static let readTimeoutMs = 60_000
    private static let writeTimeoutMs = 60_000

    let server: DemoServer
    let peer: SocketAddress
    /// The connection's place among all since the start, from 1.
    let number: UInt64
    /// The request's place on this connection, from 1.
    private(set) var requestNumber = 0
    private let stream: Stream
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferSize, alignment: 16)
    private var start = 0
    private var end = 0

    init(server: DemoServer, stream: Stream, peer: SocketAddress, number: UInt64) {
        self.server = server
        self.stream = stream
        self.peer = peer
        self.number = number
    }

    deinit { buffer.deallocate() }

    func run() {
        do throws(ConnectionOver) {
            while try serveOne() {}
            stream.shutdownWrite()
            drainBriefly()
        } catch {}
    }

    // MARK: Requests

    /// One request and its answer; false when the connection ends in the orderly way.
    private func serveOne() throws(ConnectionOver) -> Bool {
        guard let request = try readHead() else { return false }
        requestNumber += 1
        if request.path == "/ws", let key = request.webSocketKey {
            try DemoPages(connection: self, request: request).acceptWebSocket(key: key)
            DemoWebSocket(connection: self).run()
            return false
        }
        guard let body = try readBody(of: request) else { return false }
        let staysOpen = request.isPersistent && !server.isStopping
        var pages = DemoPages(connection: self, request: request)
        pages.closes = !staysOpen
        try pages.answer(body: body)
        return !pages.closes && server.mark(number, isIdle: true)
    }

    /// nil: the client is done, or was refused and told so.
    private func readHead() throws(ConnectionOver) -> DemoRequest? {
        var head = RequestHead(limits: Self.headLimits)
        var scanned = 0
        while true {
            let bytes = pending
            switch head.parse(bytes, scanned: scanned) {
            case .complete(let byteCount):
                let request = DemoRequest(head, in: bytes)
                start += byteCount
                _ = server.mark(number, isIdle: false)
                return request
            case .refused(let refusal):
                try refuse(refusal)
                return nil
            case .incomplete:
                scanned = bytes.count
                guard try fill(timeoutMs: scanned == 0 ? Self.idleTimeoutMs : Self.readTimeoutMs) else { return nil }
            }
        }
    }

    /// nil: it was refused, and the client told so.
    private func readBody(of request: DemoRequest) throws(ConnectionOver) -> DemoBody? {
        var body = DemoBody()
        var decoder = request.announcedTrailers.withUnsafeBytes { announced in
            BodyDecoder(request.body, announced: Bytes(announced))
        }
        if request.expectsContinue, !decoder.isComplete, start == end {
            try write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
        }
        while true {
            let input = pending
            var position = 0
            let event = decoder.next(input, position: &position)
            start += position
            switch event {
            case .data(let span): body.append(input.slice(span))
            case .end:
                body.trailers = decoder.trailers
                return body
            case .refused(let refusal):
                try refuse(refusal)
                return nil
            case .needMore: guard try fill(timeoutMs: Self.readTimeoutMs) else { throw ConnectionOver() }
            }
        }
    }

    private func refuse(_ refusal: Refusal) throws(ConnectionOver) {
        let text = "\(refusal.reason.code)\n"
        try write(
            Array(
                ("HTTP/1.1 \(refusal.status) \(StandardResponses.reasonPhrase(refusal.status))\r\n"
                    + "Content-Type: text/plain\r\nContent-Length: \(text.utf8.count)\r\nConnection: close\r\n\r\n"
                    + text).utf8))
    }

    // MARK: Bytes

    /// What was read and not used yet; valid until the next `fill`.
    private var pending: Bytes { Bytes(UnsafeRawBufferPointer(rebasing: buffer[start..<end])) }

    /// Reads more behind what is pending; false at the end of the stream.
    private func fill(timeoutMs: Int) throws(ConnectionOver) -> Bool {
        if start == end {
            start = 0
            end = 0
        } else if end == buffer.count {
            // The largest head is half of the buffer, so there is always room after this.
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[start..<end]))
            end -= start
            start = 0
        }
        do throws(SystemError) {
            let room = UnsafeMutableRawBufferPointer(rebasing: buffer[end...])
            let count = try stream.read(into: room, timeoutMs: timeoutMs)
            end += count
            return count > 0
        } catch {
            throw ConnectionOver()
        }
    }

    func write(_ bytes: [UInt8]) throws(ConnectionOver) {
        do throws(SystemError) {
            try stream.writeAll(bytes, timeoutMs: Self.writeTimeoutMs)
        } catch {
            throw ConnectionOver()
        }
    }

    /// The next `count` bytes of a tunnel; nil at the end of the stream.
    func take(_ count: Int, timeoutMs: Int) throws(ConnectionOver) -> [UInt8]? {
        var taken: [UInt8] = []
        taken.reserveCapacity(min(count, Self.bufferSize))
        while taken.count < count {
            if start == end {
                guard try fill(timeoutMs: timeoutMs) else { return nil }
            }
            let part = min(count - taken.count, end - start)
            taken += buffer[start..<(start + part)]
            start += part
        }
        return taken
    }

    /// Waits, unless the server stops before.
    func pause(milliseconds: Int) {
        let deadlineNs = Clock.monotonicNs() + UInt64(milliseconds) * 1_000_000
        while !server.isStopping {
            let nowNs = Clock.monotonicNs()
            guard nowNs < deadlineNs else { return }
            Thread.sleep(milliseconds: min(50, Int((deadlineNs - nowNs) / 1_000_000) + 1))
        }
    }

    /// Reads on for a moment, so that the client sees the answer and no reset.
    private func drainBriefly() {
        let deadlineNs = Clock.monotonicNs() + 1_000_000_000
        while Clock.monotonicNs() < deadlineNs {
            start = 0
            end = 0
            guard let isMore = try? fill(timeoutMs: 1000), isMore else { return }
        }
    }
}
