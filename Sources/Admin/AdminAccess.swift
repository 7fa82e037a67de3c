// Who may see the status page and the API: whoever holds the token, whoever sits on the machine itself, or everybody
// if the operator said so. Health and metrics are open and never come here.

import Model
import Wire

/// What the operator decided.
struct AdminAccess: Sendable {
    enum Verdict: Sendable { case granted, unauthorized, forbidden }

    let token: [UInt8]?
    let isOpen: Bool

    /// `bytes` are those the head was parsed from.
    /// - Parameter changes: it is about more than looking. A page that everybody may see is not one that everybody may
    ///   act on, and a browser on this machine may be told by any site to send a POST here.
    func verdict(
        for head: borrowing RequestHead, in bytes: Bytes, peerIsLoopback: Bool, changes: Bool = false
    ) -> Verdict {
        if isOpen, !changes { return .granted }
        if peerIsLoopback, Self.looksLocal(head, in: bytes), !changes || !Self.isFromBrowser(head, in: bytes) {
            return .granted
        }
        guard let token else { return .forbidden }
        return Self.bearer(head, in: bytes).map { Self.isEqual($0, token) } == true ? .granted : .unauthorized
    }

    /// A loopback peer may be a proxy that speaks for somebody else, or a browser that a name was rebound under:
    /// neither counts as local.
    private static func looksLocal(_ head: borrowing RequestHead, in bytes: Bytes) -> Bool {
        for index in 0..<head.fieldCount {
            switch head.field(index).id {
            case .forwarded, .xForwardedFor, .xForwardedHost, .xForwardedProto, .xRealIP, .via: return false
            default: break
            }
        }
        let host = bytes.slice(head.host)
        if host.isEmpty || host.equalsIgnoringCase("localhost") { return true }
        let name = host.string()
        return IPAddress(name.hasPrefix("[") ? String(name.dropFirst().dropLast()) : name) != nil
    }

    /// Browsers send these with every POST.
    private static func isFromBrowser(_ head: borrowing RequestHead, in bytes: Bytes) -> Bool {
        for index in 0..<head.fieldCount {
            let name = bytes.slice(head.field(index).name)
            if name.equalsIgnoringCase("origin") || name.equalsIgnoringCase("sec-fetch-site") { return true }
        }
        return false
    }

    /// The token of the one Authorization field (RFC 6750 section 2.1).
    private static func bearer(_ head: borrowing RequestHead, in bytes: Bytes) -> [UInt8]? {
        var found: Bytes?
        for index in 0..<head.fieldCount where head.field(index).id == .authorization {
            guard found == nil else { return nil }
            found = bytes.slice(head.field(index).value)
        }
        guard let value = found, value.count > 7, value.slice(from: 0, to: 7).equalsIgnoringCase("bearer ") else {
            return nil
        }
        return value.slice(from: 7).array()
    }

    /// Takes as long for a wrong first byte as for a wrong last one.
    private static func isEqual(_ given: [UInt8], _ token: [UInt8]) -> Bool {
        var difference = given.count == token.count ? 0 : 1
        for index in 0..<token.count {
            let byte = index < given.count ? given[index] : 0
            difference |= Int(byte ^ token[index])
        }
        return difference == 0
    }
}
