// Owns the field names this proxy acts upon, how they are recognised, and to which group each belongs. Everything
// else is `.other` and passes. One switch over the length finds a name in a few nanoseconds.

/// A field name the proxy knows; all others are `.other`.
public enum FieldName: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case other
    // Framing and routing.
    case host, contentLength, transferEncoding
    // One hop only.
    case connection, keepAlive, proxyConnection, te, trailer, upgrade, http2Settings, expect
    // What we say about the client; a client must not say it.
    case forwarded, xForwardedFor, xForwardedProto, xForwardedHost, xForwardedPort, xForwardedPrefix, xForwardedURI
    case xForwardedMethod, xForwardedServer, xForwardedOther, xRealIP, xRequestID, clientCert, clientCertChain
    case xSSLClient, proxy, via
    // Read, and passed on.
    case maxForwards, accept, userAgent, referer, authorization, cookie, date, server, location, contentType
    case secWebSocketKey, secWebSocketVersion, strictTransportSecurity

    @inline(__always)
    var bit: UInt64 { 1 << UInt64(rawValue) }

    @inline(__always)
    func isIn(_ set: UInt64) -> Bool { bit & set != 0 }

    /// `count` bytes at `base` as a name, in any case.
    @inline(__always)
    static func recognise(_ base: UnsafePointer<UInt8>, _ count: Int) -> FieldName {
        @inline(__always)
        func matches(_ name: StaticString) -> Bool { ByteScan.matches(base, count, name) }
        switch count {
        case 2: if matches("te") { return .te }
        case 3: if matches("via") { return .via }
        case 4:
            if matches("host") { return .host }
            if matches("date") { return .date }
        case 5: if matches("proxy") { return .proxy }
        case 6:
            if matches("accept") { return .accept }
            if matches("cookie") { return .cookie }
            if matches("server") { return .server }
            if matches("expect") { return .expect }
        case 7:
            if matches("referer") { return .referer }
            if matches("upgrade") { return .upgrade }
            if matches("trailer") { return .trailer }
        case 8: if matches("location") { return .location }
        case 9:
            if matches("x-real-ip") { return .xRealIP }
            if matches("forwarded") { return .forwarded }
        case 10:
            if matches("user-agent") { return .userAgent }
            if matches("connection") { return .connection }
            if matches("keep-alive") { return .keepAlive }
        case 11: if matches("client-cert") { return .clientCert }
        default: return recogniseLong(base, count)
        }
        return .other
    }

    @inline(__always)
    private static func recogniseLong(_ base: UnsafePointer<UInt8>, _ count: Int) -> FieldName {
        @inline(__always)
        func matches(_ name: StaticString) -> Bool { ByteScan.matches(base, count, name) }
        switch count {
        case 12:
            if matches("content-type") { return .contentType }
            if matches("x-request-id") { return .xRequestID }
            if matches("max-forwards") { return .maxForwards }
        case 13: if matches("authorization") { return .authorization }
        case 14:
            if matches("content-length") { return .contentLength }
            if matches("http2-settings") { return .http2Settings }
        case 15: if matches("x-forwarded-for") { return .xForwardedFor }
        case 16:
            if matches("x-forwarded-host") { return .xForwardedHost }
            if matches("x-forwarded-port") { return .xForwardedPort }
            if matches("proxy-connection") { return .proxyConnection }
        case 17:
            if matches("transfer-encoding") { return .transferEncoding }
            if matches("x-forwarded-proto") { return .xForwardedProto }
            if matches("sec-websocket-key") { return .secWebSocketKey }
            if matches("client-cert-chain") { return .clientCertChain }
        case 18: if matches("x-forwarded-prefix") { return .xForwardedPrefix }
        case 21: if matches("sec-websocket-version") { return .secWebSocketVersion }
        case 25: if matches("strict-transport-security") { return .strictTransportSecurity }
        default: break
        }
        return recogniseFamily(base, count)
    }

    /// The names that begin with `x-forwarded-` and `x-ssl-client-`, of which applications trust any number.
    @inline(__always)
    private static func recogniseFamily(_ base: UnsafePointer<UInt8>, _ count: Int) -> FieldName {
        guard count >= 12, base[0] | 0x20 == 0x78 else { return .other }
        if ByteScan.matches(base, 12, "x-forwarded-") {
            if ByteScan.matches(base, count, "x-forwarded-uri") { return .xForwardedURI }
            if ByteScan.matches(base, count, "x-forwarded-method") { return .xForwardedMethod }
            if ByteScan.matches(base, count, "x-forwarded-server") { return .xForwardedServer }
            return .xForwardedOther
        }
        if count >= 13, ByteScan.matches(base, 13, "x-ssl-client-") { return .xSSLClient }
        if ByteScan.matches(base, count, "x-ssl-client") { return .xSSLClient }
        return .other
    }
}
