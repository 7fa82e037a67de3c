// What holds for a host as a whole, whatever the path; and entry ports that carry something else than HTTP.
// Part of a snapshot: where a new field has to be added is said in Snapshot.swift.

/// What is special about one host pattern of the HTTP and HTTPS listeners. Hosts without anything special are not
/// listed.
public struct HostOptions: Hashable, Sendable {
    public var host: HostPattern
    /// Positions in `Configuration.services`, ascending. Not empty: TLS connections for this host are passed to their
    /// tasks as they are, plain HTTP is redirected to https, and no route names the host.
    public var passthrough: [Int]
    /// How a task is picked for a connection that is passed on; a cookie or a header is never there.
    public var balancing: Balancing
    /// Where TLS ends here.
    public var tls: TLSOptions
    public var redirects: [HostRedirect]

    public init(
        host: HostPattern, passthrough: [Int] = [], balancing: Balancing = .init(), tls: TLSOptions = .init(),
        redirects: [HostRedirect] = []
    ) {
        self.host = host
        self.passthrough = passthrough
        self.balancing = balancing
        self.tls = tls
        self.redirects = redirects
    }
}

/// 302 for every path of a host.
public struct HostRedirect: Hashable, Sendable {
    public enum Scheme: String, Hashable, Sendable, CaseIterable { case http, https }

    /// The scheme that is redirected.
    public var scheme: Scheme
    /// Scheme, host, port and perhaps a path without trailing slash; the request's target is appended.
    public var target: String

    public init(scheme: Scheme, target: String) {
        self.scheme = scheme
        self.target = target
    }
}

/// An entry port for TCP. Either everything goes to `services`, or the server name of TLS decides.
public struct StreamPort: Hashable, Sendable {
    public var port: UInt16
    /// Positions in `Configuration.services`, ascending: raw TCP. Empty where `hosts` decide.
    public var services: [Int]
    /// How a task is picked for raw TCP.
    public var balancing: Balancing
    /// In canonical order of host patterns; `.any` takes every server name that no other claims, and none.
    public var hosts: [StreamHost]

    public init(port: UInt16, services: [Int] = [], balancing: Balancing = .init(), hosts: [StreamHost] = []) {
        self.port = port
        self.services = services
        self.balancing = balancing
        self.hosts = hosts
    }
}

/// One server name of an entry port.
public struct StreamHost: Hashable, Sendable {
    public var host: HostPattern
    /// Positions in `Configuration.services`, ascending.
    public var services: [Int]
    public var balancing: Balancing
    /// nil: the bytes are passed on as they are; otherwise TLS ends here.
    public var tls: TLSOptions?

    public init(
        host: HostPattern, services: [Int], balancing: Balancing = .init(), tls: TLSOptions? = nil
    ) {
        self.host = host
        self.services = services
        self.balancing = balancing
        self.tls = tls
    }
}
