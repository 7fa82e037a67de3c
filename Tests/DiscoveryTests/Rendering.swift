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

extension Snapshot {
    private func names(_ services: [Int]) -> String {
        services.map { configuration.services[$0].name }.joined(separator: " ")
    }

    /// `host [pass -> services] [certificates] [min] [client] [scheme -> destination]` for each host with options.
    var renderedHosts: [String] {
        configuration.hosts.map { host in
            var parts = ["\(host.host)"]
            if !host.passthrough.isEmpty { parts.append("pass -> \(names(host.passthrough))") }
            parts += rendered(host.tls)
            parts += host.redirects.map { "\($0.scheme) -> \($0.target)" }
            return parts.joined(separator: " ")
        }
    }

    /// `port -> services` or `port/host [certificates] -> services`, in the snapshot's order.
    var renderedStreams: [String] {
        configuration.streams.flatMap { stream in
            (stream.services.isEmpty ? [] : ["\(stream.port) -> \(names(stream.services))"])
                + stream.hosts.map { host in
                    let tls = host.tls.map { ["tls"] + rendered($0) } ?? ["pass"]
                    return "\(stream.port)/\(host.host) \(tls.joined(separator: " ")) -> \(names(host.services))"
                }
        }
    }
}

/// `cert|stack_cert+key`, `min 1.3`, `client required ca`.
private func rendered(_ tls: TLSOptions) -> [String] {
    func text(_ reference: SecretReference) -> String { reference.names.joined(separator: "|") }
    return tls.certificates.map { text($0.certificate) + ($0.key.map { "+" + text($0) } ?? "") }
        + (tls.minimumVersion.map { ["min \($0.rawValue)"] } ?? [])
        + (tls.clientAuthentication.map { ["client \($0.demand) \(text($0.authorities))"] } ?? [])
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

/// Ports 5432 and 6000 to 6010 are open for TCP, 80 and 443 are the proxy's; hosts may have a certificate that no label
/// names.
let withTCP = MappingSettings(
    tcpPorts: [5432...5432, 6000...6010], ownPorts: [80, 443, 6001], hasSharedCertificates: true)

/// Services of one file, each older than the next by its name: `a` before `b`.
func filed(_ services: [(String, [String: String])], stack: String? = nil) -> Inventory {
    Inventory(files: [
        ServicesFile(
            name: "f",
            services: services.map {
                FileService(name: $0.0, labels: lb($0.1, stack: stack), endpoints: ["10.0.0.1:\(1 + $0.0.utf8.count)"])
            })
    ])
}

/// The snapshot of one service called `web` with these labels.
func mapped(
    _ labels: [String: String], stack: String? = nil, settings: MappingSettings = withTCP
) -> Snapshot {
    ServiceMapping.snapshot(of: filed([("web", labels)], stack: stack), settings: settings)
}

/// The snapshot of services, the first one the oldest.
func mapped(_ services: (String, [String: String])..., settings: MappingSettings = withTCP) -> Snapshot {
    let files = services.enumerated().map { index, service in
        ServicesFile(
            name: "f\(index)", createdAtNs: Int64(index),
            services: [
                FileService(name: service.0, labels: lb(service.1), endpoints: ["10.0.\(index).1:80"])
            ])
    }
    return ServiceMapping.snapshot(of: Inventory(files: files), settings: settings)
}
