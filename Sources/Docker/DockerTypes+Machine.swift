// The engine itself, and what it lists beside services and tasks: nodes, networks, configs and containers.

import Discovery
import Model

/// `Swarm.LocalNodeState`; what an engine of the future may say beyond these counts as `unsettled`.
enum SwarmState: Hashable, Sendable {
    case active, inactive
    /// Starting, locked or broken: it cannot say yet what it belongs to.
    case unsettled
}

/// What `GET /info` says about the engine's place in a Swarm.
struct EngineInfo: Hashable, Sendable {
    var nodeID = ""
    /// "" unless this node is a manager.
    var clusterID = ""
    /// This node is a manager that can reach its peers.
    var isManager = false
    var swarmState = SwarmState.inactive
    var serverVersion = ""
}

/// A Docker config that is labelled as a services file.
struct ServicesConfig: Hashable, Sendable {
    var name: String
    var version: UInt64
    var createdAtNs: Int64
    var content: [UInt8]
}

/// A Docker config that concerns the proxy.
enum LabelledConfig: Hashable, Sendable {
    case services(ServicesConfig)
    case pinPart(PinPart)
}

extension JSONReader {
    mutating func engineInfo() throws(JSONError) -> EngineInfo {
        var info = EngineInfo()
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "ServerVersion": info.serverVersion = try reader.stringOrNull()
            case "Swarm":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    switch name {
                    case "NodeID": info.nodeID = try reader.stringOrNull()
                    case "ControlAvailable": info.isManager = try reader.bool()
                    case "LocalNodeState":
                        switch try reader.stringOrNull() {
                        case "active": info.swarmState = .active
                        case "inactive", "": info.swarmState = .inactive
                        default: info.swarmState = .unsettled
                        }
                    case "Cluster":
                        try reader.objectOrNull { (reader, name) throws(JSONError) in
                            if name == "ID" { info.clusterID = try reader.stringOrNull() } else { try reader.skip() }
                        }
                    default: try reader.skip()
                    }
                }
            default: try reader.skip()
            }
        }
        return info
    }

    mutating func swarmNode() throws(JSONError) -> VersionedNode? {
        var version: UInt64 = 0
        var node = SwarmNode(id: "", state: .unknown)
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "ID": node.id = try reader.string()
            case "Version": version = try reader.versionIndex()
            case "Spec":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    guard name == "Availability" else { return try reader.skip() }
                    node.availability = SwarmNode.Availability(rawValue: try reader.stringOrNull()) ?? .active
                }
            case "Description":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    if name == "Hostname" { node.hostname = try reader.stringOrNull() } else { try reader.skip() }
                }
            case "Status":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    switch name {
                    case "State": node.state = SwarmNode.State(rawValue: try reader.stringOrNull()) ?? .unknown
                    case "Addr": node.address = try reader.address()
                    default: try reader.skip()
                    }
                }
            case "ManagerStatus":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    guard name == "Addr" else { return try reader.skip() }
                    node.managerAddress = Endpoint(try reader.stringOrNull())?.address
                }
            default: try reader.skip()
            }
        }
        try require(node.id, "a node")
        return VersionedNode(node: node, version: version)
    }

    mutating func network() throws(JSONError) -> Network? {
        var network = Network(id: "", name: "", scope: .local)
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "Id": network.id = try reader.string()
            case "Name": network.name = try reader.stringOrNull()
            case "Labels": network.labels = try reader.stringMap()
            case "Ingress": network.isIngress = try reader.bool()
            case "Scope": network.scope = Network.Scope(rawValue: try reader.stringOrNull()) ?? .local
            default: try reader.skip()
            }
        }
        try require(network.id, "a network")
        return network
    }

    // MARK: Configs

    /// A config that is labelled for the proxy; nil for all others, whose content is not even decoded.
    mutating func labelledConfig(prefix: String) throws(JSONError) -> LabelledConfig? {
        var part = PinPart(configID: "", name: "", version: 0, pinID: "", place: "", content: [])
        var createdAtNs: Int64 = 0
        var isServices = false
        var isPin = false
        var data = ""
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "ID": part.configID = try reader.stringOrNull()
            case "Version": part.version = try reader.versionIndex()
            case "CreatedAt": createdAtNs = try reader.timestamp()
            case "Spec":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    switch name {
                    case "Name": part.name = try reader.string()
                    case "Labels":
                        let labels = try reader.stringMap()
                        let value = labels[prefix + "services"] ?? ""
                        isServices = ["true", "1", "yes", "on"].contains(value.lowercased())
                        isPin = labels[prefix + PinParts.label] != nil
                        part.pinID = labels[prefix + PinParts.label] ?? ""
                        part.place = labels[prefix + PinParts.placeLabel] ?? ""
                    case "Data": data = try reader.stringOrNull()
                    default: try reader.skip()
                    }
                }
            default: try reader.skip()
            }
        }
        guard isPin || isServices else { return nil }
        let content = Base64.decode(data)
        if isPin {
            // What is no base64 is no pin either, and is told as one.
            part.content = content ?? []
            return .pinPart(part)
        }
        guard let content else { throw mismatch("the data of config \(part.name) is no base64") }
        return .services(
            ServicesConfig(name: part.name, version: part.version, createdAtNs: createdAtNs, content: content))
    }

    // MARK: Containers

    mutating func container() throws(JSONError) -> Container? {
        var container = Container(id: "", name: "", state: .created)
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "Id": container.id = try reader.string()
            case "Names":
                let names = try reader.arrayOrNull { (reader) throws(JSONError) in try reader.string() }
                // A link shows as /other/alias; the container's own name has one slash.
                let own = names.first { $0.utf8.count(where: { $0 == UInt8(ascii: "/") }) == 1 } ?? names.first ?? ""
                container.name = own.hasPrefix("/") ? String(own.dropFirst()) : own
            case "Created":
                let nanoseconds = try reader.integer(Int64.self).multipliedReportingOverflow(by: 1_000_000_000)
                container.createdAtNs = nanoseconds.overflow ? 0 : nanoseconds.partialValue
            case "Labels": container.labels = try reader.stringMap()
            case "State": container.state = Container.State(rawValue: try reader.stringOrNull()) ?? .dead
            case "Status": container.health = Self.health(inStatus: try reader.stringOrNull())
            case "Ports": try reader.containerPorts(into: &container)
            case "NetworkSettings":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    guard name == "Networks" else { return try reader.skip() }
                    container.networks = try reader.containerNetworks()
                }
            default: try reader.skip()
            }
        }
        try require(container.id, "a container")
        return container
    }

    /// The list tells health only in words: `Up 3 minutes (healthy)`.
    static func health(inStatus status: String) -> Container.Health {
        if status.hasSuffix("(healthy)") { return .healthy }
        if status.hasSuffix("(unhealthy)") { return .unhealthy }
        if status.hasSuffix("(health: starting)") { return .starting }
        return .none
    }

    private mutating func containerPorts(into container: inout Container) throws(JSONError) {
        guard try !isNull() else { return }
        try array { (reader, _) throws(JSONError) in
            var port = PublishedPort(targetPort: 0, mode: .host)
            try reader.object { (reader, name) throws(JSONError) in
                switch name {
                case "PrivatePort": port.targetPort = try reader.integer()
                case "PublicPort": port.publishedPort = try reader.integer()
                case "Type": port.isTCP = try reader.stringOrNull() == "tcp"
                default: try reader.skip()
                }
            }
            if port.isTCP, !container.exposedPorts.contains(port.targetPort) {
                container.exposedPorts.append(port.targetPort)
            }
            if port.publishedPort != 0, !container.publishedPorts.contains(port) {
                container.publishedPorts.append(port)
            }
        }
    }

    private mutating func containerNetworks() throws(JSONError) -> [ContainerNetwork] {
        var networks: [ContainerNetwork] = []
        try objectOrNull { (reader, networkName) throws(JSONError) in
            var network = ContainerNetwork(id: "", name: networkName, addresses: [])
            try reader.objectOrNull { (reader, name) throws(JSONError) in
                switch name {
                case "NetworkID": network.id = try reader.stringOrNull()
                case "IPAddress", "GlobalIPv6Address":
                    if let address = try reader.address() { network.addresses.append(address) }
                default: try reader.skip()
                }
            }
            networks.append(network)
        }
        return networks
    }
}

/// A node with its object version.
struct VersionedNode: Hashable, Sendable {
    var node: SwarmNode
    var version: UInt64
}
