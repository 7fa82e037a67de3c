// Owns the field lines that tell a task about its client's certificate: RFC 9440, and the names that applications
// behind other proxies read. They are written once for a connection and copied into each of its requests; a client's
// own lines of these names never get this far (`FieldGroup.identity`).

/// What is said about a client that was asked for a certificate.
public enum ClientCertificateFields {
    /// Intermediates beyond this are not passed on: a head has its limits, and no honest chain is longer.
    static let chainLimit = 4

    /// The client showed a certificate, and it was found good.
    /// - Parameters:
    ///   - certificate: DER.
    ///   - chain: the intermediates that the client sent, DER each, as the handshake had them.
    ///   - subject: its distinguished name (RFC 4514).
    public static func write(
        certificate: Bytes, chain: [[UInt8]], subject: Bytes, into writer: inout ByteWriter
    ) {
        writer.append("Client-Cert: :")
        writer.append(base64: certificate)
        writer.append(":\r\n")
        if !chain.isEmpty {
            writer.append("Client-Cert-Chain: ")
            for (index, link) in chain.prefix(chainLimit).enumerated() {
                writer.append(index == 0 ? ":" : ", :")
                link.withUnsafeBufferPointer { writer.append(base64: Bytes($0)) }
                writer.append(":")
            }
            writer.append("\r\n")
        }
        writer.append("X-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-S-DN: ")
        appendName(subject, into: &writer)
        writer.append("\r\n")
    }

    /// The client was asked for a certificate, need not have one, and showed none.
    public static func writeNone(into writer: inout ByteWriter) {
        writer.append("X-SSL-Client-Verify: NONE\r\n")
    }

    /// A name is the client's word: what is no printable ASCII is written as RFC 4514 escapes it, in hexadecimal.
    private static func appendName(_ name: Bytes, into writer: inout ByteWriter) {
        let digits: StaticString = "0123456789ABCDEF"
        for index in 0..<name.count {
            let byte = name[index]
            if (0x20..<0x7F).contains(byte) {
                writer.append(byte)
            } else {
                writer.append(ASCII.backslash)
                writer.append(digits.utf8Start[Int(byte >> 4)])
                writer.append(digits.utf8Start[Int(byte & 15)])
            }
        }
    }
}

extension ByteWriter {
    /// Base64 with padding (RFC 4648 section 4).
    mutating func append(base64 bytes: Bytes) {
        let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        var index = 0
        while index < bytes.count {
            let left = min(3, bytes.count - index)
            var group: UInt32 = 0
            for offset in 0..<3 { group = group << 8 | UInt32(offset < left ? bytes[index + offset] : 0) }
            for digit in 0..<4 {
                append(digit > left ? ASCII.equal : alphabet.utf8Start[Int(group >> (18 - 6 * UInt32(digit)) & 63)])
            }
            index += 3
        }
    }
}
