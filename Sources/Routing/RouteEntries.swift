// The plain values that a route table is made of. All of them are copied out of frozen memory: no reference, no owner.

public import Model

/// A route: where its requests go and what is done to their path.
public struct RouteEntry: BitwiseCopyable, Sendable {
    /// For `RouteTable.pool(_:)`.
    public let pool: Int32
    /// Where the path prefix is, for `RouteTable.prefix(of:)`.
    public let prefixStart: UInt32
    /// Bytes of the path prefix; 1 for the root.
    public let prefixCount: Int32
    /// The prefix is stripped before the request is sent on. Never set for the root.
    public let rewritesPrefix: Bool
    /// `path_policy` is `raw`: no check for paths that upstreams may read differently.
    public let pathPolicyIsRaw: Bool
    /// Plain HTTP is redirected to https.
    public let requiresTLS: Bool
    /// Where the value of Strict-Transport-Security is, for `RouteTable.hsts(of:)`; count 0: none.
    let hstsStart: UInt32
    let hstsCount: Int32
    /// The host entry it belongs to, for `RouteTable.hostRules(_:)`.
    public let host: Int32
    /// A position among the table's conditions; -1: it takes every request.
    let conditions: Int32
    /// Who is asked next if the conditions do not hold, for `RouteTable.route(_:)`; -1: nobody takes the path.
    public internal(set) var fallback: Int32 = -1

    /// Not every request of its host and path is its; see `RouteTable.conditions(of:)`.
    public var hasConditions: Bool { conditions >= 0 }
}

extension RouteEntry: KeyedEntry {
    var key: ByteKey { ByteKey(start: prefixStart, count: UInt32(bitPattern: prefixCount), scope: host) }
}

/// The upstreams of a route. Members are `firstMember ..< firstMember + memberCount`, all of them ready.
public struct PoolEntry: BitwiseCopyable, Sendable {
    /// For `RouteTable.member(_:)`.
    public let firstMember: Int32
    public let memberCount: Int32
    /// The first of its services, for `RouteTable.service(_:)`: who is counted when there is no member.
    public let service: Int32
    /// A small number that this pool keeps from table to table, for the place where a worker remembers whose turn it
    /// is. It lies under `RouteTable.cursorCount`.
    public let cursorSlot: Int32
    /// Who is picked where there is no key.
    public let method: Balancing.Method
    /// What requests are hashed by.
    public let keyKind: KeyKind
    /// Where the cookie's or field's name is, for `RouteTable.keyName(of:)`.
    let keyName: ByteRange
    /// Its services, where they are split by weight; none: every member is as good as another.
    let firstGroup: Int32
    let groupCount: Int32
    /// A member may be young: its share grows.
    let growsSlowly: Bool

    /// The next in turn is the one: no key, no weight, no counting.
    public var isPlain: Bool { method == .roundRobin && keyKind == .none && groupCount == 0 && !growsSlowly }
}

/// What requests of a pool are hashed by.
public enum KeyKind: UInt8, BitwiseCopyable, Sendable {
    case none, clientAddress, cookie, header
}

/// One service of a pool that is split by weight, and its members.
struct GroupEntry: BitwiseCopyable, Sendable {
    let firstMember: Int32
    let memberCount: Int32
    let weight: Int32
    let cursorSlot: Int32
    /// What keys are compared with: a pure function of the service's id.
    let seed: UInt64
}

/// One upstream of a pool.
public struct Member: BitwiseCopyable, Sendable {
    /// The upstream's number: the same in every table it is in, never used for another one.
    public let identity: UInt64
    public let endpoint: Endpoint
    /// For `RouteTable.service(_:)`.
    public let service: Int32
    /// A service VIP, behind which connections (not requests) are balanced.
    public let isVIP: Bool
    /// Its service has a health check: it gets requests once a probe has succeeded.
    public let isChecked: Bool
    /// What keys are compared with: a pure function of the upstream's id, the same in every process.
    let seed: UInt64
    /// When it was first seen ready, CLOCK_MONOTONIC nanoseconds; 0: it was there before anybody looked.
    let readySinceNs: UInt64
    /// Over this time from then on its share grows.
    let slowStartNs: UInt64
}

/// A service's options and slot. -1 means that the global setting holds.
public struct ServiceEntry: BitwiseCopyable, Sendable {
    public let connectTimeoutMs: Int64
    public let responseTimeoutMs: Int64
    public let idleTimeoutMs: Int64
    public let tunnelTimeoutMs: Int64
    /// Bytes of a request body.
    public let maxBodySize: Int64
    /// Failures of a task within this time take it out for as long.
    public let failTimeoutMs: Int64
    /// So many of them; 0: never.
    public let maxFails: Int32
    /// Attempts beyond the first.
    public let retries: Int32
    /// Where its statistics are counted; kept from table to table as long as the service lives.
    public let statsSlot: Int32
    /// Bit 0: 500, bit 1: 502, bit 2: 503, bit 3: 504; see `retries(on:)`.
    public let retryStatusMask: UInt8
    /// 0 none, 1 or 2: the PROXY protocol version that its tasks expect.
    public let proxyProtocolVersion: UInt8
    /// A position in `RouteTable.backendTLS`; -1: plain connections.
    public let backendTLS: Int32

    /// Bytes that a request's body may have: 0 lifts the limit, in the label as in the setting.
    public func bodyLimit(setting: UInt64) -> UInt64 {
        maxBodySize < 0 ? setting : maxBodySize == 0 ? .max : UInt64(maxBodySize)
    }

    /// Whether an answer with this status may be tried again on another upstream.
    public func retries(on status: UInt16) -> Bool { retryStatusMask & Self.retryBit(of: status) != 0 }

    static func retryBit(of status: UInt16) -> UInt8 {
        switch status {
        case 500: 1
        case 502: 2
        case 503: 4
        case 504: 8
        default: 0
        }
    }

    init(_ options: ServiceOptions, statsSlot: Int32, backendTLS: Int32 = -1) {
        self.backendTLS = backendTLS
        connectTimeoutMs = Int64(clamping: options.connectTimeoutMs ?? -1)
        responseTimeoutMs = Int64(clamping: options.responseTimeoutMs ?? -1)
        idleTimeoutMs = Int64(clamping: options.idleTimeoutMs ?? -1)
        tunnelTimeoutMs = Int64(clamping: options.tunnelTimeoutMs ?? -1)
        maxBodySize = options.maxBodySize.map { Int64(clamping: $0) } ?? -1
        failTimeoutMs = Int64(clamping: options.failTimeoutMs ?? -1)
        maxFails = Int32(clamping: options.maxFails ?? -1)
        retries = Int32(clamping: options.retries ?? -1)
        retryStatusMask = options.retryStatuses.reduce(0) { $0 | Self.retryBit(of: UInt16(clamping: $1)) }
        self.statsSlot = statsSlot
        switch options.proxyProtocol {
        case nil: proxyProtocolVersion = 0
        case .v1: proxyProtocolVersion = 1
        case .v2: proxyProtocolVersion = 2
        }
    }
}

/// What holds for a host as a whole.
public struct HostRules: BitwiseCopyable, Sendable {
    /// A position in `RouteTable.tlsOptions`; 0: nothing was asked for.
    public internal(set) var tlsOptions: Int32 = 0
    /// The pool that TLS connections for this host are passed to as they are; -1: TLS ends here.
    public internal(set) var passthroughPool: Int32 = -1
    /// For `RouteTable.redirectTarget(_:)`; -1: none.
    public internal(set) var httpRedirect: Int32 = -1
    public internal(set) var httpsRedirect: Int32 = -1

    init() {}
}

/// An entry port for TCP.
public struct StreamEntry: BitwiseCopyable, Sendable {
    public let port: UInt16
    /// Raw TCP goes to this pool; -1: the server name of TLS decides, see `RouteTable.streamHost(_:serverName:)`.
    public let rawPool: Int32
}

/// One server name of an entry port.
public struct StreamHostEntry: BitwiseCopyable, Sendable {
    public let pool: Int32
    /// A position in `RouteTable.tlsOptions`; -1: the bytes are passed on as they are.
    public let tlsOptions: Int32
}

/// A host pattern: its routes are in the context table under its index.
struct HostEntry: KeyedEntry {
    var rules = HostRules()
    /// Its name; the scope tells exact names from wildcards.
    var key = ByteKey()
    /// The route of `/`, or -1.
    var rootRoute: Int32 = -1
    /// Segments of its deepest path prefix; 0 if it has no route but the root's.
    var deepestPrefix: Int32 = 0
    /// Bytes of its longest path prefix.
    var longestPrefix: Int32 = 0
}
