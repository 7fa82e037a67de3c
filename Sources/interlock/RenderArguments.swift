// The words of `interlock render TARGET [FILE] [--option VALUE ...]`.

struct RenderArguments: Equatable, Sendable {
    enum Target: String, CaseIterable, Sendable { case nginx, haproxy }

    var target: Target
    /// The services file; nil: what the settings say.
    var file: String?
    /// Where the files go; nil: the main file goes to standard output.
    var directory: String?
    /// Addresses as the target writes them; nil: its usual ones.
    var httpListen: [String]?
    var httpsListen: [String]?
    var tcpListen: [String]?
    var publicHTTPSPort: UInt16?

    static let usage =
        "interlock render nginx|haproxy [FILE] [--directory DIR] [--http-listen A] [--https-listen A] "
        + "[--tcp-listen A] [--public-https-port N]"

    init(target: Target) { self.target = target }

    init(parsing rest: inout ArraySlice<String>) throws(Arguments.UsageError) {
        let names = SettingDefinition.list(Target.allCases.map(\.rawValue))
        guard let word = rest.popFirst() else { throw .init(description: "render needs a target: \(names)") }
        guard let target = Target(rawValue: word) else {
            throw .init(description: "render \(SettingsLoader.quoted(word)): there are \(names)")
        }
        self.target = target
        while let word = rest.popFirst() {
            guard word.hasPrefix("--") else {
                guard file == nil else {
                    throw .init(description: "unexpected argument \(SettingsLoader.quoted(word)) after render")
                }
                file = word
                continue
            }
            let option = OptionWord(word)
            guard let text = option.value(&rest) else { throw .init(description: "\(option.name) needs a value") }
            try take(option.name, text)
        }
    }

    private mutating func take(_ option: String, _ value: String) throws(Arguments.UsageError) {
        switch option {
        case "--directory": directory = value
        case "--http-listen": httpListen = Self.list(value)
        case "--https-listen": httpsListen = Self.list(value)
        case "--tcp-listen": tcpListen = Self.list(value)
        case "--public-https-port":
            guard let port = UInt16(value), port > 0 else {
                throw .init(description: "--public-https-port \(SettingsLoader.quoted(value)): must be 1 to 65535")
            }
            publicHTTPSPort = port
        default:
            throw .init(description: "unknown option \(SettingsLoader.quoted(option)); \(Self.usage)")
        }
    }

    /// `off` is nowhere.
    private static func list(_ text: String) -> [String] {
        text == "off" ? [] : text.split(separator: ",").map { $0.filter { $0 != " " } }
    }
}
