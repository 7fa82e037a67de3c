// Frames as bytes: what is written is read back, however it is cut; what is not exactly so is refused, early.

import Model
import Support
import Testing

@testable import Feed

private let order = SnapshotOrder(clusterID: "swarm", version: 7, listedAtNs: .max)
private let digest = FeedDigest(of: [1, 2, 3])
private let name = FeedContentName(order: order, digest: digest)

private let samples: [FeedFrame] = [
    .hello(FeedHello(name: "host", cluster: "blue", held: name, tableVersion: 9)), .hello(FeedHello()),
    .welcome(FeedWelcome(controllerID: "node-1", isCurrent: false, order: order)), .welcome(FeedWelcome()),
    .manifest(FeedManifest(order: order, entries: [.init(digest: digest, size: 1), .init(digest: .zero, size: 9)])),
    .manifest(FeedManifest(order: SnapshotOrder(), entries: [])), .want([digest, .zero]), .want([]),
    .piece([7]), .piece([UInt8](repeating: 3, count: 100_000)),
    .acknowledgement(FeedAcknowledgement(name: name, verdict: .refused, tableVersion: 3, reason: "größer")),
    .acknowledgement(FeedAcknowledgement(name: name, verdict: .waiting, tableVersion: 0)),
    .heartbeat(isCurrent: true), .heartbeat(isCurrent: false), .refusal(FeedRefusal(.cluster, "another")),
]

/// Reads bytes that come in pieces of a size; everything is allowed.
private func read(_ bytes: [UInt8], size: Int) throws -> [FeedFrame] {
    var reader = FeedFrameReader { _ in true }
    var frames: [FeedFrame] = []
    var rest = bytes[...]
    while !rest.isEmpty {
        rest.prefix(size).withUnsafeBytes { reader.receive($0) }
        rest = rest.dropFirst(size)
        while let frame = try reader.next() { frames.append(frame) }
    }
    return frames
}

private func head(_ size: UInt32, _ type: UInt8) -> [UInt8] {
    var writer = FeedWriter()
    writer.add(size)
    writer.add(type)
    return writer.bytes
}

private func frame(_ type: FeedFrameType, _ payload: [UInt8]) -> [UInt8] {
    head(UInt32(payload.count), type.rawValue) + payload
}

@Suite("frames")
struct FrameTests {
    @Test("what is written is read back, however it is cut", arguments: [1, 2, 3, 5, 7, 64, 4_096, 1 << 20])
    func cuts(_ size: Int) throws {
        let bytes = samples.flatMap(\.encoded)
        #expect(try read(bytes, size: size) == samples)
    }

    @Test("the longest texts fit; what is longer is cut, and control characters become spaces")
    func texts() throws {
        let long = String(repeating: "ä", count: 3_000)
        let written = FeedFrame.hello(FeedHello(name: long, cluster: "a\u{7}\nb"))
        guard case .hello(let hello) = try read(written.encoded, size: 4_096).first else {
            Issue.record("no hello")
            return
        }
        #expect(hello.name == String(repeating: "ä", count: 127) && hello.cluster == "a  b")
        let refusal = FeedFrame.refusal(FeedRefusal(.role, long))
        #expect(refusal.encoded.count <= FeedFrameType.refusal.limit)
        let acknowledgement = FeedFrame.acknowledgement(
            FeedAcknowledgement(
                name: .init(order: .init(clusterID: long), digest: digest), verdict: .refused, tableVersion: 0,
                reason: long))
        #expect(try read(acknowledgement.encoded, size: 4_096).count == 1)
    }

    @Test("the largest frames are within their limits")
    func largest() {
        let entry = FeedManifest.Entry(digest: digest, size: 1)
        let manifest = FeedManifest(
            order: SnapshotOrder(clusterID: String(repeating: "x", count: 255)),
            entries: Array(repeating: entry, count: FeedLimits.pieceCount))
        for frame in [
            FeedFrame.manifest(manifest), .want(Array(repeating: digest, count: FeedLimits.pieceCount)),
            .piece([UInt8](repeating: 1, count: SnapshotCodec.pieceLimit)),
        ] {
            #expect(frame.encoded.count - FeedLimits.headSize <= frame.type.limit)
        }
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let what: String
        let bytes: [UInt8]
        let reason: String
        var testDescription: String { what }
    }

    static let bad: [Bad] = [
        Bad(what: "type 0", bytes: head(0, 0), reason: "unknown type 0"),
        Bad(what: "type 9", bytes: head(0, 9), reason: "unknown type 9"),
        Bad(what: "HTTP", bytes: Array("GET / HTTP/1.1\r\n".utf8), reason: "unknown type 47"),
        Bad(what: "hello of 4 GiB", bytes: head(.max, 1), reason: "of 4294967295 bytes"),
        Bad(what: "piece over its limit", bytes: head(UInt32(FeedLimits.pieceSize + 1), 5), reason: "the limit is"),
        Bad(what: "heartbeat of 2 bytes", bytes: head(2, 7), reason: "the limit is 1"),
        Bad(what: "empty heartbeat", bytes: frame(.heartbeat, []), reason: "does not hold"),
        Bad(what: "heartbeat 2", bytes: frame(.heartbeat, [2]), reason: "does not hold"),
        Bad(what: "empty piece", bytes: frame(.piece, []), reason: "does not hold"),
        Bad(what: "empty hello", bytes: frame(.hello, []), reason: "does not hold"),
        Bad(what: "hello cut off", bytes: frame(.hello, [0, 1, 0, 4, 65]), reason: "does not hold"),
        Bad(
            what: "hello with a control character", bytes: frame(.hello, [0, 1, 0, 1, 10, 0, 0, 0] + zeros(8)),
            reason: "does not hold"),
        Bad(
            what: "hello with broken UTF-8", bytes: frame(.hello, [0, 1, 0, 1, 0xC3, 0, 0, 0] + zeros(8)),
            reason: "does not hold"),
        Bad(
            what: "hello with something behind", bytes: frame(.hello, [0, 1, 0, 0, 0, 0, 0] + zeros(9)),
            reason: "does not hold"),
        Bad(
            what: "hello that has neither something nor nothing",
            bytes: frame(.hello, [0, 1, 0, 0, 0, 0, 2] + zeros(8)), reason: "does not hold"),
        Bad(
            what: "manifest of a billion entries",
            bytes: frame(.manifest, [0, 0] + zeros(16) + [0x3B, 0x9A, 0xCA, 0x00]), reason: "does not hold"),
        Bad(
            what: "manifest with fewer entries than it counts",
            bytes: frame(.manifest, [0, 0] + zeros(16) + [0, 0, 0, 2] + zeros(32) + [0, 0, 0, 1]),
            reason: "does not hold"),
        Bad(
            what: "manifest with an empty piece",
            bytes: frame(.manifest, [0, 0] + zeros(16) + [0, 0, 0, 1] + zeros(36)), reason: "does not hold"),
        Bad(
            what: "manifest with a piece of 4 GiB",
            bytes: frame(.manifest, [0, 0] + zeros(16) + [0, 0, 0, 1] + zeros(32) + [255, 255, 255, 255]),
            reason: "does not hold"),
        Bad(what: "want of half a digest", bytes: frame(.want, [0, 0, 0, 1] + zeros(16)), reason: "does not hold"),
        Bad(
            what: "acknowledgement with verdict 0", bytes: frame(.acknowledgement, zeros(18 + 32 + 1 + 8 + 2)),
            reason: "does not hold"),
    ]

    private static func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

    @Test("what is no frame is refused, and said to be", arguments: bad)
    func refused(_ bad: Bad) {
        do {
            _ = try read(bad.bytes, size: 4_096)
            Issue.record("it was taken")
        } catch let refusal as FeedRefusal {
            #expect(refusal.code == .protocolBroken && refusal.reason.contains(bad.reason), "\(refusal.reason)")
        } catch {
            Issue.record("\(error)")
        }
    }

    @Test("every truncation of every frame is incomplete, and asks for no memory")
    func truncated() throws {
        for sample in samples {
            let bytes = sample.encoded
            for count in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 200)) {
                var reader = FeedFrameReader { _ in true }
                bytes.prefix(count).withUnsafeBytes { reader.receive($0) }
                #expect(try reader.next() == nil)
                #expect(reader.bufferedCount == count)
            }
        }
    }

    @Test("a type that has no place is refused by its head, before its payload comes")
    func notAllowed() throws {
        var reader = FeedFrameReader { $0 == .hello }
        head(1_000, FeedFrameType.piece.rawValue).withUnsafeBytes { reader.receive($0) }
        #expect(throws: FeedRefusal(.protocolBroken, "sent a piece frame, which has no place here")) {
            try reader.next()
        }
    }

    @Test("another version's hello, welcome and refusal are understood as far as needed")
    func versions() throws {
        let later: [UInt8] = [0, 2, 1, 2, 3, 4, 5]
        guard case .hello(let hello) = try read(frame(.hello, later), size: 99).first,
            case .welcome(let welcome) = try read(frame(.welcome, later), size: 99).first,
            case .refusal(let refusal) = try read(frame(.refusal, [99, 0, 2, 0, 5, 0, 1, 65]), size: 99).first
        else {
            Issue.record("not understood")
            return
        }
        #expect(hello.version == 2 && welcome.version == 2)
        #expect(refusal.oldestVersion == 2 && refusal.newestVersion == 5 && refusal.reason == "A")
    }

    @Test("random bytes trap nothing")
    func noise() {
        for seed in 0..<2_000 {
            var random = SeededRandom(seed: UInt64(seed))
            var bytes = random.choice(samples.filter { $0.encoded.count < 200 }).encoded
            for _ in 0..<random.number(1...4) {
                bytes[random.number(0...bytes.count - 1)] = UInt8(random.number(0...255))
            }
            guard let frames = try? read(bytes, size: random.number(1...64)) else { continue }
            for frame in frames { #expect((try? read(frame.encoded, size: 1_000)) == [frame]) }
        }
    }

    @Test("digests are SHA-256")
    func digests() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        #expect("\(FeedDigest(of: Array("abc".utf8)))" == expected)
        #expect("\(FeedDigest.zero)" == String(repeating: "0", count: 64))
    }
}
