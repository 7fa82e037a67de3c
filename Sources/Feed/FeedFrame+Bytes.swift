// Frames to bytes and back. Every frame that can be written is read back equal; everything else is nil.

internal import Model

extension FeedFrame {
    /// The whole frame, head and payload.
    var encoded: [UInt8] {
        var writer = FeedWriter()
        writer.add(UInt32(0))
        writer.add(type.rawValue)
        write(to: &writer)
        var head = FeedWriter()
        head.add(UInt32(clamping: writer.bytes.count - FeedLimits.headSize))
        writer.bytes.replaceSubrange(..<4, with: head.bytes)
        return writer.bytes
    }

    private func write(to writer: inout FeedWriter) {
        switch self {
        case .hello(let hello): hello.write(to: &writer)
        case .welcome(let welcome): welcome.write(to: &writer)
        case .manifest(let manifest): manifest.write(to: &writer)
        case .want(let digests):
            writer.bytes.reserveCapacity(FeedLimits.headSize + 4 + digests.count * FeedDigest.size)
            writer.add(UInt32(clamping: digests.count))
            for digest in digests { writer.add(digest) }
        case .piece(let bytes): writer.bytes += bytes
        case .acknowledgement(let acknowledgement): acknowledgement.write(to: &writer)
        case .heartbeat(let isCurrent): writer.add(UInt8(isCurrent ? 1 : 0))
        case .refusal(let refusal): refusal.write(to: &writer)
        }
    }

    /// Reads a payload of that type.
    /// - Returns: nil if it is not exactly what such a frame holds.
    init?(_ type: FeedFrameType, payload: ArraySlice<UInt8>) {
        guard payload.count <= type.limit else { return nil }
        var reader = FeedReader(payload)
        switch type {
        case .hello:
            guard let hello = FeedHello(&reader) else { return nil }
            self = .hello(hello)
            // What another version says beyond its number is not known here.
            if hello.version != FeedLimits.version { return }
        case .welcome:
            guard let welcome = FeedWelcome(&reader) else { return nil }
            self = .welcome(welcome)
            if welcome.version != FeedLimits.version { return }
        case .manifest:
            guard let manifest = FeedManifest(&reader) else { return nil }
            self = .manifest(manifest)
        case .want:
            guard let digests = Self.digests(&reader) else { return nil }
            self = .want(digests)
        case .piece:
            guard !payload.isEmpty else { return nil }
            self = .piece(Array(payload))
            return
        case .acknowledgement:
            guard let acknowledgement = FeedAcknowledgement(&reader) else { return nil }
            self = .acknowledgement(acknowledgement)
        case .heartbeat:
            guard let flag = reader.flag() else { return nil }
            self = .heartbeat(isCurrent: flag)
        case .refusal:
            guard let refusal = FeedRefusal(&reader) else { return nil }
            self = .refusal(refusal)
        }
        guard reader.isAtEnd else { return nil }
    }

    private static func digests(_ reader: inout FeedReader) -> [FeedDigest]? {
        guard let count = reader.number(UInt32.self), count <= FeedLimits.pieceCount,
            reader.remaining == Int(count) * FeedDigest.size
        else { return nil }
        return (0..<count).compactMap { _ in reader.digest() }
    }
}

extension FeedReader {
    fileprivate mutating func flag() -> Bool? {
        switch number(UInt8.self) {
        case 0: false
        case 1: true
        default: nil
        }
    }

    fileprivate mutating func order() -> SnapshotOrder? {
        guard let cluster = text(limit: FeedLimits.nameSize), let version = number(UInt64.self),
            let listedAtNs = number(UInt64.self)
        else { return nil }
        return SnapshotOrder(clusterID: cluster, version: version, listedAtNs: listedAtNs)
    }

    fileprivate mutating func contentName() -> FeedContentName? {
        guard let order = order(), let digest = digest() else { return nil }
        return FeedContentName(order: order, digest: digest)
    }
}

extension FeedWriter {
    fileprivate mutating func add(_ order: SnapshotOrder) {
        add(order.clusterID, limit: FeedLimits.nameSize)
        add(order.version)
        add(order.listedAtNs)
    }

    fileprivate mutating func add(_ name: FeedContentName) {
        add(name.order)
        add(name.digest)
    }
}

extension FeedHello {
    fileprivate func write(to writer: inout FeedWriter) {
        writer.add(version)
        writer.add(name, limit: FeedLimits.nameSize)
        writer.add(cluster, limit: FeedLimits.nameSize)
        writer.add(UInt8(held == nil ? 0 : 1))
        if let held { writer.add(held) }
        writer.add(tableVersion)
    }

    fileprivate init?(_ reader: inout FeedReader) {
        guard let version = reader.number(UInt16.self) else { return nil }
        self.version = version
        guard version == FeedLimits.version else { return }
        guard let name = reader.text(limit: FeedLimits.nameSize), let cluster = reader.text(limit: FeedLimits.nameSize),
            let hasContent = reader.flag()
        else { return nil }
        self.name = name
        self.cluster = cluster
        if hasContent {
            guard let held = reader.contentName() else { return nil }
            self.held = held
        }
        guard let tableVersion = reader.number(UInt64.self) else { return nil }
        self.tableVersion = tableVersion
    }
}

extension FeedWelcome {
    fileprivate func write(to writer: inout FeedWriter) {
        writer.add(version)
        writer.add(controllerID, limit: FeedLimits.nameSize)
        writer.add(UInt8(isCurrent ? 1 : 0))
        writer.add(UInt8(order == nil ? 0 : 1))
        if let order { writer.add(order) }
    }

    fileprivate init?(_ reader: inout FeedReader) {
        guard let version = reader.number(UInt16.self) else { return nil }
        self.version = version
        guard version == FeedLimits.version else { return }
        guard let controllerID = reader.text(limit: FeedLimits.nameSize), let isCurrent = reader.flag(),
            let hasContent = reader.flag()
        else { return nil }
        self.controllerID = controllerID
        self.isCurrent = isCurrent
        if hasContent {
            guard let order = reader.order() else { return nil }
            self.order = order
        }
    }
}

extension FeedManifest {
    fileprivate func write(to writer: inout FeedWriter) {
        writer.bytes.reserveCapacity(512 + entries.count * FeedLimits.entrySize)
        writer.add(order)
        writer.add(UInt32(clamping: entries.count))
        for entry in entries {
            writer.add(entry.digest)
            writer.add(entry.size)
        }
    }

    fileprivate init?(_ reader: inout FeedReader) {
        guard let order = reader.order(), let count = reader.number(UInt32.self), count <= FeedLimits.pieceCount,
            reader.remaining == Int(count) * FeedLimits.entrySize
        else { return nil }
        self.order = order
        entries = []
        entries.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let digest = reader.digest(), let size = reader.number(UInt32.self), size > 0,
                size <= FeedLimits.pieceSize
            else { return nil }
            entries.append(Entry(digest: digest, size: size))
        }
    }
}

extension FeedAcknowledgement {
    fileprivate func write(to writer: inout FeedWriter) {
        writer.add(name)
        writer.add(verdict.rawValue)
        writer.add(tableVersion)
        writer.add(reason, limit: FeedLimits.reasonSize)
    }

    fileprivate init?(_ reader: inout FeedReader) {
        guard let name = reader.contentName(), let verdict = reader.number(UInt8.self).flatMap(Verdict.init),
            let tableVersion = reader.number(UInt64.self), let reason = reader.text(limit: FeedLimits.reasonSize)
        else { return nil }
        self.init(name: name, verdict: verdict, tableVersion: tableVersion, reason: reason)
    }
}

extension FeedRefusal {
    fileprivate func write(to writer: inout FeedWriter) {
        writer.add(code.rawValue)
        writer.add(oldestVersion)
        writer.add(newestVersion)
        writer.add(reason, limit: FeedLimits.reasonSize)
    }

    fileprivate init?(_ reader: inout FeedReader) {
        guard let code = reader.number(UInt8.self), let oldest = reader.number(UInt16.self),
            let newest = reader.number(UInt16.self), let reason = reader.text(limit: FeedLimits.reasonSize)
        else { return nil }
        // A later version may have further reasons.
        self.init(Code(rawValue: code) ?? .protocolBroken, reason)
        oldestVersion = oldest
        newestVersion = newest
    }
}
