// Bytes to and from a task's connection, whatever it is made of: here are its only reads, writes and shutdowns. What is
// done about them (answers, tunnels, another attempt) is the callers' affair.

internal import Kernel
internal import Routing
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
            if result.isFailure { return result.isWouldBlock ? .done : .failed }
            noteSent(slot, count: result.count)
            upstream.pointee.output.consume(result.count)
        }
        buffers.give(&upstream.pointee.output)
        upstream.pointee.isWriteBlocked = false
        return .done
    }

    /// The socket took bytes: from here on the task may have seen something of the request.
    @inline(__always)
    private mutating func noteSent(_ slot: UInt32, count: Int) {
        if count > 0 { exchanges[upstreams[slot].pointee.exchange].pointee.didSend = true }
        counters.add(.bytesToUpstreams, UInt64(count))
    }

    /// Ends our side of the stream. Not to be called while something waits in `output`.
    mutating func shutdownUpstream(_ slot: UInt32) {
        let upstream = upstreams[slot]
        upstream.pointee.isShutdownWanted = true
        Socket.shutdownWrite(upstream.pointee.descriptor)
    }
}
