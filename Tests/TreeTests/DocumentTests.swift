// The documents tell the truth about the tree: links lead somewhere, named paths and make targets exist.

import Testing

@Suite("the documents")
struct DocumentTests {
    @Test("there is a README, a licence and the map", arguments: ["README.md", "LICENSE", "docs/ARCHITECTURE.md"])
    func mustExist(_ path: String) {
        #expect(Tree.exists(path))
    }

    @Test("a link leads to a file that exists, and to a heading that exists", arguments: Tree.documents)
    func links(_ document: SourceFile) {
        for (target, line) in linkTargets(in: document) {
            if target.contains("://") || target.hasPrefix("mailto:") { continue }
            let parts = target.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
            let path = parts[0].isEmpty ? document.path : resolve(String(parts[0]), from: document.path)
            #expect(Tree.exists(path), "\(document.path):\(line): no \(path)")
            if parts.count > 1, let aimed = Tree.file(path) {
                #expect(
                    anchors(of: aimed).contains(String(parts[1])),
                    "\(document.path):\(line): no heading #\(parts[1]) in \(path)")
            }
        }
    }

    @Test("a path of the tree that is named exists", arguments: Tree.files)
    func namedPaths(_ file: SourceFile) {
        guard file.target != "TreeTests" else { return }
        let roots = ["Sources/", "Tests/", "docs/", "scripts/", "docker/", "Benchmarks/"]
        for (index, line) in file.lines.enumerated() where roots.contains(where: { holds(line, $0) }) {
            for word in line.split(whereSeparator: { !isPathCharacter($0) }) {
                guard roots.contains(where: { word.hasPrefix($0) }), !word.contains("..."), word.last != "/" else {
                    continue
                }
                let path = word.last == "." ? String(word.dropLast()) : String(word)
                if Tree.made.contains(where: { path == $0 || path.hasPrefix($0 + "/") }) { continue }
                #expect(Tree.exists(path), "\(file.path):\(index + 1): no \(path)")
            }
        }
    }

    @Test("a make target that is named exists", arguments: Tree.documents)
    func makeTargets(_ document: SourceFile) {
        let makefile = Tree.file("Makefile")?.lines ?? []
        for (index, line) in document.lines.enumerated() where line.contains("`make ") {
            for part in line.split(separator: "`make ").dropFirst() {
                let target = part.prefix { $0.isLetter || $0 == "-" }
                guard line.contains("`make \(target)"), !target.isEmpty else { continue }
                #expect(
                    makefile.contains { $0.hasPrefix("\(target):") },
                    "\(document.path):\(index + 1): no `make \(target)`")
            }
        }
    }
}

/// The targets of `[text](target)` outside of code blocks.
private func linkTargets(in document: SourceFile) -> [(target: String, line: Int)] {
    var found: [(String, Int)] = []
    var isCode = false
    for (index, line) in document.lines.enumerated() {
        if line.hasPrefix("```") { isCode.toggle() }
        guard !isCode else { continue }
        for part in line.split(separator: "](").dropFirst() {
            guard line.contains("](\(part)"), let end = part.firstIndex(of: ")") else { continue }
            found.append((String(part[..<end]), index + 1))
        }
    }
    return found
}

/// The anchors of the headings, as GitHub makes them.
private func anchors(of document: SourceFile) -> Set<String> {
    var found: Set<String> = []
    for line in document.lines where line.hasPrefix("#") {
        let text = line.drop { $0 == "#" || $0 == " " }.lowercased()
        found.insert(
            text.compactMap { $0 == " " ? "-" : ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") ? $0 : nil }
                .map(String.init).joined())
    }
    return found
}

/// A relative path against the directory of the document.
private func resolve(_ path: String, from document: String) -> String {
    var parts = document.split(separator: "/").dropLast().map(String.init)
    for part in path.split(separator: "/") {
        switch part {
        case ".": break
        case "..": if !parts.isEmpty { parts.removeLast() }
        default: parts.append(String(part))
        }
    }
    return parts.joined(separator: "/")
}

private func isPathCharacter(_ character: Character) -> Bool {
    character.isLetter || character.isNumber || "/._+-".contains(character)
}
