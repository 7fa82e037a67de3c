// The words of `interlock explain URL [FILE] [--option VALUE ...]`.

struct ExplainArguments: Equatable, Sendable {
    var url: String
    /// The services file; nil: the running instance is asked.
    var file: String?
    var method = "GET"
    /// Each `Name: value`.
    var headers: [String] = []
    /// The proxy group that a controller is asked about.
    var cluster: String?

    static let usage =
        "interlock explain URL [FILE] [--method M] [--header \"Name: value\"]... [--cluster NAME]"

    init(parsing rest: inout ArraySlice<String>) throws(Arguments.UsageError) {
        var words: [String] = []
        url = ""
        while let word = rest.popFirst() {
            guard word.hasPrefix("--") else {
                words.append(word)
                continue
            }
            let option = OptionWord(word)
            guard ["--method", "--header", "--cluster"].contains(option.name) else {
                throw .init(description: "unknown option \(SettingsLoader.quoted(option.name)); \(Self.usage)")
            }
            guard let text = option.value(&rest) else { throw .init(description: "\(option.name) needs a value") }
            switch option.name {
            case "--method": method = text
            case "--header": headers.append(text)
            default: cluster = text
            }
        }
        guard let first = words.first else { throw .init(description: "explain needs a URL: \(Self.usage)") }
        if words.count > 2 {
            throw .init(description: "unexpected argument \(SettingsLoader.quoted(words[2])) after explain")
        }
        url = first
        file = words.dropFirst().first
        if file != nil, cluster != nil {
            throw .init(description: "--cluster asks a running controller: leave out the services file")
        }
    }
}
