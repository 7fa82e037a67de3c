// Bytes of clients with TLS: here are their only reads and writes once the handshake is done. The callers see plaintext
// in the scratch buffer and in the sink, as without TLS; `output` holds ciphertext.
//
// One read of the socket is decrypted whole, so what stays behind is at most a part of a record, inside OpenSSL. One
// write of the callers leaves as one write of the socket, in as few records as it fits. Whatever OpenSSL wants to say
// meanwhile (alerts, answers to KeyUpdate) leaves with it.

internal import Kernel
internal import TLS
internal import Telemetry
internal import Wire

extension Worker {
    enum Delivery {
        /// Everything is out, or waits in `output`.
        case done
        case gone
        /// More would wait than may.
        case overloaded
    }

    /// Plaintext of one record (RFC 8446 section 5.1).
    private static var recordSize: Int { 16_384 }
    /// Part of a record that OpenSSL may hold: it comes out with the next read.
    private static var recordReserve: Int { 1 << 15 }

    // MARK: Reading

    /// As `readClient`.
    mutating func readTLSClient(_ slot: UInt32, capacity: Int) -> Int? {
        let client = clients[slot]
        guard let tls = client.pointee.tls else { return nil }
        let size = min(capacity, Self.scratchSize - Self.recordReserve)
        while tls.pointee.end == .open {
            let result = Socket.read(client.pointee.descriptor, cipherScratch, capacity: size)
            client.pointee.readWasFull = result.count == size
            client.pointee.isReadable = client.pointee.readWasFull || client.pointee.isPeerClosed
            guard result.count > 0 else {
                client.pointee.isReadable = false
                if result.isWouldBlock { return nil }
                // An end that was not said leaves open whether something is missing; half a record does not.
                client.pointee.isBroken = result.isFailure || tls.pointee.stream.isInsideRecord
                tls.pointee.end = .cut
                break
            }
            counters.add(.bytesFromClients, UInt64(result.count))
            tlsWorkspace.setInput(UnsafeRawBufferPointer(start: cipherScratch, count: result.count))
            let count = decrypt(tls)
            if tlsWorkspace.output.count > 0, deliver(slot) != .done { tls.pointee.end = .cut }
            // Not the client's end, whoever made it: a task must not take it for one.
            if tls.pointee.end == .cut { client.pointee.isBroken = true }
            if count > 0 {
                // The end is for the next call.
                if tls.pointee.end != .open { client.pointee.isReadable = true }
                return count
            }
            if !client.pointee.isReadable, tls.pointee.end == .open { return nil }
        }
        client.pointee.isAtEnd = true
        client.pointee.isReadable = false
        return 0
    }

    /// Decrypts all of the workspace's input into the scratch buffer.
    /// - Returns: bytes of plaintext.
    mutating func decrypt(_ tls: UnsafeMutablePointer<ClientTLS>) -> Int {
        var count = 0
        while true {
            switch tls.pointee.stream.read(into: scratch + count, capacity: Self.scratchSize - count) {
            case .bytes(let more): count += more
            case .needsInput: return count
            case .ended:
                tls.pointee.end = .said
                return count
            case .failed:
                // Its alert was the last word.
                tls.pointee.didNotify = true
                tls.pointee.end = .cut
                return count
            }
        }
    }

    // MARK: Writing

    /// As `sendToClient`.
    mutating func sendToTLSClient(_ slot: UInt32) -> Bool {
        guard let tls = clients[slot].pointee.tls else { return false }
        guard encryptSink(tls.pointee.stream) else {
            // Part of it may be encrypted: the next client must not get that.
            tlsWorkspace.dropOutput()
            abandonClient(slot, .clientClosed)
            return false
        }
        switch deliver(slot) {
        case .done: return true
        case .gone: abandonClient(slot, .clientClosed)
        case .overloaded: abandonClient(slot, .overloaded)
        }
        return false
    }

    /// Encrypts what is in the sink into the workspace's output. Small pieces go together into one record.
    private mutating func encryptSink(_ stream: TLSStream) -> Bool {
        if sink.gather.count == 1 {
            let piece = sink.gather.piece(at: 0)
            guard let base = piece.baseAddress else { return true }
            return stream.write(base, count: piece.count) == nil
        }
        var collected = 0
        for index in 0..<sink.gather.count {
            var piece = sink.gather.piece(at: index)
            while let base = piece.baseAddress, piece.count > 0 {
                var taken = 0
                if collected == 0, piece.count >= Self.recordSize {
                    taken = piece.count / Self.recordSize * Self.recordSize
                    guard stream.write(base, count: taken) == nil else { return false }
                } else {
                    taken = min(piece.count, Self.recordSize - collected)
                    UnsafeMutableRawPointer(cipherScratch + collected).copyMemory(from: base, byteCount: taken)
                    collected += taken
                    if collected == Self.recordSize {
                        guard stream.write(cipherScratch, count: collected) == nil else { return false }
                        collected = 0
                    }
                }
                piece = UnsafeRawBufferPointer(rebasing: piece[taken...])
            }
        }
        return collected == 0 || stream.write(cipherScratch, count: collected) == nil
    }

    /// Sends the workspace's output; what the socket does not take waits in the client's. The client stays, whatever
    /// becomes of it.
    /// - Parameter isLast: the exchange that it belongs to is over: its deadline is not asked for.
    mutating func deliver(_ slot: UInt32, isLast: Bool = false) -> Delivery {
        let client = clients[slot]
        let bytes = tlsWorkspace.output
        guard let base = bytes.baseAddress, bytes.count > 0 else { return .done }
        defer { tlsWorkspace.dropOutput() }
        var written = 0
        if !client.pointee.isWriteBlocked {
            let result = Socket.write(client.pointee.descriptor, base, count: bytes.count)
            if result.isFailure {
                if !result.isWouldBlock { return .gone }
            } else {
                written = result.count
                counters.add(.bytesToClients, UInt64(written))
                client.pointee.progress &+= UInt64(written)
            }
            if written == bytes.count { return .done }
        }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
        guard buffers.append(rest, to: &client.pointee.output) else { return .overloaded }
        if isLast { client.pointee.isWriteBlocked = true } else { noteBlocked(slot) }
        return .done
    }

    /// As the end of `sendLocal`: a client that is gone is noticed by its next event.
    mutating func sendLocalBytes(_ slot: UInt32, _ bytes: UnsafeRawBufferPointer) {
        guard let tls = clients[slot].pointee.tls, let base = bytes.baseAddress else { return }
        if tls.pointee.stream.write(base, count: bytes.count) == nil {
            _ = deliver(slot, isLast: true)
        } else {
            tlsWorkspace.dropOutput()
        }
    }

    // MARK: The end

    /// Says close_notify, once. An answer that was cut off must not be followed by it.
    mutating func sayGoodbyeToClient(_ slot: UInt32) {
        let client = clients[slot]
        guard let tls = client.pointee.tls, !tls.pointee.didNotify, tls.pointee.end != .cut,
            tls.pointee.stream.isEstablished, !client.pointee.isWriteBlocked
        else { return }
        tls.pointee.didNotify = true
        tls.pointee.stream.closeNotify()
        _ = deliver(slot)
    }

    /// Ends our side of the client's stream, if that can be done now.
    /// - Returns: false if it must be asked again once `output` is out.
    mutating func shutdownClient(_ slot: UInt32) -> Bool {
        let client = clients[slot]
        if client.pointee.tls != nil {
            sayGoodbyeToClient(slot)
            if client.pointee.isWriteBlocked { return false }
        }
        Socket.shutdownWrite(client.pointee.descriptor)
        return true
    }

    /// Frees what TLS holds. The descriptor is about to be closed.
    mutating func endTLS(_ slot: UInt32) {
        let client = clients[slot]
        guard let tls = client.pointee.tls else { return }
        client.pointee.tls = nil
        buffers.give(&tls.pointee.certificateLines)
        tls.pointee.stream.free()
        tls.deinitialize(count: 1)
        tls.deallocate()
    }
}
