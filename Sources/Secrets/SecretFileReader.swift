// Reads one file, whole or not at all, and says in a few words why not. It opens regular files only and never waits for
// one; it shows nobody what is inside.

import Glibc
internal import Kernel

/// A version of a file: if none of this changed, neither did the content.
struct FileSignature: Equatable {
    var device: UInt64
    var inode: UInt64
    var size: Int64
    var modifiedNs: Int64
    var changedNs: Int64

    init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        modifiedNs = Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)
        changedNs = Int64(status.st_ctim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_ctim.tv_nsec)
    }

    /// File systems round their times: a file that changed a moment ago may change again and look the same.
    func isSettled(nowNs: UInt64) -> Bool {
        max(modifiedNs, changedNs) &+ 2_000_000_000 < Int64(clamping: nowNs)
    }
}

/// Why a file is not to be had: completes "secret x ...".
struct SecretFailure: Error, Equatable {
    let reason: String

    static let missing = SecretFailure(reason: "there is no such file")
    static let tooLarge = SecretFailure(reason: "is larger than 1 MiB")
    static let empty = SecretFailure(reason: "is empty")
    static let notAFile = SecretFailure(reason: "is not a file")
    static let badName = SecretFailure(reason: "is not the name of a file")

    init(reason: String) { self.reason = reason }

    init(code: Int32) {
        self =
            code == ENOENT || code == ENOTDIR
            ? .missing : .init(reason: "cannot be read: \(SystemError(code: code, operation: "").reason)")
    }
}

enum SecretFileReader {
    /// Bytes of one file.
    static let sizeLimit = 1 << 20

    /// - Returns: no signature if the file changed while it was read.
    static func read(_ path: String) -> Result<(bytes: [UInt8], signature: FileSignature?), SecretFailure> {
        // Without O_NONBLOCK a named pipe would hold us up.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return .failure(SecretFailure(code: errno)) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return .failure(SecretFailure(code: errno)) }
        guard status.st_mode & S_IFMT == S_IFREG else { return .failure(.notAFile) }
        guard status.st_size <= sizeLimit else { return .failure(.tooLarge) }
        // One byte more than there should be: a file that grows meanwhile is seen to.
        var count = 0
        var failure: SecretFailure?
        let bytes = [UInt8](unsafeUninitializedCapacity: Int(status.st_size) + 1) { buffer, initialized in
            while count < buffer.count {
                let taken = Glibc.read(descriptor, buffer.baseAddress.map { $0 + count }, buffer.count - count)
                if taken < 0, errno == EINTR { continue }
                if taken < 0 { failure = SecretFailure(code: errno) }
                guard taken > 0 else { break }
                count += taken
            }
            initialized = count
        }
        if let failure { return .failure(failure) }
        guard !bytes.isEmpty else { return .failure(.empty) }
        let signature = FileSignature(status)
        return .success((bytes, Int64(bytes.count) == signature.size ? signature : nil))
    }

    /// - Returns: nil if there is no such file, or no file at all.
    static func signature(_ path: String) -> FileSignature? {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        return FileSignature(status)
    }

    /// The directory of a path.
    static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    static func isSymbolicLink(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
    }

    /// Where a path leads to in the end; nil: nowhere.
    static func target(of path: String) -> String? {
        guard let real = realpath(path, nil) else { return nil }
        defer { free(real) }
        return String(cString: real)
    }

    static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// The names in a directory, sorted, without those that begin with a dot.
    static func entries(_ path: String, limit: Int) -> Result<[String], SecretFailure> {
        guard let handle = opendir(path) else { return .failure(SecretFailure(code: errno)) }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard !name.hasPrefix(".") else { continue }
            guard names.count < limit else { return .failure(.init(reason: "holds more than \(limit) files")) }
            names.append(name)
        }
        return .success(names.sorted())
    }
}
