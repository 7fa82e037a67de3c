// The one way to text that nginx reads. Names of directives are words of this program; everything else is an argument
// that knows how nginx will read it: as it is, with variables, or as a regular expression. Every argument is quoted,
// and a byte that no quotes can hold spoils the writer: what was to be written is then left out as a whole by whoever
// writes it.

/// One argument of a directive.
struct NginxWord {
    fileprivate let bytes: [UInt8]
    /// Has a byte that nothing can carry.
    fileprivate let isSpoilt: Bool

    private init(_ bytes: [UInt8]) {
        self.bytes = bytes
        isSpoilt = bytes.contains { $0 < 0x20 || $0 == 0x7F }
    }

    /// Words of this program; `$name` is a variable in them, where nginx takes variables.
    static func own(_ text: StaticString) -> NginxWord { NginxWord(Array(text.description.utf8)) }

    /// Somebody's text for a place where nginx takes no variables.
    static func plain(_ text: String) -> NginxWord { NginxWord(Array(text.utf8)) }

    /// The same, from bytes.
    static func plain(_ bytes: [UInt8]) -> NginxWord { NginxWord(bytes) }

    /// Somebody's text for a place where nginx takes variables: a dollar is nothing but a dollar there.
    static func literal(_ text: String) -> NginxWord {
        NginxWord(text.utf8.flatMap { $0 == UInt8(ascii: "$") ? Array("${il_dollar}".utf8) : [$0] })
    }

    /// Somebody's text within a regular expression: it matches itself.
    static func pattern(_ text: String) -> NginxWord {
        NginxWord(
            text.utf8.flatMap { byte -> [UInt8] in
                switch byte {
                case 48...57, 65...90, 97...122, 0x80...: [byte]
                case UInt8(ascii: "^"), UInt8(ascii: "\\"): [UInt8(ascii: "\\"), byte]
                default: [UInt8(ascii: "["), byte, UInt8(ascii: "]")]
                }
            })
    }

    static func number(_ number: some BinaryInteger) -> NginxWord { .plain(String(number)) }

    static func milliseconds(_ count: Int) -> NginxWord {
        .plain(count % 1000 == 0 ? "\(count / 1000)s" : "\(count)ms")
    }

    /// A name of this program with a number: `il_pool3`.
    static func name(_ name: NginxName) -> NginxWord { .plain(name.text) }

    /// The variable of that name.
    static func variable(_ name: NginxName) -> NginxWord { .plain("$" + name.text) }

    /// Several as one argument.
    static func joined(_ words: NginxWord...) -> NginxWord { NginxWord(words.flatMap(\.bytes)) }

    static func joined(_ words: [NginxWord], by separator: StaticString) -> NginxWord {
        NginxWord(Array(words.map(\.bytes).joined(separator: Array(separator.description.utf8))))
    }
}

/// A name that this program makes: a word of its own and a number.
struct NginxName: Hashable {
    let text: String

    init(_ word: StaticString, _ number: Int) { text = "il_\(word)\(number)" }
}

struct NginxWriter {
    private(set) var bytes: [UInt8] = []
    /// Something could not be written.
    private(set) var isSpoilt = false
    private var depth = 0

    init(depth: Int = 0) { self.depth = depth }

    mutating func line(_ name: StaticString, _ words: NginxWord...) { line(name, words) }

    mutating func line(_ name: StaticString, _ words: [NginxWord]) {
        begin(.own(name), words)
        bytes += ";\n".utf8
    }

    /// A line of a map or of the operator: its first word is an argument too.
    mutating func entry(_ key: NginxWord, _ words: NginxWord...) {
        begin(key, words, quotesName: true)
        bytes += ";\n".utf8
    }

    mutating func entry(_ words: [NginxWord]) {
        guard let first = words.first else { return }
        begin(first, Array(words.dropFirst()), quotesName: true)
        bytes += ";\n".utf8
    }

    mutating func block(_ name: StaticString, _ words: NginxWord..., body: (inout NginxWriter) -> Void) {
        begin(.own(name), words)
        bytes += " {\n".utf8
        depth += 1
        body(&self)
        depth -= 1
        indent()
        bytes += "}\n".utf8
    }

    /// `if (SUBJECT OPERATION VALUE) { RETURN }`, the only form of it that nginx has no surprises in.
    mutating func when(
        _ subject: NginxWord, _ operation: StaticString, _ value: NginxWord, return words: NginxWord...
    ) {
        begin(.own("if"), [.joined(.own("("), subject), .own(operation), .joined(value, .own(")"))])
        bytes += " { return".utf8
        for word in words { append(word) }
        bytes += "; }\n".utf8
    }

    /// What another writer has written.
    mutating func append(_ other: NginxWriter) {
        bytes += other.bytes
        isSpoilt = isSpoilt || other.isSpoilt
    }

    /// An empty writer at the same depth.
    var sibling: NginxWriter { NginxWriter(depth: depth) }

    /// For people; what is no letter, digit or of `.*/-_` is shown as a question mark.
    mutating func comment(_ text: String) {
        indent()
        bytes += "# ".utf8
        bytes += text.utf8.prefix(200).map { byte in
            switch byte {
            case 48...57, 65...90, 97...122: byte
            default: " .*/-_".utf8.contains(byte) ? byte : UInt8(ascii: "?")
            }
        }
        bytes += "\n".utf8
    }

    private mutating func indent() { bytes += [UInt8](repeating: UInt8(ascii: " "), count: 4 * depth) }

    private mutating func begin(_ name: NginxWord, _ words: [NginxWord], quotesName: Bool = false) {
        indent()
        if quotesName { append(name, isFirst: true) } else { bytes += name.bytes }
        for word in words { append(word) }
    }

    private mutating func append(_ word: NginxWord, isFirst: Bool = false) {
        if word.isSpoilt { isSpoilt = true }
        if !isFirst { bytes.append(UInt8(ascii: " ")) }
        let isBare = !word.bytes.isEmpty && word.bytes.allSatisfy(Self.isBare)
        guard !isBare else {
            bytes += word.bytes
            return
        }
        bytes.append(UInt8(ascii: "\""))
        for byte in word.bytes {
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { bytes.append(UInt8(ascii: "\\")) }
            bytes.append(byte)
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// Means nothing to nginx's reader, wherever it stands in a word.
    private static func isBare(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122: true
        default: "_./:=-*@~$!".utf8.contains(byte)
        }
    }
}
