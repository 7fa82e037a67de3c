// Owns the table of paths that servers read in different ways: for each, what N1 and N2 are.

import Testing
import Wire

@Suite("Readings of a path")
struct PathPolicyTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let path: String
        /// Nil: the path leaves the root.
        let n1: String?
        let n2: String?

        init(_ path: String, _ n1: String?, _ n2: String? = nil) {
            self.path = path
            self.n1 = n1
            self.n2 = n1 == nil ? nil : n2 ?? n1
        }

        var testDescription: String { path.debugDescription }
    }

    static func read(_ path: String) -> (n1: String, n2: String)? {
        withBytes(path) { source in
            let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * source.count, alignment: 1)
            defer { scratch.deallocate() }
            guard case .paths(let n1, let n2) = PathPolicy.read(source, scratch: scratch) else { return nil }
            return (text(n1.array()), text(n2.array()))
        }
    }

    static let plainPaths = ["/", "/a", "/a/b.c/d~e-f_g", "/a/b/", "/app/x;y=z", "*", "", "/a.b/c..d/e.."]

    @Test("plain paths are their own readings", arguments: plainPaths)
    func plain(path: String) {
        #expect(withBytes(path) { PathPolicy.isPlain($0) })
        let reading = Self.read(path)
        #expect(reading?.n1 == path && reading?.n2 == path)
    }

    @Test(
        "every place of a special character is seen",
        arguments: ["%", "\\", "//", "/.", "/./", "/../", "%2e", "%2F"])
    func notPlain(piece: String) {
        for size in 1...40 {
            for place in 0..<size {
                var path = "/" + String(repeating: "a", count: size)
                path.insert(contentsOf: piece, at: path.index(path.startIndex, offsetBy: 1 + place))
                #expect(!withBytes(path) { PathPolicy.isPlain($0) }, "\(path)")
            }
        }
        #expect(!withBytes(piece) { PathPolicy.isPlain($0) })
    }

    static let rows: [Row] = [
        Row("/a/./b", "/a/b"), Row("/a/../b", "/b"), Row("/a/b/..", "/a/"), Row("/a/.", "/a/"), Row("/.", "/"),
        Row("/a/..", "/"), Row("/a/b/../..", "/"), Row("/a/b/../../c", "/c"), Row("/...", "/..."), Row("/..a", "/..a"),
        Row("/.a/..b", "/.a/..b"), Row("/a/.../b", "/a/.../b"), Row("/admin/.", "/admin/"),
        // Above the root.
        Row("/..", nil), Row("/../a", nil), Row("/a/../..", nil), Row("/a/../../b", nil), Row("/%2e%2e/admin", nil),
        Row("/.%2E/admin", nil), Row("/%2e./admin", nil), Row("/%2E%2e", nil), Row("/%2f..", nil), Row("/\\..", nil),
        Row("/a/..%2f..", nil), Row("/..;/admin", nil), Row("/..%2fadmin", nil), Row("/%5c../x", nil),
        // Unreserved characters decoded, all others kept as they came.
        Row("/%61%62%7E%2d%5F%2e%30", "/ab~-_.0"), Row("/%41%5a", "/AZ"), Row("/a%20b", "/a%20b"),
        Row("/a%3fb%23", "/a%3fb%23"), Row("/%", "/%"), Row("/%6", "/%6"), Row("/%zz", "/%zz"), Row("/a%6", "/a%6"),
        Row("/%2561", "/%2561"), Row("/%252e%252e/x", "/%252e%252e/x"), Row("/admin%00", "/admin%00"),
        Row("/%c0%ae%c0%ae/x", "/%c0%ae%c0%ae/x"), Row("/%e9", "/%e9"),
        // N2: every slash is a slash.
        Row("/admin%2f..", "/admin%2f..", "/"), Row("/admin%2F../x", "/admin%2F../x", "/x"),
        Row("/a%2fb", "/a%2fb", "/a/b"), Row("/a%2Fb%2f", "/a%2Fb%2f", "/a/b/"), Row("/a%5cb", "/a%5cb", "/a/b"),
        Row("/a\\b", "/a\\b", "/a/b"), Row("//admin", "//admin", "/admin"), Row("/a//b", "/a//b", "/a/b"),
        Row("/a///", "/a///", "/a/"), Row("/a%2f%2Fb", "/a%2f%2Fb", "/a/b"), Row("/a/%2fb", "/a/%2fb", "/a/b"),
        Row("/a//../b", "/a/b", "/a/b"), Row("/a//..", "/a/", "/a/"), Row("/api../x", "/api../x"),
        Row("/api;/admin", "/api;/admin"), Row("/a/..;x=y/b", "/a/..;x=y/b", "/b"), Row("/a/.;/b", "/a/.;/b", "/a/b"),
        Row("/a/..;", "/a/..;", "/"), Row("/x/..%2fadmin", "/x/..%2fadmin", "/admin"),
        Row("/a%2f%2e%2e%2fb", "/a%2f..%2fb", "/b"),
    ]

    @Test("what others read", arguments: rows)
    func reads(row: Row) {
        let reading = Self.read(row.path)
        #expect(reading?.n1 == row.n1)
        #expect(reading?.n2 == row.n2)
        #expect(!withBytes(row.path) { PathPolicy.isPlain($0) } || (row.n1 == row.path && row.n2 == row.path))
    }
}
