// What a renderer must know of a certificate: whether the target would take it, since one that it refuses would keep
// back the whole configuration; what kind of key it has; for which hosts it is. Whoever has OpenSSL looks closely;
// without it the form is looked at, and no more.

/// What is known of a certificate and its key.
public struct CertificateFacts: Hashable, Sendable {
    public enum KeyKind: Int, Hashable, Sendable { case rsa, ecdsa, ed25519, other }

    public var keyKind: KeyKind
    /// In lower case, wildcards as `*.example.com`; empty: not known.
    public var names: [String]

    public init(keyKind: KeyKind, names: [String] = []) {
        self.keyKind = keyKind
        self.names = names
    }
}

/// Why the target would refuse it: a clause such as `holds no certificate`.
public struct CertificateFault: Error, Hashable, Sendable {
    public var reason: String

    public init(_ reason: String) { self.reason = reason }
}

/// Who looks at certificates for a renderer.
public struct CertificateReading: Sendable {
    public typealias Pair =
        @Sendable (_ chain: [UInt8], _ key: [UInt8]?) -> Result<CertificateFacts, CertificateFault>

    /// PEM; without a key, it is in the chain's file.
    public var pair: Pair
    /// Authorities, PEM; nil: they can be used.
    public var authorities: @Sendable (_ pem: [UInt8]) -> CertificateFault?

    public init(pair: @escaping Pair, authorities: @escaping @Sendable ([UInt8]) -> CertificateFault?) {
        self.pair = pair
        self.authorities = authorities
    }

    /// Looks at the form alone.
    public static let byForm = CertificateReading(
        pair: { chain, key in
            guard let leaf = PEMBlock.all(in: chain).first(where: { $0.isCertificate }) else {
                return .failure(CertificateFault("holds no PEM certificate"))
            }
            guard PEMBlock.all(in: key ?? chain).contains(where: { $0.isPrivateKey }) else {
                return .failure(CertificateFault("holds no PEM private key"))
            }
            return .success(CertificateFacts(keyKind: keyKind(of: leaf.content)))
        },
        authorities: { pem in
            PEMBlock.all(in: pem).contains { $0.isCertificate } ? nil : CertificateFault("holds no PEM certificate")
        })

    /// The algorithm of a certificate's public key stands in it once, as an object identifier (RFC 3279, RFC 8410).
    private static func keyKind(of certificate: [UInt8]) -> CertificateFacts.KeyKind {
        let kinds: [(identifier: [UInt8], kind: CertificateFacts.KeyKind)] = [
            ([0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01], .rsa),
            ([0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01], .ecdsa),
            ([0x06, 0x03, 0x2B, 0x65, 0x70, 0x03], .ed25519),
        ]
        return kinds.first { certificate.holds($0.identifier) }?.kind ?? .other
    }
}

/// One block of PEM (RFC 7468).
struct PEMBlock {
    let label: String
    let content: [UInt8]

    var isCertificate: Bool { label == "CERTIFICATE" || label == "TRUSTED CERTIFICATE" }
    var isPrivateKey: Bool { label.hasSuffix("PRIVATE KEY") && !label.hasPrefix("ENCRYPTED") }

    /// The blocks that are whole and hold base64.
    static func all(in text: [UInt8]) -> [PEMBlock] {
        var blocks: [PEMBlock] = []
        var open: (label: String, content: [UInt8])?
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let line = String(decoding: line, as: UTF8.self).trimmed
            if line.hasPrefix("-----BEGIN "), line.hasSuffix("-----") {
                open = (String(line.dropFirst(11).dropLast(5)), [])
            } else if line.hasPrefix("-----END ") {
                if let open, line == "-----END \(open.label)-----", let content = decoded(open.content) {
                    blocks.append(PEMBlock(label: open.label, content: content))
                }
                open = nil
            } else {
                open?.content += Array(line.utf8)
            }
        }
        return blocks
    }

    private static func decoded(_ text: [UInt8]) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 4 * 3)
        var word: UInt32 = 0
        var count = 0
        for byte in text where byte != UInt8(ascii: "=") {
            guard let value = value(of: byte) else { return nil }
            word = word << 6 | value
            count += 1
            if count % 4 == 0 { bytes += [UInt8(word >> 16 & 0xFF), UInt8(word >> 8 & 0xFF), UInt8(word & 0xFF)] }
        }
        switch count % 4 {
        case 2: bytes.append(UInt8(word >> 4 & 0xFF))
        case 3: bytes += [UInt8(word >> 10 & 0xFF), UInt8(word >> 2 & 0xFF)]
        default: break
        }
        return count % 4 == 1 || bytes.isEmpty ? nil : bytes
    }

    private static func value(of byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte) - 65
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte) - 71
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte) + 4
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}

extension String {
    /// Without blanks and carriage returns at its ends.
    fileprivate var trimmed: String {
        let blanks: Set<Character> = [" ", "\t", "\r"]
        var rest = self[...]
        while let first = rest.first, blanks.contains(first) { rest.removeFirst() }
        while let last = rest.last, blanks.contains(last) { rest.removeLast() }
        return String(rest)
    }
}

extension [UInt8] {
    fileprivate func holds(_ part: [UInt8]) -> Bool {
        guard count >= part.count else { return false }
        return (0...(count - part.count)).contains { self[$0] == part[0] && self[$0...].starts(with: part) }
    }
}
