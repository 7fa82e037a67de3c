// The byte that each case of the model's enumerations is written as. A byte is never given to another case.

/// An enumeration that goes into a snapshot's records.
protocol SnapshotCode: CaseIterable, Sendable {
    var code: UInt8 { get }
}

extension SnapshotCode {
    init?(code: UInt8) {
        guard let value = Self.allCases.first(where: { $0.code == code }) else { return nil }
        self = value
    }
}

extension ServiceSource: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .swarm: 1
        case .container: 2
        case .file: 3
        case .config: 4
        }
    }
}

extension BackendMode: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .task: 1
        case .vip: 2
        }
    }
}

extension ProxyProtocolVersion: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .v1: 1
        case .v2: 2
        }
    }
}

extension PathPolicy: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .safe: 1
        case .raw: 2
        }
    }
}

extension UpstreamState: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .pending: 1
        case .ready: 2
        case .draining: 3
        }
    }
}

extension Balancing.Method: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .roundRobin: 1
        case .leastConnections: 2
        case .random: 3
        }
    }
}

extension HealthCheck.Mode: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .http: 1
        case .tcp: 2
        }
    }
}

extension HostRedirect.Scheme: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .http: 1
        case .https: 2
        }
    }
}

extension TLSVersion: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .tls12: 1
        case .tls13: 2
        }
    }
}

extension ClientAuthentication.Demand: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .required: 1
        case .optional: 2
        }
    }
}

extension Diagnostic.Severity: SnapshotCode {
    var code: UInt8 {
        switch self {
        case .warning: 1
        case .error: 2
        }
    }
}

/// The secrets that have a place instead of a name.
enum SecretDefault: UInt8, CaseIterable {
    case certificate = 1
    case key, staple, ticketKey
}

extension SecretFiles {
    subscript(part: SecretDefault) -> [UInt8]? {
        get {
            switch part {
            case .certificate: defaultCertificate
            case .key: defaultKey
            case .staple: defaultStaple
            case .ticketKey: ticketKey
            }
        }
        set {
            switch part {
            case .certificate: defaultCertificate = newValue
            case .key: defaultKey = newValue
            case .staple: defaultStaple = newValue
            case .ticketKey: ticketKey = newValue
            }
        }
    }
}
