// The examples in the documents are stack files that people copy: each is deployed on a Swarm of values here, and what
// comes of it must be what the document shows under it, to the letter. No label is without an example.

import Glibc
import Testing

@testable import Discovery

/// One or more ```yaml blocks and the ```text block after them.
struct Example: Sendable, CustomStringConvertible {
    let document: String
    let line: Int
    var files: [String] = []
    var expected: [String] = []

    var description: String { "\(document):\(line)" }
}

@Suite struct ExampleTests {
    static let labels = read("LABELS.md")
    static let migrations = read("MIGRATING.md")

    @Test("an example does what the document shows under it", arguments: labels + migrations)
    func examples(_ example: Example) throws {
        var swarm = DemoSwarm()
        for file in example.files { try swarm.deploy(file) }
        let report = swarm.report(withTasks: example.expected.contains { $0.hasPrefix("tasks ") })
        #expect(!example.expected.isEmpty, "\(example): nothing is shown under it; it is \n\(joined(report))")
        #expect(report == example.expected, "\(example) comes to\n\(joined(report))")
    }

    private func joined(_ lines: [String]) -> String { lines.joined(separator: "\n") }

    @Test("no label is without an example")
    func everyLabelHasAnExample() throws {
        var used: Set<String> = []
        for example in Self.labels {
            var swarm = DemoSwarm()
            for file in example.files { try swarm.deploy(file) }
            used.formUnion(swarm.usedLabels)
        }
        #expect(Labels.table.map(\.name).filter { !used.contains($0) } == [])
    }

    @Test("each of the original's tutorials is there")
    func everyTutorialIsThere() {
        #expect(Self.labels.count > 25)
        #expect(Self.migrations.count > 12)
    }

    @Test(
        "what is not of the known part of YAML is refused",
        arguments: ["services:\n  a:\n    x: b: c", "a\n", "a: 1\na: 2", "a: x # y", "a: {b}", "a:\n    b: 1\n  c: 2"])
    func unknownYAML(text: String) {
        #expect(throws: YAMLError.self) { try YAMLReader.read(text) }
    }

    /// In the order of the document. A block of YAML that nothing follows is an example without an expectation.
    private static func read(_ name: String) -> [Example] {
        var found: [Example] = []
        var open: Example?
        var fence = ""
        var block: [Substring] = []
        for (index, line) in text(of: name).split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            guard line.hasPrefix("```") else {
                if !fence.isEmpty {
                    block.append(line)
                } else if !line.isEmpty, let example = open {
                    found.append(example)
                    open = nil
                }
                continue
            }
            if fence.isEmpty {
                fence = String(line.dropFirst(3)) + " "
                continue
            }
            if fence == "yaml " {
                if open == nil { open = Example(document: name, line: index + 1 - block.count) }
                open?.files.append(block.joined(separator: "\n"))
            } else if fence == "text ", var example = open {
                example.expected = block.map(String.init)
                found.append(example)
                open = nil
            }
            fence = ""
            block = []
        }
        return found + (open.map { [$0] } ?? [])
    }

    private static func text(of name: String) -> String {
        let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
        guard let file = fopen("\(root)/docs/\(name)", "r") else { return "" }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = fread(&block, 1, block.count, file)
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes += block[..<count]
        }
    }
}
