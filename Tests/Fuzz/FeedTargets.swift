// Owns the properties of the feed's frames and of the two sessions that take them: nothing crashes, a stream is judged
// the same however it is cut, what is taken is written again to the same bytes, and nobody is given more than the
// rules say.

import Glibc
import Model

private func frames(_ input: Bytes, cut: Int) -> (frames: [FeedFrame], refusal: FeedRefusal?) {
    var reader = FeedFrameReader { _ in true }
    var found: [FeedFrame] = []
    var offset = 0
    while offset < input.count {
        let end = min(input.count, offset + cut)
        let part = input.slice(from: offset, to: end)
        reader.receive(UnsafeRawBufferPointer(start: part.base, count: part.count))
        offset = end
        do throws(FeedRefusal) {
            while let frame = try reader.next() { found.append(frame) }
        } catch {
            return (found, error)
        }
        require(reader.bufferedCount <= offset, "nothing is kept that did not come")
    }
    return (found, nil)
}

/// The input is a stream of frames, from either side.
func fuzzFeed(_ input: Bytes) {
    let whole = frames(input, cut: max(1, input.count))
    for cut in [1, 7, 64] {
        let again = frames(input, cut: cut)
        require(again.frames == whole.frames && again.refusal == whole.refusal, "a stream is judged however it is cut")
    }
    var offset = 0
    for frame in whole.frames {
        let written = frame.encoded
        // What another version says is not known, and texts of ours are not longer than they may be.
        if written.count <= input.count - offset,
            !isOfAnotherVersion(frame), case let read = input.slice(from: offset, to: offset + written.count).array(),
            !isRefusal(frame)
        {
            require(read == written, "what is read is written again to the same bytes")
            offset += written.count
        } else {
            break
        }
    }
    fuzzServer(whole.frames)
    fuzzClient(whole.frames)
}

private func isOfAnotherVersion(_ frame: FeedFrame) -> Bool {
    switch frame {
    case .hello(let hello): hello.version != FeedLimits.version
    case .welcome(let welcome): welcome.version != FeedLimits.version
    default: false
    }
}

/// Reasons that are not known are read as another.
private func isRefusal(_ frame: FeedFrame) -> Bool {
    if case .refusal = frame { true } else { false }
}

private let offered = FeedPublication(
    order: SnapshotOrder(),
    pieces: [[1], [2], [3]].map { FeedPublication.EncodedPiece(SnapshotPiece(bytes: $0), previous: nil) })

private func fuzzServer(_ frames: [FeedFrame]) {
    let identity = FeedIdentity(role: .proxy, cluster: "", commonName: "", notAfterSeconds: .max)
    var session = FeedServerSession(settings: .init(), identity: identity, nowNs: 0)
    session.publish(offered, nowNs: 0)
    var asked = 0
    var pieces = 0
    for frame in frames {
        do throws(FeedRefusal) {
            _ = try session.receive(frame, nowNs: 0)
            if case .want(let digests) = frame { asked += digests.count }
        } catch {
            break
        }
        while let bytes = session.nextOutput(nowNs: 0) {
            require(session.isGreeted, "nobody is told anything before the hello")
            if bytes[4] == FeedFrameType.piece.rawValue { pieces += 1 }
        }
    }
    require(pieces == asked && asked <= 3, "each piece is sent once, to who asked for it")
}

private func fuzzClient(_ frames: [FeedFrame]) {
    var session = FeedClientSession(settings: .init(), hello: FeedHello(), nowNs: 0)
    var offer: FeedContentName?
    for frame in frames {
        do throws(FeedRefusal) {
            var event = try session.receive(frame)
            if case .offered(let manifest) = event {
                offer = manifest.name
                event = session.fetch { $0 == FeedDigest(of: [1]) ? [1] : nil }
            }
            if case .fetched(let pieces) = event, let name = offer {
                let digest = FeedDigest(of: pieces.map { FeedDigest(of: $0) })
                require(digest == name.digest, "a content is what was offered")
                session.acknowledge(.init(name: name, verdict: .applied, tableVersion: 1))
            }
        } catch {
            break
        }
        while let bytes = session.nextOutput(nowNs: 0) {
            var reader = FeedFrameReader { $0.isFromClient }
            bytes.withUnsafeBytes { reader.receive($0) }
            require((try? reader.next()) != nil, "a client says what clients say")
        }
    }
}
