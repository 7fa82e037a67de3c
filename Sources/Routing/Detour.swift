// Where a request is sent instead of to a task, as far as its host, its path and the way it came decide. Asked only for
// hosts that redirect, for plain HTTP where https is wanted, and where no route is found.
//
//   secure      the host redirects https                                       there
//   plain       an ACME challenge                                              goes on
//               the host redirects http                                        there
//               the route, or the proxy as a whole, is for https only          to https
//   no route    the host's TLS is passed on: plain requests                    to https
//                                            secure ones                       refused: no task of it is reached so

public enum Detour: BitwiseCopyable, Hashable, Sendable {
    /// It goes on.
    case none
    /// For `RouteTable.redirectTarget(_:)`.
    case redirect(Int32)
    /// The same host, path and query by https.
    case https
    /// Not over this connection.
    case misdirected
}

extension HostRules {
    /// - Parameters:
    ///   - isSecure: nobody between the client and the proxy could read the request.
    ///   - requiresTLS: the route, or the proxy as a whole, is for https only.
    ///   - namesHost: who names none cannot be told where to go.
    public func detour(
        isSecure: Bool, requiresTLS: Bool, path: UnsafeRawBufferPointer, namesHost: Bool
    ) -> Detour {
        if isSecure { return httpsRedirect >= 0 ? .redirect(httpsRedirect) : .none }
        if Self.isChallenge(path) { return .none }
        if httpRedirect >= 0 { return .redirect(httpRedirect) }
        guard requiresTLS else { return .none }
        return namesHost ? .https : .misdirected
    }

    /// Of a request whose path no route of the host answers. `requiresTLS`: the proxy as a whole.
    public func detourWithoutRoute(
        isSecure: Bool, requiresTLS: Bool, path: UnsafeRawBufferPointer, namesHost: Bool
    ) -> Detour {
        guard passthroughPool >= 0 else {
            return detour(isSecure: isSecure, requiresTLS: requiresTLS, path: path, namesHost: namesHost)
        }
        // Nothing but TLS reaches its tasks: who ends it in front of us sends requests to the wrong place.
        return isSecure || !namesHost ? .misdirected : .https
    }

    /// What certificate authorities ask for (RFC 8555 section 8.3), and nothing that a task could read as another path.
    private static func isChallenge(_ path: UnsafeRawBufferPointer) -> Bool {
        let prefix = "/.well-known/acme-challenge/".utf8
        guard path.count > prefix.count, path.starts(with: prefix) else { return false }
        return path[prefix.count...].allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
    }
}
