// Where pieces begin and end, and what becomes of bytes that nobody wrote: they are refused, whatever they are.

import Model
import Support
import Testing

// MARK: Borders

/// How much of `changed` a reader who has `old` does not have yet.
private func news(_ old: Snapshot, _ changed: Snapshot) -> Int {
    Set(SnapshotCodec.pieces(of: changed)).subtracting(SnapshotCodec.pieces(of: old)).count
}

@Test("one changed service changes three pieces of hundreds")
func changeIsSmall() {
    let snapshot = plainSnapshot(3000)
    let pieces = Set(SnapshotCodec.pieces(of: snapshot))
    #expect(pieces.count > 100 && pieces.count < 300, "\(pieces.count) pieces")
    for index in [0, 1, 1717, 2999] {
        var changed = snapshot
        changed.configuration.services[index].options.retries = 3
        changed.configuration.routes[index].requiresTLS = true
        changed.endpoints[index][0] = Upstream(id: "another", endpoint: endpoint("10.9.9.9:80"))
        #expect(Set(SnapshotCodec.pieces(of: changed)).subtracting(pieces).count == 3)
        changed.configuration.routes[index] = snapshot.configuration.routes[index]
        changed.endpoints[index] = snapshot.endpoints[index]
        #expect(Set(SnapshotCodec.pieces(of: changed)).subtracting(pieces).count == 1)
    }
}

@Test("a service more or less changes few pieces", arguments: [0, 1, 17, 300, 999])
func movingIsSmall(_ index: Int) {
    let snapshot = plainSnapshot(1000)
    var less = snapshot
    less.configuration.services.remove(at: index)
    less.endpoints.remove(at: index)
    less.configuration.routes.remove(at: index)
    for route in less.configuration.routes.indices { less.configuration.routes[route].services = [route] }
    #expect(less.problems() == [])
    // Its own pieces, those behind them if it was a border, and the counts.
    #expect(news(snapshot, less) <= 7)
    #expect(news(less, snapshot) <= 7)
}

@Test("one task of a service of very many changes one piece or two")
func manyTasks() throws {
    let snapshot = plainSnapshot(3, tasks: 5000)
    #expect(SnapshotCodec.pieces(of: snapshot).count > 150)
    var changed = snapshot
    changed.endpoints[1].remove(at: 3000)
    #expect(news(snapshot, changed) <= 3)
    let pieces = SnapshotCodec.pieces(of: changed)
    #expect(try SnapshotCodec.decode(pieces, order: changed.order).snapshot == changed)
}

@Test("no piece is beyond the limit, however large its records are")
func piecesAreBounded() throws {
    var secrets = SecretFiles()
    for index in 0..<30 {
        secrets.secrets["file\(index)"] = .init(repeating: 7, count: 1 << (index % 3 == 0 ? 20 : 18))
    }
    var snapshot = plainSnapshot(40)
    let message = String(repeating: "m", count: 1 << 16)
    snapshot.diagnostics = (0..<40).map { _ in Diagnostic(severity: .error, service: "same", message: message) }
    let pieces = SnapshotCodec.pieces(of: snapshot) + SnapshotCodec.pieces(of: secrets)
    #expect(pieces.allSatisfy { $0.bytes.count < SnapshotCodec.pieceLimit })
    let read = try SnapshotCodec.decode(pieces, order: snapshot.order)
    #expect(read.snapshot == snapshot && read.secrets == secrets)
}

@Test("what no sound snapshot has is left out, and nothing traps")
func unsoundSnapshots() throws {
    var snapshot = richSnapshot()
    snapshot.configuration.routes[0].services = [-1, 0, 3, .max]
    snapshot.endpoints.append([Upstream(id: "x", endpoint: endpoint("1.2.3.4:5"))])
    let read = try SnapshotCodec.decode(SnapshotCodec.pieces(of: snapshot), order: .init()).snapshot
    #expect(read.configuration.routes[0].services == [0])
    #expect(read.endpoints.count == 3)
}

// MARK: Bytes of others

private func decode(_ pieces: [SnapshotPiece]) -> Result<Snapshot, SnapshotCodecError> {
    do throws(SnapshotCodecError) {
        return .success(try SnapshotCodec.decode(pieces, order: .init()).snapshot)
    } catch {
        return .failure(error)
    }
}

private func isRefused(_ pieces: [SnapshotPiece]) -> Bool {
    if case .failure = decode(pieces) { true } else { false }
}

/// What was written by the real writer, in one piece each, before it is spoilt.
private let good = SnapshotCodec.pieces(of: richSnapshot()) + SnapshotCodec.pieces(of: richSecrets())

@Test("a piece that is cut off anywhere is refused")
func truncation() {
    for index in good.indices {
        for count in 0..<good[index].bytes.count {
            var pieces = good
            pieces[index].bytes.removeLast(pieces[index].bytes.count - count)
            #expect(isRefused(pieces), "piece \(index) after \(count) bytes")
        }
    }
}

@Test("a piece with something behind it is refused")
func excess() {
    for index in good.indices {
        for byte in [0, 1, 255] as [UInt8] {
            var pieces = good
            pieces[index].bytes.append(byte)
            #expect(isRefused(pieces), "piece \(index) with \(byte)")
        }
    }
}

@Test("any byte may be another: it is refused, or it is another sound text of bytes")
func flips() throws {
    var accepted = 0
    for index in good.indices {
        for offset in good[index].bytes.indices {
            for change in [1, 0x80, 0xFF] as [UInt8] {
                var pieces = good
                pieces[index].bytes[offset] ^= change
                guard let read = try? SnapshotCodec.decode(pieces, order: .init()) else { continue }
                accepted += 1
                let again = SnapshotCodec.pieces(of: read.snapshot) + SnapshotCodec.pieces(of: read.secrets)
                let other = try SnapshotCodec.decode(again, order: .init())
                #expect(other.snapshot == read.snapshot && other.secrets == read.secrets)
                #expect(read.snapshot != richSnapshot() || read.secrets != richSecrets(), "two spellings of one thing")
            }
        }
    }
    #expect(accepted > 100)
}

@Test("pieces that are missing, doubled, or out of order are refused")
func shuffles() {
    for index in good.indices {
        var pieces = good
        let piece = pieces.remove(at: index)
        // Without their counts and without themselves, secrets are withheld; that is no error.
        #expect(isRefused(pieces), "without \(piece)")
        for place in 0...pieces.count where place != index {
            var moved = pieces
            moved.insert(piece, at: place)
            // Defaults may not move either, nor may anything of one kind: records ascend.
            #expect(isRefused(moved), "\(piece) at \(place)")
        }
        #expect(isRefused(Array(good[...index]) + Array(good[index...])), "\(piece) twice")
    }
    #expect(!isRefused(SnapshotCodec.pieces(of: richSnapshot())), "secrets may be withheld")
}

/// Pieces made by hand.
struct HostileCase: Sendable, CustomStringConvertible {
    let description: String
    let pieces: [[UInt8]]
    /// A part of the reason.
    let reason: String

    init(_ description: String, _ pieces: [[UInt8]], _ reason: String) {
        self.description = description
        self.pieces = pieces
        self.reason = reason
    }
}

private func counts(
    services: UInt8 = 0, routes: UInt8 = 0, hosts: UInt8 = 0, streams: UInt8 = 0, streamHosts: UInt8 = 0,
    upstreams: UInt8 = 0, diagnostics: UInt8 = 0
) -> [UInt8] {
    [1, SnapshotCodec.format, services, routes, hosts, streams, streamHosts, upstreams, diagnostics]
}

private func text(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + text.utf8 }

private func service(_ id: String, _ name: String) -> [UInt8] {
    text(id) + text(name) + [0, 0, 3, 1, 0] + .init(repeating: 0, count: 17)
}

private func services(_ records: [UInt8]...) -> [UInt8] { [2, SnapshotCodec.format] + records.flatMap { $0 } }

private func route(_ path: String, _ services: [String], head: [UInt8] = [1, 1, 97]) -> [UInt8] {
    head + text(path) + [0, 0, 1, 0, 0, 1, 0, 0, UInt8(services.count)] + services.flatMap { text($0) }
}

private func routes(_ records: [UInt8]...) -> [UInt8] { [3, SnapshotCodec.format] + records.flatMap { $0 } }

private func upstreams(_ records: [UInt8]...) -> [UInt8] { [7, SnapshotCodec.format] + records.flatMap { $0 } }

private func upstream(_ service: String, _ id: String, _ address: [UInt8] = [1, 1]) -> [UInt8] {
    text(service) + text(id) + address + [80, 2]
}

private let a = service("1", "a")
private let b = service("2", "b")
private let huge: [UInt8] = .init(repeating: 0xFF, count: 9) + [1]

/// ::ffff:10.0.0.1, its low half.
private let ipv4InIPv6: [UInt8] = [0x81, 0x80, 0x80, 0xD0, 0xF0, 0xFF, 0x3F]

private let hostile: [HostileCase] = [
    .init("nothing", [], "no piece that counts"), .init("an empty piece", [[]], "ends too soon"),
    .init("a kind alone", [[1]], "ends too soon"), .init("no kind", [[0, 1]], "unknown kind 0"),
    .init("a kind of tomorrow", [counts(), [9, 1, 0]], "unknown kind 9"),
    .init("a secret kind of tomorrow", [counts(), [69, 1, 0]], "unknown kind 69"),
    .init("another format", [[1, 2, 0]], "format 2; this version reads 1"),
    .init("another format later", [counts(services: 1), [2, 0] + a], "format 0"),
    .init("counts twice", [counts(), counts()], "counts behind counts"),
    .init("counts too short", [[1, 1, 0, 0]], "ends too soon"),
    .init("more behind the counts", [counts() + [0]], "behind its counts"),
    .init("no counts", [services(a)], "nobody counted"), .init("no records", [counts(), [2, 1]], "no records"),
    .init("secrets that nobody counted", [counts(), [65, 1, 1, 97, 0]], "nobody counted"),
    .init("fewer than counted", [counts(services: 2), services(a)], "of 2 services there are 1"),
    .init("more than counted", [counts(services: 1), services(a, b)], "more services than"),
    .init("too many are counted", [[1, 1] + huge + [0, 0, 0, 0, 0, 0]], "too large"),
    .init("a service twice", [counts(services: 2), services(a, a)], "out of order or twice"),
    .init("a service twice in two pieces", [counts(services: 2), services(a), services(a)], "out of order or twice"),
    .init("services out of order", [counts(services: 2), services(b, a)], "out of order or twice"),
    .init("an id twice", [counts(services: 2), services(a, service("1", "b"))], "service id 1 twice"),
    .init("an empty id", [counts(services: 1), services(service("", "a"))], "without an id"),
    .init("a text beyond the end", [counts(services: 1), [2, 1, 200, 1, 97]], "counts 200"),
    .init("a text beyond all ends", [counts(services: 1), [2, 1] + huge], "cannot hold"),
    .init("a number of eleven bytes", [counts(services: 1), [2, 1] + .init(repeating: 0xFF, count: 11)], "64 bits"),
    .init("a number with bytes to spare", [counts(services: 1), [2, 1, 0x81, 0]], "to spare"),
    .init("a text that is none", [counts(services: 1), services([1, 0xFF] + a.dropFirst(2))], "not UTF-8"),
    .init("a surrogate", [counts(services: 1), services([3, 0xED, 0xA0, 0x80] + a.dropFirst(2))], "not UTF-8"),
    .init("a flag of two", [counts(services: 1), services(a.dropLast() + [2])], "neither yes nor no"),
    .init(
        "a negative number of tasks", [counts(services: 1), services(a.prefix(8) + [1, 1] + a.suffix(17))], "bounds"),
    .init(
        "a timeout beyond all years",
        [counts(services: 1), services(a.prefix(9) + [1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1] + a.suffix(16))],
        "bounds"),
    .init("a source of tomorrow", [counts(services: 1), services(text("1") + text("a") + [0, 0, 9])], "code 9"),
    .init("a route to nobody", [counts(services: 1, routes: 1), services(a), routes(route("/", ["9"]))], "service 9"),
    .init(
        "a service of a route twice", [counts(services: 1, routes: 1), services(a), routes(route("/", ["1", "1"]))],
        "out of order or twice"),
    .init(
        "services of a route out of order",
        [counts(services: 2, routes: 1), services(a, b), routes(route("/", ["2", "1"]))], "out of order or twice"),
    .init(
        "a route twice",
        [counts(services: 1, routes: 2), services(a), routes(route("/", ["1"]), route("/", ["1"]))], "twice"),
    .init(
        "a host of no kind", [counts(services: 1, routes: 1), services(a), routes(route("/", ["1"], head: [7]))],
        "unknown kind 7"),
    .init("a port beyond all", [counts(streams: 1), [5, 1, 0x80, 0x80, 4, 0, 1, 0]], "too large"),
    .init("a host of no port", [counts(streamHosts: 1), [6, 1, 80, 3, 0, 1, 0, 0]], "port 80"),
    .init(
        "an upstream of nobody", [counts(services: 1, upstreams: 1), services(a), upstreams(upstream("9", "x"))],
        "service 9"),
    .init(
        "an upstream without its service",
        [counts(services: 1, upstreams: 1), services(a), upstreams(upstream("", "x"))],
        "no service"),
    .init(
        "an upstream twice",
        [counts(services: 1, upstreams: 2), services(a), upstreams(upstream("1", "x"), upstream("", "x"))], "twice"),
    .init(
        "a service named again",
        [counts(services: 1, upstreams: 2), services(a), upstreams(upstream("1", "x"), upstream("1", "y"))], "order"),
    .init(
        "services of upstreams out of order",
        [counts(services: 2, upstreams: 2), services(a, b), upstreams(upstream("2", "x"), upstream("1", "y"))],
        "out of order"),
    .init(
        "IPv4 beyond 32 bits",
        [
            counts(services: 1, upstreams: 1), services(a),
            upstreams(upstream("1", "x", [1, 0x80, 0x80, 0x80, 0x80, 0x10])),
        ], "too large"),
    .init(
        "IPv4 in IPv6",
        [
            counts(services: 1, upstreams: 1), services(a),
            upstreams(upstream("1", "x", [0, 0, 0, 0, 0, 0, 0, 0, 0] + ipv4InIPv6)),
        ], "IPv4 address in the form of IPv6"),
    .init("a default of tomorrow", [counts(), [64, 1, 0, 0, 1, 0], [67, 1, 9, 0]], "unknown kind 9"),
    .init(
        "defaults out of order", [counts(), [64, 1, 0, 0, 2, 0], [67, 1, 2, 0], [67, 1, 1, 0]],
        "out of order or twice"),
    .init("a secret twice", [counts(), [64, 1, 2, 0, 0, 0], [65, 1, 1, 97, 0, 1, 97, 0]], "out of order or twice"),
    .init(
        "names that Unicode calls equal",
        [counts(), [64, 1, 2, 0, 0, 0], [65, 1, 3, 0x65, 0xCC, 0x81, 0, 2, 0xC3, 0xA9, 0]], "a name twice"),
]

@Test("pieces that nobody wrote are refused with the reason", arguments: hostile)
func hostilePieces(_ row: HostileCase) {
    switch decode(row.pieces.map { SnapshotPiece(bytes: $0) }) {
    case .success: Issue.record("accepted")
    case .failure(let error): #expect(error.description.contains(row.reason), "\(error)")
    }
}

@Test("what the hand-made pieces are spoilt from is sound")
func soundPieces() throws {
    let pieces = [
        counts(services: 2, routes: 1, streams: 1, streamHosts: 1, upstreams: 2), services(a, b),
        routes(route("/", ["1", "2"])), [5, 1, 80, 0, 1, 0], [6, 1, 80, 3, 1, 1, 50, 1, 0, 0],
        upstreams(upstream("1", "x"), upstream("", "y")),
    ]
    #expect(throws: Never.self) { try SnapshotCodec.decode(pieces.map { SnapshotPiece(bytes: $0) }, order: .init()) }
}

@Test("a piece beyond the limit is refused unread")
func oversize() {
    let piece = SnapshotPiece(bytes: [1, 1] + .init(repeating: 0, count: SnapshotCodec.pieceLimit))
    #expect(throws: SnapshotCodecError.self) { try SnapshotCodec.decode([piece], order: .init()) }
}
