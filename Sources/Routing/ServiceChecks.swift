// What a route table says about probing: which services have a health check, which of their tasks are to be probed, and
// what host a probe asks for. Compiled with the table, so that the prober walks only what is checked. Nothing is probed
// here.

public import Model

/// A service with a health check.
public struct ServiceCheck: Sendable {
    /// For `RouteTable.service(_:)`.
    public let service: Int32
    public let check: HealthCheck
    /// The host that its probes ask for: the first of its routes, exact names before wildcards. "" if none has a name.
    public internal(set) var host = ""
    /// Its ready tasks; those that are starting or stopping are not probed.
    public internal(set) var tasks: [(identity: UInt64, endpoint: Endpoint)] = []

    init(service: Int32, check: HealthCheck) {
        self.service = service
        self.check = check
    }
}

extension RouteCompiler {
    /// Gives each check the host of the first route that leads to its service.
    mutating func nameChecks() {
        var positions: [Int: Int] = [:]
        for (position, check) in checks.enumerated() { positions[Int(check.service)] = position }
        var isExact = Array(repeating: false, count: checks.count)
        for route in snapshot.configuration.routes {
            let name: String
            let exact: Bool
            switch route.host {
            case .exact(let host): (name, exact) = (host, true)
            // A name that the wildcard covers; its certificate does too.
            case .wildcard(let suffix): (name, exact) = ("www.\(suffix)", false)
            case .any: continue
            }
            for service in route.services {
                guard let position = positions[service], !isExact[position],
                    exact || checks[position].host.isEmpty
                else { continue }
                checks[position].host = name
                isExact[position] = exact
            }
        }
    }
}

extension RouteTable {
    /// The number of an upstream by its place in `Snapshot.endpoints`.
    public func identity(service: Int, upstream: Int) -> UInt64 {
        endpointIdentities[Int(endpointStarts[service]) + upstream]
    }
}
