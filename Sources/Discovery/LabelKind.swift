// Kinds of label values and how their text is read. Every failure says what would be right.
// Text comes from stack authors: any length, any bytes; each kind looks at it once.

public import Model

/// What a label's value must look like.
public enum LabelKind: Hashable, Sendable {
    case boolean
    case integer(ClosedRange<Int>)
    case port
    /// `500ms`, `10s`, `1m30s`; a bare number is seconds. Parsed to milliseconds.
    case duration
    /// A duration of at least 10 ms, for what cannot be switched off.
    case deadline
    /// A duration of at least 100 ms, for what is done again and again.
    case interval
    /// `8k`, `32m`, `1g`; a bare number is bytes.
    case size
    case choice([String])
    /// Names of hosts, or wildcards.
    case hosts
    /// One path prefix.
    case path
    case paths
    /// One word: a network, a cluster.
    case name
    /// The name of a cookie.
    case token
    case names
    /// The name of a Docker secret.
    case secret
    case secrets
    /// One host name, no wildcard.
    case hostName
    case booleanOrNames
    case text
    case methods
    /// Of 500, 502, 503, 504.
    case retryStatuses
    /// Statuses or classes: `200`, `2xx`.
    case statuses
    case addressBlocks
    case url
    /// `source,destination;source,destination`.
    case redirects
    /// The value of Strict-Transport-Security.
    case transportSecurity
    /// `Name: value;-Name`.
    case headers
    /// `Name: value;Name`.
    case conditions
    /// A path, perhaps with a query.
    case requestTarget
    case balancing
    /// `100/s;burst=50;by=ip`.
    case rateLimit
}

/// A value that was read.
public enum LabelValue: Hashable, Sendable {
    case boolean(Bool)
    case number(Int)
    case text(String)
    case list([String])
    case redirects([RedirectPair])
    case headers([RouteConditions.Header])
    case statuses([ClosedRange<Int>])
}

/// Why a value could not be read.
struct LabelValueError: Error {
    /// A sentence without a full stop: what would be right.
    let message: String
}

extension LabelKind {
    /// Reads a value; spaces around it and a trailing `;` are gone already.
    func parse(_ text: String) throws(LabelValueError) -> LabelValue {
        switch self {
        case .boolean: .boolean(try Self.boolean(text))
        case .integer(let range): .number(try Self.integer(text, in: range))
        case .port: .number(try Self.integer(text, in: 1...65535, what: "a port number"))
        case .duration: .number(try Self.duration(text))
        case .deadline: .number(try Self.duration(text, atLeast: 10))
        case .interval: .number(try Self.duration(text, atLeast: 100))
        case .size: .number(try Self.size(text))
        case .choice(let choices): .text(try Self.choice(text, of: choices))
        case .hosts: .list(try Self.hosts(text))
        case .path: .text(try Self.path(text))
        case .paths: .list(Self.list(text))
        case .name: .text(try Self.name(text))
        case .token: .text(try Self.token(text))
        case .methods: .list(try Self.methods(text))
        case .conditions: .headers(try Self.conditions(text))
        case .requestTarget: .text(try Self.requestTarget(text))
        case .names: .list(try Self.list(text).map { part throws(LabelValueError) in try Self.name(part) })
        case .booleanOrNames: (try? Self.boolean(text)).map { .boolean($0) } ?? .list(Self.list(text))
        case .text: .text(text)
        case .retryStatuses: .list(try Self.list(text, each: "500, 502, 503 or 504", Self.isRetryStatus))
        case .statuses: .statuses(try Self.statuses(text))
        case .addressBlocks:
            .list(try Self.list(text, each: "an address or a CIDR block (10.0.0.0/8)") { AddressBlock($0) != nil })
        case .url: .text(try Self.url(text))
        case .secret: .text(try Self.secret(text))
        case .secrets: .list(try Self.secrets(text))
        case .hostName: .text(try Self.hostName(text))
        case .redirects: .redirects(try Self.redirects(text))
        case .transportSecurity: .text(try Self.transportSecurity(text))
        case .headers: .list(try Self.headers(text))
        case .balancing: .text(try Self.balancing(text))
        case .rateLimit: .list(try Self.rateLimit(text))
        }
    }

    private static func boolean(_ text: String) throws(LabelValueError) -> Bool {
        switch text.lowercased() {
        case "true", "1", "yes", "on": return true
        case "false", "0", "no", "off": return false
        default: throw LabelValueError(message: "write true or false")
        }
    }

    static func digits(_ text: some StringProtocol) -> Int? {
        guard !text.isEmpty, text.utf8.count <= 18, text.utf8.allSatisfy({ (48...57).contains($0) }) else {
            return nil
        }
        return Int(text)
    }

    private static func integer(
        _ text: String, in range: ClosedRange<Int>, what: String = "a whole number"
    ) throws(LabelValueError) -> Int {
        guard let number = digits(text), range.contains(number) else {
            throw LabelValueError(message: "write \(what) from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// Milliseconds, at most 30 days.
    private static func duration(_ text: String) throws(LabelValueError) -> Int {
        let wrong = LabelValueError(message: "write a duration like 500ms, 10s or 1m30s, at most 720h")
        var rest = text.lowercased()[...]
        guard !rest.isEmpty else { throw wrong }
        var total = 0
        var lastUnit = Int.max
        while !rest.isEmpty {
            let number = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(number.count)
            let unitText = rest.prefix { $0.isASCII && $0.isLetter }
            rest = rest.dropFirst(unitText.count)
            let unit: Int
            switch unitText {
            case "ms": unit = 1
            case "s": unit = 1000
            case "m": unit = 60_000
            case "h": unit = 3_600_000
            case "" where rest.isEmpty && lastUnit == .max: unit = 1000
            default: throw wrong
            }
            guard let value = digits(number), value <= 2_592_000_000 / unit, unit < lastUnit else { throw wrong }
            lastUnit = unit
            total += value * unit
        }
        guard total <= 2_592_000_000 else { throw wrong }
        return total
    }

    private static func duration(_ text: String, atLeast least: Int) throws(LabelValueError) -> Int {
        let milliseconds = try duration(text)
        guard milliseconds >= least else {
            throw LabelValueError(message: "write a duration of at least \(least)ms")
        }
        return milliseconds
    }

    /// Bytes, at most 2^50.
    private static func size(_ text: String) throws(LabelValueError) -> Int {
        let wrong = LabelValueError(message: "write a size like 8k, 32m or 1g")
        let lower = text.lowercased()
        let number = lower.prefix { $0.isASCII && $0.isNumber }
        let unit: Int
        switch lower.dropFirst(number.count) {
        case "", "b": unit = 1
        case "k", "kb", "kib": unit = 1 << 10
        case "m", "mb", "mib": unit = 1 << 20
        case "g", "gb", "gib": unit = 1 << 30
        default: throw wrong
        }
        guard let value = digits(number), value <= (1 << 50) / unit else { throw wrong }
        return value * unit
    }

    private static func choice(_ text: String, of choices: [String]) throws(LabelValueError) -> String {
        let lower = text.lowercased()
        guard choices.contains(lower) else {
            throw LabelValueError(message: "write one of: \(choices.joined(separator: ", "))")
        }
        return lower
    }

    /// In their normal form, without duplicates, in the order written.
    private static func hosts(_ text: String) throws(LabelValueError) -> [String] {
        var hosts: [String] = []
        var seen: Set<String> = []
        for part in list(text) {
            do {
                let host = try HostPattern(label: part).description
                if seen.insert(host).inserted { hosts.append(host) }
            } catch {
                throw LabelValueError(message: "host \"\(part.shortened)\" \(error.message)")
            }
        }
        return hosts
    }

    /// Without a trailing slash, unless it is the root.
    private static func path(_ text: String) throws(LabelValueError) -> String {
        guard text.hasPrefix("/") else { throw LabelValueError(message: "write a path that begins with /") }
        var path = text
        if path.utf8.count > 2, path.hasSuffix("/") { path.removeLast() }
        guard Route.isNormalPrefix(path) else {
            throw LabelValueError(
                message: "write a plain path: visible ASCII, no empty, . or .. segments, no ?, # or backslash, "
                    + "only needed %-escapes in upper case, at most 1024 bytes")
        }
        return path
    }

    private static func name(_ text: String) throws(LabelValueError) -> String {
        guard !text.isEmpty, text.utf8.count <= 255, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw LabelValueError(message: "write one name without spaces, at most 255 characters")
        }
        return text
    }

    static func list(_ text: String) -> [String] {
        text.split(separator: ",").map(\.trimmed).filter { !$0.isEmpty }
    }

    private static func list(
        _ text: String, each what: String, _ isRight: (String) -> Bool
    ) throws(LabelValueError) -> [String] {
        let parts = list(text)
        for part in parts where !isRight(part) {
            throw LabelValueError(message: "\"\(part.shortened)\" is not \(what); write a list with commas")
        }
        return parts
    }

    private static func isRetryStatus(_ text: String) -> Bool { ["500", "502", "503", "504"].contains(text) }

    private static func url(_ text: String) throws(LabelValueError) -> String {
        let lower = text.lowercased()
        guard lower.hasPrefix("http://") || lower.hasPrefix("https://"), (try? name(text)) != nil else {
            throw LabelValueError(message: "write a URL that begins with http:// or https://")
        }
        return text
    }

    private static func headers(_ text: String) throws(LabelValueError) -> [String] {
        let lines = text.split(separator: ";").map(\.trimmed).filter { !$0.isEmpty }
        for line in lines {
            guard line.prefix(while: { $0 != ":" }).trimmed.isToken,
                line.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 9 })
            else {
                throw LabelValueError(message: "write Name: value;Name: value")
            }
        }
        return lines
    }

    private static func rateLimit(_ text: String) throws(LabelValueError) -> [String] {
        let wrong = LabelValueError(message: "write a rate like 100/s;burst=50;by=ip")
        let parts = text.split(separator: ";").map(\.trimmed).filter { !$0.isEmpty }
        let rate = parts.first?.split(separator: "/", omittingEmptySubsequences: false) ?? []
        guard rate.count == 2, digits(rate[0]).map({ $0 > 0 }) == true, ["s", "m", "h"].contains(rate[1]) else {
            throw wrong
        }
        for part in parts.dropFirst() {
            let isBurst = part.hasPrefix("burst=") && digits(part.dropFirst(6)) != nil
            guard isBurst || part.hasPrefix("by=") && part.utf8.count > 3 else { throw wrong }
        }
        return parts
    }
}

extension StringProtocol {
    /// Without spaces, tabs and line ends around it.
    var trimmed: String {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
        var bytes = Substring(self).utf8
        while let first = bytes.first, isSpace(first) { bytes.removeFirst() }
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return String(Substring(bytes))
    }

    /// At most 60 characters, for a message.
    var shortened: String {
        let start = utf8.prefix(60)
        return start.count < utf8.count ? String(decoding: start, as: UTF8.self) + "..." : String(self)
    }
}
