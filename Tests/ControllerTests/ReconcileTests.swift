// Managed services: what is attached, what is not, and that no attempt is made for ever, however it ends and however
// often the controller is restarted meanwhile.

import Discovery
import Model
import Support
import Testing

@testable import Controller
@testable import Docker

private let prefix = "com.docker.lb."

/// A controller's reconciler before a played Swarm, with a clock of its own.
private struct Play {
    let swarm = PlayedSwarm()
    var needs = ReconcileNeeds()
    var reconciler: Reconciler
    var nowNs: UInt64 = 1_000_000_000_000
    var problems: [Diagnostic] = []
    private var random = SeededRandom(seed: 7)

    init(_ settings: ControllerSettings = ControllerSettings(management: .secretsAndNetworks)) {
        reconciler = Reconciler(settings: settings)
        needs.ids = ["lb": "s-lb", "lb_proxy": "s-lb_proxy"]
        needs.networks = [
            Network(id: "n-a", name: "a"), Network(id: "n-b", name: "b"), Network(id: "n-host", name: "host"),
            Network(id: "n-local", name: "bridge", scope: .local),
        ]
        swarm.add("lb")
        swarm.listed = ["cert", "key", "stack_cert", "feed"].map { SwarmSecret(id: "id-\($0)", name: $0) }
    }

    mutating func want(_ secrets: [String], referenced: [String]? = nil, stack: String = "") {
        let needs = secrets.map { SecretNeed(reference: SecretReference($0, stack: stack), service: "web") }
        self.needs.wants["lb", default: ServiceWants()].secrets = needs
        self.needs.wants["lb"]?.referencedSecrets =
            Set(needs.flatMap(\.reference.names)).union(referenced ?? [])
    }

    mutating func want(networks: [String], inUse: [String]? = nil, service: String = "lb_proxy") {
        needs.wants[service, default: ServiceWants()].networks = networks.map {
            NetworkNeed(service: "web", id: $0, name: $0, isShared: false)
        }
        needs.wants[service]?.networksInUse = Set(inUse ?? networks)
    }

    /// Lets that many seconds pass; updates under way end after each look.
    mutating func run(seconds: UInt64 = 60, isSettling: Bool = true) {
        let endNs = nowNs + seconds * 1_000_000_000
        while nowNs < endNs {
            let outcome = reconciler.step(needs, swarm, nowNs: nowNs) { random.next() }
            problems = outcome.problems
            if isSettling { swarm.settle() }
            nowNs = max(nowNs + 1_000_000, min(outcome.nextNs, nowNs + 5_000_000_000))
        }
    }

    /// The process begins anew, as it does when its own service was updated.
    mutating func restart() { reconciler = Reconciler(settings: reconciler.settings) }
}

@Suite struct ReconcileTests {
    @Test func attachesWhatIsNeededAndNoMore() throws {
        var play = Play()
        play.want(["cert", "key"])
        play.run()
        #expect(play.swarm.updates == ["lb", "!lb"])
        #expect(try play.swarm.state("lb") == "cert key |  | added_secrets=cert,key")
        #expect(play.problems.isEmpty)
        play.restart()
        play.run(seconds: 600)
        #expect(play.swarm.updates.count == 2)
    }

    @Test func nothingNeededIsNothingDone() {
        var play = Play()
        play.want([])
        play.run(seconds: 600)
        #expect(play.swarm.updates.isEmpty)
        #expect(play.swarm.secretListCount == 0)
    }

    @Test func aNeedThatGrowsIsMetAtOnce() throws {
        var play = Play()
        play.want(["cert"])
        _ = play.reconciler.step(play.needs, play.swarm, nowNs: play.nowNs) { 0 }
        play.want(["cert", "key"])
        play.run()
        #expect(play.swarm.taskUpdateCount == 1)
    }

    @Test(arguments: [
        // Under the stack's name; with the plain name that goes first; a file that the operator named so.
        (["mine_cert"], [], "mine", "mine_cert"), (["cert", "mine_cert"], [], "mine", "cert"),
        (["cert"], ["cert"], "", "cert"),
    ])
    func aNameMayCarryTheStacks(_ listed: [String], _ attached: [String], _ stack: String, _ expected: String) throws {
        var play = Play()
        play.swarm.listed = listed.map { SwarmSecret(id: "id-\($0)", name: $0) }
        play.swarm.add("lb", secrets: attached)
        play.want(["cert"], stack: stack)
        play.run()
        #expect(try play.swarm.state("lb").hasPrefix(expected + " |"))
        #expect(play.swarm.taskUpdateCount == (attached.isEmpty ? 1 : 0))
    }

    @Test func aSecretThatComesLaterIsAttachedThen() throws {
        var play = Play()
        play.want(["late", "no; rm -rf /"])
        play.run()
        #expect(play.swarm.updates.isEmpty)
        #expect(play.problems.map(\.value) == ["late", "no; rm -rf /"])
        #expect(play.problems.first?.message.hasSuffix("make it: docker secret create late FILE") == true)
        #expect(play.problems.last?.message.contains("rm -rf") == false)
        play.swarm.listed.append(SwarmSecret(id: "x", name: "late"))
        play.run(seconds: 20)
        #expect(try play.swarm.state("lb") == "late |  | added_secrets=late")
    }

    @Test func theOperatorsSecretsStayTheOperators() throws {
        // By name, by a label on the secret, and by the file that another name was given.
        var play = Play(ControllerSettings(management: .secrets, reservedSecrets: ["token", "feed.pem"]))
        play.swarm.listed = [
            SwarmSecret(id: "1", name: "token"),
            SwarmSecret(id: "2", name: "ca", labels: [prefix + "reserved": "true"]),
            SwarmSecret(id: "3", name: "controller-credential"), SwarmSecret(id: "4", name: "cert"),
        ]
        var edit = ServiceEdit()
        edit.addedSecrets = [SwarmSecret(id: "3", name: "feed.pem")]
        try play.swarm.edit("lb", edit)
        play.want(["token", "ca", "controller-credential", "cert"])
        play.run()
        #expect(try play.swarm.state("lb") == "feed.pem cert |  | added_secrets=cert")
        #expect(play.problems.count == 3)
        #expect(play.problems.allSatisfy { $0.message.contains("operator's own") })
    }

    // MARK: Taking away

    @Test func takesAwayOnlyWhatItAddedAndNobodyNames() throws {
        var play = Play()
        play.swarm.add("lb", secrets: ["operators"])
        play.want(["cert", "key"])
        play.run()
        // A rotation: the old one stays for a while, then it goes.
        play.want(["key"])
        play.run(seconds: 100)
        #expect(play.swarm.taskUpdateCount == 1)
        play.run(seconds: 60)
        #expect(try play.swarm.state("lb") == "operators key |  | added_secrets=key")
        play.want([])
        play.run(seconds: 200)
        #expect(try play.swarm.state("lb") == "operators |  | ")
        #expect(play.swarm.taskUpdateCount == 3)
    }

    @Test func whatIsStillReferredToStays() throws {
        var play = Play()
        play.want(["cert"])
        play.run()
        play.want([], referenced: ["cert"])
        play.run(seconds: 1_000)
        // Not for long enough.
        for _ in 0..<20 {
            play.want([])
            play.run(seconds: 100)
            play.want(["cert"])
            play.run(seconds: 10)
        }
        #expect(play.swarm.taskUpdateCount == 1)
    }

    // MARK: Networks

    @Test func attachesNetworksToTheProxies() throws {
        var play = Play()
        play.swarm.add("lb_proxy", networks: ["front", "a"])
        play.want(networks: ["n-a", "n-b", "n-local", "unknown"])
        play.run()
        #expect(try play.swarm.state("lb_proxy") == " | front a n-b | added_networks=n-b")
        play.want(networks: [], inUse: ["n-b"])
        play.run(seconds: 300)
        #expect(play.swarm.taskUpdateCount == 1)
        play.want(networks: [])
        play.run(seconds: 300)
        #expect(try play.swarm.state("lb_proxy") == " | front a | ")
    }

    @Test func theHostsNetworkTakesNoOther() {
        var play = Play()
        play.swarm.add("lb_proxy", networks: ["n-host"])
        play.want(networks: ["n-a"])
        play.run()
        #expect(play.swarm.updates.isEmpty)
        #expect(play.problems.first?.message.contains("uses its host's network") == true)
    }

    @Test func oneServiceMayBeBoth() throws {
        var play = Play()
        play.want(["cert"])
        play.want(networks: ["n-a"], service: "lb")
        play.run()
        #expect(play.swarm.updates == ["lb", "!lb"])
        #expect(try play.swarm.state("lb") == "cert | n-a | added_networks=n-a added_secrets=cert")
    }

    // MARK: Never a loop

    @Test(arguments: [PlayedSwarm.Ending.rollsBack, .pauses])
    func whatFailedIsNotTriedAgain(_ ending: PlayedSwarm.Ending) throws {
        var play = Play()
        play.swarm.ending = ending
        play.want(["cert"])
        for _ in 0..<20 {
            play.run(seconds: 300)
            play.restart()
        }
        #expect(play.swarm.taskUpdateCount == 1)
        play.run()
        guard ending == .rollsBack else { return }
        #expect(play.problems.first?.message.contains("so it is not tried again") == true)
        #expect(
            play.problems.first?.message.contains("--label-rm com.docker.lb.managed --label-rm") == true)
        // Another need is another attempt, and the failure of the first is not forgotten over it.
        play.want(["key"])
        play.run()
        play.swarm.ending = .completes
        play.want(["cert"])
        play.run(seconds: 600)
        play.restart()
        play.run(seconds: 600)
        #expect(play.swarm.taskUpdateCount == 2)
        // The operator says that it is mended.
        var edit = ServiceEdit()
        edit.labels = [prefix + "managed": String?.none, prefix + "managed_failed": String?.none]
        try play.swarm.edit("lb", edit)
        play.run(seconds: 600)
        #expect(play.swarm.taskUpdateCount == 3)
        #expect(try play.swarm.state("lb") == "cert |  | added_secrets=cert")
    }

    @Test func aRollbackByHandIsObeyed() throws {
        var play = Play()
        play.want(["cert"])
        play.run()
        play.swarm.rollBack("lb")
        for _ in 0..<5 {
            play.restart()
            play.run(seconds: 300)
        }
        #expect(play.swarm.taskUpdateCount == 1)
        #expect(try play.swarm.state("lb") == " |  | ")
    }

    @Test func whatIsTakenAwayByHandStaysAway() throws {
        var play = Play()
        play.want(["cert"])
        play.run()
        var edit = ServiceEdit()
        edit.removedSecrets = ["cert"]
        try play.swarm.edit("lb", edit)
        for _ in 0..<5 {
            play.restart()
            play.run(seconds: 300)
        }
        #expect(play.swarm.taskUpdateCount == 1)
        #expect(play.problems.first?.message.contains("undone by hand") == true)
    }

    @Test func aStackDeployedAnewIsGivenItAgain() throws {
        var play = Play()
        play.want(["cert"])
        for count in 1...3 {
            play.swarm.add("lb")
            play.run()
            #expect(play.swarm.taskUpdateCount == count)
        }
    }

    @Test func aRefusalIsFinalAndAFailureIsTriedLessAndLess() {
        var play = Play()
        play.swarm.refusals = [DockerError(kind: .status(400), call: "POST", message: "invalid")]
        play.want(["cert"])
        play.run(seconds: 3_600)
        #expect(play.swarm.updates.isEmpty)
        #expect(play.problems.first?.message.contains("invalid") == true)
        // Another need is tried at once.
        play.want(["key"])
        play.run()
        #expect(play.swarm.taskUpdateCount == 1)

        var other = Play()
        let failure = DockerError(kind: .status(503), call: "POST", message: "no leader")
        other.swarm.refusals = Array(repeating: failure, count: 1_000)
        other.want(["cert"])
        other.run(seconds: 3_600)
        #expect((985...992).contains(other.swarm.refusals.count))
        other.swarm.refusals = []
        other.run(seconds: 700)
        #expect(other.swarm.taskUpdateCount == 1)
        #expect(other.problems.isEmpty)
    }

    @Test func somebodyElsesUpdateIsWaitedFor() throws {
        var play = Play()
        play.want(["cert"])
        play.swarm.interference = { [swarm = play.swarm] in
            // Between reading and writing: the version is another.
            var edit = ServiceEdit()
            edit.labels = ["other": "1"]
            try? swarm.edit("lb", edit)
        }
        play.run()
        #expect(try play.swarm.state("lb") == "cert |  | added_secrets=cert")
        // An update under way is never written over.
        play.want(["cert", "key"])
        play.swarm.ending = .completes
        var edit = ServiceEdit()
        edit.addedNetworks = ["n-b"]
        try play.swarm.update(try play.swarm.service(id: "s-lb"), by: edit)
        let count = play.swarm.updates.count
        play.run(seconds: 100, isSettling: false)
        #expect(play.swarm.updates.count == count)
        play.run()
        #expect(play.swarm.updates.count == count + 2)
    }

    @Test func severalControllersDoItOnce() throws {
        var play = Play()
        play.want(["cert", "key"])
        var other = Reconciler(settings: play.reconciler.settings)
        var random = SeededRandom(seed: 1)
        for step in 0..<400 {
            // One is a little behind what the other sees.
            let nowNs = play.nowNs + UInt64(step) * 250_000_000
            _ = play.reconciler.step(play.needs, play.swarm, nowNs: nowNs) { random.next() }
            _ = other.step(play.needs, play.swarm, nowNs: nowNs) { random.next() }
            if step % 16 == 0 { play.swarm.settle() }
        }
        #expect(play.swarm.taskUpdateCount == 1)
        #expect(try play.swarm.state("lb") == "cert key |  | added_secrets=cert,key")
    }

    @Test func controllersThatDisagreeComeToAnEnd() {
        // Every update fails, and each of the two wants something else: still each tries once.
        var play = Play()
        play.swarm.ending = .rollsBack
        play.want(["cert"])
        var needs = play.needs
        needs.wants["lb"]?.secrets?.append(SecretNeed(reference: SecretReference("key"), service: "web"))
        var random = SeededRandom(seed: 1)
        for step in 0..<4_000 {
            let nowNs = play.nowNs + UInt64(step) * 1_000_000_000
            var one = Reconciler(settings: play.reconciler.settings)
            one.timing.settleNs = 0
            one.timing.jitterNs = 1
            _ = one.step(step % 2 == 0 ? play.needs : needs, play.swarm, nowNs: nowNs) { random.next() }
            play.swarm.settle()
        }
        #expect(play.swarm.taskUpdateCount == 2)
    }

    @Test func anEngineThatIsAwayChangesNothing() {
        var play = Play()
        play.want(["nowhere"])
        play.run()
        #expect(play.problems.count == 1)
        play.swarm.isAway = true
        play.run()
        #expect(play.problems.count == 1)
        play.needs.ids = [:]
        play.run()
        #expect(
            play.problems.map(\.message) == [
                "is to be managed (INTERLOCK_MANAGE_SERVICES), and is no service of this Swarm"
            ])
        #expect(play.swarm.updates.isEmpty)
    }
}
