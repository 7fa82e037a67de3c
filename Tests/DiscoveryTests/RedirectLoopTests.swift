// Redirects of all services together: no chain of them comes back to where it began.

import Support
import Discovery
import Model
import Testing

/// Services that redirect, oldest first: each owns the hosts that its redirects name as sources.
private struct Chain: Sendable, CustomStringConvertible {
    let services: [[String: String]]
    let kept: [String]
    let findingCount: Int
    var isSSLOnly = false

    init(_ services: [[String: String]], _ kept: [String], _ findingCount: Int = 1, isSSLOnly: Bool = false) {
        self.services = services
        self.kept = kept
        self.findingCount = findingCount
        self.isSSLOnly = isSSLOnly
    }

    var description: String { "\(services)" }
}

private func redirect(_ hosts: String, _ pairs: String, _ more: [String: String] = [:]) -> [String: String] {
    more.merging(["hosts": hosts, "redirects": pairs]) { own, _ in own }
}

@Test(
    "what would lead back to itself is dropped, the younger pair of those that close a circle",
    arguments: [
        Chain([redirect("a.test", "http://a.test,https://a.test")], ["a.test http -> https://a.test"], 0),
        Chain([redirect("a.test", "https://a.test,http://a.test")], ["a.test https -> http://a.test"], 0),
        Chain([redirect("a.test", "http://a.test,http://a.test")], []),
        Chain([redirect("a.test", "http://a.test,http://A.test./x")], []),
        Chain([redirect("a.test", "http://a.test,http://a.test:8080")], []),
        Chain([redirect("a.test", "a.test,https://a.test")], ["a.test http -> https://a.test"]),
        Chain(
            [redirect("a.test", "http://a.test,https://a.test;https://a.test,http://a.test")],
            ["a.test http -> https://a.test"]),
        Chain([redirect("a.test", "https://a.test,http://a.test", ["ssl_only": "1"])], []),
        Chain([redirect("a.test", "https://a.test,http://a.test")], [], isSSLOnly: true),
        Chain(
            [redirect("a.test", "http://a.test,https://a.test", ["ssl_only": "1"])], ["a.test http -> https://a.test"],
            0),
        Chain(
            [redirect("a.test", "http://a.test,http://b.test"), redirect("b.test", "http://b.test,http://a.test")],
            ["a.test http -> http://b.test"]),
        Chain(
            [redirect("b.test", "b.test,http://a.test"), redirect("a.test", "a.test,http://b.test")],
            ["a.test https -> http://b.test", "b.test http -> http://a.test https -> http://a.test"]),
        Chain(
            [
                redirect("a.test", "http://a.test,http://b.test"), redirect("b.test", "http://b.test,http://c.test"),
                redirect("c.test", "http://c.test,http://a.test"),
            ], ["a.test http -> http://b.test", "b.test http -> http://c.test"]),
        // By way of ssl_only: https a -> http b -> https b -> https a.
        Chain(
            [
                redirect("a.test", "https://a.test,http://b.test"),
                redirect("b.test", "https://b.test,https://a.test", ["ssl_only": "1"]),
            ], ["a.test https -> http://b.test"]),
        // By way of a path alone that is for https.
        Chain(
            [
                redirect("a.test", "https://a.test,http://a.test"),
                ["hosts": "a.test", "context_root": "/x", "ssl_only": "1"],
            ], []),
        // A passed-through host sends http to https, and answers there itself.
        Chain(
            [redirect("a.test", "a.test,http://b.test"), ["hosts": "b.test", "ssl_passthrough": "1"]],
            ["a.test http -> http://b.test https -> http://b.test", "b.test pass -> s1"], 0),
        // Destinations are found as requests are: by the longest wildcard, or the default backend.
        Chain([redirect("*.a.test", "http://*.a.test,http://www.a.test")], []),
        Chain(
            [redirect("*.a.test", "http://*.a.test,http://www.a.test"), ["hosts": "www.a.test"]],
            ["*.a.test http -> http://www.a.test"], 0),
        Chain(
            [
                redirect("*.a.test", "http://*.a.test,http://x.b.test"),
                redirect("*.b.test", "http://*.b.test,http://y.a.test"),
            ],
            ["*.a.test http -> http://x.b.test"]),
        Chain([redirect("*.a.test", "http://*.a.test,http://a.test")], ["*.a.test http -> http://a.test"], 0),
        Chain(
            [redirect("a.test", "http://a.test,http://elsewhere.test"), ["default_backend": "1", "ssl_only": "1"]],
            ["a.test http -> http://elsewhere.test"], 0),
    ])
private func circles(_ chain: Chain) {
    var settings = withTCP
    settings.isSSLOnly = chain.isSSLOnly
    let files = chain.services.enumerated().map { index, labels in
        ServicesFile(
            name: "f\(index)", createdAtNs: Int64(index),
            services: [FileService(name: "s\(index)", labels: lb(labels), endpoints: ["10.0.0.1:80"])])
    }
    let snapshot = ServiceMapping.snapshot(of: Inventory(files: files), settings: settings)
    #expect(snapshot.renderedHosts == chain.kept)
    #expect(snapshot.diagnostics.map(\.label) == Array(repeating: "redirects", count: chain.findingCount))
    #expect(snapshot.diagnostics.allSatisfy { $0.severity == .warning && $0.message.contains("lead back to itself") })
    #expect(snapshot.configuration.services.count == chain.services.count)
    #expect(snapshot.problems().isEmpty)
    let reversed = ServiceMapping.snapshot(of: Inventory(files: files.reversed()), settings: settings)
    #expect(reversed == snapshot)
}

/// Follows what the snapshot says from one URL on; the number of steps, or nil if it does not end.
private func follow(_ snapshot: Snapshot, _ host: String, _ scheme: String, isSSLOnly: Bool) -> Int? {
    var (host, scheme) = (host, scheme)
    for step in 0..<60 {
        let patterns = Set(snapshot.configuration.routes.map(\.host) + snapshot.configuration.hosts.map(\.host))
        let found =
            patterns.filter { pattern in
                switch pattern {
                case .exact(let name): name == host
                case .wildcard(let suffix): host.hasSuffix("." + suffix)
                case .any: true
                }
            }.min { left, right in left.specificity > right.specificity }
        guard let found else { return step }
        let options = snapshot.configuration.hosts.first { $0.host == found }
        let redirect = options?.redirects.first { $0.scheme.rawValue == scheme }
        let isOnly =
            isSSLOnly || options.map { !$0.passthrough.isEmpty } ?? false
            || snapshot.configuration.routes.contains { $0.host == found && $0.requiresTLS }
        if scheme == "http", isOnly {
            scheme = "https"
        } else if let redirect {
            let parts = redirect.target.split(separator: "/").map(String.init)
            scheme = String(parts[0].dropLast())
            host = String(parts[1].split(separator: ":")[0])
        } else {
            return step
        }
    }
    return nil
}

extension HostPattern {
    fileprivate var specificity: Int {
        switch self {
        case .exact: 1000
        case .wildcard(let suffix): suffix.utf8.count
        case .any: -1
        }
    }
}

@Test("no URL is redirected for ever, whatever is asked for, and a kept set can be asked for again", arguments: 0..<120)
func noURLIsRedirectedForEver(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed + 77))
    let names = ["a.test", "b.test", "c.test", "x.w.test", "*.w.test", "*.test"]
    let targets = ["a.test", "b.test", "c.test", "x.w.test", "y.w.test", "z.test", "a.test:8080", "other.org"]
    var files: [ServicesFile] = []
    for index in 0..<Int.random(in: 2...9, using: &random) {
        let own = names.shuffled(using: &random).prefix(Int.random(in: 1...3, using: &random))
        var pairs: [String] = []
        for name in own where Int.random(in: 0..<4, using: &random) > 0 {
            let scheme = ["", "http://", "https://"].randomElement(using: &random) ?? ""
            let target = targets.randomElement(using: &random) ?? ""
            pairs.append("\(scheme)\(name),\(Bool.random(using: &random) ? "http" : "https")://\(target)")
        }
        var labels = ["hosts": own.joined(separator: ","), "redirects": pairs.joined(separator: ";")]
        if Int.random(in: 0..<3, using: &random) == 0 { labels["ssl_only"] = "1" }
        if Int.random(in: 0..<8, using: &random) == 0 { labels["ssl_passthrough"] = "1" }
        if Int.random(in: 0..<5, using: &random) == 0 { labels["default_backend"] = "1" }
        if Int.random(in: 0..<3, using: &random) == 0 { labels["context_root"] = "/x" }
        let service = FileService(name: "s\(index)", labels: lb(labels), endpoints: ["10.0.0.1:80"])
        files.append(ServicesFile(name: "f\(index)", createdAtNs: Int64(index / 2), services: [service]))
    }
    var settings = withTCP
    settings.isSSLOnly = seed % 4 == 0
    let snapshot = ServiceMapping.snapshot(of: Inventory(files: files), settings: settings)
    #expect(snapshot.problems().isEmpty)
    for host in ["a.test", "b.test", "c.test", "x.w.test", "y.w.test", "z.test", "other.org"] {
        for scheme in ["http", "https"] {
            #expect(follow(snapshot, host, scheme, isSSLOnly: settings.isSSLOnly) != nil, "\(scheme)://\(host)")
        }
    }
    let shuffled = ServiceMapping.snapshot(of: Inventory(files: files.shuffled(using: &random)), settings: settings)
    #expect(shuffled == snapshot)
    #expect(shuffled.contentHash == snapshot.contentHash)
}

@Test func longChainsEnd() {
    let count = 400
    let files = (0..<count).map { index in
        let labels = lb([
            "hosts": "h\(index).test", "redirects": "http://h\(index).test,http://h\((index + 1) % count).test",
        ])
        let service = FileService(name: "s\(index)", labels: labels, endpoints: ["10.0.0.1:80"])
        // The youngest redirects to the oldest: each pair is looked at with all that follow it in the chain.
        return ServicesFile(name: "f\(index)", createdAtNs: Int64(count - index), services: [service])
    }
    let snapshot = ServiceMapping.snapshot(of: Inventory(files: files), settings: withTCP)
    #expect(snapshot.configuration.services.count == count)
    #expect(!snapshot.diagnostics.isEmpty)
    #expect(follow(snapshot, "h0.test", "http", isSSLOnly: false).map { $0 <= 22 } == true)
}
