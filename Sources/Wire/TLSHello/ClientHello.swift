// Owns the first look at a TLS connection: which host does the client ask for? It reads a ClientHello (RFC 8446
// section 4.1.2, RFC 6066 section 3) from the records it comes in, however they are cut, and changes nothing: the
// bytes go on to whoever terminates TLS. What it cannot read in full it refuses; it never guesses a name.

/// What a ClientHello says, as far as routing needs it.
public enum ClientHello {
    public enum Result {
        /// `serverName` lies in the scratch memory, without a trailing dot; empty: the client named no host.
        case complete(serverName: Bytes, offersECH: Bool)
        case incomplete
        case refused(Refusal)
    }

    /// Who sends more: post-quantum keys make 2 KiB, padding 4 KiB.
    public static let sizeLimit = 16384
    /// Each look reads all records from the first: who cuts a hello into more pieces than this wants it to cost time.
    public static let recordLimit = 2048
    /// Browsers send about 20.
    private static let extensionLimit = 64

    /// Reads the hello at the start of `bytes`; `scratch` has room for `sizeLimit` bytes. After `.incomplete`, call
    /// again with more.
    public static func parse(_ bytes: Bytes, scratch: UnsafeMutableRawBufferPointer) -> Result {
        precondition(scratch.count >= sizeLimit)
        guard let memory = scratch.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return refused }
        var count = 0
        var position = 0
        var recordCount = 0
        while position < bytes.count {
            recordCount += 1
            guard recordCount <= recordLimit else { return refused }
            switch fragment(bytes, at: position) {
            case .refused: return refused
            case .incomplete(let available):
                guard append(bytes, position + 5, available, to: memory, &count) else { return refused }
                return judge(memory, count, isWhole: false)
            case .whole(let size):
                guard append(bytes, position + 5, size, to: memory, &count) else { return refused }
                position += 5 + size
                switch judge(memory, count, isWhole: true) {
                case .incomplete: continue
                case let result: return result
                }
            }
        }
        return .incomplete
    }

    private static var refused: Result { .refused(Refusal(.badClientHello)) }

    /// What a client is told whose hello was refused.
    public static let refusalAlert = TLSAlert.decodeError

    private enum Fragment {
        case whole(Int)
        /// The record goes on beyond the bytes; so many of its bytes are there.
        case incomplete(Int)
        case refused
    }

    /// One record: a handshake, of TLS 1.x, with something in it. SSLv2 hellos and everything else are refused.
    private static func fragment(_ bytes: Bytes, at position: Int) -> Fragment {
        let count = bytes.count - position
        guard bytes[position] == 22, count < 2 || bytes[position + 1] == 3, count < 3 || bytes[position + 2] <= 4
        else { return .refused }
        guard count >= 5 else { return .incomplete(0) }
        let size = Int(bytes[position + 3]) << 8 | Int(bytes[position + 4])
        guard size > 0, size <= 16384 else { return .refused }
        return count >= 5 + size ? .whole(size) : .incomplete(count - 5)
    }

    private static func append(
        _ bytes: Bytes, _ start: Int, _ size: Int, to memory: UnsafeMutablePointer<UInt8>, _ count: inout Int
    ) -> Bool {
        guard size > 0 else { return true }
        guard count + size <= sizeLimit else { return false }
        let piece = bytes.slice(from: start, to: start + size)
        (memory + count).update(from: piece.base, count: size)
        count += size
        return true
    }

    /// Judges the handshake bytes collected so far. `isWhole`: they end where a record ends.
    private static func judge(_ memory: UnsafeMutablePointer<UInt8>, _ count: Int, isWhole: Bool) -> Result {
        guard count > 0 else { return .incomplete }
        guard memory[0] == 1 else { return refused }
        guard count >= 4 else { return .incomplete }
        let size = Int(memory[1]) << 16 | Int(memory[2]) << 8 | Int(memory[3])
        guard size + 4 <= sizeLimit, count <= size + 4 else { return refused }
        guard count == size + 4, isWhole else { return .incomplete }
        var reader = HelloReader(Bytes(UnsafePointer(memory), count: count), from: 4)
        return readBody(&reader) ?? refused
    }

    private static func readBody(_ reader: inout HelloReader) -> Result? {
        guard reader.skip(2 + 32), let session = reader.vector(lengthSize: 1), session.count <= 32,
            let suites = reader.vector(lengthSize: 2), suites.count >= 2, suites.count % 2 == 0,
            let compressions = reader.vector(lengthSize: 1), compressions.count >= 1
        else { return nil }
        // Hellos before RFC 3546 have no extensions.
        if reader.isAtEnd { return .complete(serverName: .empty, offersECH: false) }
        guard let extensions = reader.vector(lengthSize: 2), reader.isAtEnd else { return nil }
        return readExtensions(HelloReader(extensions, from: 0))
    }

    private static func readExtensions(_ extensions: HelloReader) -> Result? {
        var reader = extensions
        var name = Bytes.empty
        var offersECH = false
        var index = 0
        while !reader.isAtEnd {
            guard index < extensionLimit, let kind = reader.number(2), let value = reader.vector(lengthSize: 2),
                !hasEarlier(kind, before: index, in: extensions)
            else { return nil }
            if kind == 0 {
                guard let found = serverName(value) else { return nil }
                name = found
            }
            if kind == 0xFE0D { offersECH = true }
            index += 1
        }
        return .complete(serverName: name, offersECH: offersECH)
    }

    /// Two extensions of one kind: two readers may believe two of them.
    private static func hasEarlier(_ kind: Int, before index: Int, in extensions: HelloReader) -> Bool {
        var reader = extensions
        for _ in 0..<index {
            guard let other = reader.number(2), reader.vector(lengthSize: 2) != nil else { return true }
            if other == kind { return true }
        }
        return false
    }

    /// Exactly one host name, made of what host names are made of. Addresses are no names (RFC 6066 section 3).
    private static func serverName(_ value: Bytes) -> Bytes? {
        var outer = HelloReader(value, from: 0)
        guard let list = outer.vector(lengthSize: 2), outer.isAtEnd else { return nil }
        var reader = HelloReader(list, from: 0)
        guard let kind = reader.number(1), kind == 0, let name = reader.vector(lengthSize: 2), reader.isAtEnd,
            name.firstIndex(of: ASCII.colon) == nil,
            let authority = Authority.parse(name.base, from: 0, to: name.count)
        else { return nil }
        let host = name.slice(authority.host)
        return NetworkAddress.parse(host) == nil ? host : nil
    }
}

/// Reads numbers and length-prefixed vectors, big-endian, never beyond its bytes.
private struct HelloReader {
    private let bytes: Bytes
    private var position: Int

    init(_ bytes: Bytes, from position: Int) {
        self.bytes = bytes
        self.position = position
    }

    var isAtEnd: Bool { position == bytes.count }

    mutating func skip(_ count: Int) -> Bool {
        guard bytes.count - position >= count else { return false }
        position += count
        return true
    }

    mutating func number(_ size: Int) -> Int? {
        guard bytes.count - position >= size else { return nil }
        var value = 0
        for _ in 0..<size {
            value = value << 8 | Int(bytes[position])
            position += 1
        }
        return value
    }

    mutating func vector(lengthSize: Int) -> Bytes? {
        guard let count = number(lengthSize), bytes.count - position >= count else { return nil }
        defer { position += count }
        return bytes.slice(from: position, to: position + count)
    }
}
