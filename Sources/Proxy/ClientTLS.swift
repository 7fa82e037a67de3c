// TLS of one client's connection, in memory of its own, so that connections without it stay small; and the numbers
// under which handshakes that failed are counted. It knows what was agreed on when the connection began, not what holds
// now: a policy or certificate that changed since then is found out by each request (see Worker+Secure).

internal import TLS
internal import Telemetry
internal import Wire

struct ClientTLS {
    enum End: UInt8 {
        case open
        /// The client has said close_notify: nothing was cut off.
        case said
        /// The socket ended without it, or something that is not TLS came: what was under way may have been cut off.
        case cut
    }

    let stream: TLSStream
    let policyIdentity: UInt64
    let certificates: ServedCertificates
    var end = End.open
    /// close_notify, or a fatal alert, was sent: no more can be.
    var didNotify = false
    /// The name in the ClientHello; empty: none.
    var serverName: NameText
    /// The host whose requests may come over this connection, as the last request wrote it, ...
    var judged = NameText()
    /// ... and the number of the publication that said so.
    var judgedIn: UInt64 = .max
    /// What tasks are told about the client's certificate: whole field lines.
    var certificateLines = PooledBuffer.empty

    init(stream: TLSStream, policyIdentity: UInt64, certificates: ServedCertificates, serverName: Bytes) {
        self.stream = stream
        self.policyIdentity = policyIdentity
        self.certificates = certificates
        self.serverName = NameText(serverName)
    }
}

/// A host name in place. Longer ones are no host names, and are kept as none.
struct NameText: BitwiseCopyable {
    private var text: InlineArray<255, UInt8> = InlineArray(repeating: 0)
    private var count: UInt8 = 0

    init() {}

    init(_ bytes: Bytes) {
        guard bytes.count <= 255 else { return }
        count = UInt8(bytes.count)
        for index in 0..<bytes.count { text[index] = bytes[index] }
    }

    /// The bytes of a text that stays at its address.
    @inline(__always)
    static func bytes(at place: UnsafeMutablePointer<NameText>) -> Bytes {
        Bytes(UnsafeRawPointer(place).assumingMemoryBound(to: UInt8.self), count: Int(place.pointee.count))
    }
}

/// The numbers under which handshakes with clients that failed are counted: first those of TLS itself, then alerts that
/// we refused with, then our own reasons.
public enum HandshakeFailures {
    private static let alertStart = 40
    static let timeout = 60
    static let evicted = 61

    static func number(of failure: TLSFailure) -> Int { Int(failure.rawValue) }

    static func number(of alert: TLSAlert) -> Int {
        switch alert {
        case .handshakeFailure: alertStart
        case .decodeError: alertStart + 1
        case .internalError: alertStart + 2
        case .missingExtension: alertStart + 3
        case .unrecognizedName: alertStart + 4
        }
    }

    /// Every reason with its number and its name in metrics.
    public static var all: [(number: Int, name: String)] {
        TLSFailure.allCases.map { (number(of: $0), String(describing: $0.code)) }
            + TLSAlert.allCases.map { (number(of: $0), String(describing: $0.code)) }
            + [(timeout, "timeout"), (evicted, "evicted")]
    }
}
