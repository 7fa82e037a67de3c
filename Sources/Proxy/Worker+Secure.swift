// What TLS means for a request: whether its connection may carry it at all, and where it is sent instead.
//
//   over TLS    another policy than the host needs, a host that is passed on, a certificate for others    421
//   otherwise   what `Detour` of Routing says
//
// A trusted peer's "X-Forwarded-Proto: https" makes a request secure: a proxy in front has ended TLS, and to send its
// client to https would send it round for ever. A secure request is never sent to https.

internal import Kernel
internal import Routing
internal import Telemetry
internal import Wire

extension Worker {
    // MARK: Whose connection is it

    /// Whether this connection may carry requests for that host.
    @inline(__always)
    mutating func mayServe(_ tls: UnsafeMutablePointer<ClientTLS>, _ host: Bytes) -> Bool {
        if tls.pointee.judgedIn == publication.number, NameText.bytes(at: &tls.pointee.judged).equals(host) {
            return true
        }
        return judge(tls, host)
    }

    private mutating func judge(_ tls: UnsafeMutablePointer<ClientTLS>, _ host: Bytes) -> Bool {
        let table = publication.table
        let index = table.host(host.raw)
        let rules = index < 0 ? nil : table.hostRules(index)
        if let rules, rules.passthroughPool >= 0 { return false }
        guard publication.tls.identity(options: rules?.tlsOptions ?? 0) == tls.pointee.policyIdentity else {
            return false
        }
        // The certificate of the host that was asked for is right by definition, whatever names it carries.
        let isAsked = NameText.bytes(at: &tls.pointee.serverName).equalsIgnoringCase(host)
        guard isAsked || host.isEmpty || tls.pointee.certificates.isDefault || tls.pointee.certificates.cover(host)
        else { return false }
        if host.count <= 255 {
            tls.pointee.judged = NameText(host)
            tls.pointee.judgedIn = publication.number
        }
        return true
    }

    /// Whether nobody between the client and us could read the request.
    @inline(__always)
    func isSecure(_ slot: UInt32, _ bytes: Bytes) -> Bool {
        if clients[slot].pointee.tls != nil { return true }
        return clients[slot].pointee.peerIsTrusted
            && bytes.slice(requestHead.xForwardedProto).equalsIgnoringCase("https")
    }

    // MARK: Where to instead

    /// The answer to a request that must not go on as it came; nil: it may.
    mutating func detour(_ slot: UInt32, _ bytes: Bytes, _ rules: HostRules, requiresTLS: Bool) -> RouteVerdict? {
        verdict(
            rules.detour(
                isSecure: isSecure(slot, bytes), requiresTLS: requiresTLS || settings.sslOnly,
                path: bytes.slice(requestHead.path).raw, namesHost: !requestHead.host.isEmpty))
    }

    /// A host without a route for the path. It may still be one that is passed on, or redirected as a whole.
    mutating func unknownPath(_ slot: UInt32, _ bytes: Bytes, host: Bytes) -> RouteVerdict {
        let index = publication.table.host(host.raw)
        guard index >= 0 else { return .answer(.unknownPath) }
        let detour = publication.table.hostRules(index).detourWithoutRoute(
            isSecure: isSecure(slot, bytes), requiresTLS: settings.sslOnly,
            path: bytes.slice(requestHead.path).raw, namesHost: !host.isEmpty)
        return verdict(detour) ?? .answer(.unknownPath)
    }

    private func verdict(_ detour: Detour) -> RouteVerdict? {
        switch detour {
        case .none: nil
        case .redirect(let target): .redirectAway(target)
        case .https: .redirectToHTTPS
        case .misdirected: .answer(.misdirected)
        }
    }

    // MARK: Redirects

    /// Where extra lines of our own answers are written: the answer itself goes into the other half.
    var extraLinesWriter: ByteWriter {
        ByteWriter(base: headScratch + Self.headScratchSize / 2, capacity: Self.headScratchSize / 2)
    }

    /// To the same host, path and query by https: 301 for GET and HEAD, else 308, which keeps the method.
    mutating func redirectToHTTPS(_ slot: UInt32, _ bytes: Bytes) {
        var writer = extraLinesWriter
        writer.append("Location: ")
        RedirectLocation.appendHTTPS(requestHead, from: bytes, port: settings.httpsPublicPort, to: &writer)
        writer.append("\r\n")
        answerRedirect(
            slot, bytes, status: RedirectLocation.permanentStatus(requestHead.method),
            explanation: "This service is found under https.", writer)
    }

    /// To where the host is redirected to, with the request's path and query behind it.
    mutating func redirectAway(_ slot: UInt32, _ bytes: Bytes, to target: Int32) {
        var writer = extraLinesWriter
        writer.append("Location: ")
        RedirectLocation.append(
            base: Bytes(publication.table.redirectTarget(target)), requestHead, from: bytes, to: &writer)
        writer.append("\r\n")
        appendHSTS(slot, bytes, to: &writer)
        answerRedirect(slot, bytes, status: 302, explanation: "This service is found under another address.", writer)
    }

    mutating func answerRedirect(
        _ slot: UInt32, _ bytes: Bytes, status: UInt16, explanation: StaticString, _ lines: ByteWriter
    ) {
        let closes = !requestHead.isPersistent || isDraining || requestHead.body != .none
        let local = LocalAnswer(
            outcome: .ok, status: status, code: "redirect", explanation: explanation,
            format: StandardResponses.Format(accept: bytes.slice(requestHead.accept)),
            isHead: requestHead.method == .head, closes: closes, version: requestHead.version, retryAfterS: nil,
            requestID: requestID(slot, bytes), extraLines: lines.bytes)
        clients[slot].pointee.closesAfterAnswer = closes
        countLocal(slot, local, rejection: nil, bytes: bytes, hasHead: true)
        sendLocal(slot, local)
    }

    // MARK: Strict-Transport-Security

    /// The line of the route that the current request has, on secure transport only (RFC 6797 section 7.2).
    mutating func appendHSTS(_ slot: UInt32, _ bytes: Bytes, to writer: inout ByteWriter) {
        guard routed >= 0, isSecure(slot, bytes) else { return }
        Self.appendHSTS(publication.table, routed, to: &writer)
    }

    static func appendHSTS(_ table: RouteTable, _ route: Int32, to writer: inout ByteWriter) {
        let value = table.hsts(of: table.route(route))
        guard !value.isEmpty else { return }
        writer.append("Strict-Transport-Security: ")
        writer.append(Bytes(value))
        writer.append("\r\n")
    }

    /// The line for an exchange's answer, whose publication may have been replaced.
    mutating func appendHSTS(exchange slot: UInt32, to writer: inout ByteWriter) {
        let exchange = exchanges[slot]
        guard exchange.pointee.hstsRoute >= 0, exchange.pointee.held >= 0,
            let publication = held[Int(exchange.pointee.held)].publication
        else { return }
        Self.appendHSTS(publication.table, exchange.pointee.hstsRoute, to: &writer)
    }
}
