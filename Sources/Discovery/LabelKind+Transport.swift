// Kinds of label values that speak of TLS and redirects: names of secrets, Strict-Transport-Security, pairs of a source
// and a destination. What they return goes into file names and response headers, so it is checked byte by byte here.

public import Model

/// One pair of a `redirects` label, in its normal form.
public struct RedirectPair: Hashable, Sendable {
    public var source: HostPattern
    /// The schemes of the source that are redirected: one, or both where none is written.
    public var schemes: [HostRedirect.Scheme]
    public var destinationScheme: HostRedirect.Scheme
    public var destinationHost: String
    /// Scheme, host, port unless it is the scheme's own, and path without a slash at its end.
    public var destination: String
}

extension LabelKind {
    /// A file name in the secrets directory and never a path: Docker allows letters, digits, `-`, `_` and `.`.
    static func isSecretName(_ text: String) -> Bool {
        func isPlain(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."): true
            default: false
            }
        }
        guard let first = text.utf8.first, first != UInt8(ascii: "."), first != UInt8(ascii: "-") else { return false }
        return text.utf8.count <= 200 && text.utf8.allSatisfy(isPlain)
    }

    static func secret(_ text: String) throws(LabelValueError) -> String {
        guard isSecretName(text) else {
            throw LabelValueError(message: "write the name of a secret: letters, digits, - _ and . alone, no path")
        }
        return text
    }

    static func secrets(_ text: String) throws(LabelValueError) -> [String] {
        try list(text).map { part throws(LabelValueError) in try secret(part) }
    }

    /// A server name: a host without wildcard and port.
    static func hostName(_ text: String) throws(LabelValueError) -> String {
        guard !text.contains(":"), case .exact(let name)? = try? HostPattern(label: text) else {
            throw LabelValueError(message: "write one host name, without port and wildcard")
        }
        return name
    }

    /// RFC 6797, 6.1: `max-age` once, the two other directives at most once. A bare number is the age in seconds.
    static func transportSecurity(_ text: String) throws(LabelValueError) -> String {
        let wrong = LabelValueError(message: "write max-age=31536000, with ;includeSubDomains and ;preload if wanted")
        var age: Int?
        var directives: Set<String> = []
        for part in text.split(separator: ";").map(\.trimmed) where !part.isEmpty {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = sides[0].trimmed.lowercased()
            var value = sides.count > 1 ? sides[1].trimmed : nil
            if let quoted = value, quoted.utf8.count >= 2, quoted.hasPrefix("\""), quoted.hasSuffix("\"") {
                value = String(quoted.dropFirst().dropLast())
            }
            switch name {
            case "max-age":
                guard age == nil, let value, value.utf8.count <= 10, let seconds = digits(value) else { throw wrong }
                age = seconds
            case "includesubdomains", "preload":
                guard value == nil, directives.insert(name).inserted else { throw wrong }
            default:
                guard value == nil, age == nil, name.utf8.count <= 10, let seconds = digits(name) else { throw wrong }
                age = seconds
            }
        }
        guard let age else { throw wrong }
        return "max-age=\(age)" + (directives.contains("includesubdomains") ? "; includeSubDomains" : "")
            + (directives.contains("preload") ? "; preload" : "")
    }

    // MARK: Redirects

    static func redirects(_ text: String) throws(LabelValueError) -> [RedirectPair] {
        var pairs: [RedirectPair] = []
        for pair in text.split(separator: ";").map(\.trimmed) where !pair.isEmpty {
            let sides = list(pair)
            guard sides.count == 2 else {
                throw LabelValueError(message: "write source,destination pairs with semicolons between them")
            }
            let (source, schemes) = try redirectSource(sides[0])
            var redirect = try redirectDestination(sides[1])
            redirect.source = source
            redirect.schemes = schemes
            pairs.append(redirect)
        }
        return pairs
    }

    private static func redirectSource(
        _ text: String
    ) throws(LabelValueError) -> (HostPattern, [HostRedirect.Scheme]) {
        let (scheme, rest) = splitScheme(text)
        var host = rest
        if host.hasSuffix("/") { host = host.dropLast() }
        guard !host.contains("/") else {
            throw LabelValueError(
                message: "source \"\(text.shortened)\" has a path or an unknown scheme; write a host, or http://host")
        }
        do {
            return (try HostPattern(label: host), scheme.map { [$0] } ?? [.http, .https])
        } catch {
            throw LabelValueError(message: "source \"\(text.shortened)\" \(error.message)")
        }
    }

    /// The pair without its source.
    private static func redirectDestination(_ text: String) throws(LabelValueError) -> RedirectPair {
        func wrong(_ why: String) -> LabelValueError {
            LabelValueError(message: "destination \"\(text.shortened)\" \(why)")
        }
        let (scheme, rest) = splitScheme(text)
        guard let scheme else { throw wrong("needs http:// or https:// before its host") }
        guard text.utf8.count <= 1024 else { throw wrong("is longer than 1024 bytes") }
        let authority = rest.prefix { $0 != "/" }
        guard !authority.contains("@") else { throw wrong("has a user name; write the host alone") }
        let host: HostPattern
        do {
            host = try HostPattern(label: authority)
        } catch {
            throw wrong(error.message)
        }
        guard case .exact(let name) = host else { throw wrong("is not one host") }
        var path = rest.dropFirst(authority.count)
        while path.hasSuffix("/") { path = path.dropLast() }
        let isPlain = !path.utf8.contains { "\"<>^`{|}".utf8.contains($0) }
        guard path.isEmpty || isPlain && Route.isNormalPrefix(String(path)) else {
            throw wrong("has a path that is not plain; the request's own path and query are appended to it")
        }
        return RedirectPair(
            source: .any, schemes: [], destinationScheme: scheme, destinationHost: name,
            destination: "\(scheme)://\(name)\(port(of: authority, scheme))\(path)")
    }

    /// `:8443`; "" for the scheme's own port and without one. `HostPattern` has checked its digits.
    private static func port(of authority: Substring, _ scheme: HostRedirect.Scheme) -> String {
        guard let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]"),
            let port = UInt16(authority[authority.index(after: colon)...])
        else { return "" }
        return port == (scheme == .http ? 80 : 443) ? "" : ":\(port)"
    }

    private static func splitScheme(_ text: String) -> (HostRedirect.Scheme?, Substring) {
        let lower = text.lowercased()
        if lower.hasPrefix("http://") { return (.http, text.dropFirst(7)) }
        if lower.hasPrefix("https://") { return (.https, text.dropFirst(8)) }
        return (nil, text[...])
    }
}
