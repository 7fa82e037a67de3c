// The project's own files, read once: what the other files of this suite judge.
// It reads the checkout that the suite was compiled from, and nothing outside of it. No Foundation here either.

import Glibc

/// One text file of the tree.
struct SourceFile: Sendable, CustomStringConvertible {
    /// Relative to the root, with slashes: `Sources/Wire/Bytes.swift`.
    let path: String
    let text: String
    let lines: [String]

    var description: String { path }
    var name: String { String(path.split(separator: "/").last ?? "") }
    /// The directory under Sources or Tests: `Wire`; nil for files elsewhere.
    var target: String? {
        let parts = path.split(separator: "/")
        return parts.count > 2 && (parts[0] == "Sources" || parts[0] == "Tests") ? String(parts[1]) : nil
    }

    /// What each `import` line names, with its line number; `import struct Glibc.stat` names Glibc.
    var imports: [(module: String, line: Int)] {
        let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "typealias", "func", "let", "var"]
        var found: [(String, Int)] = []
        for (index, line) in lines.enumerated() {
            guard holds(line, "import ") else { continue }
            var words = line.split(separator: " ")
            while let first = words.first, first.hasPrefix("@") || ["public", "internal", "package"].contains(first) {
                words.removeFirst()
            }
            guard words.first == "import", words.count > 1 else { continue }
            words.removeFirst()
            if kinds.contains(words[0]) { words.removeFirst() }
            if let module = words.first?.split(separator: ".").first { found.append((String(module), index + 1)) }
        }
        return found
    }
}

/// Whether the text has those bytes somewhere; in a debug build far quicker than `contains`.
func holds(_ text: String, _ bytes: String) -> Bool {
    strstr(text, bytes) != nil
}

enum Tree {
    /// The checkout, by the place of this file.
    static let root: String = {
        let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        return parts.dropLast(3).joined(separator: "/")
    }()

    /// Every text file that people write: no build products, no virtual environment, no assembled image.
    static let files: [SourceFile] = list("")
    static let swiftSources = files.filter { $0.path.hasPrefix("Sources/") && $0.name.hasSuffix(".swift") }
    static let swiftFiles = files.filter { $0.name.hasSuffix(".swift") }
    static let documents = files.filter { $0.name.hasSuffix(".md") }
    static let paths = Set(files.map(\.path))

    /// The directories below `directory` (relative, no dot directories).
    static func directories(in directory: String) -> [String] {
        entries(directory).filter { $0.isDirectory && !$0.name.hasPrefix(".") }.map(\.name).sorted()
    }

    /// Whether a file or directory of that relative path is there.
    static func exists(_ path: String) -> Bool { access("\(root)/\(path)", F_OK) == 0 }

    static func file(_ path: String) -> SourceFile? { files.first { $0.path == path } }

    /// What scripts make and git ignores: no part of the tree.
    static let made: Set<String> = ["docker/rootfs", "docker/rootfs.owned"]
    private static let kinds: Set<Substring> = ["swift", "c", "h", "py", "sh", "md", "yaml", "json", "modulemap"]
    private static let bareNames: Set<String> = ["Makefile", "Dockerfile"]

    private static func list(_ directory: String) -> [SourceFile] {
        var found: [SourceFile] = []
        for entry in entries(directory).sorted(by: { $0.name < $1.name }) {
            let path = directory.isEmpty ? entry.name : "\(directory)/\(entry.name)"
            if entry.name.hasPrefix(".") || made.contains(path) || entry.name == "__pycache__" { continue }
            if entry.isDirectory {
                found += list(path)
            } else if bareNames.contains(entry.name) || kinds.contains(entry.name.split(separator: ".").last ?? "") {
                if let text = read(path) {
                    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
                    found.append(SourceFile(path: path, text: text, lines: lines))
                }
            }
        }
        return found
    }

    private static func entries(_ directory: String) -> [(name: String, isDirectory: Bool)] {
        guard let handle = opendir("\(root)/\(directory)") else { return [] }
        defer { closedir(handle) }
        var found: [(String, Bool)] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { found.append((name, entry.pointee.d_type == UInt8(DT_DIR))) }
        }
        return found
    }

    private static func read(_ path: String) -> String? {
        let descriptor = open("\(root)/\(path)", O_RDONLY)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(descriptor, &block, block.count)
            guard count > 0 else { break }
            content += block[..<count]
        }
        return String(decoding: content, as: UTF8.self)
    }
}
