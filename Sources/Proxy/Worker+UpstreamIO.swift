// Bytes to and from a task's connection, whatever it is made of: here are its only reads, writes and shutdowns. What is
// done about them (answers, tunnels, another attempt) is the callers' affair.
//
// With TLS, `output` holds ciphertext. It is sent as the socket takes it; the plaintext is gone from the caller's view
// once it was handed in, as it is without TLS.

internal import Kernel
internal import Routing
internal import TLS
internal import Telemetry
internal import Wire

/// What a read of a task's connection came to.
enum UpstreamRead {
    /// So many bytes are in the scratch buffer, at least one.
    case bytes(Int)
    /// Nothing now; the next event says when to look again.
    case nothing
    /// The task has ended its stream.
    case end
    /// The connection is of no more use.
    case failed(UpstreamFailure)
}

/// What a write to a task's connection came to.
enum UpstreamWrite {
    /// Everything is out, or waits in `output`.
    case done
    /// The task takes no more.
    case failed
    /// More would wait than may.
    case overloaded
}

extension Worker {
    /// Reads into the scratch buffer.
    /// - Parameter capacity: at most this many bytes.
    @inline(__always)
    mutating func readUpstream(_ slot: UInt32, capacity: Int) -> UpstreamRead {
        let upstream = upstreams[slot]
        if let stream = upstream.pointee.tls { return readTLS(slot, stream, capacity: capacity) }
        let result = Socket.read(upstream.pointee.descriptor, scratch, capacity: capacity)
        upstream.pointee.readWasFull = result.count == capacity
        upstream.pointee.isReadable = false
        if result.isFailure { return result.isWouldBlock ? .nothing : .failed(.reset) }
        if result.count == 0 {
            upstream.pointee.isAtEnd = true
            return .end
        }
        // After a read that was not filled nothing is left, unless the poller has seen the task's FIN.
        upstream.pointee.isReadable = upstream.pointee.readWasFull || upstream.pointee.isPeerClosed
        counters.add(.bytesFromUpstreams, UInt64(result.count))
        return .bytes(result.count)
    }

    /// Writes what is in the sink. What the socket does not take waits in `output`, and `isWriteBlocked` says so.
    @inline(__always)
    mutating func writeUpstream(_ slot: UInt32) -> UpstreamWrite {
        let upstream = upstreams[slot]
        if let stream = upstream.pointee.tls {
            guard encrypt(for: stream) else {
                tlsWorkspace.dropOutput()
                return .failed
            }
            return sendTLSOutput(slot)
        }
        var written = 0
        if !upstream.pointee.isWriteBlocked {
            let result = sink.gather.write(to: upstream.pointee.descriptor)
            if result.isFailure {
                if !result.isWouldBlock { return .failed }
            } else {
                written = result.count
                noteSent(slot, count: written)
            }
        }
        if written == sink.gather.byteCount { return .done }
        guard buffers.append(sink.gather, from: written, to: &upstream.pointee.output) else { return .overloaded }
        upstream.pointee.isWriteBlocked = true
        return .done
    }

    /// Writes what waits in `output`; `isWriteBlocked` says whether something still does.
    mutating func writeUpstreamOutput(_ slot: UInt32) -> UpstreamWrite {
        let upstream = upstreams[slot]
        while !upstream.pointee.output.isEmpty {
            let bytes = upstream.pointee.output.bytes
            let result = Socket.write(upstream.pointee.descriptor, bytes.base, count: bytes.count)
            if result.isFailure {
                upstream.pointee.isWriteBlocked = true
                return result.isWouldBlock ? .done : .failed
            }
            noteSent(slot, count: result.count)
            upstream.pointee.output.consume(result.count)
        }
        buffers.give(&upstream.pointee.output)
        upstream.pointee.isWriteBlocked = false
        if upstream.pointee.isShutdownWanted { Socket.shutdownWrite(upstream.pointee.descriptor) }
        return .done
    }

    /// The socket took bytes: from here on the task may have seen something of the request. A handshake holds nothing
    /// of it.
    @inline(__always)
    private mutating func noteSent(_ slot: UInt32, count: Int) {
        let upstream = upstreams[slot]
        if count > 0, upstream.pointee.state == .busy || upstream.pointee.state == .tunnel {
            exchanges[upstream.pointee.exchange].pointee.didSend = true
        }
        counters.add(.bytesToUpstreams, UInt64(count))
    }

    /// Ends our side of the stream. Not to be called while something waits in `output`.
    /// - Parameter isSaid: in TLS: nothing was cut off.
    mutating func shutdownUpstream(_ slot: UInt32, isSaid: Bool) {
        let upstream = upstreams[slot]
        upstream.pointee.isShutdownWanted = true
        if isSaid, let stream = upstream.pointee.tls {
            stream.closeNotify()
            // If it fails, the next read says so. FIN follows when this is out.
            _ = sendTLSOutput(slot)
            if upstream.pointee.isWriteBlocked { return }
        }
        Socket.shutdownWrite(upstream.pointee.descriptor)
    }

    // MARK: TLS

    /// One record, and what OpenSSL may have kept of another.
    private static var recordReserve: Int { 1 << 15 }

    /// Reads ciphertext into its scratch memory and hands it to TLS.
    mutating func receiveForTLS(_ slot: UInt32, capacity: Int) -> UpstreamRead {
        let upstream = upstreams[slot]
        let limit = min(capacity, Self.scratchSize - Self.recordReserve)
        let result = Socket.read(upstream.pointee.descriptor, cipherScratch, capacity: limit)
        upstream.pointee.readWasFull = result.count == limit
        upstream.pointee.isReadable = false
        if result.isFailure { return result.isWouldBlock ? .nothing : .failed(.reset) }
        if result.count == 0 { return .end }
        upstream.pointee.isReadable = upstream.pointee.readWasFull || upstream.pointee.isPeerClosed
        counters.add(.bytesFromUpstreams, UInt64(result.count))
        tlsWorkspace.setInput(UnsafeRawBufferPointer(start: cipherScratch, count: result.count))
        return .bytes(result.count)
    }

    /// Reads and decrypts until there is plaintext, or nothing more for now.
    private mutating func readTLS(_ slot: UInt32, _ stream: TLSStream, capacity: Int) -> UpstreamRead {
        let upstream = upstreams[slot]
        while true {
            if let failure = upstream.pointee.pendingFailure {
                upstream.pointee.isReadable = false
                return .failed(failure)
            }
            if upstream.pointee.isEndSaid {
                upstream.pointee.isReadable = false
                upstream.pointee.isAtEnd = true
                return .end
            }
            if upstream.pointee.hasEarly {
                upstream.pointee.hasEarly = false
                let early = upstream.pointee.early
                tlsWorkspace.setInput(
                    early.isEmpty ? UnsafeRawBufferPointer(start: nil, count: 0) : early.bytes.raw)
            } else {
                guard upstream.pointee.isReadable else { return .nothing }
                switch receiveForTLS(slot, capacity: capacity) {
                case .bytes: break
                case .end: return cutOff(slot)
                case .nothing: return .nothing
                case .failed(let failure): return .failed(failure)
                }
            }
            var count = 0
            let ending = decrypt(stream, &count)
            buffers.give(&upstream.pointee.early)
            keepSession(slot, stream)
            // Answers to messages of TLS itself. If they cannot be sent, the next read says why.
            if tlsWorkspace.output.count > 0 { _ = sendTLSOutput(slot) }
            switch ending {
            case .ended:
                upstream.pointee.isEndSaid = true
                upstream.pointee.isReadable = true
            case .failed(let failure):
                // What came before it is good, and is handed on first.
                upstream.pointee.pendingFailure = UpstreamFailure(reading: failure)
                upstream.pointee.isReadable = true
            case .needsInput, .bytes:
                break
            }
            if count > 0 { return .bytes(count) }
        }
    }

    /// Decrypts all input into the scratch buffer, which holds more than comes in at once.
    private mutating func decrypt(_ stream: TLSStream, _ count: inout Int) -> TLSStream.Read {
        while true {
            let result = stream.read(into: scratch + count, capacity: Self.scratchSize - count)
            guard case .bytes(let more) = result else { return result }
            count += more
        }
    }

    /// The task closed its socket and has not said so in TLS: anybody on the way may have done that.
    private mutating func cutOff(_ slot: UInt32) -> UpstreamRead {
        let upstream = upstreams[slot]
        upstream.pointee.isAtEnd = true
        switch upstream.pointee.state {
        // What is inside a tunnel may know its own end, and too many servers close it this way.
        case .tunnel: return upstream.pointee.tls?.isInsideRecord == true ? .failed(.truncated) : .end
        case .busy:
            let began = exchanges[upstream.pointee.exchange].pointee.answerBegan
            return .failed(began ? .truncated : .closedEarly)
        case .connecting, .handshaking, .idle: return .failed(.closedEarly)
        }
    }

    /// Encrypts what is in the sink. Small pieces become one record together.
    private mutating func encrypt(for stream: TLSStream) -> Bool {
        let recordSize = 16_384
        var gathered = 0
        for index in 0..<sink.gather.count {
            let piece = sink.gather.piece(at: index)
            guard let base = piece.baseAddress else { continue }
            if gathered + piece.count > recordSize, gathered > 0 {
                guard stream.write(cipherScratch, count: gathered) == nil else { return false }
                gathered = 0
            }
            if piece.count >= recordSize / 2 || (index == sink.gather.count - 1 && gathered == 0) {
                if gathered > 0 {
                    guard stream.write(cipherScratch, count: gathered) == nil else { return false }
                    gathered = 0
                }
                guard stream.write(base, count: piece.count) == nil else { return false }
            } else {
                UnsafeMutableRawPointer(cipherScratch + gathered).copyMemory(from: base, byteCount: piece.count)
                gathered += piece.count
            }
        }
        return gathered == 0 || stream.write(cipherScratch, count: gathered) == nil
    }

    /// Sends what TLS has written, behind what waits already.
    mutating func sendTLSOutput(_ slot: UInt32) -> UpstreamWrite {
        let upstream = upstreams[slot]
        let bytes = tlsWorkspace.output
        defer { tlsWorkspace.dropOutput() }
        var written = 0
        if !upstream.pointee.isWriteBlocked, upstream.pointee.output.isEmpty, let base = bytes.baseAddress {
            let result = Socket.write(upstream.pointee.descriptor, base, count: bytes.count)
            if result.isFailure {
                if !result.isWouldBlock { return .failed }
            } else {
                written = result.count
                noteSent(slot, count: written)
            }
            if written == bytes.count { return .done }
            upstream.pointee.isWriteBlocked = true
        }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
        guard buffers.append(rest, to: &upstream.pointee.output) else { return .overloaded }
        return upstream.pointee.isWriteBlocked ? .done : writeUpstreamOutput(slot)
    }

    /// Ends TLS properly before the connection is closed, as far as that can be done at once.
    mutating func sayGoodbye(_ slot: UInt32) {
        let upstream = upstreams[slot]
        guard let stream = upstream.pointee.tls, stream.isEstablished, upstream.pointee.output.isEmpty else { return }
        stream.closeNotify()
        let bytes = tlsWorkspace.output
        if let base = bytes.baseAddress, bytes.count > 0 {
            _ = Socket.write(upstream.pointee.descriptor, base, count: bytes.count)
        }
        tlsWorkspace.dropOutput()
    }
}
