// The WebSocket echo, frame by frame (RFC 6455).

import Kernel
import Testing

@testable import Demo

private func open(_ server: DemoServer) throws -> Stream {
    let stream = try Stream.connect(to: .loopback(port: server.ports[0]), timeoutMs: 5000)
    try stream.writeAll(
        Array(
            ("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").utf8), timeoutMs: 1000)
    var head: [UInt8] = []
    while !head.reversed().starts(with: "\n\r\n\r".utf8) { head += try take(1, stream) }
    let text = String(decoding: head, as: UTF8.self)
    #expect(text.hasPrefix("HTTP/1.1 101 Switching Protocols\r\n"))
    // The example of RFC 6455 section 1.3.
    #expect(text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"))
    return stream
}

private func take(_ count: Int, _ stream: Stream) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
        let more = try stream.readSome(maximum: count - bytes.count, timeoutMs: 10_000)
        try #require(!more.isEmpty, "ended early")
        bytes += more
    }
    return bytes
}

/// A client's frame: masked, in the shortest form.
private func frame(_ first: UInt8, _ payload: [UInt8]) -> [UInt8] {
    let mask: [UInt8] = [0x11, 0x22, 0x33, 0x44]
    var frame: [UInt8] = [first]
    switch payload.count {
    case ..<126: frame.append(0x80 | UInt8(payload.count))
    case ..<65_536: frame += [0xFE, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
    default: frame += [0xFF] + (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
    }
    return frame + mask + payload.enumerated().map { $0.element ^ mask[$0.offset & 3] }
}

/// The server's next frame: first byte and payload.
private func receive(_ stream: Stream) throws -> (first: UInt8, payload: [UInt8]) {
    let head = try take(2, stream)
    var length = Int(head[1])
    if head[1] == 126 { length = try take(2, stream).reduce(0) { $0 << 8 | Int($1) } }
    if head[1] == 127 { length = try take(8, stream).reduce(0) { $0 << 8 | Int($1) } }
    return (head[0], try take(length, stream))
}

@Suite struct DemoWebSocketTests {
    private let server: DemoServer

    init() throws {
        server = try DemoServer(name: "blue", addresses: [(.loopback, false)])
        try server.start()
    }

    @Test(arguments: [0, 1, 125, 126, 127, 65_535, 65_536, 300_000])
    func messagesComeBack(_ count: Int) throws {
        defer { server.stop(timeoutMs: 0) }
        let stream = try open(server)
        let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        try stream.writeAll(frame(0x82, payload), timeoutMs: 5000)
        let answer = try receive(stream)
        #expect(answer.first == 0x82 && answer.payload == payload)
    }

    @Test func fragmentsWithAPingBetween() throws {
        defer { server.stop(timeoutMs: 0) }
        let stream = try open(server)
        for byte in frame(0x01, [0x68, 0xC3]) + frame(0x89, [1, 2]) + frame(0x80, [0xA9]) {
            try stream.writeAll([byte], timeoutMs: 1000)
        }
        let pong = try receive(stream)
        #expect(pong.first == 0x8A && pong.payload == [1, 2])
        let message = try receive(stream)
        #expect(message.first == 0x81 && message.payload == Array("hé".utf8))
    }

    @Test(
        arguments: [
            (frame(0x88, [3, 232]), [3, 232]), (frame(0x88, [3, 233, 0x62]), [3, 233]), (frame(0x88, []), []),
            (frame(0x88, [3]), [3, 234]), (frame(0x88, [3, 237]), [3, 234]),
            (frame(0x81, [0xC3]), [3, 239]), (frame(0x80, [1]), [3, 234]), (frame(0xC1, [1]), [3, 234]),
            (frame(0x83, [1]), [3, 234]), (frame(0x09, [1]), [3, 234]), ([0x81, 0x01, 0x41], [3, 234]),
            (frame(0x01, [65]) + frame(0x81, [65]), [3, 234]),
            ([0x82, 0xFE, 0, 5, 0, 0, 0, 0], [3, 234]),
            ([0x82, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], [3, 241]),
            ([0x89, 0xFE, 0, 200, 0, 0, 0, 0], [3, 234]),
        ] as [([UInt8], [UInt8])])
    func endings(_ sent: [UInt8], _ code: [UInt8]) throws {
        defer { server.stop(timeoutMs: 0) }
        let stream = try open(server)
        try stream.writeAll(sent, timeoutMs: 1000)
        let answer = try receive(stream)
        #expect(answer.first == 0x88 && answer.payload == code)
        #expect(try stream.readSome(timeoutMs: 5000).isEmpty)
    }

    @Test func anOrdinaryRequestIsToldToUpgrade() throws {
        defer { server.stop(timeoutMs: 0) }
        let stream = try Stream.connect(to: .loopback(port: server.ports[0]), timeoutMs: 5000)
        try stream.writeAll(Array("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n".utf8), timeoutMs: 1000)
        #expect(try String(decoding: stream.readSome(timeoutMs: 5000), as: UTF8.self).hasPrefix("HTTP/1.1 426 "))
    }
}
