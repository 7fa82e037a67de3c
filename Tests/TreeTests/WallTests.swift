// The walls of the house: who may import whom. This table is the law; Package.swift and every `import` line obey it.
// A new target or arrow is added here on purpose, together with docs/ARCHITECTURE.md.

import Testing

/// What one target may import: targets of this package, and modules of the toolchain.
struct Wall: Sendable {
    var targets: Set<String>
    var modules: Set<String>

    init(_ targets: Set<String>, _ modules: Set<String> = []) {
        self.targets = targets
        self.modules = modules
    }
}

private let walls: [String: Wall] = [
    // C, seen by one target each.
    "CLinux": Wall([]),
    "COpenSSL": Wall([]),
    // Pure: no kernel, no clock, no lock. Glibc is there for memchr, memcmp and memcpy (see `forbiddenInPure`).
    "Wire": Wall([], ["Glibc"]),
    "Model": Wall([]),
    "Routing": Wall(["Model"], ["Glibc"]),
    "Discovery": Wall(["Model"]),
    // The machine.
    "Kernel": Wall(["CLinux"], ["Glibc", "Synchronization"]),
    "TLS": Wall(["COpenSSL"], ["Glibc", "Synchronization"]),
    "Secrets": Wall(["Model", "Kernel"], ["Glibc", "Synchronization"]),
    "Telemetry": Wall([], ["Glibc", "Synchronization"]),
    // The data plane: no Docker, no Discovery, no Controller.
    "Proxy": Wall(["Routing", "Model", "Wire", "TLS", "Telemetry", "Kernel"], ["Glibc", "Synchronization"]),
    // The control plane.
    "Docker": Wall(
        ["Discovery", "Model", "Wire", "TLS", "Kernel"], ["Glibc", "Synchronization"]),
    "Controller": Wall(["Docker", "Discovery", "Model", "Telemetry", "Kernel"], ["Glibc", "Synchronization"]),
    "Admin": Wall(["Routing", "Telemetry", "Wire", "Kernel", "Model"], ["Glibc", "Synchronization"]),
    // Between controllers and those who use their snapshots: no Docker, no Discovery.
    "Feed": Wall(["Model", "TLS", "Kernel"], ["Glibc", "Synchronization"]),
    "Render": Wall(["Model"]),
    "Extension": Wall(["Render", "Model", "Kernel", "Telemetry"], ["Glibc", "Synchronization"]),
    "Demo": Wall(["Wire", "Model", "Telemetry", "Kernel"], ["Glibc", "Synchronization"]),
    "interlock": Wall(
        [
            "Admin", "Controller", "Demo", "Discovery", "Docker", "Extension", "Feed", "Kernel", "Model", "Proxy",
            "Render", "Routing", "Secrets", "TLS", "Telemetry", "Wire",
        ],
        ["Glibc", "Synchronization"]),
]

/// Names that a pure target has no business with: time, threads, locks, files, sockets, the environment. (Routing keys
/// its hashes at random, against chosen collisions; what it answers does not depend on the key.)
private let forbiddenInPure = [
    "clock_gettime", "gettimeofday", "ContinuousClock", "pthread_", "Mutex<", "Atomic<", "getenv(", "fopen(",
    "socket(", "Task {", "Task.detached", "DispatchQueue",
]
private let pureTargets = ["Wire", "Model", "Routing", "Discovery", "Render"]

@Suite("the import walls")
struct WallTests {
    @Test("every directory of Sources is in the table, and the table names no other")
    func everyTargetIsInTheTable() {
        #expect(Set(Tree.directories(in: "Sources")) == Set(walls.keys))
    }

    @Test("an import crosses no wall", arguments: Tree.swiftSources)
    func importsObeyTheWalls(_ file: SourceFile) throws {
        let wall = try #require(file.target.flatMap { walls[$0] })
        for (module, line) in file.imports {
            #expect(
                wall.targets.contains(module) || wall.modules.contains(module),
                "\(file.path):\(line): \(file.target ?? "") may not import \(module)")
        }
    }

    @Test("Package.swift declares no arrow beyond the table", arguments: walls.keys.sorted())
    func packageObeysTheWalls(_ target: String) throws {
        let declared = try #require(PackageManifest.dependencies[target], "\(target) is not in Package.swift")
        let allowed = try #require(walls[target]).targets
        #expect(Set(declared).subtracting(allowed).isEmpty)
    }

    @Test("an arrow that nobody uses is not declared", arguments: walls.keys.sorted())
    func declaredArrowsAreUsed(_ target: String) throws {
        let files = Tree.swiftSources.filter { $0.target == target }
        guard !files.isEmpty else { return }
        let used = Set(files.flatMap { $0.imports.map(\.module) })
        let declared = try #require(PackageManifest.dependencies[target])
        #expect(Set(declared).subtracting(used).isEmpty, "declared and never imported")
    }

    @Test("Foundation is nowhere", arguments: Tree.swiftFiles)
    func noFoundation(_ file: SourceFile) {
        for (module, line) in file.imports {
            #expect(
                !["Foundation", "FoundationNetworking", "Dispatch", "NIO", "NIOCore"].contains(module),
                "\(file.path):\(line): \(module)")
        }
    }

    @Test("pure targets touch no clock, lock, thread, file or socket", arguments: pureTargets)
    func pureTargetsArePure(_ target: String) {
        for file in Tree.swiftSources where file.target == target {
            for (index, line) in file.lines.enumerated() where !isComment(line) {
                for name in forbiddenInPure where holds(line, name) {
                    Issue.record("\(file.path):\(index + 1): \(name) in a pure target")
                }
            }
        }
    }

    @Test("every suite of Swift tests belongs to a target")
    func suitesMirrorTargets() {
        let others: Set<String> = ["EndToEndTests", "SwarmTests", "TreeTests", "Support", "Fuzz", "Corpus"]
        for suite in Tree.directories(in: "Tests") where !others.contains(suite) {
            let target = suite.hasSuffix("Tests") ? String(suite.dropLast(5)) : suite
            #expect(walls[target] != nil || target == "Interlock", "Tests/\(suite) mirrors no target")
            #expect(PackageManifest.dependencies[suite] != nil, "Tests/\(suite) is not in Package.swift")
        }
    }
}

func isComment(_ line: String) -> Bool {
    line.drop { $0 == " " }.hasPrefix("//")
}

/// Package.swift as text: target names and the names they depend on.
enum PackageManifest {
    static let dependencies: [String: [String]] = {
        guard let file = Tree.file("Package.swift") else { return [:] }
        let text = file.lines.filter { !isComment($0) }.joined(separator: "\n")
        let marker = "arget("
        var found: [String: [String]] = [:]
        // Each target is a call `.target(`, `.executableTarget(`, `.testTarget(`; a system library has no dependencies.
        for block in text.split(separator: marker).dropFirst() {
            guard let name = quoted(after: "name:", in: block).first else { continue }
            found[name] = listed(after: "dependencies:", in: block)
        }
        for block in text.split(separator: "systemLibrary(").dropFirst() {
            if let name = quoted(after: "name:", in: block).first { found[name] = [] }
        }
        return found
    }()

    /// The strings in quotes after a label.
    private static func quoted(after label: String, in text: Substring) -> [String] {
        guard let rest = text.split(separator: label, maxSplits: 1, omittingEmptySubsequences: false).dropFirst().first
        else { return [] }
        return rest.split(separator: "\"", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }

    /// The strings of the list after a label; empty if the label is not there.
    private static func listed(after label: String, in text: Substring) -> [String] {
        guard text.contains(label),
            let rest = text.split(separator: label, maxSplits: 1, omittingEmptySubsequences: false).dropFirst().first,
            let end = rest.firstIndex(of: "]")
        else { return [] }
        return quoted(after: "[", in: rest[..<end])
    }
}
