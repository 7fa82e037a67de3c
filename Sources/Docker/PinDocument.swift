// A pin as JSON, for Docker's configs and for a file: people can read it, and a reader of another version refuses it.
// Reading is strict where a guess could route wrongly (a service twice, a field missing), and total: whatever the bytes
// are, the worst is an error.

public import Discovery
import Model

/// Bytes that are no pin, and why: half a sentence.
public struct PinError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(description: String) { self.description = description }
}

public enum PinDocument {
    /// The one format there is.
    static let version = 1
    /// Services of one pin; ten times what a large Swarm has.
    static let serviceLimit = 200_000
    /// Of a configuration: nobody gets there by changing one.
    static let numberLimit = 1_000_000_000
    private static let clusterLimit = 10_000

    public static func encode(_ pin: Pin) -> [UInt8] {
        var writer = JSONWriter()
        writer.object { writer in
            writer.field("interlock_pin", version)
            writer.field("id", pin.id)
            writer.field("number", pin.number)
            writer.field("at_ns", pin.atNs)
            writer.field("controller", pin.controller)
            writer.field("cause", pin.cause)
            writer.field("node", pin.nodeID)
            if let clusters = pin.configuration.clusters { writer.field("clusters", clusters) }
            writer.array("services") { writer in
                for service in pin.configuration.services { writer.pinnedService(service) }
            }
        }
        return writer.bytes
    }

    public static func decode(_ bytes: [UInt8]) throws(PinError) -> Pin {
        do throws(JSONError) {
            var reader = JSONReader(bytes)
            let pin = try read(&reader)
            try reader.end()
            return pin
        } catch {
            throw PinError(description: "\(error.message) at byte \(error.offset) of \(bytes.count)")
        }
    }

    private static func read(_ reader: inout JSONReader) throws(JSONError) -> Pin {
        var pin = Pin(id: "", number: 0, atNs: 0)
        var found: Set<String> = []
        let start = reader
        try reader.object { (reader, name) throws(JSONError) in
            guard found.insert(name).inserted else { throw reader.mismatch("\"\(name.prefix(40))\" is written twice") }
            switch name {
            case "interlock_pin": try reader.formatVersion(version, of: "pin")
            case "id": pin.id = try reader.string()
            case "number": pin.number = try reader.integer()
            case "at_ns": pin.atNs = try reader.integer()
            case "controller": pin.controller = try reader.string()
            case "cause": pin.cause = try reader.string()
            case "node": pin.nodeID = try reader.string()
            case "clusters":
                pin.configuration.clusters = try reader.strings(atMost: clusterLimit, of: "clusters")
            case "services":
                pin.configuration.services = try reader.pinnedServices(atMost: serviceLimit)
            default: try reader.skip()
            }
        }
        for name in ["interlock_pin", "id", "number", "services"] where !found.contains(name) {
            throw start.mismatch("\"\(name)\" is missing")
        }
        guard isID(pin.id) else { throw start.mismatch("\"id\" is no id") }
        guard (0...numberLimit).contains(pin.number) else {
            throw start.mismatch("\"number\" is not from 0 to \(numberLimit)")
        }
        guard pin.configuration.clusters != [] else { throw start.mismatch("\"clusters\" is empty") }
        return pin
    }

    /// What the id of a pin may be: it is a part of a config's name.
    static func isID(_ text: String) -> Bool { text.utf8.count <= 32 && DockerID(text) != nil }
}

extension JSONWriter {
    mutating func pinnedService(_ service: PinnedService) {
        object { writer in
            writer.field("key", service.key)
            writer.field("name", service.name)
            writer.field("created_ns", service.createdAtNs)
            if let port = service.port { writer.field("port", port) }
            if !service.isRouted { writer.field("routed", false) }
            writer.object("labels") { writer in
                for (name, value) in service.labels.sorted(by: { $0.key < $1.key }) { writer.field(name, value) }
            }
        }
    }
}

extension JSONReader {
    /// Makes sure that the document has the format that is understood here.
    mutating func formatVersion(_ known: Int, of thing: String) throws(JSONError) {
        let version = try integer(Int.self)
        guard version == known else {
            throw mismatch("format \(version) of a \(thing) is not known here; this build reads \(known)")
        }
    }

    mutating func strings(atMost limit: Int, of things: String) throws(JSONError) -> [String] {
        var strings: [String] = []
        try array { (reader, index) throws(JSONError) in
            guard index < limit else { throw reader.mismatch("more than \(limit) \(things)") }
            strings.append(try reader.string())
        }
        return strings
    }

    /// Services by key, each once.
    mutating func pinnedServices(atMost limit: Int) throws(JSONError) -> [PinnedService] {
        var services: [PinnedService] = []
        var keys: Set<String> = []
        try array { (reader, index) throws(JSONError) in
            guard index < limit else { throw reader.mismatch("more than \(limit) services") }
            let service = try reader.pinnedService()
            guard keys.insert(service.key).inserted else {
                throw reader.mismatch("the service \"\(service.key.prefix(100))\" is there twice")
            }
            services.append(service)
        }
        return services.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
    }

    private mutating func pinnedService() throws(JSONError) -> PinnedService {
        var service = PinnedService(key: "", name: "")
        var hasLabels = false
        _ = try nextKind()
        let start = self
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "key": service.key = try reader.string()
            case "name": service.name = try reader.string()
            case "created_ns": service.createdAtNs = try reader.integer()
            case "port": service.port = try reader.integer()
            case "routed": service.isRouted = try reader.bool()
            case "labels":
                hasLabels = true
                try reader.object { (reader, name) throws(JSONError) in
                    let value = try reader.string()
                    guard service.labels.updateValue(value, forKey: name) == nil else {
                        throw reader.mismatch("the label \"\(name.prefix(100))\" is written twice")
                    }
                }
            default: try reader.skip()
            }
        }
        guard !service.key.isEmpty else { throw start.mismatch("a service has no \"key\"") }
        guard hasLabels else { throw start.mismatch("a service has no \"labels\"") }
        return service
    }
}
