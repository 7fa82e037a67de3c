// Configs that a fake daemon keeps: created, listed and removed as the real one does it, with rising versions.

import Synchronization

/// What a fake daemon was given to keep.
public final class FakeConfigs: Sendable {
    private struct Kept {
        var configs: [(id: String, version: Int, spec: String)] = []
        var nextVersion = 1_000
        var refusal: FakeDocker.Answer?
    }

    private let kept = Mutex(Kept())

    public var count: Int { kept.withLock { $0.configs.count } }
    public var specs: [String] { kept.withLock { $0.configs.map(\.spec) } }

    /// Every creation is answered so, until nil.
    public func refuse(_ answer: FakeDocker.Answer?) { kept.withLock { $0.refusal = answer } }

    /// A config that somebody else made.
    @discardableResult
    public func add(_ spec: String, in engine: FakeDocker) -> String {
        let id = kept.withLock { kept in
            kept.nextVersion += 1
            let id = "config-\(kept.nextVersion)"
            kept.configs.append((id, kept.nextVersion, spec))
            return id
        }
        engine.answer("/configs/" + id) { [weak self] request in
            guard request.method == "DELETE" else { return .failure(405, "no such method") }
            self?.remove(id)
            return .body(204, [])
        }
        return id
    }

    public func remove(_ id: String) { kept.withLock { $0.configs.removeAll { $0.id == id } } }

    fileprivate func create(_ request: FakeDocker.Request, in engine: FakeDocker) -> FakeDocker.Answer {
        if let refusal = kept.withLock({ $0.refusal }) { return refusal }
        guard request.method == "POST" else { return .failure(405, "no such method") }
        let id = add(String(decoding: request.body, as: UTF8.self), in: engine)
        engine.emit("{\"Type\":\"config\",\"Action\":\"create\"}")
        return .json("{\"ID\":\"\(id)\"}", status: 201)
    }

    fileprivate var list: String {
        let items = kept.withLock { kept in
            kept.configs.map { config in
                "{\"ID\":\"\(config.id)\",\"Version\":{\"Index\":\(config.version)},"
                    + "\"CreatedAt\":\"2026-11-29T10:00:00Z\",\"Spec\":\(config.spec)}"
            }
        }
        return "[\(items.joined(separator: ","))]"
    }
}

extension FakeDocker {
    /// Keeps configs from now on.
    public func keepConfigs() -> FakeConfigs {
        let configs = FakeConfigs()
        answer("/configs") { _ in .json(configs.list) }
        answer("/configs/create") { [weak self] request in
            self.map { configs.create(request, in: $0) } ?? .failure(500, "gone")
        }
        return configs
    }
}
