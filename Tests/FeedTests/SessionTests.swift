// The two sides' state machines without sockets: the order of frames that is meant, and every other one refused.

import Model
import Support
import TLS
import Testing

@testable import Feed

private let second: UInt64 = 1_000_000_000

private func publication(_ pieces: [[UInt8]], version: UInt64 = 1) -> FeedPublication {
    FeedPublication(
        order: SnapshotOrder(clusterID: "a", version: version),
        pieces: pieces.map { FeedPublication.EncodedPiece(SnapshotPiece(bytes: $0), previous: nil) })
}

private let first = publication([[1], [2], [3]])
private let next = publication([[1], [2], [4]], version: 2)
private func digest(_ byte: UInt8) -> FeedDigest { FeedDigest(of: [byte]) }

private func acknowledgement(
    _ publication: FeedPublication, _ verdict: FeedAcknowledgement.Verdict = .applied
) -> FeedFrame {
    .acknowledgement(FeedAcknowledgement(name: publication.name, verdict: verdict, tableVersion: 1))
}

private func makeServerSession(_ published: FeedPublication? = first, cluster: String = "") -> FeedServerSession {
    let identity = FeedIdentity(role: .proxy, cluster: cluster, commonName: "proxy", notAfterSeconds: 1_000)
    var session = FeedServerSession(settings: .init(controllerID: "c"), identity: identity, nowNs: 0)
    if let published { session.publish(published, nowNs: 0) }
    return session
}

/// All frames that are ready, read back.
private func output(of next: () -> [UInt8]?) throws -> [FeedFrame] {
    var reader = FeedFrameReader { _ in true }
    while let bytes = next() { bytes.withUnsafeBytes { reader.receive($0) } }
    var frames: [FeedFrame] = []
    while let frame = try reader.next() { frames.append(frame) }
    return frames
}

private func output(_ session: inout FeedServerSession, nowNs: UInt64 = 0) throws -> [FeedFrame] {
    try output { session.nextOutput(nowNs: nowNs) }
}

@Suite("the server's session")
struct ServerSessionTests {
    @Test("hello, welcome, manifest, want, pieces, acknowledgement; then what is newer")
    func conversation() throws {
        var session = makeServerSession()
        #expect(try output(&session).isEmpty, "nobody is told anything before the hello")
        #expect(try session.receive(.hello(FeedHello()), nowNs: 0) == .greeted(FeedHello()))
        let welcome = FeedWelcome(controllerID: "c", order: first.name.order)
        let manifest = first.manifestFrame
        let opening = try output(&session)
        #expect(opening.count == 2 && opening[0] == .welcome(welcome) && opening[1].encoded == manifest)
        #expect(try session.receive(.want([digest(3), digest(1)]), nowNs: 0) == nil)
        #expect(try output(&session) == [.piece([3]), .piece([1])])
        // Newer ones wait for the answer; only the newest is sent.
        session.publish(publication([[9]], version: 2), nowNs: 0)
        session.publish(next, nowNs: 0)
        #expect(try output(&session).isEmpty)
        #expect(try session.receive(acknowledgement(first), nowNs: 0) != nil)
        #expect(try output(&session).map(\.encoded) == [next.manifestFrame])
        #expect(try session.receive(acknowledgement(next, .waiting), nowNs: 0) != nil)
        #expect(try session.receive(acknowledgement(next), nowNs: 0) != nil, "it waited, and took it then")
        #expect(try output(&session).isEmpty)
    }

    @Test("pieces of what is on its way stay, whatever is published meanwhile")
    func oldPieces() throws {
        var session = makeServerSession()
        _ = try session.receive(.hello(FeedHello()), nowNs: 0)
        _ = try output(&session)
        session.publish(next, nowNs: 0)
        _ = try session.receive(.want([digest(3)]), nowNs: 0)
        #expect(try output(&session) == [.piece([3])])
    }

    struct Hostile: Sendable, CustomTestStringConvertible {
        let what: String
        let frames: [FeedFrame]
        let code: FeedRefusal.Code
        let reason: String
        var testDescription: String { what }

        init(_ what: String, _ frames: [FeedFrame], _ reason: String, code: FeedRefusal.Code = .protocolBroken) {
            (self.what, self.frames, self.code, self.reason) = (what, frames, code, reason)
        }
    }

    private static let hello = FeedFrame.hello(FeedHello())
    private static let other = acknowledgement(publication([[7]]))

    static let hostile: [Hostile] = [
        Hostile("hello twice", [hello, hello], "second hello"),
        Hostile("a later version", [.hello(FeedHello(version: 2))], "version 2", code: .version),
        Hostile("version 0", [.hello(FeedHello(version: 0))], "version 0", code: .version),
        Hostile("another cluster", [.hello(FeedHello(cluster: "blue"))], "the cluster \"blue\"", code: .cluster),
        Hostile("want before hello", [.want([digest(1)])], "pieces of nothing"),
        Hostile("acknowledgement before the manifest", [acknowledgement(first)], "not offered"),
        Hostile("acknowledgement of something else", [hello, other], "not offered"),
        Hostile(
            "acknowledgement before the pieces", [hello, .want([digest(1)]), acknowledgement(first)], "not got yet"),
        Hostile("want of an unknown digest", [hello, .want([digest(1), digest(9)])], "not offered"),
        Hostile("want of nothing", [hello, .want([])], "nobody needs"),
        Hostile("want of a piece twice at once", [hello, .want([digest(1), digest(1)])], "nobody needs"),
        Hostile("want of too many", [hello, .want((0...3).map { digest($0) })], "nobody needs"),
        Hostile("want twice", [hello, .want([digest(1)]), .want([digest(2)])], "twice"),
        Hostile("want after the answer", [hello, acknowledgement(first), .want([digest(1)])], "pieces of nothing"),
        Hostile("a welcome", [hello, .welcome(FeedWelcome())], "only a controller sends"),
        Hostile("a piece", [hello, .piece([1])], "only a controller sends"),
        Hostile("a manifest", [hello, .manifest(.init(order: .init(), entries: []))], "only a controller sends"),
    ]

    @Test("what has no place is refused, with its reason", arguments: hostile)
    func refused(_ hostile: Hostile) throws {
        var session = makeServerSession()
        for (index, frame) in hostile.frames.enumerated() {
            do throws(FeedRefusal) {
                _ = try session.receive(frame, nowNs: 0)
                #expect(index < hostile.frames.count - 1, "it was taken")
                // The client asks before it gets anything: pieces are out only where the row means so.
                if case .hello = frame { _ = try? output(&session) }
            } catch {
                #expect(index == hostile.frames.count - 1, "refused too early: \(error)")
                #expect(error.code == hostile.code && error.reason.contains(hostile.reason), "\(error)")
            }
        }
    }

    @Test("an acknowledgement while pieces are not out yet is refused")
    func earlyAcknowledgement() throws {
        var session = makeServerSession()
        _ = try session.receive(.hello(FeedHello()), nowNs: 0)
        _ = try output(&session)
        _ = try session.receive(.want([digest(1), digest(2)]), nowNs: 0)
        _ = session.nextOutput(nowNs: 0)
        #expect(throws: FeedRefusal.self) { try session.receive(acknowledgement(first), nowNs: 0) }
    }

    @Test("a client's reason to go is kept")
    func refusedByClient() throws {
        var session = makeServerSession()
        let refusal = FeedRefusal(.role, "is no controller")
        #expect(try session.receive(.refusal(refusal), nowNs: 0) == nil)
        #expect(session.refusal == refusal)
    }

    @Test("heartbeats keep the pace, other frames count as such, and a change of standing is told at once")
    func heartbeats() throws {
        var session = makeServerSession(nil)
        _ = try session.receive(.hello(FeedHello()), nowNs: 0)
        #expect(try output(&session) == [.welcome(FeedWelcome(controllerID: "c"))])
        #expect(try output(&session, nowNs: second / 2 - 1).isEmpty)
        #expect(try output(&session, nowNs: second / 2) == [.heartbeat(isCurrent: true)])
        #expect(session.dueNs == second)
        session.setCurrent(false)
        session.setCurrent(false)
        #expect(try output(&session, nowNs: second / 2) == [.heartbeat(isCurrent: false)])
    }

    @Test("silence, an answer that never comes and an expired credential end it")
    func deadlines() throws {
        var session = makeServerSession()
        _ = try session.receive(.hello(FeedHello()), nowNs: 0)
        _ = try output(&session)
        try session.check(nowNs: 3 * second - 1, realtimeS: 0)
        #expect(throws: FeedRefusal(.deadline, "said nothing for 3000 ms")) {
            try session.check(nowNs: 3 * second, realtimeS: 0)
        }
        session.heard(nowNs: 59 * second)
        try session.check(nowNs: 60 * second - 1, realtimeS: 0)
        #expect(throws: FeedRefusal.self) { try session.check(nowNs: 60 * second, realtimeS: 0) }
        _ = try session.receive(acknowledgement(first), nowNs: 60 * second)
        try session.check(nowNs: 60 * second, realtimeS: 999)
        #expect(throws: FeedRefusal(.expired, "its credential has expired")) {
            try session.check(nowNs: 60 * second, realtimeS: 1_000)
        }
    }
}

@Suite("the client's session")
struct ClientSessionTests {
    private func makeSession() throws -> FeedClientSession {
        var session = FeedClientSession(settings: .init(contentSize: 1_000), hello: FeedHello(), nowNs: 0)
        #expect(try output { session.nextOutput(nowNs: 0) } == [.hello(FeedHello())])
        return session
    }

    private static func manifest(_ pieces: [[UInt8]]) -> FeedManifest {
        FeedManifest(
            order: .init(), entries: pieces.map { .init(digest: FeedDigest(of: $0), size: UInt32($0.count)) })
    }

    @Test("only what is missing is asked for, each once, and the content comes together in its order")
    func conversation() throws {
        var session = try makeSession()
        let welcome = FeedWelcome(controllerID: "c", order: .init())
        #expect(try session.receive(.welcome(welcome)) == .welcomed(welcome))
        let manifest = Self.manifest([[1], [2], [3], [2]])
        #expect(try session.receive(.manifest(manifest)) == .offered(manifest))
        #expect(session.fetch { $0 == digest(1) ? [1] : nil } == nil)
        #expect(try output { session.nextOutput(nowNs: 0) } == [.want([digest(2), digest(3)])])
        #expect(try session.receive(.piece([2])) == nil)
        #expect(try session.receive(.piece([3])) == .fetched([[1], [2], [3], [2]]))
        session.acknowledge(.init(name: manifest.name, verdict: .applied, tableVersion: 5))
        #expect(try output { session.nextOutput(nowNs: 0) }.count == 1)
        #expect(try session.receive(.manifest(manifest)) == .offered(manifest))
        #expect(session.fetch { byte in [[1], [2], [3]].first { FeedDigest(of: $0) == byte } } != nil)
    }

    static let hostile: [(String, [FeedFrame])] = [
        ("a manifest before the welcome", [.manifest(manifest([[1]]))]),
        ("a piece before the welcome", [.piece([1])]),
        ("a heartbeat before the welcome", [.heartbeat(isCurrent: true)]),
        ("a later version", [.welcome(FeedWelcome(version: 2))]),
        ("a second welcome", [.welcome(FeedWelcome()), .welcome(FeedWelcome())]),
        ("a piece that nobody asked for", [.welcome(FeedWelcome()), .piece([1])]),
        ("two manifests", [.welcome(FeedWelcome()), .manifest(manifest([[1]])), .manifest(manifest([[1]]))]),
        ("another piece", [.welcome(FeedWelcome()), .manifest(manifest([[1]])), .piece([2])]),
        ("a longer piece", [.welcome(FeedWelcome()), .manifest(manifest([[1]])), .piece([1, 1])]),
        ("pieces out of turn", [.welcome(FeedWelcome()), .manifest(manifest([[1], [2]])), .piece([2])]),
        ("a piece too many", [.welcome(FeedWelcome()), .manifest(manifest([[1]])), .piece([1]), .piece([1])]),
        ("more than a content may have", [.welcome(FeedWelcome()), .manifest(manifest([zeros(600), zeros(601)]))]),
        ("a hello", [.welcome(FeedWelcome()), .hello(FeedHello())]),
        ("a want", [.welcome(FeedWelcome()), .want([])]),
        ("an acknowledgement", [.welcome(FeedWelcome()), acknowledgement(first)]),
    ]

    private static func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

    @Test("what has no place is refused", arguments: hostile)
    func refused(_ what: String, _ frames: [FeedFrame]) throws {
        var session = try makeSession()
        for (index, frame) in frames.enumerated() {
            do throws(FeedRefusal) {
                let event = try session.receive(frame)
                #expect(index < frames.count - 1, "\(what) was taken")
                if case .offered = event, index == frames.count - 2 || frames.count > 3 {
                    if case .manifest = frames[index + 1] { continue }
                    _ = session.fetch { _ in nil }
                }
            } catch {
                #expect(index == frames.count - 1, "refused too early: \(error)")
            }
        }
    }

    @Test("a server's reason to go is kept, at any time")
    func refusedByServer() throws {
        var session = try makeSession()
        let refusal = FeedRefusal(.full, "comes too late")
        #expect(try session.receive(.refusal(refusal)) == nil)
        #expect(session.refusal == refusal)
    }

    @Test("silence is told after its deadline, and heartbeats keep the pace")
    func silence() throws {
        var session = try makeSession()
        _ = try session.receive(.welcome(FeedWelcome(isCurrent: false)))
        #expect(!session.isServerCurrent)
        _ = try session.receive(.heartbeat(isCurrent: true))
        #expect(session.isServerCurrent)
        #expect(!session.isSilent(nowNs: 3 * second / 2 - 1) && session.isSilent(nowNs: 3 * second / 2))
        session.heard(nowNs: second)
        #expect(!session.isSilent(nowNs: 2 * second) && session.dueNs == second / 2)
        #expect(try output { session.nextOutput(nowNs: second / 2) } == [.heartbeat(isCurrent: true)])
    }
}
