// Owns what an upstream is told about the client: X-Forwarded-*, X-Real-IP, x-request-id, Forwarded. A stranger's own
// words are gone by now; a trusted peer's X-Forwarded-For is continued, its -Proto, -Host and -Port are kept.

extension HeadWriter {
    @inline(__always)
    static func writeIdentity(
        _ head: borrowing RequestHead, from source: Bytes, context: borrowing RequestContext,
        into writer: inout ByteWriter
    ) {
        if context.peerIsTrusted {
            writeFromTrusted(head, from: source, context: context, into: &writer)
        } else {
            writer.append("X-Forwarded-For: ")
            writer.append(context.clientAddress)
            writer.append(context.isTLS ? "\r\nX-Forwarded-Proto: https" : "\r\nX-Forwarded-Proto: http")
            writeOwnHost(head, from: source, into: &writer)
            writer.append("\r\nX-Forwarded-Port: ")
            writer.append(decimal: UInt64(context.localPort))
        }
        writer.append("\r\nX-Real-IP: ")
        writer.append(context.realClientAddress)
        if !context.requestID.isEmpty {
            writer.append("\r\nx-request-id: ")
            writer.append(context.requestID)
        }
        if !context.forwardedPrefix.isEmpty {
            writer.append("\r\nX-Forwarded-Prefix: ")
            writer.append(context.forwardedPrefix)
        }
        if context.addsForwarded { writeForwarded(head, from: source, context: context, into: &writer) }
        writer.append("\r\n")
        if !context.clientCertificateLines.isEmpty { writer.append(context.clientCertificateLines) }
    }

    @inline(__always)
    private static func writeOwnHost(
        _ head: borrowing RequestHead, from source: Bytes, into writer: inout ByteWriter
    ) {
        guard !head.authority.isEmpty else { return }
        writer.append("\r\nX-Forwarded-Host: ")
        writer.append(source.slice(head.authority))
    }

    private static func writeFromTrusted(
        _ head: borrowing RequestHead, from source: Bytes, context: borrowing RequestContext,
        into writer: inout ByteWriter
    ) {
        writer.append("X-Forwarded-For: ")
        for index in 0..<head.fieldCount {
            let field = head.field(index)
            // Several lines are one list (RFC 9110 section 5.3); an empty one adds nothing.
            guard field.id == .xForwardedFor, !field.isDropped, !field.value.isEmpty else { continue }
            writer.append(source.slice(field.value))
            writer.append(", ")
        }
        writer.append(context.clientAddress)
        if !copyLast(.xForwardedProto, "\r\nX-Forwarded-Proto: ", head, from: source, into: &writer) {
            writer.append(context.isTLS ? "\r\nX-Forwarded-Proto: https" : "\r\nX-Forwarded-Proto: http")
        }
        if !copyLast(.xForwardedHost, "\r\nX-Forwarded-Host: ", head, from: source, into: &writer) {
            writeOwnHost(head, from: source, into: &writer)
        }
        if !copyLast(.xForwardedPort, "\r\nX-Forwarded-Port: ", head, from: source, into: &writer) {
            writer.append("\r\nX-Forwarded-Port: ")
            writer.append(decimal: UInt64(context.localPort))
        }
    }

    /// One value for a name: the one that the nearest proxy wrote, which is the last.
    private static func copyLast(
        _ name: FieldName, _ label: StaticString, _ head: borrowing RequestHead, from source: Bytes,
        into writer: inout ByteWriter
    ) -> Bool {
        var index = head.fieldCount
        while index > 0 {
            index -= 1
            let field = head.field(index)
            guard field.id == name, !field.isDropped, !field.value.isEmpty else { continue }
            writer.append(label)
            writer.append(source.slice(field.value))
            return true
        }
        return false
    }

    /// RFC 7239. The host was checked to hold nothing that a quoted string must escape.
    private static func writeForwarded(
        _ head: borrowing RequestHead, from source: Bytes, context: borrowing RequestContext,
        into writer: inout ByteWriter
    ) {
        writer.append("\r\nForwarded: for=")
        if context.clientAddress.firstIndex(of: ASCII.colon) != nil {
            writer.append("\"[")
            writer.append(context.clientAddress)
            writer.append("]\"")
        } else {
            writer.append(context.clientAddress)
        }
        if !head.authority.isEmpty {
            writer.append(";host=\"")
            writer.append(source.slice(head.authority))
            writer.append(ASCII.quote)
        }
        writer.append(context.isTLS ? ";proto=https" : ";proto=http")
    }
}
