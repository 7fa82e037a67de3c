// Owns what stands in the Location of the proxy's own redirects, and their status. Where to is the caller's decision.

public enum RedirectLocation {
    /// Of a redirect for good: 301 for GET and HEAD, else 308, which keeps the method.
    public static func permanentStatus(_ method: Method) -> UInt16 {
        method == .get || method == .head ? 301 : 308
    }

    /// The same host, path and query by https.
    /// - Parameter port: where clients find https.
    public static func appendHTTPS(
        _ head: borrowing RequestHead, from source: Bytes, port: UInt16, to writer: inout ByteWriter
    ) {
        writer.append("https://")
        let host = source.slice(head.host)
        for index in 0..<host.count { writer.append(ASCII.lower(host[index])) }
        if port != 443 {
            writer.append(":")
            writer.append(decimal: UInt64(port))
        }
        appendTarget(head, from: source, to: &writer)
    }

    /// Another place, with the request's path and query behind it.
    public static func append(
        base: Bytes, _ head: borrowing RequestHead, from source: Bytes, to writer: inout ByteWriter
    ) {
        writer.append(base)
        appendTarget(head, from: source, to: &writer)
    }

    /// From `/app` to `/app/`, the query kept.
    public static func appendWithSlash(
        _ head: borrowing RequestHead, from source: Bytes, to writer: inout ByteWriter
    ) {
        writer.append(source.slice(head.path))
        writer.append("/")
        appendQuery(head, from: source, to: &writer)
    }

    private static func appendTarget(
        _ head: borrowing RequestHead, from source: Bytes, to writer: inout ByteWriter
    ) {
        let path = source.slice(head.path)
        if path.isEmpty || path[0] != ASCII.slash { writer.append("/") }
        if head.targetForm != .asterisk { writer.append(path) }
        appendQuery(head, from: source, to: &writer)
    }

    private static func appendQuery(
        _ head: borrowing RequestHead, from source: Bytes, to writer: inout ByteWriter
    ) {
        guard head.hasQuery else { return }
        writer.append("?")
        writer.append(source.slice(head.query))
    }
}
