// What a thread's TLS connections read from and write to: a window on bytes that were received, and memory that
// collects what must be sent. It opens no socket and belongs to one thread.
//
// Before a call on a `TLSStream`, `setInput` says what was received for that connection; after it, `output` must be
// sent to the same peer, also when the call failed (an alert is in it), and then dropped.

internal import COpenSSL

/// The transport of all TLS connections of one thread. Connections keep its memory alive, so the order in which they
/// and it are freed does not matter.
public final class TLSWorkspace {
    let memory: UnsafeMutablePointer<il_tls_memory>

    /// nil without memory.
    public init?(outputCapacity: Int = 65536) {
        guard let memory = il_tls_memory_new(max(1024, outputCapacity)) else { return nil }
        self.memory = memory
    }

    deinit { il_tls_memory_release(memory) }

    /// The bytes received for the connection that is served next. They must stay valid until it was served.
    @inline(__always)
    public func setInput(_ bytes: UnsafeRawBufferPointer) {
        memory.pointee.input = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        memory.pointee.input_count = bytes.count
    }

    /// What the connection has not read yet. After `.needsInput` nothing is left; who stops earlier must keep these
    /// bytes and give them again.
    @inline(__always)
    public var remainingInput: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: memory.pointee.input, count: memory.pointee.input_count)
    }

    /// What must be sent now. Valid until the next call on a connection.
    @inline(__always)
    public var output: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: memory.pointee.output, count: memory.pointee.output_count)
    }

    @inline(__always)
    public func dropOutput() { memory.pointee.output_count = 0 }
}
