// Reads a services file, from disk or out of a Docker config: `{"services":[{"name","labels","endpoints"}]}`.
// Strict, because people write it: every complaint names the line, the field and the way out. Broken JSON refuses the
// whole text; a service that is wrong in itself is left out and told, and the others stay. Labels are not judged here.

public import Discovery
public import Model

/// A text that is no services file at all.
public struct ServicesFileError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
}

/// What a services file holds, and what was wrong with single services.
public struct ServicesFileContent: Hashable, Sendable {
    public var services: [FileService] = []
    public var problems: [Diagnostic] = []
    /// The names of services that were left out; "" where it is not known.
    public var refusedNames: [String] = []
}

public enum ServicesFileReader {
    /// - Parameter name: the file's path or the config's name, for messages.
    public static func read(_ bytes: [UInt8], name: String) throws(ServicesFileError) -> ServicesFileContent {
        var pass = Pass(name: name, bytes: bytes)
        do throws(JSONError) {
            try pass.readAll()
        } catch {
            let place = error.place(in: bytes)
            let hint = bytes.isEmpty ? #"; an empty services file is {"services":[]}"# : ""
            throw ServicesFileError(
                description: "\(name), line \(place.line), column \(place.column): \(error.message)\(hint)")
        }
        return pass.content
    }

    /// One reading; holds what messages need.
    private struct Pass {
        let name: String
        let bytes: [UInt8]
        var content = ServicesFileContent()
        private var seenNames: Set<String> = []

        init(name: String, bytes: [UInt8]) {
            self.name = name
            self.bytes = bytes
        }

        mutating func readAll() throws(JSONError) {
            var reader = JSONReader(bytes)
            var hasServices = false
            let start = reader
            try reader.object { (reader, field) throws(JSONError) in
                if field == "services" {
                    guard !hasServices else { throw reader.mismatch("\"services\" is written twice") }
                    hasServices = true
                    try readServices(&reader)
                } else {
                    guard isComment(field) else {
                        throw reader.mismatch("unknown field \"\(field)\"; the file holds only \"services\"")
                    }
                    try reader.skip()
                }
            }
            try reader.end()
            guard hasServices else {
                throw start.mismatch("the field \"services\" is missing: expected {\"services\": [ ... ]}")
            }
        }

        private mutating func readServices(_ reader: inout JSONReader) throws(JSONError) {
            var services: [FileService] = []
            try reader.array { (reader, index) throws(JSONError) in
                _ = try reader.nextKind()
                let start = reader
                var service = FileService(name: "")
                do throws(JSONError) {
                    try readService(&reader, into: &service)
                    services.append(service)
                } catch {
                    guard error.kind == .mismatch else { throw error }
                    reader = start
                    try reader.skip()
                    refuse(index, service.name, error)
                }
            }
            content.services = services
        }

        private mutating func refuse(_ index: Int, _ service: String, _ error: JSONError) {
            let place = error.place(in: bytes)
            let title = service.isEmpty ? "services[\(index)]" : service
            content.refusedNames.append(service)
            content.problems.append(
                Diagnostic(
                    severity: .error, service: title,
                    message: "\(name), line \(place.line), column \(place.column): \(error.message)"))
        }

        private mutating func readService(
            _ reader: inout JSONReader, into service: inout FileService
        ) throws(JSONError) {
            let start = reader
            var hasEndpoints = false
            try reader.object { (reader, field) throws(JSONError) in
                switch field {
                case "name": service.name = try reader.string()
                case "labels": service.labels = try labels(&reader)
                case "endpoints":
                    hasEndpoints = true
                    service.endpoints = try endpoints(&reader)
                default:
                    guard isComment(field) else {
                        throw reader.mismatch(
                            "unknown field \"\(field)\"; a service has \"name\", \"labels\" and \"endpoints\"")
                    }
                    try reader.skip()
                }
            }
            guard !service.name.isEmpty else { throw start.mismatch("the service has no \"name\"") }
            guard hasEndpoints else {
                throw start.mismatch(
                    "the service has no \"endpoints\": expected a list such as [\"10.0.0.5:8080\"], which may be empty")
            }
            guard seenNames.insert(service.name).inserted else {
                throw start.mismatch("a service called \"\(service.name)\" is already in this file")
            }
        }

        private func labels(_ reader: inout JSONReader) throws(JSONError) -> [String: String] {
            var labels: [String: String] = [:]
            try reader.object { (reader, name) throws(JSONError) in
                guard labels[name] == nil else { throw reader.mismatch("the label \"\(name)\" is written twice") }
                switch try reader.nextKind() {
                case .string: labels[name] = try reader.string()
                case .number: labels[name] = try wholeNumber(&reader, label: name)
                case .object, .array:
                    throw reader.mismatch("the label \"\(name)\" must be a string, a whole number, true or false")
                case nil:
                    guard let value = try? reader.bool() else {
                        throw reader.mismatch("the label \"\(name)\" must be a string, a whole number, true or false")
                    }
                    labels[name] = value ? "true" : "false"
                }
            }
            return labels
        }

        private func wholeNumber(_ reader: inout JSONReader, label: String) throws(JSONError) -> String {
            let start = reader
            let text = try reader.numberText()
            guard Int64(text) != nil else {
                throw start.mismatch("the label \"\(label)\" is the number \(text.prefix(40)): write it as a string")
            }
            return text
        }

        private func endpoints(_ reader: inout JSONReader) throws(JSONError) -> [String] {
            var endpoints: [String] = []
            try reader.array { (reader, _) throws(JSONError) in
                _ = try reader.nextKind()
                let start = reader
                let text = try reader.string()
                guard let endpoint = endpoint(text) else { throw start.mismatch(complaint(about: text)) }
                endpoints.append(endpoint)
            }
            return endpoints
        }

        /// The endpoint as `address:port`; `localhost` stands for 127.0.0.1.
        private func endpoint(_ text: String) -> String? {
            let prefix = "localhost:"
            let literal = text.hasPrefix(prefix) ? "127.0.0.1:" + text.dropFirst(prefix.count) : text
            guard let endpoint = Endpoint(literal), !endpoint.address.isUnspecified else { return nil }
            return endpoint.description
        }

        private func complaint(about text: String) -> String {
            let shown = "the endpoint \"\(text.prefix(100))\""
            if text.contains("://") { return "\(shown) is a URL: write address:port, such as \"10.0.0.5:8080\"" }
            if IPAddress(text) != nil { return "\(shown) has no port: write address:port, such as \"10.0.0.5:8080\"" }
            let host = text.prefix { $0 != ":" }
            if host.utf8.contains(where: { $0 | 0x20 >= UInt8(ascii: "a") && $0 | 0x20 <= UInt8(ascii: "z") }),
                !text.hasPrefix("[")
            {
                return "\(shown) is a host name, and names are not looked up: write the address and port, "
                    + "such as \"10.0.0.5:8080\""
            }
            return "\(shown) is no address:port such as \"10.0.0.5:8080\" or \"[2001:db8::5]:8080\""
        }

        /// JSON has no comments; a field that begins so is one.
        private func isComment(_ field: String) -> Bool { field.hasPrefix("$") || field.hasPrefix("_") }
    }
}
