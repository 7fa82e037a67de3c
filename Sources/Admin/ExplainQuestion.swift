// A request that somebody asks about, as a client would send it: from a URL, a method and fields to a head's bytes.
// The URL is read by the parser that reads requests, so that both mean the same by it. It is the request of a client
// that nobody trusts: what such a one says about itself (X-Forwarded-*) counts for nothing.

internal import Model
internal import Wire

public struct ExplainQuestion: Sendable, Equatable {
    /// The question is none. One line.
    public struct Invalid: Error, Equatable, CustomStringConvertible {
        public let description: String
    }

    let url: String
    let method: String
    let headers: [String]
    /// It comes by https.
    let isSecure: Bool
    /// What TLS asks for: the URL's host.
    let serverName: String
    /// The request's head.
    let head: [UInt8]

    /// - Parameter headers: each `Name: value`.
    public init(url: String, method: String = "GET", headers: [String] = []) throws(Invalid) {
        guard let address = Address(url) else {
            throw Invalid(
                description: "\(Self.quoted(url)) is no URL that can be asked for: it is http:// or https://, a host in"
                    + " ASCII without a user, perhaps a port, and a path with everything unusual percent-encoded")
        }
        guard !method.isEmpty, method.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw Invalid(description: "\(Self.quoted(method)) is no method, such as GET")
        }
        self.url = url
        self.method = method
        self.headers = headers
        isSecure = address.isSecure
        serverName = address.host
        var authority: String? = address.authority
        var lines = ""
        for header in headers {
            let name = header.prefix { $0 != ":" }
            let isWhole = !name.isEmpty && name.endIndex < header.endIndex
            guard isWhole, header.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else {
                throw Invalid(description: "\(Self.quoted(header)) is no header: write \"Name: value\"")
            }
            let value = header.dropFirst(name.count + 1).drop { $0 == " " || $0 == "\t" }
            if name.lowercased() == "host" {
                guard !isSecure || value.lowercased() == address.authority.lowercased() else {
                    throw Invalid(
                        description: "by https the host is named in the URL: leave out \(Self.quoted(header))")
                }
                authority = nil
            }
            lines += "\(name): \(value)\r\n"
        }
        if isSecure, IPAddress(serverName.filter { $0 != "[" && $0 != "]" }) != nil {
            throw Invalid(description: "by https a host is asked for by its name: clients send none for an address")
        }
        if let authority { lines = "Host: \(authority)\r\n" + lines }
        head = Array("\(method) \(address.target) HTTP/1.1\r\n\(lines)\r\n".utf8)
    }

    /// Asks the page of a running instance, for text.
    public func path(cluster: String?) -> String {
        let items = [("url", url), ("method", method)] + headers.map { ("header", $0) }
        let group = cluster.map { [("cluster", $0)] } ?? []
        return "/api/explain?format=text"
            + (items + group).map { "&\($0)=\(PageQuery.encoded($1))" }.joined()
    }

    init(_ query: PageQuery) throws(Invalid) {
        let urls = query.values("url")
        guard urls.count == 1, let url = urls.first else {
            throw Invalid(description: "name one URL, percent-encoded: /api/explain?url=http%3A%2F%2Fa.test%2F")
        }
        try self.init(url: url, method: query.first("method") ?? "GET", headers: query.values("header"))
    }

    private static func quoted(_ text: String) -> String {
        "\"\(String(text.prefix(120)).harmless)\(text.count > 120 ? "..." : "")\""
    }
}

/// The parts of a URL that a client sends.
private struct Address {
    var isSecure = false
    /// In lower case, without a port and a trailing dot.
    var host = ""
    /// Without the scheme's own port.
    var authority = ""
    var target = ""

    init?(_ url: String) {
        guard url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        isSecure = url.prefix(6).lowercased() == "https:"
        // The fragment stays with the client.
        let request = Array("GET \(url.prefix { $0 != "#" }) HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        var head = RequestHead(limits: HeadLimits(requestLineSize: request.count, headSize: request.count + 1))
        let isWhole = request.withUnsafeBytes { buffer in
            let bytes = Bytes(buffer)
            guard case .complete = head.parse(bytes), head.targetForm == .absolute else { return false }
            host = bytes.slice(head.host).string().lowercased()
            authority = bytes.slice(head.authority).string()
            let path = bytes.slice(head.path).string()
            target = (path.isEmpty ? "/" : path) + (head.hasQuery ? "?" + bytes.slice(head.query).string() : "")
            return true
        }
        guard isWhole else { return nil }
        let standardPort = isSecure ? ":443" : ":80"
        if authority.hasSuffix(standardPort) { authority.removeLast(standardPort.count) }
    }
}
