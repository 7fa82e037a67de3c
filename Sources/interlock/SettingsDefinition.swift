// The form of a row of the settings table, and one maker for each kind of row.
// A row knows how to check a text and where to put the value; what the text is for is told in the table.

import Model

/// One setting: everything that the loader, `--help` and the documentation know about it.
struct SettingDefinition: Sendable {
    enum Section: String, Sendable, CaseIterable {
        case general = "General"
        case listeners = "Listeners"
        case tls = "TLS and TCP"
        case services = "Where services come from"
        case feed = "Controllers and proxies"
        case extensions = "Extensions"
        case headers = "Headers and trust"
        case timeouts = "Timeouts"
        case limits = "Limits"
        case logs = "Logs and admin"
        case demo = "Demo backend"
    }

    let name: String
    let section: Section
    /// How a value is written: `duration`, `off, json or clf`.
    let form: String
    /// Parsed like a given value; "" is no value.
    let defaultText: String
    /// What stands in the documentation instead of an empty default.
    let unsetMeans: String
    let documentation: String
    let isSecret: Bool
    /// The value is itself the name of a file: then `NAME_FILE` is that file, not one that holds its name.
    let namesFile: Bool
    let apply: @Sendable (String, inout Settings) throws(BadValue) -> Void

    init(
        _ name: String, _ section: Section, form: String, default defaultText: String, unset: String = "none",
        isSecret: Bool = false, namesFile: Bool = false, _ documentation: String,
        apply: @escaping @Sendable (String, inout Settings) throws(BadValue) -> Void
    ) {
        self.name = name
        self.section = section
        self.form = form
        self.defaultText = defaultText
        unsetMeans = unset
        self.documentation = documentation
        self.isSecret = isSecret
        self.namesFile = namesFile
        self.apply = apply
    }
}

extension SettingDefinition {
    typealias Field<Value> = any WritableKeyPath<Settings, Value> & Sendable

    static func duration(
        _ name: String, _ section: Section, _ field: Field<Int>, default text: String,
        inMs range: ClosedRange<Int> = 1...86_400_000, _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, section, form: "duration", default: text, documentation) {
            text, settings throws(BadValue) in
            settings[keyPath: field] = try SettingValue.duration(text, inMs: range)
        }
    }

    static func size(
        _ name: String, _ section: Section, _ field: Field<Int>, default text: String, in range: ClosedRange<Int>,
        _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, section, form: "size", default: text, documentation) {
            text, settings throws(BadValue) in
            settings[keyPath: field] = try SettingValue.size(text, in: range)
        }
    }

    static func integer(
        _ name: String, _ section: Section, _ field: Field<Int>, default text: String, in range: ClosedRange<Int>,
        _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, section, form: "number", default: text, documentation) {
            text, settings throws(BadValue) in
            settings[keyPath: field] = try SettingValue.integer(text, in: range)
        }
    }

    /// A number, or `auto` (nil) for what the machine suggests.
    static func automaticInteger(
        _ name: String, _ section: Section, _ field: Field<Int?>, in range: ClosedRange<Int>, _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, section, form: "number or `auto`", default: "auto", documentation) {
            text, settings throws(BadValue) in
            if text.lowercased() == "auto" {
                settings[keyPath: field] = nil
                return
            }
            do throws(BadValue) {
                settings[keyPath: field] = try SettingValue.integer(text, in: range)
            } catch {
                throw BadValue("auto, or \(error.expectation)")
            }
        }
    }

    static func boolean(
        _ name: String, _ section: Section, _ field: Field<Bool>, default value: Bool, _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, section, form: "`true` or `false`", default: "\(value)", documentation) {
            text, settings throws(BadValue) in
            settings[keyPath: field] = try SettingValue.boolean(text)
        }
    }

    /// One of a closed set of words.
    static func choice<Value: RawRepresentable<String> & CaseIterable & Sendable>(
        _ name: String, _ section: Section, _ field: Field<Value>, default value: Value, _ documentation: String
    ) -> SettingDefinition {
        let words = Value.allCases.map(\.rawValue)
        return choice(name, section, words: words, default: value.rawValue, documentation) { word, settings in
            if let value = Value(rawValue: word) { settings[keyPath: field] = value }
        }
    }

    static func choice(
        _ name: String, _ section: Section, words: [String], default text: String, _ documentation: String,
        store: @escaping @Sendable (String, inout Settings) -> Void
    ) -> SettingDefinition {
        let form = list(words.map { "`\($0)`" })
        return SettingDefinition(name, section, form: form, default: text, documentation) {
            text, settings throws(BadValue) in
            let word = text.lowercased()
            guard words.contains(word) else { throw BadValue(list(words)) }
            store(word, &settings)
        }
    }

    static func listen(
        _ name: String, _ section: Section, _ field: Field<[ListenSetting]>, default text: String,
        _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, section, form: "`[host]:port` list or `off`", default: text, documentation) {
            text, settings throws(BadValue) in
            settings[keyPath: field] = try SettingValue.listenList(text)
        }
    }

    static func blocks(
        _ name: String, _ section: Section, _ field: Field<[AddressBlock]>, _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, section, form: "CIDR list", default: "", documentation) {
            text, settings throws(BadValue) in
            settings[keyPath: field] = try SettingValue.blocks(text)
        }
    }

    static func path(
        _ name: String, _ section: Section, _ field: Field<String?>, default standard: String = "",
        unset: String = "none", _ documentation: String
    ) -> SettingDefinition {
        SettingDefinition(name, section, form: "path", default: standard, unset: unset, documentation) {
            text, settings throws(BadValue) in
            settings[keyPath: field] = try SettingValue.path(text)
        }
    }

    /// "a, b or c".
    static func list(_ words: [String]) -> String {
        guard let last = words.last, words.count > 1 else { return words.first ?? "" }
        return words.dropLast().joined(separator: ", ") + " or " + last
    }
}
