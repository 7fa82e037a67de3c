// docs/OPERATIONS.md tells the truth about what the proxy tells: every metric, every code of an outcome or a refusal
// is explained there, and none that is not told any more. Read out of the sources as text: this suite imports nothing.

import Testing

private let page = "docs/OPERATIONS.md"
/// Names of Docker secrets, which look like a metric's.
private let secrets: Set<String> = [
    "interlock_feed_controller", "interlock_feed_proxy", "interlock_feed_proxy_2028", "interlock_feed_extension",
]

@Suite("the operator's page")
struct OperationsTests {
    @Test("every metric is explained, and no other")
    func metrics() throws {
        let pages = ["", "+TLS", "+Health", "+Feed"].map { "Sources/Admin/MetricsPage\($0).swift" }
        let lines = try pages.flatMap { try #require(Tree.file($0)).lines }
        let told = Set(lines.flatMap { quoted($0) }.filter { $0.hasPrefix("interlock_") })
        let document = try #require(Tree.file(page))
        let explained = Set(document.lines.flatMap { names($0) }.filter { $0.hasPrefix("interlock_") })
        #expect(told.count > 20, "the metrics are named elsewhere now: this test looks at nothing")
        #expect(told.subtracting(explained).isEmpty, "not explained")
        #expect(explained.subtracting(told).subtracting(secrets).isEmpty, "not told any more")
    }

    @Test(
        "every code is explained",
        arguments: [
            ("Sources/Proxy/Outcome.swift", 10), ("Sources/Wire/Refusal.swift", 10),
            ("Sources/TLS/TLSFailure.swift", 10),
            ("Sources/Wire/TLSHello/TLSAlert.swift", 5),
        ])
    func codes(_ path: String, _ least: Int) throws {
        let source = try #require(Tree.file(path))
        let rows = source.lines.filter { $0.contains("case .") && $0.contains(": \"") }
        let told = Set(rows.flatMap { quoted($0) }.filter { isCode($0) })
        let document = try #require(Tree.file(page))
        let explained = Set(document.lines.flatMap { ticked($0) })
        #expect(told.count >= least, "the codes are written elsewhere now: this test looks at nothing")
        #expect(told.subtracting(explained).isEmpty, "not explained")
    }
}

/// A word of small letters, digits and underscores.
private func isCode(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }
}

/// What stands in double quotes on a line.
private func quoted(_ line: String) -> [String] { between(line, "\"") }

/// What stands between ticks on a line.
private func ticked(_ line: String) -> [String] { between(line, "`") }

private func between(_ line: String, _ mark: Character) -> [String] {
    line.split(separator: mark, omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }
        .map { String($0.element) }
}

/// The words of a line that could be names of metrics.
private func names(_ line: String) -> [String] {
    line.split { !($0.isLetter || $0.isNumber || $0 == "_") }.map(String.init)
}
