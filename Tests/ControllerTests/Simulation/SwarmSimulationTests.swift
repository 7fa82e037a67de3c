// The races of a control plane, replayed from seeds: a simulated Swarm on one side, an oracle on the other, and in
// between all that is real. INTERLOCK_TEST_SEED=<n> runs one seed alone, INTERLOCK_TEST_SEEDS=<n> as many.

import Glibc
import Testing

private func seeds() -> [UInt64] {
    if let text = getenv("INTERLOCK_TEST_SEED"), let seed = UInt64(String(cString: text)) { return [seed] }
    let count = getenv("INTERLOCK_TEST_SEEDS").flatMap { UInt64(String(cString: $0)) } ?? 120
    return Array(0..<count)
}

@Suite struct SwarmSimulationTests {
    /// Every third seed is calm: nothing fails there, so that more is promised.
    private func simulate(_ seed: UInt64, _ flaw: Flaw? = nil) -> SimulatedControlPlane {
        var simulation = SimulatedControlPlane(
            seed: seed, isCalm: seed % 3 == 0 && flaw != .stopsMayBeMissed, flaw: flaw)
        simulation.run(seconds: 15)
        return simulation
    }

    @Test(arguments: seeds())
    func whatIsRoutedIsWhatTheLastGoodListSaid(seed: UInt64) {
        let faults = simulate(seed).faults
        #expect(faults.isEmpty, "INTERLOCK_TEST_SEED=\(seed): \(faults.joined(separator: "\n"))")
    }

    @Test func aSeedIsTheSameEveryTime() {
        for seed: UInt64 in 0..<3 { #expect(simulate(seed).figures == simulate(seed).figures) }
    }

    /// The seeds reach what they are there for.
    @Test func theSeedsMeetEveryRace() {
        var figures: [String: Int] = [:]
        for seed: UInt64 in 0..<24 { figures.merge(simulate(seed).figures, uniquingKeysWith: +) }
        for (figure, least) in [
            ("full", 500), ("tasks", 1000), ("failed", 50), ("stale", 50), ("published", 500), ("reused addresses", 50),
            ("stops", 20), ("picks", 2000),
        ] {
            #expect(figures[figure, default: 0] >= least, "\(figure) of \(figures)")
        }
    }

    /// Each rule is held: whoever got it wrong would be told within a few seeds.
    @Test(arguments: Flaw.allCases)
    func aRuleThatIsWrongIsFound(flaw: Flaw) {
        let found = (0..<32).contains { !simulate($0, flaw).faults.isEmpty }
        #expect(found, "\(flaw)")
    }
}
