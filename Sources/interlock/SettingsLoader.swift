// From the environment to Settings: finds each setting's text (or the file that holds it), refuses names it does not
// know, and says in one line what is wrong. The caller prints that line and exits 2.

import Glibc

/// One line: the variable, the value unless it is secret, and what would be right.
struct SettingsError: Error, Equatable, CustomStringConvertible {
    let description: String
}

enum SettingsLoader {
    /// The content of a file, or why it cannot be read.
    typealias FileReader = (_ path: String) -> Result<String, SettingsError>

    /// Settings from these variables. Names that do not begin with INTERLOCK_ are none of ours, but for Docker's own.
    static func load(
        environment: [String: String], readFile: FileReader = SettingsLoader.readFile
    ) throws(SettingsError) -> Settings {
        var settings = Settings()
        try refuseUnknown(environment)
        for definition in SettingsTable.all {
            if let given = try text(of: definition, environment, readFile) {
                if definition.isSecret, let path = environment[definition.name + "_FILE"], !path.isEmpty {
                    settings.secretFiles.append(path)
                }
                try apply(definition, given.text, source: given.source, &settings)
            } else if !definition.defaultText.isEmpty {
                try apply(definition, definition.defaultText, source: definition.name, &settings)
            }
        }
        try readDockerVariables(environment, &settings)
        try checkTogether(settings)
        return settings
    }

    // MARK: One setting

    private static func text(
        of definition: SettingDefinition, _ environment: [String: String], _ readFile: FileReader
    ) throws(SettingsError) -> (text: String, source: String)? {
        let direct = SettingValue.trim(environment[definition.name] ?? "")
        let fileVariable = definition.name + "_FILE"
        let path = environment[fileVariable] ?? ""
        if !direct.isEmpty, !path.isEmpty {
            throw SettingsError(description: "\(definition.name) and \(fileVariable) are both set: set one of them")
        }
        if !direct.isEmpty { return (direct, definition.name) }
        if path.isEmpty { return nil }
        if definition.namesFile { return (path, fileVariable) }
        switch readFile(path) {
        case .failure(let error):
            throw SettingsError(description: "\(fileVariable)=\(quoted(path)): \(error.description)")
        case .success(var content):
            // One line end belongs to the file, not to the value. (CR LF is one Character.)
            if content.last?.isNewline == true { content.removeLast() }
            return content.isEmpty ? nil : (content, "\(fileVariable)=\(quoted(path))")
        }
    }

    private static func apply(
        _ definition: SettingDefinition, _ text: String, source: String, _ settings: inout Settings
    ) throws(SettingsError) {
        do throws(BadValue) {
            try definition.apply(text, &settings)
        } catch {
            if definition.isSecret {
                throw SettingsError(description: "\(source): must be \(error.expectation) (the value is not shown)")
            }
            let origin = source == definition.name ? "\(source)=\(quoted(text))" : "\(source): \(quoted(text))"
            throw SettingsError(description: "\(origin): must be \(error.expectation)")
        }
    }

    // MARK: Names

    private static func refuseUnknown(_ environment: [String: String]) throws(SettingsError) {
        let names = SettingsTable.all.map(\.name)
        let known = Set(names + names.map { $0 + "_FILE" })
        for name in environment.keys.sorted() where name.hasPrefix("INTERLOCK_") && !known.contains(name) {
            let value = environment[name] ?? ""
            if value.isEmpty { continue }
            let hint = SettingsNearest.name(to: name, among: names).map { nearest in
                nearest.isSlip ? "; did you mean \(nearest.name)?" : "; the nearest is \(nearest.name)"
            }
            throw SettingsError(description: "\(name): no such setting\(hint ?? "")")
        }
    }

    // MARK: Docker's own variables

    private static func readDockerVariables(
        _ environment: [String: String], _ settings: inout Settings
    ) throws(SettingsError) {
        func value(_ name: String) -> String? {
            let text = SettingValue.trim(environment[name] ?? "")
            return text.isEmpty ? nil : text
        }
        settings.dockerEnvironment = DockerEnvironment(
            host: value("DOCKER_HOST"), verifiesTLS: value("DOCKER_TLS_VERIFY") != nil,
            certificatePath: value("DOCKER_CERT_PATH"))
        if settings.docker == .automatic, let host = settings.dockerEnvironment.host,
            !SettingValue.isDockerAddress(host)
        {
            throw SettingsError(
                description: "DOCKER_HOST=\(quoted(host)): must be an address such as"
                    + " unix:///var/run/docker.sock or tcp://manager:2376 (or set INTERLOCK_DOCKER)")
        }
    }

    // MARK: Values that must fit each other

    private static func checkTogether(_ settings: Settings) throws(SettingsError) {
        if settings.requestLineSize > settings.headSize {
            throw SettingsError(description: "INTERLOCK_REQUEST_LINE_SIZE: must not be larger than INTERLOCK_HEAD_SIZE")
        }
        if settings.pollIntervalBusyMs > settings.pollIntervalMs {
            throw SettingsError(
                description: "INTERLOCK_POLL_INTERVAL_BUSY: must not be longer than INTERLOCK_POLL_INTERVAL")
        }
        if settings.defaultKey != nil, settings.defaultCertificate == nil {
            throw SettingsError(
                description: "INTERLOCK_DEFAULT_KEY: there is no INTERLOCK_DEFAULT_CERT that it belongs to")
        }
        try refuse(settings.adminListen, of: "INTERLOCK_ADMIN_LISTEN", in: settings.httpListen, "INTERLOCK_HTTP_LISTEN")
        try refuse(
            settings.adminListen, of: "INTERLOCK_ADMIN_LISTEN", in: settings.httpsListen, "INTERLOCK_HTTPS_LISTEN")
        try refuse(
            settings.httpsListen, of: "INTERLOCK_HTTPS_LISTEN", in: settings.httpListen, "INTERLOCK_HTTP_LISTEN")
    }

    private static func refuse(
        _ list: [ListenSetting], of name: String, in other: [ListenSetting], _ otherName: String
    ) throws(SettingsError) {
        for address in list where address.port != 0 && other.contains(address) {
            throw SettingsError(
                description: "\(name)=\(quoted(address.description)): is also in \(otherName); must be another port")
        }
    }

    // MARK: The world outside

    /// This process's environment. Of a name that occurs twice the first counts, as for getenv.
    static func processEnvironment() -> [String: String] {
        var variables: [String: String] = [:]
        var next = environ
        while let entry = next.pointee {
            let text = String(cString: entry)
            if let equals = text.firstIndex(of: "="), equals != text.startIndex {
                let name = String(text[..<equals])
                if variables[name] == nil { variables[name] = String(text[text.index(after: equals)...]) }
            }
            next += 1
        }
        return variables
    }

    /// At most 1 MiB of UTF-8.
    static func readFile(_ path: String) -> Result<String, SettingsError> { readFile(path, isRegular: false) }

    /// - Parameter isRegular: a pipe or a device is refused, and never waited for.
    static func readFile(_ path: String, isRegular: Bool) -> Result<String, SettingsError> {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | (isRegular ? O_NONBLOCK : 0))
        guard descriptor >= 0 else { return .failure(.init(description: String(cString: strerror(errno)))) }
        defer { close(descriptor) }
        if isRegular {
            var status = stat()
            guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
                return .failure(.init(description: "is not a file"))
            }
        }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            if count < 0 { return .failure(.init(description: String(cString: strerror(errno)))) }
            if count == 0 { break }
            bytes += chunk[..<count]
            guard bytes.count <= 1 << 20 else { return .failure(.init(description: "is larger than 1 MiB")) }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            return .failure(.init(description: "is not UTF-8 text"))
        }
        return .success(text)
    }

    /// In quotes on one line, shortened, with control characters escaped.
    static func quoted(_ text: String) -> String {
        var shown = ""
        for scalar in text.unicodeScalars.prefix(120) {
            switch scalar {
            case "\"", "\\": shown += "\\\(scalar)"
            case "\n": shown += "\\n"
            case "\r": shown += "\\r"
            case "\t": shown += "\\t"
            default:
                if scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value) {
                    shown += "\\u{\(String(scalar.value, radix: 16))}"
                } else {
                    shown.unicodeScalars.append(scalar)
                }
            }
        }
        return text.unicodeScalars.count > 120 ? "\"\(shown)...\"" : "\"\(shown)\""
    }
}
