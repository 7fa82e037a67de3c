// The directory that another load balancer reads: each file is replaced as a whole or not at all. A list of the files
// that are ours is kept beside them, so that nothing else is ever removed.

internal import Glibc
public import Kernel
public import Render

public struct ConfigurationDirectory: Sendable {
    /// Without a trailing slash.
    public let path: String

    /// Names of the files that are ours, and of the main file that was last loaded.
    private static let listName = ".interlock-files"
    private static let loadedName = ".interlock-loaded"

    public init(path: String) {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        self.path = path
    }

    /// Writes a file, in one step, and onto the disk before it gets its name.
    /// - Parameter isLasting: false: whoever begins with the file after a crash looks into it first.
    public func write(_ file: RenderedFile, isLasting: Bool = true) throws(SystemError) {
        guard Self.isInside(file.path) else { throw SystemError(code: EINVAL, operation: file.path) }
        try makeDirectories(of: file.path)
        let place = "\(path)/\(file.path)"
        let draft = place + ".draft"
        _ = unlink(draft)
        let descriptor = open(
            draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, file.isSecret ? 0o600 : 0o644)
        guard descriptor >= 0 else { throw SystemError(code: errno, operation: draft) }
        var failure = Self.write(file.bytes, to: descriptor) ? 0 : errno
        if failure == 0, isLasting, fsync(descriptor) != 0 { failure = errno }
        close(descriptor)
        if failure == 0, rename(draft, place) != 0 { failure = errno }
        guard failure == 0 else {
            _ = unlink(draft)
            throw SystemError(code: failure, operation: place)
        }
    }

    /// Gives a file a second name. false: it is written anew.
    func link(_ name: String, as other: String) -> Bool {
        guard Self.isInside(name), Self.isInside(other), (try? makeDirectories(of: other)) != nil else { return false }
        return Glibc.link("\(path)/\(name)", "\(path)/\(other)") == 0
    }

    /// nil: it is not there, or cannot be read.
    func read(_ name: String) -> [UInt8]? {
        let descriptor = open("\(path)/\(name)", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        return withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 1) { memory in
            while true {
                let count = Glibc.read(descriptor, memory.baseAddress, memory.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return count == 0 ? bytes : nil }
                bytes += UnsafeRawBufferPointer(rebasing: memory[..<count])
            }
        }
    }

    /// With the directories that are empty then.
    func remove(_ name: String) {
        guard Self.isInside(name) else { return }
        _ = unlink("\(path)/\(name)")
        var parent = name[...]
        while let slash = parent.lastIndex(of: "/") {
            parent = parent[..<slash]
            guard rmdir("\(path)/\(parent)") == 0 else { return }
        }
    }

    // MARK: What is ours

    var ownFiles: Set<String> {
        Set(
            (read(Self.listName) ?? []).split(separator: UInt8(ascii: "\n"))
                .map { String(decoding: $0, as: UTF8.self) }.filter(Self.isInside))
    }

    func writeOwnFiles(_ names: Set<String>) throws(SystemError) {
        let text = names.sorted().map { $0 + "\n" }.joined()
        try write(RenderedFile(path: Self.listName, bytes: Array(text.utf8)))
    }

    /// The name of the content that was last loaded; it outlives this process.
    var loadedContent: String? { read(Self.loadedName).map { String(decoding: $0, as: UTF8.self) } }

    func writeLoadedContent(_ name: String) throws(SystemError) {
        try write(RenderedFile(path: Self.loadedName, bytes: Array(name.utf8)))
    }

    // MARK: Inside

    /// A path below the directory, and no way out of it.
    private static func isInside(_ name: String) -> Bool {
        !name.isEmpty && !name.utf8.contains(0)
            && name.split(separator: "/", omittingEmptySubsequences: false)
                .allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }

    private func makeDirectories(of name: String) throws(SystemError) {
        var parent = path
        try makeDirectory(parent)
        for part in name.split(separator: "/").dropLast() {
            parent += "/\(part)"
            try makeDirectory(parent)
        }
    }

    private func makeDirectory(_ place: String) throws(SystemError) {
        guard mkdir(place, 0o755) != 0, errno != EEXIST else { return }
        throw SystemError(code: errno, operation: place)
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}
