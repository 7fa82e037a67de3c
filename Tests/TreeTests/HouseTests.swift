// Order in the house: long lines, large files, long functions, dead files, words that have no place in the tree.
// An exception is a row in a table with its reason; there is no other way around a limit.

import Testing

private let widestLine = 120
private let longestFile = 400
/// Tables of test cases may be longer.
private let longestTestFile = 600
private let longestFunction = 70

/// Files over the limit, with the reason.
private let largeFiles: [String: String] = [:]
/// `file: function` over the limit, with the reason.
private let longFunctions: [String: String] = [:]
/// Files of the product that the product does not use, with the reason.
private let unusedFiles: [String: String] = [
    "Sources/interlock/HelpDocument.swift": "writes docs/CONFIGURATION.md from the settings table; a test compares"
]

@Suite("order in the house")
struct HouseTests {
    @Test("no line is wider than 120 columns, ends in a space or holds a tab", arguments: Tree.files)
    func lines(_ file: SourceFile) {
        // Prose, data and recorded bytes have no columns; a Makefile lives on tabs.
        guard !file.name.hasSuffix(".md"), !file.name.hasSuffix(".json") else { return }
        for (index, line) in file.lines.enumerated() {
            if line.utf8.count > widestLine, line.count > widestLine {
                Issue.record("\(file.path):\(index + 1): \(line.count) columns")
            }
            if line.utf8.last == UInt8(ascii: " ") { Issue.record("\(file.path):\(index + 1): trailing space") }
            if file.name != "Makefile", holds(line, "\t") { Issue.record("\(file.path):\(index + 1): tab") }
        }
    }

    @Test("no file of code is longer than 400 lines, no test file longer than 600", arguments: Tree.files)
    func fileSizes(_ file: SourceFile) {
        guard isCode(file), largeFiles[file.path] == nil else { return }
        let limit = file.path.hasPrefix("Tests/") ? longestTestFile : longestFile
        #expect(file.lines.count <= limit, "\(file.path): \(file.lines.count) lines")
    }

    @Test("no function of the product is longer than 70 lines", arguments: Tree.swiftSources)
    func functionSizes(_ file: SourceFile) {
        for function in functions(of: file) where longFunctions["\(file.path): \(function.name)"] == nil {
            #expect(
                function.length <= longestFunction,
                "\(file.path):\(function.line): \(function.name) has \(function.length) lines")
        }
    }

    @Test("a file of the product opens by saying what it is", arguments: Tree.swiftSources)
    func openingComments(_ file: SourceFile) {
        #expect(file.lines.first?.hasPrefix("//") == true, "\(file.path) has no opening comment")
    }

    @Test("nothing is left undone, and nothing crashes on purpose", arguments: Tree.files)
    func forbiddenWords(_ file: SourceFile) {
        guard isCode(file), file.target != "TreeTests" else { return }
        var words = ["TODO", "FIXME", "XXX:", "HACK"]
        if file.path.hasPrefix("Sources/") { words += ["try!", "fatalError(", "as! "] }
        for word in words where holds(file.text, word) {
            for (index, line) in file.lines.enumerated() where holds(line, word) {
                Issue.record("\(file.path):\(index + 1): \(word)")
            }
        }
    }

    @Test("no file of the product is dead: something it declares is used in another")
    func deadFiles() {
        let words = Tree.swiftSources.map { ($0.path, identifiers(of: $0)) }
        for file in Tree.swiftSources where unusedFiles[file.path] == nil {
            guard !file.lines.contains(where: { $0.hasPrefix("@main") }) else { continue }
            let declared = declaredNames(of: file)
            let isUsed = words.contains { path, used in path != file.path && !declared.isDisjoint(with: used) }
            #expect(isUsed, "\(file.path): nothing it declares (\(declared.sorted().prefix(5))) is used elsewhere")
        }
    }
}

private func isCode(_ file: SourceFile) -> Bool {
    [".swift", ".c", ".h", ".py", ".sh"].contains { file.name.hasSuffix($0) }
}

/// Functions by their indentation, as the formatter leaves it: from the line of `func` or `init` to its closing brace.
private func functions(of file: SourceFile) -> [(name: String, line: Int, length: Int)] {
    var found: [(String, Int, Int)] = []
    for (index, line) in file.lines.enumerated() where holds(line, "func ") || holds(line, "init") {
        let indentation = line.prefix { $0 == " " }
        let text = line.dropFirst(indentation.count)
        guard !text.hasPrefix("//"), let name = functionName(in: text) else { continue }
        let closing = indentation + "}"
        var end = index
        // A one-line body, or a requirement of a protocol, ends where it begins.
        if !(text.hasSuffix("}") || (!text.hasSuffix("{") && !text.hasSuffix("(") && !text.hasSuffix(","))) {
            while end < file.lines.count - 1, file.lines[end] != closing { end += 1 }
        }
        found.append((name, index + 1, end - index + 1))
    }
    return found
}

private func functionName(in text: Substring) -> String? {
    let words = text.split(separator: " ")
    for (index, word) in words.enumerated() {
        if word == "func", index + 1 < words.count { return String(words[index + 1].prefix { $0 != "(" && $0 != "<" }) }
        if word.hasPrefix("init(") || word.hasPrefix("init?(") { return "init" }
        let modifiers = [
            "static", "final", "mutating", "public", "private", "package", "borrowing", "consuming",
        ]
        guard word.hasPrefix("@") || modifiers.contains(String(word)) || word.hasPrefix("fileprivate") else {
            return nil
        }
    }
    return nil
}

/// Every identifier in the file outside of whole-line comments.
private func identifiers(of file: SourceFile) -> Set<String> {
    var found: Set<String> = []
    for line in file.lines where !isComment(line) {
        for word in line.utf8.split(whereSeparator: { !isIdentifierByte($0) }) where word.count > 1 {
            if let text = String(word) { found.insert(text) }
        }
    }
    return found
}

/// The names that the file declares, except those too common to prove anything.
private func declaredNames(of file: SourceFile) -> Set<String> {
    var introducers: Set<String> = ["struct", "class", "enum", "protocol", "typealias", "func", "let", "var", "case"]
    let common: Set<String> = [
        "init", "count", "description", "name", "value", "index", "text", "start", "end", "none",
    ]
    var found: Set<String> = []
    // An extension that adds an initializer is used by the name of its type.
    if file.lines.contains(where: { $0.contains(" init(") }) { introducers.insert("extension") }
    for line in file.lines where !isComment(line) {
        // Declarations at the top or one level in; locals prove nothing.
        guard line.prefix(8).contains(where: { $0 != " " }) else { continue }
        var introduced = false
        for word in line.utf8.split(whereSeparator: { !isIdentifierByte($0) }) {
            guard let text = String(word) else { continue }
            if introduced, !common.contains(text), !introducers.contains(text) { found.insert(text) }
            introduced = introducers.contains(text)
        }
    }
    return found
}

private func isIdentifierByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
    default: false
    }
}
