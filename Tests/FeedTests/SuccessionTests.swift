// Which content may follow which, and whom to call when: the pure parts of the client.

import Kernel
import Model
import Testing

@testable import Feed

private let second: UInt64 = 1_000_000_000

private func name(_ digest: UInt8, _ cluster: String, _ version: UInt64, _ listedAtNs: UInt64) -> FeedContentName {
    FeedContentName(
        order: SnapshotOrder(clusterID: cluster, version: version, listedAtNs: listedAtNs),
        digest: FeedDigest(of: [digest]))
}

@Suite("succession")
struct SuccessionTests {
    enum Expected: Sendable { case take, same, wait, refuse }

    struct Row: Sendable, CustomTestStringConvertible {
        let what: String
        let held: FeedContentName?
        let offer: FeedContentName
        let expected: Expected
        var testDescription: String { what }

        init(_ what: String, _ held: FeedContentName?, _ offer: FeedContentName, _ expected: Expected) {
            (self.what, self.held, self.offer, self.expected) = (what, held, offer, expected)
        }
    }

    static let rows: [Row] = [
        Row("nothing is held", nil, name(1, "a", 0, 0), .take),
        Row("nothing is held, no Swarm", nil, name(1, "", 0, 0), .take),
        Row("the same, the same order", name(1, "a", 5, 5), name(1, "a", 5, 5), .same),
        Row("the same, a higher order", name(1, "a", 5, 5), name(1, "a", 6, 1), .same),
        Row("the same, a lower order", name(1, "a", 5, 5), name(1, "a", 4, 9), .same),
        Row("a higher version, listed earlier by another clock", name(1, "a", 5, 5), name(2, "a", 6, 1), .take),
        Row("the same version, listed later", name(1, "a", 5, 5), name(2, "a", 5, 6), .take),
        Row("the same order, another content", name(1, "a", 5, 5), name(2, "a", 5, 5), .take),
        Row("the same version, listed earlier", name(1, "a", 5, 5), name(2, "a", 5, 4), .wait),
        Row("a lower version, listed later", name(1, "a", 5, 5), name(2, "a", 4, 9), .wait),
        Row("another Swarm's", name(1, "a", 5, 5), name(2, "b", 6, 6), .refuse),
        Row("another Swarm's with the same content", name(1, "a", 5, 5), name(1, "b", 6, 6), .refuse),
        Row("none after a Swarm's", name(1, "a", 5, 5), name(2, "", 0, 9), .refuse),
        Row("a Swarm's after none", name(1, "", 0, 9), name(2, "a", 1, 1), .take),
        Row("without a Swarm, listed later", name(1, "", 9, 5), name(2, "", 0, 6), .take),
        Row("without a Swarm, listed earlier", name(1, "", 0, 5), name(2, "", 9, 4), .wait),
    ]

    @Test("every pair has its verdict", arguments: rows)
    func verdicts(_ row: Row) {
        var succession = FeedSuccession()
        if let held = row.held { succession.take(held) }
        switch (succession.judge(row.offer, nowNs: 7 * second), row.expected) {
        case (.take, .take), (.same, .same): break
        case (.wait(let untilNs), .wait): #expect(untilNs == 17 * second)
        case (.refuse(let reason), .refuse): #expect(reason.contains("INTERLOCK_STATE_DIR"))
        case (let verdict, _): Issue.record("\(verdict)")
        }
        #expect(succession.held == row.held)
    }

    @Test("the older offer of a controller that does not see its cluster is never taken")
    func blindController() {
        var succession = FeedSuccession()
        succession.take(name(1, "a", 9, 9))
        for moment in stride(from: 0, through: 60 * second, by: Int(second / 2)) {
            let verdict = succession.judge(name(2, "a", 5, 5), isCurrent: false, nowNs: moment)
            #expect(verdict == .wait(untilNs: moment + 10 * second))
        }
        // From the moment on in which it sees it, as any other.
        #expect(succession.judge(name(2, "a", 5, 5), nowNs: 61 * second) == .wait(untilNs: 70 * second))
        #expect(succession.judge(name(2, "a", 5, 5), nowNs: 70 * second) == .takeOlder)
    }

    @Test("an older offer waits for ten seconds from the first one on, then it is taken")
    func patience() {
        var succession = FeedSuccession()
        succession.take(name(1, "a", 9, 9))
        #expect(succession.judge(name(2, "a", 5, 5), nowNs: 0) == .wait(untilNs: 10 * second))
        // Another one, older or newer than the first, starts no clock of its own.
        #expect(succession.judge(name(3, "a", 6, 6), nowNs: 8 * second) == .wait(untilNs: 10 * second))
        #expect(succession.judge(name(3, "a", 6, 6), nowNs: 10 * second) == .takeOlder)
        succession.take(name(3, "a", 6, 6))
        #expect(succession.judge(name(4, "a", 7, 7), nowNs: 11 * second) == .take)
        #expect(succession.judge(name(5, "a", 1, 1), nowNs: 12 * second) == .wait(untilNs: 22 * second))
    }

    @Test("what is equal or newer ends the wait")
    func waitEnds() {
        var succession = FeedSuccession()
        succession.take(name(1, "a", 9, 9))
        #expect(succession.judge(name(2, "a", 5, 5), nowNs: 0) == .wait(untilNs: 10 * second))
        succession.confirm(name(1, "a", 8, 8))
        #expect(succession.held == name(1, "a", 9, 9), "the higher of two orders counts")
        #expect(succession.judge(name(2, "a", 5, 5), nowNs: 9 * second) == .wait(untilNs: 19 * second))
        succession.confirm(name(1, "a", 10, 1))
        #expect(succession.held == name(1, "a", 10, 1))
    }

    @Test("a wait that was left for long begins anew")
    func abandonedWait() {
        var succession = FeedSuccession()
        succession.take(name(1, "a", 9, 9))
        #expect(succession.judge(name(2, "a", 5, 5), nowNs: 0) == .wait(untilNs: 10 * second))
        #expect(succession.judge(name(2, "a", 5, 5), nowNs: 100 * second) == .wait(untilNs: 110 * second))
    }

    @Test("a controller is as good as what it offers and how it sees")
    func standing() {
        let held = SnapshotOrder(clusterID: "a", version: 5, listedAtNs: 5)
        func standing(_ offer: SnapshotOrder?, isCurrent: Bool = true, after: SnapshotOrder?) -> FeedStanding {
            FeedStanding(order: offer, isCurrent: isCurrent, held: after)
        }
        let newer = SnapshotOrder(clusterID: "a", version: 6)
        let older = SnapshotOrder(clusterID: "a", version: 4)
        #expect(standing(nil, after: held) == .useless && standing(nil, after: nil) == .useless)
        #expect(standing(SnapshotOrder(clusterID: "b", version: 9), after: held) == .useless)
        #expect(standing(older, after: held) == .behind && standing(older, isCurrent: false, after: held) == .behind)
        #expect(standing(newer, isCurrent: false, after: held) == .stale && standing(newer, after: held) == .good)
        #expect(standing(held, after: held) == .good && standing(older, after: nil) == .good)
        #expect(FeedStanding.useless < .behind && .behind < .stale && .stale < .good)
    }
}

@Suite("whom to call")
struct DialerTests {
    private let first = SocketAddress.loopback(port: 1)
    private let other = SocketAddress.loopback(port: 2)

    @Test("all known addresses at once, each once, until it has answered or failed")
    func parallel() {
        var dialer = FeedDialer()
        dialer.update([first, other, first])
        #expect(Set(dialer.takeDue(nowNs: 0)) == [first, other])
        #expect(dialer.takeDue(nowNs: 0).isEmpty && dialer.nextNs() == nil)
        dialer.failed(first, nowNs: 0, random: 0)
        #expect(dialer.takeDue(nowNs: second / 4 - 1).isEmpty)
        #expect(dialer.takeDue(nowNs: second / 4) == [first])
    }

    @Test("pauses double up to the longest, with chance on top")
    func backoff() {
        var dialer = FeedDialer()
        dialer.update([first])
        var pauses: [UInt64] = []
        for _ in 0..<6 {
            #expect(dialer.takeDue(nowNs: dialer.nextNs() ?? .max) == [first])
            dialer.failed(first, nowNs: 0, random: 0)
            pauses.append(dialer.nextNs() ?? 0)
        }
        #expect(pauses == [250, 500, 1_000, 2_000, 2_000, 2_000].map { $0 * 1_000_000 })
        _ = dialer.takeDue(nowNs: .max)
        dialer.failed(first, nowNs: 0, random: .max)
        #expect((2 * second...5 * second / 2).contains(dialer.nextNs() ?? 0))
    }

    @Test("who is spared is not called; who hurries calls all, except who just failed")
    func hurry() {
        var dialer = FeedDialer()
        dialer.update([first, other])
        #expect(dialer.takeDue(nowNs: 0, except: other) == [first])
        dialer.succeeded(first, nowNs: 0)
        _ = dialer.takeDue(nowNs: 0)
        dialer.failed(other, nowNs: 0, random: 0)
        for _ in 0..<5 {
            _ = dialer.takeDue(nowNs: dialer.nextNs(except: first) ?? 0, except: first)
            dialer.failed(other, nowNs: second, random: 0)
        }
        #expect(dialer.takeDue(nowNs: second).isEmpty)
        dialer.hurry(nowNs: second)
        #expect(dialer.takeDue(nowNs: second) == [first])
        #expect(dialer.nextNs() == second + second / 4)
    }

    @Test("an address that is gone is forgotten, once its try is over")
    func forgotten() {
        var dialer = FeedDialer()
        dialer.update([first, other])
        _ = dialer.takeDue(nowNs: 0)
        dialer.update([other])
        #expect(dialer.addressCount == 1)
        dialer.failed(first, nowNs: 0, random: 0)
        dialer.succeeded(other, nowNs: 0)
        #expect(dialer.takeDue(nowNs: 100 * second) == [other])
        dialer.update([])
        dialer.succeeded(other, nowNs: 0)
        #expect(dialer.takeDue(nowNs: 100 * second).isEmpty)
    }
}
