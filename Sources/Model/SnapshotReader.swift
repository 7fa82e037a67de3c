// Puts a snapshot together from pieces. It holds what pieces say of each other: that they come in order, that nothing
// is there twice, that what is named is there, and that none is missing.

struct SnapshotReader {
    private var snapshot = Snapshot()
    private var secrets = SecretFiles()
    /// Of the services, by id.
    private var positions: [String: Int] = [:]
    private var kind: SnapshotCodec.Kind?
    /// By the number of the kind: what the counts say, and what was read.
    private var told: [Int] = .init(repeating: 0, count: 256)
    private var found: [Int] = .init(repeating: 0, count: 256)
    /// The service that upstreams are read of.
    private var service = -1
    /// The entry port that hosts are read of.
    private var stream = 0
    private var lastName: String?

    mutating func read(_ piece: SnapshotPiece) throws(ByteDecodingError) {
        var decoder = ByteDecoder(piece.bytes)
        guard piece.bytes.count <= SnapshotCodec.pieceLimit else {
            throw decoder.error("is larger than \(SnapshotCodec.pieceLimit) bytes")
        }
        let code = try decoder.byte()
        guard let kind = SnapshotCodec.Kind(rawValue: code) else {
            throw decoder.error("has records of the unknown kind \(code)")
        }
        let format = try decoder.byte()
        guard format == SnapshotCodec.format else {
            throw decoder.error("has the format \(format); this version reads \(SnapshotCodec.format)")
        }
        try enter(kind, decoder)
        guard !decoder.isAtEnd else { throw decoder.error("has no records") }
        if kind == .counts || kind == .secretCounts {
            for counted in SnapshotCodec.Kind.counted(by: kind) {
                told[Int(counted.rawValue)] = try decoder.narrow(Int.self)
            }
            guard decoder.isAtEnd else { throw decoder.error("has something behind its counts") }
            return
        }
        let slot = Int(kind.rawValue)
        var isFirst = true
        while !decoder.isAtEnd {
            guard found[slot] < told[slot] else { throw decoder.error("has more \(kind) than were counted") }
            found[slot] += 1
            try readRecord(kind, isFirst: isFirst, &decoder)
            isFirst = false
        }
    }

    func finish(_ order: SnapshotOrder) throws(SnapshotCodecError) -> (snapshot: Snapshot, secrets: SecretFiles) {
        guard found[Int(SnapshotCodec.Kind.counts.rawValue)] == 1 else {
            throw SnapshotCodecError(piece: nil, reason: "there is no piece that counts the others")
        }
        for kind in SnapshotCodec.Kind.allCases where kind != .counts && kind != .secretCounts {
            let (told, found) = (told[Int(kind.rawValue)], found[Int(kind.rawValue)])
            guard told == found else {
                throw SnapshotCodecError(piece: nil, reason: "of \(told) \(kind) there are \(found)")
            }
        }
        var snapshot = snapshot
        snapshot.order = order
        if snapshot.endpoints.isEmpty {
            snapshot.endpoints = .init(repeating: [], count: snapshot.configuration.services.count)
        }
        return (snapshot, secrets)
    }

    // MARK: Order

    private mutating func enter(_ next: SnapshotCodec.Kind, _ decoder: ByteDecoder) throws(ByteDecodingError) {
        let isCount = next == .counts || next == .secretCounts
        if let kind, isCount ? kind.rawValue >= next.rawValue : kind.rawValue > next.rawValue {
            throw decoder.error("has \(next) behind \(kind)")
        }
        let family: SnapshotCodec.Kind = next.isSecret ? .secretCounts : .counts
        if isCount {
            found[Int(next.rawValue)] = 1
        } else if found[Int(family.rawValue)] == 0 {
            throw decoder.error("has \(next) that nobody counted")
        }
        if kind != next { lastName = nil }
        kind = next
    }

    // MARK: Records

    private mutating func readRecord(
        _ kind: SnapshotCodec.Kind, isFirst: Bool, _ decoder: inout ByteDecoder
    ) throws(ByteDecodingError) {
        switch kind {
        case .counts, .secretCounts: throw decoder.error("has counts among its records")
        case .services: try readService(&decoder)
        case .routes: try readRoute(&decoder)
        case .hosts: try readHost(&decoder)
        case .streams: try readStream(&decoder)
        case .streamHosts: try readStreamHost(&decoder)
        case .upstreams: try readUpstream(isFirst: isFirst, &decoder)
        case .diagnostics: snapshot.diagnostics.append(try decoder.diagnostic())
        case .secrets:
            let name = try readName(&decoder)
            try keep(decoder.blob(), name, in: \.secrets, decoder)
        case .certificates:
            let name = try readName(&decoder)
            try keep(decoder.blob(), name, in: \.certificates, decoder)
        case .failures:
            let name = try readName(&decoder)
            try keep(decoder.text(), name, in: \.failures, decoder)
        case .defaults: try readDefault(&decoder)
        }
    }

    private mutating func readService(_ decoder: inout ByteDecoder) throws(ByteDecodingError) {
        let service = try decoder.service()
        if let last = snapshot.configuration.services.last, !last.precedes(service) {
            throw decoder.error("has the service \(service.name) out of order or twice")
        }
        guard positions.updateValue(snapshot.configuration.services.count, forKey: service.id) == nil else {
            throw decoder.error("has the service id \(service.id) twice")
        }
        snapshot.configuration.services.append(service)
    }

    private mutating func readRoute(_ decoder: inout ByteDecoder) throws(ByteDecodingError) {
        let route = try decoder.route(positions)
        if let last = snapshot.configuration.routes.last, !last.precedes(route) {
            throw decoder.error("has the route \(route.host) \(route.pathPrefix) out of order or twice")
        }
        snapshot.configuration.routes.append(route)
    }

    private mutating func readHost(_ decoder: inout ByteDecoder) throws(ByteDecodingError) {
        let host = try decoder.hostOptions(positions)
        if let last = snapshot.configuration.hosts.last, last.host >= host.host {
            throw decoder.error("has the host \(host.host) out of order or twice")
        }
        snapshot.configuration.hosts.append(host)
    }

    private mutating func readStream(_ decoder: inout ByteDecoder) throws(ByteDecodingError) {
        let port = try decoder.streamPort(positions)
        if let last = snapshot.configuration.streams.last, last.port >= port.port {
            throw decoder.error("has the port \(port.port) out of order or twice")
        }
        snapshot.configuration.streams.append(port)
    }

    private mutating func readStreamHost(_ decoder: inout ByteDecoder) throws(ByteDecodingError) {
        let port = try decoder.narrow(UInt16.self)
        let host = try decoder.streamHost(positions)
        let count = snapshot.configuration.streams.count
        while stream < count, snapshot.configuration.streams[stream].port < port { stream += 1 }
        guard stream < count, snapshot.configuration.streams[stream].port == port else {
            throw decoder.error("has a host of the port \(port), which is not there or was done with")
        }
        if let last = snapshot.configuration.streams[stream].hosts.last, last.host >= host.host {
            throw decoder.error("has the host \(host.host) of port \(port) out of order or twice")
        }
        snapshot.configuration.streams[stream].hosts.append(host)
    }

    /// - Parameter isFirst: of its piece, which then has to name the service.
    private mutating func readUpstream(isFirst: Bool, _ decoder: inout ByteDecoder) throws(ByteDecodingError) {
        if service < 0 {
            snapshot.endpoints = .init(repeating: [], count: snapshot.configuration.services.count)
        }
        let id = try decoder.text()
        if !id.isEmpty {
            guard let position = positions[id] else {
                throw decoder.error("has an upstream of the service \(id), which is not there")
            }
            guard position > service || isFirst && position == service else {
                throw decoder.error("has upstreams of the service \(id) out of order")
            }
            service = position
        } else if isFirst {
            throw decoder.error("has an upstream of no service")
        }
        let upstream = try decoder.upstream()
        if let last = snapshot.endpoints[service].last, !last.id.isBefore(upstream.id) {
            throw decoder.error("has the upstream \(upstream.id) out of order or twice")
        }
        snapshot.endpoints[service].append(upstream)
    }

    // MARK: Secrets

    private mutating func readDefault(_ decoder: inout ByteDecoder) throws(ByteDecodingError) {
        let code = try decoder.byte()
        guard let part = SecretDefault(rawValue: code) else {
            throw decoder.error("has a default of the unknown kind \(code)")
        }
        let later = SecretDefault.allCases.filter { $0.rawValue >= code }
        guard later.allSatisfy({ secrets[$0] == nil }) else {
            throw decoder.error("has defaults out of order or twice")
        }
        secrets[part] = try decoder.blob()
    }

    private mutating func readName(_ decoder: inout ByteDecoder) throws(ByteDecodingError) -> String {
        let name = try decoder.text()
        if let lastName, !lastName.isBefore(name) { throw decoder.error("has names out of order or twice") }
        lastName = name
        return name
    }

    /// Names that are equal and yet have other bytes (Unicode) would take each other's place.
    private mutating func keep<Value>(
        _ value: Value, _ name: String, in table: WritableKeyPath<SecretFiles, [String: Value]>, _ decoder: ByteDecoder
    ) throws(ByteDecodingError) {
        guard secrets[keyPath: table].updateValue(value, forKey: name) == nil else {
            throw decoder.error("has a name twice")
        }
    }
}
