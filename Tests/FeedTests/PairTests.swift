// Both sessions with bytes between them, cut anywhere, and contents that come at any moment: whatever the timing, two
// sides that keep the rules never refuse each other, and the client ends with the newest content.

import Model
import Support
import TLS
import Testing

@testable import Feed

/// A client that answers as it likes, and the server that it talks to.
private struct Pair {
    var random: SeededRandom
    var server: FeedServerSession
    var client = FeedClientSession(settings: .init(), hello: FeedHello(), nowNs: 0)
    var serverReader = FeedFrameReader { $0.isFromClient }
    var clientReader = FeedFrameReader { $0.isFromServer }
    var toClient: [UInt8] = []
    var toServer: [UInt8] = []
    var newest: FeedPublication?
    /// What the client has, by digest.
    var pieces: [FeedDigest: [UInt8]] = [:]
    var held: FeedContentName?
    /// Fetched and not answered yet.
    var answering: FeedContentName?
    var offered: FeedContentName?
    /// The client said that it waits.
    var waiting: FeedContentName?
    var nowNs: UInt64 = 0
    var transferred = 0

    init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        let identity = FeedIdentity(role: .proxy, cluster: "", commonName: "", notAfterSeconds: .max)
        server = FeedServerSession(settings: .init(), identity: identity, nowNs: 0)
    }

    mutating func publish(version: UInt64) {
        let pieces = (0..<random.number(0...6)).map { _ in [UInt8](repeating: 1, count: random.number(1...9)) }
        let made = FeedPublication(
            order: SnapshotOrder(version: version),
            pieces: pieces.map { FeedPublication.EncodedPiece(SnapshotPiece(bytes: $0), previous: newest) })
        newest = made
        server.publish(made, nowNs: nowNs)
    }

    mutating func step() throws {
        nowNs += UInt64(random.number(0...400)) * 1_000_000
        switch random.number(0...5) {
        case 0: if let bytes = server.nextOutput(nowNs: nowNs) { toClient += bytes }
        case 1: if let bytes = client.nextOutput(nowNs: nowNs) { toServer += bytes }
        case 2, 3: try deliverToClient()
        case 4: try deliverToServer()
        default: answer()
        }
    }

    private mutating func deliverToServer() throws {
        let count = random.number(0...min(40, toServer.count))
        toServer.prefix(count).withUnsafeBytes { serverReader.receive($0) }
        toServer.removeFirst(count)
        while let frame = try serverReader.next() { _ = try server.receive(frame, nowNs: nowNs) }
    }

    private mutating func deliverToClient() throws {
        let count = random.number(0...min(40, toClient.count))
        toClient.prefix(count).withUnsafeBytes { clientReader.receive($0) }
        toClient.removeFirst(count)
        while let frame = try clientReader.next() {
            if case .piece = frame { transferred += 1 }
            guard let event = try client.receive(frame) else { continue }
            take(event)
        }
    }

    private mutating func take(_ event: FeedClientSession.Event) {
        switch event {
        case .welcomed: break
        case .offered(let manifest):
            offered = manifest.name
            waiting = nil
            if random.oneIn(5) {
                // Known to be of no use.
                client.acknowledge(.init(name: manifest.name, verdict: .refused, tableVersion: 0))
                return
            }
            let have = pieces
            if let event = client.fetch(holding: { have[$0] }) { take(event) }
        case .fetched(let fetched):
            #expect(FeedDigest(of: fetched.map { FeedDigest(of: $0) }) == offered?.digest)
            for piece in fetched { pieces[FeedDigest(of: piece)] = piece }
            answering = offered
        }
    }

    private mutating func answer() {
        if let name = answering {
            answering = nil
            let verdict = random.choice([FeedAcknowledgement.Verdict.applied, .applied, .waiting, .refused])
            if verdict == .applied { held = name }
            if verdict == .waiting { waiting = name }
            client.acknowledge(.init(name: name, verdict: verdict, tableVersion: 1))
        } else if let name = waiting, random.oneIn(3) {
            waiting = nil
            held = name
            client.acknowledge(.init(name: name, verdict: .applied, tableVersion: 2))
        }
    }
}

@Suite("both sessions")
struct PairTests {
    @Test("two that keep the rules never refuse each other, and the newest arrives", arguments: 0..<60 as Range<UInt64>)
    func anyTiming(_ seed: UInt64) throws {
        var pair = Pair(seed: seed)
        for version in 1...20 as ClosedRange<UInt64> {
            if !pair.random.oneIn(3) { pair.publish(version: version) }
            for _ in 0..<pair.random.number(0...80) { try pair.step() }
        }
        pair.publish(version: 21)
        for _ in 0..<20_000 where pair.offered != pair.newest?.name || pair.answering != nil { try pair.step() }
        #expect(pair.offered == pair.newest?.name, "seed \(seed)")
    }

    @Test("what the client has is not sent again")
    func nothingTwice() throws {
        var pair = Pair(seed: 1)
        pair.publish(version: 1)
        for _ in 0..<2_000 { try pair.step() }
        let before = pair.transferred
        for version in 2...30 as ClosedRange<UInt64> {
            pair.publish(version: version)
            for _ in 0..<500 { try pair.step() }
        }
        // Nine pieces are all there are.
        #expect(pair.transferred <= 9 && before <= pair.transferred)
    }
}
