// docs/LABELS.md lists every label with what this build does with it: the rows of the label table, in their order.

import Glibc
import Testing

@testable import Discovery

@Suite struct LabelDocumentTests {
    /// What the document calls each effect.
    private static func word(_ effect: LabelDefinition.Effect) -> String {
        switch effect {
        case .acts: "acts"
        case .needless: "accepted"
        case .notYet: "warns"
        case .refuses: "refuses"
        }
    }

    @Test("the document's rows are the table's")
    func rows() throws {
        let document = try #require(Self.document())
        let found = document.split(separator: "\n").compactMap(Self.row)
        let expected = Labels.table.map { definition in
            Row(
                name: definition.name, effect: Self.word(definition.effect), restricts: definition.restrictsAccess)
        }
        #expect(found.map(\.name) == expected.map(\.name))
        for (left, right) in zip(found, expected) { #expect(left == right) }
    }

    private struct Row: Equatable {
        var name: String
        var effect: String
        var restricts: Bool
    }

    /// `| `name` | value | effect | meaning |`; nil for any other line.
    private static func row(_ line: Substring) -> Row? {
        guard line.hasPrefix("| `") else { return nil }
        let cells = line.split(separator: "|").map { $0.trimmed }
        guard cells.count >= 4, ["acts", "accepted", "warns", "refuses"].contains(cells[2]) else { return nil }
        return Row(
            name: cells[0].filter { $0 != "`" }, effect: cells[2], restricts: cells[3].hasPrefix("*restricts*"))
    }

    private static func document() -> String? {
        let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
        guard let file = fopen(root + "/docs/LABELS.md", "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = fread(&block, 1, block.count, file)
            guard count > 0 else { break }
            bytes += block[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
