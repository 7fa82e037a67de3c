// The words after `interlock feed-init`.

/// What `feed-init` is asked for.
struct FeedInitOptions: Equatable, Sendable {
    enum Mode: Equatable, Sendable {
        /// Makes what is not there.
        case missing
        /// New credentials of the CA that is there.
        case renewed
        /// One step of the change to another CA.
        case rotated
        /// A new CA and new credentials.
        case forced
    }

    static let dayRange = 1...36_500

    var directory = "."
    /// Beside the default group.
    var clusters: [String] = []
    var days = 730
    /// nil: `feed-ca.pem` in the directory.
    var authority: String?
    var mode = Mode.missing
    var wantsHelp = false

    static let usage = """
        Usage: interlock feed-init [OPTION]...
        Makes the CA of a feed and the credentials of controllers, proxies and extensions. What is there is kept.

          --directory DIR    where (default: .); it is made if it is not there
          --clusters a,b     further service clusters, each with credentials of its own
          --days N           how long credentials are valid (default: 730)
          --authority FILE   the CA with its key (default: DIR/feed-ca.pem)
          --renew            make all credentials anew with the CA that is there
          --rotate           go one of three steps to a new CA, with new credentials for each
          --force            make a new CA and all credentials anew

        """

    var authorityPath: String { authority ?? path(of: "feed-ca.pem") }

    func path(of name: String) -> String { directory.hasSuffix("/") ? directory + name : "\(directory)/\(name)" }

    /// Wrong words: one line.
    struct UsageError: Error, Equatable, CustomStringConvertible {
        let description: String
    }

    private static let modes: [String: Mode] = ["--renew": .renewed, "--rotate": .rotated, "--force": .forced]
    private static let options = ["--directory", "--clusters", "--days", "--authority"]

    init() {}

    init(parsing words: [String]) throws(UsageError) {
        var rest = words[...]
        while let word = rest.popFirst() {
            if word == "--help" || word == "-h" {
                wantsHelp = true
                continue
            }
            if let wanted = Self.modes[word] {
                guard mode == .missing || mode == wanted else {
                    throw UsageError(description: "feed-init: --renew, --rotate and --force are three different things")
                }
                mode = wanted
                continue
            }
            let option = OptionWord(word)
            guard Self.options.contains(option.name) else {
                let all = Self.options + Self.modes.keys.sorted()
                throw UsageError(
                    description: "feed-init: unknown option \(SettingsLoader.quoted(word)); there are "
                        + SettingDefinition.list(all))
            }
            guard let value = option.value(&rest), !value.isEmpty else {
                throw UsageError(description: "feed-init: \(option.name) needs a value")
            }
            try set(option.name, value)
        }
    }

    private mutating func set(_ option: String, _ value: String) throws(UsageError) {
        switch option {
        case "--directory": directory = value
        case "--authority": authority = value
        case "--days":
            guard let number = Int(value), Self.dayRange.contains(number) else {
                throw UsageError(
                    description: "feed-init: --days \(SettingsLoader.quoted(value)): must be a number of days from "
                        + "\(Self.dayRange.lowerBound) to \(Self.dayRange.upperBound)")
            }
            days = number
        default:
            for part in value.split(separator: ",") where !clusters.contains(String(part)) {
                clusters.append(String(part))
            }
        }
    }
}
