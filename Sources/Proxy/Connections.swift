// The two kinds of connection a worker holds, as plain slots. They know descriptors, buffers and deadlines;
// what a request is belongs to `Exchange`, so that a connection may carry several at once one day.

internal import Kernel
internal import Model
internal import TLS
internal import Telemetry
internal import Wire

/// A client's connection.
struct ClientConnection: ~Copyable {
    enum State: UInt8 {
        /// Waiting for a PROXY protocol header.
        case preface
        /// Waiting for a whole ClientHello, whose server name decides what the connection is.
        case hello
        /// TLS is being agreed on.
        case handshake
        /// Waiting for, or in the middle of, a request's head.
        case reading
        /// One request is under way.
        case exchanging
        /// A stream whose task is being connected to: nothing is read meanwhile.
        case joining
        case tunnel
        /// Everything is said: FIN is sent, what still comes is read and dropped until the client closes.
        case lingering
    }

    var descriptor: Int32
    var state: State = .reading
    /// By which door it came; that never changes.
    let entry: Entry
    /// A read may have something to say.
    var isReadable = false
    /// The last read of bytes got all it asked for.
    var readWasFull = false
    /// FIN, or worse, was seen by the poller: a short read is not the last word.
    var isPeerClosed = false
    /// The end of the client's stream was read.
    var isAtEnd = false
    /// That end was no end, but a failed read: the client reset the connection, or is lost.
    var isBroken = false
    /// `output` waits for the socket.
    var isWriteBlocked = false
    /// Close once `output` is out.
    var closesAfterFlush = false
    /// The answer just sent was the last.
    var closesAfterAnswer = false
    /// FIN was sent.
    var isShutdownDone = false
    /// In the list of connections whose turn was cut short.
    var isContinued = false
    var peerIsTrusted = false
    /// Bytes of `input` that the head parser has seen.
    var scannedCount: Int32 = 0
    /// Grows while the other side keeps up, shrinks when it does not.
    var readSize: Int32 = 16_384
    var requestCount: Int32 = 0
    /// Bytes discarded in `.lingering`.
    var discardedCount: Int32 = 0
    var exchange: UInt32 = Slab<Exchange>.none
    /// Read and not consumed: a partial head, a body whose upstream is not there yet, pipelined requests.
    var input = PooledBuffer.empty
    /// Written and not taken by the socket.
    var output = PooledBuffer.empty
    var deadlineNs: UInt64 = .max
    /// When the current request's first byte came; 0 between requests.
    var requestStartedNs: UInt64 = 0
    /// Bytes that the client had not acknowledged when the window began.
    var queuedCount = 0
    /// Bytes moved since the window began, for the minimum progress of bodies.
    var progress: UInt64 = 0
    var peer: Endpoint
    /// For per-client limits: the address that was accepted, whatever a PROXY header said later.
    var acceptedFrom: IPAddress
    var localPort: UInt16
    private var addressText: AddressText
    /// TLS towards the client, once its ClientHello is taken.
    var tls: UnsafeMutablePointer<ClientTLS>?
    /// In one of the worker's lists of connections that wait for their clients, and its neighbours there.
    var list = ClientList.Kind.none
    var listNext: UInt32 = Slab<ClientConnection>.none
    var listPrevious: UInt32 = Slab<ClientConnection>.none

    init(descriptor: Int32, peer: Endpoint, localPort: UInt16, entry: Entry = .http) {
        self.descriptor = descriptor
        self.entry = entry
        self.peer = peer
        acceptedFrom = peer.address
        self.localPort = localPort
        addressText = AddressText(peer.address)
    }

    /// The connection speaks for another address than its own.
    mutating func setPeer(_ endpoint: Endpoint) {
        peer = endpoint
        addressText = AddressText(endpoint.address)
    }

    /// The peer's address as text; valid as long as the slot is not given back.
    @inline(__always)
    static func addressBytes(at client: UnsafeMutablePointer<ClientConnection>) -> Bytes {
        AddressText.bytes(at: &client.pointee.addressText)
    }
}

/// A connection to a task.
struct UpstreamConnection: ~Copyable {
    enum State: UInt8 {
        case connecting
        /// TLS is being agreed on.
        case handshaking
        /// In the pool.
        case idle
        case busy
        case tunnel
    }

    var descriptor: Int32
    var state: State = .connecting
    var isReadable = false
    var isPeerClosed = false
    var isAtEnd = false
    var isWriteBlocked = false
    var isContinued = false
    /// The loss of its task's node is felt.
    var isWatched = false
    /// It carries more than a task's window takes: the task may take its time with reading.
    var carriesBulk = false
    /// The last read was filled to its end: more may wait.
    var readWasFull = false
    /// FIN was sent, or is to be sent once `output` is out.
    var isShutdownWanted = false
    /// It served an exchange before the current one.
    var isReused = false
    /// The batch of events in which it was last taken from the pool.
    var takenInBatch: UInt64 = 0
    var scannedCount: Int32 = 0
    var readSize: Int32 = 32_768
    var exchange: UInt32 = Slab<Exchange>.none
    /// Where the state of its task is.
    var home: Int32
    /// What TLS was, or is to be, agreed on for; none for plain connections.
    var target = Slab<TLSTarget>.none
    var tls: TLSStream?
    /// Ciphertext that came with the last bytes of the handshake, and that it is still to be read.
    var early = PooledBuffer.empty
    var hasEarly = false
    /// The task has said in TLS that its stream ends, or TLS has failed: behind what was read until then.
    var isEndSaid = false
    var pendingFailure: UpstreamFailure?
    /// A partial response head.
    var input = PooledBuffer.empty
    var output = PooledBuffer.empty
    var deadlineNs: UInt64 = .max
    var idleSinceNs: UInt64 = 0
    /// How long it may stay idle: the setting, or less if the task says so.
    var idleLimitMs: Int32
    var idleNext: UInt32 = Slab<UpstreamConnection>.none
    var idlePrevious: UInt32 = Slab<UpstreamConnection>.none

    init(descriptor: Int32, home: Int32, idleLimitMs: Int32) {
        self.descriptor = descriptor
        self.home = home
        self.idleLimitMs = idleLimitMs
    }
}

/// A short text in place: an address, or an address and port.
struct AddressText: BitwiseCopyable {
    private static var capacity: Int { 56 }
    private var text: InlineArray<56, UInt8> = InlineArray(repeating: 0)
    private var count: Int8 = 0

    init() {}

    init(_ string: String) {
        for byte in string.utf8.prefix(Self.capacity) {
            text[Int(count)] = byte
            count += 1
        }
    }

    /// As it is described; without a String for IPv4, since every connection has one.
    init(_ address: IPAddress) {
        guard address.isIPv4 else {
            self.init(address.description)
            return
        }
        self.init()
        for part in 0..<4 { append(UInt8(truncatingIfNeeded: address.low >> UInt64(24 - 8 * part))) }
        // Without the last dot.
        count -= 1
    }

    private mutating func append(_ part: UInt8) {
        if part >= 100 { append(digit: part / 100) }
        if part >= 10 { append(digit: part / 10 % 10) }
        append(digit: part % 10)
        text[Int(count)] = UInt8(ascii: ".")
        count += 1
    }

    private mutating func append(digit: UInt8) {
        text[Int(count)] = UInt8(ascii: "0") + digit
        count += 1
    }

    /// The bytes of a text that stays at its address: one inside a slab's slot, or one that outlives the call.
    @inline(__always)
    static func bytes(at place: UnsafeMutablePointer<AddressText>) -> Bytes {
        Bytes(UnsafeRawPointer(place).assumingMemoryBound(to: UInt8.self), count: Int(place.pointee.count))
    }
}
