// From the Engine API's JSON to the plain values of an Inventory: what a list answer holds, read leniently.
// Missing and unknown fields are no error; an element that makes no sense is left out and told, and the others stay.
// Nothing here decides what a label means.

import Discovery
import Model

/// The elements of a list answer, the highest `Version.Index` among them, and what had to be left out.
struct DockerList<Element: Sendable>: Sendable {
    var elements: [Element] = []
    var problems: [Diagnostic] = []

    /// Reads a JSON list whose elements are read by `element`; null is an empty list.
    init(
        _ body: [UInt8], of things: String,
        _ element: (inout JSONReader) throws(JSONError) -> Element?
    ) throws(JSONError) {
        var reader = JSONReader(body)
        var problems: [Diagnostic] = []
        elements = try reader.lossyArray(element) { index, error in
            guard problems.count < 20 else { return }
            problems.append(
                Diagnostic(
                    severity: .error, service: "Docker",
                    message:
                        "element \(index) of the list of \(things) makes no sense and is left out: \(error.message) "
                        + "at byte \(error.offset) of the answer"))
        }
        try reader.end()
        self.problems = problems
    }

    init() {}
}

extension JSONReader {
    /// `Version: {Index}`; null is 0.
    mutating func versionIndex() throws(JSONError) -> UInt64 {
        var version: UInt64 = 0
        try objectOrNull { (reader, name) throws(JSONError) in
            if name == "Index" { version = try reader.integer() } else { try reader.skip() }
        }
        return version
    }

    /// An object, or null for an empty one.
    mutating func objectOrNull(
        _ field: (inout JSONReader, String) throws(JSONError) -> Void
    ) throws(JSONError) {
        guard try !isNull() else { return }
        try object(field)
    }

    /// A list, or null for an empty one.
    mutating func arrayOrNull<Element>(
        of element: (inout JSONReader) throws(JSONError) -> Element?
    ) throws(JSONError) -> [Element] {
        var elements: [Element] = []
        guard try !isNull() else { return elements }
        try array { (reader, _) throws(JSONError) in
            if let value = try element(&reader) { elements.append(value) }
        }
        return elements
    }

    /// An RFC 3339 time in nanoseconds since 1970; 0 for null, "" and what is no time.
    mutating func timestamp() throws(JSONError) -> Int64 {
        Timestamp.nanoseconds(try stringOrNull()) ?? 0
    }

    /// An address with or without a prefix length; nil if it is none.
    mutating func address() throws(JSONError) -> IPAddress? {
        let text = try stringOrNull()
        return IPAddress(text.prefix { $0 != "/" })
    }

    /// An endpoint's port: `{"Protocol","TargetPort","PublishedPort","PublishMode"}`.
    mutating func publishedPort() throws(JSONError) -> PublishedPort {
        var port = PublishedPort(targetPort: 0)
        try object { (reader, name) throws(JSONError) in
            switch name {
            case "Protocol": port.isTCP = try reader.stringOrNull() == "tcp"
            case "TargetPort": port.targetPort = try reader.integer()
            case "PublishedPort": port.publishedPort = try reader.integer()
            case "PublishMode": port.mode = try reader.stringOrNull() == "host" ? .host : .ingress
            default: try reader.skip()
            }
        }
        return port
    }

    /// A mismatch unless the object that was just read has an id.
    func require(_ id: String, _ thing: String) throws(JSONError) {
        if id.isEmpty { throw mismatch("\(thing) has no ID") }
    }
}
