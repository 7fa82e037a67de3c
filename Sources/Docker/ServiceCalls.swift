// Reads single services and the names of secrets, and updates services where a setting allows it. One thread uses it;
// any may cancel it. It decides nothing: what to change is `Controller`'s business.

public final class ServiceCalls: Sendable {
    private let client: DockerClient

    /// - Parameter mayUpdate: without it an update is refused before anything is sent.
    public init(settings: DockerSettings, mayUpdate: Bool) {
        client = DockerClient(
            endpoint: settings.endpoint, callTimeoutMs: settings.callTimeoutMs, bodyLimit: 64 << 20,
            writes: mayUpdate ? .services : [])
    }

    /// All secrets of the Swarm, by name; metadata only.
    public func secrets() throws(DockerError) -> [SwarmSecret] {
        let body = try client.get(.secrets)
        do throws(JSONError) {
            let list = try DockerList(body, of: "secrets") { (reader) throws(JSONError) in try reader.swarmSecret() }
            return list.elements.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
        } catch {
            throw Self.badAnswer(error, .secrets)
        }
    }

    /// - Parameter id: as a list gave it.
    public func service(id: String) throws(DockerError) -> ServiceObject {
        let call = DockerCall.service(try Self.checked(id))
        let body = try client.get(call)
        do throws(JSONError) { return try ServiceObject(body) } catch { throw Self.badAnswer(error, call) }
    }

    /// Changes the service, unless somebody else did since it was read.
    public func update(_ service: ServiceObject, by edit: ServiceEdit) throws(DockerError) {
        let call = DockerCall.updateService(try Self.checked(service.id), version: service.version)
        let body: [UInt8]
        do throws(JSONError) { body = try service.spec(changedBy: edit) } catch { throw Self.badAnswer(error, call) }
        _ = try client.send(call, body: body)
    }

    /// Ends the call under way, and all later ones.
    public func cancel() { client.cancel() }

    public func disconnect() { client.disconnect() }

    private static func checked(_ id: String) throws(DockerError) -> DockerID {
        guard let id = DockerID(id) else {
            throw DockerError(kind: .badAnswer, call: "", message: "a service's id is none: \(id.prefix(80))")
        }
        return id
    }

    private static func badAnswer(_ error: JSONError, _ call: DockerCall) -> DockerError {
        DockerError(
            kind: .badAnswer, call: call.name,
            message: "the answer cannot be used: \(error.message) at byte \(error.offset)")
    }
}

extension DockerError {
    /// Somebody else changed the object since it was read. Engines told so by 500 before they had a status for it.
    public var isOutOfSequence: Bool { kind == .status(409) || message.contains("out of sequence") }

    /// Asking again would bring the same answer.
    public var isFinal: Bool {
        switch kind {
        case .status(let status): !isOutOfSequence && (400..<500).contains(status) && status != 408 && status != 429
        case .notAllowed: true
        default: false
        }
    }
}
