// The words after `interlock`. Settings are in the environment; arguments choose a role and little else.

/// What the command line asks for.
struct Arguments: Equatable, Sendable {
    enum Request: Equatable, Sendable {
        /// Run this role; nil: what INTERLOCK_ROLE says.
        case role(Role?)
        case help
    }

    /// Wrong words: one line; the caller prints it and exits 2.
    struct UsageError: Error, Equatable, CustomStringConvertible {
        let description: String
    }

    var request = Request.role(nil)
    /// `demo-backend --listen`; nil: INTERLOCK_DEMO_LISTEN.
    var demoListen: [ListenSetting]?
    /// `demo-backend --name`; nil: INTERLOCK_DEMO_NAME.
    var demoName: String?
    /// `check FILE`: the services file to check; nil: what the settings say.
    var checkedFile: String?
    /// `status PAGE`; nil: the index.
    var page: String?
    /// `rollback N`.
    var number = 0
    /// `extension KIND`; nil: INTERLOCK_EXTENSION.
    var extensionKind: ExtensionKind?
    /// `extension exec -- COMMAND`; empty: INTERLOCK_EXTENSION_COMMAND.
    var command: [String] = []
    /// The words of `feed-init`.
    var words: [String] = []
    /// `explain`: what request.
    var explain: ExplainArguments?
    /// `render`: what, and where to.
    var render: RenderArguments?

    init(request: Request = .role(nil)) { self.request = request }

    /// `given` without the program's own name.
    init(parsing given: [String]) throws(UsageError) {
        guard let first = given.first else { return }
        var rest = given.dropFirst()
        switch first {
        case "--help", "-h", "help":
            request = .help
            return
        case "--version", "-V":
            request = .role(.version)
        case let word where word.hasPrefix("-"):
            throw UsageError(description: "unknown option \(SettingsLoader.quoted(word)); interlock --help lists all")
        case let word:
            guard let role = Role(rawValue: word) else { throw Self.unknownRole(word) }
            request = .role(role)
        }
        // These read their words themselves.
        if request == .role(.feedInit) {
            words = Array(rest)
            return
        }
        if rest.contains("--help") || rest.contains("-h") {
            request = .help
            return
        }
        if request == .role(.demoBackend) { try parseDemo(&rest) }
        if request == .role(.rollback) {
            guard let word = rest.popFirst(), let number = Int(word), number > 0 else {
                throw UsageError(
                    description: "rollback needs the number of a configuration: see /api/history of the controller")
            }
            self.number = number
        }
        if request == .role(.status) { page = rest.popFirst() }
        if request == .role(.balancerExtension) { try parseExtension(&rest) }
        if request == .role(.explain) { explain = try ExplainArguments(parsing: &rest) }
        if request == .role(.render) { render = try RenderArguments(parsing: &rest) }
        if request == .role(.check), let file = rest.first, !file.hasPrefix("-") {
            checkedFile = file
            rest.removeFirst()
        }
        if let extra = rest.first {
            throw UsageError(description: "unexpected argument \(SettingsLoader.quoted(extra)) after \(first)")
        }
    }

    private mutating func parseExtension(_ rest: inout ArraySlice<String>) throws(UsageError) {
        guard let word = rest.popFirst() else { return }
        guard let kind = ExtensionKind(rawValue: word) else {
            let kinds = SettingDefinition.list(ExtensionKind.allCases.map(\.rawValue))
            throw UsageError(description: "unknown extension \(SettingsLoader.quoted(word)); there are \(kinds)")
        }
        extensionKind = kind
        guard kind == .exec, rest.first == "--" else { return }
        command = Array(rest.dropFirst())
        rest = []
        guard !command.isEmpty else { throw UsageError(description: "extension exec -- needs a command") }
    }

    private mutating func parseDemo(_ rest: inout ArraySlice<String>) throws(UsageError) {
        while let word = rest.first, word.hasPrefix("--") {
            rest.removeFirst()
            let option = OptionWord(word)
            guard ["--listen", "--name"].contains(option.name) else {
                let shown = SettingsLoader.quoted(option.name)
                throw UsageError(description: "unknown option \(shown); demo-backend takes --listen and --name")
            }
            guard let value = option.value(&rest) else {
                throw UsageError(description: "\(option.name) needs a value")
            }
            do throws(BadValue) {
                switch option.name {
                case "--listen": demoListen = try SettingValue.listenList(value)
                default: demoName = try SettingValue.word(value, of: "one word")
                }
            } catch {
                throw UsageError(
                    description: "\(option.name) \(SettingsLoader.quoted(value)): must be \(error.expectation)")
            }
        }
    }

    private static func unknownRole(_ word: String) -> UsageError {
        let names = Role.allCases.map(\.rawValue)
        let nearest = SettingsNearest.name(to: word, among: names)
        let isSlip = nearest?.isSlip ?? false
        let hint = isSlip ? "did you mean \(nearest?.name ?? "")?" : "there are \(SettingDefinition.list(names))"
        return UsageError(description: "unknown role \(SettingsLoader.quoted(word)); \(hint)")
    }
}

/// An option as it is written: `--name=value`, or `--name` with its value in the next word.
struct OptionWord {
    let name: String
    private let attached: String?

    init(_ word: String) {
        let equals = word.firstIndex(of: "=")
        name = String(word[..<(equals ?? word.endIndex)])
        attached = equals.map { String(word[word.index(after: $0)...]) }
    }

    /// - Parameter rest: the words behind it; the value is taken out of them if it stands there.
    /// - Returns: nil if there is none.
    func value(_ rest: inout ArraySlice<String>) -> String? { attached ?? rest.popFirst() }
}
