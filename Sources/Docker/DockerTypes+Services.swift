// Services and tasks of the Swarm, as `GET /services` and `GET /tasks` list them.

import Discovery
import Model

/// A task and the container that runs it, by which the proxy finds itself.
struct ListedTask: Hashable, Sendable {
    var task: SwarmTask
    /// "" until the container exists.
    var containerID = ""
}

extension JSONReader {
    mutating func swarmService() throws(JSONError) -> SwarmService? {
        var service = SwarmService(id: "", name: "")
        var specPorts: [PublishedPort] = []
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "ID": service.id = try reader.string()
            case "Version": service.version = try reader.versionIndex()
            case "CreatedAt": service.createdAtNs = try reader.timestamp()
            case "Spec": specPorts = try reader.serviceSpec(into: &service)
            case "PreviousSpec": service.previousLabels = try reader.labelsOfSpec()
            case "Endpoint": try reader.serviceEndpoint(into: &service)
            case "UpdateStatus": service.updateState = try reader.updateState()
            case "ServiceStatus": try reader.serviceStatus(into: &service)
            default: try reader.skip()
            }
        }
        try require(service.id, "a service")
        if service.ports.isEmpty { service.ports = specPorts }
        return service
    }

    /// - Returns: the ports of the endpoint spec.
    private mutating func serviceSpec(into service: inout SwarmService) throws(JSONError) -> [PublishedPort] {
        var ports: [PublishedPort] = []
        var specNetworks: [String] = []
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "Name": service.name = try reader.string()
            case "Labels": service.labels = try reader.stringMap()
            case "TaskTemplate": try reader.taskTemplate(into: &service)
            case "Networks": specNetworks = try reader.networkTargets()
            case "Mode": service.mode = try reader.serviceMode()
            case "EndpointSpec": ports = try reader.endpointSpec(into: &service)
            default: try reader.skip()
            }
        }
        // Where engines before 1.25 kept them.
        if service.networks.isEmpty { service.networks = specNetworks }
        return ports
    }

    private mutating func taskTemplate(into service: inout SwarmService) throws(JSONError) {
        try objectOrNull { (reader, name) throws(JSONError) in
            switch name {
            case "ContainerSpec":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    if name == "Labels" {
                        service.containerLabels = try reader.stringMap()
                    } else {
                        try reader.skip()
                    }
                }
            case "Networks": service.networks = try reader.networkTargets()
            default: try reader.skip()
            }
        }
    }

    private mutating func networkTargets() throws(JSONError) -> [String] {
        try arrayOrNull { (reader) throws(JSONError) in
            var target = ""
            try reader.object { (reader, name) throws(JSONError) in
                if name == "Target" { target = try reader.string() } else { try reader.skip() }
            }
            return target
        }
    }

    private mutating func serviceMode() throws(JSONError) -> ServiceMode {
        var mode = ServiceMode.replicated(1)
        try objectOrNull { (reader, name) throws(JSONError) in
            switch name {
            case "Replicated":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    guard name == "Replicas", try !reader.isNull() else { return try reader.skip() }
                    mode = .replicated(Int(clamping: try reader.integer(UInt64.self)))
                }
            case "Global":
                mode = .global
                try reader.skip()
            case "ReplicatedJob", "GlobalJob":
                mode = .job
                try reader.skip()
            default: try reader.skip()
            }
        }
        return mode
    }

    private mutating func endpointSpec(into service: inout SwarmService) throws(JSONError) -> [PublishedPort] {
        var ports: [PublishedPort] = []
        try objectOrNull { (reader, name) throws(JSONError) in
            switch name {
            case "Mode": service.usesVirtualIP = try reader.stringOrNull() != "dnsrr"
            case "Ports": ports = try reader.ports()
            default: try reader.skip()
            }
        }
        return ports
    }

    private mutating func serviceEndpoint(into service: inout SwarmService) throws(JSONError) {
        try objectOrNull { (reader, name) throws(JSONError) in
            switch name {
            case "Ports": service.ports = try reader.ports()
            case "VirtualIPs":
                service.virtualIPs = try reader.arrayOrNull { (reader) throws(JSONError) in
                    var networkID = ""
                    var address: IPAddress?
                    try reader.object { (reader, name) throws(JSONError) in
                        switch name {
                        case "NetworkID": networkID = try reader.stringOrNull()
                        case "Addr": address = try reader.address()
                        default: try reader.skip()
                        }
                    }
                    return address.map { NetworkAddress(networkID: networkID, address: $0) }
                }
            default: try reader.skip()
            }
        }
    }

    private mutating func labelsOfSpec() throws(JSONError) -> [String: String]? {
        guard try !isNull() else { return nil }
        var labels: [String: String] = [:]
        try object { (reader, name) throws(JSONError) in
            if name == "Labels" { labels = try reader.stringMap() } else { try reader.skip() }
        }
        return labels
    }

    private mutating func updateState() throws(JSONError) -> UpdateState? {
        var state: UpdateState?
        try objectOrNull { (reader, name) throws(JSONError) in
            if name == "State" {
                state = UpdateState(rawValue: try reader.stringOrNull())
            } else {
                try reader.skip()
            }
        }
        return state
    }

    private mutating func serviceStatus(into service: inout SwarmService) throws(JSONError) {
        try objectOrNull { (reader, name) throws(JSONError) in
            switch name {
            case "RunningTasks": service.runningTaskCount = Int(clamping: try reader.integer(UInt64.self))
            case "DesiredTasks": service.desiredTaskCount = Int(clamping: try reader.integer(UInt64.self))
            default: try reader.skip()
            }
        }
    }

    /// Ports without repetition: the engine lists a host-mode port once for each address family.
    private mutating func ports() throws(JSONError) -> [PublishedPort] {
        var ports: [PublishedPort] = []
        for port in try arrayOrNull(of: { (reader) throws(JSONError) in try reader.publishedPort() })
        where !ports.contains(port) { ports.append(port) }
        return ports
    }

    // MARK: Tasks

    mutating func swarmTask() throws(JSONError) -> ListedTask? {
        var listed = ListedTask(task: SwarmTask(id: "", serviceID: "", desiredState: .new, state: .new))
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "ID": listed.task.id = try reader.string()
            case "Version": listed.task.version = try reader.versionIndex()
            case "ServiceID": listed.task.serviceID = try reader.stringOrNull()
            case "Slot": listed.task.slot = try reader.integer()
            case "NodeID": listed.task.nodeID = try reader.stringOrNull()
            case "DesiredState": listed.task.desiredState = try reader.taskState()
            case "Status": try reader.taskStatus(into: &listed)
            case "NetworksAttachments": listed.task.addresses = try reader.taskAddresses()
            default: try reader.skip()
            }
        }
        try require(listed.task.id, "a task")
        return listed
    }

    /// By spelling: asking each case for its name costs more than reading the rest of the task.
    private static let taskStates = Dictionary(
        uniqueKeysWithValues: TaskState.allCases.map { (String(describing: $0), $0) })

    private mutating func taskState() throws(JSONError) -> TaskState {
        let text = try string()
        guard let state = Self.taskStates[text] else {
            throw mismatch("unknown task state \"\(text.prefix(40))\"")
        }
        return state
    }

    private mutating func taskStatus(into listed: inout ListedTask) throws(JSONError) {
        try objectOrNull { (reader, name) throws(JSONError) in
            switch name {
            case "State": listed.task.state = try reader.taskState()
            case "Timestamp": listed.task.stateSinceNs = try reader.timestamp()
            case "ContainerStatus":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    if name == "ContainerID" {
                        listed.containerID = try reader.stringOrNull()
                    } else {
                        try reader.skip()
                    }
                }
            case "PortStatus":
                try reader.objectOrNull { (reader, name) throws(JSONError) in
                    if name == "Ports" { listed.task.hostPorts = try reader.ports() } else { try reader.skip() }
                }
            default: try reader.skip()
            }
        }
    }

    private mutating func taskAddresses() throws(JSONError) -> [NetworkAddress] {
        var addresses: [NetworkAddress] = []
        guard try !isNull() else { return addresses }
        try array { (reader, _) throws(JSONError) in
            var networkID = ""
            var found: [IPAddress] = []
            try reader.object { (reader, name) throws(JSONError) in
                switch name {
                case "Network":
                    try reader.objectOrNull { (reader, name) throws(JSONError) in
                        if name == "ID" { networkID = try reader.string() } else { try reader.skip() }
                    }
                case "Addresses": found = try reader.arrayOrNull { (reader) throws(JSONError) in try reader.address() }
                default: try reader.skip()
                }
            }
            addresses += found.map { NetworkAddress(networkID: networkID, address: $0) }
        }
        return addresses
    }
}
