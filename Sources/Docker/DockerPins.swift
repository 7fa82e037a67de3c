// Writes pins to the Swarm and removes them. Each act has a client of its own, with no permission but this one, and
// none at all unless the settings give it; the watcher that reads pins can write nothing.

public import Discovery
import Model

public struct DockerPins: Sendable {
    private let settings: DockerSettings

    /// One call of an act; a cluster without a leader answers late or never.
    private static let callTimeoutMs = 10_000

    /// - Parameter settings: pins are written only if `writes` holds `.pins`.
    public init(_ settings: DockerSettings) { self.settings = settings }

    /// Makes the pin; then removes what it takes the place of: pins that are for no other proxy groups, and remains.
    public func write(_ pin: Pin) throws(DockerError) {
        let client = client()
        defer { client.disconnect() }
        let before = try parts(client)
        let pieces: [[UInt8]]
        do throws(PinError) { pieces = try PinParts.cut(PinDocument.encode(pin)) } catch {
            throw DockerError(kind: .tooLarge, call: "", message: "the configuration cannot be pinned: \(error)")
        }
        var made: [String] = []
        do throws(DockerError) {
            // The first one last: until it is there, nobody sees a pin.
            for index in pieces.indices.reversed() {
                let answer = try client.send(
                    .createConfig, body: body(pin, part: index + 1, of: pieces.count, pieces[index]))
                made.append(Self.id(in: answer))
            }
        } catch {
            for id in made { try? remove(id, client) }
            throw error
        }
        let scope = pin.configuration.clusters
        // The newest one counts, so an old one that stays is untidy and no more.
        for part in Self.removable(before, where: { $0.isWithin(scope) }) { try? remove(part.configID, client) }
    }

    /// Removes all pins that are for any of these proxy groups (nil: all groups), and remains of pins.
    /// - Returns: whether there was anything.
    public func remove(for clusters: [String]?) throws(DockerError) -> Bool {
        let client = client()
        defer { client.disconnect() }
        let found = Self.removable(try parts(client), where: { $0.covers(anyOf: clusters) })
        for part in found { try remove(part.configID, client) }
        return !found.isEmpty
    }

    private func client() -> DockerClient {
        DockerClient(
            endpoint: settings.endpoint, callTimeoutMs: min(settings.callTimeoutMs, Self.callTimeoutMs),
            bodyLimit: settings.answerLimit, writes: settings.writes.intersection(.pins))
    }

    // MARK: Configs

    private func parts(_ client: DockerClient) throws(DockerError) -> [PinPart] {
        // Who may not write need not look.
        guard client.writes.contains(.pins) else {
            throw DockerError(
                kind: .notAllowed, call: DockerCall.createConfig.name, message: "not allowed by the settings")
        }
        let body = try client.get(.configs)
        do throws(JSONError) {
            let configs = try DockerList(body, of: "configs") { (reader) throws(JSONError) in
                try reader.labelledConfig(prefix: settings.labelPrefix)
            }
            return configs.elements.compactMap { config in
                if case .pinPart(let part) = config { part } else { nil }
            }
        } catch {
            throw DockerError(
                kind: .badAnswer, call: DockerCall.configs.name,
                message: "the answer is no valid JSON: \(error.message)")
        }
    }

    /// The parts of pins of which `isOurs` is true or which cannot be read, the first part of each before the others:
    /// without it they are no pin any more.
    private static func removable(
        _ parts: [PinPart], where isOurs: (PinnedConfiguration) -> Bool
    ) -> [PinPart] {
        let others = Set(PinParts.joined(parts).pins.filter { !isOurs($0.configuration) }.map(\.id))
        return parts.filter { !others.contains($0.pinID) }.sorted {
            (PinPart.numbers($0.place)?.index ?? 0, $0.configID) < (PinPart.numbers($1.place)?.index ?? 0, $1.configID)
        }
    }

    private func remove(_ configID: String, _ client: DockerClient) throws(DockerError) {
        guard let id = DockerID(configID) else { return }
        do throws(DockerError) {
            _ = try client.send(.removeConfig(id), body: nil)
        } catch {
            // Another controller was faster.
            if case .status(404) = error.kind { return }
            throw error
        }
    }

    private func body(_ pin: Pin, part: Int, of count: Int, _ content: [UInt8]) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("Name", "interlock-pin-\(pin.id)-\(part)")
            writer.object("Labels") { writer in
                writer.field(settings.labelPrefix + PinParts.label, pin.id)
                writer.field(settings.labelPrefix + PinParts.placeLabel, "\(part)/\(count)")
            }
            writer.field("Data", Base64.encode(content))
        }
        return writer.bytes
    }

    private static func id(in answer: [UInt8]) -> String {
        var reader = JSONReader(answer)
        var id = ""
        try? reader.object { (reader, name) throws(JSONError) in
            if name == "ID" { id = try reader.stringOrNull() } else { try reader.skip() }
        }
        return id
    }
}
