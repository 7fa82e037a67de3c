// A manager for tests of managed services: it keeps services as JSON, takes updates as Swarm does, and ends them as the
// test says. What a restart of the controller forgets, it remembers.

import Discovery

@testable import Controller
@testable import Docker

final class PlayedSwarm: ServiceEngine {
    /// How updates that replace tasks end.
    enum Ending { case completes, rollsBack, pauses }

    struct Played {
        var spec: JSONTree
        var previous: JSONTree?
        var version: UInt64
        var state: UpdateState?
    }

    private(set) var played: [String: Played] = [:]
    var listed: [SwarmSecret] = []
    var ending = Ending.completes
    /// Each is thrown once, by the next update.
    var refusals: [DockerError] = []
    var isAway = false
    /// Each update, in words; what replaced tasks begins with `!`.
    private(set) var updates: [String] = []
    private(set) var secretListCount = 0
    /// Runs once, between a controller's reading and its update.
    var interference: (() -> Void)?

    var taskUpdateCount: Int { updates.count { $0.hasPrefix("!") } }

    func add(_ name: String, labels: [String: String] = [:], networks: [String] = [], secrets: [String] = []) {
        let pairs = labels.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\"\($0.value)\"" }.joined(separator: ",")
        let targets = networks.map { "{\"Target\":\"\($0)\"}" }.joined(separator: ",")
        let files = secrets.map {
            "{\"File\":{\"Name\":\"\($0)\"},\"SecretID\":\"id-\($0)\",\"SecretName\":\"\($0)\"}"
        }.joined(separator: ",")
        let text =
            "{\"Name\":\"\(name)\",\"Labels\":{\(pairs)},\"TaskTemplate\":{\"ContainerSpec\":{\"Image\":\"i\","
            + "\"Secrets\":[\(files)]},\"Networks\":[\(targets)]}}"
        let spec = (try? JSONTree(Array(text.utf8))) ?? .null
        played["s-" + name] = Played(spec: spec, version: 1)
    }

    func remove(_ name: String) { played["s-" + name] = nil }

    /// What is attached, and what controllers wrote: `secrets | networks | labels`.
    func state(_ name: String) throws -> String {
        let service = try object("s-" + name)
        let labels = service.labels.filter { $0.key.hasPrefix("com.docker.lb.") && !$0.key.hasSuffix("managed") }
        return [
            service.secrets.map(\.name).joined(separator: " "), service.networks.joined(separator: " "),
            labels.map { "\($0.key.dropFirst(14))=\($0.value)" }.sorted().joined(separator: " "),
        ].joined(separator: " | ")
    }

    private func object(_ id: String) throws(DockerError) -> ServiceObject {
        guard let service = played[id], !isAway else {
            throw DockerError(kind: isAway ? .unreachable : .status(404), call: "GET /services/\(id)", message: "away")
        }
        let state = service.state.map { ",\"UpdateStatus\":{\"State\":\"\($0.rawValue)\"}" } ?? ""
        let text =
            "{\"ID\":\"\(id)\",\"Version\":{\"Index\":\(service.version)},\"Spec\":"
            + String(decoding: service.spec.bytes, as: UTF8.self) + state + "}"
        do throws(JSONError) { return try ServiceObject(Array(text.utf8)) } catch {
            throw DockerError(kind: .badAnswer, call: "", message: error.message)
        }
    }

    // MARK: What controllers see

    func secrets() throws(DockerError) -> [SwarmSecret] {
        secretListCount += 1
        return listed
    }

    func service(id: String) throws(DockerError) -> ServiceObject { try object(id) }

    func update(_ service: ServiceObject, by edit: ServiceEdit) throws(DockerError) {
        let run = interference
        interference = nil
        run?()
        if !refusals.isEmpty { throw refusals.removeFirst() }
        guard var known = played[service.id], !isAway else {
            throw DockerError(kind: .unreachable, call: "", message: "away")
        }
        guard known.version == service.version else {
            throw DockerError(kind: .status(500), call: "", message: "rpc error: update out of sequence")
        }
        let spec: JSONTree
        do throws(JSONError) { spec = try JSONTree(try service.spec(changedBy: edit)) } catch {
            throw DockerError(kind: .status(400), call: "", message: error.message)
        }
        let replaces = spec["TaskTemplate"] != known.spec["TaskTemplate"]
        known.previous = known.spec
        known.spec = spec
        known.version += 1
        known.state = replaces ? .updating : nil
        played[service.id] = known
        updates.append((replaces ? "!" : "") + service.name)
    }

    // MARK: What happens by itself, or by hand

    /// Updates that are under way come to their end.
    func settle() {
        for (id, service) in played where service.state == .updating {
            var service = service
            switch ending {
            case .completes: service.state = .completed
            case .pauses: service.state = .paused
            case .rollsBack:
                service.spec = service.previous ?? service.spec
                service.previous = nil
                service.state = .rollbackCompleted
            }
            service.version += 1
            played[id] = service
        }
    }

    /// Somebody edits the service with Docker's client.
    func edit(_ name: String, _ edit: ServiceEdit) throws {
        let count = updates.count
        try update(try object("s-" + name), by: edit)
        updates.removeLast(updates.count - count)
        let old = ending
        ending = .completes
        settle()
        ending = old
    }

    /// `docker service rollback`.
    func rollBack(_ name: String) {
        guard var service = played["s-" + name] else { return }
        service.spec = service.previous ?? service.spec
        service.previous = nil
        service.version += 1
        service.state = .rollbackCompleted
        played["s-" + name] = service
    }
}
