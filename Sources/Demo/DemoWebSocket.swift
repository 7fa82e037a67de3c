// The WebSocket echo (RFC 6455): whole messages come back as they came, pings are answered, faults are closed with the
// code that the RFC has for them.
//
//   text, binary, continuation   -> collected; echoed when the message is whole
//   ping                         -> pong, also between the frames of a message
//   pong                         -> nothing
//   close                        -> close, with the same code; the end
//   anything else                -> close 1002 (1007: text is no UTF-8, 1009: too long)

import Wire

struct DemoWebSocket {
    /// The longest message that is echoed.
    static let messageLimit = 16 << 20
    private static let readTimeoutMs = 3_600_000

    private enum Opcode: UInt8 { case continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 }

    private struct Frame {
        let isFinal: Bool
        let opcode: Opcode
        let payload: [UInt8]
    }

    /// Why the connection ends: the code that is sent, nil if none is owed.
    private struct Closing: Error { let code: UInt16? }

    private let connection: DemoConnection
    private var message: [UInt8] = []
    private var messageOpcode: Opcode?

    init(connection: DemoConnection) { self.connection = connection }

    func run() {
        var state = self
        do throws(Closing) {
            while true { try state.step() }
        } catch {
            guard let code = error.code else { return }
            try? connection.write(Self.frame(.close, [UInt8(code >> 8), UInt8(code & 255)]))
        }
    }

    private mutating func step() throws(Closing) {
        let frame = try readFrame()
        switch frame.opcode {
        case .ping: try send(.pong, frame.payload)
        case .pong: break
        case .close: throw try answerClose(frame.payload)
        case .text, .binary:
            guard messageOpcode == nil else { throw Closing(code: 1002) }
            messageOpcode = frame.opcode
            message = frame.payload
            if frame.isFinal { try echo() }
        case .continuation:
            guard messageOpcode != nil else { throw Closing(code: 1002) }
            guard message.count + frame.payload.count <= Self.messageLimit else { throw Closing(code: 1009) }
            message += frame.payload
            if frame.isFinal { try echo() }
        }
    }

    private mutating func echo() throws(Closing) {
        guard let opcode = messageOpcode else { return }
        if opcode == .text, String(validating: message, as: UTF8.self) == nil { throw Closing(code: 1007) }
        try send(opcode, message)
        message = []
        messageOpcode = nil
    }

    /// The end that a client's close frame asks for: its own code comes back.
    private func answerClose(_ payload: [UInt8]) throws(Closing) -> Closing {
        if payload.isEmpty {
            try send(.close, [])
            return Closing(code: nil)
        }
        guard payload.count >= 2 else { return Closing(code: 1002) }
        let code = UInt16(payload[0]) << 8 | UInt16(payload[1])
        switch code {
        case 1000...1003, 1007...1011, 3000...4999: break
        default: return Closing(code: 1002)
        }
        guard String(validating: payload[2...], as: UTF8.self) != nil else { return Closing(code: 1007) }
        return Closing(code: code)
    }

    // MARK: Frames

    private func readFrame() throws(Closing) -> Frame {
        let head = try take(2)
        guard head[0] & 0x70 == 0, let opcode = Opcode(rawValue: head[0] & 15), head[1] & 0x80 != 0 else {
            throw Closing(code: 1002)
        }
        let isFinal = head[0] & 0x80 != 0
        var length = UInt64(head[1] & 0x7F)
        if opcode.rawValue >= 8, !isFinal || length > 125 { throw Closing(code: 1002) }
        if length >= 126 {
            let width = length == 126 ? 2 : 8
            length = try take(width).reduce(0) { $0 << 8 | UInt64($1) }
            // The shortest form, and no sign bit (section 5.2).
            let isShortest = width == 2 ? length >= 126 : length >= 65_536
            guard isShortest, length >> 63 == 0 else { throw Closing(code: 1002) }
        }
        guard length <= UInt64(Self.messageLimit) else { throw Closing(code: 1009) }
        let mask = try take(4)
        var payload = try take(Int(length))
        for index in payload.indices { payload[index] ^= mask[index & 3] }
        return Frame(isFinal: isFinal, opcode: opcode, payload: payload)
    }

    private func take(_ count: Int) throws(Closing) -> [UInt8] {
        do throws(ConnectionOver) {
            if let bytes = try connection.take(count, timeoutMs: Self.readTimeoutMs) { return bytes }
        } catch {}
        throw Closing(code: nil)
    }

    private func send(_ opcode: Opcode, _ payload: [UInt8]) throws(Closing) {
        do throws(ConnectionOver) {
            try connection.write(Self.frame(opcode, payload))
        } catch {
            throw Closing(code: nil)
        }
    }

    private static func frame(_ opcode: Opcode, _ payload: [UInt8]) -> [UInt8] {
        var frame: [UInt8] = [0x80 | opcode.rawValue]
        switch payload.count {
        case ..<126: frame.append(UInt8(payload.count))
        case ..<65_536: frame += [126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        default:
            frame.append(127)
            for shift in stride(from: 56, through: 0, by: -8) {
                frame.append(UInt8(truncatingIfNeeded: payload.count >> shift))
            }
        }
        return frame + payload
    }
}
