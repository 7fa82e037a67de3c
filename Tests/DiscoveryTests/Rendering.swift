// Snapshots as lines of text, and short ways to build inventories.

import Discovery
import Model

/// `host/prefix [rewrite] [raw] -> service(upstream@endpoint state, ...)` for each route, in the snapshot's order.
func rendered(_ snapshot: Snapshot) -> [String] {
    snapshot.configuration.routes.map { route in
        let services = route.services.map { index in
            let upstreams = snapshot.endpoints[index].map { "\($0.id)@\($0.endpoint) \($0.state)" }
            return "\(snapshot.configuration.services[index].name)(\(upstreams.joined(separator: ", ")))"
        }
        let options = (route.rewritesPrefix ? " rewrite" : "") + (route.pathPolicy == .raw ? " raw" : "")
        return "\(route.host)\(route.pathPrefix)\(options) -> \(services.joined(separator: " "))"
    }
}

/// `severity service label: message` for each diagnostic.
func diagnosed(_ snapshot: Snapshot) -> [String] {
    snapshot.diagnostics.map { "\($0.severity) \($0.service) \($0.label): \($0.message)" }
}

func lb(_ labels: [String: String], stack: String? = nil) -> [String: String] {
    var result = Dictionary(uniqueKeysWithValues: labels.map { ("com.docker.lb." + $0.key, $0.value) })
    result["com.docker.stack.namespace"] = stack
    return result
}

func address(_ text: String) -> IPAddress {
    IPAddress(text) ?? IPAddress(v4: 0)
}

func on(_ network: String, _ text: String) -> NetworkAddress {
    NetworkAddress(networkID: network, address: address(text))
}

let ingress = Network(id: "n-ingress", name: "ingress", isIngress: true)
let front = Network(id: "n-front", name: "front")
let back = Network(id: "n-back", name: "shop_back")

/// The service `web` on `front` with the labels given, and tasks t1 and t2.
func webInventory(_ labels: [String: String], previous: [String: String]? = nil) -> Inventory {
    Inventory(
        services: [
            SwarmService(
                id: "s-web", name: "web", labels: lb(labels), previousLabels: previous.map { lb($0) },
                networks: ["n-front"])
        ],
        tasks: [
            SwarmTask(id: "t2", serviceID: "s-web", nodeID: "node1", addresses: [on("n-front", "10.0.1.2")]),
            SwarmTask(id: "t1", serviceID: "s-web", nodeID: "node1", addresses: [on("n-front", "10.0.1.1")]),
        ],
        nodes: [SwarmNode(id: "node1", address: address("192.0.2.1"))], networks: [back, front, ingress])
}

func snapshot(of inventory: Inventory, proxyNetworks: [String]? = nil, cluster: String = "") -> Snapshot {
    ServiceMapping.snapshot(
        of: inventory, settings: MappingSettings(serviceCluster: cluster, proxyNetworks: proxyNetworks))
}
