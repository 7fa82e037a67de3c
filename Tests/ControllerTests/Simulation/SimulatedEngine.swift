// Owns the engine between a simulated Swarm and the lister: it answers calls in the API's words, in any order of
// elements, takes its time meanwhile, and goes wrong as it is told to. It notes what it said, for the oracle.

import Support
import Discovery
import Model

@testable import Docker

/// What one list was answered, as far as it was answered.
struct ToldList {
    var services: [ModelService] = []
    var tasks: [ModelTask] = []
    var nodes: [ModelNode] = []
    /// A call came to nothing.
    var hasFailed = false
}

final class SimulatedEngine: EngineCalls {
    enum Trouble: Hashable {
        case none
        /// All calls from the given one on come to nothing.
        case fails(fromCall: Int)
        /// A manager that is behind answers.
        case isBehind(byNs: UInt64)
        /// Several managers answer in turns, some of them behind.
        case isMixed(byNs: UInt64)
    }

    var swarm: SimulatedSwarm
    var told = ToldList()
    var trouble = Trouble.none
    /// One element of each list makes no sense.
    var breaksElements = false
    private var callCount = 0
    private var random: SeededRandom

    let version: DockerVersion? = DockerVersion(1, 41)

    init(swarm: SimulatedSwarm, seed: UInt64) {
        self.swarm = swarm
        random = SeededRandom(seed: seed ^ 0xE4E4)
    }

    func begin(_ trouble: Trouble) {
        told = ToldList()
        callCount = 0
        self.trouble = trouble
    }

    func get(_ call: DockerCall) throws(DockerError) -> [UInt8] {
        callCount += 1
        swarm.advance(to: swarm.nowNs + random.ms(random.oneIn(20) ? 50...400 : 1...20))
        let known = knownNow()
        let body = Array(text(call, known).utf8)
        guard case .fails(let first) = trouble, callCount >= first else { return body }
        told.hasFailed = true
        switch random.number(0...3) {
        case 0: throw DockerError(kind: .status(500), call: call.name, message: "no leader")
        case 1: throw DockerError(kind: .status(503), call: call.name, message: "no manager")
        case 2: throw DockerError(kind: .timedOut, call: call.name, message: "silence")
        default: return Array(body.prefix(random.number(0...body.count - 1)))
        }
    }

    private func knownNow() -> SwarmState {
        switch trouble {
        case .isBehind(let lagNs): swarm.state(lagNs: lagNs)
        case .isMixed(let lagNs): swarm.state(lagNs: random.oneIn(2) ? lagNs : 0)
        case .none, .fails: swarm.state
        }
    }

    private func text(_ call: DockerCall, _ known: SwarmState) -> String {
        switch call {
        case .info:
            return """
                {"ServerVersion":"20.10","Swarm":{"NodeID":"n1","LocalNodeState":"active","ControlAvailable":true,\
                "Cluster":{"ID":"c1"}}}
                """
        case .services:
            told.services = told(known.services)
            return list(told.services.map(Self.json), odd: #"{"ID":"odd","Version":{"Index":"x"}}"#)
        case .tasks:
            told.tasks = told(known.tasks.filter { [.running, .ready, .complete].contains($0.desired) })
            return list(told.tasks.map(Self.json), odd: #"{"ID":"odd","Status":{"State":"dreaming"}}"#)
        case .tasksByID(let ids):
            let found = known.tasks.filter { ids.contains($0.id) }
            let names = Set(told.tasks.map(\.id))
            told.tasks += found.filter { !$0.state.isTerminal && !names.contains($0.id) }
            return list(found.map(Self.json), odd: "7")
        case .nodes:
            told.nodes = known.nodes
            return list(told.nodes.map(Self.json), odd: "null")
        case .networks: return #"[{"Id":"net","Name":"front","Scope":"swarm"}]"#
        case .configs, .containers: return "[]"
        default: return "OK"
        }
    }

    /// Without the one that makes no sense this time.
    private func told<Object>(_ objects: [Object]) -> [Object] {
        var objects = objects
        if breaksElements, !objects.isEmpty, random.oneIn(4) {
            objects.remove(at: random.number(0...objects.count - 1))
        }
        return objects
    }

    private func list(_ elements: [String], odd: String) -> String {
        let all = breaksElements ? elements + [odd] : elements
        return "[" + all.shuffled(using: &random).joined(separator: ",") + "]"
    }

    // MARK: The API's words

    private static func labels(_ host: String?) -> String {
        #"{"com.docker.lb.hosts":"\#(host ?? "no host")","com.docker.lb.port":"80"}"#
    }

    private static func json(_ service: ModelService) -> String {
        let previous = service.previousHost.map { #""PreviousSpec":{"Labels":\#(labels($0))},"# } ?? ""
        let second = String(100 + service.createdAt % 60).dropFirst()
        return """
            {"ID":"\(service.id)","Version":{"Index":\(service.version)},\
            "CreatedAt":"2026-11-22T16:\(10 + service.createdAt / 60):\(second)Z",\
            \(previous)"UpdateStatus":{"State":"\(service.isUpdating ? "updating" : "completed")"},\
            "Spec":{"Name":"\(service.id)","Labels":\(labels(service.host)),\
            "Mode":{"Replicated":{"Replicas":\(service.replicas)}},"TaskTemplate":{"Networks":[{"Target":"net"}]}}}
            """
    }

    private static func json(_ task: ModelTask) -> String {
        let address = task.address.map { #"[{"Network":{"ID":"net"},"Addresses":["\#(Self.address($0))/16"]}]"# }
        return """
            {"ID":"\(task.id)","Version":{"Index":\(task.version)},"ServiceID":"\(task.service)","Slot":\(task.slot),\
            "NodeID":"\(task.node)","DesiredState":"\(task.desired)","Status":{"State":"\(task.state)"},\
            "NetworksAttachments":\(address ?? "null")}
            """
    }

    private static func json(_ node: ModelNode) -> String {
        #"{"ID":"\#(node.id)","Version":{"Index":\#(node.version)},"Status":{"State":"\#(node.state.rawValue)"}}"#
    }

    static func address(_ number: Int) -> String { "10.1.\(number / 250).\(1 + number % 250)" }
}
