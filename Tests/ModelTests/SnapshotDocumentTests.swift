// The JSON of a snapshot: every field is in it, its form stays what it was, and the example in the documents is what
// the program writes.

import Model
import Support
import Testing

/// A file of the project.
private func projectFile(_ path: String) throws -> String {
    let here = #filePath
    let root = here.dropLast("Tests/ModelTests/SnapshotDocumentTests.swift".count)
    return String(decoding: try readFile(root + path), as: UTF8.self)
}

/// JSON without what stands between its tokens.
private func dense(_ json: some StringProtocol) -> String {
    var result = ""
    var isText = false
    var isEscaped = false
    for character in json {
        if !isText, character.isWhitespace { continue }
        if character == "\"", !isEscaped { isText.toggle() }
        isEscaped = isText && character == "\\" && !isEscaped
        result.append(character)
    }
    return result
}

private func json(_ snapshot: Snapshot, _ secrets: SecretFiles = .init()) -> String {
    String(decoding: SnapshotDocument.json(snapshot: snapshot, secrets: secrets), as: UTF8.self)
}

@Test("a changed field shows", arguments: snapshotFieldChanges)
func fieldIsShown(_ change: FieldChange) {
    var changed = richSnapshot()
    change.apply(&changed)
    #expect(json(changed) != json(richSnapshot()))
}

@Test("the form is what it was")
func goldenDocument() throws {
    let expected = try projectFile("Tests/ModelTests/Golden/snapshot.json")
    let written = json(richSnapshot(), richSecrets())
    #expect(
        dense(written) == dense(expected), "a field that goes or changes its meaning makes another version:\n\(written)"
    )
    #expect(written.hasSuffix("}\n") && !written.dropLast().contains("\n"))
}

@Test("secrets are named and not shown")
func secretsAreNamed() {
    let bytes = Array("PRIVATE".utf8)
    let secrets = SecretFiles(
        secrets: ["a": bytes, "b": bytes], certificates: ["c": bytes], defaultCertificate: bytes, defaultKey: bytes,
        defaultStaple: bytes, ticketKey: bytes)
    let written = json(Snapshot(), secrets)
    #expect(!written.contains("PRIVATE"))
    #expect(
        written.contains(
            #""secrets":{"names":["a","b"],"certificates":["c"],"has_default_certificate":true,"failures":[]}"#))
}

@Test("what people write in labels stays within its quotes")
func hostileTexts() {
    var snapshot = Snapshot()
    snapshot.diagnostics = [Diagnostic(severity: .error, service: "\"},{\"", message: "\n\u{0}\u{2028}\\")]
    let text = json(snapshot)
    #expect(text.contains(##""service":"\"},{\"","label":"","value":"","message":"\n\u0000\u2028\\"}]"##), "\(text)")
}

@Test("the example in docs/EXTENSIONS.md is what is written")
func documentedExample() throws {
    let page = try projectFile("docs/EXTENSIONS.md")
    let section = try #require(page.components(after: "## The snapshot as JSON\n"))
    let example = try #require(section.components(after: "```json\n")?.components(before: "\n```"))
    var options = ServiceOptions()
    options.maxFails = 2
    options.health = HealthCheck(path: "/healthz", intervalMs: 3000, timeoutMs: 1000, statuses: [200...204])
    let snapshot = Snapshot(
        order: SnapshotOrder(
            clusterID: "8k0wq3r1vdf0c7m2s5j9x4b6t", version: 1842, listedAtNs: 1_795_942_800_000_000_000),
        configuration: Configuration(
            services: [
                Service(
                    id: "q9f2m7xk4v1c8z5n0b3j6h2dr", name: "shop_web", stack: "shop", source: .swarm,
                    desiredTaskCount: 2, options: options)
            ],
            routes: [
                Route(
                    host: .exact("shop.example.com"), requiresTLS: true,
                    balancing: Balancing(key: .cookie("JSESSIONID")), services: [0])
            ],
            hosts: [
                HostOptions(
                    host: .exact("shop.example.com"),
                    tls: TLSOptions(
                        certificates: [.init(certificate: .init("shop.crt", stack: "shop"), key: .init("shop.key"))]))
            ]),
        endpoints: [
            [
                Upstream(id: "m1x8c5v2b7n4k9j6h3g0f5d2s", endpoint: endpoint("10.0.3.7:8080")),
                Upstream(id: "t6r3e0w7q4y1u8i5o2p9a6s3d", endpoint: endpoint("10.0.3.9:8080"), state: .draining),
            ]
        ],
        diagnostics: [
            Diagnostic(
                severity: .error, service: "blog_web", label: "port", value: "http",
                message: "is not a port; write a number from 1 to 65535")
        ])
    #expect(dense(example) == dense(json(snapshot, SecretFiles(secrets: ["shop_shop.crt": [1], "shop.key": [2]]))))
}

@Test("every name in the JSON is explained in docs/EXTENSIONS.md")
func namesAreDocumented() throws {
    let page = try projectFile("docs/EXTENSIONS.md")
    var names: Set<String> = []
    var rest = json(richSnapshot(), richSecrets())[...]
    while let colon = rest.range(of: "\":") {
        let before = rest[..<colon.lowerBound]
        if let quote = before.lastIndex(of: "\"") { names.insert(String(before[before.index(after: quote)...])) }
        rest = rest[colon.upperBound...]
    }
    #expect(names.count > 60)
    for name in names.sorted() { #expect(page.contains("`\(name)`"), "`\(name)` is not explained") }
}

extension StringProtocol {
    fileprivate func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }

    fileprivate func components(after mark: String) -> SubSequence? { range(of: mark).map { self[$0.upperBound...] } }

    fileprivate func components(before mark: String) -> SubSequence? { range(of: mark).map { self[..<$0.lowerBound] } }
}
